//! The login transaction: one sign-in in progress, sealed in a cookie of its own (contract 4.6 to 4.8).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{CryptoRng, RngExt};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::clock::UnixSeconds;
use crate::guard::return_to::ReturnTo;
use crate::keyring::Purpose;
use crate::oidc::acr::{AcrValues, MaxAge};
use crate::secret::SecretString;
use crate::session::Sessions;
use crate::session::cookie::LOGIN_SECONDS;
use crate::session::payload::SessionId;
use crate::session::sealer::UnsealError;

/// Version of the payload after the times. Version 2 is read too (contract 5.8).
const VERSION: u8 = 3;
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
    /// Start of the sign-in in microseconds since 1970, so that the oldest of several is removed first.
    pub(super) begun: u64,
    /// The provider that the browser was sent to (contract 7.5), as a hash. Version 2 has none.
    pub(super) issuer: Option<IssuerHash>,
}

/// Distinguishes the issuers of successive configurations; it proves nothing.
pub(super) type IssuerHash = [u8; 8];

/// The payload of version 3. Everything is as short as it can be, so that ten transactions with return paths of 200
/// bytes fit 5,000 bytes of cookies (contract 4.8). The ID is in the cookie's name, the second in the sealed times.
#[derive(Serialize, Deserialize)]
struct Version3<'a> {
    secret: [u8; 16],
    nonce: [u8; 16],
    verifier: [u8; 32],
    return_to: &'a str,
    api: Option<&'a str>,
    replaces: Option<SessionId>,
    only_sub: Option<&'a str>,
    begun_micros: u32,
    issuer: Option<IssuerHash>,
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
        URL_SAFE_NO_PAD.encode(*self.verifier).into()
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

    #[expect(clippy::expect_used, reason = "a Vec grows as needed, and no field has a serializer that fails")]
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let form = Version3 {
            secret: self.state.secret(),
            nonce: self.nonce,
            verifier: *self.verifier,
            return_to: &self.return_to,
            api: self.api.as_deref(),
            replaces: self.replaces,
            only_sub: self.only_sub.as_deref(),
            begun_micros: u32::try_from(self.begun % SECOND).expect("a second has a million microseconds"),
            issuer: self.issuer,
            required_acr: self.required_acr.as_ref().map(AcrValues::as_str).unwrap_or_default(),
            max_age: self.max_age.map(MaxAge::seconds),
        };
        Zeroizing::new(postcard::to_extend(&form, vec![VERSION]).expect("bytes, strings and numbers serialize"))
    }

    /// Decodes the payload of the cookie of this full name, which was sealed at `issued_at`.
    pub(super) fn decode(payload: &[u8], cookie: &str, issued_at: UnixSeconds) -> Option<Self> {
        match payload.split_first()? {
            (2, bytes) => Self::from_version_2(postcard::from_bytes(bytes).ok()?),
            (&VERSION, bytes) => {
                let form: Version3<'_> = postcard::from_bytes(bytes).ok()?;
                let (_, id) = cookie.split_at_checked(cookie.len().checked_sub(ID)?)?;
                Some(Self {
                    state: State::parse(State::new(id, form.secret).as_str())?,
                    nonce: form.nonce,
                    verifier: Zeroizing::new(form.verifier),
                    return_to: form.return_to.to_owned(),
                    api: form.api.map(str::to_owned),
                    replaces: form.replaces,
                    only_sub: form.only_sub.map(str::to_owned),
                    required_acr: AcrValues::parse(form.required_acr),
                    max_age: form.max_age.and_then(MaxAge::new),
                    begun: issued_at.saturating_mul(SECOND).saturating_add(form.begun_micros.into()),
                    issuer: form.issuer,
                })
            }
            _ => None,
        }
    }

    fn from_version_2(form: Version2) -> Option<Self> {
        Some(Self {
            state: form.state,
            nonce: URL_SAFE_NO_PAD.decode(form.nonce).ok()?.try_into().ok()?,
            verifier: Zeroizing::new(URL_SAFE_NO_PAD.decode(form.verifier.as_str()).ok()?.try_into().ok()?),
            return_to: form.return_to,
            api: form.api,
            replaces: form.replaces,
            only_sub: form.only_sub,
            required_acr: None,
            max_age: None,
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
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::origin::Origin;
    use crate::secret::ExposeSecret;

    const NOW: u64 = 1_790_000_000;
    const ISSUER: &str = "https://login.example/realm";

    fn transaction(seed: u64) -> Transaction {
        let return_to = ReturnTo::parse("/inbox?a=b", &Origin::parse("https://app.example.org").unwrap(), &[]).unwrap();
        Transaction::new(&return_to, ISSUER, NOW * SECOND + 70_000, &mut StdRng::seed_from_u64(seed))
    }

    fn cookie(transaction: &Transaction) -> String {
        format!("__Host-Http-cloakroom-login-{}", transaction.state.id())
    }

    #[test]
    fn every_sign_in_has_its_own_random_values() {
        let (one, same, other) = (transaction(1), transaction(1), transaction(2));
        assert_eq!(one.state.0, same.state.0, "all randomness comes from the generator");
        let values = |of: &Transaction| {
            let (id, secret) = of.state.0.split_at(ID);
            [id.to_owned(), secret.to_owned(), of.nonce(), URL_SAFE_NO_PAD.encode(*of.verifier)]
        };
        let mut all: Vec<String> = values(&one).into_iter().chain(values(&other)).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
    }

    #[test]
    fn a_payload_decodes_to_the_same_transaction() {
        let one = Transaction {
            api: Some("graph".to_owned()),
            replaces: Some([7; 16]),
            only_sub: Some("ada".to_owned()),
            required_acr: AcrValues::parse("c1 c2"),
            max_age: MaxAge::new(300),
            ..transaction(1)
        };
        let (payload, cookie) = (one.encode(), cookie(&one));
        let decode = |payload: &[u8]| Transaction::decode(payload, &cookie, NOW);
        let decoded = decode(&payload).unwrap();
        assert_eq!(decoded.encode(), payload);
        assert_eq!((decoded.state.as_str(), decoded.begun), (one.state.as_str(), one.begun));
        assert_eq!(decoded.return_to, "/inbox?a=b");
        assert_eq!((decoded.required_acr, decoded.max_age), (AcrValues::parse("c1 c2"), MaxAge::new(300)));
        assert!(decode(&[&[VERSION + 1], &payload[1..]].concat()).is_none(), "another version is invalid");
        assert!(decode(&payload[..payload.len() - 1]).is_none());
        assert!(decode(&[]).is_none());
    }

    /// Known answer (contract 5.8): what the release before this version wrote, byte by byte.
    #[test]
    fn a_transaction_of_version_2_is_read_and_counts_as_the_configured_issuers() {
        let (state, nonce) = (format!("{}{}A", "i".repeat(11), "s".repeat(21)), "bm5ubm5ubm5ubm5ubm5ubg");
        let verifier = "A".repeat(43);
        let mut payload = vec![2, 33];
        payload.extend(state.as_bytes());
        payload.push(22);
        payload.extend(nonce.as_bytes());
        payload.push(43);
        payload.extend(verifier.as_bytes());
        payload.extend(b"\x06/inbox\x01\x05graph\x01");
        payload.extend([7; 16]);
        payload.extend(b"\x01\x03ada\xf0\xa2\x04");
        let read = Transaction::decode(&payload, "", NOW).unwrap();
        assert_eq!(read.state.as_str(), state);
        assert_eq!((read.nonce().as_str(), read.verifier().expose_secret()), (nonce, verifier.as_str()));
        assert_eq!((read.return_to.as_str(), read.api.as_deref()), ("/inbox", Some("graph")));
        assert_eq!((read.replaces, read.only_sub.as_deref(), read.begun), (Some([7; 16]), Some("ada"), 70_000));
        assert!(read.is_for(ISSUER) && read.is_for("https://other.example"));
    }

    /// Known answer (contract 5.8): what other instances of this release write and read.
    #[test]
    fn the_binary_form_of_version_3_stays_as_it_is() {
        let one = Transaction {
            state: State::new("iiiiiiiiiii", [1; 16]),
            nonce: [2; 16],
            verifier: Zeroizing::new([3; 32]),
            api: Some("graph".to_owned()),
            issuer: Some([4; 8]),
            ..transaction(1)
        };
        let mut payload = vec![3];
        payload.extend([1; 16]);
        payload.extend([2; 16]);
        payload.extend([3; 32]);
        payload.extend(b"\x0a/inbox?a=b\x01\x05graph\0\0\xf0\xa2\x04\x01");
        payload.extend([4; 8]);
        payload.extend(b"\0\0");
        assert_eq!(one.encode().as_slice(), payload);
    }

    #[test]
    fn a_transaction_belongs_to_the_issuer_where_it_began() {
        let one = transaction(1);
        let decoded = Transaction::decode(&one.encode(), &cookie(&one), NOW).unwrap();
        assert!(decoded.is_for(ISSUER));
        assert!(!decoded.is_for("https://login.example/other"));
    }

    /// Contract 4.8: ten of them fit 5,000 bytes.
    #[test]
    fn a_transaction_with_a_return_path_of_200_bytes_takes_at_most_500_bytes_of_a_cookie_header() {
        let one = Transaction { return_to: "/".repeat(200), api: Some("graph".to_owned()), ..transaction(1) };
        let sealed = crate::session::seal::sealed_len(one.encode().len());
        assert!(cookie(&one).len() + 3 + sealed <= 500, "{}", cookie(&one).len() + 3 + sealed);
    }

    #[test]
    fn a_state_has_a_fixed_form_and_begins_with_the_id() {
        let state = transaction(1).state;
        assert_eq!(state.0.len(), STATE);
        assert_eq!(state.id().len(), ID);
        assert!(state.0.starts_with(state.id()));
        assert!(State::parse(&state.0).is_some());
        for bad in ["", "short", &"a,".repeat(20), &"é".repeat(20), &"a".repeat(STATE - 1), &"a".repeat(STATE + 1)] {
            assert!(State::parse(bad).is_none(), "{bad}");
        }
    }
}
