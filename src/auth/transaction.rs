//! The login transaction: one sign-in in progress, sealed in a cookie of its own (contract 4.6 to 4.8).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{CryptoRng, RngExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::persist::Persist;
use crate::clock::UnixSeconds;
use crate::guard::return_to::ReturnTo;
use crate::keyring::Purpose;
use crate::oidc::acr::{AcrValues, MaxAge};
use crate::secret::SecretString;
use crate::session::Sessions;
use crate::session::binary;
use crate::session::cookie::LOGIN_SECONDS;
use crate::session::payload::SessionId;
use crate::session::sealer::UnsealError;

/// Version of the payload after the times. Versions 2 and 3 are read too (contract 5.8).
const VERSION: u8 = 4;
/// Characters of a transaction's ID: 8 bytes in base64url.
const ID: usize = 11;
/// Characters of a state: the ID, then 16 bytes in base64url.
const STATE: usize = ID + 22;
/// In microseconds.
const SECOND: u64 = 1_000_000;

/// What the callback needs of the sign-in that it completes.
#[derive(Clone)]
pub(super) struct Transaction {
    pub(super) state: State,
    /// Binds the ID token to this sign-in.
    pub(super) nonce: [u8; 16],
    /// Binds the code to this sign-in (RFC 7636).
    pub(super) verifier: Zeroizing<[u8; 32]>,
    /// Validated again by the callback, since the configuration may have changed.
    pub(super) return_to: String,
    /// The API that the code is exchanged for, by name.
    pub(super) api: Option<String>,
    /// The session that this sign-in replaces.
    pub(super) replaces: Option<SessionId>,
    /// The only `sub` that may complete this sign-in: the user whose call got the claims challenge (contract 7.32).
    pub(super) only_sub: Option<String>,
    /// What a challenge asked for: the user must have authenticated in one of these ways (contract 21.2).
    pub(super) required_acr: Option<AcrValues>,
    /// The `max_age` that was sent.
    pub(super) max_age: Option<MaxAge>,
    /// Whether the session is to outlast the browser session (contract 16.11).
    pub(super) persist: Persist,
    /// Start of the sign-in in microseconds since 1970, so that the oldest of several is removed first.
    pub(super) begun: u64,
    /// The provider that the browser was sent to (contract 7.5), as a hash. Version 2 has none.
    pub(super) issuer: Option<IssuerHash>,
}

/// Distinguishes the issuers of successive configurations; it proves nothing.
pub(super) type IssuerHash = [u8; 8];

/// The payload of version 4, with [`Persist`] after it, and of version 3, whose issuer is optional. Everything is as
/// short as it can be, so that ten transactions with return paths of 200 bytes fit 5,000 bytes of cookies (contract
/// 4.8). The ID is in the cookie's name, the second in the sealed times.
#[derive(Serialize, Deserialize)]
struct Form<'a, I> {
    secret: [u8; 16],
    nonce: [u8; 16],
    verifier: Zeroizing<[u8; 32]>,
    return_to: &'a str,
    api: Option<&'a str>,
    replaces: Option<SessionId>,
    only_sub: Option<&'a str>,
    begun_micros: u32,
    issuer: I,
    /// Empty for none.
    required_acr: &'a str,
    max_age: Option<u32>,
}

/// The payload of version 2.
#[derive(Deserialize)]
struct Version2 {
    state: State,
    nonce: String,
    verifier: Zeroizing<String>,
    return_to: String,
    api: Option<String>,
    replaces: Option<SessionId>,
    only_sub: Option<String>,
    begun: u64,
}

impl Transaction {
    /// A new sign-in with random values of its own (contract 7.5a). `begun`: microseconds since 1970.
    pub(super) fn new(return_to: &ReturnTo, issuer: &str, begun: u64, rng: &mut impl CryptoRng) -> Self {
        Self {
            state: State::new(&URL_SAFE_NO_PAD.encode(rng.random::<[u8; 8]>()), rng.random()),
            nonce: rng.random(),
            verifier: Zeroizing::new(rng.random()),
            return_to: return_to.as_str().to_owned(),
            api: None,
            replaces: None,
            only_sub: None,
            required_acr: None,
            max_age: None,
            persist: Persist::No,
            begun,
            issuer: Some(issuer_hash(issuer)),
        }
    }

    /// Start of the sign-in.
    pub(super) const fn begun_at(&self) -> UnixSeconds {
        self.begun / SECOND
    }

    pub(super) fn nonce(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.nonce)
    }

    pub(super) fn verifier(&self) -> SecretString {
        URL_SAFE_NO_PAD.encode(self.verifier.as_slice()).into()
    }

    /// Whether the sign-in began at this issuer. One without issuer counts as the configured issuer's.
    pub(super) fn is_for(&self, issuer: &str) -> bool {
        self.issuer.is_none_or(|of| of == issuer_hash(issuer))
    }

    /// The value of the transaction's cookie; `None` if no key seals.
    pub(super) async fn seal(&self, sessions: &Sessions, now: UnixSeconds) -> Option<String> {
        let name = sessions.cookies().login(self.state.id()).name;
        sessions.seal(Purpose::Login, &name, now + LOGIN_SECONDS, now, &self.encode()).await.ok()
    }

    /// The transaction that a callback's state names, if this browser began it.
    ///
    /// # Errors
    /// [`UnsealError`]. All but [`UnsealError::KeyUnavailable`] count as absent (contract 3.7).
    pub(super) async fn open(
        sessions: &Sessions,
        headers: &http::HeaderMap,
        state: &State,
        now: UnixSeconds,
    ) -> Result<Self, UnsealError> {
        let sealed = sessions.cookies().login_value(headers, state.id()).ok_or(UnsealError::Invalid)?;
        let name = sessions.cookies().login(state.id()).name;
        let opened = sessions.unseal(Purpose::Login, &name, sealed, now).await?;
        let transaction = Self::decode(opened.payload(), &name, opened.times.issued_at).ok_or(UnsealError::Invalid)?;
        let equal: bool = transaction.state.0.as_bytes().ct_eq(state.0.as_bytes()).into();
        if equal { Ok(transaction) } else { Err(UnsealError::Invalid) }
    }

    #[expect(clippy::expect_used, reason = "a remainder is small, and only what begins is sealed")]
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let form = Form {
            secret: self.state.secret(),
            nonce: self.nonce,
            verifier: self.verifier.clone(),
            return_to: &self.return_to,
            api: self.api.as_deref(),
            replaces: self.replaces,
            only_sub: self.only_sub.as_deref(),
            begun_micros: u32::try_from(self.begun % SECOND).expect("a second has a million microseconds"),
            issuer: self.issuer.expect("a sign-in begins at an issuer"),
            required_acr: self.required_acr.as_ref().map_or("", AcrValues::as_str),
            max_age: self.max_age.map(MaxAge::seconds),
        };
        binary::encode(&[VERSION], &(form, self.persist))
    }

    /// Decodes the payload of the cookie of this full name, which was sealed at `issued_at`.
    pub(super) fn decode(payload: &[u8], cookie: &str, issued_at: UnixSeconds) -> Option<Self> {
        match payload.split_first()? {
            (2, bytes) => Self::from_version_2(postcard::from_bytes(bytes).ok()?),
            (3, bytes) => {
                let form: Form<'_, Option<IssuerHash>> = postcard::from_bytes(bytes).ok()?;
                Self::from_form(form, Persist::No, cookie, issued_at)
            }
            (&VERSION, bytes) => {
                let (form, persist): (Form<'_, IssuerHash>, _) = postcard::from_bytes(bytes).ok()?;
                Self::from_form(form, persist, cookie, issued_at)
            }
            _ => None,
        }
    }

    fn from_form(
        form: Form<'_, impl Into<Option<IssuerHash>>>,
        persist: Persist,
        cookie: &str,
        issued_at: UnixSeconds,
    ) -> Option<Self> {
        let (_, id) = cookie.split_at_checked(cookie.len().checked_sub(ID)?)?;
        Some(Self {
            state: State::parse(State::new(id, form.secret).as_str())?,
            nonce: form.nonce,
            verifier: form.verifier,
            return_to: form.return_to.to_owned(),
            api: form.api.map(str::to_owned),
            replaces: form.replaces,
            only_sub: form.only_sub.map(str::to_owned),
            required_acr: AcrValues::parse(form.required_acr),
            max_age: form.max_age.and_then(MaxAge::new),
            persist,
            begun: issued_at.saturating_mul(SECOND).saturating_add(form.begun_micros.into()),
            issuer: form.issuer.into(),
        })
    }

    fn from_version_2(form: Version2) -> Option<Self> {
        let verifier = Zeroizing::new(URL_SAFE_NO_PAD.decode(form.verifier.as_str()).ok()?);
        Some(Self {
            state: form.state,
            nonce: URL_SAFE_NO_PAD.decode(form.nonce).ok()?.try_into().ok()?,
            verifier: Zeroizing::new(verifier.as_slice().try_into().ok()?),
            return_to: form.return_to,
            api: form.api,
            replaces: form.replaces,
            only_sub: form.only_sub,
            required_acr: None,
            max_age: None,
            persist: Persist::No,
            begun: form.begun,
            issuer: None,
        })
    }
}

#[expect(clippy::expect_used, reason = "a digest has 32 bytes")]
fn issuer_hash(issuer: &str) -> IssuerHash {
    *Sha256::digest(issuer).first_chunk().expect("a digest is longer than 8 bytes")
}

/// The `state` parameter: binds the callback to this browser, and begins with the transaction's ID.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct State(String);

impl State {
    fn new(id: &str, secret: [u8; 16]) -> Self {
        Self(id.to_owned() + &URL_SAFE_NO_PAD.encode(secret))
    }

    /// What follows the ID.
    #[expect(clippy::expect_used, reason = "both ways to make a state give base64url of 16 bytes here")]
    fn secret(&self) -> [u8; 16] {
        let text = self.0.get(ID..).expect("a state is longer than an ID");
        let bytes = URL_SAFE_NO_PAD.decode(text).expect("it is base64url");
        bytes.try_into().expect("22 characters are 16 bytes")
    }

    /// `None` if the text has not the form of a state of this gateway.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        // The last of 22 characters has 2 bits of the 16 bytes and 4 that are 0.
        let is_canonical = text.bytes().all(base64url) && text.ends_with(['A', 'Q', 'g', 'w']);
        (text.len() == STATE && is_canonical).then(|| Self(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID of the transaction, which is part of its cookie's name.
    #[expect(clippy::expect_used, reason = "both ways to make a state give this many ASCII characters")]
    pub(super) fn id(&self) -> &str {
        self.0.get(..ID).expect("a state is longer than an ID")
    }
}

impl TryFrom<String> for State {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("not a state")
    }
}

#[cfg(test)]
mod tests;
