//! Challenges: what an API or the provider requires of the next sign-in, sealed into `login_url`. Either claims (OpenID
//! Connect Core section 5.5, contract 7.28 to 7.32), or how and when the user authenticated (RFC 9470, contract 21.1).

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_auth::ChallengeParser;
use serde_json::{Map, Value, json};

use crate::clock::UnixSeconds;
use crate::keyring::Purpose;
use crate::oidc::acr::{AcrValues, MaxAge};
use crate::session::binary;
use crate::session::payload::SessionId;
use crate::session::sealer::UnsealError;
use crate::session::{OpenSession, Sessions};

/// Lifetime of a sealed challenge in seconds (contract 7.29).
const SECONDS: u64 = 600;
/// Maximum size of a claims request in bytes (contract 7.30).
const LIMIT: usize = 2_048;
/// Version of the payload after the times. Version 1 is read too (contract 5.8).
const VERSION: u8 = 2;
/// Standard base64, with or without padding: Entra sends both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The scheme of challenges that count.
const BEARER: &str = "bearer";
/// Between scheme and parameters.
const WHITE_SPACE: [char; 2] = [' ', '\t'];

/// What the next sign-in must bring.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requirement {
    /// A claims request: JSON with the one member `access_token` once it is sealed.
    pub claims: Option<String>,
    /// Authentication context classes, of which one is required.
    pub acr_values: Option<AcrValues>,
    /// Most seconds since the user authenticated.
    pub max_age: Option<MaxAge>,
}

/// An opened challenge.
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge {
    /// The session that was challenged.
    pub session: SessionId,
    /// The user who has to sign in (contract 7.32).
    pub sub: String,
    /// The API that sent the challenge; empty if the provider did, for no API.
    pub api: String,
    pub requirement: Requirement,
}

/// Version 1, and the first part of version 2: session, `sub`, API and claims request, which is empty for none.
type Base<'a> = (SessionId, &'a str, &'a str, &'a str);
/// What version 2 adds: `acr_values`, which is empty for none, and `max_age`.
type Authentication<'a> = (&'a str, Option<u32>);

/// What an API's 401 requires of a sign-in: claims (`insufficient_claims`, continuous access evaluation), or another
/// authentication (`insufficient_user_authentication`, RFC 9470).
#[must_use]
pub fn required_by(status: StatusCode, headers: &HeaderMap) -> Option<Requirement> {
    if status != StatusCode::UNAUTHORIZED {
        return None;
    }
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().flat_map(bearer_challenges);
    challenges.find_map(|challenge| {
        let challenge = ChallengeParser::new(&challenge).next()?.ok()?;
        let value = |name: &str| {
            let found = challenge.params.iter().find(|(of, _)| of.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        match value("error")?.as_str() {
            "insufficient_claims" => {
                let claims = String::from_utf8(BASE64.decode(value("claims")?).ok()?).ok()?;
                Some(Requirement { claims: Some(claims), ..Requirement::default() })
            }
            // What the gateway does not pass on is left out, so that the user is asked all the same.
            "insufficient_user_authentication" => Some(Requirement {
                acr_values: value("acr_values").and_then(|values| AcrValues::within_bounds(&values)),
                max_age: value("max_age").and_then(|seconds| MaxAge::parse(&seconds)),
                claims: None,
            }),
            _ => None,
        }
    })
}

/// The challenges of a line with the scheme `Bearer`, each up to the next of them. Other schemes may have forms that
/// the parser does not read (RFC 9110 section 11.2).
fn bearer_challenges(line: &HeaderValue) -> Vec<String> {
    // A quoted string may have bytes beyond ASCII, which no member that counts here has.
    let line: String =
        line.as_bytes().iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '?' }).collect();
    let starts: Vec<usize> = members(&line).filter(|start| parameters(line.get(*start..)).is_some()).collect();
    let ends = starts.iter().skip(1).copied().chain([line.len()]);
    let challenges = starts.iter().zip(ends).filter_map(|(start, end)| parameters(line.get(*start..end)));
    challenges.map(|parameters| format!("{BEARER} {parameters}")).collect()
}

/// Where the members of a list begin: at its start, and after each comma that is not within a quoted string.
fn members(line: &str) -> impl Iterator<Item = usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let mut ends_member = move |byte: u8| {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            _ => {}
        }
        byte == b',' && !is_quoted
    };
    [0].into_iter().chain(line.bytes().enumerate().filter(move |(_, byte)| ends_member(*byte)).map(|(at, _)| at + 1))
}

/// What follows the scheme, if it is `Bearer` and has parameters.
fn parameters(challenge: Option<&str>) -> Option<&str> {
    let (scheme, parameters) = challenge?.trim_start_matches(WHITE_SPACE).split_at_checked(BEARER.len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(BEARER) && parameters.starts_with(WHITE_SPACE);
    is_bearer.then(|| parameters.trim_start_matches(WHITE_SPACE))
}

/// The URL of the sign-in for an API, whose name is empty for none, with what it must bring sealed into it.
pub async fn login_url(
    sessions: &Sessions,
    open: &OpenSession,
    api: &str,
    required: Option<&Requirement>,
    now: UnixSeconds,
) -> String {
    let sealed = match required {
        Some(required) => seal(sessions, open, api, required, now).await,
        None => None,
    };
    sealed.map_or_else(|| plain_login_url(api), |challenge| format!("/auth/login?challenge={challenge}"))
}

/// The URL of the sign-in for an API, whose name is empty for none.
#[must_use]
pub fn plain_login_url(api: &str) -> String {
    if api.is_empty() { "/auth/login".to_owned() } else { format!("/auth/login?api={api}") }
}

/// Seals a challenge. `None` if its claims request cannot be passed on, or if no key seals.
async fn seal(
    sessions: &Sessions,
    open: &OpenSession,
    api: &str,
    requirement: &Requirement,
    now: UnixSeconds,
) -> Option<String> {
    let claims = match &requirement.claims {
        Some(claims) => request(claims)?,
        None => String::new(),
    };
    let base: Base<'_> = (open.session.id, &open.session.user.sub, api, &claims);
    let acr_values = requirement.acr_values.as_ref().map_or("", AcrValues::as_str);
    let authentication: Authentication<'_> = (acr_values, requirement.max_age.map(MaxAge::seconds));
    let payload = binary::encode(&[VERSION], &(base, authentication));
    sessions.seal(Purpose::Challenge, "", now + SECONDS, now, &payload).await.ok()
}

/// Opens a challenge that was sealed by this or another instance.
///
/// # Errors
/// [`UnsealError`].
pub async fn open(sessions: &Sessions, sealed: &str, now: UnixSeconds) -> Result<Challenge, UnsealError> {
    let opened = sessions.unseal(Purpose::Challenge, "", sealed.as_bytes(), now).await?;
    decode(opened.payload()).ok_or(UnsealError::Invalid)
}

fn decode(payload: &[u8]) -> Option<Challenge> {
    let (&version @ (1 | VERSION), bytes) = payload.split_first()? else { return None };
    let ((session, sub, api, claims), rest): (Base<'_>, _) = postcard::take_from_bytes(bytes).ok()?;
    let ((acr_values, max_age), rest): (Authentication<'_>, _) =
        if version == VERSION { postcard::take_from_bytes(rest).ok()? } else { (("", None), rest) };
    let requirement = Requirement {
        claims: Some(claims).filter(|claims| !claims.is_empty()).map(str::to_owned),
        acr_values: AcrValues::parse(acr_values),
        max_age: max_age.and_then(MaxAge::new),
    };
    rest.is_empty().then(|| Challenge { session, sub: sub.to_owned(), api: api.to_owned(), requirement })
}

/// The claims request to pass on: only the member `access_token` of strict JSON, merged with `cp1`, the capability to
/// handle challenges (contract 7.30).
fn request(claims: &str) -> Option<String> {
    if claims.len() > LIMIT {
        return None;
    }
    let mut all: Map<String, Value> = serde_json::from_str(claims).ok()?;
    let Some(Value::Object(mut claims)) = all.remove("access_token") else { return None };
    // A claim without further conditions is null (OpenID Connect Core section 5.5.1).
    claims.entry("xms_cc").and_modify(|claim| _ = claim.is_null().then(|| *claim = json!({})));
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

    fn challenge_in(line: &str) -> Option<Requirement> {
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_str(line).unwrap())]);
        required_by(StatusCode::UNAUTHORIZED, &headers)
    }

    fn claims_in(line: &str) -> Option<String> {
        challenge_in(line)?.claims
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
            format!(r#"Negotiate YWJj==, Bearer error="insufficient_claims", claims="{base64}""#),
            format!(r#"Bearer error="insufficient_claims", claims="{base64}", Negotiate YWJj=="#),
            format!(r#"Bearer  error="insufficient_claims", claims="{base64}""#),
            format!(r#"Bearer error="insufficient_claims", error_description="Zugriff für Ä", claims="{base64}""#),
            format!(r#"Bearer realm="a", Bearer error="insufficient_claims", claims="{base64}""#),
            format!(r#"Bearer error="insufficient_claims", claims="{base64}", Bearer  realm="a""#),
            format!(r#"{}Bearer error="insufficient_claims", claims="{base64}""#, "Bearer ,".repeat(7_000)),
        ] {
            assert_eq!(claims_in(&line).as_deref(), Some(claims), "{line}");
        }
        for line in [
            format!(r#"Bearer error="invalid_token", claims="{base64}""#),
            format!(r#"Basic error="insufficient_claims", claims="{base64}""#),
            format!(r#"Basic realm="a, Bearer error=\"insufficient_claims\", claims=\"{base64}\" x""#),
            format!(r#"BearerX error="insufficient_claims", claims="{base64}""#),
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
        let null = super::request(r#"{"access_token":{"xms_cc":null,"acrs":null}}"#).unwrap();
        let null: Value = serde_json::from_str(&null).unwrap();
        assert_eq!(null, json!({"access_token": {"xms_cc": {"values": ["cp1"]}, "acrs": null}}));
    }

    #[test]
    fn invalid_claims_are_not_passed_on() {
        let long = format!(r#"{{"access_token":{{"x":"{}"}}}}"#, "y".repeat(LIMIT));
        for invalid in ["", "[]", "{}", r#"{"access_token":1}"#, r#"{"access_token":{}} x"#, "garbage", &long] {
            assert_eq!(request(invalid), None, "{invalid}");
        }
    }

    /// Contract 21.1.
    #[test]
    fn a_challenge_of_rfc_9470_is_found_and_what_is_beyond_its_bounds_is_left_out() {
        let long = "x".repeat(201);
        let many: Vec<String> = (0..11).map(|number| format!("c{number}")).collect();
        let (ten, many) = (many[..10].join(" "), many.join(" "));
        for (parameters, acr_values, max_age) in [
            (r#"acr_values="urn:mfa loa3", max_age="300""#, Some("urn:mfa loa3"), Some(300)),
            (r"max_age=0", None, Some(0)),
            (r#"acr_values="c1", max_age="86400""#, Some("c1"), Some(86_400)),
            (r#"acr_values="c1", max_age="86401""#, Some("c1"), None),
            (r#"acr_values="c1", max_age="-1""#, Some("c1"), None),
            (r#"acr_values="", max_age="""#, None, None),
            (r#"acr_values="c\"1 c\\2 c3""#, Some("c3"), None),
            (&format!("acr_values=\"{many}\""), Some(ten.as_str()), None),
            (&format!("acr_values=\"{long} c1\""), Some("c1"), None),
            ("realm=x", None, None),
        ] {
            let line = format!("Bearer error=\"insufficient_user_authentication\", {parameters}");
            let found = challenge_in(&line).unwrap();
            let of = found.acr_values.as_ref().map(AcrValues::as_str);
            assert_eq!((of, found.max_age.map(MaxAge::seconds), &found.claims), (acr_values, max_age, &None), "{line}");
        }
        assert_eq!(challenge_in(r#"DPoP error="insufficient_user_authentication", max_age=1"#), None);
    }

    /// Known answers (contract 5.8): what the release before this version wrote, and what this one writes.
    #[test]
    fn both_versions_are_read() {
        let mut payload = vec![1];
        payload.extend([7; 16]);
        payload.extend(b"\x03ada\x05graph\x02{}");
        let mut challenge = Challenge {
            session: [7; 16],
            sub: "ada".to_owned(),
            api: "graph".to_owned(),
            requirement: Requirement { claims: Some("{}".to_owned()), ..Requirement::default() },
        };
        assert_eq!(decode(&payload).as_ref(), Some(&challenge));
        payload.extend(b"\x02c1\x01\xac\x02");
        assert_eq!(decode(&payload), None, "version 1 has no more");
        payload[0] = 2;
        challenge.requirement.acr_values = AcrValues::parse("c1");
        challenge.requirement.max_age = MaxAge::new(300);
        assert_eq!(decode(&payload), Some(challenge));
        payload[0] = 3;
        assert_eq!(decode(&payload), None, "another version is invalid");
    }

    proptest::proptest! {
        #[test]
        fn no_header_panics(line in "[ -~]{0,200}") {
            let _ = challenge_in(&line);
        }
    }
}
