//! Where operating systems differ: permissions, states and number of files, and signals. Both submodules have the same
//! items, and no other module has code for one operating system only.

#[cfg(not(unix))]
mod other;
/// For its tests.
#[cfg(all(unix, test))]
pub mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(unix))]
pub use other::{
    CAN_CHECK_PRIVATE, FileState, check_private, file_state, is_alias, open_private, raise_open_files, termination,
};
#[cfg(unix)]
pub use unix::{
    CAN_CHECK_PRIVATE, FileState, check_private, file_state, is_alias, open_private, raise_open_files, termination,
};
