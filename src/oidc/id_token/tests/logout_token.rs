//! A further profile is one type and one `impl`: here that of logout tokens (contract 16.8, OpenID Connect Back-Channel
//! Logout 1.0 section 2.6), put together from the same rules.

use super::*;
use crate::oidc::claims::issued_at;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

struct LogoutToken {
    iss: String,
    aud: Vec<String>,
    iat: NumericDate,
    exp: Option<NumericDate>,
    tid: Option<String>,
    sub: Option<String>,
    sid: Option<String>,
    nonce: Option<String>,
}

struct BackChannelLogout;

impl ClaimsProfile for BackChannelLogout {
    type Claims = LogoutToken;
    const TYPES: &'static [&'static str] = &["logout+jwt", "JWT"];

    fn key_may_sign(key: &Key, token: &LogoutToken) -> bool {
        claims::key_is_for_issuer(key, &token.iss, token.tid.as_deref())
    }

    fn read(mut payload: Members) -> Result<LogoutToken, Malformed> {
        payload.required("jti", members::text)?;
        payload.required("events", |events| events.get(EVENT)?.is_object().then_some(()))?;
        Ok(LogoutToken {
            iss: payload.required("iss", members::text)?,
            aud: payload.required("aud", claims::audiences)?,
            iat: payload.required("iat", |date| NumericDate::read(&date))?,
            exp: payload.strict("exp", |date| NumericDate::read(&date))?,
            tid: payload.strict("tid", members::text)?,
            sub: payload.strict("sub", members::text)?,
            sid: payload.strict("sid", members::text)?,
            nonce: payload.strict("nonce", members::text)?,
        })
    }

    fn check(&self, token: &LogoutToken, context: &Context<'_>) -> Result<(), TokenError> {
        claims::issuer(&token.iss, token.tid.as_deref(), context)?;
        claims::audience(&token.aud, None, context)?;
        issued_at(token.iat, context)?;
        token.exp.map_or(Ok(()), |exp| claims::expiry(exp, context))?;
        if token.nonce.is_some() {
            return Err(TokenError::Nonce);
        }
        if token.sid.is_none() && token.sub.is_none() {
            return Err(TokenError::Subject);
        }
        Ok(())
    }
}

fn logout_token(change: impl FnOnce(&mut Draft)) -> String {
    token(|draft| {
        draft.header["typ"] = "logout+jwt".into();
        draft.claims = json!({
            "iss": ISSUER, "sub": SUB, "aud": CLIENT, "iat": NOW, "jti": "unique", "events": {EVENT: {}},
        });
        change(draft);
    })
}

#[test]
fn a_logout_token_is_verified_by_a_profile_of_the_same_rules() {
    let verify = |token: String| verify_row(&good("", token), &BackChannelLogout);
    assert_eq!(verify(logout_token(|_| {})), Ok(()));
    for (member, value, error) in [
        ("iss", json!("https://evil.example"), TokenError::Issuer),
        ("aud", json!("another"), TokenError::Audience),
        ("exp", json!(NOW - SKEW), TokenError::Expired),
        ("nonce", json!("any"), TokenError::Nonce),
        ("sub", Value::Null, TokenError::Subject),
        ("events", json!({}), TokenError::Malformed("events")),
        ("events", json!({EVENT: true}), TokenError::Malformed("events")),
        ("jti", Value::Null, TokenError::Malformed("jti")),
    ] {
        assert_eq!(verify(logout_token(|draft| draft.claims[member] = value)), Err(error), "{member}");
    }
    assert_eq!(verify(token(|_| {})), Err(TokenError::Malformed("jti")), "an ID token is not a logout token");
    let as_id_token = verify_row(&good("", logout_token(|_| {})), &SIGN_IN);
    assert_eq!(as_id_token, Err(JwtError::Type.into()), "nor the reverse");
}
