//! A ring of one key from configuration, for trials and tests. It cannot rotate.

use super::{KeyId, KeySource, NewVersion, SourceFuture, SourceUnavailable, Value, Version, derive};
use crate::clock::UnixSeconds;
use crate::secret::{Key32, SecretString};

#[derive(Debug)]
pub struct StaticKey {
    kid: KeyId,
    text: SecretString,
}

impl StaticKey {
    #[must_use]
    pub fn new(key: &Key32) -> Self {
        Self { kid: static_kid(key), text: key.to_base64url() }
    }
}

/// The `kid` of a static key, derived from the key itself (contract 5.3).
#[must_use]
pub fn static_kid(key: &Key32) -> KeyId {
    let mut kid = [0; 8];
    derive(key, None, "kid", &mut kid);
    KeyId(kid)
}

impl KeySource for StaticKey {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
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

    fn get<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, Value> {
        let value = Value { text: self.text.clone(), content_type: None };
        Box::pin(async move { Ok(value) })
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, _new: &'a NewVersion, _now: UnixSeconds) -> SourceFuture<'a, String> {
        Box::pin(async { Err(cannot_rotate()) })
    }

    fn disable<'a>(&'a self, _id: &'a str) -> SourceFuture<'a, ()> {
        Box::pin(async { Err(cannot_rotate()) })
    }

    fn can_rotate(&self) -> bool {
        false
    }
}

fn cannot_rotate() -> SourceUnavailable {
    SourceUnavailable("a static key cannot rotate; use a key ring in Key Vault or in a file".to_owned())
}
