//! Strict base64url without padding (RFC 4648 section 5), fast enough for the kilobytes of a session: with vector
//! instructions where the processor has them. The engine exists for x86-64 and 64-bit ARM, and Azure runs no others.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::Simd;
use base64::engine::general_purpose::NO_PAD;

pub(super) static BASE64URL: LazyLock<Simd> = LazyLock::new(|| Simd::url_safe(NO_PAD));

/// Decodes kilobytes of ciphertext. The crate's own `decode` fills a buffer of the whole length with zeros, for which
/// the C library uses a string instruction that is slow to start; it has vector instructions for blocks.
pub(super) fn decode_long(text: &[u8]) -> Option<Vec<u8>> {
    const BLOCK: usize = 1_024;
    let length = text.len().div_ceil(4) * 3;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        bytes.resize(length.min(bytes.len() + BLOCK), 0);
    }
    let length = BASE64URL.decode_slice(text, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    proptest::proptest! {
        #[test]
        fn long_values_are_read_as_strictly_as_short_ones(
            mut text in "[A-Za-z0-9_-]{60,400}",
            inserted in proptest::option::of((0usize..400, proptest::char::any())),
        ) {
            if let Some((at, character)) = inserted {
                text.insert(at.min(text.len()), character);
            }
            proptest::prop_assert_eq!(BASE64URL.decode(&text).ok(), URL_SAFE_NO_PAD.decode(&text).ok());
        }

        #[test]
        fn values_of_several_blocks_are_read_as_strictly(
            mut text in "[A-Za-z0-9_-]{2000,4200}",
            inserted in proptest::option::of((0usize..4_200, proptest::char::any())),
        ) {
            if let Some((at, character)) = inserted {
                text.insert(at.min(text.len()), character);
            }
            proptest::prop_assert_eq!(decode_long(text.as_bytes()), URL_SAFE_NO_PAD.decode(&text).ok());
        }

        #[test]
        fn any_bytes_are_read_as_they_were_written(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let text = BASE64URL.encode(&bytes);
            proptest::prop_assert_eq!(&text, &URL_SAFE_NO_PAD.encode(&bytes));
            proptest::prop_assert_eq!(decode_long(text.as_bytes()).unwrap(), &bytes[..]);
            proptest::prop_assert_eq!(BASE64URL.decode(text).unwrap(), bytes);
        }
    }
}
