//! Linux and macOS.

use std::fs::{OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, kill_process};
use tokio::signal::unix::{self, SignalKind};

use super::Signal;

/// Whether the gateway accepts key files.
pub const HAS_KEY_FILES: bool = true;
/// Whether all tests can run: they use signals, modes of files and shell scripts.
pub const RUNS_ALL_TESTS: bool = true;
/// Whether a process can listen on a port to which another one has bound a socket that does not listen.
pub const SHARES_PORTS: bool = cfg!(target_os = "linux");
/// The variables that every process needs.
pub const NEEDED_VARIABLES: &[&str] = &["PATH"];

/// What ends a command that runs until it is stopped.
#[derive(Debug)]
pub struct Stop {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    terminal_closed: unix::Signal,
}

impl Stop {
    /// From now on these signals do not end the process, which would leave what it has started.
    ///
    /// # Errors
    /// The handlers cannot be registered.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unix::signal(SignalKind::interrupt())?,
            terminate: unix::signal(SignalKind::terminate())?,
            terminal_closed: unix::signal(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGINT, SIGTERM or SIGHUP.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.terminal_closed.recv() => {}
        }
    }
}

#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The absolute path of what is there, without links.
///
/// # Errors
/// There is nothing.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// Sends a signal to a process.
///
/// # Errors
/// There is no such process.
pub fn signal(process: u32, signal: Signal) -> io::Result<()> {
    let signal = match signal {
        Signal::Terminate => rustix::process::Signal::TERM,
        Signal::Pause => rustix::process::Signal::STOP,
        Signal::Resume => rustix::process::Signal::CONT,
    };
    let process = i32::try_from(process).ok().and_then(Pid::from_raw);
    Ok(kill_process(process.ok_or(io::ErrorKind::InvalidInput)?, signal)?)
}

/// Sets the mode of a file.
///
/// # Errors
/// It cannot be set.
pub fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(mode))
}

/// With which a new file can be read by its owner only.
#[must_use]
pub fn private_file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
