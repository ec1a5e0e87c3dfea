//! The rows of the table, by subject.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384};
use sha2::{Digest, Sha256};

use super::*;
use crate::oidc::drafts::{KEYS, RS256, SECRET, base64url, rsa_key};
use JwtError::{Algorithm, CriticalHeader, Malformed, Signature, Type, UnknownKey};
use TokenError::{
    AtHash, Audience, AuthorizedParty, Expired, IssuedAt, Issuer, Nonce, NotBefore, OtherUser, Subject, Tenant,
};

pub(super) fn all() -> Vec<Row> {
    [algorithms(), fitting(), keys(), embedded_keys(), headers(), segments(), payloads(), audiences(), issuers()]
        .into_iter()
        .chain([tenants(), subjects(), expiries(), other_times(), nonces(), hashes()])
        .flatten()
        .collect()
}

fn algorithms() -> Vec<Row> {
    let modulus = PublicKeyComponents::<Vec<u8>>::from(KEYS.first.public()).n;
    let public_key: &'static [u8] = Box::leak(modulus.into_boxed_slice());
    let secret = By::Hmac(SECRET.as_bytes());
    vec![
        good("RS256", by("RS256", "rsa", RS256)),
        good("PS256", by("PS256", "rsa", By::Rsa(&RSA_PSS_SHA256))),
        good("ES256", by("ES256", "ec", By::Es256)),
        bad("none", by("none", "rsa", By::Nothing), Algorithm),
        bad("None", by("None", "rsa", By::Nothing), Algorithm),
        bad("NONE", by("NONE", "rsa", By::Nothing), Algorithm),
        bad("nOnE", by("nOnE", "rsa", By::Nothing), Algorithm),
        bad("none with a good signature", by("none", "rsa", RS256), Algorithm),
        bad("none without a kid", without_kid("none", By::Nothing), Algorithm),
        bad("HS256 by the client secret", by("HS256", "rsa", secret), Algorithm),
        bad("HS256 by the public key", by("HS256", "rsa", By::Hmac(public_key)), Algorithm),
        bad("HS256 by a key of the set", by("HS256", "oct", secret), Algorithm),
        bad("HS384", by("HS384", "rsa", secret), Algorithm),
        bad("RS384", by("RS384", "rsa", By::Rsa(&RSA_PKCS1_SHA384)), Algorithm),
        bad("RS512", by("RS512", "rsa", By::Rsa(&RSA_PKCS1_SHA512)), Algorithm),
        bad("PS384", by("PS384", "rsa", By::Rsa(&RSA_PSS_SHA384)), Algorithm),
        bad("ES384", by("ES384", "p384", By::Es384), Algorithm),
        bad("ES256K", by("ES256K", "ec", By::Es256), Algorithm),
        bad("EdDSA", by("EdDSA", "ec", By::Es256), Algorithm),
        bad("rs256 in lower case", by("rs256", "rsa", RS256), Algorithm),
        bad("an empty alg", by("", "rsa", RS256), Algorithm),
        bad("no alg", signed(r#"{"typ":"JWT","kid":"rsa"}"#, b"{}", RS256), Malformed),
        bad("an alg that is a number", headed("alg", 256), Malformed),
        bad("an alg that is a list", headed("alg", json!(["RS256"])), Malformed),
    ]
}

fn without_kid(alg: &str, by: By) -> String {
    token(|draft| {
        draft.header = json!({"alg": alg});
        draft.by = by;
    })
}

fn fitting() -> Vec<Row> {
    vec![
        bad("RS256 under the id of an elliptic key", by("RS256", "ec", RS256), Algorithm),
        bad("ES256 under the id of an RSA key", by("ES256", "rsa", By::Es256), Algorithm),
        bad("ES256 under the id of a P-384 key", by("ES256", "p384", By::Es256), Algorithm),
        bad("PS256 by a key for RS256", by("PS256", "rs256", By::Rsa(&RSA_PSS_SHA256)), Algorithm),
        bad("RS256 by a key for PS256", by("RS256", "ps256", RS256), Algorithm),
        bad("RS256 by a key for RS384", by("RS256", "rs384", RS256), Algorithm),
        bad("RS256 that is signed as PS256", by("RS256", "rsa", By::Rsa(&RSA_PSS_SHA256)), Signature),
        bad("PS256 that is signed as RS256", by("PS256", "rsa", RS256), Signature),
        bad("ES256 in DER", by("ES256", "ec", By::Es256Der), Signature),
        good("a key that names its algorithm", by("RS256", "rs256", RS256)),
        good("a key that names what it is for", by("PS256", "ps256", By::Rsa(&RSA_PSS_SHA256))),
    ]
}

fn keys() -> Vec<Row> {
    vec![
        bad("no kid, several keys", without_kid("RS256", RS256), UnknownKey),
        Row { one_key: true, ..good("no kid, one key", without_kid("RS256", RS256)) },
        good("no kid, one key of that kind", without_kid("ES256", By::Es256)),
        Row { one_key: true, ..bad("a kid, and a key without", by("RS256", "rsa", RS256), UnknownKey) },
        Row { one_key: true, ..bad("no kid, one key, a stranger's", without_kid("RS256", By::Stranger), Signature) },
        bad("an unknown kid", by("RS256", "unknown", RS256), UnknownKey),
        bad("an empty kid", by("RS256", "", RS256), UnknownKey),
        bad("a kid in upper case", by("RS256", "RSA", RS256), UnknownKey),
        bad("a kid that is a path", by("RS256", "../../dev/null", RS256), UnknownKey),
        bad("a kid that is a number", headed("kid", 1), Malformed),
        bad("a kid that is null", headed("kid", Value::Null), UnknownKey),
        bad("the kid of a key for encryption", by("RS256", "encrypts", RS256), UnknownKey),
        bad("the kid of a key for wrapping", by("RS256", "wraps", RS256), UnknownKey),
        good("the first of two keys of a kid", by("RS256", "twin", RS256)),
        good("the second of two keys of a kid", by("RS256", "twin", By::Second)),
        bad("neither of two keys of a kid", by("RS256", "twin", By::Stranger), Signature),
        bad("a stranger's key under a good kid", by("RS256", "rsa", By::Stranger), Signature),
        bad("another key of the provider", by("RS256", "rsa", By::Second), Signature),
        bad("the kid of a key of an unknown type", by("RS256", "unknown-type", RS256), Algorithm),
    ]
}

/// Keys in the token itself are ignored (RFC 8725 section 3.10).
fn embedded_keys() -> Vec<Row> {
    let embed = |name: &str, value: Value, by: By| {
        token(|draft| {
            draft.header[name] = value;
            draft.by = by;
        })
    };
    let own = rsa_key(&KEYS.stranger, &json!({"kid": "rsa"}));
    vec![
        bad("jwk", embed("jwk", own, By::Stranger), Signature),
        bad("jku", embed("jku", "https://evil.example/keys".into(), By::Stranger), Signature),
        bad("x5u", embed("x5u", "https://evil.example/chain".into(), By::Stranger), Signature),
        bad("x5c", embed("x5c", json!(["AAAA"]), By::Stranger), Signature),
        good("jku beside a good signature", embed("jku", "https://evil.example/keys".into(), RS256)),
    ]
}

fn headers() -> Vec<Row> {
    let claims = token(|_| {});
    let payload = URL_SAFE_NO_PAD.decode(claims.split('.').nth(1).unwrap()).unwrap();
    vec![
        bad("crit", headed("crit", json!(["exp"])), CriticalHeader),
        bad("an empty crit", headed("crit", json!([])), CriticalHeader),
        bad("a crit that is a text", headed("crit", "exp"), Malformed),
        good("no typ", signed(r#"{"alg":"RS256","kid":"rsa"}"#, &payload, RS256)),
        good("typ jwt", headed("typ", "jwt")),
        good("typ application/jwt", headed("typ", "application/jwt")),
        bad("an access token", headed("typ", "at+jwt"), Type),
        bad("a logout token", headed("typ", "logout+jwt"), Type),
        bad("an unknown typ", headed("typ", "secevent+jwt"), Type),
        bad("a typ that is a number", headed("typ", 1), Malformed),
        bad("alg twice", signed(r#"{"alg":"none","alg":"RS256","kid":"rsa"}"#, &payload, RS256), Malformed),
        bad("alg twice, then none", signed(r#"{"alg":"RS256","alg":"none","kid":"rsa"}"#, &payload, RS256), Algorithm),
        bad("kid twice", signed(r#"{"alg":"RS256","kid":"rsa","kid":"ec"}"#, &payload, RS256), Malformed),
        bad("a header that is no object", signed(r#"["RS256"]"#, &payload, RS256), Malformed),
        bad("a header with trailing characters", signed(r#"{"alg":"RS256","kid":"rsa"}x"#, &payload, RS256), Malformed),
        good("a header with more in it", headed("nonce", "of-the-header")),
    ]
}

fn segments() -> Vec<Row> {
    let whole = token(|_| {});
    let parts: Vec<&str> = whole.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let put = |signature: &str| format!("{header}.{payload}.{signature}");
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[100] ^= 1;
    let other_payload = base64url(json!({"sub": "grace"}).to_string());
    // The last of 342 characters has four unused bits, which must be zero.
    let stray = format!("{}{}", &signature[..signature.len() - 1], if signature.ends_with('A') { 'B' } else { 'D' });
    vec![
        bad("a flipped bit in the signature", put(&base64url(flipped)), Signature),
        bad("another payload under the signature", format!("{header}.{other_payload}.{signature}"), Signature),
        bad("an empty signature", put(""), Signature),
        bad("half a signature", put(&signature[..172]), Signature),
        bad("a signature with trailing characters", put(&format!("{signature}AA")), Signature),
        bad("a signature with stray bits", put(&stray), Malformed),
        bad("a padded signature", put(&format!("{signature}==")), Malformed),
        bad("a signature and a line end", format!("{whole}\n"), Malformed),
        bad("a space in front", format!(" {whole}"), Malformed),
        bad("a padded header", format!("{header}=.{payload}.{signature}"), Malformed),
        bad("one segment", header.to_owned(), Malformed),
        bad("two segments", format!("{header}.{payload}"), Malformed),
        bad("four segments", format!("{whole}.{signature}"), Malformed),
        bad("five segments", format!("{whole}.{payload}.{signature}"), Malformed),
        bad("nothing", String::new(), Malformed),
        bad("dots", "..".to_owned(), Malformed),
        bad("JSON serialization", json!({"payload": payload, "signature": signature}).to_string(), Malformed),
    ]
}

fn payloads() -> Vec<Row> {
    let header = r#"{"alg":"RS256","kid":"rsa"}"#;
    let text = URL_SAFE_NO_PAD.decode(token(|_| {}).split('.').nth(1).unwrap()).unwrap();
    let text = String::from_utf8(text).unwrap();
    let payload = |payload: &[u8]| signed(header, payload, RS256);
    let also = |member: &str| payload(format!("{},{member}}}", &text[..text.len() - 1]).as_bytes());
    let in_order = json!([
        ISSUER,
        SUB,
        CLIENT,
        null,
        NOW + 60,
        NOW,
        null,
        NONCE,
        null,
        null,
        null,
        null,
        null,
        null,
        [],
        null,
        null
    ]);
    vec![
        good("the usual payload", payload(text.as_bytes())),
        good("an unknown claim twice", also(r#""x":1,"x":2"#)),
        bad("sub twice", also(r#""sub":"ada""#), Malformed),
        bad("iss twice", also(r#""iss":"https://evil.example""#), Malformed),
        bad("aud twice", also(r#""aud":"other""#), Malformed),
        bad("nonce twice", also(r#""nonce":"other""#), TokenError::Malformed("nonce")),
        bad("exp twice", also(r#""exp":1"#), Malformed),
        bad("a payload that is a list", payload(b"[]"), Malformed),
        bad("a payload that is a list of the claims", payload(in_order.to_string().as_bytes()), Malformed),
        bad("a payload that is a text", payload(b"\"claims\""), Malformed),
        bad("a payload that is null", payload(b"null"), Malformed),
        bad("a payload that is a number", payload(b"7"), Malformed),
        bad("an empty payload", payload(b""), Malformed),
        bad("an empty object", payload(b"{}"), TokenError::Malformed("iss")),
        bad("half an object", payload(&text.as_bytes()[..40]), Malformed),
        bad("a payload with trailing characters", payload(format!("{text}{{}}").as_bytes()), Malformed),
        bad("a payload that is no UTF-8", payload(&[text.as_bytes(), b"\xff"].concat()), Malformed),
        bad("a byte order mark", payload(format!("\u{feff}{text}").as_bytes()), Malformed),
    ]
}

fn audiences() -> Vec<Row> {
    let several = |azp: Option<&str>| {
        token(|draft| {
            draft.claims["aud"] = json!(["another", CLIENT]);
            draft.claims["azp"] = azp.into();
        })
    };
    vec![
        good("a list of one audience", with("aud", json!([CLIENT]))),
        good("several audiences, authorized", several(Some(CLIENT))),
        good("the same audience twice", with("aud", json!([CLIENT, CLIENT]))),
        bad("several audiences, not authorized", several(None), AuthorizedParty),
        bad("several audiences, an empty azp", several(Some("")), AuthorizedParty),
        bad("several audiences, another authorized", several(Some("another")), AuthorizedParty),
        bad("one audience, another authorized", with("azp", "another"), AuthorizedParty),
        good("one audience, authorized", with("azp", CLIENT)),
        good("an empty azp", with("azp", "")),
        good("an azp that is a list", with("azp", json!([CLIENT]))),
        bad("another audience", with("aud", "another"), Audience),
        bad("other audiences", with("aud", json!(["another", "third"])), Audience),
        bad("an audience with a common prefix", with("aud", format!("{CLIENT}-2")), Audience),
        bad("an audience in upper case", with("aud", CLIENT.to_uppercase()), Audience),
        bad("an empty audience", with("aud", ""), TokenError::Malformed("aud")),
        bad("a list of no audience", with("aud", json!([])), Audience),
        bad("no aud", without("aud"), TokenError::Malformed("aud")),
        bad("an aud that is null", with("aud", Value::Null), TokenError::Malformed("aud")),
        bad("an aud that is a number", with("aud", 1), TokenError::Malformed("aud")),
        bad("an aud with a number in it", with("aud", json!([CLIENT, 1])), TokenError::Malformed("aud")),
    ]
}

fn issuers() -> Vec<Row> {
    vec![
        bad("another issuer", with("iss", "https://evil.example"), Issuer),
        bad("an issuer with a trailing slash", with("iss", format!("{ISSUER}/")), Issuer),
        bad("an issuer by http", with("iss", ISSUER.replace("https", "http")), Issuer),
        bad("an issuer in upper case", with("iss", ISSUER.to_uppercase()), Issuer),
        bad("an issuer with a longer host", with("iss", format!("{ISSUER}.evil.example")), Issuer),
        bad("an empty issuer", with("iss", ""), TokenError::Malformed("iss")),
        bad("no iss", without("iss"), TokenError::Malformed("iss")),
        bad("an iss that is a list", with("iss", json!([ISSUER])), TokenError::Malformed("iss")),
        good("a plain provider's tid", with("tid", "anything")),
        bad("a key that signs for another issuer", headed("kid", "elsewhere"), Issuer),
    ]
}

fn tenants() -> Vec<Row> {
    let of = |iss: &str, tid: Value, kid: &str| {
        token(|draft| {
            draft.claims["iss"] = format!("https://login.example/{iss}/v2.0").into();
            draft.claims["tid"] = tid;
            draft.header["kid"] = kid.into();
        })
    };
    let rows = vec![
        good("an allowed tenant", of(TENANT, TENANT.into(), "rsa")),
        good("a key for all tenants", of(TENANT, TENANT.into(), "template")),
        bad("a key for another tenant", of(TENANT, TENANT.into(), "elsewhere"), Issuer),
        bad("a tenant that may not sign in", of(OTHER_TENANT, OTHER_TENANT.into(), "rsa"), Tenant),
        bad("tenant and issuer disagree", of(OTHER_TENANT, TENANT.into(), "rsa"), Issuer),
        bad("the issuer of an allowed tenant", of(TENANT, OTHER_TENANT.into(), "rsa"), Issuer),
        bad("no tenant", of(TENANT, Value::Null, "rsa"), Issuer),
        bad("the template itself", of("{tenantid}", "{tenantid}".into(), "rsa"), Issuer),
        bad("a tenant that is no GUID", of("contoso", "contoso".into(), "rsa"), Issuer),
        bad("a tenant that is a number", of(TENANT, 1.into(), "rsa"), Issuer),
        bad("an issuer without a tenant", with("iss", "https://login.example/v2.0"), Issuer),
    ];
    rows.into_iter().map(|row| Row { tenants: true, ..row }).collect()
}

fn subjects() -> Vec<Row> {
    vec![
        Row { refresh: Err(OtherUser), ..good("another user", with("sub", "grace")) },
        Row { refresh: Err(OtherUser), ..good("a sub in upper case", with("sub", "ADA")) },
        Row { refresh: Err(OtherUser), ..good("a sub of 255 bytes", with("sub", "s".repeat(255))) },
        bad("a sub of 256 bytes", with("sub", "s".repeat(256)), Subject),
        bad("an empty sub", with("sub", ""), TokenError::Malformed("sub")),
        bad("no sub", without("sub"), TokenError::Malformed("sub")),
        bad("a sub that is a number", with("sub", 7), TokenError::Malformed("sub")),
        bad("a sub that is null", with("sub", Value::Null), TokenError::Malformed("sub")),
    ]
}

fn expiries() -> Vec<Row> {
    vec![
        good("the last second", with("exp", NOW - SKEW + 1)),
        bad("the second after the last", with("exp", NOW - SKEW), Expired),
        bad("long expired", with("exp", NOW - 86_400), Expired),
        bad("exp 0", with("exp", 0), Expired),
        good("exp with a fraction", with("exp", 1_700_003_600.5)),
        good("exp in the year 9999", with("exp", 253_402_300_799_u64)),
        bad("exp in milliseconds", with("exp", (NOW + 60) * 1_000), TokenError::Malformed("exp")),
        bad("exp 1e300", with("exp", 1e300), TokenError::Malformed("exp")),
        bad("exp beyond 64 bits", with("exp", u64::MAX), TokenError::Malformed("exp")),
        bad("a negative exp", with("exp", -1), TokenError::Malformed("exp")),
        bad("an exp that is a text", with("exp", (NOW + 60).to_string()), TokenError::Malformed("exp")),
        bad("an exp that is true", with("exp", true), TokenError::Malformed("exp")),
        bad("an exp that is null", with("exp", Value::Null), TokenError::Malformed("exp")),
        bad("no exp", without("exp"), TokenError::Malformed("exp")),
    ]
}

fn other_times() -> Vec<Row> {
    vec![
        good("issued at the limit of the tolerance", with("iat", NOW + SKEW)),
        bad("issued a second beyond the tolerance", with("iat", NOW + SKEW + 1), IssuedAt),
        good("issued long ago", with("iat", 0)),
        bad("no iat", without("iat"), TokenError::Malformed("iat")),
        bad("an iat that is a text", with("iat", NOW.to_string()), TokenError::Malformed("iat")),
        bad("a negative iat", with("iat", -1), TokenError::Malformed("iat")),
        bad("iat 1e300", with("iat", 1e300), TokenError::Malformed("iat")),
        good("valid from the limit of the tolerance", with("nbf", NOW + SKEW)),
        bad("valid from a second beyond the tolerance", with("nbf", NOW + SKEW + 1), NotBefore),
        good("an nbf that is null", with("nbf", Value::Null)),
        good("an nbf that is a text", with("nbf", NOW.to_string())),
        bad("nbf 1e300", with("nbf", 1e300), TokenError::Malformed("nbf")),
    ]
}

/// An ID token of a refresh needs no nonce; one that is there is that of the sign-in (contract 7.4).
fn nonces() -> Vec<Row> {
    let at_sign_in = |name, token, error| Row { sign_in: Err(error), ..good(name, token) };
    vec![
        bad("another nonce", with("nonce", "another"), Nonce),
        at_sign_in("no nonce", without("nonce"), Nonce),
        at_sign_in("an empty nonce", with("nonce", ""), Nonce),
        at_sign_in("a nonce that is null", with("nonce", Value::Null), Nonce),
        bad("a nonce with a common prefix", with("nonce", format!("{NONCE}-2")), Nonce),
        bad("half a nonce", with("nonce", &NONCE[..4]), Nonce),
        bad("a nonce that is a list", with("nonce", json!([NONCE])), TokenError::Malformed("nonce")),
        bad("a nonce that is a number", with("nonce", 7), TokenError::Malformed("nonce")),
    ]
}

fn hashes() -> Vec<Row> {
    let whole = base64url(Sha256::digest(ACCESS_TOKEN));
    vec![
        good("no at_hash", without("at_hash")),
        good("an at_hash that is null", with("at_hash", Value::Null)),
        bad("the at_hash of another token", with("at_hash", at_hash("another")), AtHash),
        bad("an at_hash of the whole hash", with("at_hash", whole), AtHash),
        bad("a padded at_hash", with("at_hash", format!("{}==", at_hash(ACCESS_TOKEN))), AtHash),
        good("an empty at_hash", with("at_hash", "")),
        good("an at_hash that is a number", with("at_hash", 7)),
    ]
}
