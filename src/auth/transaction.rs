//! The login transaction: one sign-in in progress, sealed in a cookie of its own (contract 4.6 to 4.8).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::{CryptoRng, RngExt};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::clock::UnixSeconds;
use crate::guard::return_to::ReturnTo;
use crate::keyring::Purpose;
use crate::secret::SecretString;
use crate::session::Sessions;
use crate::session::cookie::LOGIN_SECONDS;
use crate::session::payload::SessionId;
use crate::session::sealer::UnsealError;

/// Version of the payload after the times.
const FORMAT: u8 = 2;
/// Characters of a transaction's ID: 8 bytes in base64url.
const ID: usize = 11;
/// Characters of a state: the ID, then 16 bytes in base64url.
const STATE: usize = ID + 22;

/// What the callback needs of the sign-in that it completes.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Transaction {
    pub(super) state: State,
    /// Binds the ID token to this sign-in.
    pub(super) nonce: String,
    /// Binds the code to this sign-in (RFC 7636).
    pub(super) verifier: Zeroizing<String>,
    /// Validated again by the callback, since the configuration may have changed.
    pub(super) return_to: String,
    /// The API that the code is exchanged for, by name.
    pub(super) api: Option<String>,
    /// The session that this sign-in replaces.
    pub(super) replaces: Option<SessionId>,
    /// The only `sub` that may complete this sign-in: the user whose call got the claims challenge (contract 7.32).
    pub(super) only_sub: Option<String>,
    /// Start of the sign-in in microseconds since 1970, so that the oldest of several is removed first.
    pub(super) begun: u64,
}

impl Transaction {
    /// A new sign-in with random values of its own (contract 7.5a). `begun`: microseconds since 1970.
    pub(super) fn new(return_to: &ReturnTo, begun: u64, rng: &mut impl CryptoRng) -> Self {
        Self {
            state: State(random_text::<8>(rng) + &random_text::<16>(rng)),
            nonce: random_text::<16>(rng),
            verifier: Zeroizing::new(random_text::<32>(rng)),
            return_to: return_to.as_str().to_owned(),
            api: None,
            replaces: None,
            only_sub: None,
            begun,
        }
    }

    pub(super) fn verifier(&self) -> SecretString {
        self.verifier.as_str().into()
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
        let transaction = Self::decode(opened.payload()).ok_or(UnsealError::Invalid)?;
        let equal: bool = transaction.state.0.as_bytes().ct_eq(state.0.as_bytes()).into();
        if equal { Ok(transaction) } else { Err(UnsealError::Invalid) }
    }

    #[expect(clippy::expect_used, reason = "a Vec grows as needed, and no field has a serializer that fails")]
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(postcard::to_extend(self, vec![FORMAT]).expect("strings and numbers serialize"))
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (&FORMAT, bytes) = payload.split_first()? else { return None };
        postcard::from_bytes(bytes).ok()
    }
}

/// The `state` parameter: binds the callback to this browser, and begins with the transaction's ID.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct State(String);

impl State {
    /// `None` if the text has not the form of a state of this gateway.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let base64url = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        (text.len() == STATE && text.bytes().all(base64url)).then(|| Self(text.to_owned()))
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

/// `N` random bytes in base64url.
fn random_text<const N: usize>(rng: &mut impl CryptoRng) -> String {
    URL_SAFE_NO_PAD.encode(rng.random::<[u8; N]>())
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;
    use crate::origin::Origin;

    fn transaction(seed: u64) -> Transaction {
        let return_to = ReturnTo::parse("/inbox?a=b", &Origin::parse("https://app.example.org").unwrap(), &[]).unwrap();
        Transaction::new(&return_to, 1_790_000_000_000_000, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn every_sign_in_has_its_own_random_values() {
        let (one, same, other) = (transaction(1), transaction(1), transaction(2));
        assert_eq!(one.state.0, same.state.0, "all randomness comes from the generator");
        let values = |of: &Transaction| {
            let (id, secret) = of.state.0.split_at(ID);
            [id.to_owned(), secret.to_owned(), of.nonce.clone(), of.verifier.to_string()]
        };
        let mut all: Vec<String> = values(&one).into_iter().chain(values(&other)).collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 8);
        assert_eq!((one.nonce.len(), one.verifier.len()), (22, 43), "128 and 256 bits");
    }

    #[test]
    fn a_payload_decodes_to_the_same_transaction() {
        let one = Transaction {
            api: Some("graph".to_owned()),
            replaces: Some([7; 16]),
            only_sub: Some("ada".to_owned()),
            ..transaction(1)
        };
        let payload = one.encode();
        let decoded = Transaction::decode(&payload).unwrap();
        assert_eq!(decoded.encode(), payload);
        assert_eq!(decoded.return_to, "/inbox?a=b");
        assert!(Transaction::decode(&[&[FORMAT + 1], &payload[1..]].concat()).is_none(), "another version is invalid");
        assert!(Transaction::decode(&payload[..payload.len() - 1]).is_none());
        assert!(Transaction::decode(&[]).is_none());
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
