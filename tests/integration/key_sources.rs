//! The conformance suite of key sources (contract section 6).

mod places;
mod revocations;

use std::sync::Arc;
use std::time::Duration;

use cloakroom::clock::now;
use cloakroom::keyring::key_vault::KeyVault;
use cloakroom::keyring::revocations::{Addition, Target};
use cloakroom::keyring::rotate::rotate;
use cloakroom::keyring::states::Parameters;
use cloakroom::keyring::static_key::StaticKey;
use cloakroom::keyring::{CONTENT_TYPE, KeyForOpening, KeyId, KeySource, NewVersion, Ring, Version};
use cloakroom::net::OutboundClients;
use cloakroom::secret::{ExposeSecret, Key32};

use crate::key_vault::key;
pub use places::{Credential, HOST, Place, Seed, http};

pub const PARAMETERS: Parameters = Parameters {
    propagation: Duration::from_secs(900),
    life: Duration::from_secs(30 * 86_400),
    retention: Duration::from_secs(30_000),
};

/// What every key source that can rotate must do.
pub async fn conforms(place: &Place) {
    a_missing_ring_has_no_versions(place).await;
    what_is_published_is_listed_and_read(place).await;
    versions_of_other_writers_are_read_unchanged(place).await;
    a_disabled_version_is_listed_and_not_read(place).await;
    every_version_of_a_long_ring_is_listed_once(place).await;
    a_ring_is_created_sealed_with_and_revoked(place).await;
    revocations::conforms(place).await;
}

fn find<'a>(versions: &'a [Version], id: &str) -> &'a Version {
    versions.iter().find(|version| version.id == id).unwrap_or_else(|| panic!("{id} is not in {versions:?}"))
}

async fn a_missing_ring_has_no_versions(place: &Place) {
    let source = place.source("missing");
    assert_eq!(
        source.list().await.unwrap_or_default(),
        [],
        "no versions; whether that is an error is up to the source"
    );
    assert_eq!(source.list_or_empty().await, Ok(Vec::new()));
    assert!(source.get(&"0".repeat(32)).await.is_err());
    assert!(source.disable(&"0".repeat(32)).await.is_err());
    let ring = Ring::new(source, PARAMETERS, Duration::from_secs(300));
    ring.refresh(now()).await;
    assert!(ring.source_is_down() && !ring.was_ready());
    assert!(matches!(ring.key_for_opening(KeyId([1; 8]), now()).await, KeyForOpening::Unavailable));
}

async fn what_is_published_is_listed_and_read(place: &Place) {
    let source = place.source("published");
    let before = now();
    let mut ids = Vec::new();
    for (byte, activate_now) in [(1, false), (2, true)] {
        let new = NewVersion { text: key(byte).into(), expires: before + 1_000 + u64::from(byte), activate_now };
        ids.push(source.publish(&new, now()).await.unwrap());
    }
    let listed = source.list().await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(sorted(source.list_or_empty().await.unwrap()), sorted(listed.clone()));
    for (byte, id) in (1..).zip(&ids) {
        let version = find(&listed, id);
        assert_eq!(Some(version.kid), KeyId::from_version(id));
        assert!((before..=now()).contains(&version.created), "{version:?}");
        let expected = Version {
            id: id.clone(),
            kid: version.kid,
            enabled: true,
            created: version.created,
            not_before: None,
            expires: Some(before + 1_000 + u64::from(byte)),
            activate_now: byte == 2,
        };
        assert_eq!(*version, expected);
        let value = source.get(id).await.unwrap();
        assert_eq!(value.text.expose_secret(), key(byte));
        assert_eq!(value.content_type.as_deref(), place.keeps_content_types().then_some(CONTENT_TYPE));
        assert_eq!(value.key().unwrap().expose(), &[byte; 32]);
    }
}

async fn versions_of_other_writers_are_read_unchanged(place: &Place) {
    let source = place.source("others");
    let full = Seed {
        not_before: Some(2_000_000_000),
        expires: Some(1_000_000_000),
        tags: &[("activate", "now"), ("owner", "ops")],
        ..Seed::of(1)
    };
    let other_tag = Seed { tags: &[("activate", "later")], ..Seed::of(2) };
    let foreign = Seed { content_type: Some("application/x-pkcs12"), ..Seed::of(3) };
    let garbage = Seed { value: "no key".to_owned(), ..Seed::of(4) };
    let mut ids = Vec::new();
    for seed in [full, other_tag, foreign, garbage] {
        ids.push(place.seed("others", &seed).await);
    }
    let listed = source.list().await.unwrap();
    let first = find(&listed, &ids[0]);
    assert_eq!((first.not_before, first.expires, first.activate_now), (Some(2_000_000_000), Some(1_000_000_000), true));
    let second = find(&listed, &ids[1]);
    assert_eq!((second.not_before, second.expires, second.activate_now), (None, None, false));
    let value = source.get(&ids[0]).await.unwrap();
    assert!(value.key().is_some(), "a past expiry and a future not-before do not affect the value");
    assert_eq!(source.get(&ids[1]).await.unwrap().content_type, None, "absent stays absent");
    assert_eq!(source.get(&ids[2]).await.unwrap().key().is_none(), place.keeps_content_types());
    assert!(source.get(&ids[3]).await.unwrap().key().is_none(), "a value that is not a key is a result, not an error");
}

async fn a_disabled_version_is_listed_and_not_read(place: &Place) {
    let source = place.source("disabled");
    let seed = Seed { expires: Some(1_000_000_000), tags: &[("activate", "now")], ..Seed::of(1) };
    let (off, on) = (place.seed("disabled", &seed).await, place.seed("disabled", &Seed::of(2)).await);
    let before = source.list().await.unwrap();
    source.disable(&off).await.unwrap();
    source.disable(&off).await.unwrap();
    let after = source.list().await.unwrap();
    assert_eq!(
        *find(&after, &off),
        Version { enabled: false, ..find(&before, &off).clone() },
        "no other attribute changed"
    );
    assert_eq!(find(&after, &on), find(&before, &on));
    assert!(source.get(&off).await.is_err());
    assert!(source.get(&on).await.is_ok());
    let unknown = "0".repeat(32);
    assert!(source.get(&unknown).await.is_err() && source.disable(&unknown).await.is_err());
}

async fn every_version_of_a_long_ring_is_listed_once(place: &Place) {
    for count in [26, 60] {
        let name = format!("long-{count}");
        let mut ids = Vec::new();
        for byte in 0..count {
            ids.push(place.seed(&name, &Seed::of(byte)).await);
        }
        let source = place.source(&name);
        let mut listed: Vec<String> = source.list().await.unwrap().into_iter().map(|version| version.id).collect();
        listed.sort();
        ids.sort();
        assert_eq!(listed, ids, "{count}");
        let ring = Ring::new(Arc::clone(&source), PARAMETERS, Duration::from_secs(300));
        ring.refresh(now()).await;
        assert!(ring.sealing_key(now()).await.is_ok());
        for id in ids {
            let kid = KeyId::from_version(&id).unwrap();
            assert!(
                matches!(ring.key_for_opening(kid, now()).await, KeyForOpening::Found(key) if key.id == kid),
                "{count}"
            );
        }
    }
}

async fn a_ring_is_created_sealed_with_and_revoked(place: &Place) {
    let source = place.source("ring");
    let ring = Ring::new(Arc::clone(&source), PARAMETERS, Duration::from_secs(300));
    ring.refresh(now()).await;
    assert!(ring.sealing_key(now()).await.is_err());
    let first = rotate(source.as_ref(), &Key32::random(), now(), &PARAMETERS).await.unwrap().published.unwrap();
    assert_eq!(rotate(source.as_ref(), &Key32::random(), now(), &PARAMETERS).await.unwrap().published, None);
    ring.refresh(now()).await;
    assert_eq!(ring.sealing_key(now()).await.unwrap().id, first);
    let id = source.list().await.unwrap().remove(0).id;
    source.disable(&id).await.unwrap();
    ring.refresh(now()).await;
    assert!(matches!(ring.key_for_opening(first, now()).await, KeyForOpening::Closed), "revoked");
    assert!(ring.sealing_key(now()).await.is_err());
}

fn sorted(mut versions: Vec<Version>) -> Vec<Version> {
    versions.sort_by(|one, other| one.id.cmp(&other.id));
    versions
}

#[tokio::test(flavor = "multi_thread")]
async fn key_vault_conforms_with_the_challenge_checked() {
    conforms(&Place::vault().await).await;
}

#[tokio::test]
async fn the_file_ring_conforms() {
    conforms(&Place::folder()).await;
}

#[tokio::test]
async fn the_static_key_is_listed_and_read_and_cannot_rotate() {
    let source = StaticKey::new(&Key32::new([7; 32]));
    let listed = source.list().await.unwrap();
    assert_eq!(source.list_or_empty().await.unwrap(), listed);
    let [version] = listed.as_slice() else { panic!("{listed:?}") };
    assert!(version.enabled && version.expires.is_none());
    assert_eq!(source.get(&version.id).await.unwrap().key().unwrap().expose(), &[7; 32]);
    let new = NewVersion { text: key(1).into(), expires: 0, activate_now: false };
    assert!(source.publish(&new, now()).await.is_err() && source.disable(&version.id).await.is_err());
    assert!(!source.has_revocations() && source.revocations().await == Ok(None));
    assert!(source.add_revocations(&Addition::new(&Target::All, now(), 10, 1)).await.is_err());
    let kid = version.kid;
    let ring = Ring::new(Arc::new(source), PARAMETERS, Duration::from_secs(300));
    ring.refresh(now()).await;
    assert_eq!(ring.sealing_key(now()).await.unwrap().id, kid);
    assert!(matches!(ring.key_for_opening(KeyId([9; 8]), now()).await, KeyForOpening::Unknown));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_with_another_resource_is_rejected_and_gets_no_token() {
    for resource in
        ["https://graph.microsoft.com", "https://vault.azure.net.attacker.example", "https://managedhsm.azure.net"]
    {
        let (vault, credential) = places::vault_for(resource).await;
        let net = Arc::new(OutboundClients::with_http(http(vault.ca_pem(), vault.addr())));
        let url = format!("https://{HOST}").parse().unwrap();
        let source = KeyVault::new(url, "ring".to_owned(), credential.for_gateway(net));
        assert!(source.list().await.is_err() && source.get(&"0".repeat(32)).await.is_err(), "{resource}");
        let new = NewVersion { text: key(1).into(), expires: 0, activate_now: false };
        assert!(source.publish(&new, now()).await.is_err());
        assert!(vault.count() > 0, "it was contacted");
        assert!(vault.requests().iter().all(|request| request.header("authorization").is_none()), "{resource}");
        assert!(vault.requests().iter().all(|request| request.body.is_empty()), "and no key");
        assert_eq!(credential.count(), 0, "no token was requested");
    }
}
