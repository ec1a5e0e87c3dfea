//! A subkey of a key, for one purpose or one record (contract 5.5, 15.3).

use std::sync::OnceLock;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::secret::Key32;

/// 32 bytes to seal with, and the same key expanded by ring to open with: opening is part of every call.
#[derive(Debug)]
pub struct Subkey {
    bytes: Key32,
    /// Expanded at the first opening, since most subkeys of records only seal. Not zeroized on drop, since ring has no
    /// such type (see `docs/threats.md`).
    opening: OnceLock<LessSafeKey>,
}

impl Subkey {
    #[must_use]
    pub const fn new(bytes: Key32) -> Self {
        Self { bytes, opening: OnceLock::new() }
    }

    /// For sealing.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        self.bytes.expose()
    }

    /// Decrypts a ciphertext in place, whose tag follows it in `sealed`. `None` if anything is not as it was sealed;
    /// nothing of the plaintext is then left in `sealed`, which ring does but does not document: a test relies on it.
    #[must_use]
    pub fn open_in_place(&self, nonce: [u8; 12], associated_data: &[u8], sealed: &mut [u8]) -> Option<()> {
        let (nonce, associated_data) = (Nonce::assume_unique_for_key(nonce), Aad::from(associated_data));
        self.opening().open_in_place(nonce, associated_data, sealed).ok().map(drop)
    }

    #[expect(clippy::expect_used, reason = "the algorithm takes keys of 32 bytes")]
    fn opening(&self) -> &LessSafeKey {
        let expand = || UnboundKey::new(&AES_256_GCM, self.bytes.expose()).expect("AES-256 keys have 32 bytes");
        self.opening.get_or_init(|| LessSafeKey::new(expand()))
    }
}
