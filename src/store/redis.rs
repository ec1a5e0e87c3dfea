//! Sessions in Redis (contract section 15).

pub mod client;

pub use client::Config;
