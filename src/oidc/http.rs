//! Requests to the provider: JSON responses of bounded size, every failure of a known kind.

use std::time::{Duration, UNIX_EPOCH};

use reqwest::StatusCode;
use serde_json::Value;

use super::discovery::is_guid;
use super::members::{self, Malformed, Members};
use crate::clock::{self, UnixSeconds};
use crate::telemetry::loggable_code;

/// Most bytes of a response (contract 7.4a).
const LIMIT: usize = 512 * 1_024;
/// U+FEFF in UTF-8, which a reader of JSON may ignore (RFC 8259 section 8.1).
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
/// Longest pause that a `Retry-After` causes.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Why a request to the provider failed.
#[derive(Debug)]
pub enum RequestError {
    /// The provider rejected the request.
    Rejected(ErrorResponse),
    /// It said that there are too many requests (RFC 6585 section 4), and how long to wait.
    RateLimited(Duration),
    /// It cannot be reached, is too slow, or answered with a status of 500 or above. The text is for the log.
    Unavailable(String),
    /// It responded, but the response is invalid. The text is for the log.
    Unusable(String),
    /// No request was sent. The text is for the log.
    NotSent(String),
}

/// An error response of the token endpoint (RFC 6749 section 5.2).
#[derive(Debug, Default)]
pub struct ErrorResponse {
    /// Such as `invalid_grant`.
    pub error: String,
    /// Entra's finer code.
    pub suberror: Option<String>,
    /// The claims request for the next sign-in (Entra): a JSON object as text.
    pub claims: Option<String>,
    /// Entra's numbers of the error.
    pub codes: Vec<u64>,
    /// Identifies the request in Entra's logs.
    pub correlation_id: Option<String>,
}

impl ErrorResponse {
    fn read(mut document: Members) -> Result<Self, Malformed> {
        let numbers = |value: Value| {
            let several = value.as_array()?;
            Some(several.iter().filter_map(Value::as_u64).take(8).collect())
        };
        Ok(Self {
            error: document.required("error", members::text)?,
            suberror: document.optional("suberror", members::text),
            claims: document.optional("claims", members::text),
            codes: document.optional("error_codes", numbers).unwrap_or_default(),
            correlation_id: document.optional("correlation_id", members::text).filter(|id| is_guid(id)),
        })
    }

    /// Logs what identifies the error at the provider. Its texts may echo the request, and are left out.
    pub(super) fn warn(&self, meaning: &str, message: &str) {
        let (error, suberror) = (loggable_code(&self.error), self.suberror.as_deref().map(loggable_code));
        let Self { codes, correlation_id, .. } = self;
        tracing::warn!(error, suberror, error_codes = ?codes, correlation_id, meaning, "{message}");
    }
}

/// Sends a request and reads the JSON of its response.
///
/// # Errors
/// [`RequestError`], without anything that was sent.
pub async fn json(request: reqwest::RequestBuilder) -> Result<Members, RequestError> {
    let broken = |error: reqwest::Error| RequestError::Unavailable(error.without_url().to_string());
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(RequestError::RateLimited(retry_after(response.headers(), clock::now())));
    }
    let invalid = |problem| {
        if status.is_server_error() { RequestError::Unavailable(problem) } else { RequestError::Unusable(problem) }
    };
    let mut body = zeroize::Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > LIMIT {
            return Err(invalid(format!("status {status} and more than {LIMIT} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    // Whether it is JSON decides the parser: some providers send another content type, or a byte order mark.
    let document = serde_json::from_slice::<Members>(body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&body));
    match document {
        Ok(document) if status.is_success() => Ok(document),
        Ok(document) if status.is_client_error() => Err(ErrorResponse::read(document)
            .map_or_else(|malformed| invalid(format!("status {status}, {malformed}")), RequestError::Rejected)),
        Err(error) if status.is_success() => {
            // serde_json's text may quote the response, which may contain tokens; its position is enough.
            let (line, column) = (error.line(), error.column());
            Err(invalid(format!("status {status}, and not a JSON object at line {line} column {column}")))
        }
        _ => Err(invalid(format!("status {status}"))),
    }
}

/// The pause of a `Retry-After`, in seconds or until a date (RFC 9110 section 10.2.3): 1 s without one, and at most 30
/// s (contract 3.9b).
fn retry_after(headers: &::http::HeaderMap, now: UnixSeconds) -> Duration {
    let now = UNIX_EPOCH + Duration::from_secs(now);
    let value = headers.get(::http::header::RETRY_AFTER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let pause = if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(value.parse().map_or(LONGEST_PAUSE, Duration::from_secs))
    } else {
        httpdate::parse_http_date(value).ok().map(|date| date.duration_since(now).unwrap_or_default())
    };
    pause.unwrap_or(Duration::from_secs(1)).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use ::http::HeaderMap;
    use ::http::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn a_retry_after_is_in_seconds_or_a_date_and_bounded() {
        let now = 1_796_025_600;
        let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        assert_eq!(text, "Mon, 30 Nov 2026 08:00:00 GMT");
        for (value, seconds) in [
            ("7", 7),
            ("0", 0),
            ("31", 30),
            ("99999999999999999999", 30),
            ("Mon, 30 Nov 2026 08:00:09 GMT", 9),
            ("Mon, 30 Nov 2026 09:00:00 GMT", 30),
            ("Mon, 30 Nov 2026 07:00:00 GMT", 0),
            ("soon", 1),
            ("-1", 1),
            ("", 1),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), Duration::from_secs(seconds), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), Duration::from_secs(1));
    }
}
