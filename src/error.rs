//! Every way in which an answer can be a refusal, and what the client is told of it.
//!
//! An [`Error`] has a stable code and a text for the client. What happened inside is for the log and is written where
//! it happened; nothing of it goes into the answer.

use std::borrow::Cow;

use http::StatusCode;

/// A refusal, as the contract's section 8 lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The form of the request is wrong; the text says what.
    BadRequest(&'static str),
    /// The declared body is longer than the API's limit.
    BodyTooLarge,
    /// The user has to consent to an API's scopes; the text is where.
    ConsentRequired(Cow<'static, str>),
    /// `X-CSRF: 1` is missing.
    CsrfFailed,
    /// Something failed that should not; the log knows.
    Internal,
    /// No key to open or to seal with: the source of the keys is down.
    KeysUnavailable,
    /// The path exists, the method does not; the text is the `Allow` header.
    MethodDenied(Cow<'static, str>),
    /// A route for navigations was called by something else.
    NavigationRequired,
    /// The request came from another site.
    OriginDenied,
    /// More is in flight than this instance takes on.
    Overloaded,
    /// The OpenID provider cannot be reached or answers nonsense.
    ProviderUnavailable,
    /// There is no such path, or the API map does not allow it.
    RouteDenied,
    /// The session is over, or its cookie does not open.
    SessionExpired,
    /// The session is over and no other instance can know better, so that its cookie goes too.
    SessionGone,
    /// The request carries no session cookie.
    SessionMissing,
    /// The user has to authenticate anew, or in another way; the text is where.
    StepUpRequired(Cow<'static, str>),
    /// The API answered too late.
    UpstreamTimeout,
    /// The API cannot be reached.
    UpstreamUnavailable,
}

/// What a client sees of an [`Error`].
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The status of the answer.
    pub status: StatusCode,
    /// The stable code: header `Cloakroom-Error`, member `code`, last part of `type`.
    pub code: &'static str,
    /// One sentence for a person: what is wrong and what to do.
    pub title: &'static str,
    /// Seconds in `Retry-After`, where trying again helps.
    pub retry_after: Option<u8>,
    /// Whether signing in helps, so that the answer carries a `login_url`.
    pub login_helps: bool,
}

impl Error {
    /// One of each code: what the documentation and its test go through.
    pub const ALL: [Self; 17] = [
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
        Self::UpstreamTimeout,
        Self::UpstreamUnavailable,
    ];

    /// Status, code and text: the one table.
    #[must_use]
    pub const fn facts(&self) -> Facts {
        match self {
            Self::BadRequest(_) => fault(400, "bad_request", "The request is malformed."),
            Self::BodyTooLarge => fault(413, "body_too_large", "The body is larger than this API takes."),
            Self::ConsentRequired(_) => sign_in("consent_required", "This API needs the user's consent. Ask for it."),
            Self::CsrfFailed => fault(403, "csrf_failed", "Send the header X-CSRF: 1 with every call."),
            Self::Internal => fault(500, "internal", "Something went wrong here."),
            Self::KeysUnavailable => retry(5, "keys_unavailable", "The keys are unavailable. Try again shortly."),
            Self::MethodDenied(_) => fault(405, "method_denied", "This path does not take that method."),
            Self::NavigationRequired => {
                fault(400, "navigation_required", "Open this address by navigating to it, not by fetch.")
            }
            Self::OriginDenied => fault(403, "origin_denied", "Calls from this origin are not allowed."),
            Self::Overloaded => retry(1, "overloaded", "Too many requests in flight. Try again shortly."),
            Self::ProviderUnavailable => {
                retry(5, "provider_unavailable", "The sign-in service is unavailable. Try again shortly.")
            }
            Self::RouteDenied => fault(404, "route_denied", "There is nothing at this path."),
            Self::SessionExpired | Self::SessionGone => {
                sign_in("session_expired", "The session is over. Sign in again.")
            }
            Self::SessionMissing => sign_in("session_missing", "You are not signed in."),
            Self::StepUpRequired(_) => sign_in("step_up_required", "This call requires additional authentication."),
            Self::UpstreamTimeout => fault(504, "upstream_timeout", "The API did not answer in time."),
            Self::UpstreamUnavailable => fault(502, "upstream_unavailable", "The API cannot be reached."),
        }
    }

    /// Where signing in helps against this very refusal, if that is not the usual place.
    #[must_use]
    pub fn login_url(&self) -> Option<&str> {
        match self {
            Self::ConsentRequired(url) | Self::StepUpRequired(url) => Some(url),
            _ => None,
        }
    }

    /// What is wrong in particular, where the client can mend it.
    #[must_use]
    pub const fn detail(&self) -> Option<&'static str> {
        match self {
            Self::BadRequest(detail) => Some(detail),
            _ => None,
        }
    }
}

const fn fault(status: u16, code: &'static str, title: &'static str) -> Facts {
    let status = match StatusCode::from_u16(status) {
        Ok(status) => status,
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Facts { status, code, title, retry_after: None, login_helps: false }
}

const fn retry(seconds: u8, code: &'static str, title: &'static str) -> Facts {
    Facts { retry_after: Some(seconds), ..fault(503, code, title) }
}

const fn sign_in(code: &'static str, title: &'static str) -> Facts {
    Facts { login_helps: true, ..fault(401, code, title) }
}
