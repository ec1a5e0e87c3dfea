//! Where operating systems differ: modes of files, signals, names of programs, and what a process needs of the
//! environment. Both submodules have the same items, and no other module has code for one operating system only.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

use std::env::consts::EXE_SUFFIX;

#[cfg(not(unix))]
pub use other::{
    HAS_KEY_FILES, NEEDED_VARIABLES, RUNS_ALL_TESTS, SHARES_PORTS, Stop, is_root, private_file_options, resolved,
    set_mode, signal,
};
#[cfg(unix)]
pub use unix::{
    HAS_KEY_FILES, NEEDED_VARIABLES, RUNS_ALL_TESTS, SHARES_PORTS, Stop, is_root, private_file_options, resolved,
    set_mode, signal,
};

/// A signal to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: end in order.
    Terminate,
    /// SIGSTOP: do not run, without closing anything.
    Pause,
    /// SIGCONT: ends a pause.
    Resume,
}

/// The file name of a program.
#[must_use]
pub fn executable(name: &str) -> String {
    format!("{name}{EXE_SUFFIX}")
}

/// Whether a process needs this variable of the environment of the one that starts it, even in a clean environment.
#[must_use]
pub fn is_needed(variable: &str) -> bool {
    // Windows does not distinguish upper and lower case, and others have only one of both.
    NEEDED_VARIABLES.iter().any(|needed| needed.eq_ignore_ascii_case(variable))
}
