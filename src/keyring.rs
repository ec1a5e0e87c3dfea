//! The key ring (contract section 6): the versions of one secret, each a key whose ID is part of every sealed value.
//!
//! [`states`] derives from attributes and time what each version may do, [`Ring`] caches the list and the keys, and
//! both are read from a [`KeySource`]. The source also holds the list of sessions that were ended ([`revocations`]).

pub mod file;
pub mod key_vault;
pub mod revocations;
pub mod ring;
pub mod rotate;
pub mod states;
pub mod static_key;
pub mod subkey;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use hkdf::{Hkdf, HkdfExtract};
use secrecy::zeroize::Zeroizing;
use sha2::Sha256;

use crate::clock::UnixSeconds;
use crate::secret::{Key32, SecretString};
use revocations::Addition;
pub use ring::{KeyForOpening, Ring};
pub use subkey::Subkey;

/// Salt of every key derivation (contract 5.3, 5.5).
const SALT: &[u8] = b"cloakroom/v1";
/// Content type of a version that contains a key; without one it may be a key, too (contract 6.14).
pub const CONTENT_TYPE: &str = "application/vnd.cloakroom.key";

/// The 8 bytes that identify a key in a sealed value (contract 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// The first 16 hex digits of a version id of 32, decoded.
    #[must_use]
    pub fn from_version(id: &str) -> Option<Self> {
        let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self::parse(id.get(..16).filter(|_| is_id)?)
    }

    /// 16 hex digits, decoded.
    #[must_use]
    pub fn parse(hex: &str) -> Option<Self> {
        if hex.len() != 16 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut kid = [0; 8];
        for (byte, pair) in kid.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(kid))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What a sealed value is used for. Each purpose has its own subkey, so that a value never opens as another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A claims challenge of an API (contract 7.28).
    Challenge,
    /// A login transaction.
    Login,
    /// A logout token (contract 3.20).
    Logout,
    /// The `state` of a sign-out at the provider (contract 3.18).
    LogoutState,
    /// A record in a store.
    Record,
    Session,
}

impl Purpose {
    pub const ALL: [Self; 6] =
        [Self::Challenge, Self::Login, Self::Logout, Self::LogoutState, Self::Record, Self::Session];

    /// The name in the key derivation and in the associated data (contract 5.5, 5.6).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Challenge => "challenge",
            Self::Login => "login",
            Self::Logout => "logout",
            Self::LogoutState => "logout-state",
            Self::Record => "record",
            Self::Session => "session",
        }
    }
}

/// One key of the ring.
#[derive(Debug)]
pub struct Key {
    pub id: KeyId,
    /// For keys that need a handle too.
    material: Key32,
    /// In the order of [`Purpose::ALL`].
    subkeys: [Subkey; 6],
}

impl Key {
    /// Derives the subkeys of all purposes.
    #[must_use]
    pub fn new(id: KeyId, material: &Key32) -> Self {
        let subkeys = Purpose::ALL.map(|purpose| derive_subkey(material, None, purpose));
        Self { id, material: material.clone(), subkeys }
    }

    #[must_use]
    pub const fn subkey(&self, purpose: Purpose) -> &Subkey {
        let [challenge, login, logout, logout_state, record, session] = &self.subkeys;
        match purpose {
            Purpose::Challenge => challenge,
            Purpose::Login => login,
            Purpose::Logout => logout,
            Purpose::LogoutState => logout_state,
            Purpose::Record => record,
            Purpose::Session => session,
        }
    }

    /// The subkey that also needs a handle (contract 15.3). It is not kept: each record has another.
    #[must_use]
    pub fn subkey_with(&self, handle: &Key32, purpose: Purpose) -> Subkey {
        derive_subkey(&self.material, Some(handle), purpose)
    }
}

fn derive_subkey(material: &Key32, handle: Option<&Key32>, purpose: Purpose) -> Subkey {
    let mut subkey = Zeroizing::new([0; 32]);
    derive(material, handle, purpose.name(), subkey.as_mut());
    Subkey::new(Key32::new(*subkey))
}

/// HKDF-SHA256 as contract 5.3, 5.5 and 15.3 specify it, for outputs of at most 32 bytes.
#[expect(clippy::expect_used, reason = "HKDF fails only for outputs of more than 8,160 bytes")]
fn derive(material: &Key32, handle: Option<&Key32>, info: &str, output: &mut [u8]) {
    // Every call that opens a record derives a key, and the salt is always the same.
    static SALTED: LazyLock<HkdfExtract<Sha256>> = LazyLock::new(|| HkdfExtract::new(Some(SALT)));
    let mut extract = SALTED.clone();
    extract.input_ikm(material.expose());
    if let Some(handle) = handle {
        extract.input_ikm(handle.expose());
    }
    let (_, hkdf): (_, Hkdf<Sha256>) = extract.finalize();
    hkdf.expand(info.as_bytes(), output).expect("HKDF-SHA256 can derive 8,160 bytes, and at most 32 are derived");
}

/// The attributes of a version, without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The ID in the source.
    pub id: String,
    /// The ID in sealed values.
    pub kid: KeyId,
    /// A disabled version is revoked.
    pub enabled: bool,
    pub created: UnixSeconds,
    /// The earliest activation.
    pub not_before: Option<UnixSeconds>,
    /// When it may be disabled; neither shortens retention nor ends an active key (contract 6.13).
    pub expires: Option<UnixSeconds>,
    /// The tag `activate` = `now`, which shortens the propagation delay to 30 s (contract 6.9).
    pub activate_now: bool,
}

/// The value of a version as it is in the source.
#[derive(Debug)]
pub struct Value {
    /// Base64url of 32 bytes, if it is a key.
    pub text: SecretString,
    pub content_type: Option<String>,
}

impl Value {
    /// The key, if the value is one (contract 6.14).
    #[must_use]
    pub fn key(&self) -> Option<Key32> {
        use crate::secret::ExposeSecret;
        let is_key_type = self.content_type.as_deref().is_none_or(|of| of.is_empty() || of == CONTENT_TYPE);
        is_key_type.then(|| Key32::from_base64(self.text.expose_secret())).flatten()
    }
}

/// A version to be published.
#[derive(Debug)]
pub struct NewVersion {
    /// Base64url of 32 bytes.
    pub text: SecretString,
    /// When it may be disabled.
    pub expires: UnixSeconds,
    /// Sets the tag `activate` = `now`.
    pub activate_now: bool,
}

/// The key source cannot be used now. The text, for the log, says why and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceUnavailable(pub String);

/// The future of a request to a key source.
pub type SourceFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceUnavailable>> + Send + 'a>>;

/// Where versions and their values are stored (contract 6.3). `tests/integration/key_sources.rs` is the conformance
/// suite.
pub trait KeySource: Send + Sync + fmt::Debug {
    /// All versions, without values, in any order. A missing ring is an unavailable source (contract 6.21).
    fn list(&self) -> SourceFuture<'_, Vec<Version>>;
    /// The value of one version, by its ID in the source.
    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value>;
    /// All versions; a missing ring is an empty list, because a rotation creates it.
    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>>;
    /// Creates a version and returns its ID in the source.
    fn publish<'a>(&'a self, new: &'a NewVersion, now: UnixSeconds) -> SourceFuture<'a, String>;
    /// Disables a version, so that it neither seals nor opens.
    fn disable<'a>(&'a self, id: &'a str) -> SourceFuture<'a, ()>;
    /// Whether its keys can be rotated; if not, the active key is never reported as too old.
    fn can_rotate(&self) -> bool {
        true
    }
    /// Whether it can hold a revocation list (contract 16.5).
    fn has_revocations(&self) -> bool {
        false
    }
    /// The revocation list as it is stored; `None` if there is none.
    fn revocations(&self) -> SourceFuture<'_, Option<String>> {
        Box::pin(async { Ok(None) })
    }
    /// Adds to the revocation list. No entry of another writer is lost.
    fn add_revocations<'a>(&'a self, _addition: &'a Addition) -> SourceFuture<'a, ()> {
        Box::pin(async { Err(SourceUnavailable("this key source holds no revocation list".to_owned())) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kid_is_the_first_half_of_a_version_id() {
        let kid = KeyId::from_version("0123456789abcdefffffffffffffffff").unwrap();
        assert_eq!(kid.to_string(), "0123456789abcdef");
        for bad in ["", "0123456789abcdef", "0123456789abcdefggffffffffffffff", "+123456789abcdefffffffffffffffff"] {
            assert_eq!(KeyId::from_version(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_value_of_another_content_type_or_length_is_not_a_key() {
        let value = |text: &str, of: Option<&str>| Value { text: text.into(), content_type: of.map(str::to_owned) };
        let good = "A".repeat(43);
        assert!(value(&good, None).key().is_some());
        assert!(value(&good, Some(CONTENT_TYPE)).key().is_some());
        assert!(value(&good, Some("text/plain")).key().is_none());
        assert!(value("short", None).key().is_none());
    }
}
