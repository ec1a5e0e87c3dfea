//! Entra's token endpoint for client credentials with a federated assertion (RFC 7523, section 2.2), over TLS.

use std::io;
use std::sync::Mutex;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::AUDIENCE;
use crate::identity::{Identity, TENANT};
use crate::web::jwt::{TokenError, Verifier, unverified_claims};
use crate::web::{
    ANY_PORT, Body, CertificateAuthority, Core, Form, Handler, HangUp, Recorded, StandIn, guid, lock, response,
};

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

#[derive(Clone, Debug)]
pub struct Options {
    /// The identity with the client id below, whose tokens are issued.
    pub identity: Identity,
    pub client_id: String,
    /// The issuer and the subject that it trusts (a federated identity credential).
    pub issuer: String,
    pub subject: String,
}

pub type Entra = StandIn<State>;

impl StandIn<State> {
    /// # Errors
    /// The address cannot be bound, or the certificate cannot be created.
    pub async fn start(options: Options) -> io::Result<Self> {
        let authority = CertificateAuthority::new("Stand-in for Entra")?;
        let tls = Some(authority.acceptor(["localhost", "127.0.0.1"].map(str::to_owned).to_vec())?);
        let listener = TcpListener::bind(ANY_PORT).await?;
        let state = State {
            authority: authority.pem,
            verifier: Verifier::new(&options.issuer),
            options,
            core: Core::default(),
            errors: Mutex::default(),
        };
        Self::serve(listener, tls, state)
    }

    /// The certificate authority to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.state.authority
    }

    /// The variables of a pod besides `AZURE_FEDERATED_TOKEN_FILE`, as Kubernetes sets them.
    #[must_use]
    pub fn env(&self) -> [(&'static str, String); 3] {
        [
            ("AZURE_AUTHORITY_HOST", format!("https://localhost:{}/", self.addr().port())),
            ("AZURE_CLIENT_ID", self.state.options.client_id.clone()),
            ("AZURE_TENANT_ID", TENANT.to_owned()),
        ]
    }

    /// The numbers of the errors so far.
    #[must_use]
    pub fn errors(&self) -> Vec<u32> {
        lock(&self.state.errors).clone()
    }
}

#[derive(Debug)]
pub struct State {
    options: Options,
    authority: String,
    verifier: Verifier,
    core: Core<()>,
    errors: Mutex<Vec<u32>>,
}

/// Entra's number of an error, and its text.
type Rejection = (u32, &'static str);

impl State {
    async fn token(&self, request: &Recorded) -> Result<Value, Rejection> {
        let form = request.form();
        if form.duplicate().is_some() || form.get("grant_type") != Some("client_credentials") {
            return Err((70_003, "The grant type is missing or not supported."));
        }
        let client_id = form.get("client_id").filter(|id| *id == self.options.client_id);
        let client_id = client_id.ok_or((700_016, "The application was not found in the directory."))?;
        let resource = form.get("scope").and_then(|scope| scope.strip_suffix("/.default"));
        let resource = resource.ok_or((1_002_012, "The scope must have the suffix /.default."))?;
        self.check_assertion(&form).await?;
        let identity = &self.options.identity;
        let token = identity.issue(client_id, resource).ok_or((700_016, "The identity was not found."))?;
        let claims = unverified_claims(&token).unwrap_or_default();
        let left = claims["exp"].as_u64().unwrap_or(0).saturating_sub(identity.now());
        Ok(json!({"token_type": "Bearer", "expires_in": left, "ext_expires_in": left, "access_token": token}))
    }

    async fn check_assertion(&self, form: &Form) -> Result<(), Rejection> {
        if form.get("client_assertion_type") != Some(JWT_BEARER) {
            return Err((900_144, "The client_assertion_type is missing or not supported."));
        }
        let token = form.get("client_assertion").ok_or((7_000_216, "The client_assertion is missing."))?;
        let claims = unverified_claims(token).ok_or((50_027, "The assertion is malformed."))?;
        for (claim, value, number) in [
            ("iss", json!(self.options.issuer), 700_211),
            ("aud", json!([AUDIENCE]), 700_212),
            ("sub", json!(self.options.subject), 700_213),
        ] {
            if claims[claim] != value {
                return Err((number, "No matching federated identity record found for presented assertion."));
            }
        }
        self.verifier.claims(token).await.map_err(|error| match error {
            TokenError::Malformed => (50_027, "The assertion is malformed."),
            _ => (700_027, "The signature of the assertion is invalid."),
        })?;
        if claims["exp"].as_u64().is_none_or(|exp| self.core.clock.now() >= exp) {
            return Err((700_024, "The assertion is not within its valid time range."));
        }
        Ok(())
    }

    async fn respond_with_token(&self, request: &Recorded) -> Response<Body> {
        match self.token(request).await {
            Ok(body) => response::json(StatusCode::OK, &body),
            Err((number, text)) => {
                lock(&self.errors).push(number);
                let body = json!({
                    "error": "invalid_client",
                    "error_description": format!("AADSTS{number}: {text}"),
                    "error_codes": [number],
                    "trace_id": guid(rand::random()),
                    "correlation_id": guid(rand::random()),
                });
                response::json(StatusCode::UNAUTHORIZED, &body)
            }
        }
    }
}

impl Handler for State {
    type Target = ();

    fn core(&self) -> &Core<()> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> Result<Response<Body>, HangUp> {
        let endpoint = format!("/{TENANT}/oauth2/v2.0/token");
        if (request.method.as_str(), request.path()) != ("POST", endpoint.as_str()) {
            return Ok(response::empty(StatusCode::NOT_FOUND));
        }
        match self.core.faults.take(()) {
            Some(fault) => {
                let token = self.respond_with_token(&request).await;
                fault.apply(response::empty, || token).await
            }
            None => Ok(self.respond_with_token(&request).await),
        }
    }
}
