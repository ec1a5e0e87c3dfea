//! Seals and opens values with the keys of the ring.

use std::sync::Arc;

use super::seal::{self, Binding, Envelope, Opened, Times};
use crate::clock::UnixSeconds;
use crate::keyring::{Key, KeyForOpening, KeyId, Purpose, Ring};
use crate::secret::Key32;

/// No key of the ring can seal, and the key source gives none.
pub use crate::keyring::ring::SealingKeyUnavailable;

/// Seals and opens the values of one client.
#[derive(Debug)]
pub struct Sealer {
    ring: Arc<Ring>,
    client_id: String,
    clock_skew: u64,
}

/// Why a value does not open (contract 5.12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsealError {
    /// Not sealed by this gateway, damaged, of another binding, expired, or sealed under a key that no longer opens.
    Invalid,
    /// The key source must be read to decide, and does not respond.
    KeyUnavailable,
    /// Sealed under a key that is not in the ring. Invalid too, but another instance may know the key already.
    UnknownKey,
}

impl Sealer {
    /// A sealer for one client. `clock_skew` is in seconds.
    #[must_use]
    pub const fn new(ring: Arc<Ring>, client_id: String, clock_skew: u64) -> Self {
        Self { ring, client_id, clock_skew }
    }

    /// The key that seals now.
    ///
    /// # Errors
    /// [`SealingKeyUnavailable`].
    pub async fn key(&self, now: UnixSeconds) -> Result<Arc<Key>, SealingKeyUnavailable> {
        self.ring.sealing_key(now).await
    }

    /// Whether values sealed under a key should be sealed again: another one is active (contract 6.24).
    #[must_use]
    pub fn is_retiring(&self, kid: KeyId, now: UnixSeconds) -> bool {
        self.ring.is_retiring(kid, now)
    }

    /// Seals a payload. `name` is the full cookie name, or empty for a value that is not a cookie.
    ///
    /// # Errors
    /// [`SealingKeyUnavailable`].
    pub async fn seal(
        &self,
        purpose: Purpose,
        name: &str,
        expires_at: UnixSeconds,
        now: UnixSeconds,
        payload: &[u8],
    ) -> Result<String, SealingKeyUnavailable> {
        let key = self.key(now).await?;
        Ok(self.seal_with(&key, purpose, name, Times { issued_at: now, expires_at }, payload))
    }

    /// Seals a payload under a given key of the ring.
    #[must_use]
    pub fn seal_with(&self, key: &Key, purpose: Purpose, name: &str, times: Times, payload: &[u8]) -> String {
        seal::seal(key, self.binding(purpose, name, None), rand::random(), times, payload)
    }

    /// Seals a part of a stored session under its name; with a handle, only that opens it (contract 15.3).
    #[must_use]
    pub fn seal_record(&self, key: &Key, name: &str, handle: Option<&Key32>, times: Times, payload: &[u8]) -> String {
        seal::seal(key, self.binding(Purpose::Record, name, handle), rand::random(), times, payload)
    }

    /// Opens what [`Self::seal`] sealed, here or at another instance.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub async fn unseal(
        &self,
        purpose: Purpose,
        name: &str,
        sealed: &[u8],
        now: UnixSeconds,
    ) -> Result<Opened, UnsealError> {
        self.open(self.binding(purpose, name, None), sealed, now).await
    }

    /// Opens what [`Self::seal_record`] sealed, here or at another instance.
    ///
    /// # Errors
    /// [`UnsealError`].
    pub async fn unseal_record(
        &self,
        name: &str,
        handle: Option<&Key32>,
        sealed: &[u8],
        now: UnixSeconds,
    ) -> Result<Opened, UnsealError> {
        self.open(self.binding(Purpose::Record, name, handle), sealed, now).await
    }

    async fn open(&self, binding: Binding<'_>, sealed: &[u8], now: UnixSeconds) -> Result<Opened, UnsealError> {
        let envelope = Envelope::parse(sealed).ok_or(UnsealError::Invalid)?;
        let key = match self.ring.key_for_opening(envelope.kid(), now).await {
            KeyForOpening::Found(key) => key,
            KeyForOpening::Closed => return Err(UnsealError::Invalid),
            KeyForOpening::Unknown => return Err(UnsealError::UnknownKey),
            KeyForOpening::Unavailable => return Err(UnsealError::KeyUnavailable),
        };
        envelope.open(&key, binding, now, self.clock_skew).ok_or(UnsealError::Invalid)
    }

    fn binding<'a>(&'a self, purpose: Purpose, name: &'a str, handle: Option<&'a Key32>) -> Binding<'a> {
        Binding { purpose, name, handle, client_id: &self.client_id }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::keyring::KeySource;
    use crate::keyring::file::FileRing;
    use crate::keyring::states::Parameters;
    use crate::keyring::static_key::StaticKey;

    const NAME: &str = "__Host-Http-cloakroom";

    async fn sealer(source: impl KeySource + 'static) -> Sealer {
        let day = Duration::from_secs(86_400);
        let ring = Ring::new(Arc::new(source), Parameters { propagation: day, life: day, retention: day }, day);
        ring.refresh(1_000).await;
        Sealer::new(ring, "app".to_owned(), 300)
    }

    /// Contract 5.12: an outage of the key source signs no user out.
    #[tokio::test]
    async fn invalid_unknown_key_and_unavailable_key_source_are_distinct() {
        let ours = sealer(StaticKey::new(&Key32::new([7; 32]))).await;
        let sealed = ours.seal(Purpose::Session, NAME, 2_000, 1_000, b"payload").await.unwrap();
        let open = async |sealer: &Sealer, sealed: &str, now| {
            let opened = sealer.unseal(Purpose::Session, NAME, sealed.as_bytes(), now).await;
            opened.map(|opened| opened.payload().to_owned())
        };
        assert_eq!(open(&ours, &sealed, 1_999).await, Ok(b"payload".to_vec()));
        assert_eq!(open(&ours, &sealed, 2_000).await, Err(UnsealError::Invalid));
        assert_eq!(open(&ours, &sealed[4..], 1_000).await, Err(UnsealError::Invalid));
        let other = sealer(StaticKey::new(&Key32::new([8; 32]))).await;
        assert_eq!(open(&other, &sealed, 1_000).await, Err(UnsealError::UnknownKey));
        let down = sealer(FileRing::new("/nonexistent/keys.json".into())).await;
        assert_eq!(open(&down, &sealed, 1_000).await, Err(UnsealError::KeyUnavailable));
        assert_eq!(open(&down, &sealed[4..], 1_000).await, Err(UnsealError::Invalid), "without a look at the ring");
        assert!(down.seal(Purpose::Session, NAME, 2_000, 1_000, b"payload").await.is_err());
    }
}
