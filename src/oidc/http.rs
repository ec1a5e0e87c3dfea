//! Exchanges with the provider: bounded in size, JSON only, and every failure of a known kind.

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Most bytes of an answer.
const LIMIT: usize = 512 * 1_024;

/// Why an exchange with the provider gave nothing.
#[derive(Debug)]
pub enum Failure {
    /// The provider refused, in the words of RFC 6749 section 5.2.
    Refused(Refusal),
    /// It cannot be reached, is too slow, or answers nonsense; the text is for the log.
    Unavailable(String),
}

/// An error of the token endpoint.
#[derive(Debug, Deserialize)]
pub struct Refusal {
    /// The code, such as `invalid_grant`.
    pub error: String,
    /// Entra's finer code.
    #[serde(default)]
    pub suberror: Option<String>,
    /// What an API or a policy asks of the next sign-in: the text of a JSON object.
    #[serde(default)]
    pub claims: Option<String>,
}

/// Sends a request and reads the JSON that comes back.
///
/// # Errors
/// [`Failure`], without anything that was sent.
pub async fn json<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, Failure> {
    let unavailable = |problem: String| Failure::Unavailable(problem);
    let mut answer = request.send().await.map_err(|error| unavailable(error.without_url().to_string()))?;
    let status = answer.status();
    let mut body = zeroize::Zeroizing::new(Vec::new());
    while let Some(chunk) = answer.chunk().await.map_err(|error| unavailable(error.without_url().to_string()))? {
        if body.len() + chunk.len() > LIMIT {
            return Err(unavailable(format!("status {status} and more than {LIMIT} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    if !is_json(answer.headers()) {
        return Err(unavailable(format!("status {status}, and the content type is not JSON")));
    }
    if status.is_client_error()
        && let Ok(refusal) = serde_json::from_slice::<Refusal>(&body)
    {
        return Err(Failure::Refused(refusal));
    }
    if !status.is_success() {
        return Err(unavailable(format!("status {status}")));
    }
    // The position tells enough; serde_json's text may quote the answer, which may hold tokens.
    serde_json::from_slice(&body)
        .map_err(|error| unavailable(format!("unexpected JSON, line {} column {}", error.line(), error.column())))
}

fn is_json(headers: &::http::HeaderMap) -> bool {
    let Some(Ok(value)) = headers.get(::http::header::CONTENT_TYPE).map(|value| value.to_str()) else { return false };
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}
