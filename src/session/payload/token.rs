//! The packed form of a token: its segments, the texts between dots, as raw bytes where they are base64url (contract
//! 5.14). That saves a quarter of the cookie.

use base64::Engine;
use bytes::Bytes;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

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

/// A segment that is read.
#[derive(Deserialize)]
pub(super) enum SegmentRef<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
}

impl Token {
    /// The value of `Authorization` that it makes; `None` if it has a character that no header can carry.
    #[must_use]
    pub fn bearer(&self) -> Option<HeaderValue> {
        const SCHEME: &str = "Bearer ";
        let value = match self.packed() {
            Some(bytes) => join(SCHEME, &segments(bytes)?),
            None => [SCHEME.as_bytes(), self.expose_secret().as_bytes()].concat(),
        };
        let mut bearer = HeaderValue::from_maybe_shared(Bytes::from(value)).ok()?;
        bearer.set_sensitive(true);
        Some(bearer)
    }
}

impl Token {
    /// The same token in its packed form, for a table that keeps it.
    #[must_use]
    pub fn to_packed(&self) -> Self {
        match self.packed() {
            Some(bytes) => Self::new(bytes.to_vec()),
            None => Self::new(pack_token(self).to_vec()),
        }
    }
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
    let text = String::from_utf8(join("", &segments(bytes)?)).ok()?;
    Some(text.into())
}

pub(super) fn pack(token: &SecretString) -> Vec<SegmentOut<'_>> {
    let segment = |text| match BASE64URL.decode(text) {
        Ok(bytes) => SegmentOut::Bytes(Zeroizing::new(bytes)),
        Err(_) => SegmentOut::Text(text),
    };
    token.expose_secret().split('.').map(segment).collect()
}

fn segments(bytes: &[u8]) -> Option<Vec<SegmentRef<'_>>> {
    postcard::from_bytes(bytes).ok()
}

/// The text of a token after a prefix.
#[expect(clippy::expect_used, reason = "the buffer has the length that is written")]
fn join(prefix: &str, segments: &[SegmentRef<'_>]) -> Vec<u8> {
    let length = |segment: &SegmentRef<'_>| match segment {
        SegmentRef::Bytes(bytes) => encoded_len(bytes),
        SegmentRef::Text(text) => text.len(),
    };
    // Allocated once, so that no copy of the token is left behind by a buffer that grows.
    let dots = segments.len().saturating_sub(1);
    let mut text = Vec::with_capacity(prefix.len() + segments.iter().map(length).sum::<usize>() + dots);
    text.extend_from_slice(prefix.as_bytes());
    for (position, segment) in segments.iter().enumerate() {
        if position > 0 {
            text.push(b'.');
        }
        match segment {
            SegmentRef::Bytes(bytes) => {
                let start = text.len();
                text.resize(start + encoded_len(bytes), 0);
                let encoded = text.get_mut(start..).map(|buffer| BASE64URL.encode_slice(bytes, buffer));
                encoded.expect("it was just extended").expect("it was extended by what is written");
            }
            SegmentRef::Text(segment) => text.extend_from_slice(segment.as_bytes()),
        }
    }
    text
}

const fn encoded_len(bytes: &[u8]) -> usize {
    (bytes.len() * 4).div_ceil(3)
}
