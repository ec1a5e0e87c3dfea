//! Stand-ins for everything that Cloakroom connects to, and the commands of `cargo dev`.
//!
//! Nothing here is shipped, and nothing here imports the product: a stand-in that shares code shares bugs.

#![expect(
    clippy::indexing_slicing,
    reason = "for JSON: a missing member reads as null, and what is written to is an object"
)]

pub mod brands;
pub mod chaos;
pub mod commands;
pub mod graph;
pub mod host;
pub mod identity;
pub mod os;
pub mod provider;
pub mod redis_server;
pub mod vault;
pub mod web;
pub mod workload;
