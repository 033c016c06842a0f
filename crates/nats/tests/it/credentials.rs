use std::fs;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use sluicegate_nats::{
    ConnectErrorKind, NatsEvent, ResolveError, SecretBytes, SecretResolver, Settings, Supervision, connect,
};
use sluicegate_testkit::server::NatsServer;
use tempfile::NamedTempFile;

use crate::support::{PATIENCE, connected, echo, free_port, text, until};

/// A server on that port where bob has that password.
async fn server(port: u16, password: &str) -> NatsServer {
    let config = format!("authorization {{ users: [{{ user: bob, password: {password:?} }}] }}\n");
    NatsServer::builder().port(port).config(&config).start().await.unwrap()
}

fn url(port: u16) -> String {
    format!("nats://127.0.0.1:{port}")
}

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn refused_soon() -> Supervision {
    Supervision::default().refused_after(Duration::from_millis(300))
}

fn is_refusal(event: &NatsEvent) -> bool {
    matches!(event, NatsEvent::CredentialsRefused { .. })
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_not_a_timeout() {
    let port = free_port();
    let _server = server(port, "right").await;
    for settings in [
        Settings::from_url(&url(port)),
        Settings::builder().server(&url(port)).user_and_password("bob", "wrong").build(),
        Settings::builder().server(&url(port)).token("right").build(),
    ] {
        let error = connect(&settings.unwrap()).await.unwrap_err();
        assert_eq!(error.kind(), ConnectErrorKind::AuthRefused, "{error}");
    }
    connected(&format!("nats://bob:right@127.0.0.1:{port}")).await;
}

#[tokio::test]
async fn a_token_is_sent() {
    let port = free_port();
    let config = "authorization { token: \"tok\" }\n";
    let _server = NatsServer::builder().port(port).config(config).start().await.unwrap();
    connected(&format!("nats://tok@127.0.0.1:{port}")).await;
    let settings = Settings::builder().server(&url(port)).token("data:;base64,dG9r").build().unwrap();
    connect(&settings).await.unwrap();
}

#[tokio::test]
async fn an_nkey_signs() {
    let user = nkeys::KeyPair::new_user();
    let config = format!("authorization {{ users: [{{ nkey: {} }}] }}\n", user.public_key());
    let server = NatsServer::builder().config(&config).start().await.unwrap();
    let seed = file(&user.seed().unwrap());
    let settings = Settings::builder().server(&server.url()).nkey(seed.path().to_str().unwrap()).build();
    connect(&settings.unwrap()).await.unwrap();
    let other = file(&nkeys::KeyPair::new_user().seed().unwrap());
    let settings = Settings::builder().server(&server.url()).nkey(other.path().to_str().unwrap()).build();
    assert_eq!(connect(&settings.unwrap()).await.unwrap_err().kind(), ConnectErrorKind::AuthRefused);
}

#[tokio::test]
async fn credentials_that_cannot_be_read_are_named() {
    let settings = Settings::builder().creds("/nonexistent/x.creds").build().unwrap();
    let error = connect(&settings).await.unwrap_err();
    assert_eq!(error.kind(), ConnectErrorKind::Credentials);
    assert!(error.to_string().contains("/nonexistent/x.creds"), "{error}");
}

#[tokio::test]
async fn a_rotated_file_is_read_again_at_the_reconnect() {
    let port = free_port();
    let before = server(port, "old").await;
    let password = file("old\n");
    let reference = format!("file://{}", password.path().display());
    let settings =
        Settings::builder().server(&url(port)).user_and_password("bob", reference.as_str()).build().unwrap();
    let connection = connect(&settings).await.unwrap();
    let mut events = connection.events();
    before.kill().await.unwrap();
    fs::write(password.path(), "new\n").unwrap();
    let _after = server(port, "new").await;
    let seen = until(&mut events, |event| *event == NatsEvent::Reconnected).await;
    assert!(!seen.iter().any(is_refusal), "{seen:?}");
    echo(&connection, "credentials.echo").await;
    assert!(connection.request("credentials.echo", None, text("x"), PATIENCE).await.is_ok());
}

#[tokio::test]
async fn a_refusal_that_lasts_is_told_and_ends_when_the_file_is_right() {
    let port = free_port();
    let before = server(port, "old").await;
    let password = file("old");
    let reference = format!("file://{}", password.path().display());
    let settings = Settings::builder()
        .server(&url(port))
        .user_and_password("bob", reference.as_str())
        .supervision(refused_soon())
        .build()
        .unwrap();
    let connection = connect(&settings).await.unwrap();
    let mut events = connection.events();
    before.kill().await.unwrap();
    let _after = server(port, "new").await;
    let seen = until(&mut events, is_refusal).await;
    assert_eq!(seen.iter().filter(|event| is_refusal(event)).count(), 1);
    assert!(!connection.is_connected());
    // A file that is gone is a refusal too, and no reason to stop.
    fs::remove_file(password.path()).unwrap();
    fs::write(password.path(), "new").unwrap();
    let seen = until(&mut events, |event| *event == NatsEvent::Reconnected).await;
    assert!(!seen.iter().any(is_refusal), "once an outage: {seen:?}");
    echo(&connection, "credentials.echo").await;
    assert!(connection.request("credentials.echo", None, text("x"), PATIENCE).await.is_ok());
}

/// Remembers how often it was asked.
#[derive(Debug)]
struct Vault(Mutex<(&'static str, u32)>);

impl SecretResolver for Vault {
    fn schemes(&self) -> &[&str] {
        &["vault"]
    }

    fn resolve(&self, _reference: &str) -> Result<SecretBytes, ResolveError> {
        let mut vault = self.0.lock().unwrap();
        vault.1 += 1;
        Ok(vault.0.as_bytes().to_vec().into())
    }
}

#[tokio::test]
async fn what_is_asked_once_is_asked_again_when_the_client_is_rebuilt() {
    let port = free_port();
    let before = server(port, "old").await;
    let vault = Arc::new(Vault(Mutex::new(("old", 0))));
    let settings = Settings::builder()
        .server(&url(port))
        .resolver(Arc::clone(&vault) as Arc<dyn SecretResolver>)
        .user_and_password("bob", "vault://bob")
        .supervision(refused_soon())
        .build()
        .unwrap();
    let connection = connect(&settings).await.unwrap();
    assert_eq!(vault.0.lock().unwrap().1, 1);
    let mut events = connection.events();
    before.kill().await.unwrap();
    let _after = server(port, "new").await;
    vault.0.lock().unwrap().0 = "new";
    let seen = until(&mut events, |event| *event == NatsEvent::Reconnected).await;
    assert!(seen.iter().any(is_refusal) && seen.contains(&NatsEvent::ClientRebuilt), "{seen:?}");
    assert!(connection.is_connected());
    echo(&connection, "credentials.echo").await;
    assert!(connection.request("credentials.echo", None, text("x"), PATIENCE).await.is_ok());
}
