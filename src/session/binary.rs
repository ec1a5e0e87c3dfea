//! The binary form of what is sealed.

use serde::Serialize;
use zeroize::Zeroizing;

/// The binary form of a value after the bytes of `prefix`: its version, where it has one.
///
/// Allocated once, since a buffer that grows leaves copies of tokens and verifiers in freed memory.
#[must_use]
#[expect(clippy::expect_used, reason = "memory is written to, and every length is known")]
pub fn encode(prefix: &[u8], value: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let size = postcard::experimental::serialized_size(value).expect("every length is known");
    let mut form = Vec::with_capacity(prefix.len() + size);
    form.extend_from_slice(prefix);
    Zeroizing::new(postcard::to_extend(value, form).expect("a vector can be extended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_of_any_length_is_allocated_once() {
        for length in [0, 1, 6, 7, 8, 9, 127, 128, 129, 1_000, 20_000] {
            for prefix in [&[][..], &[3]] {
                let form = encode(prefix, &("x".repeat(length), [7u8; 32]));
                assert!(form.starts_with(prefix) && form.ends_with(&[7; 32]), "{length}");
                assert_eq!(form.capacity(), form.len(), "{length}");
            }
        }
    }
}
