use http::{Response, StatusCode};
use serde_json::json;

use crate::web::{Body, guid, reply};

/// Why an endpoint does not do what was asked.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) error: &'static str,
    pub(super) suberror: Option<&'static str>,
    code: u32,
    text: String,
}

impl Refusal {
    /// With the OAuth error and the number that Entra gives it.
    pub(super) fn new(error: &'static str, code: u32) -> Self {
        let status = if error == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
        Self { status, error, suberror: None, code, text: String::new() }
    }

    pub(super) fn saying(self, text: &str) -> Self {
        Self { text: text.to_owned(), ..self }
    }

    pub(super) fn suberror(self, suberror: &'static str) -> Self {
        Self { suberror: Some(suberror), ..self }
    }

    pub(super) fn status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn description(&self) -> String {
        format!("AADSTS{}: {}", self.code, self.text)
    }

    /// The JSON of RFC 6749, section 5.2, with what Entra adds.
    pub(super) fn reply(&self) -> Response<Body> {
        let trace = guid(rand::random());
        let mut body = json!({
            "error": self.error,
            "error_description": format!("{} Trace ID: {trace}", self.description()),
            "error_codes": [self.code],
            "trace_id": trace,
            "correlation_id": guid(rand::random()),
        });
        if let (Some(suberror), Some(members)) = (self.suberror, body.as_object_mut()) {
            members.insert("suberror".to_owned(), suberror.into());
        }
        reply::json(self.status, &body)
    }
}
