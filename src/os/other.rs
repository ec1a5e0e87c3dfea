//! Systems without Unix permissions and signals: development on Windows.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Identifies a state of a file while the process runs: the time of its last modification and its length.
pub type FileState = (Option<SystemTime>, u64);

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

/// Access lists are not checked.
///
/// # Errors
/// None.
pub fn check_private(_file: &File) -> Result<(), String> {
    Ok(())
}

/// Waits for Ctrl-C. Without a handler it never ends.
pub async fn termination() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
