//! Requests to the token endpoint (RFC 6749 sections 4.1.3, 5 and 6) and to the revocation endpoint (RFC 7009).

use serde_json::Value;

use super::client::Client;
use super::discovery::Metadata;
use super::http::{self, RequestError};
use super::members::{self, Malformed, Members};
use crate::secret::{ExposeSecret, SecretString};

/// Lifetime of an access token without `expires_in`, in seconds (contract 7.4a).
const DEFAULT_LIFE: u64 = 300;
/// Longest lifetime that is believed, in seconds.
const LONGEST_LIFE: u64 = 7 * 24 * 3_600;

/// A successful token response (RFC 6749 section 5.1).
#[derive(Debug)]
pub struct TokenResponse {
    pub access_token: SecretString,
    /// Lifetime of the access token in seconds.
    pub life: u64,
    pub refresh_token: Option<SecretString>,
    pub id_token: Option<SecretString>,
    /// The granted scopes, separated by spaces, where they are not the requested ones (RFC 6749 section 3.3).
    pub scope: Option<String>,
}

impl TokenResponse {
    /// Reads a response leniently where nothing depends on it (contract 7.4a, 7.5b).
    ///
    /// # Errors
    /// What is wrong with it, for the log: it begins with the member's name.
    fn read(mut response: Members) -> Result<Self, String> {
        let usable = |name, token: Option<Option<SecretString>>| match token {
            Some(None) => Err(format!("{name}: not one or more visible ASCII characters")),
            token => Ok(token.flatten()),
        };
        let access_token = usable("access_token", Some(response.required("access_token", members::token)?))?;
        let token_type = response.required("token_type", members::text)?;
        if !token_type.eq_ignore_ascii_case("bearer") {
            return Err("token_type: not Bearer".to_owned());
        }
        Ok(Self {
            access_token: access_token.ok_or(Malformed("access_token"))?,
            life: response.optional("expires_in", seconds).unwrap_or(DEFAULT_LIFE),
            refresh_token: usable("refresh_token", response.optional("refresh_token", members::token))?,
            id_token: usable("id_token", response.optional("id_token", members::token))?,
            scope: response
                .optional("scope", members::texts)
                .map(|scopes| scopes.join(" "))
                .filter(|all| !all.is_empty()),
        })
    }
}

/// `expires_in`: a number that is not negative, or a text of digits.
fn seconds(value: Value) -> Option<u64> {
    let seconds = match value {
        Value::Number(number) => number.as_f64().filter(|seconds| *seconds >= 0.0),
        Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
        _ => None,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
    seconds.map(|seconds: f64| (seconds as u64).min(LONGEST_LIFE))
}

/// The parameters of a code exchange (RFC 6749 section 4.1.3). It has no `Debug`, since the code is in it.
pub struct CodeExchange<'a> {
    pub code: &'a str,
    /// The PKCE verifier of the login transaction (RFC 7636).
    pub verifier: &'a SecretString,
    /// The redirect URI of the authorization request.
    pub redirect_uri: &'a str,
    /// Space-separated; empty to name none.
    pub scope: &'a str,
    /// Resource indicator of the API (RFC 8707).
    pub resource: Option<&'a str>,
}

/// The parameters of a refresh token grant (RFC 6749 section 6).
#[derive(Debug)]
pub struct RefreshGrant<'a> {
    pub refresh_token: &'a SecretString,
    /// Space-separated; empty to name none.
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
    form.extend(Some(("scope", exchange.scope)).filter(|(_, scope)| !scope.is_empty()));
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
    let mut form = vec![("grant_type", "refresh_token"), ("refresh_token", grant.refresh_token.expose_secret())];
    form.extend(Some(("scope", grant.scope)).filter(|(_, scope)| !scope.is_empty()));
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
    let request = client.authenticate(request, metadata, form).await.map_err(RequestError::NotSent)?;
    TokenResponse::read(http::json(request).await?).map_err(RequestError::Unusable)
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

    fn read(members: &str) -> Result<TokenResponse, String> {
        let json = format!(r#"{{"access_token":"CANARY","token_type":"bearer"{members}}}"#);
        TokenResponse::read(serde_json::from_str(&json).unwrap())
    }

    /// Contract 7.4a.
    #[test]
    fn lifetimes_are_lenient_and_bounded() {
        for (text, seconds) in [
            ("", 300),
            (r#","expires_in":3599"#, 3_599),
            (r#","expires_in":3599.9"#, 3_599),
            (r#","expires_in":"3599""#, 3_599),
            (r#","expires_in":"""#, 300),
            (r#","expires_in":null"#, 300),
            (r#","expires_in":-1"#, 300),
            (r#","expires_in":1e300"#, 604_800),
            (r#","expires_in":"soon""#, 300),
            (r#","expires_in":"-1""#, 300),
            (r#","expires_in":"1e9""#, 300),
            (r#","expires_in":[3599]"#, 300),
        ] {
            assert_eq!(read(text).unwrap().life, seconds, "{text}");
        }
        assert!(!format!("{:?}", read("").unwrap()).contains("CANARY"));
    }

    /// Contract 7.4a.
    #[test]
    fn a_scope_is_a_text_or_a_list() {
        for (text, scope) in [
            (r#","scope":"a b""#, Some("a b")),
            (r#","scope":["a","b"]"#, Some("a b")),
            (r#","scope":"""#, None),
            (r#","scope":[]"#, None),
            (r#","scope":7"#, None),
        ] {
            assert_eq!(read(text).unwrap().scope.as_deref(), scope, "{text}");
        }
    }

    /// Contract 7.4a, 7.5b.
    #[test]
    fn an_unusable_response_is_rejected_with_the_name_of_the_member() {
        for (json, member) in [
            (r#"{"token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"","token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":7,"token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"a\r\nX: 1","token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"a\tb","token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"\u00e9","token_type":"Bearer"}"#, "access_token"),
            (r#"{"access_token":"a"}"#, "token_type"),
            (r#"{"access_token":"a","token_type":"DPoP"}"#, "token_type"),
            (r#"{"access_token":"a","token_type":"Bearer","refresh_token":"a b"}"#, "refresh_token"),
            (r#"{"access_token":"a","token_type":"Bearer","id_token":"a\u0000"}"#, "id_token"),
        ] {
            let problem = TokenResponse::read(serde_json::from_str(json).unwrap()).unwrap_err();
            assert!(problem.starts_with(&format!("{member}: ")), "{json}: {problem}");
        }
        let empty = read(r#","refresh_token":"","id_token":"""#).unwrap();
        assert!(empty.refresh_token.is_none() && empty.id_token.is_none(), "an empty one counts as absent");
    }
}
