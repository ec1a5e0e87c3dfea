use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use http::response::Parts;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Collected};
use serde_json::json;

use super::lock;
use super::response::{self, Body};

/// Closes the connection without a response.
#[derive(Debug)]
pub struct HangUp;

impl fmt::Display for HangUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("closed on purpose")
    }
}

impl std::error::Error for HangUp {}

/// How a stand-in fails. The request is recorded in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Does what was requested at once, and responds so much later.
    Delay(Duration),
    /// Does nothing and never responds.
    Hang,
    /// Does nothing and closes the connection without a response.
    HangUp,
    /// Does what was requested and closes the connection without a response.
    LoseResponse,
    /// Does nothing and responds with this status, in the form of the service's errors.
    Status { status: u16, retry_after: Option<u32> },
    /// Does nothing and responds with 200 and a page of HTML.
    Html,
    /// Does nothing and responds with 200 and a body that is declared as JSON but is not.
    Garbage,
    /// Does what was requested, but the connection ends in the middle of the response body.
    Truncated,
    /// Does what was requested, but sends half of the JSON, with the length of that half.
    CutJson,
    /// Does nothing and responds with an OAuth error.
    Error(OAuthError),
    /// Identity only: `expires_on` is a number, as newer versions of the virtual machines' endpoint have it.
    NumericExpiry,
    /// Vault only: 403 `ForbiddenByRbac`, where the token is valid.
    ForbiddenByRbac,
    /// Vault only: 403 `ForbiddenByFirewall`, where the token is valid.
    ForbiddenByFirewall,
}

/// An error response of a token endpoint (RFC 6749, section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OAuthError {
    pub status: u16,
    pub error: &'static str,
    pub suberror: Option<&'static str>,
    /// The text of a JSON object.
    pub claims: Option<&'static str>,
    /// Entra's number of the error, for `error_codes` and the AADSTS text.
    pub code: Option<u32>,
}

impl OAuthError {
    /// With status 400 and nothing but `error`.
    #[must_use]
    pub const fn new(error: &'static str) -> Self {
        Self { status: 400, error, suberror: None, claims: None, code: None }
    }

    fn response(&self) -> Response<Body> {
        let code = self.code.map_or_else(String::new, |code| format!("AADSTS{code}: "));
        let mut body =
            json!({"error": self.error, "error_description": format!("{code}A fault that was set by a test.")});
        if let Some(code) = self.code {
            body["error_codes"] = json!([code]);
        }
        for (name, value) in [("suberror", self.suberror), ("claims", self.claims)] {
            if let Some(value) = value {
                body[name] = value.into();
            }
        }
        response::json(valid_status(self.status), &body)
    }
}

impl Fault {
    /// A status without `Retry-After`.
    #[must_use]
    pub const fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None }
    }

    /// Responds according to the fault. `work` does what was requested; `error` makes the service's error response.
    pub(crate) async fn apply(
        self,
        error: fn(StatusCode) -> Response<Body>,
        work: impl FnOnce() -> Response<Body> + Send,
    ) -> Result<Response<Body>, HangUp> {
        Ok(match self {
            Self::Delay(time) => {
                let response = work();
                tokio::time::sleep(time).await;
                response
            }
            Self::Hang => std::future::pending().await,
            Self::HangUp => return Err(HangUp),
            Self::LoseResponse => {
                drop(work());
                return Err(HangUp);
            }
            Self::Status { status, retry_after } => {
                let response = error(valid_status(status));
                match retry_after {
                    Some(seconds) => response::with(response, "retry-after", &seconds.to_string()),
                    None => response,
                }
            }
            Self::Html => {
                response::html(StatusCode::OK, "<!doctype html><title>Sorry</title><h1>Sorry</h1>".to_owned())
            }
            Self::Garbage => response::bytes(StatusCode::OK, "application/json", "{\"value\": [}, \u{fffd} not JSON"),
            Self::Truncated => {
                let (parts, half, length) = halved(work()).await;
                response::truncated(Response::from_parts(parts, Body::default()), half, length)
            }
            Self::CutJson => {
                let (parts, half, _) = halved(work()).await;
                response::bytes(parts.status, "application/json; charset=utf-8", half)
            }
            Self::Error(error) => error.response(),
            Self::NumericExpiry | Self::ForbiddenByRbac | Self::ForbiddenByFirewall => work(),
        })
    }
}

fn valid_status(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The head, the first half of the body, and the length of the whole.
async fn halved(response: Response<Body>) -> (Parts, Bytes, usize) {
    let (parts, body) = response.into_parts();
    let all = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    (parts, all.slice(..all.len() / 2), all.len())
}

/// The faults that are set, each for some targets, such as endpoints. No targets means all.
#[derive(Debug)]
pub(crate) struct Faults<T> {
    rules: Mutex<Vec<Rule<T>>>,
}

#[derive(Debug)]
struct Rule<T> {
    targets: Vec<T>,
    fault: Fault,
    remaining: Option<u32>,
}

impl<T> Default for Faults<T> {
    fn default() -> Self {
        Self { rules: Mutex::default() }
    }
}

impl<T: Copy + PartialEq> Faults<T> {
    pub(crate) fn add(&self, targets: &[T], fault: Fault, times: Option<u32>) {
        lock(&self.rules).push(Rule { targets: targets.to_vec(), fault, remaining: times });
    }

    pub(crate) fn clear(&self) {
        lock(&self.rules).clear();
    }

    /// The fault for a request to this target. Of several, the one that was set last.
    pub(crate) fn take(&self, target: T) -> Option<Fault> {
        let mut rules = lock(&self.rules);
        rules.retain(|rule| rule.remaining != Some(0));
        let concerns = |rule: &&mut Rule<T>| rule.targets.is_empty() || rule.targets.contains(&target);
        let rule = rules.iter_mut().rev().find(concerns)?;
        rule.remaining = rule.remaining.map(|times| times - 1);
        Some(rule.fault)
    }
}
