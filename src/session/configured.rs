//! What a session must agree with to be used: the provider and the APIs that are configured now (contract 4.24b).
//!
//! A cookie outlives a change of the configuration. Without these checks a refresh token would go to another provider,
//! and an access token to another address than that it was issued for.

use std::sync::{Arc, OnceLock};

use super::payload::Session;
use crate::api_map::ApiMap;
use crate::oidc::discovery::Authority;

/// Provider and APIs. It needs no metadata, so that a provider that is down changes nothing.
#[derive(Debug)]
pub struct Configured {
    authority: Authority,
    apis: Arc<ApiMap>,
    /// The issuer of the sessions here, once there was one: parsing it for each request would cost more.
    issuer: OnceLock<String>,
}

impl Configured {
    #[must_use]
    pub const fn new(authority: Authority, apis: Arc<ApiMap>) -> Self {
        Self { authority, apis, issuer: OnceLock::new() }
    }

    /// Whether a session is of the configured issuer. One of payload version 2 has no issuer and counts as that.
    pub(super) fn is_issuer_of(&self, session: &Session) -> bool {
        let Some(issuer) = &session.issuer else { return true };
        if !self.authority.takes_tenant(session.user.tid.as_deref()) {
            return false;
        }
        if self.issuer.get() == Some(issuer) {
            return true;
        }
        let is_accepted = self.authority.is_issuer(issuer);
        if is_accepted {
            self.issuer.get_or_init(|| issuer.clone());
        }
        is_accepted
    }

    /// Removes the access tokens that were issued for another base, other scopes or another resource than their API
    /// has now, and those of APIs that are not in the map any more. Those of payload version 2 say nothing about that.
    pub(super) fn remove_other_tokens(&self, session: &mut Session) {
        session
            .access_tokens
            .retain(|token| self.apis.get(&token.api).is_some_and(|api| token.binding == Some(api.binding)));
    }
}

#[cfg(test)]
impl Configured {
    /// With these APIs, for tests.
    pub(crate) fn with(apis: Arc<ApiMap>) -> Self {
        use crate::oidc::discovery::Tenants;
        let url = url::Url::parse("https://login.example").unwrap();
        Self::new(Authority { url, tenants: Tenants::Unchecked }, apis)
    }
}

#[cfg(test)]
mod tests;
