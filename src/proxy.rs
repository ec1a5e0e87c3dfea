//! Proxied calls (contract section 10).

mod disposition;
pub mod forward;
pub mod headers;
pub mod response_headers;
mod session_body;
