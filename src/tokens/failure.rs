//! Why a refresh failed.

use std::time::Duration;

use crate::oidc::refresh::RefreshError;
use crate::session::OpenError;
use crate::session::store::LockError;

/// Why a refresh failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// No refresh is sent for so long (contract 22.2).
    CircuitOpen(Duration),
    /// The refresh panicked.
    Internal,
    /// The provider rejected it, or is unavailable.
    Refresh(RefreshError),
    /// The session ended, or it cannot be read or stored.
    Session(OpenError),
}

impl Failure {
    pub(super) const fn ends_session(&self) -> bool {
        matches!(self, Self::Refresh(RefreshError::Expired) | Self::Session(OpenError::Ended | OpenError::Expired))
    }
}

impl From<RefreshError> for Failure {
    fn from(error: RefreshError) -> Self {
        Self::Refresh(error)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::Session(error)
    }
}

impl From<LockError> for Failure {
    fn from(error: LockError) -> Self {
        match error {
            LockError::Load(error) => Self::Session(error.into()),
            LockError::TimedOut => Self::Refresh(RefreshError::Unavailable),
        }
    }
}

/// Whole seconds for `Retry-After`, 1 to 30.
pub(super) fn retry_after(left: Duration) -> u8 {
    u8::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(u8::MAX).clamp(1, 30)
}
