//! Stand-ins for everything that Cloakroom talks to, and the commands that developers run.
//!
//! Nothing here is shipped, and nothing here imports the product: a stand-in that shares code shares bugs.

pub mod commands;
pub mod graph;
pub mod host;
pub mod identity;
pub mod provider;
pub mod vault;
pub mod web;
