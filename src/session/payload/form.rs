//! The binary form of a session (contract 5.8): a version byte, then the parts below in their order, by postcard.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::reader::Reader;
use super::token::pack;
use super::{AccessToken, Claims, Session, Token, User};
use crate::clock::UnixSeconds;
use crate::secret::Key32;
use crate::session::binary;
use crate::session::packed::{Packed, Unpack};

/// The version that is written. Version 2 is still read; any other is an invalid session, never an error.
const VERSION: u8 = 3;

/// Version 2, and the first part of version 3: the ID, this, [`Profile`], the refresh token, and the access tokens with
/// API, token, expiry and lifetime.
#[derive(Serialize)]
struct Head<'a> {
    generation: u64,
    signed_in_at: UnixSeconds,
    active_at: UnixSeconds,
    sub: &'a str,
    oid: Option<&'a str>,
    tid: Option<&'a str>,
}

/// The claims that version 2 has, too. `L` is a list of texts.
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
    issuer: Option<String>,
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
        let id = form.array()?;
        let (generation, signed_in_at, active_at) = (form.u64()?, form.u64()?, form.u64()?);
        let (sub, oid, tid) = (form.string()?, form.option(Reader::string)?, form.option(Reader::string)?);
        let profile = form.skip(skip_profile)?;
        let refresh_token = form.option(token)?;
        let mut access_tokens = form.list(access_token)?;
        let extension = if version == 2 { Extension::NONE } else { extension(&mut form, &mut access_tokens)? };
        if !form.0.is_empty() {
            return None;
        }
        let claims = Packed::new([profile, extension.authentication].concat());
        Some(Self {
            id,
            generation,
            signed_in_at,
            active_at,
            user: User { sub, oid, tid, claims },
            refresh_token,
            access_tokens,
            issuer: extension.issuer,
            nonce_hash: extension.nonce_hash,
            not_granted: extension.not_granted,
            id_token: extension.id_token,
            handle: extension.handle,
            persist: extension.persist,
        })
    }
}

/// Passes over a [`Profile`].
fn skip_profile(form: &mut Reader<'_>) -> Option<()> {
    for _name in 0..3 {
        form.option(Reader::skip_text)?;
    }
    form.skip_list(Reader::skip_text)?;
    form.option(Reader::skip_text)?;
    form.option(Reader::skip_text)?;
    Some(())
}

/// Passes over an [`Authentication`].
fn skip_authentication(form: &mut Reader<'_>) -> Option<()> {
    form.option(Reader::skip_text)?;
    form.skip_list(Reader::skip_text)?;
    form.option(Reader::u64)?;
    Some(())
}

/// A token, which stays packed.
fn token(form: &mut Reader<'_>) -> Option<Token> {
    form.skip(Reader::skip_segments).map(|segments| Token::new(segments.to_vec()))
}

fn access_token(form: &mut Reader<'_>) -> Option<AccessToken> {
    let (api, token) = (form.string()?, token(form)?);
    Some(AccessToken { api, token, expires_at: form.u64()?, life: form.u64()?, binding: None })
}

/// What version 3 adds, unless it does not belong to these access tokens.
fn extension<'a>(form: &mut Reader<'a>, access_tokens: &mut [AccessToken]) -> Option<Extension<'a>> {
    let (issuer, nonce_hash) = (form.option(Reader::string)?, form.option(Reader::array)?);
    if form.length()? != access_tokens.len() {
        return None;
    }
    for held in access_tokens {
        held.binding = form.option(Reader::array)?;
    }
    let (not_granted, id_token) = (form.list(Reader::string)?, form.option(token)?);
    let handle = form.option(|form| form.bytes()?.try_into().ok().map(Key32::new))?;
    let persist = form.bool()?;
    let authentication = form.skip(skip_authentication)?;
    Some(Extension { issuer, nonce_hash, not_granted, id_token, handle, persist, authentication })
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
