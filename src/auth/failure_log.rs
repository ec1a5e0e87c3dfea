//! The log of sign-ins that fail.

use super::AuthError;
use super::limited_log::LimitedLog;

/// Why a sign-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the page gets.
    pub(super) error: AuthError,
    /// The claim that does not fit what was required (contract 21.2).
    pub(super) reason: Option<&'static str>,
}

impl From<AuthError> for Failure {
    fn from(error: AuthError) -> Self {
        Self { error, reason: None }
    }
}

#[derive(Debug, Default)]
pub(super) struct FailureLog(LimitedLog);

impl FailureLog {
    /// Logs a failure, or counts it for the event at the end of the minute.
    pub(super) fn record(&self, Failure { error, reason }: Failure) {
        self.0.record(
            || tracing::info!(event = "sign_in_failed", code = error.code(), reason, "sign-in failed"),
            |count| tracing::info!(event = "sign_in_failed", count, "further sign-ins failed within a minute"),
        );
    }
}
