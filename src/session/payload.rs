//! What a session holds. Its binary form (`form.rs`) is checked as a whole when a session is opened, and what a call
//! does not need of it stays packed ([`Packed`]).

mod form;
mod reader;
mod token;

use super::packed::Packed;
use crate::clock::UnixSeconds;
use crate::secret::{ExposeSecret, Key32};
pub use token::{Token, pack_token, unpack_token};

/// 16 random bytes that identify a session for its life.
pub type SessionId = [u8; 16];

/// A session: who signed in, and the tokens.
#[derive(Debug, Clone)]
pub struct Session {
    /// New at every sign-in.
    pub id: SessionId,
    /// Incremented by every write (contract 4.21).
    pub generation: u64,
    /// When the user signed in.
    pub signed_in_at: UnixSeconds,
    /// The last activity that was written.
    pub active_at: UnixSeconds,
    /// Who signed in.
    pub user: User,
    /// Gets new access tokens, where the provider issued one.
    pub refresh_token: Option<Token>,
    /// Access tokens, at most one for each API.
    pub access_tokens: Vec<AccessToken>,
    /// The `issuer` of the provider's metadata at the sign-in (contract 4.24b).
    pub issuer: Option<String>,
    /// [`crate::oidc::claims::nonce_hash`] of the sign-in's nonce (contract 7.4).
    pub nonce_hash: Option<[u8; 8]>,
    /// Scopes of `SCOPES` that a token response left out as not granted (contract 7.22).
    pub not_granted: Vec<String>,
    /// For sign-out, if the provider requires it there (contract 12.22).
    pub id_token: Option<Token>,
    /// 32 random bytes that identify the session in a store (contract 15.17).
    pub handle: Option<Key32>,
    /// Whether the browser keeps the cookie after its own session (contract 16.11).
    pub persist: bool,
}

/// Who signed in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Identifies the user for this client.
    pub sub: String,
    /// Identifies the user in the tenant.
    pub oid: Option<String>,
    /// The tenant.
    pub tid: Option<String>,
    /// What no call needs.
    pub claims: Packed<Claims>,
}

/// The other claims that a session keeps of the ID token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// A name to show.
    pub name: Option<String>,
    /// The name that the user signs in with; does not identify the user.
    pub preferred_username: Option<String>,
    /// An address; does not identify the user.
    pub email: Option<String>,
    /// App roles.
    pub roles: Vec<String>,
    /// Sent to the provider as `logout_hint`.
    pub login_hint: Option<String>,
    /// The provider's own session ID.
    pub provider_sid: Option<String>,
    /// Authentication context class (contract 21.3).
    pub acr: Option<String>,
    /// Authentication methods (contract 21.3).
    pub amr: Vec<String>,
    /// When the user authenticated at the provider (contract 21.3).
    pub auth_time: Option<UnixSeconds>,
}

/// An access token for one API.
#[derive(Debug, Clone)]
pub struct AccessToken {
    /// The API's name in the API map.
    pub api: String,
    /// What follows `Bearer` in a request.
    pub token: Token,
    /// The first second in which it has expired.
    pub expires_at: UnixSeconds,
    /// Its lifetime when it was issued, in seconds.
    pub life: u64,
    /// A hash of the base, scopes and resource of the API that it was issued for (contract 4.24b).
    pub binding: Option<[u8; 8]>,
}

impl AccessToken {
    /// Whether it has expired.
    #[must_use]
    pub const fn is_expired(&self, now: UnixSeconds) -> bool {
        now >= self.expires_at
    }

    /// Whether it is the same token for the same API.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.api == other.api && self.token.expose_secret() == other.token.expose_secret()
    }

    /// Whether it is good for a call without a refresh (contract 7.10): `skew` seconds must be left, but never more
    /// than half its lifetime.
    #[must_use]
    pub fn is_fresh(&self, now: UnixSeconds, skew: u64) -> bool {
        let required = skew.min(self.life / 2).max(1);
        now.saturating_add(required) <= self.expires_at
    }
}

impl Session {
    /// A session of a user, without tokens.
    #[must_use]
    pub const fn new(id: SessionId, user: User, now: UnixSeconds) -> Self {
        Self {
            id,
            generation: 0,
            signed_in_at: now,
            active_at: now,
            user,
            refresh_token: None,
            access_tokens: Vec::new(),
            issuer: None,
            nonce_hash: None,
            not_granted: Vec::new(),
            id_token: None,
            handle: None,
            persist: false,
        }
    }

    /// Adds an access token, in place of the one for the same API.
    pub fn put_access_token(&mut self, token: AccessToken) {
        self.access_tokens.retain(|held| held.api != token.api);
        self.access_tokens.push(token);
    }

    /// Leaves what identifies the session and its user.
    pub fn remove_tokens(&mut self) {
        (self.refresh_token, self.id_token) = (None, None);
        self.access_tokens = Vec::new();
    }

    /// Takes out the largest access token, if the refresh token can get it again (contract 4.15).
    pub fn take_largest_access_token(&mut self) -> Option<AccessToken> {
        self.refresh_token.as_ref()?;
        let size = |(_, held): &(usize, &AccessToken)| held.token.expose_secret().len();
        let (largest, _) = self.access_tokens.iter().enumerate().max_by_key(size)?;
        Some(self.access_tokens.swap_remove(largest))
    }

    /// The access token for an API, unless it has expired.
    #[must_use]
    pub fn access_token(&self, api: &str, now: UnixSeconds) -> Option<&AccessToken> {
        self.access_tokens.iter().find(|held| held.api == api && !held.is_expired(now))
    }
}

#[cfg(test)]
mod tests;
