//! `auth_error`: why a sign-in failed, as reported to the page (contract 3.41, 3.42). The log has the reason.

use crate::oidc::provider::{SignInError, is_transient};
use crate::session::WriteError;

/// The codes of contract 3.42. The documentation and the client's list of codes are generated from [`Self::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthError {
    AccessDenied,
    LoginRequired,
    ConsentRequired,
    InteractionRequired,
    TenantDenied,
    ProviderUnavailable,
    KeysUnavailable,
    StoreUnavailable,
    CookieTooLarge,
    LoginExpired,
    /// Any other reason; last, as the test of [`Self::ALL`] expects.
    LoginFailed,
}

/// What the documentation says about an [`AuthError`].
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The value of `auth_error`.
    pub code: &'static str,
    pub meaning: &'static str,
    /// What the page should do.
    pub advice: &'static str,
}

impl AuthError {
    pub const ALL: [Self; 11] = [
        Self::AccessDenied,
        Self::LoginRequired,
        Self::ConsentRequired,
        Self::InteractionRequired,
        Self::TenantDenied,
        Self::ProviderUnavailable,
        Self::KeysUnavailable,
        Self::StoreUnavailable,
        Self::CookieTooLarge,
        Self::LoginExpired,
        Self::LoginFailed,
    ];

    #[must_use]
    pub const fn facts(self) -> Facts {
        let (code, meaning, advice) = match self {
            Self::AccessDenied => {
                ("access_denied", "the user or an administrator denied access", "say so, offer to sign in")
            }
            Self::LoginRequired => {
                ("login_required", "`prompt=none`, and the user is not signed in at the provider", "offer to sign in")
            }
            Self::ConsentRequired => ("consent_required", "`prompt=none`, and consent is missing", "offer to sign in"),
            Self::InteractionRequired => (
                "interaction_required",
                "`prompt=none`, and the provider requires user interaction",
                "offer to sign in",
            ),
            Self::TenantDenied => {
                ("tenant_denied", "the user's tenant is not in `ALLOWED_TENANTS`", "say so; another account may work")
            }
            Self::ProviderUnavailable => (
                "provider_unavailable",
                "the provider does not respond, or reports an error of its own",
                "offer to retry",
            ),
            Self::KeysUnavailable => (
                "keys_unavailable",
                "the key source became unavailable after the code exchange, before the session was written",
                "offer to retry",
            ),
            Self::StoreUnavailable => ("store_unavailable", "the session store does not respond", "offer to retry"),
            Self::CookieTooLarge => (
                "cookie_too_large",
                "the session does not fit into `COOKIE_BUDGET`, or with a session store into 512 KiB",
                "say that an administrator must help; retrying will not",
            ),
            Self::LoginExpired => (
                "login_expired",
                "no login transaction of this browser matches the callback: it is older than ten minutes, was used, \
                 or belongs to another browser",
                "offer to sign in",
            ),
            Self::LoginFailed => ("login_failed", "any other error; the log has the reason", "offer to sign in"),
        };
        Facts { code, meaning, advice }
    }

    #[must_use]
    pub const fn code(self) -> &'static str {
        self.facts().code
    }

    /// The provider's error response (RFC 6749 section 4.1.2.1, OpenID Connect Core 3.1.2.6). Its text is never passed
    /// on, since anybody can write it into a link to the callback.
    pub(super) fn from_provider(error: &str) -> Self {
        match error {
            "access_denied" => Self::AccessDenied,
            "login_required" => Self::LoginRequired,
            "consent_required" => Self::ConsentRequired,
            "interaction_required" | "account_selection_required" => Self::InteractionRequired,
            transient if is_transient(transient) => Self::ProviderUnavailable,
            _ => Self::LoginFailed,
        }
    }
}

impl From<SignInError> for AuthError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Failed => Self::LoginFailed,
            SignInError::TenantDenied => Self::TenantDenied,
            SignInError::RateLimited(_) | SignInError::Unavailable => Self::ProviderUnavailable,
        }
    }
}

impl From<WriteError> for AuthError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::KeysUnavailable => Self::KeysUnavailable,
            WriteError::StoreUnavailable => Self::StoreUnavailable,
            WriteError::TooLarge => Self::CookieTooLarge,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_has_each_variant_once() {
        assert_eq!(AuthError::ALL.len(), AuthError::LoginFailed as usize + 1);
        for (position, error) in AuthError::ALL.into_iter().enumerate() {
            assert_eq!(error as usize, position, "{error:?}");
        }
    }
}
