//! Integration tests: the real binary over real sockets, with a separate server for each service that it talks to.

#![expect(unreachable_pub, reason = "a test binary has no public API, and `pub` reads better than `pub(crate)`")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod app;
mod cloud;
mod lab;
mod raw;
mod visitor;

mod archive;
mod audit;
mod browser;
mod callback;
mod canaries;
mod check_online;
mod configured;
mod cookies;
mod deployed;
mod dev_up;
mod earlier_cookies;
mod framing;
mod headers;
// Shell scripts.
#[cfg(unix)]
mod hooks;
mod identities;
// Containers, owners and modes of files.
#[cfg(target_os = "linux")]
mod image;
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
mod logs;
mod managed_identity;
mod network;
mod oidc_provider;
mod other_origins;
mod own_sessions;
mod packaged;
mod paths;
mod persist;
mod plans;
mod protections;
mod provider_documents;
mod provider_logout;
mod providers;
mod proxying;
mod redis_server;
mod redis_sessions;
mod refresh;
mod rejections;
mod repeats;
mod replaced;
mod responses;
mod revocations;
mod rotate_keys;
mod schema;
mod server;
mod session_stores;
mod several_apis;
mod site;
mod soak;
mod standalone;
mod standards;
mod start;
mod step_up;
mod streams;
mod tidy;
mod uploads;
