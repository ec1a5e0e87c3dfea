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

/// Version 2, and the first part of version 3: this, [`Profile`], the refresh token, and the access tokens with API,
/// token, expiry and lifetime.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    id: [u8; 16],
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
/// not granted, the ID token, this, and [`Authentication`].
#[derive(Serialize, Deserialize)]
struct Handling<'a> {
    handle: Option<&'a [u8]>,
    persist: bool,
}

#[derive(Serialize, Deserialize)]
struct Authentication<'a, L> {
    acr: Option<&'a str>,
    amr: L,
    auth_time: Option<UnixSeconds>,
}

/// [`Authentication`] without claims, for version 2.
const NO_AUTHENTICATION: &[u8] = &[0, 0, 0];

impl Session {
    /// The binary form.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let User { sub, oid, tid, claims } = &self.user;
        let head = Head {
            id: self.id,
            generation: self.generation,
            signed_in_at: self.signed_in_at,
            active_at: self.active_at,
            sub,
            oid: oid.as_deref(),
            tid: tid.as_deref(),
        };
        let handling =
            Handling { handle: self.handle.as_ref().map(|key| key.expose().as_slice()), persist: self.persist };
        let tokens = self.access_tokens.iter();
        let tokens: Vec<_> =
            tokens.map(|held| (held.api.as_str(), pack(&held.token), held.expires_at, held.life)).collect();
        let bindings: Vec<_> = self.access_tokens.iter().map(|held| held.binding).collect();
        let first = (head, claims.profile(), self.refresh_token.as_deref().map(pack), tokens);
        let id_token = self.id_token.as_deref().map(pack);
        let origin = (&self.issuer, self.nonce_hash);
        binary::encode(
            &[VERSION],
            &(first, origin, bindings, &self.not_granted, id_token, handling, claims.authentication()),
        )
    }

    /// The session in a payload, unless anything of it is damaged or its version is not read.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (&version @ (2 | VERSION), bytes) = payload.split_first()? else { return None };
        let mut form = Reader(bytes);
        let head: Head<'_> = form.read()?;
        let profile = form.check::<Profile<'_, Each<&str>>>()?;
        let refresh_token = form.token()?;
        let mut access_tokens = Vec::new();
        for _ in 0..form.read::<usize>()? {
            let (api, token) = (form.read::<&str>()?.to_owned(), form.check::<Each<SegmentRef<'_>>>()?);
            let (expires_at, life) = form.read()?;
            access_tokens.push(AccessToken {
                api,
                token: Token::new(token.to_owned()),
                expires_at,
                life,
                binding: None,
            });
        }
        let user =
            User { sub: head.sub.to_owned(), oid: owned(head.oid), tid: owned(head.tid), claims: Packed::default() };
        let mut session = Self {
            generation: head.generation,
            active_at: head.active_at,
            refresh_token,
            access_tokens,
            ..Self::new(head.id, user, head.signed_in_at)
        };
        let authentication = if version == 2 { NO_AUTHENTICATION } else { form.complete(&mut session)? };
        session.user.claims = Packed::new([profile, authentication].concat());
        form.0.is_empty().then_some(session)
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

    /// A token, or none: an option is a boolean, and the value if that is true.
    fn token(&mut self) -> Option<Option<Token>> {
        if !self.read::<bool>()? {
            return Some(None);
        }
        let segments = self.check::<Each<SegmentRef<'_>>>()?;
        Some(Some(Token::new(segments.to_owned())))
    }

    /// Adds what version 2 lacks, unless the two parts do not belong together. Returns the bytes of the
    /// [`Authentication`].
    fn complete(&mut self, session: &mut Session) -> Option<&'a [u8]> {
        session.issuer = owned(self.read()?);
        session.nonce_hash = self.read()?;
        if self.read::<usize>()? != session.access_tokens.len() {
            return None;
        }
        for held in &mut session.access_tokens {
            held.binding = self.read()?;
        }
        session.not_granted = self.read()?;
        session.id_token = self.token()?;
        let Handling { handle, persist } = self.read()?;
        session.handle = match handle {
            Some(handle) => Some(Key32::new(handle.try_into().ok()?)),
            None => None,
        };
        session.persist = persist;
        self.check::<Authentication<'_, Each<&str>>>()
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
