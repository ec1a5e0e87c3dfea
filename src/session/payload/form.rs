//! The binary form of a session (contract 5.8): a version byte, then the parts below in their order, by postcard.

use std::marker::PhantomData;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use zeroize::Zeroizing;

use super::token::{SegmentRef, pack};
use super::{AccessToken, Claims, Session, Token, User};
use crate::clock::UnixSeconds;
use crate::secret::Key32;
use crate::session::binary;
use crate::session::packed::{Packed, Unpack};

/// The version that is written. Version 2 is still read; any other is an invalid session, never an error.
const VERSION: u8 = 3;

/// Version 2, and the first part of version 3: the ID, this, [`Profile`], the refresh token, and the access tokens with
/// API, token, expiry and lifetime.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    generation: u64,
    signed_in_at: UnixSeconds,
    active_at: UnixSeconds,
    sub: &'a str,
    oid: Option<&'a str>,
    tid: Option<&'a str>,
}

/// The claims that version 2 has, too. `L` is a list of texts: [`Vec`], or [`Each`] to check it.
#[derive(Serialize, Deserialize)]
struct Profile<'a, L> {
    name: Option<&'a str>,
    preferred_username: Option<&'a str>,
    email: Option<&'a str>,
    roles: L,
    login_hint: Option<&'a str>,
    provider_sid: Option<&'a str>,
}

/// What version 3 adds: issuer, hash of the nonce, one binding for each access token in their order, scopes that were
/// not granted, the ID token, handle, whether it persists, and [`Authentication`].
struct Extension<'a> {
    issuer: Option<&'a str>,
    nonce_hash: Option<[u8; 8]>,
    not_granted: Vec<String>,
    id_token: Option<Token>,
    handle: Option<Key32>,
    persist: bool,
    /// The bytes of an [`Authentication`].
    authentication: &'a [u8],
}

impl Extension<'_> {
    /// For version 2.
    const NONE: Self = Self {
        issuer: None,
        nonce_hash: None,
        not_granted: Vec::new(),
        id_token: None,
        handle: None,
        persist: false,
        authentication: &[0, 0, 0],
    };
}

#[derive(Serialize, Deserialize)]
struct Authentication<'a, L> {
    acr: Option<&'a str>,
    amr: L,
    auth_time: Option<UnixSeconds>,
}

impl Session {
    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let User { sub, oid, tid, claims } = &self.user;
        let head = Head {
            generation: self.generation,
            signed_in_at: self.signed_in_at,
            active_at: self.active_at,
            sub,
            oid: oid.as_deref(),
            tid: tid.as_deref(),
        };
        let tokens = self.access_tokens.iter();
        let tokens: Vec<_> =
            tokens.map(|held| (held.api.as_str(), pack(&held.token), held.expires_at, held.life)).collect();
        let bindings: Vec<_> = self.access_tokens.iter().map(|held| held.binding).collect();
        let first = (self.id, head, claims.profile(), self.refresh_token.as_deref().map(pack), tokens);
        let id_token = self.id_token.as_deref().map(pack);
        let origin = (&self.issuer, self.nonce_hash);
        let handle = self.handle.as_ref().map(|handle| handle.expose().as_slice());
        let last = (handle, self.persist, claims.authentication());
        binary::encode(&[VERSION], &(first, origin, bindings, &self.not_granted, id_token, last))
    }

    /// The session in a payload, unless anything of it is damaged or its version is not read.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (&version @ (2 | VERSION), bytes) = payload.split_first()? else { return None };
        let mut form = Reader(bytes);
        let (id, head): (_, Head<'_>) = (form.array()?, form.read()?);
        let profile = form.check::<Profile<'_, Each<&str>>>()?;
        let refresh_token = form.option(Reader::token)?;
        let mut access_tokens = form.access_tokens()?;
        let extension = if version == 2 { Extension::NONE } else { form.extension(&mut access_tokens)? };
        if !form.0.is_empty() {
            return None;
        }
        let claims = Packed::new([profile, extension.authentication].concat());
        Some(Self {
            id,
            generation: head.generation,
            signed_in_at: head.signed_in_at,
            active_at: head.active_at,
            user: User { sub: head.sub.to_owned(), oid: owned(head.oid), tid: owned(head.tid), claims },
            refresh_token,
            access_tokens,
            issuer: owned(extension.issuer),
            nonce_hash: extension.nonce_hash,
            not_granted: extension.not_granted,
            id_token: extension.id_token,
            handle: extension.handle,
            persist: extension.persist,
        })
    }
}

impl Claims {
    fn profile(&self) -> Profile<'_, &[String]> {
        Profile {
            name: self.name.as_deref(),
            preferred_username: self.preferred_username.as_deref(),
            email: self.email.as_deref(),
            roles: &self.roles,
            login_hint: self.login_hint.as_deref(),
            provider_sid: self.provider_sid.as_deref(),
        }
    }

    fn authentication(&self) -> Authentication<'_, &[String]> {
        Authentication { acr: self.acr.as_deref(), amr: &self.amr, auth_time: self.auth_time }
    }
}

impl Unpack for Claims {
    #[expect(clippy::expect_used, reason = "`Session::decode` checks the same parts before")]
    fn unpack(bytes: &[u8]) -> Self {
        let (profile, authentication): (Profile<'_, Vec<String>>, Authentication<'_, Vec<String>>) =
            postcard::from_bytes(bytes).expect("the bytes of claims are checked before they are packed in");
        Self {
            name: owned(profile.name),
            preferred_username: owned(profile.preferred_username),
            email: owned(profile.email),
            roles: profile.roles,
            login_hint: owned(profile.login_hint),
            provider_sid: owned(profile.provider_sid),
            acr: owned(authentication.acr),
            amr: authentication.amr,
            auth_time: authentication.auth_time,
        }
    }
}

fn owned(text: Option<&str>) -> Option<String> {
    text.map(str::to_owned)
}

/// Reads a binary form part by part.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn read<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let (value, rest) = postcard::take_from_bytes(self.0).ok()?;
        self.0 = rest;
        Some(value)
    }

    /// The bytes of a value, if it can be read.
    fn check<T: Deserialize<'a>>(&mut self) -> Option<&'a [u8]> {
        let before = self.0;
        self.read::<T>()?;
        before.get(..before.len() - self.0.len())
    }

    /// An option is a boolean, and the value if that is true.
    fn option<T>(&mut self, value: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.read()? { value(self).map(Some) } else { Some(None) }
    }

    /// An array of bytes, which serde would read one by one.
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn token(&mut self) -> Option<Token> {
        self.check::<Each<SegmentRef<'_>>>().map(|segments| Token::new(segments.to_owned()))
    }

    fn access_tokens(&mut self) -> Option<Vec<AccessToken>> {
        let mut access_tokens = Vec::new();
        for _ in 0..self.read::<usize>()? {
            let (api, token) = (self.read::<&str>()?.to_owned(), self.token()?);
            let (expires_at, life) = self.read()?;
            access_tokens.push(AccessToken { api, token, expires_at, life, binding: None });
        }
        Some(access_tokens)
    }

    /// What version 3 adds, unless it does not belong to these access tokens.
    fn extension(&mut self, access_tokens: &mut [AccessToken]) -> Option<Extension<'a>> {
        let (issuer, nonce_hash) = (self.read()?, self.option(Reader::array)?);
        if self.read::<usize>()? != access_tokens.len() {
            return None;
        }
        for held in access_tokens {
            held.binding = self.option(Reader::array)?;
        }
        let (not_granted, id_token) = (self.read()?, self.option(Reader::token)?);
        let (handle, persist): (Option<&[u8]>, _) = self.read()?;
        let handle = match handle {
            Some(handle) => Some(Key32::new(handle.try_into().ok()?)),
            None => None,
        };
        let authentication = self.check::<Authentication<'_, Each<&str>>>()?;
        Some(Extension { issuer, nonce_hash, not_granted, id_token, handle, persist, authentication })
    }
}

/// A list whose elements are checked and not kept.
struct Each<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Each<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(Self(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<T> {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<T>()?.is_some() {}
        Ok(self)
    }
}
