//! Errors of the gateway itself: status, code and text of each (contract 8.3 to 8.5).
//!
//! An [`Error`] contains only what the client may see. The reason is logged where the error occurs.

use std::borrow::Cow;

use http::StatusCode;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// With what is wrong in the request.
    BadRequest(&'static str),
    BodyTooLarge,
    /// With the `login_url` that requests the user's consent to an API's scopes.
    ConsentRequired(Cow<'static, str>),
    CsrfFailed,
    Internal,
    KeysUnavailable,
    /// With the value of `Allow`.
    MethodDenied(Cow<'static, str>),
    NavigationRequired,
    OriginDenied,
    Overloaded,
    ProviderUnavailable,
    /// As [`Self::ProviderUnavailable`], with the seconds until a retry may help (contract 22.2).
    ProviderUnavailableFor(u8),
    RouteDenied,
    /// The session cookie is invalid or expired. It is kept, since another instance may just have written a newer one.
    SessionExpired,
    /// As [`Self::SessionExpired`], and the cookie is deleted (contract 4.18).
    SessionGone,
    /// The request carries no session cookie.
    SessionMissing,
    /// With the `login_url` that lets the user authenticate again or in another way.
    StepUpRequired(Cow<'static, str>),
    StoreUnavailable,
    UpstreamTimeout,
    UpstreamUnavailable,
}

/// What the client gets of an [`Error`].
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    pub status: StatusCode,
    /// The stable code: header `Cloakroom-Error`, member `code`, last part of `type`.
    pub code: &'static str,
    /// What is wrong and what to do, for a person. Not stable.
    pub title: &'static str,
    /// Seconds in `Retry-After`, if a retry helps.
    pub retry_after: Option<u8>,
    /// Whether signing in helps, so that the response has a `login_url`.
    pub login_helps: bool,
}

impl Error {
    /// One error of each code, from which documentation and client are generated.
    pub const ALL: [Self; 18] = [
        Self::BadRequest("what is wrong with the request"),
        Self::BodyTooLarge,
        Self::ConsentRequired(Cow::Borrowed("/auth/login?api=graph")),
        Self::CsrfFailed,
        Self::Internal,
        Self::KeysUnavailable,
        Self::MethodDenied(Cow::Borrowed("GET, HEAD")),
        Self::NavigationRequired,
        Self::OriginDenied,
        Self::Overloaded,
        Self::ProviderUnavailable,
        Self::RouteDenied,
        Self::SessionExpired,
        Self::SessionMissing,
        Self::StepUpRequired(Cow::Borrowed("/auth/login?challenge=…")),
        Self::StoreUnavailable,
        Self::UpstreamTimeout,
        Self::UpstreamUnavailable,
    ];

    #[must_use]
    pub const fn facts(&self) -> Facts {
        match self {
            Self::BadRequest(_) => error(StatusCode::BAD_REQUEST, "bad_request", "The request is malformed."),
            Self::BodyTooLarge => {
                error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The request body is too large.")
            }
            Self::ConsentRequired(_) => {
                sign_in("consent_required", "This API requires the user's consent. Sign in to give it.")
            }
            Self::CsrfFailed => {
                error(StatusCode::FORBIDDEN, "csrf_failed", "Send the header X-CSRF: 1 with every call.")
            }
            Self::Internal => error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The gateway failed."),
            Self::KeysUnavailable => retry(5, "keys_unavailable", "The keys are unavailable. Try again shortly."),
            Self::MethodDenied(_) => {
                error(StatusCode::METHOD_NOT_ALLOWED, "method_denied", "This method is not allowed for this path.")
            }
            Self::NavigationRequired => error(
                StatusCode::BAD_REQUEST,
                "navigation_required",
                "Navigate to this address instead of fetching it.",
            ),
            Self::OriginDenied => {
                error(StatusCode::FORBIDDEN, "origin_denied", "Calls from this origin are not allowed.")
            }
            Self::Overloaded => retry(1, "overloaded", "Too many requests in flight. Try again shortly."),
            Self::ProviderUnavailable => provider_unavailable(5),
            Self::ProviderUnavailableFor(seconds) => provider_unavailable(*seconds),
            Self::RouteDenied => error(StatusCode::NOT_FOUND, "route_denied", "There is no such path."),
            Self::SessionExpired | Self::SessionGone => {
                sign_in("session_expired", "The session has expired. Sign in again.")
            }
            Self::SessionMissing => sign_in("session_missing", "You are not signed in."),
            Self::StepUpRequired(_) => sign_in("step_up_required", "This call requires additional authentication."),
            Self::StoreUnavailable => {
                retry(5, "store_unavailable", "The session store is unavailable. Try again shortly.")
            }
            Self::UpstreamTimeout => {
                error(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", "The API did not respond in time.")
            }
            Self::UpstreamUnavailable => {
                error(StatusCode::BAD_GATEWAY, "upstream_unavailable", "The API cannot be reached.")
            }
        }
    }

    /// The `login_url` of this error, if it is not `/auth/login`.
    #[must_use]
    pub fn login_url(&self) -> Option<&str> {
        match self {
            Self::ConsentRequired(url) | Self::StepUpRequired(url) => Some(url),
            _ => None,
        }
    }

    /// What exactly is wrong, if the client can fix it.
    #[must_use]
    pub const fn detail(&self) -> Option<&'static str> {
        match self {
            Self::BadRequest(detail) => Some(detail),
            _ => None,
        }
    }
}

const fn error(status: StatusCode, code: &'static str, title: &'static str) -> Facts {
    Facts { status, code, title, retry_after: None, login_helps: false }
}

const fn retry(seconds: u8, code: &'static str, title: &'static str) -> Facts {
    Facts { retry_after: Some(seconds), ..error(StatusCode::SERVICE_UNAVAILABLE, code, title) }
}

const fn provider_unavailable(seconds: u8) -> Facts {
    retry(seconds, "provider_unavailable", "The sign-in service is unavailable. Try again shortly.")
}

const fn sign_in(code: &'static str, title: &'static str) -> Facts {
    Facts { login_helps: true, ..error(StatusCode::UNAUTHORIZED, code, title) }
}
