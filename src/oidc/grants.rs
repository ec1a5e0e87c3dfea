//! Requests to the token endpoint (RFC 6749 sections 4.1.3, 5 and 6) and to the revocation endpoint (RFC 7009).

use serde::Deserialize;

use super::client::Client;
use super::discovery::Metadata;
use super::http::{self, RequestError};
use crate::secret::{ExposeSecret, SecretString};

/// Lifetime of an access token without `expires_in`, in seconds.
const DEFAULT_LIFE: u64 = 3_600;
/// Longest lifetime that is believed, in seconds.
const LONGEST_LIFE: u64 = 7 * 24 * 3_600;

/// A successful token response (RFC 6749 section 5.1).
#[derive(Debug, Deserialize)]
pub struct TokenResponse {
    pub access_token: SecretString,
    token_type: String,
    #[serde(default)]
    expires_in: Option<Lifetime>,
    #[serde(default)]
    pub refresh_token: Option<SecretString>,
    #[serde(default)]
    pub id_token: Option<SecretString>,
    /// The granted scopes, where they are not the requested ones (RFC 6749 section 3.3).
    #[serde(default)]
    pub scope: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Lifetime {
    Number(f64),
    Text(String),
}

impl TokenResponse {
    /// Lifetime of the access token in seconds.
    #[must_use]
    pub fn life(&self) -> u64 {
        let seconds = match &self.expires_in {
            Some(Lifetime::Number(number)) => Some(*number),
            Some(Lifetime::Text(text)) => text.parse().ok(),
            None => None,
        };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, NaN is 0")]
        seconds.map_or(DEFAULT_LIFE, |seconds: f64| (seconds as u64).min(LONGEST_LIFE))
    }

    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.token_type.eq_ignore_ascii_case("bearer")
    }
}

/// The parameters of a code exchange (RFC 6749 section 4.1.3).
#[derive(Debug)]
pub struct CodeExchange<'a> {
    pub code: &'a str,
    /// The PKCE verifier of the login transaction (RFC 7636).
    pub verifier: &'a SecretString,
    /// The redirect URI of the authorization request.
    pub redirect_uri: &'a str,
    /// Resource indicator of the API (RFC 8707).
    pub resource: Option<&'a str>,
}

/// The parameters of a refresh token grant (RFC 6749 section 6).
#[derive(Debug)]
pub struct RefreshGrant<'a> {
    pub refresh_token: &'a SecretString,
    /// Space-separated.
    pub scope: &'a str,
    /// Resource indicator of the API (RFC 8707).
    pub resource: Option<&'a str>,
    /// The claims request, where the provider understands capabilities.
    pub claims: Option<&'a str>,
}

/// Exchanges an authorization code for tokens. Never retried: a code is valid once.
///
/// # Errors
/// [`RequestError`].
pub async fn exchange_code(
    http: &reqwest::Client,
    metadata: &Metadata,
    client: &Client,
    exchange: &CodeExchange<'_>,
) -> Result<TokenResponse, RequestError> {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", exchange.code),
        ("code_verifier", exchange.verifier.expose_secret()),
        ("redirect_uri", exchange.redirect_uri),
    ];
    form.extend(exchange.resource.map(|resource| ("resource", resource)));
    token_request(http, metadata, client, form).await
}

/// Obtains tokens for a refresh token. Never retried: the provider may have consumed the refresh token even if its
/// response was lost.
///
/// # Errors
/// [`RequestError`].
pub async fn refresh(
    http: &reqwest::Client,
    metadata: &Metadata,
    client: &Client,
    grant: &RefreshGrant<'_>,
) -> Result<TokenResponse, RequestError> {
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", grant.refresh_token.expose_secret()),
        ("scope", grant.scope),
    ];
    form.extend(grant.resource.map(|resource| ("resource", resource)));
    form.extend(grant.claims.map(|claims| ("claims", claims)));
    token_request(http, metadata, client, form).await
}

async fn token_request(
    http: &reqwest::Client,
    metadata: &Metadata,
    client: &Client,
    form: Vec<(&str, &str)>,
) -> Result<TokenResponse, RequestError> {
    let request = http.post(metadata.token_endpoint.clone());
    let request = client.authenticate(request, metadata, form).await.map_err(RequestError::Unavailable)?;
    let tokens: TokenResponse = http::json(request).await?;
    if tokens.is_bearer() {
        Ok(tokens)
    } else {
        Err(RequestError::Unavailable("the token type is not Bearer".to_owned()))
    }
}

/// Revokes a refresh token. Does nothing where the provider has no revocation endpoint.
///
/// # Errors
/// What went wrong, for the log.
pub async fn revoke(
    http: &reqwest::Client,
    metadata: &Metadata,
    client: &Client,
    refresh_token: &SecretString,
) -> Result<(), String> {
    let Some(endpoint) = metadata.revocation_endpoint.clone() else { return Ok(()) };
    let form = vec![("token", refresh_token.expose_secret()), ("token_type_hint", "refresh_token")];
    let request = client.authenticate(http.post(endpoint), metadata, form).await?;
    match request.send().await {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("status {}", response.status())),
        Err(error) => Err(error.without_url().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(expires_in: &str) -> TokenResponse {
        let json = format!(r#"{{"access_token":"CANARY","token_type":"bearer"{expires_in}}}"#);
        serde_json::from_str(&json).unwrap()
    }

    #[test]
    fn lifetimes_are_lenient_and_bounded() {
        for (text, seconds) in [
            ("", 3_600),
            (r#","expires_in":3599"#, 3_599),
            (r#","expires_in":"3599""#, 3_599),
            (r#","expires_in":-1"#, 0),
            (r#","expires_in":1e300"#, 604_800),
            (r#","expires_in":"soon""#, 3_600),
        ] {
            assert_eq!(tokens(text).life(), seconds, "{text}");
        }
        assert!(tokens("").is_bearer());
        assert!(!format!("{:?}", tokens("")).contains("CANARY"));
    }
}
