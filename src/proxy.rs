//! Proxied calls (contract section 10).

pub mod calls;
pub mod forward;
pub mod header_lists;
pub mod headers;
