//! Values that must never be printed: redacted in `Debug`, without `Display`, zeroized on drop.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::zeroize::Zeroizing;

pub use secrecy::{ExposeSecret, SecretString};

/// 32 bytes of key material.
#[derive(Clone)]
pub struct Key32(Zeroizing<[u8; 32]>);

impl Key32 {
    /// Takes over the bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Reads 32 bytes in base64 or base64url, padded or not; anything else is `None`.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('=');
        let canonical: Zeroizing<String> = Zeroizing::new(text.replace('+', "-").replace('/', "_"));
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(canonical.as_bytes()).ok()?);
        Some(Self::new(bytes.as_slice().try_into().ok()?))
    }

    /// The bytes, for the one place that computes with them.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for Key32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key32([redacted])")
    }
}

/// `N` random bytes in base64url: state, nonce, verifier, identifiers.
#[must_use]
pub fn random_token<const N: usize>() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; N]>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_does_not_leak_key() {
        let key = Key32::from_base64(&URL_SAFE_NO_PAD.encode([0xABu8; 32])).unwrap();
        assert_eq!(format!("{key:?}"), "Key32([redacted])");
    }

    #[test]
    fn both_alphabets_and_padding_are_read() {
        let url = URL_SAFE_NO_PAD.encode([0xFBu8; 32]);
        let standard = format!("{}=", url.replace('-', "+").replace('_', "/"));
        for text in [url, standard] {
            assert_eq!(Key32::from_base64(&text).unwrap().expose(), &[0xFB; 32]);
        }
        for bad in ["", "abc", "not base64!", &"A".repeat(42), &"A".repeat(44)] {
            assert!(Key32::from_base64(bad).is_none(), "{bad}");
        }
    }
}
