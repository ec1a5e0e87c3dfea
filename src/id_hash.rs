//! A hasher for identifiers that are random or hashes already.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`IdHasher`].
pub type IdHash = BuildHasherDefault<IdHasher>;

/// Takes eight bytes of the identifier as they are. Only tables whose keys no client chooses may use it: a client that
/// chooses what is looked up finds nothing, or one entry.
#[derive(Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.write_u64(u64::from_ne_bytes(*first));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 ^= number;
    }

    /// The length of an array, which is always the same.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn other_identifiers_have_other_hashes() {
        let hash = |id: [u8; 8]| IdHash::default().hash_one(id);
        assert_ne!(hash([1; 8]), hash([2; 8]));
        assert_ne!(IdHash::default().hash_one(1_u64), IdHash::default().hash_one(2_u64));
    }
}
