//! What a session holds, and its binary form (contract 5.8).
//!
//! Tokens are mostly base64url: packing them to raw bytes before sealing saves a quarter of the cookie (contract 5.14).

use base64::Engine;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::base64url::BASE64URL;
use super::binary;
use crate::clock::UnixSeconds;
use crate::secret::{ExposeSecret, Key32, SecretString};

/// The version that is written. Version 2 is still read; any other is an invalid session, never an error.
const VERSION: u8 = 3;

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
    pub refresh_token: Option<SecretString>,
    /// Access tokens, at most one for each API.
    pub access_tokens: Vec<AccessToken>,
    /// The `issuer` of the provider's metadata at the sign-in (contract 4.24b).
    pub issuer: Option<String>,
    /// [`crate::oidc::claims::nonce_hash`] of the sign-in's nonce (contract 7.4).
    pub nonce_hash: Option<[u8; 8]>,
    /// Scopes of `SCOPES` that a token response left out as not granted (contract 7.22).
    pub not_granted: Vec<String>,
    /// For sign-out, if the provider requires it there (contract 12.22).
    pub id_token: Option<SecretString>,
    /// 32 random bytes that identify the session in a store (contract 15.17).
    pub handle: Option<Key32>,
    /// Whether the browser keeps the cookie after its own session (contract 16.11).
    pub persist: bool,
}

/// The claims that a session keeps of the ID token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User {
    /// Identifies the user for this client.
    pub sub: String,
    /// Identifies the user in the tenant.
    pub oid: Option<String>,
    /// The tenant.
    pub tid: Option<String>,
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
    pub token: SecretString,
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

/// Version 2, and the first part of version 3. `S` is a segment of a token, the text between two dots: [`SegmentOut`]
/// in what is written, [`SegmentRef`] in what is read, which copies nothing.
#[derive(Serialize, Deserialize)]
struct Base<'a, S> {
    id: SessionId,
    generation: u64,
    signed_in_at: UnixSeconds,
    active_at: UnixSeconds,
    #[serde(borrow)]
    user: BaseUser<'a>,
    refresh_token: Option<Vec<S>>,
    /// API, token, expiry, lifetime.
    access_tokens: Vec<(&'a str, Vec<S>, UnixSeconds, u64)>,
}

#[derive(Serialize, Deserialize)]
struct BaseUser<'a> {
    sub: &'a str,
    oid: Option<&'a str>,
    tid: Option<&'a str>,
    name: Option<&'a str>,
    preferred_username: Option<&'a str>,
    email: Option<&'a str>,
    #[serde(borrow)]
    roles: Vec<&'a str>,
    login_hint: Option<&'a str>,
    provider_sid: Option<&'a str>,
}

/// What version 3 adds.
#[derive(Serialize, Deserialize)]
struct Extension<'a, S> {
    issuer: Option<&'a str>,
    nonce_hash: Option<[u8; 8]>,
    /// One for each access token, in their order.
    bindings: Vec<Option<[u8; 8]>>,
    #[serde(borrow)]
    not_granted: Vec<&'a str>,
    id_token: Option<Vec<S>>,
    handle: Option<&'a [u8]>,
    persist: bool,
    acr: Option<&'a str>,
    amr: Vec<&'a str>,
    auth_time: Option<UnixSeconds>,
}

#[derive(Serialize)]
enum SegmentOut<'a> {
    Bytes(Zeroizing<Vec<u8>>),
    Text(&'a str),
}

#[derive(Deserialize)]
enum SegmentRef<'a> {
    Bytes(&'a [u8]),
    Text(&'a str),
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

    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        binary::encode(&[VERSION], &(self.base(), self.extension()))
    }

    fn base(&self) -> Base<'_, SegmentOut<'_>> {
        let user = &self.user;
        Base {
            id: self.id,
            generation: self.generation,
            signed_in_at: self.signed_in_at,
            active_at: self.active_at,
            user: BaseUser {
                sub: &user.sub,
                oid: user.oid.as_deref(),
                tid: user.tid.as_deref(),
                name: user.name.as_deref(),
                preferred_username: user.preferred_username.as_deref(),
                email: user.email.as_deref(),
                roles: user.roles.iter().map(String::as_str).collect(),
                login_hint: user.login_hint.as_deref(),
                provider_sid: user.provider_sid.as_deref(),
            },
            refresh_token: self.refresh_token.as_ref().map(pack),
            access_tokens: self
                .access_tokens
                .iter()
                .map(|held| (held.api.as_str(), pack(&held.token), held.expires_at, held.life))
                .collect(),
        }
    }

    fn extension(&self) -> Extension<'_, SegmentOut<'_>> {
        Extension {
            issuer: self.issuer.as_deref(),
            nonce_hash: self.nonce_hash,
            bindings: self.access_tokens.iter().map(|held| held.binding).collect(),
            not_granted: self.not_granted.iter().map(String::as_str).collect(),
            id_token: self.id_token.as_ref().map(pack),
            handle: self.handle.as_ref().map(|handle| handle.expose().as_slice()),
            persist: self.persist,
            acr: self.user.acr.as_deref(),
            amr: self.user.amr.iter().map(String::as_str).collect(),
            auth_time: self.user.auth_time,
        }
    }

    /// The session in a payload, unless it is damaged or of a version that is not read.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (&version @ (2 | VERSION), bytes) = payload.split_first()? else { return None };
        let (base, rest): (Base<'_, SegmentRef<'_>>, _) = postcard::take_from_bytes(bytes).ok()?;
        let (extension, rest): (Option<Extension<'_, SegmentRef<'_>>>, _) = match version {
            VERSION => postcard::take_from_bytes(rest).map(|(extension, rest)| (Some(extension), rest)).ok()?,
            _ => (None, rest),
        };
        let mut session = base.into_session();
        if let Some(extension) = extension {
            extension.complete(&mut session)?;
        }
        rest.is_empty().then_some(session)
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

impl Base<'_, SegmentRef<'_>> {
    fn into_session(self) -> Session {
        let user = User {
            sub: self.user.sub.to_owned(),
            oid: self.user.oid.map(str::to_owned),
            tid: self.user.tid.map(str::to_owned),
            name: self.user.name.map(str::to_owned),
            preferred_username: self.user.preferred_username.map(str::to_owned),
            email: self.user.email.map(str::to_owned),
            roles: owned(&self.user.roles),
            login_hint: self.user.login_hint.map(str::to_owned),
            provider_sid: self.user.provider_sid.map(str::to_owned),
            ..User::default()
        };
        let access_token = |(api, token, expires_at, life): &(&str, Vec<SegmentRef<'_>>, UnixSeconds, u64)| {
            let (expires_at, life) = (*expires_at, *life);
            AccessToken { api: (*api).to_owned(), token: unpack(token), expires_at, life, binding: None }
        };
        Session {
            generation: self.generation,
            active_at: self.active_at,
            refresh_token: self.refresh_token.as_deref().map(unpack),
            access_tokens: self.access_tokens.iter().map(access_token).collect(),
            ..Session::new(self.id, user, self.signed_in_at)
        }
    }
}

impl Extension<'_, SegmentRef<'_>> {
    /// Adds what version 2 lacks, unless the two parts do not belong together.
    fn complete(self, session: &mut Session) -> Option<()> {
        if self.bindings.len() != session.access_tokens.len() {
            return None;
        }
        for (held, binding) in session.access_tokens.iter_mut().zip(self.bindings) {
            held.binding = binding;
        }
        session.issuer = self.issuer.map(str::to_owned);
        session.nonce_hash = self.nonce_hash;
        session.not_granted = owned(&self.not_granted);
        session.id_token = self.id_token.as_deref().map(unpack);
        session.handle = match self.handle {
            Some(handle) => Some(Key32::new(handle.try_into().ok()?)),
            None => None,
        };
        session.persist = self.persist;
        session.user.acr = self.acr.map(str::to_owned);
        session.user.amr = owned(&self.amr);
        session.user.auth_time = self.auth_time;
        Some(())
    }
}

/// The binary form of a token outside a session.
#[must_use]
pub fn pack_token(token: &SecretString) -> Zeroizing<Vec<u8>> {
    binary::encode(&[], &pack(token))
}

/// The token of [`pack_token`], unless the bytes are damaged.
#[must_use]
pub fn unpack_token(bytes: &[u8]) -> Option<SecretString> {
    postcard::from_bytes::<Vec<SegmentRef<'_>>>(bytes).ok().map(|segments| unpack(&segments))
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn pack(token: &SecretString) -> Vec<SegmentOut<'_>> {
    let segment = |text| match BASE64URL.decode(text) {
        Ok(bytes) => SegmentOut::Bytes(Zeroizing::new(bytes)),
        Err(_) => SegmentOut::Text(text),
    };
    token.expose_secret().split('.').map(segment).collect()
}

fn unpack(segments: &[SegmentRef<'_>]) -> SecretString {
    let length = |segment: &SegmentRef<'_>| match segment {
        SegmentRef::Bytes(bytes) => (bytes.len() * 4).div_ceil(3),
        SegmentRef::Text(text) => text.len(),
    };
    // Allocated once, so that no copy of the token is left behind by a string that grows.
    let dots = segments.len().saturating_sub(1);
    let mut token = String::with_capacity(segments.iter().map(length).sum::<usize>() + dots);
    for (position, segment) in segments.iter().enumerate() {
        if position > 0 {
            token.push('.');
        }
        match segment {
            SegmentRef::Bytes(bytes) => BASE64URL.encode_string(bytes, &mut token),
            SegmentRef::Text(text) => token.push_str(text),
        }
    }
    token.into()
}

#[cfg(test)]
mod tests;
