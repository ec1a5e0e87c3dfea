//! Secrets as types (contract 5.15): redacted `Debug`, no `Display`, zeroized on drop; and random values.

use std::ops::{Deref, DerefMut};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::zeroize::{Zeroize, Zeroizing};

pub use secrecy::{ExposeSecret, SecretString};

/// 32 bytes of key material.
#[derive(Clone)]
pub struct Key32(Zeroizing<[u8; 32]>);

impl Key32 {
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    #[must_use]
    pub fn random() -> Self {
        Self::new(rand::random())
    }

    /// Parses base64 or base64url, padded or not; `None` unless it is 32 bytes.
    #[must_use]
    pub fn from_base64(text: &str) -> Option<Self> {
        let text = text.trim().trim_end_matches('=');
        let canonical: Zeroizing<String> = Zeroizing::new(text.replace('+', "-").replace('/', "_"));
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(canonical.as_bytes()).ok()?);
        Some(Self::new(bytes.as_slice().try_into().ok()?))
    }

    /// Base64url without padding.
    #[must_use]
    pub fn to_base64url(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(self.expose()).into()
    }

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

/// The C library fills blocks of up to 2 KiB with vector instructions, and larger ones by a string instruction that is
/// slow to start.
const BLOCK: usize = 1024;

/// Bytes of any length, as kilobytes of tokens. `Zeroizing<Vec<u8>>` writes each zero by itself, which costs an
/// instruction and a half per byte; this one writes them in blocks.
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    #[must_use]
    pub const fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for SecretBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for SecretBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Zeroize for SecretBytes {
    fn zeroize(&mut self) {
        self.0.chunks_mut(BLOCK).for_each(Zeroize::zeroize);
        self.0.spare_capacity_mut().zeroize();
    }
}

impl Drop for SecretBytes {
    fn drop(&mut self) {
        self.zeroize();
    }
}

impl std::fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretBytes([redacted])")
    }
}

/// `N` random bytes in base64url, for states, nonces, PKCE verifiers and identifiers.
#[must_use]
pub fn random_token<const N: usize>() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; N]>())
}

/// Each byte in hex.
const HEX_PAIRS: &str = concat!(
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
    "404142434445464748494a4b4c4d4e4f505152535455565758595a5b5c5d5e5f",
    "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f",
    "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
    "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b7b8b9babbbcbdbebf",
    "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf",
    "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
);

/// `N` random bytes in hex, never all zero, as W3C Trace Context requires of trace and span IDs.
#[must_use]
pub fn random_hex<const N: usize>() -> String {
    let mut hex = String::with_capacity(2 * N);
    hex.extend(random_hex_pairs::<N>());
    hex
}

/// The same, two digits at a time.
pub fn random_hex_pairs<const N: usize>() -> impl Iterator<Item = &'static str> {
    let mut bytes = rand::random::<[u8; N]>();
    if let Some(last) = bytes.last_mut() {
        *last |= 1;
    }
    bytes.into_iter().map(|byte| {
        let at = 2 * usize::from(byte);
        HEX_PAIRS.get(at..at + 2).unwrap_or("00")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_bytes_are_zeroized_and_not_shown() {
        let mut bytes = SecretBytes::new(b"a secret of several blocks".repeat(100));
        assert_eq!(format!("{bytes:?}"), "SecretBytes([redacted])");
        bytes.zeroize();
        assert!(bytes.len() == 2_600 && bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn debug_does_not_leak_key() {
        let key = Key32::from_base64(&URL_SAFE_NO_PAD.encode([0xABu8; 32])).unwrap();
        assert_eq!(format!("{key:?}"), "Key32([redacted])");
    }

    #[test]
    fn both_alphabets_are_parsed_with_and_without_padding() {
        let url = URL_SAFE_NO_PAD.encode([0xFBu8; 32]);
        let standard = format!("{}=", url.replace('-', "+").replace('_', "/"));
        for text in [url, standard] {
            assert_eq!(Key32::from_base64(&text).unwrap().expose(), &[0xFB; 32]);
        }
        for bad in ["", "abc", "not base64!", &"A".repeat(42), &"A".repeat(44)] {
            assert!(Key32::from_base64(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn random_hex_has_the_right_length_and_is_never_zero() {
        for _ in 0..1_000 {
            let text = random_hex::<1>();
            assert!(text.len() == 2 && text != "00" && u8::from_str_radix(&text, 16).is_ok(), "{text}");
        }
        assert_eq!(random_hex::<16>().len(), 32);
    }
}
