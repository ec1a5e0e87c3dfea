//! The way to the APIs: which calls are allowed, what goes on, and what comes back.

pub mod calls;
pub mod forward;
pub mod header_lists;
pub mod headers;
