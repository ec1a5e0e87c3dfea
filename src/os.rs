//! Where operating systems differ: permissions and states of files, and signals. Both submodules have the same items,
//! and no other module has code for one operating system only.

#[cfg(not(unix))]
mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub use other::{FileState, check_private, file_state, open_private, termination};
#[cfg(unix)]
pub use unix::{FileState, check_private, file_state, open_private, termination};
