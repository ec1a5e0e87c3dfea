//! Cloakroom: a token handler (Backend for Frontend) for single-page applications, run as an Azure Functions custom
//! handler or as a server of its own.
//!
//! `docs/architecture.md` has the modules in the order of their imports, and the invariants.

pub mod api_map;
pub mod app;
pub mod auth;
pub mod clock;
pub mod command;
pub mod config;
pub mod credential;
pub mod error;
pub mod functions;
pub mod guard;
pub mod health;
pub mod id_hash;
pub mod jose;
pub mod keyring;
pub mod listen;
pub mod net;
pub mod oidc;
pub mod origin;
pub mod os;
pub mod path;
pub mod places;
pub mod proxy;
pub mod reply;
pub mod routes;
pub mod secret;
pub mod server;
pub mod session;
pub mod spa;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod tokens;
pub mod upstream;
