//! Users of an operator: JWTs that are signed by accounts, expire, and are replaced in their file.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use sluicegate_nats::{ConnectErrorKind, NatsEvent, Settings, connect};
use sluicegate_testkit::server::NatsServer;
use tempfile::NamedTempFile;
use time::{Duration, OffsetDateTime};

use crate::support::{PATIENCE, echo, text, until};

fn jwt(issuer: &KeyPair, subject: &KeyPair, expires: Option<OffsetDateTime>, nats: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut claims = json!({
        "jti": subject.public_key(), "iat": OffsetDateTime::now_utc().unix_timestamp(),
        "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test", "nats": nats,
    });
    if let Some(expires) = expires {
        claims["exp"] = expires.unix_timestamp().into();
    }
    let signed = format!("{}.{}", encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" })), encode(&claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

struct Account {
    server: NatsServer,
    key: KeyPair,
    user: KeyPair,
}

impl Account {
    async fn start() -> Self {
        let (operator, key) = (KeyPair::new_operator(), KeyPair::new_account());
        let limits = json!({
            "subs": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "data": -1, "payload": -1,
            "wildcards": true,
        });
        let account = json!({ "type": "account", "version": 2, "limits": limits });
        let config = format!(
            "operator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {} }}\n",
            jwt(&operator, &operator, None, &json!({ "type": "operator", "version": 2 })),
            key.public_key(),
            jwt(&operator, &key, None, &account),
        );
        let server = NatsServer::builder().jetstream(false).config(&config).start().await.unwrap();
        Self { server, key, user: KeyPair::new_user() }
    }

    fn user_jwt(&self, expires: Option<OffsetDateTime>) -> String {
        let user = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        jwt(&self.key, &self.user, expires, &user)
    }

    fn creds(&self, expires: Option<OffsetDateTime>) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.user_jwt(expires),
            self.user.seed().unwrap(),
        )
    }
}

#[tokio::test]
async fn creds_files_and_their_parts_connect() {
    let account = Account::start().await;
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), account.creds(None)).unwrap();
    let seed = account.user.seed().unwrap();
    let server = || Settings::builder().server(&account.server.url());
    for settings in [
        server().creds(file.path().to_str().unwrap()),
        server().jwt(account.user_jwt(None), Some(seed.into())),
    ] {
        connect(&settings.build().unwrap()).await.unwrap();
    }
    let other = KeyPair::new_user().seed().unwrap();
    let settings = server().jwt(account.user_jwt(None), Some(other.into())).build().unwrap();
    assert_eq!(connect(&settings).await.unwrap_err().kind(), ConnectErrorKind::AuthRefused);
    let expired = OffsetDateTime::now_utc() - Duration::hours(1);
    fs::write(file.path(), account.creds(Some(expired))).unwrap();
    let settings = server().creds(file.path().to_str().unwrap()).build().unwrap();
    assert_eq!(connect(&settings).await.unwrap_err().kind(), ConnectErrorKind::AuthRefused);
}

#[tokio::test]
async fn a_jwt_that_expired_is_replaced_by_the_one_in_the_file() {
    let account = Account::start().await;
    let file = NamedTempFile::new().unwrap();
    let soon = OffsetDateTime::now_utc() + Duration::seconds(2);
    fs::write(file.path(), account.creds(Some(soon))).unwrap();
    let settings = Settings::builder()
        .server(&account.server.url())
        .creds(file.path().to_str().unwrap())
        .build()
        .unwrap();
    let connection = connect(&settings).await.unwrap();
    let mut events = connection.events();
    fs::write(file.path(), account.creds(None)).unwrap();
    let seen = until(&mut events, |event| *event == NatsEvent::Reconnected).await;
    let expired = NatsEvent::ServerError { text: "User Authentication Expired".to_owned() };
    assert!(seen.contains(&expired), "{seen:?}");
    assert!(!seen.contains(&NatsEvent::ClientRebuilt), "the same client came back: {seen:?}");
    echo(&connection, "jwt.echo").await;
    assert!(connection.request("jwt.echo", None, text("x"), PATIENCE).await.is_ok());
}
