//! Stand-ins for workload identity: a Kubernetes cluster that issues tokens of service accounts, and the token endpoint
//! of Entra that exchanges them for tokens of an [`identity`](crate::identity).

mod entra;
#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use http::{Response, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use crate::web::jwt::{self, SigningKey};
use crate::web::{ANY_PORT, Body, Core, Handler, HangUp, StandIn, base64url, guid, lock, response};

pub use crate::web::{Fault, Recorded};
pub use entra::{Entra, Options};

/// The audience of the tokens that Entra accepts.
pub const AUDIENCE: &str = "api://AzureADTokenExchange";

/// Public on purpose, like the other keys of this crate.
const SIGNING_KEY: &[u8] = include_bytes!("../keys/cluster.pk8");
const DISCOVERY: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";

/// The issuer of a cluster, which serves its keys.
pub type Cluster = StandIn<State>;

impl StandIn<State> {
    /// # Errors
    /// The address cannot be bound.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(ANY_PORT).await?;
        let state = State {
            issuer: format!("http://{}", listener.local_addr()?),
            key: SigningKey::load(SIGNING_KEY)?,
            core: Core::default(),
            issued: Mutex::default(),
        };
        Self::serve(listener, None, state)
    }

    #[must_use]
    pub fn issuer(&self) -> String {
        self.state.issuer.clone()
    }

    /// The subject of a service account's tokens.
    #[must_use]
    pub fn subject(account: &str) -> String {
        format!("system:serviceaccount:default:{account}")
    }

    /// A token of a service account for Entra.
    #[must_use]
    pub fn token(&self, account: &str, life: Duration) -> String {
        self.token_for(AUDIENCE, account, life)
    }

    /// The same for another audience.
    #[must_use]
    pub fn token_for(&self, audience: &str, account: &str, life: Duration) -> String {
        let state = &self.state;
        let now = self.now();
        let claims = json!({
            "aud": [audience],
            "exp": now + life.as_secs(),
            "iat": now,
            "iss": state.issuer,
            "jti": guid(rand::random()),
            "kubernetes.io": {"namespace": "default", "serviceaccount": {"name": account, "uid": guid(rand::random())}},
            "nbf": now,
            "sub": Self::subject(account),
        });
        let message = jwt::message(&json!({"alg": "RS256", "kid": state.key.kid}), &claims);
        let token = format!("{message}.{}", base64url(state.key.sign(&message)));
        lock(&state.issued).push(token.clone());
        token
    }

    /// Puts a new token into a file as the kubelet does: at once, without the end of a line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn project(&self, file: &Path, account: &str, life: Duration) -> io::Result<String> {
        let token = self.token(account, life);
        let new = file.with_extension("new");
        std::fs::write(&new, &token)?;
        std::fs::rename(new, file)?;
        Ok(token)
    }

    /// Every token so far, as (kind, value).
    #[must_use]
    pub fn secrets(&self) -> Vec<(String, String)> {
        lock(&self.state.issued).iter().map(|token| ("service_account_token".to_owned(), token.clone())).collect()
    }
}

#[derive(Debug)]
pub struct State {
    issuer: String,
    key: SigningKey,
    core: Core<()>,
    issued: Mutex<Vec<String>>,
}

impl Handler for State {
    type Target = ();

    fn core(&self) -> &Core<()> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> Result<Response<Body>, HangUp> {
        let keys = format!("{}{KEYS}", self.issuer);
        let body = match request.path() {
            DISCOVERY => json!({
                "issuer": self.issuer,
                "jwks_uri": keys,
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }),
            KEYS => {
                let mut key = self.key.jwk();
                key["alg"] = "RS256".into();
                json!({"keys": [key]})
            }
            _ => return Ok(response::empty(StatusCode::NOT_FOUND)),
        };
        Ok(response::json(StatusCode::OK, &body))
    }
}
