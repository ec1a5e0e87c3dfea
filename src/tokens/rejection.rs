//! What follows from a token request that the provider did not grant.

use crate::clock::UnixSeconds;
use crate::oidc::refresh::RefreshError;
use crate::secret::SecretString;
use crate::session::audit::Audited;
use crate::session::{OpenSession, RequiredInteraction, Sessions};

/// Notes what a failed token request says of the refresh token and of what the user has to do, and logs it (contract
/// 20.4).
pub(super) fn note(
    sessions: &Sessions,
    open: &OpenSession,
    (refresh_token, api): (&SecretString, Option<&str>),
    error: &RefreshError,
    now: UnixSeconds,
) {
    let (Audited { session, user }, reason) = (Audited::of(&open.session), error.name());
    tracing::info!(event = "token_refresh_failed", session, user, api, reason, "no tokens were obtained");
    let require = |interaction| sessions.require(open, api.unwrap_or_default(), interaction, now);
    match error {
        RefreshError::Expired => sessions.reject_refresh_token(open, refresh_token.clone(), now),
        RefreshError::ConsentRequired => require(RequiredInteraction::Consent),
        RefreshError::StepUpRequired(_) => require(RequiredInteraction::StepUp),
        RefreshError::Unavailable => {}
    }
}
