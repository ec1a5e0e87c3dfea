//! A login transaction: one sign-in under way, sealed in a cookie of its own.

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Auth;
use crate::clock::{self, UnixSeconds};
use crate::keyring::Purpose;
use crate::secret::{SecretString, random_token};
use crate::session::cookie::LOGIN_SECONDS;
use crate::session::seal::UnsealError;
use crate::session::token::SessionId;

/// Version of the payload after the times.
const FORMAT: u8 = 2;
/// Characters of a transaction's id: 8 bytes in base64url.
const ID: usize = 11;
/// Characters of a state: the id, and 16 bytes in base64url.
const STATE: usize = ID + 22;

/// What must come back unchanged.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Transaction {
    /// Ties the callback to this browser; begins with the transaction's id.
    pub(super) state: String,
    /// Ties the ID token to this login.
    pub(super) nonce: String,
    /// Ties the code to this login (RFC 7636).
    pub(super) verifier: Zeroizing<String>,
    /// Where the browser goes in the end.
    pub(super) return_to: String,
    /// The API whose access token the code is redeemed for.
    pub(super) api: Option<String>,
    /// The session that this sign-in replaces.
    pub(super) replaces: Option<SessionId>,
    /// The one user who may sign in: whoever was asked to authenticate anew.
    pub(super) only_sub: Option<String>,
    /// When it began, in microseconds, so that the oldest of several can be told.
    pub(super) begun: u64,
}

impl Transaction {
    pub(super) fn new(return_to: &str) -> Self {
        Self {
            state: random_token::<8>() + &random_token::<16>(),
            nonce: random_token::<16>(),
            verifier: Zeroizing::new(random_token::<32>()),
            return_to: return_to.to_owned(),
            api: None,
            replaces: None,
            only_sub: None,
            begun: clock::micros(),
        }
    }

    pub(super) fn id(&self) -> &str {
        id_of(&self.state).unwrap_or_default()
    }

    pub(super) fn verifier(&self) -> SecretString {
        self.verifier.as_str().into()
    }

    /// The sealed form, or nothing without a key.
    pub(super) async fn seal(&self, auth: &Auth, now: UnixSeconds) -> Option<String> {
        let payload = Zeroizing::new(postcard::to_extend(self, vec![FORMAT]).unwrap_or_default());
        let name = auth.sessions.cookies.login_name(self.id());
        auth.sessions.seal(Purpose::Login, &name, now + LOGIN_SECONDS, now, &payload).await
    }

    /// The transaction that a callback's state names, if this browser began it.
    ///
    /// # Errors
    /// [`UnsealError`]; but for [`UnsealError::KeyUnavailable`], one that does not open counts as absent.
    pub(super) async fn open(
        auth: &Auth,
        headers: &http::HeaderMap,
        state: &str,
        now: UnixSeconds,
    ) -> Result<Self, UnsealError> {
        let id = id_of(state).ok_or(UnsealError::Invalid)?;
        let cookies = &auth.sessions.cookies;
        let sealed = cookies.login(headers, id).ok_or(UnsealError::Invalid)?;
        let opened = auth.sessions.unseal(Purpose::Login, &cookies.login_name(id), sealed, now).await?;
        let transaction = Self::decode(opened.payload()).ok_or(UnsealError::Invalid)?;
        let same: bool = transaction.state.as_bytes().ct_eq(state.as_bytes()).into();
        if same { Ok(transaction) } else { Err(UnsealError::Invalid) }
    }

    pub(super) fn decode(payload: &[u8]) -> Option<Self> {
        let (&FORMAT, bytes) = payload.split_first()? else { return None };
        postcard::from_bytes(bytes).ok()
    }
}

/// The transaction's id in a state of our form.
fn id_of(state: &str) -> Option<&str> {
    let ours = state.len() == STATE && state.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if ours { state.get(..ID) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_begins_with_its_id() {
        let transaction = Transaction::new("/");
        assert_eq!(transaction.state.len(), STATE);
        assert_eq!(transaction.id().len(), ID);
        assert!(transaction.state.starts_with(transaction.id()));
        for bad in ["", "short", &"a,".repeat(20), &"é".repeat(20)] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }
}
