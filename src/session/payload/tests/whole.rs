//! A second reader of the binary form, which reads it as a whole: [`Session::decode`] must accept the same payloads,
//! also of what it leaves packed, and no more (contract 5.8).

use proptest::prelude::{prop_assert, prop_assert_eq};
use serde::Deserialize;

use super::*;

type Segments = Vec<Segment>;
type Text = Option<String>;

/// Version 2, and the first part of version 3.
#[derive(Deserialize)]
struct Base {
    id: [u8; 16],
    times: (u64, u64, u64),
    user: (String, Option<String>, Option<String>),
    claims: (Text, Text, Text, Vec<String>, Text, Text),
    refresh_token: Option<Segments>,
    access_tokens: Vec<(String, Segments, u64, u64)>,
}

#[derive(Deserialize, Default)]
struct Extension {
    issuer: Option<String>,
    nonce_hash: Option<[u8; 8]>,
    bindings: Vec<Option<[u8; 8]>>,
    not_granted: Vec<String>,
    id_token: Option<Segments>,
    handle: Option<Vec<u8>>,
    persist: bool,
    authentication: (Option<String>, Vec<String>, Option<u64>),
}

#[derive(Deserialize)]
enum Segment {
    Bytes(Vec<u8>),
    Text(String),
}

fn token(segments: &Segments) -> String {
    let segment = |segment: &Segment| match segment {
        Segment::Bytes(bytes) => URL_SAFE_NO_PAD.encode(bytes),
        Segment::Text(text) => text.clone(),
    };
    segments.iter().map(segment).collect::<Vec<_>>().join(".")
}

/// All of a session, as this reader and as [`Session::decode`] read it.
fn both(payload: &[u8]) -> (Option<String>, Option<String>) {
    (whole(payload), Session::decode(payload).map(|session| all(&session)))
}

fn whole(payload: &[u8]) -> Option<String> {
    let (base, rest): (Base, _) = match payload.split_first()? {
        (2 | 3, bytes) => postcard::take_from_bytes(bytes).ok()?,
        _ => return None,
    };
    let without = Extension { bindings: vec![None; base.access_tokens.len()], ..Extension::default() };
    let (extension, rest): (Extension, _) = match payload[0] {
        3 => postcard::take_from_bytes(rest).ok()?,
        _ => (without, rest),
    };
    let is_handle = |handle: &Vec<u8>| handle.len() == 32;
    let is_session = rest.is_empty()
        && extension.bindings.len() == base.access_tokens.len()
        && extension.handle.as_ref().is_none_or(is_handle);
    let access_tokens = base.access_tokens.iter().zip(&extension.bindings);
    let access_tokens: Vec<_> = access_tokens
        .map(|((api, segments, expires_at, life), binding)| {
            (api.clone(), token(segments), *expires_at, *life, *binding)
        })
        .collect();
    let (acr, amr, auth_time) = extension.authentication;
    let tokens = [base.refresh_token, extension.id_token].map(|segments| segments.as_ref().map(token));
    let more = (extension.issuer, extension.nonce_hash, extension.not_granted, extension.handle, extension.persist);
    let claims = (base.claims, acr, amr, auth_time);
    is_session.then(|| format!("{:?}", (base.id, base.times, base.user, claims, tokens, access_tokens, more)))
}

fn all(session: &Session) -> String {
    let Claims { name, preferred_username, email, roles, login_hint, provider_sid, acr, amr, auth_time } =
        Claims::clone(&session.user.claims);
    let claims = ((name, preferred_username, email, roles, login_hint, provider_sid), acr, amr, auth_time);
    let text = |token: &Token| token.expose_secret().to_owned();
    let access_tokens = session.access_tokens.iter();
    let access_tokens: Vec<_> = access_tokens
        .map(|held| (held.api.clone(), text(&held.token), held.expires_at, held.life, held.binding))
        .collect();
    let tokens = [&session.refresh_token, &session.id_token].map(|token| token.as_ref().map(text));
    let times = (session.generation, session.signed_in_at, session.active_at);
    let user = (&session.user.sub, &session.user.oid, &session.user.tid);
    let handle = session.handle.as_ref().map(|handle| handle.expose().to_vec());
    let more = (&session.issuer, session.nonce_hash, &session.not_granted, handle, session.persist);
    format!("{:?}", (session.id, times, user, claims, tokens, access_tokens, more))
}

/// With everything that differs from what is next to it.
fn distinct() -> Vec<u8> {
    let mut session = full_session();
    (session.user.oid, session.user.tid) = (Some("o".to_owned()), Some("t".to_owned()));
    session.user.claims.name = Some("n".to_owned());
    session.encode().to_vec()
}

#[test]
fn the_other_reader_reads_what_was_packed() {
    for payload in [version_2(), version_3(), full_session().encode().to_vec(), distinct()] {
        let (whole, packed) = both(&payload);
        assert!(whole.is_some());
        assert_eq!(packed, whole);
    }
}

proptest::proptest! {
    /// Also in the parts that stay packed.
    #[test]
    fn a_payload_is_a_session_exactly_if_all_of_it_can_be_read(
        version in 2u8..4,
        changes in proptest::collection::vec((0usize..400, proptest::num::u8::ANY, 0u8..3), 0..4),
    ) {
        let mut payload = if version == 2 { version_2() } else { distinct() };
        for (at, byte, kind) in changes {
            let at = at % payload.len();
            match kind {
                0 => payload[at] = byte,
                1 => payload.insert(at, byte),
                _ => drop(payload.remove(at)),
            }
        }
        let (whole, packed) = both(&payload);
        prop_assert_eq!(packed, whole);
    }

    #[test]
    fn a_changed_byte_anywhere_is_read_alike(at in 0usize..400, byte in proptest::num::u8::ANY) {
        for mut payload in [version_2(), version_3(), distinct()] {
            let at = at % payload.len();
            payload[at] = byte;
            let (whole, packed) = both(&payload);
            prop_assert!(whole == packed, "byte {} of version {}", at, payload[0]);
        }
    }
}
