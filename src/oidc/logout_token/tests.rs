//! Every fault of a logout token with its error (contract 16.8). Sources: OpenID Connect Back-Channel Logout 1.0
//! sections 2.4 and 2.6, RFC 8417 section 2.2, RFC 8725.

use JwtError::{Algorithm, CriticalHeader, Signature, Type, UnknownKey};
use TokenError::{
    Audience, AuthorizedParty, Event, Expired, IssuedAt, IssuedTooLongAgo, Issuer, Malformed, NonceForbidden,
    NotBefore, Subject, Tenant,
};
use serde_json::{Value, json};

use super::*;
use crate::jose::JwtError;
use crate::oidc::drafts::{
    By, CLIENT, Draft, ISSUER, NOW, OTHER_TENANT, RS256, SECRET, SKEW, SUB, TENANT, many, signed, verify,
};
use crate::oidc::id_token::SignIn;

const SID: &str = "a-session-at-the-provider";
/// How far from now `iat` may be.
const TOLERANCE: u64 = SKEW + 120;

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": SUB, "sid": SID, "aud": CLIENT, "iat": NOW, "exp": NOW + 120, "jti": "unique",
        "events": {EVENT: {}},
    })
}

/// A valid token with one change.
fn token(change: impl FnOnce(&mut Draft)) -> String {
    let mut draft = Draft::new(claims());
    draft.header["typ"] = "logout+jwt".into();
    change(&mut draft);
    draft.sign()
}

/// A token with a claim of that value; `Null` counts as absent.
fn with(name: &str, value: impl Into<Value>) -> String {
    token(|draft| draft.claims[name] = value.into())
}

fn without(names: &[&str]) -> String {
    token(|draft| {
        let claims = draft.claims.as_object_mut().unwrap();
        names.iter().for_each(|name| drop(claims.remove(*name)));
    })
}

fn headed(name: &str, value: impl Into<Value>) -> String {
    token(|draft| draft.header[name] = value.into())
}

fn by(alg: &str, kid: &str, by: By) -> String {
    token(|draft| {
        draft.header["alg"] = alg.into();
        draft.header["kid"] = kid.into();
        draft.by = by;
    })
}

fn of_tenant(tenant: &str, tid: Option<&str>) -> String {
    token(|draft| {
        draft.claims["iss"] = format!("https://login.example/{tenant}/v2.0").into();
        draft.claims["tid"] = tid.into();
    })
}

type Row = (&'static str, String, Result<(), TokenError>);

fn good(name: &'static str, token: String) -> Row {
    (name, token, Ok(()))
}

fn bad(name: &'static str, token: String, error: impl Into<TokenError>) -> Row {
    (name, token, Err(error.into()))
}

fn signatures() -> Vec<Row> {
    let whole = token(|_| {});
    let (message, _) = whole.rsplit_once('.').unwrap();
    let other = with("sub", "grace");
    let (_, signature) = other.rsplit_once('.').unwrap();
    vec![
        good("all claims", whole.clone()),
        good("ES256", by("ES256", "ec", By::Es256)),
        bad("none", by("none", "rsa", By::Nothing), Algorithm),
        bad("HS256 by the client secret", by("HS256", "rsa", By::Hmac(SECRET.as_bytes())), Algorithm),
        bad("no signature", format!("{message}."), Signature),
        bad("the signature of another token", format!("{message}.{signature}"), Signature),
        bad("another key under the id of a key", by("RS256", "rsa", By::Stranger), Signature),
        bad("an unknown key", by("RS256", "unknown", By::Stranger), UnknownKey),
        bad("a key of another issuer", by("RS256", "elsewhere", RS256), Issuer),
        bad("two segments", message.to_owned(), JwtError::Malformed),
        bad("a critical header", headed("crit", json!(["exp"])), CriticalHeader),
        bad("a payload that is no object", signed(r#"{"alg":"RS256","kid":"rsa"}"#, b"7", RS256), JwtError::Malformed),
    ]
}

fn types() -> Vec<Row> {
    vec![
        good("another case", headed("typ", "Logout+JWT")),
        good("the whole media type", headed("typ", "application/logout+jwt")),
        good("typ JWT", headed("typ", "JWT")),
        good("no typ", headed("typ", Value::Null)),
        bad("the type of an access token", headed("typ", "at+jwt"), Type),
        bad("the type of another event", headed("typ", "secevent+jwt"), Type),
    ]
}

fn issuers_and_audiences() -> Vec<Row> {
    let audiences = json!([CLIENT, "another"]);
    vec![
        bad("no iss", without(&["iss"]), Malformed("iss")),
        bad("iss: another", with("iss", "https://evil.example"), Issuer),
        bad("iss: with a slash at its end", with("iss", format!("{ISSUER}/")), Issuer),
        bad("no aud", without(&["aud"]), Malformed("aud")),
        bad("aud: another", with("aud", "another"), Audience),
        bad("aud: a number in the list", with("aud", json!([CLIENT, 7])), Malformed("aud")),
        good("aud: a list", with("aud", json!([CLIENT]))),
        bad("aud: with another", with("aud", audiences.clone()), AuthorizedParty),
        bad("azp: another", with("azp", "another"), AuthorizedParty),
        good(
            "aud: with another, for this client",
            token(|draft| {
                draft.claims["aud"] = audiences;
                draft.claims["azp"] = CLIENT.into();
            }),
        ),
    ]
}

fn times() -> Vec<Row> {
    vec![
        bad("no iat", without(&["iat"]), Malformed("iat")),
        bad("iat: a text", with("iat", NOW.to_string()), Malformed("iat")),
        bad("iat: before 1970", with("iat", -1), Malformed("iat")),
        good("iat: as late as it may be", with("iat", NOW + TOLERANCE)),
        bad("iat: in the future", with("iat", NOW + TOLERANCE + 1), IssuedAt),
        good(
            "iat: as early as it may be",
            token(|draft| {
                draft.claims["iat"] = (NOW - TOLERANCE).into();
                draft.claims["exp"] = Value::Null;
            }),
        ),
        bad("iat: too long ago", with("iat", NOW - TOLERANCE - 1), IssuedTooLongAgo),
        good("no exp", without(&["exp"])),
        good("exp: just not", with("exp", NOW - SKEW + 1)),
        bad("exp: expired", with("exp", NOW - SKEW), Expired),
        bad("exp: a text", with("exp", "never"), Malformed("exp")),
        bad("nbf: in the future", with("nbf", NOW + SKEW + 1), NotBefore),
    ]
}

fn events() -> Vec<Row> {
    let other = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
    vec![
        bad("no events", without(&["events"]), Malformed("events")),
        bad("events: none", with("events", json!({})), Event),
        bad("events: another", with("events", json!({other: {}})), Event),
        good("events: with another", with("events", json!({other: {}, EVENT: {}}))),
        good("events: with members", with("events", json!({EVENT: {"reason": "x"}}))),
        bad("events: true", with("events", json!({EVENT: true})), Event),
        bad("events: null", with("events", json!({EVENT: null})), Event),
        bad("events: a list in it", with("events", json!({EVENT: []})), Event),
        bad("events: a list", with("events", json!([EVENT])), Event),
        bad("events: a text", with("events", EVENT), Event),
    ]
}

fn identities() -> Vec<Row> {
    vec![
        good("sub only", without(&["sid"])),
        good("sid only", without(&["sub"])),
        bad("neither", without(&["sub", "sid"]), Malformed("sid or sub")),
        bad(
            "both empty",
            token(|draft| {
                draft.claims["sub"] = "".into();
                draft.claims["sid"] = "".into();
            }),
            Malformed("sid or sub"),
        ),
        bad("sid: a number", with("sid", 7), Malformed("sid")),
        bad("sub: a number", with("sub", 7), Malformed("sub")),
        bad(
            "sub: too long",
            token(|draft| {
                draft.claims["sub"] = "x".repeat(256).into();
                draft.claims["sid"] = Value::Null;
            }),
            Subject,
        ),
        bad("nonce: any", with("nonce", "any"), NonceForbidden),
        bad("nonce: a number", with("nonce", 7), Malformed("nonce")),
        good("another claim", with("trace", json!({"sid": "another"}))),
        bad("no jti", without(&["jti"]), Malformed("jti")),
        bad("jti: empty", with("jti", ""), Malformed("jti")),
        bad("jti: a number", with("jti", 7), Malformed("jti")),
        bad("two of sid", with_two_of_sid(), Malformed("sid")),
    ]
}

fn with_two_of_sid() -> String {
    let claims = claims().to_string().replacen('{', r#"{"sid":"another","#, 1);
    signed(r#"{"alg":"RS256","kid":"rsa"}"#, claims.as_bytes(), RS256)
}

#[test]
fn each_invalid_logout_token_has_its_error() {
    let rows = [signatures(), types(), issuers_and_audiences(), times(), events(), identities()].concat();
    let mut failures = Vec::new();
    for (name, token, expected) in &rows {
        let found = verify(token, &many(), false, &BackChannelLogout).map(|_| ());
        if found != *expected {
            failures.push(format!("{name}: {found:?} instead of {expected:?}"));
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

/// Contract 7.3.
#[test]
fn a_logout_token_of_one_of_several_tenants_names_an_allowed_one() {
    for (token, expected) in [
        (of_tenant(TENANT, Some(TENANT)), Ok(())),
        (of_tenant(OTHER_TENANT, Some(OTHER_TENANT)), Err(Tenant)),
        (of_tenant(OTHER_TENANT, Some(TENANT)), Err(Issuer)),
        (of_tenant(TENANT, None), Err(Issuer)),
    ] {
        assert_eq!(verify(&token, &many(), true, &BackChannelLogout).map(|_| ()), expected);
    }
}

/// RFC 8725, section 3.11: neither kind of token passes for the other.
#[test]
fn an_id_token_is_no_logout_token_nor_the_reverse() {
    let id_token = Draft::new(json!({
        "iss": ISSUER, "sub": SUB, "sid": SID, "aud": CLIENT, "iat": NOW, "exp": NOW + 3_600, "jti": "unique",
    }));
    let found = verify(&id_token.sign(), &many(), false, &BackChannelLogout);
    assert_eq!(found.map(|_| ()), Err(Malformed("events")));
    let sign_in = SignIn { nonce: "the-nonce", access_token: "an-access-token" };
    let as_id_token = |token: &str| verify(token, &many(), false, &sign_in).map(|_| ());
    assert_eq!(as_id_token(&token(|_| {})), Err(Type.into()));
    assert_eq!(as_id_token(&headed("typ", "JWT")), Err(TokenError::Nonce));
}

#[test]
fn the_claims_of_a_logout_token_say_what_ends() {
    let read = |token: String| verify(&token, &many(), false, &BackChannelLogout).unwrap();
    let LogoutToken { jti, ended, .. } = read(token(|_| {}));
    assert!(jti == "unique" && matches!(&ended, Ended::Session(sid) if sid == SID), "`sid` goes before `sub`");
    assert!(matches!(&read(without(&["sid"])).ended, Ended::User(sub) if sub == SUB));
}

/// A token must not count again on the instance with the slowest clock, which accepts it for longest.
#[test]
fn a_logout_token_is_too_old_by_every_clock() {
    let token = verify(&token(|_| {}), &many(), false, &BackChannelLogout).unwrap();
    let first_rejected = NOW + TOLERANCE + 1;
    assert_eq!(token.too_old_at(SKEW), first_rejected + 2 * SKEW);
}
