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
    _id: [u8; 16],
    _times: (u64, u64, u64),
    _user: (String, Option<String>, Option<String>),
    claims: (Text, Text, Text, Vec<String>, Text, Text),
    refresh_token: Option<Segments>,
    access_tokens: Vec<(String, Segments, u64, u64)>,
}

#[derive(Deserialize)]
struct Extension {
    _issuer: Option<String>,
    _nonce_hash: Option<[u8; 8]>,
    bindings: Vec<Option<[u8; 8]>>,
    _not_granted: Vec<String>,
    id_token: Option<Segments>,
    handle: Option<Vec<u8>>,
    _persist: bool,
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

/// What [`Session::decode`] leaves packed, as this reader and as the session read it.
fn both(payload: &[u8]) -> (Option<String>, Option<String>) {
    (whole(payload), Session::decode(payload).map(|session| packed(&session)))
}

fn whole(payload: &[u8]) -> Option<String> {
    let (base, rest): (Base, _) = match payload.split_first()? {
        (2 | 3, bytes) => postcard::take_from_bytes(bytes).ok()?,
        _ => return None,
    };
    let (extension, rest): (Option<Extension>, _) = match payload[0] {
        3 => postcard::take_from_bytes(rest).map(|(extension, rest)| (Some(extension), rest)).ok()?,
        _ => (None, rest),
    };
    let is_session = rest.is_empty()
        && extension.as_ref().is_none_or(|extension| {
            let is_handle = |handle: &Vec<u8>| handle.len() == 32;
            extension.bindings.len() == base.access_tokens.len() && extension.handle.as_ref().is_none_or(is_handle)
        });
    let access_tokens: Vec<_> = base.access_tokens.iter().map(|(_, segments, ..)| token(segments)).collect();
    let (id_token, (acr, amr, auth_time)) =
        extension.map(|extension| (extension.id_token, extension.authentication)).unwrap_or_default();
    let tokens = [base.refresh_token, id_token].map(|segments| segments.as_ref().map(token));
    is_session.then(|| format!("{:?} {:?}", (base.claims, acr, amr, auth_time), (access_tokens, tokens)))
}

fn packed(session: &Session) -> String {
    let Claims { name, preferred_username, email, roles, login_hint, provider_sid, acr, amr, auth_time } =
        Claims::clone(&session.user.claims);
    let claims = (name, preferred_username, email, roles, login_hint, provider_sid);
    let text = |token: &Token| token.expose_secret().to_owned();
    let access_tokens: Vec<_> = session.access_tokens.iter().map(|held| text(&held.token)).collect();
    let tokens = [&session.refresh_token, &session.id_token].map(|token| token.as_ref().map(text));
    format!("{:?} {:?}", (claims, acr, amr, auth_time), (access_tokens, tokens))
}

#[test]
fn the_other_reader_reads_what_was_packed() {
    for payload in [version_2(), version_3(), full_session().encode().to_vec()] {
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
        let mut payload = if version == 2 { version_2() } else { version_3() };
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
        for mut payload in [version_2(), version_3()] {
            let at = at % payload.len();
            payload[at] = byte;
            let (whole, packed) = both(&payload);
            prop_assert!(whole == packed, "byte {} of version {}", at, payload[0]);
        }
    }
}
