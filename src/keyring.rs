//! The key ring: the versions of one secret, each a key, its id in every sealed value.
//!
//! [`states`] says from attributes alone what each version may do, [`Ring`] keeps the list and the fetched keys, and a
//! [`KeySource`] is where both come from.

pub mod file;
pub mod key_vault;
pub mod ring;
pub mod rotate;
pub mod states;
pub mod static_key;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use hkdf::Hkdf;
use secrecy::zeroize::Zeroizing;
use sha2::Sha256;

use crate::clock::UnixSeconds;
use crate::secret::{Key32, SecretString};
pub use ring::{Opening, Ring};

/// Salt of every key derivation (contract section 5).
const SALT: &[u8] = b"cloakroom/v1";
/// Content type of a version that holds a key; absent is as good.
pub const CONTENT_TYPE: &str = "application/vnd.cloakroom.key";

/// The 8 bytes that name a key in a sealed value.
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

/// What a sealed value is for. Each purpose has a subkey of its own, so that one never opens as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A sealed step-up challenge.
    Challenge,
    /// A login transaction.
    Login,
    /// A logout token.
    Logout,
    /// The state of a sign-out at the provider.
    LogoutState,
    /// A record in a store.
    Record,
    /// A session.
    Session,
}

impl Purpose {
    /// All of them, in the order of [`Key`]'s subkeys.
    pub const ALL: [Self; 6] =
        [Self::Challenge, Self::Login, Self::Logout, Self::LogoutState, Self::Record, Self::Session];

    /// The name that goes into the derivation and the associated data.
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

/// One key of the ring: its id, and a subkey for each purpose.
#[derive(Debug)]
pub struct Key {
    /// What names it in a sealed value.
    pub id: KeyId,
    subkeys: Vec<(Purpose, Key32)>,
}

impl Key {
    /// Derives the subkeys, once.
    #[must_use]
    pub fn new(id: KeyId, material: &Key32) -> Self {
        let derive = |purpose: Purpose| (purpose, derive_subkey(material, purpose.name()));
        Self { id, subkeys: Purpose::ALL.into_iter().map(derive).collect() }
    }

    /// The subkey of a purpose.
    #[must_use]
    pub fn subkey(&self, purpose: Purpose) -> Option<&Key32> {
        self.subkeys.iter().find(|(of, _)| *of == purpose).map(|(_, subkey)| subkey)
    }
}

fn derive_subkey(material: &Key32, info: &str) -> Key32 {
    let mut subkey = Zeroizing::new([0; 32]);
    // 32 bytes are far below the 8,160 that HKDF-SHA256 can give, so this cannot fail.
    let _ = Hkdf::<Sha256>::new(Some(SALT), material.expose()).expand(info.as_bytes(), subkey.as_mut());
    Key32::new(*subkey)
}

/// What a source tells of a version without its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The source's own id.
    pub id: String,
    /// What names it in a sealed value.
    pub kid: KeyId,
    /// A disabled version is revoked.
    pub enabled: bool,
    /// When it was made.
    pub created: UnixSeconds,
    /// Not to seal before this.
    pub not_before: Option<UnixSeconds>,
    /// When it may be disabled; neither shortens retention nor ends an active key.
    pub expires: Option<UnixSeconds>,
    /// The tag `activate` = `now`: hardly any propagation delay.
    pub activate_now: bool,
}

/// A version's value as the source holds it.
#[derive(Debug)]
pub struct Value {
    /// Base64url of 32 bytes, if it is a key.
    pub text: SecretString,
    /// Ours, absent, or that of something else.
    pub content_type: Option<String>,
}

impl Value {
    /// The key, when the value is one: 32 bytes, and a content type of ours or none.
    #[must_use]
    pub fn key(&self) -> Option<Key32> {
        use crate::secret::ExposeSecret;
        let ours = self.content_type.as_deref().is_none_or(|of| of.is_empty() || of == CONTENT_TYPE);
        ours.then(|| Key32::from_base64(self.text.expose_secret())).flatten()
    }
}

/// A version to be published.
#[derive(Debug)]
pub struct NewVersion {
    /// Base64url of 32 bytes.
    pub text: SecretString,
    /// When it may be disabled.
    pub expires: UnixSeconds,
    /// With the tag `activate` = `now`.
    pub activate_now: bool,
}

/// A source that is down; the text is for the log and names what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceDown(pub String);

/// A future of a source's answer.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, SourceDown>> + Send + 'a>>;

/// Where versions and their values come from.
pub trait KeySource: Send + Sync + fmt::Debug {
    /// All versions, without values, in any order.
    fn list(&self) -> Answer<'_, Vec<Version>>;
    /// The value of one version, by its id.
    fn get<'a>(&'a self, id: &'a str) -> Answer<'a, Value>;
    /// All versions for a rotation, which may be the one that makes the ring: a ring that is not there is empty.
    fn list_or_empty(&self) -> Answer<'_, Vec<Version>>;
    /// Makes a new version and gives its id.
    fn publish<'a>(&'a self, new: &'a NewVersion, now: UnixSeconds) -> Answer<'a, String>;
    /// Disables a version: it neither seals nor opens any more.
    fn disable<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Whether there are ever to be other versions: a key that no rotation can replace has no life to be past of.
    fn rotates(&self) -> bool {
        true
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
    fn a_value_of_another_kind_is_no_key() {
        let value = |text: &str, of: Option<&str>| Value { text: text.into(), content_type: of.map(str::to_owned) };
        let good = "A".repeat(43);
        assert!(value(&good, None).key().is_some());
        assert!(value(&good, Some(CONTENT_TYPE)).key().is_some());
        assert!(value(&good, Some("text/plain")).key().is_none());
        assert!(value("short", None).key().is_none());
    }
}
