//! Whether a user authenticated as the sign-in required (RFC 9470, OpenID Connect Core 3.1.3.7, contract 21.2).

use super::transaction::Transaction;
use crate::clock::UnixSeconds;
use crate::oidc::id_token::IdToken;

/// Tolerance in seconds for the time that the provider's own steps take.
const TOLERANCE: u64 = 10;

/// Compares the ID token of a sign-in with what was required. `now`: after it was obtained.
///
/// # Errors
/// The claim that does not fit.
pub(super) fn check(transaction: &Transaction, id_token: &IdToken, now: UnixSeconds) -> Result<(), &'static str> {
    if let Some(max_age) = transaction.max_age {
        // The user may have authenticated just before the browser left, and have spent the time since then at the
        // provider. Both times are the provider's, so that its clock does not matter.
        let since_begun = now.saturating_sub(transaction.begun_at());
        let longest = u64::from(max_age.seconds()) + since_begun + TOLERANCE;
        if id_token.authentication_age().is_none_or(|age| age > longest) {
            return Err("auth_time");
        }
    }
    match &transaction.required_acr {
        Some(required) if !id_token.acr.as_deref().is_some_and(|acr| required.contains(acr)) => Err("acr"),
        _ => Ok(()),
    }
}
