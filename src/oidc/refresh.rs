//! Refreshing: a refresh token for new tokens, and what a provider's refusal means for the session.

use super::Provider;
use super::discovery::Metadata;
use super::grants::{self, Refresh, TokenResponse};
use super::http::{Failure, Refusal};
use super::id_token::{ExpectedBinding, Fault, Subject};
use crate::clock;
use crate::secret::SecretString;
use crate::telemetry::loggable_code;

/// The claims request of a client that answers claims challenges (continuous access evaluation).
pub const CAPABILITIES: &str = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;

/// The scopes of a redemption.
#[derive(Debug, Clone, Copy)]
pub struct Scopes<'a> {
    /// Asked with every API's own.
    pub always: &'a [String],
    /// Those of the API, none if the session alone is renewed.
    pub of_api: &'a [String],
}

/// What a redemption came to. Whatever that is, the provider may have put another refresh token in the place of the
/// one that was redeemed, which is then good for nothing.
#[derive(Debug)]
pub struct Refreshed<T> {
    /// The next refresh token, if there is a new one that may be used.
    pub refresh_token: Option<SecretString>,
    /// What was asked, or why it cannot be had.
    pub outcome: Result<T, RefreshFault>,
}

impl<T> Refreshed<T> {
    /// With what was asked in another form.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Refreshed<U> {
        Refreshed { refresh_token: self.refresh_token, outcome: self.outcome.map(change) }
    }
}

/// Why a refresh token brought nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshFault {
    /// The user has to consent to the API's scopes.
    Consent,
    /// The refresh token is good for nothing any more.
    Over,
    /// The user has to authenticate anew; with what the provider asks of that, if it said.
    StepUp(Option<String>),
    /// The provider is unavailable; everything stays as it is.
    Unavailable,
}

impl Provider {
    /// Redeems a refresh token for an access token of these scopes. The log has more of what fails.
    pub async fn refresh(
        &self,
        refresh_token: &SecretString,
        scopes: Scopes<'_>,
        resource: Option<&str>,
        subject: Subject<'_>,
    ) -> Refreshed<TokenResponse> {
        let none = |fault| Refreshed { refresh_token: None, outcome: Err(fault) };
        let (Ok(metadata), Some(http)) = (self.metadata().await, self.http()) else {
            return none(RefreshFault::Unavailable);
        };
        let claims = metadata.takes_capabilities().then_some(CAPABILITIES);
        let all: Vec<&str> = scopes.always.iter().chain(scopes.of_api).map(String::as_str).collect();
        let refresh = Refresh { refresh_token, scope: &all.join(" "), resource, claims };
        let mut tokens = match grants::redeem_refresh_token(http, &metadata, self.client(), &refresh).await {
            Ok(tokens) => tokens,
            Err(failure) => return none(fault(failure)),
        };
        match self.validate_refreshed(&metadata, &tokens, scopes, subject).await {
            // Not even the refresh token is the user's, for all that is known.
            Err(RefreshFault::Over) => none(RefreshFault::Over),
            verdict => Refreshed { refresh_token: tokens.refresh_token.take(), outcome: verdict.map(|()| tokens) },
        }
    }

    /// Whether new tokens are those of the user and good for the API.
    async fn validate_refreshed(
        &self,
        metadata: &Metadata,
        tokens: &TokenResponse,
        scopes: Scopes<'_>,
        subject: Subject<'_>,
    ) -> Result<(), RefreshFault> {
        if tokens.id_token.is_some() {
            let verified = self.verify(metadata, tokens, ExpectedBinding::Refresh(subject), clock::now()).await;
            verified.map_err(|fault| {
                tracing::warn!(?fault, "the refreshed ID token is refused");
                if fault == Fault::KeysUnavailable { RefreshFault::Unavailable } else { RefreshFault::Over }
            })?;
        }
        if lacks_all(tokens.scope.as_deref(), scopes.of_api) { Err(RefreshFault::Consent) } else { Ok(()) }
    }
}

fn fault(failure: Failure) -> RefreshFault {
    match failure {
        Failure::Unavailable(problem) => {
            tracing::error!(%problem, "the refresh token could not be redeemed");
            RefreshFault::Unavailable
        }
        Failure::Refused(refusal) => {
            let fault = meaning(&refusal);
            let (error, suberror) = (loggable_code(&refusal.error), refusal.suberror.as_deref().map(loggable_code));
            tracing::warn!(error, ?suberror, meaning = fault.name(), "token refresh rejected");
            fault
        }
    }
}

impl RefreshFault {
    /// Its kind alone: what the provider asks of the user is not for the log.
    const fn name(&self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Over => "over",
            Self::StepUp(_) => "step_up",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What a refusal of the token endpoint means (RFC 6749 section 5.2, OpenID Connect Core 3.1.2.6, Entra's suberrors).
fn meaning(refusal: &Refusal) -> RefreshFault {
    let suberror = refusal.suberror.as_deref().unwrap_or_default();
    match (refusal.error.as_str(), suberror) {
        ("consent_required" | "invalid_scope" | "invalid_target", _) | (_, "consent_required") => RefreshFault::Consent,
        ("interaction_required" | "login_required", _)
        | (_, "basic_action" | "additional_action" | "message_only" | "user_password_expired") => {
            RefreshFault::StepUp(refusal.claims.clone())
        }
        _ if refusal.claims.is_some() => RefreshFault::StepUp(refusal.claims.clone()),
        ("invalid_grant", _) => RefreshFault::Over,
        _ => RefreshFault::Unavailable,
    }
}

/// Whether an answer's scope has none of the scopes that were asked for an API: the user never consented to them.
///
/// Providers write scopes with and without the resource in front, so only the last segments are compared.
fn lacks_all(granted: Option<&str>, scopes: &[String]) -> bool {
    let last = |scope: &str| scope.rsplit('/').next().unwrap_or_default().to_owned();
    let wanted: Vec<String> = scopes.iter().map(|scope| last(scope)).filter(|scope| scope != ".default").collect();
    let Some(granted) = granted.filter(|_| !wanted.is_empty()) else { return false };
    !granted.split_ascii_whitespace().any(|scope| wanted.contains(&last(scope)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        use RefreshFault::{Consent, Over, StepUp, Unavailable};
        for (error, suberror, claims, expected) in [
            ("invalid_grant", "", None, Over),
            ("invalid_grant", "bad_token", None, Over),
            ("invalid_grant", "token_expired", None, Over),
            ("invalid_grant", "consent_required", None, Consent),
            ("interaction_required", "consent_required", None, Consent),
            ("consent_required", "", None, Consent),
            ("invalid_scope", "", None, Consent),
            ("invalid_target", "", None, Consent),
            ("interaction_required", "", None, StepUp(None)),
            ("interaction_required", "basic_action", Some("{}"), StepUp(Some("{}".to_owned()))),
            ("login_required", "", None, StepUp(None)),
            ("invalid_grant", "basic_action", None, StepUp(None)),
            ("invalid_grant", "additional_action", None, StepUp(None)),
            ("invalid_grant", "message_only", None, StepUp(None)),
            ("invalid_grant", "user_password_expired", None, StepUp(None)),
            ("invalid_grant", "", Some("{}"), StepUp(Some("{}".to_owned()))),
            ("server_error", "", None, Unavailable),
            ("temporarily_unavailable", "", None, Unavailable),
            ("invalid_client", "", None, Unavailable),
            ("unauthorized_client", "", None, Unavailable),
            ("invalid_request", "", None, Unavailable),
            ("something_new", "", None, Unavailable),
        ] {
            let refusal = Refusal {
                error: error.to_owned(),
                suberror: Some(suberror.to_owned()).filter(|suberror| !suberror.is_empty()),
                claims: claims.map(str::to_owned),
            };
            assert_eq!(meaning(&refusal), expected, "{error} {suberror} {claims:?}");
        }
    }

    #[test]
    fn scopes_are_compared_by_their_last_segments() {
        let asked = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect::<Vec<_>>();
        let graph = asked(&["https://graph.microsoft.com/User.Read", "https://graph.microsoft.com/Mail.Read"]);
        assert!(!lacks_all(None, &graph), "no word means what was asked");
        assert!(!lacks_all(Some("openid User.Read"), &graph));
        assert!(!lacks_all(Some("https://graph.microsoft.com/Mail.Read"), &graph));
        assert!(lacks_all(Some("openid profile"), &graph));
        assert!(lacks_all(Some(""), &graph));
        assert!(!lacks_all(Some("openid"), &asked(&["api://orders/.default"])));
        assert!(!lacks_all(Some("openid"), &[]));
    }
}
