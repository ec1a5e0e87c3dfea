//! A stand-in for Microsoft Graph, for access tokens of one issuer.

mod routes;
mod streams;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::web::jwt::{TokenError, Verifier};
use crate::web::{ANY_PORT, Body, Core, Handler, HangUp, StandIn, lock, response};

pub use crate::web::Recorded;

/// How many events a listener may lag behind.
const EVENTS: usize = 64;
const CHALLENGE: &str =
    "Bearer realm=\"\", authorization_uri=\"https://login.microsoftonline.com/common/oauth2/authorize\"";

#[derive(Clone, Debug)]
pub struct GraphOptions {
    pub addr: SocketAddr,
    /// The issuer of valid tokens. Its keys are found by discovery when first needed.
    pub issuer: String,
    pub audience: String,
}

impl GraphOptions {
    #[must_use]
    pub fn new(issuer: &str) -> Self {
        Self { addr: ANY_PORT, issuer: issuer.to_owned(), audience: "https://graph.microsoft.com".to_owned() }
    }
}

/// All paths are under `/v1.0` and require a valid token:
///
/// | path | response |
/// |---|---|
/// | `GET /me`, `PATCH /me` | the user of the token; 204 |
/// | `GET /me/photo/$value` | a PNG with `ETag`, conditional and in ranges |
/// | `GET /me/messages?$top=&$skip=` | pages of 25 messages with an absolute `@odata.nextLink` |
/// | `POST /me/sendMail` | 202 |
/// | `GET /users` | two users |
/// | any `/echo/{path}` | the request as JSON: `method`, `target`, `headers`, `body_length`, `body_sha256`, `body` |
/// | any `/hostile` | headers that would affect the gateway's origin |
/// | any `/headers?{name}={value}` | an empty JSON object with these headers, which may repeat |
/// | any `/redirect?to=&status=` | a redirect, by default 302 |
/// | any `/slow?first=&total=&chunks=` | head after `first` ms, the last of `chunks` chunks after `total` ms |
/// | any `/bytes?n=&chunked=` | `n` bytes, streamed; with `chunked=1` without `Content-Length` |
/// | any `/events` | server-sent events: those sent by [`Graph::send_event`] from then on |
/// | any `/status/{code}` | that status, with a Graph-like error from 400 on; 429 and 503 with `Retry-After: 7` |
/// | any `/hang-up?after=` | none: the connection closes; with `after` when so many of 1,000 bytes were sent |
pub type Graph = StandIn<State>;

impl StandIn<State> {
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: GraphOptions) -> io::Result<Self> {
        let listener = TcpListener::bind(options.addr).await?;
        let state = State {
            origin: format!("http://{}", listener.local_addr()?),
            link_origin: Mutex::default(),
            verifier: Verifier::new(&options.issuer),
            audience: options.audience,
            core: Core::default(),
            required_context: Mutex::default(),
            challenge: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
        };
        Self::serve(listener, None, state)
    }

    /// `http://127.0.0.1:PORT/v1.0`, for an API map.
    #[must_use]
    pub fn base(&self) -> String {
        format!("{}/v1.0", self.state.origin)
    }

    /// Sets the origin of absolute links, such as Graph's own `https://graph.microsoft.com`.
    pub fn set_link_origin(&self, origin: &str) {
        *lock(&self.state.link_origin) = Some(origin.to_owned());
    }

    /// Sends an event to all listeners at `/events`, and returns their number.
    pub fn send_event(&self, event: &str) -> usize {
        self.state.events.send(event.to_owned()).unwrap_or(0)
    }

    /// From now on rejects tokens without this authentication context in `acrs`, by a claims challenge (401
    /// `insufficient_claims`); `None` ends it.
    pub fn require_context(&self, context: Option<&str>) {
        *lock(&self.state.required_context) = context.map(str::to_owned);
    }

    /// From now on answers 401 with this `WWW-Authenticate`, whatever the token; `None` ends it.
    pub fn set_challenge(&self, challenge: Option<&str>) {
        *lock(&self.state.challenge) = challenge.map(str::to_owned);
    }
}

#[derive(Debug)]
pub struct State {
    origin: String,
    link_origin: Mutex<Option<String>>,
    verifier: Verifier,
    audience: String,
    core: Core<()>,
    required_context: Mutex<Option<String>>,
    challenge: Mutex<Option<String>>,
    events: broadcast::Sender<String>,
}

impl State {
    /// An absolute link to a path under `/v1.0`.
    fn link(&self, path: &str) -> String {
        let origin = lock(&self.link_origin).clone().unwrap_or_else(|| self.origin.clone());
        format!("{origin}/v1.0{path}")
    }

    /// The claims of the request's token, or why it is invalid.
    async fn authorize(&self, request: &Recorded) -> Result<Value, &'static str> {
        let token = match request.header_values("authorization").as_slice() {
            [] => return Err("Access token is empty."),
            [line] => line.strip_prefix("Bearer ").ok_or("No bearer token.")?,
            _ => return Err("Two Authorization headers."),
        };
        let claims = self.verifier.claims(token).await.map_err(|error| match error {
            TokenError::Algorithm => "Invalid signature algorithm.",
            TokenError::Malformed => "CompactToken parsing failed.",
            TokenError::Signature => "Signature is invalid.",
            TokenError::UnknownKey => "Signing key is invalid.",
        })?;
        let now = self.core.clock.now();
        if claims["iss"] != self.verifier.issuer() {
            return Err("Access token validation failure. Invalid issuer.");
        }
        if claims["aud"] != self.audience.as_str() {
            return Err("Access token validation failure. Invalid audience.");
        }
        if claims["exp"].as_u64().is_none_or(|exp| now >= exp) {
            return Err("Lifetime validation failed, the token is expired.");
        }
        if claims["nbf"].as_u64().is_some_and(|nbf| nbf > now + 300) {
            return Err("Lifetime validation failed, the token is not yet valid.");
        }
        Ok(claims)
    }
}

impl Handler for State {
    type Target = ();

    fn core(&self) -> &Core<()> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> Result<Response<Body>, HangUp> {
        let claims = match self.authorize(&request).await {
            Ok(claims) => claims,
            Err(why) => return Ok(unauthorized(why, CHALLENGE)),
        };
        if let Some(challenge) = lock(&self.challenge).clone() {
            return Ok(unauthorized("Another authentication is required.", &challenge));
        }
        let required = lock(&self.required_context).clone();
        let has = |context: &str| claims["acrs"].as_array().is_some_and(|acrs| acrs.iter().any(|acr| acr == context));
        match required.filter(|context| !has(context)) {
            Some(context) => Ok(claims_challenge(&context)),
            None => routes::respond(self, &request, &claims).await,
        }
    }
}

/// As continuous access evaluation sends it.
fn claims_challenge(context: &str) -> Response<Body> {
    let claims = json!({"access_token": {"acrs": {"essential": true, "value": context}}}).to_string();
    let line = format!("{CHALLENGE}, error=\"insufficient_claims\", claims=\"{}\"", STANDARD.encode(claims));
    unauthorized("Continuous access evaluation resulted in challenge.", &line)
}

fn unauthorized(why: &str, challenge: &str) -> Response<Body> {
    let error = routes::error(StatusCode::UNAUTHORIZED, "InvalidAuthenticationToken", why);
    response::with(error, "www-authenticate", challenge)
}
