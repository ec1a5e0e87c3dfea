//! Whether a request is allowed: decided from its head and the configuration, before a body is read or a key is used.

pub mod cors;
pub mod csrf;
pub mod navigation;
pub mod origins;
pub mod return_to;
