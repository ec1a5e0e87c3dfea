use std::sync::Mutex;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Collected};
use tokio::time::Instant;

use super::api::Operation;
use super::refusal::Refusal;
use crate::web::{Body, HangUp, lock, reply};

/// What goes wrong. The request has been recorded in every case. All but the two that forbid strike requests without a
/// token too, such as the first of Microsoft's client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Does what was asked at once, and answers so much later.
    Hold(Duration),
    /// Never answers, and does nothing.
    Hang,
    /// Does nothing and closes the connection without an answer.
    HangUp,
    /// Does what was asked and closes the connection without an answer.
    LoseAnswer,
    /// Refuses with a status, such as 429 or 503.
    Status {
        /// The HTTP status.
        status: u16,
        /// Seconds for `Retry-After`, if any.
        retry_after: Option<u32>,
    },
    /// 200, said to be JSON, but it is none.
    Garbage,
    /// Does what was asked, but the connection ends in the middle of the body.
    Truncated,
    /// Does what was asked, but the body ends in the middle of the JSON, and its length is right.
    CutJson,
    /// 403 `ForbiddenByRbac` to a token that counts.
    ForbiddenByRbac,
    /// 403 `ForbiddenByFirewall` to a token that counts.
    ForbiddenByFirewall,
}

impl Fault {
    /// The refusal of a caller who is known.
    pub(super) fn forbids(self, operation: Operation) -> Option<Refusal> {
        match self {
            Self::ForbiddenByRbac => Some(Refusal::by_rbac(operation)),
            Self::ForbiddenByFirewall => Some(Refusal::by_firewall()),
            _ => None,
        }
    }

    /// Answers with what `work` makes, or with what is left of it.
    pub(super) async fn strike(self, work: impl FnOnce() -> Response<Body> + Send) -> Result<Response<Body>, HangUp> {
        Ok(match self {
            Self::Hold(time) => {
                let answer = work();
                tokio::time::sleep(time).await;
                answer
            }
            Self::Hang => std::future::pending().await,
            Self::HangUp => return Err(HangUp),
            Self::LoseAnswer => {
                drop(work());
                return Err(HangUp);
            }
            Self::Status { status, retry_after } => Refusal::with_status(status, retry_after).reply(),
            Self::Garbage => reply::bytes(StatusCode::OK, "application/json", "{\"value\": [}, \u{fffd} not JSON"),
            Self::Truncated => {
                let (parts, half, whole) = halved(work()).await;
                reply::cut(Response::from_parts(parts, Body::default()), half, whole)
            }
            Self::CutJson => {
                let (parts, half, _) = halved(work()).await;
                reply::bytes(parts.status, "application/json; charset=utf-8", half)
            }
            Self::ForbiddenByRbac | Self::ForbiddenByFirewall => work(),
        })
    }
}

async fn halved(answer: Response<Body>) -> (http::response::Parts, bytes::Bytes, usize) {
    let (parts, body) = answer.into_parts();
    let all = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    (parts, all.slice(..all.len() / 2), all.len())
}

/// The faults that are set.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Mutex<Vec<Rule>>,
}

#[derive(Debug)]
struct Rule {
    operations: Vec<Operation>,
    fault: Fault,
    times: Option<u32>,
    until: Option<Instant>,
}

impl Faults {
    pub(super) fn add(&self, operations: &[Operation], fault: Fault, times: Option<u32>, time: Option<Duration>) {
        let until = time.map(|time| Instant::now() + time);
        lock(&self.set).push(Rule { operations: operations.to_vec(), fault, times, until });
    }

    pub(super) fn clear(&self) {
        lock(&self.set).clear();
    }

    /// The fault that strikes this operation now: of several, the one that was set last.
    pub(super) fn take(&self, operation: Operation) -> Option<Fault> {
        let mut set = lock(&self.set);
        let now = Instant::now();
        set.retain(|rule| rule.times != Some(0) && rule.until.is_none_or(|until| now < until));
        let rule = set.iter_mut().rev().find(|rule| rule.operations.contains(&operation))?;
        rule.times = rule.times.map(|times| times.saturating_sub(1));
        Some(rule.fault)
    }
}
