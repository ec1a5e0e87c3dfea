use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};

use crate::web::{Body, HangUp, lock, reply};

/// The endpoints that faults can be set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// The discovery document.
    Discovery,
    /// The key set.
    Keys,
    /// The token endpoint.
    Token,
}

/// What goes wrong. The request has been recorded in every case.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Does what was asked at once (a refresh token is spent, if it can be), and answers so much later.
    Hold(Duration),
    /// Refuses with this status and an empty body; 429 and 503 come with `Retry-After: 7`.
    Status(u16),
    /// 200 with a page of HTML.
    Html,
    /// 200, said to be JSON, but it is none.
    Garbage,
    /// Does what was asked, but the connection ends in the middle of the body.
    Truncated,
    /// Does nothing and closes the connection without an answer.
    HangUp,
    /// Does what was asked and closes the connection without an answer.
    LoseAnswer,
    /// Refuses with a JSON error as of the token endpoint.
    Error(ErrorBody),
}

/// A JSON error of the tester's choice.
#[derive(Clone, Debug, Default)]
pub struct ErrorBody {
    /// The HTTP status; 0 is 400.
    pub status: u16,
    /// `error`.
    pub error: String,
    /// `suberror`, if any.
    pub suberror: Option<String>,
    /// `claims`, if any: the text of a JSON object.
    pub claims: Option<String>,
    /// `error_codes`, and the number of the AADSTS text; empty leaves both out.
    pub error_codes: Vec<u32>,
}

impl ErrorBody {
    /// The error of that name with status 400 and nothing else.
    #[must_use]
    pub fn new(error: &str) -> Self {
        Self { error: error.to_owned(), ..Self::default() }
    }

    fn reply(&self) -> Response<Body> {
        let mut body = Map::new();
        body.insert("error".to_owned(), self.error.clone().into());
        let code = self.error_codes.first().map_or_else(String::new, |code| format!("AADSTS{code}: "));
        body.insert("error_description".to_owned(), format!("{code}A fault that was set by a test.").into());
        if !self.error_codes.is_empty() {
            body.insert("error_codes".to_owned(), self.error_codes.clone().into());
        }
        for (name, value) in [("suberror", &self.suberror), ("claims", &self.claims)] {
            if let Some(value) = value {
                body.insert(name.to_owned(), value.clone().into());
            }
        }
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        reply::json(status, &Value::Object(body))
    }
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Mutex<BTreeMap<Endpoint, (Fault, Option<u32>)>>,
}

impl Faults {
    /// `times` bounds how many requests it strikes.
    pub(super) fn set(&self, endpoint: Endpoint, fault: Option<Fault>, times: Option<u32>) {
        let mut set = lock(&self.set);
        match fault {
            Some(fault) => set.insert(endpoint, (fault, times)),
            None => set.remove(&endpoint),
        };
    }

    fn take(&self, endpoint: Endpoint) -> Option<Fault> {
        let mut set = lock(&self.set);
        let (fault, times) = set.get_mut(&endpoint)?;
        match times {
            None => {}
            Some(0) => return None,
            Some(left) => *left -= 1,
        }
        Some(fault.clone())
    }

    /// Answers with what `work` makes, or with what is left of it after the fault that is set.
    pub(super) async fn strike(
        &self,
        endpoint: Endpoint,
        work: impl FnOnce() -> Response<Body> + Send,
    ) -> Result<Response<Body>, HangUp> {
        let Some(fault) = self.take(endpoint) else {
            return Ok(work());
        };
        Ok(match fault {
            Fault::Hold(time) => {
                let answer = work();
                tokio::time::sleep(time).await;
                answer
            }
            Fault::Status(status) => refused(status),
            Fault::Html => reply::html(StatusCode::OK, "<!doctype html><title>Sorry</title><h1>Sorry</h1>".to_owned()),
            Fault::Garbage => reply::bytes(StatusCode::OK, "application/json", "{\"keys\": [}, \u{fffd} not JSON"),
            Fault::Truncated => truncated(work()).await,
            Fault::HangUp => return Err(HangUp),
            Fault::LoseAnswer => {
                drop(work());
                return Err(HangUp);
            }
            Fault::Error(error) => error.reply(),
        })
    }
}

fn refused(status: u16) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let answer = reply::empty(status);
    match status.as_u16() {
        429 | 503 => reply::with(answer, http::header::RETRY_AFTER, "7"),
        _ => answer,
    }
}

/// The head and the first half of the body; the connection ends where the rest should come.
async fn truncated(whole: Response<Body>) -> Response<Body> {
    let (parts, body) = whole.into_parts();
    let all = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let half = all.slice(..all.len() / 2);
    reply::cut(Response::from_parts(parts, Body::default()), half, all.len())
}
