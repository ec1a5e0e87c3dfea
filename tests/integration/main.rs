//! Tests at the boundary: the real binary, real sockets, and everything that it talks to as a server of its own.

#![expect(unreachable_pub, reason = "a test binary has no outside, and `pub` reads better than `pub(crate)`")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "whatever is not as expected fails the test"
)]

mod app;
mod cloud;
mod raw;
mod visitor;

mod browser;
mod callback;
mod canaries;
mod check_online;
mod cookies;
mod dev_up;
mod framing;
mod headers;
mod hooks;
mod journey;
mod key_faults;
mod key_histories;
mod key_rings;
mod key_rotations;
mod key_sources;
mod key_vault;
mod key_vault_peer;
mod keys;
mod lifetimes;
mod load;
mod login;
mod logout;
mod managed_identity;
mod oidc_provider;
mod other_origins;
mod packaged;
mod paths;
mod proxying;
mod refresh;
mod refusals;
mod rotate_keys;
mod schema;
mod server;
mod several_apis;
mod site;
mod soak;
mod start;
mod step_up;
mod streams;
mod tidy;
