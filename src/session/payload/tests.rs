mod whole;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

/// Everything that version 2 can hold.
fn session(refresh_token: &str, access_token: &str) -> Session {
    let claims = Claims { roles: vec!["Reader".to_owned()], ..Claims::default() };
    let user = User { sub: "s".to_owned(), claims: claims.into(), ..User::default() };
    Session {
        generation: 7,
        active_at: 1_001,
        refresh_token: Some(refresh_token.into()),
        access_tokens: vec![AccessToken {
            api: "graph".to_owned(),
            token: access_token.into(),
            expires_at: 2_000,
            life: 1_000,
            binding: None,
        }],
        ..Session::new([5; 16], user, 1_000)
    }
}

/// With everything that version 3 adds.
fn full_session() -> Session {
    let mut session = session("AQID", "a.b!");
    session.issuer = Some("i".to_owned());
    session.nonce_hash = Some([6; 8]);
    session.access_tokens[0].binding = Some([7; 8]);
    session.not_granted = vec!["mail".to_owned()];
    session.id_token = Some("AQID.BAUG".into());
    session.handle = Some(Key32::new([8; 32]));
    session.persist = true;
    session.user.claims.acr = Some("c1".to_owned());
    session.user.claims.amr = vec!["pwd".to_owned()];
    session.user.claims.auth_time = Some(999);
    session
}

/// What a release before version 3 wrote.
fn version_2() -> Vec<u8> {
    let mut form = vec![2];
    form.extend([5; 16]);
    form.extend(b"\x07\xe8\x07\xe9\x07");
    form.extend(b"\x01s\0\0\0\0\0\x01\x06Reader\0\0");
    form.extend(b"\x01\x01\x00\x03\x01\x02\x03");
    form.extend(b"\x01\x05graph\x02\x01\x01a\x01\x02b!\xd0\x0f\xe8\x07");
    form
}

fn version_3() -> Vec<u8> {
    let mut form = version_2();
    form[0] = 3;
    form.extend(b"\x01\x01i");
    form.push(1);
    form.extend([6; 8]);
    form.extend([1, 1]);
    form.extend([7; 8]);
    form.extend(b"\x01\x04mail");
    form.extend(b"\x01\x02\x00\x03\x01\x02\x03\x00\x03\x04\x05\x06");
    form.extend([1, 32]);
    form.extend([8; 32]);
    form.extend(b"\x01\x01\x02c1\x01\x03pwd\x01\xe7\x07");
    form
}

/// Secrets included, which `Debug` of a session hides.
fn text(session: &Session) -> String {
    let tokens: Vec<&str> = session.access_tokens.iter().map(|held| held.token.expose_secret()).collect();
    let others = [&session.refresh_token, &session.id_token].map(|token| token.as_ref().map(|it| it.expose_secret()));
    let handle = session.handle.as_ref().map(Key32::expose);
    format!("{session:?} {tokens:?} {others:?} {handle:?}")
}

#[test]
fn a_token_is_valid_to_its_last_second() {
    let session = session("r", "a");
    assert!(session.access_token("graph", 1_999).is_some());
    assert!(session.access_token("graph", 2_000).is_none());
    assert!(session.access_token("other", 1_000).is_none());
}

#[test]
fn a_token_is_fresh_until_the_skew_or_half_its_life_is_left() {
    let token = |life| AccessToken { api: String::new(), token: "a".into(), expires_at: 10_000, life, binding: None };
    for (life, skew, last_fresh) in
        [(3_600, 60, 9_940), (3_600, 0, 9_999), (100, 60, 9_950), (1, 60, 9_999), (0, 60, 9_999)]
    {
        assert!(token(life).is_fresh(last_fresh, skew), "{life} {skew}");
        assert!(!token(life).is_fresh(last_fresh + 1, skew), "{life} {skew}");
    }
    assert!(!token(100).is_expired(9_999) && token(100).is_expired(10_000));
}

#[test]
fn base64url_is_packed() {
    let text = URL_SAFE_NO_PAD.encode([9u8; 900]);
    let jwt = format!("{text}.{text}.{text}");
    assert!(session("opaque", &jwt).encode().len() < jwt.len() * 78 / 100);
}

/// Known answers (contract 5.8): instances of the release before wrote these bytes, and still hold them in cookies.
#[test]
fn version_2_is_read() {
    let read = Session::decode(&version_2()).unwrap();
    assert_eq!(text(&read), text(&session("AQID", "a.b!")));
}

/// Known answers (contract 5.8): what other instances of this release write and read.
#[test]
fn the_binary_form_of_version_3_stays_as_it_is() {
    assert_eq!(full_session().encode().as_slice(), version_3());
    assert_eq!(text(&Session::decode(&version_3()).unwrap()), text(&full_session()));
    let mut bare = version_2();
    bare[0] = 3;
    bare.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(session("AQID", "a.b!").encode().as_slice(), bare);
    assert_eq!(text(&Session::decode(&bare).unwrap()), text(&session("AQID", "a.b!")));
}

#[test]
fn a_payload_that_is_damaged_or_of_another_version_is_no_session() {
    for good in [version_2(), version_3()] {
        assert!(Session::decode(&good).is_some());
        for length in 0..good.len() {
            assert!(Session::decode(&good[..length]).is_none(), "{length} bytes");
        }
        let longer = [good.as_slice(), &[0]].concat();
        assert!(Session::decode(&longer).is_none());
        for version in [0, 1, 4, 255] {
            let other = [&[version], &good[1..]].concat();
            assert!(Session::decode(&other).is_none(), "version {version}");
        }
    }
}

#[test]
fn a_hash_without_its_access_token_is_no_session() {
    let form = version_3();
    let bindings = [[1, 1].as_slice(), &[7; 8]].concat();
    let at = form.windows(bindings.len()).position(|window| window == bindings).unwrap();
    for other in [[0].as_slice(), &[[2, 1].as_slice(), &[7; 8], &[0]].concat()] {
        let other = [&form[..at], other, &form[at + bindings.len()..]].concat();
        assert!(Session::decode(&other).is_none());
    }
}

/// A buffer that grows leaves copies of tokens in freed memory.
#[test]
fn the_binary_form_is_allocated_once() {
    let payload = full_session().encode();
    assert_eq!(payload.capacity(), payload.len());
}

#[test]
fn debug_does_not_leak_tokens() {
    let mut session = session("CANARY-refresh", "CANARY-access");
    session.id_token = Some("CANARY-id".into());
    let opened = Session::decode(&session.encode()).unwrap();
    let text = format!("{session:?} {opened:?}");
    assert!(!text.contains("CANARY"), "{text}");
}

/// A call needs no more than the text of one access token, in a header.
#[test]
fn what_no_call_needs_stays_packed() {
    let session = Session::decode(&full_session().encode()).unwrap();
    assert_eq!(bearer(&session.access_tokens[0].token).unwrap(), "Bearer a.b!");
    let tokens = [&session.access_tokens[0].token, session.refresh_token.as_ref().unwrap()];
    assert!(tokens.into_iter().chain(&session.id_token).all(|token| token.packed().is_some()));
    assert!(session.user.claims.packed().is_some());
    assert_eq!(session.user.claims.acr.as_deref(), Some("c1"));
    assert!(session.user.claims.packed().is_none());
}

#[test]
fn the_header_of_an_access_token_is_the_same_for_its_packed_form() {
    for token in ["a.b!", "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln", "", ".", "opaque"] {
        let held = session("r", token);
        let read = Session::decode(&held.encode()).unwrap();
        for token in [&held, &read].map(|session| &session.access_tokens[0].token) {
            let (found, longest) = (bearer(token).unwrap(), token.bearer_len());
            assert_eq!(found, format!("Bearer {}", token.expose_secret()));
            assert!(found.len() <= longest, "{} <= {longest}", found.len());
        }
    }
}

#[test]
fn a_token_that_no_header_can_carry_makes_none() {
    for token in ["a\nb", "a.\r\nx: y", "a\0", "\u{7f}"] {
        let held = session("r", token);
        let read = Session::decode(&held.encode()).unwrap();
        for session in [held, read] {
            assert!(bearer(&session.access_tokens[0].token).is_none(), "{token:?}");
        }
    }
}

fn bearer(token: &Token) -> Option<String> {
    let mut value = Vec::new();
    token.write_bearer(&mut value)?;
    Some(String::from_utf8(value).unwrap())
}

proptest::proptest! {
    #[test]
    fn any_token_comes_back_as_it_was(refresh in ".{0,80}", access in "[A-Za-z0-9_.=+/-]{0,200}") {
        let back = Session::decode(&session(&refresh, &access).encode()).unwrap();
        let found = back.refresh_token.unwrap();
        proptest::prop_assert_eq!(found.expose_secret(), refresh);
        proptest::prop_assert_eq!(back.access_tokens[0].token.expose_secret(), access);
    }

    #[test]
    fn no_payload_panics(version in 1u8..5, bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let _ = Session::decode(&[&[version], bytes.as_slice()].concat());
    }
}
