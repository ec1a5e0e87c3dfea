//! The client of Redis against real servers, which each test starts (contract 15.12 to 15.16).

mod cluster;
mod entra;
mod faults;
mod garbage;
mod gateway;
mod standalone;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use cloakroom::session::store::StoreUnavailable;
use cloakroom::store::redis::Config;
use cloakroom::store::redis::client::{Auth, Client, Health};
use redis::Value;
use tokio::time::{sleep, timeout};

use crate::app::PATIENCE;

/// After the end of a fault calls succeed within 5 s (contract 15.13); three times that where many tests run at a time.
pub const RECOVERY: Duration = Duration::from_secs(15);

/// The configuration of a client of a server on loopback, without TLS and without a user.
pub fn config(port: u16) -> Config {
    Config {
        host: "127.0.0.1".to_owned(),
        port,
        tls: false,
        database: 0,
        auth: Auth::None,
        prefix: "cloakroom".to_owned(),
    }
}

/// A client of a server on loopback, without TLS and without a user.
pub fn client(port: u16) -> Arc<Client> {
    Client::new(config(port), Arc::default())
}

pub fn password(user: Option<&str>, password: &str) -> Auth {
    Auth::Password { user: user.map(str::to_owned), password: password.to_owned().into() }
}

/// Sends a command whose first argument is its key.
pub async fn call(client: &Client, words: &[&str]) -> Result<Value, StoreUnavailable> {
    let mut command = redis::cmd(words[0]);
    command.arg(&words[1..]);
    client.call(words.get(1).copied().unwrap_or_default(), &command).await
}

/// The value of a key.
pub async fn get(client: &Client, key: &str) -> Result<Option<String>, StoreUnavailable> {
    let value = call(client, &["GET", key]).await?;
    Ok(redis::from_redis_value(value).unwrap())
}

pub async fn set(client: &Client, key: &str, value: &str) -> Result<(), StoreUnavailable> {
    let reply = call(client, &["SET", key, value]).await?;
    assert_eq!(reply, Value::Okay);
    Ok(())
}

/// Repeats a call until it succeeds, for as long as the contract allows after the end of a fault.
async fn recovered<T>(mut attempt: impl AsyncFnMut() -> Result<T, StoreUnavailable>) -> T {
    let repeated = async {
        loop {
            if let Ok(value) = attempt().await {
                return value;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(RECOVERY, repeated).await.expect("calls succeed soon after the end of the fault")
}

/// Waits until a condition holds.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let repeated = async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(PATIENCE, repeated).await.is_ok(), "never: {what}");
}

/// A call fails, and the health says so. The server may get it later nevertheless.
async fn assert_down(client: &Client) {
    assert_eq!(set(client, "b", "0").await, Err(StoreUnavailable));
    assert_eq!(client.health(), Health::Down);
}

/// The fault has ended: calls succeed with the value of before.
async fn assert_recovers(client: &Client) {
    assert_eq!(recovered(async || get(client, "a").await).await.as_deref(), Some("1"));
    recovered(async || set(client, "b", "1").await).await;
    assert_eq!(client.health(), Health::Up);
}
