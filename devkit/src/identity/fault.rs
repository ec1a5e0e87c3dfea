use std::sync::Mutex;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::web::{Body, HangUp, lock, reply};

/// What goes wrong. The request has been recorded in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answers so much later.
    Hold(Duration),
    /// Never answers.
    Hang,
    /// Closes the connection without an answer.
    HangUp,
    /// Refuses with this status and an empty body.
    Status(u16),
    /// 200, said to be JSON, but it is none.
    Garbage,
    /// `expires_on` is a number, as the virtual machines' endpoint has it in newer versions.
    NumericExpiry,
}

/// The fault that is set, and for how many requests.
#[derive(Debug, Default)]
pub(super) struct Faults {
    set: Mutex<Option<(Fault, Option<u32>)>>,
}

impl Faults {
    pub(super) fn set(&self, fault: Option<Fault>, times: Option<u32>) {
        *lock(&self.set) = fault.map(|fault| (fault, times));
    }

    fn take(&self) -> Option<Fault> {
        let mut set = lock(&self.set);
        let (fault, times) = set.as_mut()?;
        match times {
            None => {}
            Some(0) => return None,
            Some(left) => *left -= 1,
        }
        Some(*fault)
    }

    /// Answers with what `work` makes, or with what is left of it after the fault that is set.
    pub(super) async fn strike(&self, work: impl FnOnce() -> Response<Body> + Send) -> Result<Response<Body>, HangUp> {
        match self.take() {
            None => Ok(work()),
            Some(Fault::Hold(time)) => {
                tokio::time::sleep(time).await;
                Ok(work())
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::HangUp) => Err(HangUp),
            Some(Fault::Status(status)) => {
                Ok(reply::empty(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)))
            }
            Some(Fault::Garbage) => Ok(reply::bytes(StatusCode::OK, "application/json", "{\"access_token\": <}")),
            Some(Fault::NumericExpiry) => numeric_expiry(work()).await,
        }
    }
}

async fn numeric_expiry(answer: Response<Body>) -> Result<Response<Body>, HangUp> {
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|_| HangUp)?.to_bytes();
    let mut body: Value = serde_json::from_slice(&body).map_err(|_| HangUp)?;
    if let Some(expires) = body.get_mut("expires_on") {
        *expires = expires.as_str().and_then(|text| text.parse::<u64>().ok()).into();
    }
    Ok(reply::json(status, &body))
}
