//! Claims challenges: the claims that an API or the provider requires of the next sign-in (OpenID Connect Core section
//! 5.5), sealed into `login_url` (contract 7.28 to 7.32).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock::UnixSeconds;
use crate::keyring::Purpose;
use crate::session::payload::SessionId;
use crate::session::sealer::UnsealError;
use crate::session::{OpenSession, Sessions};

/// Lifetime of a sealed challenge in seconds (contract 7.29).
const SECONDS: u64 = 600;
/// Maximum size of a claims request in bytes (contract 7.30).
const LIMIT: usize = 2_048;
/// Version of the payload after the times.
const FORMAT: u8 = 1;
/// Standard base64, with or without padding: Entra sends both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An opened challenge.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The session that was challenged.
    pub session: SessionId,
    /// The user who has to sign in (contract 7.32).
    pub sub: String,
    /// The API that sent the challenge; empty if the provider did, for no API.
    pub api: String,
    /// The claims request: JSON with the one member `access_token`.
    pub claims: String,
}

/// The claims request in an API's 401 with `insufficient_claims` (RFC 6750 section 3, continuous access evaluation).
#[must_use]
pub fn claims_required_by(status: StatusCode, headers: &HeaderMap) -> Option<String> {
    if status != StatusCode::UNAUTHORIZED {
        return None;
    }
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
    let mut challenges = lines.filter_map(|line| http_auth::parse_challenges(line).ok()).flatten();
    let encoded = challenges.find_map(|challenge| {
        let value = |name: &str| {
            let found = challenge.params.iter().find(|(of, _)| of.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let insufficient = value("error").is_some_and(|error| error == "insufficient_claims");
        let bearer = challenge.scheme.eq_ignore_ascii_case("bearer");
        if bearer && insufficient { value("claims") } else { None }
    })?;
    String::from_utf8(BASE64.decode(encoded).ok()?).ok()
}

/// Seals a claims request. `None` if it cannot be passed on, or if no key seals.
pub async fn seal(
    sessions: &Sessions,
    open: &OpenSession,
    api: &str,
    claims: &str,
    now: UnixSeconds,
) -> Option<String> {
    let challenge = Challenge {
        session: open.session.id,
        sub: open.session.user.sub.clone(),
        api: api.to_owned(),
        claims: request(claims)?,
    };
    let payload = postcard::to_extend(&challenge, vec![FORMAT]).ok()?;
    sessions.seal(Purpose::Challenge, "", now + SECONDS, now, &payload).await.ok()
}

/// Opens a challenge that was sealed by this or another instance.
///
/// # Errors
/// [`UnsealError`].
pub async fn open(sessions: &Sessions, sealed: &str, now: UnixSeconds) -> Result<Challenge, UnsealError> {
    let opened = sessions.unseal(Purpose::Challenge, "", sealed.as_bytes(), now).await?;
    let Some((&FORMAT, payload)) = opened.payload().split_first() else { return Err(UnsealError::Invalid) };
    postcard::from_bytes(payload).map_err(|_| UnsealError::Invalid)
}

/// The claims request to pass on: only the member `access_token` of strict JSON, merged with `cp1`, the capability to
/// handle challenges (contract 7.30).
fn request(claims: &str) -> Option<String> {
    if claims.len() > LIMIT {
        return None;
    }
    let mut all: Map<String, Value> = serde_json::from_str(claims).ok()?;
    let Some(Value::Object(mut claims)) = all.remove("access_token") else { return None };
    let capability = claims.entry("xms_cc").or_insert_with(|| json!({}));
    let mut values = capability.get("values").and_then(Value::as_array).cloned().unwrap_or_default();
    if !values.contains(&json!("cp1")) {
        values.push(json!("cp1"));
    }
    match capability.as_object_mut() {
        Some(members) => members.insert("values".to_owned(), values.into()),
        None => return None,
    };
    Some(json!({"access_token": claims}).to_string())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn claims_in(line: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap())]);
        claims_required_by(StatusCode::UNAUTHORIZED, &headers)
    }

    #[test]
    fn a_challenge_is_found_in_the_header() {
        let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
        let base64 = BASE64.encode(claims);
        let bare = base64.trim_end_matches('=');
        for line in [
            format!(r#"Bearer realm="", error="insufficient_claims", claims="{base64}""#),
            format!(r#"bearer Error="insufficient_claims",claims="{bare}""#),
            format!(r#"Basic realm="x", Bearer error="insufficient_claims", claims="{base64}""#),
        ] {
            assert_eq!(claims_in(&line).as_deref(), Some(claims), "{line}");
        }
        for line in [
            format!(r#"Bearer error="invalid_token", claims="{base64}""#),
            format!(r#"Basic error="insufficient_claims", claims="{base64}""#),
            r#"Bearer error="insufficient_claims""#.to_owned(),
            r#"Bearer error="insufficient_claims", claims="!""#.to_owned(),
            "Bearer ,,,=".to_owned(),
            String::new(),
        ] {
            assert_eq!(claims_in(&line), None, "{line}");
        }
    }

    #[test]
    fn only_the_access_tokens_claims_are_passed_on() {
        let request = request(r#"{"id_token":{"x":null},"access_token":{"acrs":{"value":"c1"}}}"#).unwrap();
        let request: Value = serde_json::from_str(&request).unwrap();
        assert_eq!(request, json!({"access_token": {"acrs": {"value": "c1"}, "xms_cc": {"values": ["cp1"]}}}));
        let merged = super::request(r#"{"access_token":{"xms_cc":{"essential":true,"values":["cp2"]}}}"#).unwrap();
        let merged: Value = serde_json::from_str(&merged).unwrap();
        assert_eq!(merged["access_token"]["xms_cc"], json!({"essential": true, "values": ["cp2", "cp1"]}));
    }

    #[test]
    fn invalid_claims_are_not_passed_on() {
        let long = format!(r#"{{"access_token":{{"x":"{}"}}}}"#, "y".repeat(LIMIT));
        for invalid in ["", "[]", "{}", r#"{"access_token":1}"#, r#"{"access_token":{}} x"#, "garbage", &long] {
            assert_eq!(request(invalid), None, "{invalid}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(line in "[ -~]{0,200}") {
            let _ = claims_in(&line);
        }
    }
}
