//! Every fault of an ID token with its error, at a sign-in and at a refresh (contract 7.2 to 7.4). Sources: the
//! relying-party tests of the OpenID certification (`rp-id_token-*`, `rp-nonce-*`), OpenID Connect Core 3.1.3.7 and
//! 12.2, RFC 7515, RFC 8725.

mod rows;

use serde_json::{Value, json};

use super::*;
use crate::jose::JwtError;
use crate::oidc::claims::at_hash;
use crate::oidc::drafts::{self, By, CLIENT, Draft, ISSUER, NOW, OTHER_TENANT, SKEW, SUB, TENANT, signed};

const NONCE: &str = "the-nonce";
/// The first 8 bytes of `printf the-nonce | sha256sum`.
const NONCE_HASH: [u8; 8] = [0x19, 0x68, 0xc4, 0xe0, 0xab, 0x44, 0x85, 0x03];
const ACCESS_TOKEN: &str = "an-access-token";

/// A valid token with one change.
fn token(change: impl FnOnce(&mut Draft)) -> String {
    let mut draft = Draft::new(json!({
        "iss": ISSUER, "sub": SUB, "aud": CLIENT, "nonce": NONCE,
        "exp": NOW + 3_600, "iat": NOW, "at_hash": at_hash(ACCESS_TOKEN),
    }));
    change(&mut draft);
    draft.sign()
}

/// A token with a claim of that value.
fn with(name: &str, value: impl Into<Value>) -> String {
    token(|draft| draft.claims[name] = value.into())
}

/// A token without a claim.
fn without(name: &str) -> String {
    token(|draft| {
        draft.claims.as_object_mut().unwrap().remove(name);
    })
}

/// A token with a member of the header.
fn headed(name: &str, value: impl Into<Value>) -> String {
    token(|draft| draft.header[name] = value.into())
}

/// A token with that algorithm and key id in its header, however it is signed.
fn by(alg: &str, kid: &str, by: By) -> String {
    token(|draft| {
        draft.header["alg"] = alg.into();
        draft.header["kid"] = kid.into();
        draft.by = by;
    })
}

type Verdict = Result<(), TokenError>;

/// A token and the expected outcomes.
struct Row {
    name: &'static str,
    token: String,
    sign_in: Verdict,
    refresh: Verdict,
    /// The key set has one key, without an id.
    one_key: bool,
    /// The authority is for several tenants, of which one may sign in.
    tenants: bool,
}

/// The same outcome at a sign-in and at a refresh.
fn row(name: &'static str, token: String, verdict: Verdict) -> Row {
    Row { name, token, sign_in: verdict, refresh: verdict, one_key: false, tenants: false }
}

fn bad(name: &'static str, token: String, error: impl Into<TokenError>) -> Row {
    row(name, token, Err(error.into()))
}

fn good(name: &'static str, token: String) -> Row {
    row(name, token, Ok(()))
}

const SIGN_IN: SignIn<'_> = SignIn { nonce: NONCE, access_token: ACCESS_TOKEN };

const fn refreshed(tid: Option<&str>) -> Refreshed<'_> {
    Refreshed { subject: Subject { sub: SUB, tid, nonce_hash: Some(NONCE_HASH) }, access_token: ACCESS_TOKEN }
}

fn verify_row<P: ClaimsProfile>(row: &Row, profile: &P) -> Verdict {
    let keys = if row.one_key { drafts::one() } else { drafts::many() };
    drafts::verify(&row.token, &keys, row.tenants, profile).map(|_| ())
}

#[test]
fn each_invalid_id_token_has_its_error_at_sign_in_and_refresh() {
    let rows = rows::all();
    assert!(rows.len() >= 190, "{}", rows.len());
    let mut failures = Vec::new();
    for row in &rows {
        for (when, found, expected) in [
            ("sign-in", verify_row(row, &SIGN_IN), row.sign_in),
            ("refresh", verify_row(row, &refreshed(row.tenants.then_some(TENANT))), row.refresh),
        ] {
            if found != expected {
                failures.push(format!("{} at {when}: {found:?} instead of {expected:?}", row.name));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    let mut names: Vec<&str> = rows.iter().map(|row| row.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), rows.len(), "the names of rows are unique");
}

#[test]
fn another_tenant_at_a_refresh_is_another_user() {
    let token = token(|draft| {
        draft.claims["tid"] = TENANT.into();
        draft.claims["iss"] = format!("https://login.example/{TENANT}/v2.0").into();
    });
    let row = Row { tenants: true, ..good("tenants", token) };
    assert_eq!(verify_row(&row, &refreshed(Some(TENANT))), Ok(()));
    assert_eq!(verify_row(&row, &refreshed(Some(OTHER_TENANT))), Err(TokenError::OtherUser));
    assert_eq!(verify_row(&row, &refreshed(None)), Err(TokenError::OtherUser));
}

proptest::proptest! {
    #[test]
    fn no_token_panics(text in "[A-Za-z0-9_.=-]{0,120}", header in ".{0,60}", payload in ".{0,60}") {
        for token in [text, signed(&header, payload.as_bytes(), By::Nothing)] {
            let _ = verify_row(&good("", token), &SIGN_IN);
        }
    }
}
