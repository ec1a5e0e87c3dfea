//! The OpenID Connect relying party: discovery, claims profiles, token requests, client authentication.

pub mod acr;
pub mod claims;
pub mod client;
pub mod discovery;
#[cfg(test)]
mod drafts;
pub mod grants;
pub mod http;
pub mod id_token;
pub mod logout_token;
mod members;
pub mod provider;
pub mod refresh;
pub mod scopes;

pub use provider::Provider;
