//! The client of Redis against real servers, which each test starts (contract 15.12 to 15.16).

mod standalone;

use std::sync::Arc;

use cloakroom::session::store::StoreUnavailable;
use cloakroom::store::redis::Config;
use cloakroom::store::redis::client::{Auth, Client};
use redis::Value;

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

/// Sends a command whose first argument is its key.
pub async fn call(client: &Client, words: &[&str]) -> Result<Value, StoreUnavailable> {
    let mut command = redis::cmd(words[0]);
    words[1..].iter().for_each(|word| {
        command.arg(*word);
    });
    client.call(words.get(1).copied().unwrap_or_default(), &command).await
}

/// The value of a key.
pub async fn get(client: &Client, key: &str) -> Result<Option<String>, StoreUnavailable> {
    let value = call(client, &["GET", key]).await?;
    Ok(redis::from_redis_value(value).unwrap())
}
