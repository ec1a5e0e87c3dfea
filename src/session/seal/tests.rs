use proptest::prelude::{Strategy, prop_assert, prop_assert_eq};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, UnboundKey};
use serde::Deserialize;

use super::*;
use crate::keyring::static_key::static_kid;
use crate::secret::Key32;

#[derive(Deserialize)]
struct Vectors {
    ring: Vec<RingKey>,
    static_kid: RingKey,
    opens: Vec<Opens>,
    invalid: Vec<Invalid>,
    records: Records,
}

/// Contract 15.3.
#[derive(Deserialize)]
struct Records {
    opens: Vec<Opens>,
    invalid: Vec<Invalid>,
}

#[derive(Deserialize, Clone, Debug)]
struct RingKey {
    kid: String,
    key: String,
}

#[derive(Deserialize)]
struct Opens {
    title: String,
    key: String,
    kid: String,
    handle: Option<String>,
    purpose: String,
    name: String,
    client_id: String,
    nonce: String,
    plaintext: String,
    subkey: String,
    associated_data: String,
    sealed: String,
}

#[derive(Deserialize)]
struct Invalid {
    title: String,
    sealed: String,
    handle: Option<String>,
    purpose: Option<String>,
    name: String,
    client_id: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../tests/vectors/sealing.json")).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn key32(text: &str) -> Key32 {
    Key32::new(hex(text).try_into().unwrap())
}

fn purpose(name: &str) -> Purpose {
    Purpose::ALL.into_iter().find(|purpose| purpose.name() == name).unwrap()
}

fn key(of: &RingKey) -> Key {
    Key::new(KeyId(hex(&of.kid).try_into().unwrap()), &key32(&of.key))
}

/// Opens with the key that the value names, if it is among these.
fn open(keys: &[Key], binding: Binding<'_>, sealed: &[u8], now: UnixSeconds) -> Option<Opened> {
    let envelope = Envelope::parse(sealed)?;
    let key = keys.iter().find(|key| key.id == envelope.kid())?;
    envelope.open(key, binding, now, 300)
}

#[test]
fn the_known_answers_are_sealed_byte_for_byte_and_open() {
    let vectors = vectors();
    for known in vectors.opens.into_iter().chain(vectors.records.opens) {
        let key = key(&RingKey { kid: known.kid.clone(), key: known.key.clone() });
        let handle = known.handle.as_deref().map(key32);
        let (purpose, name) = (purpose(&known.purpose), known.name.as_str());
        let binding = Binding { purpose, name, handle: handle.as_ref(), client_id: &known.client_id };
        let subkey = with_subkey(&key, binding, |subkey| *subkey.expose());
        assert_eq!(subkey.as_slice(), hex(&known.subkey), "{}", known.title);
        assert_eq!(associated_data(key.id, binding).unwrap(), hex(&known.associated_data), "{}", known.title);
        let plaintext = hex(&known.plaintext);
        let (times, payload) = plaintext.split_at(TIMES);
        let seconds = |at: usize| u64::from_be_bytes(times[at..at + 8].try_into().unwrap());
        let times = Times { issued_at: seconds(0), expires_at: seconds(8) };
        let sealed = seal(&key, binding, hex(&known.nonce).try_into().unwrap(), times, payload);
        assert_eq!(sealed, known.sealed, "{}", known.title);
        assert_eq!(sealed.len(), sealed_len(payload.len()), "{}", known.title);
        let opened = open(&[key], binding, sealed.as_bytes(), times.issued_at).unwrap();
        assert_eq!((opened.times, opened.payload()), (times, payload), "{}", known.title);
    }
}

#[test]
fn none_of_the_invalid_values_opens() {
    let vectors = vectors();
    let keys: Vec<Key> = vectors.ring.iter().map(key).collect();
    for bad in vectors.invalid.into_iter().chain(vectors.records.invalid) {
        let (purpose, handle) = (purpose(bad.purpose.as_deref().unwrap_or("record")), bad.handle.as_deref().map(key32));
        let binding = Binding { purpose, name: &bad.name, handle: handle.as_ref(), client_id: &bad.client_id };
        assert!(open(&keys, binding, bad.sealed.as_bytes(), 1_800_000_001).is_none(), "{}", bad.title);
    }
}

#[test]
fn the_kid_of_a_static_key_is_derived() {
    let known = vectors().static_kid;
    assert_eq!(static_kid(&key32(&known.key)).0.as_slice(), hex(&known.kid));
}

const BINDING: Binding<'static> =
    Binding { purpose: Purpose::Session, name: "__Host-Http-cloakroom", handle: None, client_id: "app" };
const SEALED: Times = Times { issued_at: 1_000, expires_at: 2_000 };

#[test]
fn times_are_checked_to_the_second() {
    let key = Key::new(KeyId([1; 8]), &Key32::new([7; 32]));
    let sealed = seal(&key, BINDING, [2; 12], SEALED, b"payload");
    for (now, opens) in [(699, false), (700, true), (1_000, true), (1_999, true), (2_000, false)] {
        let envelope = Envelope::parse(sealed.as_bytes()).unwrap();
        assert_eq!(envelope.open(&key, BINDING, now, 300).is_some(), opens, "at {now}");
    }
}

#[test]
fn a_value_with_a_flipped_bit_does_not_open() {
    let key = Key::new(KeyId([1; 8]), &Key32::new([7; 32]));
    let sealed = BASE64URL.decode(seal(&key, BINDING, [2; 12], SEALED, b"payload")).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let opened = Envelope::parse(BASE64URL.encode(flipped).as_bytes())
            .filter(|envelope| envelope.kid() == key.id)
            .and_then(|envelope| envelope.open(&key, BINDING, 1_000, 300));
        assert!(opened.is_none(), "bit {bit}");
    }
}

/// What opens with `aes-gcm`, which seals.
fn decrypt(key: &[u8; 32], nonce: [u8; 12], associated_data: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (mut text, tag) = (sealed[..sealed.len() - TAG].to_owned(), sealed[sealed.len() - TAG..].try_into().unwrap());
    let cipher = Aes256Gcm::new(key.into());
    let opened = cipher.decrypt_inout_detached(&nonce.into(), associated_data, text.as_mut_slice().into(), &tag);
    opened.ok().map(|()| text)
}

/// What ring, which opens, seals.
fn encrypt_with_ring(key: &[u8; 32], nonce: [u8; 12], associated_data: &[u8], text: &[u8]) -> Vec<u8> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
    let (nonce, mut sealed) = (ring::aead::Nonce::assume_unique_for_key(nonce), text.to_owned());
    key.seal_in_place_append_tag(nonce, Aad::from(associated_data), &mut sealed).unwrap();
    sealed
}

proptest::proptest! {
    #[test]
    fn aes_gcm_and_ring_open_what_the_other_seals_and_nothing_that_is_damaged(
        key in proptest::num::u8::ANY.prop_map(|byte| [byte; 32]),
        nonce in proptest::array::uniform12(proptest::num::u8::ANY),
        payload in proptest::collection::vec(proptest::num::u8::ANY, 0..5_000),
        handle in proptest::option::of(proptest::array::uniform32(proptest::num::u8::ANY).prop_map(Key32::new)),
        (at, change) in (0usize..5_000, 1u8..),
    ) {
        let key = Key::new(KeyId([1; 8]), &Key32::new(key));
        let binding = Binding { handle: handle.as_ref(), ..BINDING };
        let (subkey, bound) = (with_subkey(&key, binding, |subkey| *subkey.expose()), associated_data(key.id, binding));
        let (bound, sealed) = (bound.unwrap(), decode_long(seal(&key, binding, nonce, SEALED, &payload).as_bytes()));
        let sealed = sealed.unwrap();
        let text = decrypt(&subkey, nonce, &bound, &sealed[HEADER..]).unwrap();
        prop_assert_eq!(&text[TIMES..], &payload);
        prop_assert_eq!(&encrypt_with_ring(&subkey, nonce, &bound, &text), &sealed[HEADER..]);
        let keys = std::slice::from_ref(&key);
        let open = |sealed: &[u8]| open(keys, binding, BASE64URL.encode(sealed).as_bytes(), 1_000);
        let opened = open(&sealed).unwrap();
        prop_assert_eq!((opened.times, opened.payload()), (SEALED, payload.as_slice()));
        let mut damaged = sealed;
        let at = at % damaged.len();
        damaged[at] ^= change;
        prop_assert!(open(&damaged).is_none(), "byte {}", at);
    }
}

#[test]
fn nothing_of_the_plaintext_is_left_of_a_value_that_does_not_open() {
    let key = Key::new(KeyId([1; 8]), &Key32::new([7; 32]));
    let mut sealed = decode_long(seal(&key, BINDING, [2; 12], SEALED, &[3; 500]).as_bytes()).unwrap();
    let bound = associated_data(key.id, BINDING).unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    let subkey = key.subkey(Purpose::Session);
    assert!(subkey.open_in_place([2; 12], &bound, &mut sealed[HEADER..]).is_none());
    assert!(sealed[HEADER..sealed.len() - TAG].iter().all(|byte| *byte == 0));
}

/// A request may carry a cookie with such a name.
#[test]
fn a_name_of_any_length_opens_nothing() {
    let key = Key::new(KeyId([1; 8]), &Key32::new([7; 32]));
    let sealed = seal(&key, BINDING, [2; 12], SEALED, b"payload");
    let binding = Binding { name: &"x".repeat(70_000), ..BINDING };
    assert!(Envelope::parse(sealed.as_bytes()).unwrap().open(&key, binding, 1_000, 300).is_none());
}
