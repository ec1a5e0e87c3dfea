//! Systems without Unix permissions and signals: development on Windows.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use futures_util::FutureExt;

/// Identifies a state of a file while the process runs: the time of its last modification and its length.
pub type FileState = (Option<SystemTime>, u64);

/// Whether [`check_private`] can find that a file is private.
pub const CAN_CHECK_PRIVATE: bool = false;

/// Whether a listener may take a port that has connections of an earlier process, and only such a port: on Windows it
/// could also take that of another listener.
pub const CAN_REUSE_ADDRESS: bool = false;

/// Whether a name in a path may be another name of a file whose own name differs: a short name (`ENV~1` for `.env`) or
/// a stream of a file (`.env::$DATA`).
#[must_use]
pub fn is_alias(name: &str) -> bool {
    name.contains(['~', ':'])
}

#[must_use]
pub fn file_state(metadata: &Metadata) -> FileState {
    (metadata.modified().ok(), metadata.len())
}

/// Opens a file for writing, or creates it. Its access list is the folder's.
///
/// # Errors
/// As [`OpenOptions::open`].
pub fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(false).open(path)
}

/// Access lists are not checked, so that no file counts as private.
///
/// # Errors
/// Always.
pub fn check_private(_file: &File) -> Result<(), String> {
    Err("who may read it cannot be checked on this system; keep keys in Key Vault".to_owned())
}

/// There is no such limit.
///
/// # Errors
/// None.
pub fn raise_open_files() -> io::Result<u64> {
    Ok(u64::MAX)
}

/// Waits for a Ctrl-C after this call, which installs the handler. Without it it never ends.
pub fn termination() -> impl Future<Output = ()> {
    let mut signal = Box::pin(tokio::signal::ctrl_c());
    // The first poll installs the handler.
    let installed = signal.as_mut().now_or_never();
    async {
        let received = match installed {
            Some(received) => received,
            None => signal.await,
        };
        if received.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn no_file_counts_as_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut file = open_private(&path).unwrap();
        assert!(!CAN_CHECK_PRIVATE && check_private(&file).unwrap_err().contains("Key Vault"));
        let before: FileState = file_state(&file.metadata().unwrap());
        file.write_all(b"more").unwrap();
        assert_ne!(file_state(&file.metadata().unwrap()), before);
        assert_eq!(std::fs::read(&path).unwrap(), b"more");
    }

    #[test]
    fn names_that_stand_for_other_files_are_recognized() {
        assert!(["ENV~1", "index~1.htm", ".env::$DATA", "C:"].into_iter().all(is_alias));
        assert!([".env", "index.html", "a-b_c.js", ""].into_iter().all(|name| !is_alias(name)));
    }

    #[tokio::test]
    async fn without_a_key_press_nothing_ends() {
        assert!(futures_util::poll!(std::pin::pin!(termination())).is_pending());
    }
}
