//! Tokens of the Azure credential instead of a password (contract 15.16).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::time::OffsetDateTime;
use cloakroom::credential::{Credential, Identity as Kind};
use cloakroom::session::store::StoreUnavailable;
use cloakroom::store::redis::Config;
use cloakroom::store::redis::client::{Auth, Client};
use devkit::identity::{Identity, Options};
use devkit::redis_server::{Authority, EntraRedis};

use super::tls::trusting;
use super::{config, eventually, get, recovered, set};

const RESOURCE: &str = "https://redis.azure.com";
const SCOPE: &str = "https://redis.azure.com/.default";

/// A credential with the tokens of an identity, while it is available.
#[derive(Debug)]
struct Tokens {
    identity: Identity,
    life: Duration,
    available: AtomicBool,
}

#[async_trait::async_trait]
impl TokenCredential for Tokens {
    async fn get_token(&self, scopes: &[&str], _: Option<TokenRequestOptions<'_>>) -> azure_core::Result<AccessToken> {
        assert_eq!(scopes, [SCOPE]);
        if !self.available.load(Ordering::Relaxed) {
            return Err(azure_core::Error::with_message(azure_core::error::ErrorKind::Credential, "unavailable"));
        }
        Ok(AccessToken::new(Secret::new(self.identity.token(RESOURCE)), OffsetDateTime::now_utc() + self.life))
    }
}

/// A server that accepts the tokens of `accepted`, and a client with those of `used`, which live for so long.
async fn server_and_client(
    accepted: &Identity,
    used: Identity,
    life: Duration,
) -> (EntraRedis, Arc<Tokens>, Arc<Client>) {
    let authority = Authority::new().unwrap();
    let server = EntraRedis::start(accepted, &authority, &["localhost"]).await.unwrap();
    let tokens = Arc::new(Tokens { identity: used, life, available: AtomicBool::new(true) });
    let net = trusting(&authority);
    let credential = Credential::new(Kind::Given(Arc::<Tokens>::clone(&tokens)), Arc::clone(&net));
    let auth = Auth::Entra { scope: SCOPE.to_owned(), credential: Arc::new(credential) };
    let config = Config { host: "localhost".to_owned(), tls: true, auth, ..config(server.port()) };
    (server, tokens, Client::new(config, net))
}

/// The client's identity is the one that has access.
async fn authenticated(life: Duration) -> (EntraRedis, Arc<Tokens>, Arc<Client>) {
    let identity = Identity::start(Options { token_life: life, ..Options::default() }).await.unwrap();
    server_and_client(&identity, identity.clone(), life).await
}

/// The server closes connections whose token has expired: this one never is.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_authenticates_again_before_its_token_expires_without_dropping_calls() {
    let (server, _tokens, client) = authenticated(Duration::from_secs(4)).await;
    set(&client, "a", "1").await.unwrap();
    while server.logins().len() < 3 {
        let calls = (0..20).map(|_| {
            let client = Arc::clone(&client);
            tokio::spawn(async move { get(&client, "a").await })
        });
        for value in futures_util::future::join_all(calls).await {
            assert_eq!(value.unwrap().unwrap().as_deref(), Some("1"));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.logins(), [(0, true), (0, true), (0, true)], "on the one connection");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_store_is_unavailable_until_there_is_one() {
    let (server, tokens, client) = authenticated(Duration::from_secs(2)).await;
    set(&client, "a", "1").await.unwrap();
    tokens.available.store(false, Ordering::Relaxed);
    eventually("the token expires", async || get(&client, "a").await == Err(StoreUnavailable)).await;
    assert!(client.check().await.unwrap_err().contains("check the credential"));
    tokens.available.store(true, Ordering::Relaxed);
    assert_eq!(recovered(async || get(&client, "a").await).await.as_deref(), Some("1"));
    assert!(server.logins().iter().all(|(_, is_good)| *is_good));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_without_access_gets_no_connection() {
    let [accepted, used] = [Identity::start(Options::default()).await, Identity::start(Options::default()).await];
    let (server, _tokens, client) = server_and_client(&accepted.unwrap(), used.unwrap(), Duration::from_secs(60)).await;
    assert_eq!(get(&client, "a").await, Err(StoreUnavailable));
    assert!(client.check().await.unwrap_err().contains("WRONGPASS"));
    let logins = server.logins();
    assert!(!logins.is_empty() && logins.iter().all(|(_, is_good)| !is_good), "{logins:?}");
}
