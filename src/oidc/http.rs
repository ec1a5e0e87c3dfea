//! Requests to the provider: JSON responses of bounded size, every failure of a known kind.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Most bytes of a response (contract 7.4a).
const LIMIT: usize = 512 * 1_024;

/// Why a request to the provider failed.
#[derive(Debug)]
pub enum RequestError {
    /// The provider rejected the request.
    Rejected(ErrorResponse),
    /// It cannot be reached, is too slow, or its response is invalid. The text is for the log.
    Unavailable(String),
}

/// An error response of the token endpoint (RFC 6749 section 5.2).
#[derive(Debug, Deserialize)]
pub struct ErrorResponse {
    /// Such as `invalid_grant`.
    pub error: String,
    /// Entra's finer code.
    #[serde(default)]
    pub suberror: Option<String>,
    /// The claims request for the next sign-in (Entra): a JSON object as text.
    #[serde(default)]
    pub claims: Option<String>,
}

/// Sends a request and reads the JSON of its response.
///
/// # Errors
/// [`RequestError`], without anything that was sent.
pub async fn json<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, RequestError> {
    let unavailable = |problem: String| RequestError::Unavailable(problem);
    let mut response = request.send().await.map_err(|error| unavailable(error.without_url().to_string()))?;
    let status = response.status();
    let mut body = zeroize::Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await.map_err(|error| unavailable(error.without_url().to_string()))? {
        if body.len() + chunk.len() > LIMIT {
            return Err(unavailable(format!("status {status} and more than {LIMIT} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    if !is_json(response.headers()) {
        return Err(unavailable(format!("status {status}, and the content type is not JSON")));
    }
    if status.is_client_error()
        && let Ok(error) = serde_json::from_slice::<ErrorResponse>(&body)
    {
        return Err(RequestError::Rejected(error));
    }
    if !status.is_success() {
        return Err(unavailable(format!("status {status}")));
    }
    // serde_json's text may quote the response, which may contain tokens; its position is enough.
    serde_json::from_slice(&body)
        .map_err(|error| unavailable(format!("unexpected JSON, line {} column {}", error.line(), error.column())))
}

fn is_json(headers: &::http::HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(::http::header::CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}
