//! Entity tags of files (RFC 9110 section 8.8.3): hashes of their content.
//!
//! File times do not work as validators: a package gives every file the same time, and after a rollback the current
//! file is the older one.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use headers::ETag;
use sha2::{Digest, Sha256};

use crate::os::{FileState, file_state};

/// Bytes of a file that are in memory at a time while it is hashed.
const PIECE: usize = 64 * 1_024;
/// Bytes of the hash that make the tag.
const TAG_BYTES: usize = 16;

/// The tags of files. A file is hashed again only after it has changed.
#[derive(Debug, Default)]
pub(super) struct Tags {
    cache: Mutex<HashMap<PathBuf, (FileState, ETag)>>,
}

impl Tags {
    /// The tag of an open file. May read it to its end, so it blocks.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn etag_for(&self, path: &Path, file: &mut File, metadata: &Metadata) -> io::Result<ETag> {
        let state = file_state(metadata);
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some((of, etag)) = cached
            && of == state
        {
            return Ok(etag);
        }
        let etag = hash(file)?;
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), (state, etag.clone()));
        Ok(etag)
    }
}

fn hash(file: &mut File) -> io::Result<ETag> {
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
    }
    let digest: [u8; 32] = hash.finalize().into();
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&digest[..TAG_BYTES]));
    tag.parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn etag(tags: &Tags, path: &Path) -> ETag {
        let mut file = File::open(path).unwrap();
        let metadata = file.metadata().unwrap();
        tags.etag_for(path, &mut file, &metadata).unwrap()
    }

    #[test]
    fn a_tag_depends_on_the_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        std::fs::write(&one, "content").unwrap();
        std::fs::write(&other, "content").unwrap();
        let epoch = |path: &Path| File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH);
        epoch(&other).unwrap();
        let tags = Tags::default();
        let tag = etag(&tags, &one);
        assert_eq!(etag(&tags, &other), tag);
        std::fs::write(&other, "changed").unwrap();
        epoch(&other).unwrap();
        assert_ne!(etag(&tags, &other), tag, "same length and modification time");
    }
}
