mod rest;
mod sdk;

use std::sync::Once;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Method};
use serde_json::Value;

use super::*;
use crate::identity;

/// reqwest is built without a crypto provider.
fn install_ring() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tokio_rustls::rustls::crypto::ring::default_provider().install_default().unwrap());
}

/// A client that trusts only this vault's authority.
fn trusting(vault: &Vault) -> ClientBuilder {
    install_ring();
    let authority = Certificate::from_pem(vault.ca_pem().as_bytes()).unwrap();
    Client::builder().tls_certs_only([authority]).redirect(reqwest::redirect::Policy::none())
}

/// A vault with a client that has a token for it.
struct Setup {
    vault: Vault,
    identity: Identity,
    client: Client,
}

impl Setup {
    async fn start() -> Self {
        let identity = Identity::start(identity::Options::default()).await.unwrap();
        let vault = Vault::start(Options::new(&identity)).await.unwrap();
        Self { client: trusting(&vault).build().unwrap(), vault, identity }
    }

    /// Returns the status and the JSON of the response.
    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let token = self.identity.token(KEY_VAULT);
        let mark = if path.contains('?') { '&' } else { '?' };
        let url = format!("{}{path}{mark}api-version=2025-07-01", self.vault.url());
        let request = self.client.request(method, url).bearer_auth(token);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }
}

/// The error's code and inner code.
fn codes(body: &Value) -> (&str, &str) {
    let error = &body["error"];
    (error["code"].as_str().unwrap_or_default(), error["innererror"]["code"].as_str().unwrap_or_default())
}
