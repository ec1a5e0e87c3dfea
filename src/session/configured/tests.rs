use url::Url;

use super::*;
use crate::oidc::discovery::Tenants;
use crate::session::payload::{AccessToken, User};

const GUID: &str = "11111111-2222-3333-4444-555555555555";
const OTHER: &str = "99999999-2222-3333-4444-555555555555";

fn configured(authority: &str, tenants: Tenants, map: &str) -> Configured {
    let authority = Authority { url: Url::parse(authority).unwrap(), tenants };
    Configured::new(authority, Arc::new(ApiMap::parse(map).unwrap()))
}

fn session(issuer: &str, tid: Option<&str>) -> Session {
    let user = User { tid: tid.map(str::to_owned), ..User::default() };
    Session { issuer: Some(issuer.to_owned()), ..Session::new([1; 16], user, 0) }
}

#[test]
fn a_session_is_of_the_configured_issuer_or_invalid() {
    let one = |guid: &str| (format!("https://login.example/{guid}/v2.0"), Tenants::One(guid.to_owned()));
    let several = || ("https://login.example/organizations/v2.0".to_owned(), Tenants::Any);
    let plain = |url: &str| (url.to_owned(), Tenants::Unchecked);
    let of_guid = format!("https://login.example/{GUID}/v2.0");
    let template = "https://login.example/{tenantid}/v2.0";
    for ((authority, tenants), issuer, tid, expected) in [
        (plain("https://login.example"), "https://login.example", None, true),
        (plain("https://login.example"), "https://login.example/", None, true),
        (plain("https://login.example/a"), "https://login.example/b", None, false),
        (plain("https://login.example"), "https://login.example.evil", None, false),
        (plain("https://login.example"), "http://login.example", None, false),
        (plain("https://login.example"), "", None, false),
        (one(GUID), of_guid.as_str(), Some(GUID), true),
        (one(OTHER), of_guid.as_str(), Some(GUID), false),
        (one(GUID), of_guid.as_str(), None, false),
        (one(GUID), template, Some(GUID), false),
        (several(), template, Some(GUID), true),
        (several(), of_guid.as_str(), Some(GUID), false),
        (several(), "https://login.other/{tenantid}/v2.0", Some(GUID), false),
    ] {
        let configured = configured(&authority, tenants, "{}");
        for attempt in [1, 2] {
            let is_accepted = configured.is_issuer_of(&session(issuer, tid));
            assert_eq!(is_accepted, expected, "{authority} {issuer} {tid:?} {attempt}");
        }
    }
}

#[test]
fn the_issuer_that_is_kept_accepts_no_other_one() {
    let configured = configured("https://login.example", Tenants::Unchecked, "{}");
    for (issuer, expected) in
        [("https://x.example", false), ("https://login.example", true), ("https://x.example", false)]
    {
        assert_eq!(configured.is_issuer_of(&session(issuer, None)), expected, "{issuer}");
    }
    let version_2 = Session { issuer: None, ..session("", None) };
    assert!(configured.is_issuer_of(&version_2), "it counts as the configured issuer's");
}

#[test]
fn an_access_token_is_good_for_the_base_scopes_and_resource_of_its_issue_only() {
    let entry = |base: &str, more: &str| {
        format!(r#"{{"one": {{"base": "https://{base}", "allow": ["GET /"], "scopes": ["a", "b"]{more}}}}}"#)
    };
    let map = entry("one.example/v1", "");
    let binding = ApiMap::parse(&map).unwrap().get("one").unwrap().binding;
    let holds = |map: &str, binding: Option<[u8; 8]>| {
        let mut session = session("https://login.example", None);
        let token = AccessToken { api: "one".to_owned(), token: "t".into(), expires_at: 9, life: 9, binding };
        session.put_access_token(token);
        configured("https://login.example", Tenants::Unchecked, map).remove_other_tokens(&mut session);
        !session.access_tokens.is_empty()
    };
    for same in [
        map.clone(),
        entry("one.example/v1/", ""),
        entry("ONE.example/v1", r#", "cache": "private", "max_body": 1024"#),
        map.replace(r#"["a", "b"]"#, r#"["b", "a"]"#),
        map.replace(r#"["a", "b"]"#, r#"["a", "b", "a"]"#),
    ] {
        assert!(holds(&same, Some(binding)), "{same}");
        assert!(!holds(&same, None), "of payload version 2");
    }
    for other in [
        entry("two.example/v1", ""),
        entry("one.example/v2", ""),
        entry("one.example:8443/v1", ""),
        entry("one.example/v1", r#", "resource": "https://one.example""#),
        map.replace(r#"["a", "b"]"#, r#"["a"]"#),
        map.replace(r#"["a", "b"]"#, r#"["a", "b", "c"]"#),
        map.replace(r#"["a", "b"]"#, r#"["ab"]"#),
        map.replace(r#""one":"#, r#""two":"#),
        "{}".to_owned(),
    ] {
        assert!(!holds(&other, Some(binding)), "{other}");
    }
}

/// Known answer: other instances compare it.
#[test]
fn a_binding_is_a_hash_of_base_scopes_and_resource() {
    let map = r#"{"one": {"base": "https://one.example/v1", "allow": ["GET /"], "scopes": ["b", "a"]}}"#;
    let binding = |map: &str| ApiMap::parse(map).unwrap().get("one").unwrap().binding;
    // printf 'https://one.example/v1/\0a b\0' | sha256sum
    assert_eq!(binding(map), [0xc0, 0x99, 0x59, 0x9b, 0xe0, 0x9d, 0x01, 0x15]);
    // printf 'https://one.example/v1/\0a b\0r' | sha256sum
    assert_eq!(
        binding(&map.replace(r#""allow""#, r#""resource": "r", "allow""#)),
        [0x14, 0x8f, 0xbc, 0xb7, 0x5f, 0x4d, 0x60, 0xbd]
    );
}
