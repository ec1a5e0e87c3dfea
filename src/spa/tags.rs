//! Entity tags of files (RFC 9110, section 8.8.3): hashes of what is in them.
//!
//! The times of files are of no use here. A package is made so that equal files make equal bytes, with one time for
//! all; and after a deployment is taken back, the file that counts is the older one.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ETAG, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256};

/// Bytes of a file that are held at a time.
const PIECE: usize = 64 * 1_024;
/// Bytes of the hash that make the tag.
const TAG_BYTES: usize = 16;

/// What tells, while the process runs, that a file is still the one that was hashed: its time of change, which nobody
/// sets, its place on the disk, and its length.
type Stamp = ((i64, i64), u64, u64);

/// The tags of files, each made once for each state of its file.
#[derive(Debug, Default)]
pub struct Tags {
    known: Mutex<HashMap<PathBuf, (Stamp, HeaderValue)>>,
}

impl Tags {
    /// The tag of a file; none if it cannot be read.
    pub async fn etag_for(&self, file: &Path) -> Option<HeaderValue> {
        let path = file.to_owned();
        let stamp = stamp(&tokio::fs::metadata(file).await.ok()?);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(file).cloned();
        if let Some((of, tag)) = known
            && of == stamp
        {
            return Some(tag);
        }
        let tag = tokio::task::spawn_blocking(move || hashed(&path)).await.ok()?.ok()?;
        let entry = (stamp, tag.clone());
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(file.to_owned(), entry);
        Some(tag)
    }
}

fn stamp(file: &Metadata) -> Stamp {
    ((file.ctime(), file.ctime_nsec()), file.ino(), file.len())
}

fn hashed(path: &Path) -> io::Result<HeaderValue> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = file.read(&mut piece)?;
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { break };
        hash.update(read);
    }
    let digest = hash.finalize();
    let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.get(..TAG_BYTES).unwrap_or_default()));
    HeaderValue::try_from(tag).map_err(io::Error::other)
}

/// Whether the browser has the file as it is (RFC 9110, section 13.1.2). Whether something changed the tag to a weak
/// one on its way, as those who compress do, makes no difference.
#[must_use]
pub fn none_match_hit(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).into_iter().filter_map(|list| list.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|held| held == "*" || tag == held.strip_prefix("W/").unwrap_or(held))
}

/// The part that is asked for, unless it is to go with parts of another content (RFC 9110, section 13.1.5).
#[must_use]
pub fn range(headers: &HeaderMap, tag: &HeaderValue) -> Option<HeaderValue> {
    let fits = headers.get(IF_RANGE).is_none_or(|condition| condition == tag);
    headers.get(RANGE).filter(|_| fits).cloned()
}

/// Tells the tag and no time, so that nobody asks by the time.
pub fn set_etag(headers: &mut HeaderMap, tag: HeaderValue) {
    headers.remove(LAST_MODIFIED);
    headers.insert(ETAG, tag);
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap()), (RANGE, "bytes=0-9".parse().unwrap())])
    }

    #[tokio::test]
    async fn a_tag_is_of_the_content_alone() {
        let folder = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
        std::fs::write(&one, "content").unwrap();
        std::fs::write(&other, "content").unwrap();
        let epoch = |path: &Path| File::options().write(true).open(path).unwrap().set_modified(SystemTime::UNIX_EPOCH);
        epoch(&other).unwrap();
        let tags = Tags::default();
        let tag = tags.etag_for(&one).await.unwrap();
        assert_eq!(tags.etag_for(&other).await.unwrap(), tag);
        std::fs::write(&other, "changed").unwrap();
        epoch(&other).unwrap();
        assert_ne!(tags.etag_for(&other).await.unwrap(), tag, "of the same length and time");
        assert_eq!(tags.etag_for(&folder.path().join("none")).await, None);
    }

    #[test]
    fn a_tag_is_held_in_any_form_and_no_other_is() {
        let tag = HeaderValue::from_static("\"a\"");
        for held in ["\"a\"", "W/\"a\"", "\"b\", \"a\"", "*"] {
            assert!(none_match_hit(&headers(IF_NONE_MATCH, held), &tag), "{held}");
        }
        for other in ["\"b\"", "a", "\"\"", ""] {
            assert!(!none_match_hit(&headers(IF_NONE_MATCH, other), &tag), "{other}");
        }
    }

    #[test]
    fn a_part_goes_only_with_parts_of_the_same_content() {
        let tag = HeaderValue::from_static("\"a\"");
        for (condition, counts) in
            [("\"a\"", true), ("\"b\"", false), ("W/\"a\"", false), ("Tue, 01 Jan 1980 00:00:00 GMT", false)]
        {
            assert_eq!(range(&headers(IF_RANGE, condition), &tag).is_some(), counts, "{condition}");
        }
        assert!(range(&headers(IF_NONE_MATCH, "\"b\""), &tag).is_some(), "without the condition it counts");
    }
}
