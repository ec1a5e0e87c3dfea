//! The refresh of tokens, and what an error response of the provider means for the session (contract 7.24).

use std::time::Duration;

use super::Provider;
use super::claims::TokenError;
use super::discovery::Metadata;
use super::grants::{self, RefreshGrant, TokenResponse};
use super::http::{ErrorResponse, RequestError};
use super::id_token::{self, Subject};
use super::scopes::lacks_all;
use crate::clock::Clock;
use crate::jose::JwtError;
use crate::secret::{ExposeSecret, SecretString};

/// The claims request of a client that handles claims challenges (continuous access evaluation).
pub const CAPABILITIES: &str = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;

/// The scopes of a refresh.
#[derive(Debug, Clone, Copy)]
pub struct Scopes<'a> {
    /// All that are requested, by [`super::scopes::of_token_request`].
    pub requested: &'a [&'a str],
    /// Those of the API; empty if the refresh is for no API.
    pub of_api: &'a [String],
}

/// The result of a refresh. Even a failed one may have consumed the refresh token and brought another.
#[derive(Debug)]
pub struct Refreshed<T> {
    /// The rotated refresh token, if there is one that may be used.
    pub refresh_token: Option<SecretString>,
    pub outcome: Result<T, RefreshError>,
    pub availability: Availability,
}

/// What a refresh says about the token endpoint (contract 22.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It did not respond, or with a status of 500 or above.
    Down,
    /// It has too many requests; further ones must wait this long.
    RateLimited(Duration),
    /// Nothing: no request was sent.
    Unknown,
    /// It responded.
    Up,
}

impl<T> Refreshed<T> {
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Refreshed<U> {
        let Self { refresh_token, outcome, availability } = self;
        Refreshed { refresh_token, outcome: outcome.map(change), availability }
    }
}

/// Why a refresh failed: the rows of contract 7.24.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefreshError {
    /// The user has to consent to the API's scopes.
    ConsentRequired,
    /// The refresh token is not valid any more.
    Expired,
    /// The user has to authenticate again, with the provider's claims request if it sent one.
    StepUpRequired(Option<String>),
    /// The provider is unavailable, or its keys are; the session is not changed.
    Unavailable,
}

impl Provider {
    /// Obtains an access token of these scopes for a refresh token. Failures are logged.
    pub async fn refresh(
        &self,
        refresh_token: &SecretString,
        scopes: Scopes<'_>,
        resource: Option<&str>,
        subject: Subject<'_>,
        clock: Clock<'_>,
    ) -> Refreshed<TokenResponse> {
        let failed = |error, availability| Refreshed { refresh_token: None, outcome: Err(error), availability };
        let (Ok(metadata), Some(http)) = (self.metadata().await, self.http()) else {
            return failed(RefreshError::Unavailable, Availability::Unknown);
        };
        let claims = metadata.takes_capabilities().then_some(CAPABILITIES);
        let grant = RefreshGrant { refresh_token, scope: &scopes.requested.join(" "), resource, claims };
        let mut tokens = match grants::refresh(http, &metadata, self.client(), &grant).await {
            Ok(tokens) => tokens,
            Err(error) => {
                let availability = error.availability();
                return failed(classify_request_error(error), availability);
            }
        };
        match self.validate_refreshed(&metadata, &tokens, scopes, subject, clock).await {
            // With an invalid ID token, the refresh token of the response may be another user's.
            Err(RefreshError::Expired) => failed(RefreshError::Expired, Availability::Up),
            validated => Refreshed {
                refresh_token: tokens.refresh_token.take(),
                outcome: validated.map(|()| tokens),
                availability: Availability::Up,
            },
        }
    }

    /// Checks that new tokens are those of the user (contract 7.4) and valid for the API (contract 7.25).
    async fn validate_refreshed(
        &self,
        metadata: &Metadata,
        tokens: &TokenResponse,
        scopes: Scopes<'_>,
        subject: Subject<'_>,
        clock: Clock<'_>,
    ) -> Result<(), RefreshError> {
        if let Some(id_token) = &tokens.id_token {
            let profile = id_token::Refreshed { subject, access_token: tokens.access_token.expose_secret() };
            self.verify(metadata, id_token, &profile, clock).await.map_err(|error| {
                tracing::warn!(reason = %error, "the ID token of a refresh is rejected");
                match error {
                    // Newer keys may accept it: this says nothing about the session (contract 7.4).
                    TokenError::KeysUnavailable | TokenError::KeyUndecided | TokenError::Jwt(JwtError::UnknownKey) => {
                        RefreshError::Unavailable
                    }
                    _ => RefreshError::Expired,
                }
            })?;
        }
        if lacks_all(tokens.scope.as_deref(), scopes.of_api) { Err(RefreshError::ConsentRequired) } else { Ok(()) }
    }
}

fn classify_request_error(error: RequestError) -> RefreshError {
    match error {
        RequestError::RateLimited(_) => {
            tracing::warn!("the tokens could not be refreshed: the provider has too many requests");
            RefreshError::Unavailable
        }
        RequestError::Unavailable(problem) | RequestError::Unusable(problem) | RequestError::NotSent(problem) => {
            tracing::error!(%problem, "the tokens could not be refreshed");
            RefreshError::Unavailable
        }
        RequestError::Rejected(response) => {
            let meaning = classify(&response);
            response.warn(meaning.name(), "token refresh rejected");
            meaning
        }
    }
}

impl RequestError {
    const fn availability(&self) -> Availability {
        match self {
            Self::Unavailable(_) => Availability::Down,
            Self::RateLimited(pause) => Availability::RateLimited(*pause),
            Self::Rejected(_) | Self::Unusable(_) => Availability::Up,
            Self::NotSent(_) => Availability::Unknown,
        }
    }
}

impl RefreshError {
    /// The kind alone: the claims request must not be logged.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ConsentRequired => "consent_required",
            Self::Expired => "session_expired",
            Self::StepUpRequired(_) => "step_up_required",
            Self::Unavailable => "provider_unavailable",
        }
    }
}

/// What an error response means (RFC 6749 section 5.2, OpenID Connect Core 3.1.2.6, Entra's suberrors).
fn classify(response: &ErrorResponse) -> RefreshError {
    let suberror = response.suberror.as_deref().unwrap_or_default();
    match (response.error.as_str(), suberror) {
        ("consent_required" | "invalid_scope" | "invalid_target", _) | (_, "consent_required") => {
            RefreshError::ConsentRequired
        }
        ("interaction_required" | "login_required", _)
        | (_, "basic_action" | "additional_action" | "message_only" | "user_password_expired") => {
            RefreshError::StepUpRequired(response.claims.clone())
        }
        _ if response.claims.is_some() => RefreshError::StepUpRequired(response.claims.clone()),
        ("invalid_grant", _) => RefreshError::Expired,
        _ => RefreshError::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_responses_are_classified() {
        use RefreshError::{ConsentRequired, Expired, StepUpRequired, Unavailable};
        for (error, suberror, claims, expected) in [
            ("invalid_grant", "", None, Expired),
            ("invalid_grant", "bad_token", None, Expired),
            ("invalid_grant", "token_expired", None, Expired),
            ("invalid_grant", "consent_required", None, ConsentRequired),
            ("interaction_required", "consent_required", None, ConsentRequired),
            ("consent_required", "", None, ConsentRequired),
            ("invalid_scope", "", None, ConsentRequired),
            ("invalid_target", "", None, ConsentRequired),
            ("interaction_required", "", None, StepUpRequired(None)),
            ("interaction_required", "basic_action", Some("{}"), StepUpRequired(Some("{}".to_owned()))),
            ("login_required", "", None, StepUpRequired(None)),
            ("invalid_grant", "basic_action", None, StepUpRequired(None)),
            ("invalid_grant", "additional_action", None, StepUpRequired(None)),
            ("invalid_grant", "message_only", None, StepUpRequired(None)),
            ("invalid_grant", "user_password_expired", None, StepUpRequired(None)),
            ("invalid_grant", "", Some("{}"), StepUpRequired(Some("{}".to_owned()))),
            ("server_error", "", None, Unavailable),
            ("temporarily_unavailable", "", None, Unavailable),
            ("invalid_client", "", None, Unavailable),
            ("unauthorized_client", "", None, Unavailable),
            ("invalid_request", "", None, Unavailable),
            ("something_new", "", None, Unavailable),
        ] {
            let response = ErrorResponse {
                error: error.to_owned(),
                suberror: Some(suberror.to_owned()).filter(|suberror| !suberror.is_empty()),
                claims: claims.map(str::to_owned),
                ..ErrorResponse::default()
            };
            assert_eq!(classify(&response), expected, "{error} {suberror} {claims:?}");
        }
    }
}
