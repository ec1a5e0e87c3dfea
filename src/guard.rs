//! May this request act: decisions from plain values, before any body is read or any key is looked up.

pub mod cors;
pub mod csrf;
pub mod navigation;
pub mod origins;
pub mod return_to;
