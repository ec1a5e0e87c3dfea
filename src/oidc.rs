//! The relying party: discovery, keys, ID tokens, and the calls to the token endpoint.

pub mod client;
pub mod discovery;
pub mod grants;
pub mod http;
pub mod id_token;
pub mod jwks;
pub mod provider;
pub mod refresh;
mod signature;

pub use provider::Provider;
