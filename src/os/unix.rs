//! Linux and macOS.

use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};

/// Identifies a state of a file while the process runs: the time of its last change (which programs cannot set), its
/// inode and its length.
pub type FileState = ((i64, i64), u64, u64);

/// Whether [`check_private`] can find that a file is private.
pub const CAN_CHECK_PRIVATE: bool = true;

/// Whether a listener may take a port that has connections of an earlier process, and only such a port.
pub const CAN_REUSE_ADDRESS: bool = true;

/// Whether a name in a path may be another name of a file whose own name differs; links aside, none is.
#[must_use]
pub const fn is_alias(_name: &str) -> bool {
    false
}

#[must_use]
pub fn file_state(metadata: &Metadata) -> FileState {
    ((metadata.ctime(), metadata.ctime_nsec()), metadata.ino(), metadata.len())
}

/// Opens a file for writing, or creates it so that only its owner may read and write it.
///
/// # Errors
/// As [`OpenOptions::open`].
pub fn open_private(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    // The mode above is for a new file only.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Checks that only the owner of a file may read and write it.
///
/// # Errors
/// What is wrong and what to do.
pub fn check_private(file: &File) -> Result<(), String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    Err("other users may read or write it; run chmod 600 on it".to_owned())
}

/// Lets the process open as many files as the system allows: some container runtimes set 1,024 unless a program asks
/// for more, which are too few for the connections of 1,000 requests (contract 17.4).
///
/// Returns their number.
///
/// # Errors
/// The system refuses it.
pub fn raise_open_files() -> io::Result<u64> {
    let (soft, hard) = rlimit::Resource::NOFILE.get()?;
    // Where nothing is to be changed, a sandbox may forbid the attempt.
    if soft < hard { rlimit::increase_nofile_limit(hard) } else { Ok(soft) }
}

/// Waits for a SIGTERM or SIGINT after this call, which installs the handlers. Without them it never ends, since the
/// process can then only be killed.
pub fn termination() -> impl Future<Output = ()> {
    let handlers = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async {
        let (Ok(mut terminate), Ok(mut interrupt)) = handlers else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn a_file_that_others_can_access_is_not_private() {
        let folder = tempfile::tempdir().unwrap();
        let file = open_private(&folder.path().join("keys")).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(check_private(&file), Ok(()));
        for mode in [0o640, 0o604, 0o620, 0o602] {
            file.set_permissions(Permissions::from_mode(mode)).unwrap();
            assert!(check_private(&file).is_err(), "{mode:o}");
        }
        let again = open_private(&folder.path().join("keys")).unwrap();
        assert_eq!(check_private(&again), Ok(()), "what an earlier process left behind");
    }
}
