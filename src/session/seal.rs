//! The envelope of sealed values (contract section 5): AES-256-GCM under the subkey of a purpose, the key ID in front.
//!
//! `base64url_nopad( 0x01 | kid 8 bytes | nonce 12 bytes | ciphertext | tag 16 bytes )`
//!
//! Pure: keys, nonce and times are passed in. [`super::sealer`] finds the key in the ring. `aes-gcm` seals; ring opens
//! ([`Subkey::open_in_place`]), which every call does, and which it does in half the instructions.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use base64::Engine;

use super::base64url::{BASE64URL, decode_long};
use crate::clock::UnixSeconds;
use crate::keyring::{Key, KeyId, Purpose, Subkey};
use crate::secret::{Key32, SecretBytes};

const VERSION: u8 = 1;
const KID: std::ops::Range<usize> = 1..9;
const NONCE: std::ops::Range<usize> = 9..21;
const HEADER: usize = 21;
const TAG: usize = 16;
const TIMES: usize = 16;

/// What a sealed value is bound to by its associated data (contract 5.6). It opens for the same binding only.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// Selects the subkey, too.
    pub purpose: Purpose,
    /// The full cookie name, the name of a record, or empty for another value.
    pub name: &'a str,
    /// The handle of a session, for what opens only with it (contract 15.3).
    pub handle: Option<&'a Key32>,
    /// The client ID of the gateway at the provider.
    pub client_id: &'a str,
}

/// The times in front of a payload (contract 5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// When the value was sealed.
    pub issued_at: UnixSeconds,
    /// The first second in which it has expired.
    pub expires_at: UnixSeconds,
}

/// A value that was opened.
#[derive(Debug)]
pub struct Opened {
    /// When it was sealed, and when it expires.
    pub times: Times,
    /// The key that opened it.
    pub kid: KeyId,
    /// Header, times, payload and tag: decrypted in place.
    bytes: SecretBytes,
}

impl Opened {
    /// What follows the times.
    #[must_use]
    #[expect(clippy::expect_used, reason = "`Envelope::parse` accepts no fewer bytes")]
    pub fn payload(&self) -> &[u8] {
        let end = self.bytes.len().saturating_sub(TAG);
        self.bytes.get(HEADER + TIMES..end).expect("what was opened has a header, times and a tag")
    }
}

/// Seals a payload. A nonce must not be used twice with one key.
#[must_use]
#[expect(clippy::expect_used, reason = "the header is written right before")]
pub fn seal(key: &Key, binding: Binding<'_>, nonce: [u8; 12], times: Times, payload: &[u8]) -> String {
    // Encrypted in place, so that no copy of the plaintext is left behind.
    let mut sealed = Vec::with_capacity(HEADER + TIMES + payload.len() + TAG);
    sealed.push(VERSION);
    sealed.extend_from_slice(&key.id.0);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&times.issued_at.to_be_bytes());
    sealed.extend_from_slice(&times.expires_at.to_be_bytes());
    sealed.extend_from_slice(payload);
    let tag = encrypt(key, binding, nonce, sealed.get_mut(HEADER..).expect("version, kid and nonce are the header"));
    sealed.extend_from_slice(&tag);
    BASE64URL.encode(sealed)
}

/// The length of a sealed payload.
#[must_use]
pub const fn sealed_len(payload: usize) -> usize {
    ((HEADER + TIMES + payload + TAG) * 4).div_ceil(3)
}

#[expect(clippy::expect_used, reason = "AES-GCM fails for messages over 64 GiB only, and names are short")]
fn encrypt(key: &Key, binding: Binding<'_>, nonce: [u8; 12], text: &mut [u8]) -> Tag {
    let associated_data = associated_data(key.id, binding).expect("the configuration bounds names and client IDs");
    let cipher = with_subkey(key, binding, |subkey| Aes256Gcm::new(subkey.expose().into()));
    let tag = cipher.encrypt_inout_detached(&Nonce::from(nonce), &associated_data, text.into());
    tag.expect("a payload is far below 64 GiB")
}

/// A sealed value that was decoded but not opened. What does not parse must not cause a key look-up (contract 5.9).
#[derive(Debug)]
pub struct Envelope {
    bytes: SecretBytes,
    kid: KeyId,
    nonce: [u8; 12],
}

impl Envelope {
    /// Decodes a sealed value.
    #[must_use]
    pub fn parse(sealed: &[u8]) -> Option<Self> {
        let bytes = SecretBytes::new(decode_long(sealed)?);
        if bytes.first() != Some(&VERSION) || bytes.len() < HEADER + TIMES + TAG {
            return None;
        }
        let kid = KeyId(bytes.get(KID)?.try_into().ok()?);
        let nonce = bytes.get(NONCE)?.try_into().ok()?;
        Some(Self { bytes, kid, nonce })
    }

    /// The one key that may open it (contract 5.10).
    #[must_use]
    pub const fn kid(&self) -> KeyId {
        self.kid
    }

    /// Opens it with the key of that ID, if it is intact, of this binding, and valid at `now`. Clocks of other
    /// instances may be ahead by `clock_skew` seconds.
    #[must_use]
    pub fn open(mut self, key: &Key, binding: Binding<'_>, now: UnixSeconds, clock_skew: u64) -> Option<Opened> {
        let associated_data = associated_data(key.id, binding)?;
        let sealed = self.bytes.get_mut(HEADER..)?;
        with_subkey(key, binding, |subkey| subkey.open_in_place(self.nonce, &associated_data, sealed))?;
        let (issued_at, rest) = sealed.split_first_chunk()?;
        let (issued_at, expires_at) = (u64::from_be_bytes(*issued_at), u64::from_be_bytes(*rest.first_chunk()?));
        let is_valid = issued_at <= now.saturating_add(clock_skew) && now < expires_at;
        is_valid.then_some(Opened { times: Times { issued_at, expires_at }, kid: self.kid, bytes: self.bytes })
    }
}

fn with_subkey<T>(key: &Key, binding: Binding<'_>, with: impl FnOnce(&Subkey) -> T) -> T {
    match binding.handle {
        None => with(key.subkey(binding.purpose)),
        Some(handle) => with(&key.subkey_with(handle, binding.purpose)),
    }
}

/// `None` for a name longer than its length field can say, as a request may carry one.
fn associated_data(kid: KeyId, binding: Binding<'_>) -> Option<Vec<u8>> {
    let parts = [binding.purpose.name(), binding.name, binding.client_id];
    let mut data = Vec::with_capacity(9 + parts.iter().map(|part| 2 + part.len()).sum::<usize>());
    data.push(VERSION);
    data.extend_from_slice(&kid.0);
    for part in parts {
        data.extend_from_slice(&u16::try_from(part.len()).ok()?.to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    Some(data)
}

#[cfg(test)]
mod tests;
