use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::*;
use crate::keyring::states::Parameters;
use crate::keyring::static_key::{StaticKey, static_kid};
use crate::keyring::{Answer, KeySource, NewVersion, SourceDown, Value, Version};
use crate::secret::Key32;

#[derive(Deserialize)]
struct Vectors {
    ring: Vec<RingKey>,
    static_kid: RingKey,
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
    purpose: String,
    name: String,
    client_id: String,
    nonce: String,
    issued_at: u64,
    expires_at: u64,
    plaintext: String,
    subkey: String,
    associated_data: String,
    sealed: String,
}

#[derive(Deserialize)]
struct Invalid {
    title: String,
    sealed: String,
    purpose: String,
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

#[derive(Debug)]
struct VectorRing(Vec<RingKey>);

impl KeySource for VectorRing {
    fn list(&self) -> Answer<'_, Vec<Version>> {
        let version = |key: &RingKey| Version {
            id: key.kid.clone(),
            kid: KeyId(hex(&key.kid).try_into().unwrap()),
            enabled: true,
            created: 1_700_000_000,
            not_before: None,
            expires: None,
            activate_now: false,
        };
        let versions = self.0.iter().map(version).collect();
        Box::pin(async move { Ok(versions) })
    }

    fn get<'a>(&'a self, id: &'a str) -> Answer<'a, Value> {
        let key = self.0.iter().find(|key| key.kid == id).unwrap();
        let text = BASE64URL.encode(hex(&key.key));
        Box::pin(async move { Ok(Value { text: text.into(), content_type: None }) })
    }

    fn list_or_empty(&self) -> Answer<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, _new: &'a NewVersion, _now: u64) -> Answer<'a, String> {
        Box::pin(async { Err(SourceDown("vectors are fixed".to_owned())) })
    }

    fn disable<'a>(&'a self, _id: &'a str) -> Answer<'a, ()> {
        Box::pin(async { Err(SourceDown("vectors are fixed".to_owned())) })
    }
}

fn ring(source: impl KeySource + 'static) -> Ring {
    let parameters = Parameters {
        propagation: Duration::from_secs(900),
        life: Duration::from_secs(30 * 86_400),
        retention: Duration::from_secs(90_000_000_000),
    };
    Ring::new(Arc::new(source), parameters, Duration::from_secs(300))
}

#[test]
fn the_known_answers_are_sealed_byte_for_byte() {
    for known in vectors().opens {
        let key = Key::new(KeyId(hex(&known.kid).try_into().unwrap()), &key32(&known.key));
        let binding = Binding { purpose: purpose(&known.purpose), name: &known.name, client_id: &known.client_id };
        assert_eq!(key.subkey(binding.purpose).unwrap().expose().as_slice(), hex(&known.subkey), "{}", known.title);
        assert_eq!(associated_data(key.id, binding), hex(&known.associated_data), "{}", known.title);
        let plaintext = hex(&known.plaintext);
        let nonce = hex(&known.nonce).try_into().unwrap();
        let sealed = seal_with_nonce(&key, binding, nonce, known.issued_at, known.expires_at, &plaintext[16..]);
        assert_eq!(sealed, known.sealed, "{}", known.title);
    }
}

#[tokio::test]
async fn the_known_answers_open() {
    let vectors = vectors();
    for known in vectors.opens {
        let one = RingKey { kid: known.kid.clone(), key: known.key.clone() };
        let ring = ring(VectorRing(vec![one]));
        ring.refresh(known.issued_at).await;
        let binding = Binding { purpose: purpose(&known.purpose), name: &known.name, client_id: &known.client_id };
        let opened = open(&ring, binding, known.sealed.as_bytes(), known.issued_at, 300).await;
        let opened = opened.unwrap_or_else(|error| panic!("{}: {error:?}", known.title));
        assert_eq!((opened.issued_at, opened.expires_at), (known.issued_at, known.expires_at));
        assert_eq!(opened.payload(), &hex(&known.plaintext)[16..]);
    }
}

/// Invalid either way: for good, or under a key that nobody here knows.
fn is_invalid(outcome: &Result<Opened, UnsealError>) -> bool {
    matches!(outcome, Err(UnsealError::Invalid | UnsealError::UnknownKey))
}

#[tokio::test]
async fn none_of_the_invalid_ones_opens() {
    let vectors = vectors();
    let ring = ring(VectorRing(vectors.ring));
    ring.refresh(1_800_000_000).await;
    for bad in vectors.invalid {
        let binding = Binding { purpose: purpose(&bad.purpose), name: &bad.name, client_id: &bad.client_id };
        let outcome = open(&ring, binding, bad.sealed.as_bytes(), 1_800_000_001, 300).await;
        assert!(is_invalid(&outcome), "{}", bad.title);
    }
}

#[test]
fn the_kid_of_a_static_key_is_derived() {
    let known = vectors().static_kid;
    assert_eq!(static_kid(&key32(&known.key)).0.as_slice(), hex(&known.kid));
}

const BINDING: Binding<'static> =
    Binding { purpose: Purpose::Session, name: "__Host-Http-cloakroom", client_id: "app" };

#[tokio::test]
async fn times_are_checked_to_the_second() {
    let ring = ring(StaticKey::new(&Key32::new([7; 32])));
    ring.refresh(1_000).await;
    let key = ring.sealing(1_000).await.unwrap();
    let sealed = seal(&key, BINDING, 1_000, 2_000, b"payload");
    for (now, opens) in [(699, false), (700, true), (1_000, true), (1_999, true), (2_000, false)] {
        let outcome = open(&ring, BINDING, sealed.as_bytes(), now, 300).await;
        assert_eq!(outcome.is_ok(), opens, "at {now}");
    }
}

#[tokio::test]
async fn every_bit_counts() {
    let ring = ring(StaticKey::new(&Key32::new([7; 32])));
    ring.refresh(1_000).await;
    let key = ring.sealing(1_000).await.unwrap();
    let sealed = BASE64URL.decode(seal(&key, BINDING, 1_000, 2_000, b"payload")).unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let outcome = open(&ring, BINDING, BASE64URL.encode(flipped).as_bytes(), 1_000, 300).await;
        assert!(is_invalid(&outcome), "bit {bit}");
    }
}

#[tokio::test]
async fn a_missing_source_is_not_an_invalid_value() {
    let key = Key::new(KeyId([1; 8]), &Key32::new([7; 32]));
    let sealed = seal(&key, BINDING, 1_000, 2_000, b"payload");
    let ring = ring(crate::keyring::file::FileRing::new("/nonexistent/keys.json".into()));
    assert_eq!(open(&ring, BINDING, sealed.as_bytes(), 1_000, 300).await.err(), Some(UnsealError::KeyUnavailable));
}
