//! Windows.

use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};

use tokio::signal::windows::{self, CtrlBreak, CtrlC, CtrlClose};

use super::Signal;

/// Whether the gateway accepts key files: it cannot check who may read them.
pub const HAS_KEY_FILES: bool = false;
/// Whether all tests can run: they use signals, modes of files and shell scripts.
pub const RUNS_ALL_TESTS: bool = false;
/// Whether a process can listen on a port to which another one has bound a socket that does not listen.
pub const SHARES_PORTS: bool = false;
/// The variables that every process needs; without `SystemRoot` there are no sockets.
pub const NEEDED_VARIABLES: &[&str] = &["PATH", "SystemDrive", "SystemRoot", "TEMP", "TMP"];

/// What ends a command that runs until it is stopped.
#[derive(Debug)]
pub struct Stop {
    interrupt: CtrlC,
    terminate: CtrlBreak,
    terminal_closed: CtrlClose,
}

impl Stop {
    /// From now on these events do not end the process, which would leave what it has started.
    ///
    /// # Errors
    /// The handlers cannot be registered.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: windows::ctrl_c()?,
            terminate: windows::ctrl_break()?,
            terminal_closed: windows::ctrl_close()?,
        })
    }

    /// Waits for Ctrl-C, Ctrl-Break, or the end of the console window.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.terminal_closed.recv() => {}
        }
    }
}

/// No packages are installed here.
#[must_use]
pub const fn is_root() -> bool {
    false
}

/// The absolute path of what is there. Links stay, since a resolved path (`\\?\C:\…`) cannot be a working directory.
///
/// # Errors
/// There is nothing.
pub fn resolved(path: &Path) -> io::Result<PathBuf> {
    std::fs::metadata(path)?;
    std::path::absolute(path)
}

/// There are no signals.
///
/// # Errors
/// Always.
pub fn signal(_process: u32, _signal: Signal) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// There are no modes.
///
/// # Errors
/// None.
pub const fn set_mode(_path: &Path, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// A new file has the access list of its folder.
#[must_use]
pub fn private_file_options() -> OpenOptions {
    OpenOptions::new()
}
