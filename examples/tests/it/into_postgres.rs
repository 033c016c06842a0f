//! The story `into-postgres`, to whose server everything happens once: a deadlock, lost answers, no connections left, a
//! restart.

use std::process::Stdio;
use std::time::Duration;

use sluicegate_batcher::Bucket;
use sluicegate_testkit::server::{Direction, Fault, PostgresServer, Proxy};
use tokio::process::Command;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, NoTls};

const PAYMENTS: i64 = 6_000;
const RATE: f64 = 3_000.0;
/// What the story saves up while nothing leaves.
const SLICE: Duration = Duration::from_millis(50);

/// The writer is no superuser, so that its connections can be limited while others still get in. Its third statement
/// meets a deadlock, its sixth a serialization failure.
const PREPARE: &str = "
    CREATE ROLE writer LOGIN PASSWORD 'writer';
    GRANT ALL ON SCHEMA public TO writer;
    CREATE SEQUENCE statements;
    GRANT ALL ON SEQUENCE statements TO writer;
    CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE statement bigint := nextval('statements');
    BEGIN
        IF statement = 3 THEN
            RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01';
        ELSIF statement = 6 THEN
            RAISE EXCEPTION 'could not serialize access' USING ERRCODE = '40001';
        END IF;
        RETURN NULL;
    END $$;
    CREATE TABLE payments (
        id bigint PRIMARY KEY,
        account integer NOT NULL,
        cents bigint NOT NULL CHECK (cents > 0),
        units integer NOT NULL,
        run bigint NOT NULL,
        operation bigint NOT NULL,
        written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        UNIQUE (run, operation)
    );
    GRANT ALL ON payments TO writer;
    CREATE TRIGGER trouble BEFORE INSERT ON payments FOR EACH STATEMENT EXECUTE FUNCTION trouble();";

async fn admin(server: &PostgresServer) -> Client {
    let (client, connection) = tokio_postgres::connect(server.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn number(admin: &Client, query: &str) -> i64 {
    admin.query_one(query, &[]).await.unwrap().get(0)
}

async fn until_written(admin: &Client, payments: i64) {
    let written = async {
        while number(admin, "SELECT count(*) FROM payments").await < payments {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(60), written).await.expect("payments are written");
}

#[tokio::test]
async fn every_payment_is_in_the_table_once_whatever_happens_to_the_server() {
    let server = PostgresServer::start().await.unwrap();
    let before = admin(&server).await;
    before.batch_execute(PREPARE).await.unwrap();

    let address = server.addr().expect("a server of its own: unset SLUICEGATE_POSTGRES_URL for this test");
    let proxy = Proxy::start(address).await.unwrap();
    let url = format!("postgres://writer:writer@{}/postgres", proxy.addr());
    let mut story = Command::new(env!("CARGO_BIN_EXE_into-postgres"));
    story.args(["--url", &url, "--payments", &PAYMENTS.to_string(), "--rate", &RATE.to_string()]);
    let story = story.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();

    // Statements are committed, and nobody hears of it.
    until_written(&before, PAYMENTS / 8).await;
    proxy.set_one_way(Direction::ToClient, Fault::Hold);
    let heard = number(&before, "SELECT count(*) FROM payments").await;
    until_written(&before, heard + 1).await;
    proxy.reset();
    proxy.set(Fault::Pass);

    // Its connections are cut and it gets no new ones, until it has noticed.
    until_written(&before, PAYMENTS / 4).await;
    let cut = "ALTER ROLE writer CONNECTION LIMIT 0;
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'writer'";
    before.batch_execute(cut).await.unwrap();
    let refused = async {
        while !server.log().contains("too many connections for role \"writer\"") {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), refused).await.expect("the story asks for connections");
    before.batch_execute("ALTER ROLE writer CONNECTION LIMIT -1").await.unwrap();

    until_written(&before, PAYMENTS / 2).await;
    server.restart().await.unwrap();

    let output = timeout(Duration::from_secs(180), story.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}{complained}");

    let after = admin(&server).await;
    assert_eq!(number(&after, "SELECT count(*) FROM payments").await, PAYMENTS);
    assert_eq!(number(&after, "SELECT count(DISTINCT id) FROM payments").await, PAYMENTS);
    assert_eq!(number(&after, "SELECT min(id) FROM payments").await, 0);
    assert_eq!(number(&after, "SELECT max(id) FROM payments").await, PAYMENTS - 1);
    // Deadlock, serialization, connections: each was told to the batcher, and none of it was an attempt.
    assert!(complained.matches("payments throttled").count() >= 3, "{complained}");
    assert!(said.contains("of them found as written") && !said.contains(" 0 of them found"), "{said}");
    assert!(said.contains("duplicates refused: 11 of 11"), "{said}");
    assert!(said.contains("payments refused by the table: 1 of 1"), "{said}");

    // R·(w + l + j) + max(b, c): l is the longest way from the budget to the end of a statement.
    let slowest = said.split("slowest statement ").nth(1).and_then(|rest| rest.split(' ').next());
    let slowest: f64 = slowest.unwrap().parse().unwrap();
    for window in [0.1, 0.25, 1.0, 2.0] {
        let query = format!(
            "SELECT MAX(units)::bigint FROM (SELECT SUM(units) OVER (
                ORDER BY written_at RANGE BETWEEN CURRENT ROW AND '{window} seconds' FOLLOWING
            ) AS units FROM payments) AS windows"
        );
        let worst = number(&after, &query).await;
        let late = (slowest + 0.1) / 1e3 + Bucket::SLACK.as_secs_f64();
        let allowed = RATE * (window + late) + RATE * SLICE.as_secs_f64();
        assert!(worst as f64 <= allowed, "{worst} units within {window} s, {allowed:.0} are allowed");
    }
}
