//! A ring of one key from configuration, for trials and tests: it cannot rotate.

use hkdf::Hkdf;
use sha2::Sha256;

use super::{Answer, KeyId, KeySource, NewVersion, SALT, SourceDown, Value, Version};
use crate::clock::UnixSeconds;
use crate::secret::{Key32, SecretString};

/// The one key.
#[derive(Debug)]
pub struct StaticKey {
    kid: KeyId,
    text: SecretString,
}

impl StaticKey {
    /// The source of this key. Its kid is derived from the key, as nothing else names it.
    #[must_use]
    pub fn new(key: &Key32) -> Self {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        Self { kid: static_kid(key), text: URL_SAFE_NO_PAD.encode(key.expose()).into() }
    }
}

/// The first 8 bytes of HKDF-SHA256 with info `kid`.
#[must_use]
pub fn static_kid(key: &Key32) -> KeyId {
    let mut kid = [0; 8];
    // 8 bytes are far below HKDF's limit, so this cannot fail.
    let _ = Hkdf::<Sha256>::new(Some(SALT), key.expose()).expand(b"kid", &mut kid);
    KeyId(kid)
}

impl KeySource for StaticKey {
    fn list(&self) -> Answer<'_, Vec<Version>> {
        let version = Version {
            id: self.kid.to_string(),
            kid: self.kid,
            enabled: true,
            created: 0,
            not_before: None,
            expires: None,
            activate_now: false,
        };
        Box::pin(async move { Ok(vec![version]) })
    }

    fn get<'a>(&'a self, _id: &'a str) -> Answer<'a, Value> {
        let value = Value { text: self.text.clone(), content_type: None };
        Box::pin(async move { Ok(value) })
    }

    fn list_or_empty(&self) -> Answer<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, _new: &'a NewVersion, _now: UnixSeconds) -> Answer<'a, String> {
        Box::pin(async { Err(cannot_rotate()) })
    }

    fn disable<'a>(&'a self, _id: &'a str) -> Answer<'a, ()> {
        Box::pin(async { Err(cannot_rotate()) })
    }

    fn rotates(&self) -> bool {
        false
    }
}

fn cannot_rotate() -> SourceDown {
    SourceDown("a static key cannot rotate; use a key ring in Key Vault or in a file".to_owned())
}
