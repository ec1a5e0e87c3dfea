use http::{Response, StatusCode};
use serde_json::json;

use crate::web::{Body, guid, response};

/// An error of an endpoint, with the number that Entra gives it.
#[derive(Debug)]
pub(super) struct Error {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) suberror: Option<&'static str>,
    pub(super) code: u32,
    pub(super) text: String,
}

impl Error {
    pub(super) fn new(error: &'static str, code: u32, text: &str) -> Self {
        let status = if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        Self { status, error, suberror: None, code, text: text.to_owned() }
    }

    pub(super) fn invalid_request(code: u32, text: &str) -> Self {
        Self::new("invalid_request", code, text)
    }

    pub(super) fn invalid_grant(code: u32, text: &str) -> Self {
        Self::new("invalid_grant", code, text)
    }

    pub(super) fn invalid_client(code: u32, text: &str) -> Self {
        Self::new("invalid_client", code, text)
    }

    pub(super) fn description(&self) -> String {
        format!("AADSTS{}: {}", self.code, self.text)
    }

    /// The JSON of RFC 6749, section 5.2, with Entra's additions.
    pub(super) fn response(&self) -> Response<Body> {
        let trace = guid(rand::random());
        let mut body = json!({
            "error": self.error,
            "error_description": format!("{} Trace ID: {trace}", self.description()),
            "error_codes": [self.code],
            "trace_id": trace,
            "correlation_id": guid(rand::random()),
        });
        if let Some(suberror) = self.suberror {
            body["suberror"] = suberror.into();
        }
        response::json(self.status, &body)
    }
}
