//! The token endpoint (RFC 6749 sections 4.1.3 and 5) and revocation (RFC 7009).

use serde::Deserialize;

use super::client::Client;
use super::discovery::Metadata;
use super::http::{self, Failure};
use crate::secret::{ExposeSecret, SecretString};

/// Life of an access token whose answer does not tell, in seconds.
const DEFAULT_LIFE: u64 = 3_600;
/// Longest life that is believed, in seconds.
const LONGEST_LIFE: u64 = 7 * 24 * 3_600;
/// What the token endpoint gave.
#[derive(Debug, Deserialize)]
pub struct TokenResponse {
    /// Goes to the API.
    pub access_token: SecretString,
    token_type: String,
    #[serde(default)]
    expires_in: Option<Lifetime>,
    /// Brings the next ones.
    #[serde(default)]
    pub refresh_token: Option<SecretString>,
    /// Says who signed in.
    #[serde(default)]
    pub id_token: Option<SecretString>,
    /// What the access token is good for, where that is not what was asked (RFC 6749 section 3.3).
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
    /// How long the access token lives, in seconds.
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

    /// Whether the access token goes as `Bearer`.
    #[must_use]
    pub fn is_bearer(&self) -> bool {
        self.token_type.eq_ignore_ascii_case("bearer")
    }
}

/// What redeeming a code needs.
#[derive(Debug)]
pub struct Code<'a> {
    /// The code from the callback.
    pub code: &'a str,
    /// The PKCE verifier of the login transaction (RFC 7636).
    pub verifier: &'a SecretString,
    /// The redirect URI of the authorization request.
    pub redirect_uri: &'a str,
    /// The API's resource indicator, where the provider wants one (RFC 8707).
    pub resource: Option<&'a str>,
}

/// What redeeming a refresh token needs (RFC 6749 section 6).
#[derive(Debug)]
pub struct Refresh<'a> {
    /// The refresh token.
    pub refresh_token: &'a SecretString,
    /// What the access token should be good for, separated by spaces.
    pub scope: &'a str,
    /// The API's resource indicator, where the provider wants one (RFC 8707).
    pub resource: Option<&'a str>,
    /// The claims request, where the provider takes capabilities.
    pub claims: Option<&'a str>,
}

/// Redeems a code. Never tried twice: a code is good for once.
///
/// # Errors
/// What the provider refused, or that it is unavailable.
pub async fn redeem_code(
    http: &reqwest::Client,
    metadata: &Metadata,
    client: &Client,
    code: &Code<'_>,
) -> Result<TokenResponse, Failure> {
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code.code),
        ("code_verifier", code.verifier.expose_secret()),
        ("redirect_uri", code.redirect_uri),
    ];
    form.extend(code.resource.map(|resource| ("resource", resource)));
    redeem(http, metadata, client, form).await
}

/// Redeems a refresh token. Never tried twice: the provider may have spent it, whatever became of the answer.
///
/// # Errors
/// What the provider refused, or that it is unavailable.
pub async fn redeem_refresh_token(
    http: &reqwest::Client,
    metadata: &Metadata,
    client: &Client,
    refresh: &Refresh<'_>,
) -> Result<TokenResponse, Failure> {
    let mut form = vec![
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh.refresh_token.expose_secret()),
        ("scope", refresh.scope),
    ];
    form.extend(refresh.resource.map(|resource| ("resource", resource)));
    form.extend(refresh.claims.map(|claims| ("claims", claims)));
    redeem(http, metadata, client, form).await
}

async fn redeem(
    http: &reqwest::Client,
    metadata: &Metadata,
    client: &Client,
    form: Vec<(&str, &str)>,
) -> Result<TokenResponse, Failure> {
    let request = http.post(metadata.token_endpoint.clone());
    let request = client.authenticate(request, metadata, form).await.map_err(Failure::Unavailable)?;
    let tokens: TokenResponse = http::json(request).await?;
    if tokens.is_bearer() { Ok(tokens) } else { Err(Failure::Unavailable("the token type is not Bearer".to_owned())) }
}

/// Revokes a refresh token where the provider can.
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
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("status {}", answer.status())),
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
    fn odd_lifetimes_are_bounded() {
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
