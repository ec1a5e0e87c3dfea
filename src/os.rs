//! Where operating systems differ: permissions, states and number of files, signals, and the allocator. Both submodules
//! have the same items, and no other module has code for one operating system only.

#[cfg(not(unix))]
mod other;
/// For its tests.
#[cfg(all(unix, test))]
pub mod other;
#[cfg(unix)]
mod unix;

#[cfg(not(target_os = "linux"))]
pub use std::alloc::System as Allocator;

#[cfg(not(unix))]
pub use other::{
    CAN_CHECK_PRIVATE, CAN_REUSE_ADDRESS, FileState, check_private, file_state, is_alias, open_private,
    raise_open_files, termination,
};
/// The allocator of the binary (docs/architecture.md, "jemalloc on Linux").
#[cfg(target_os = "linux")]
pub use tikv_jemallocator::Jemalloc as Allocator;
#[cfg(unix)]
pub use unix::{
    CAN_CHECK_PRIVATE, CAN_REUSE_ADDRESS, FileState, check_private, file_state, is_alias, open_private,
    raise_open_files, termination,
};
