//! Sealing, as contract section 5 fixes it: AES-256-GCM under a purpose's subkey, the key id in front.
//!
//! `base64url_nopad( 0x01 | kid 8 bytes | nonce 12 bytes | ciphertext | tag 16 bytes )`

use aes_gcm::aead::{Aead, AeadInOut, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce, Tag};
use base64::Engine;
use secrecy::zeroize::Zeroizing;

use super::base64url::BASE64URL;
use crate::clock::UnixSeconds;
use crate::keyring::{Key, KeyId, Opening, Purpose, Ring};

const VERSION: u8 = 1;
const KID: std::ops::Range<usize> = 1..9;
const NONCE: std::ops::Range<usize> = 9..21;
const HEADER: usize = 21;
const TAG: usize = 16;
const TIMES: usize = 16;

/// What a sealed value is bound to. Sealed for one thing, it opens as nothing else.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The full cookie name, or empty for what is no cookie.
    pub name: &'a str,
    /// The client id of the gateway.
    pub client_id: &'a str,
}

/// What was sealed.
#[derive(Debug)]
pub struct Opened {
    /// When it was sealed.
    pub issued_at: UnixSeconds,
    /// From when on it is over.
    pub expires_at: UnixSeconds,
    /// The key that opened it.
    pub kid: KeyId,
    /// Header, times, payload and tag: opened where they lay.
    bytes: Zeroizing<Vec<u8>>,
}

impl Opened {
    /// What follows the times.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.bytes.get(HEADER + TIMES..self.bytes.len().saturating_sub(TAG)).unwrap_or_default()
    }
}

/// Why a value does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnsealError {
    /// It is not ours, not intact, not for this, or over.
    Invalid,
    /// Nobody can tell before the source of the keys answers.
    KeyUnavailable,
    /// It names a key that is not in the ring: invalid too, but another instance may know the key already.
    UnknownKey,
}

/// Seals a payload under a key with a random nonce.
#[must_use]
pub fn seal(
    key: &Key,
    binding: Binding<'_>,
    issued_at: UnixSeconds,
    expires_at: UnixSeconds,
    payload: &[u8],
) -> String {
    seal_with_nonce(key, binding, rand::random(), issued_at, expires_at, payload)
}

fn seal_with_nonce(
    key: &Key,
    binding: Binding<'_>,
    nonce: [u8; 12],
    issued_at: UnixSeconds,
    expires_at: UnixSeconds,
    payload: &[u8],
) -> String {
    let mut plaintext = Zeroizing::new(Vec::with_capacity(TIMES + payload.len()));
    plaintext.extend_from_slice(&issued_at.to_be_bytes());
    plaintext.extend_from_slice(&expires_at.to_be_bytes());
    plaintext.extend_from_slice(payload);
    let associated_data = associated_data(key.id, binding);
    let message = Payload { msg: &plaintext, aad: &associated_data };
    // AES-GCM refuses only messages beyond 64 GiB; a sealed value that were empty would simply not open.
    let ciphertext = cipher(key, binding.purpose)
        .and_then(|cipher| cipher.encrypt(&Nonce::from(nonce), message).ok())
        .unwrap_or_default();
    let mut sealed = Vec::with_capacity(HEADER + ciphertext.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&key.id.0);
    sealed.extend_from_slice(&nonce);
    sealed.extend_from_slice(&ciphertext);
    BASE64URL.encode(sealed)
}

/// Opens a sealed value with the one key that it names; never tries a second.
///
/// # Errors
/// [`UnsealError`]; how a value is invalid is not told.
pub async fn open(
    ring: &Ring,
    binding: Binding<'_>,
    sealed: &[u8],
    now: UnixSeconds,
    clock_skew: u64,
) -> Result<Opened, UnsealError> {
    let envelope = Envelope::parse(sealed).ok_or(UnsealError::Invalid)?;
    let key = match ring.opening(envelope.kid, now).await {
        Opening::Key(key) => key,
        Opening::Unknown => return Err(UnsealError::UnknownKey),
        Opening::Unavailable => return Err(UnsealError::KeyUnavailable),
    };
    let opened = envelope.open(&key, binding).ok_or(UnsealError::Invalid)?;
    let from_the_future = opened.issued_at > now.saturating_add(clock_skew);
    if from_the_future || now >= opened.expires_at { Err(UnsealError::Invalid) } else { Ok(opened) }
}

/// A sealed value taken apart: refused here, it never causes a key look-up.
struct Envelope {
    bytes: Zeroizing<Vec<u8>>,
    kid: KeyId,
    nonce: [u8; 12],
}

impl Envelope {
    fn parse(sealed: &[u8]) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64URL.decode(sealed).ok()?);
        if bytes.first() != Some(&VERSION) || bytes.len() < HEADER + TIMES + TAG {
            return None;
        }
        let kid = KeyId(bytes.get(KID)?.try_into().ok()?);
        let nonce = bytes.get(NONCE)?.try_into().ok()?;
        Some(Self { bytes, kid, nonce })
    }

    fn open(mut self, key: &Key, binding: Binding<'_>) -> Option<Opened> {
        let associated_data = associated_data(key.id, binding);
        let (text, tag) = self.bytes.get_mut(HEADER..)?.split_last_chunk_mut::<TAG>()?;
        let cipher = cipher(key, binding.purpose)?;
        let (nonce, tag) = (Nonce::from(self.nonce), Tag::from(*tag));
        cipher.decrypt_inout_detached(&nonce, &associated_data, (&mut *text).into(), &tag).ok()?;
        let (issued_at, rest) = text.split_first_chunk()?;
        let expires_at = rest.first_chunk()?;
        let (issued_at, expires_at) = (u64::from_be_bytes(*issued_at), u64::from_be_bytes(*expires_at));
        Some(Opened { issued_at, expires_at, kid: self.kid, bytes: self.bytes })
    }
}

fn cipher(key: &Key, purpose: Purpose) -> Option<Aes256Gcm> {
    key.subkey(purpose).map(|subkey| Aes256Gcm::new(subkey.expose().into()))
}

fn associated_data(kid: KeyId, binding: Binding<'_>) -> Vec<u8> {
    let parts = [binding.purpose.name(), binding.name, binding.client_id];
    let mut data = Vec::with_capacity(9 + parts.iter().map(|part| 2 + part.len()).sum::<usize>());
    data.push(VERSION);
    data.extend_from_slice(&kid.0);
    for part in parts {
        // Names and client ids are bounded at start, far below 65,536 bytes.
        data.extend_from_slice(&u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
        data.extend_from_slice(part.as_bytes());
    }
    data
}

#[cfg(test)]
mod tests;
