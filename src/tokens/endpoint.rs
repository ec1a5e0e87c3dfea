//! The token endpoint of the provider, as far as refreshes need it.

use std::fmt;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use crate::clock::Clock;
use crate::oidc::Provider;
use crate::oidc::grants::TokenResponse;
use crate::oidc::id_token::Subject;
use crate::oidc::refresh::{Refreshed, Scopes};
use crate::secret::SecretString;

/// Implemented by the provider, and by doubles in tests.
pub trait TokenEndpoint: Send + Sync + fmt::Debug {
    /// Obtains new tokens. Failures are logged.
    fn refresh<'a>(
        &'a self,
        refresh_token: &'a SecretString,
        scopes: Scopes<'a>,
        resource: Option<&'a str>,
        subject: Subject<'a>,
        clock: Clock<'a>,
    ) -> BoxFuture<'a, Refreshed<TokenResponse>>;

    /// Revokes a refresh token, where the provider supports that. A failure is logged.
    fn revoke<'a>(&'a self, refresh_token: &'a SecretString) -> BoxFuture<'a, ()>;
}

impl TokenEndpoint for Provider {
    fn refresh<'a>(
        &'a self,
        refresh_token: &'a SecretString,
        scopes: Scopes<'a>,
        resource: Option<&'a str>,
        subject: Subject<'a>,
        clock: Clock<'a>,
    ) -> BoxFuture<'a, Refreshed<TokenResponse>> {
        Self::refresh(self, refresh_token, scopes, resource, subject, clock).boxed()
    }

    fn revoke<'a>(&'a self, refresh_token: &'a SecretString) -> BoxFuture<'a, ()> {
        Self::revoke(self, refresh_token).boxed()
    }
}
