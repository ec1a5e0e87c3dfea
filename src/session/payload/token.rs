//! The packed form of a token: its segments, the texts between dots, as raw bytes where they are base64url (contract
//! 5.14). That saves a quarter of the cookie.

use base64::Engine;
use serde::Serialize;
use zeroize::Zeroizing;

use super::reader::{Reader, Segment};
use crate::secret::{ExposeSecret, SecretString};
use crate::session::base64url::BASE64URL;
use crate::session::binary;
use crate::session::packed::{Packed, Unpack};

/// A token of a session.
pub type Token = Packed<SecretString>;

/// A segment that is written.
#[derive(Serialize)]
pub(super) enum SegmentOut<'a> {
    Bytes(Zeroizing<Vec<u8>>),
    Text(&'a str),
}

/// Precedes a token in `Authorization` (RFC 6750 section 2.1).
const SCHEME: &[u8] = b"Bearer ";

impl Token {
    /// Writes the value of `Authorization` that it makes; `None` if it has a character that no header can carry.
    #[must_use]
    pub fn write_bearer(&self, value: &mut Vec<u8>) -> Option<()> {
        value.extend_from_slice(SCHEME);
        match self.packed() {
            Some(bytes) => join(bytes, value, is_header_text),
            None => write_text(self.expose_secret(), value),
        }
    }

    /// At most how many bytes [`Self::write_bearer`] writes.
    #[must_use]
    pub fn bearer_len(&self) -> usize {
        SCHEME.len() + self.packed().map_or_else(|| self.expose_secret().len(), longest_text)
    }

    /// The same token in its packed form, for a table that keeps it.
    #[must_use]
    pub fn to_packed(&self) -> Self {
        match self.packed() {
            Some(bytes) => Self::new(bytes.to_vec()),
            None => Self::new(pack_token(self).to_vec()),
        }
    }
}

fn write_text(token: &str, value: &mut Vec<u8>) -> Option<()> {
    is_header_text(token.as_bytes()).then(|| value.extend_from_slice(token.as_bytes()))
}

/// Whether a header value may have these characters (RFC 9110 section 5.5).
fn is_header_text(text: &[u8]) -> bool {
    text.iter().all(|byte| *byte == b'\t' || !byte.is_ascii_control())
}

impl Unpack for SecretString {
    #[expect(clippy::expect_used, reason = "`Session::decode` reads the same segments before")]
    fn unpack(bytes: &[u8]) -> Self {
        unpack_token(bytes).expect("the bytes of a token are checked before they are packed in")
    }
}

/// The packed form of a token outside a session.
#[must_use]
pub fn pack_token(token: &SecretString) -> Zeroizing<Vec<u8>> {
    binary::encode(&[], &pack(token))
}

/// The token of [`pack_token`], unless the bytes are damaged.
#[must_use]
pub fn unpack_token(bytes: &[u8]) -> Option<SecretString> {
    // Allocated once, so that no copy of the token is left behind by a buffer that grows.
    let mut text = Vec::with_capacity(text_len(bytes)?);
    join(bytes, &mut text, |_| true)?;
    Some(String::from_utf8(text).ok()?.into())
}

pub(super) fn pack(token: &SecretString) -> Vec<SegmentOut<'_>> {
    let segment = |text| match BASE64URL.decode(text) {
        Ok(bytes) => SegmentOut::Bytes(Zeroizing::new(bytes)),
        Err(_) => SegmentOut::Text(text),
    };
    token.expose_secret().split('.').map(segment).collect()
}

/// Appends the text of a packed token. `None`, if it is damaged or a segment that is not base64url is not allowed.
#[expect(clippy::expect_used, reason = "the buffer has the length that is written")]
fn join(packed: &[u8], text: &mut Vec<u8>, is_allowed: impl Fn(&[u8]) -> bool) -> Option<()> {
    let mut reader = Reader(packed);
    for position in 0..reader.length()? {
        if position > 0 {
            text.push(b'.');
        }
        match reader.segment()? {
            Segment::Bytes(bytes) => {
                let start = text.len();
                text.resize(start + encoded_len(bytes), 0);
                let encoded = text.get_mut(start..).map(|buffer| BASE64URL.encode_slice(bytes, buffer));
                encoded.expect("it was just extended").expect("it was extended by what is written");
            }
            Segment::Text(segment) if is_allowed(segment) => text.extend_from_slice(segment),
            Segment::Text(_) => return None,
        }
    }
    reader.0.is_empty().then_some(())
}

/// How long the text of a packed token is.
fn text_len(packed: &[u8]) -> Option<usize> {
    let mut reader = Reader(packed);
    let segments = reader.length()?;
    let mut length = segments.saturating_sub(1);
    for _ in 0..segments {
        length = length.checked_add(match reader.segment()? {
            Segment::Bytes(bytes) => encoded_len(bytes),
            Segment::Text(text) => text.len(),
        })?;
    }
    Some(length)
}

/// At most how long the text of a packed token is: base64url has four characters for three bytes.
const fn longest_text(packed: &[u8]) -> usize {
    packed.len().div_ceil(3) * 4
}

const fn encoded_len(bytes: &[u8]) -> usize {
    (bytes.len() * 4).div_ceil(3)
}
