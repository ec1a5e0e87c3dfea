use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use serde_json::json;

use super::api::Operation;
use crate::web::{Body, reply};

/// An error in Key Vault's words.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    inner: Option<&'static str>,
    message: String,
    retry_after: Option<u32>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, inner: None, message: message.to_owned(), retry_after: None }
    }

    fn inner(self, code: &'static str) -> Self {
        Self { inner: Some(code), ..self }
    }

    pub(super) fn bad(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadParameter", message)
    }

    pub(super) fn no_such_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "BadParameter", "Method not allowed.")
    }

    pub(super) fn not_found(name: &str, version: Option<&str>) -> Self {
        let what = version.map_or_else(|| name.to_owned(), |version| format!("{name}/{version}"));
        let message = format!(
            "A secret with (name/id) {what} was not found in this key vault. If you recently deleted this secret you \
             may be able to recover it using the correct recovery command. For help resolving this issue, please see \
             https://go.microsoft.com/fwlink/?linkid=2125182"
        );
        Self::new(StatusCode::NOT_FOUND, "SecretNotFound", &message)
    }

    pub(super) fn disabled() -> Self {
        let message = "Operation get is not allowed on a disabled secret.";
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).inner("SecretDisabled")
    }

    pub(super) fn deleted(name: &str) -> Self {
        let message = format!(
            "Secret {name} is currently in a deleted but recoverable state, and its name cannot be reused; in this \
             state, the secret can only be recovered or purged."
        );
        Self::new(StatusCode::CONFLICT, "Conflict", &message).inner("ObjectIsDeletedButRecoverable")
    }

    pub(super) fn by_rbac(operation: Operation) -> Self {
        let message = format!(
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role \
             definitions were changed recently, please observe propagation time.\r\nAction: '{}'\r\nAssignment: (not \
             found)\r\nDecisionReason: 'DeniedWithNoValidRBAC'",
            operation.action()
        );
        Self::new(StatusCode::FORBIDDEN, "Forbidden", &message).inner("ForbiddenByRbac")
    }

    pub(super) fn by_firewall() -> Self {
        let message = "Client address is not authorized and caller is not a trusted service.\r\nClient address: \
                       203.0.113.7";
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).inner("ForbiddenByFirewall")
    }

    pub(super) fn with_status(status: u16, retry_after: Option<u32>) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let (code, message) = match status {
            StatusCode::TOO_MANY_REQUESTS => ("Throttled", "Request was not processed because too many requests came."),
            StatusCode::SERVICE_UNAVAILABLE => ("ServiceUnavailable", "The service is unavailable."),
            _ => ("InternalServerError", "An error that was set by a test."),
        };
        Self { retry_after, ..Self::new(status, code, message) }
    }

    pub(super) fn reply(&self) -> Response<Body> {
        let mut error = json!({"code": self.code, "message": self.message});
        if let (Some(members), Some(inner)) = (error.as_object_mut(), self.inner) {
            members.insert("innererror".to_owned(), json!({"code": inner}));
        }
        let answer = reply::json(self.status, &json!({"error": error}));
        match self.retry_after {
            Some(seconds) => reply::with(answer, RETRY_AFTER, &seconds.to_string()),
            None => answer,
        }
    }
}

/// The challenge to a request without a token that counts.
pub(super) fn challenge(tenant: &str, resource: &str, why: &str) -> Response<Body> {
    let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "Unauthorized", why);
    let line = format!("Bearer authorization=\"https://login.microsoftonline.com/{tenant}\", resource=\"{resource}\"");
    reply::with(refusal.reply(), WWW_AUTHENTICATE, &line)
}
