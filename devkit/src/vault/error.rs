use http::{Response, StatusCode};
use serde_json::json;

use crate::identity::TENANT;
use crate::web::{Body, response};

/// An error as Key Vault words it.
#[derive(Clone, Debug)]
pub(super) struct Error {
    status: StatusCode,
    code: &'static str,
    inner_code: Option<&'static str>,
    message: String,
}

impl Error {
    fn new(status: StatusCode, code: &'static str, message: &str) -> Self {
        Self { status, code, inner_code: None, message: message.to_owned() }
    }

    fn forbidden(inner_code: &'static str, message: &str) -> Self {
        Self { inner_code: Some(inner_code), ..Self::new(StatusCode::FORBIDDEN, "Forbidden", message) }
    }

    pub(super) fn bad(message: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadParameter", message)
    }

    pub(super) fn method_not_allowed() -> Self {
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
        Self::forbidden("SecretDisabled", "Operation get is not allowed on a disabled secret.")
    }

    pub(super) fn forbidden_by_rbac(action: &str) -> Self {
        let message = format!(
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny assignments or role \
             definitions were changed recently, please observe propagation time.\r\nAction: '{action}'\r\nAssignment: (not \
             found)\r\nDecisionReason: 'DeniedWithNoValidRBAC'"
        );
        Self::forbidden("ForbiddenByRbac", &message)
    }

    pub(super) fn forbidden_by_firewall() -> Self {
        let message = "Client address is not authorized and caller is not a trusted service.\r\nClient address: \
                       203.0.113.7";
        Self::forbidden("ForbiddenByFirewall", message)
    }

    pub(super) fn with_status(status: StatusCode) -> Self {
        let (code, message) = match status {
            StatusCode::TOO_MANY_REQUESTS => ("Throttled", "Request was not processed because too many requests came."),
            StatusCode::SERVICE_UNAVAILABLE => ("ServiceUnavailable", "The service is unavailable."),
            _ => ("InternalServerError", "An error that was set by a test."),
        };
        Self::new(status, code, message)
    }

    pub(super) fn response(&self) -> Response<Body> {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(code) = self.inner_code {
            error["innererror"] = json!({"code": code});
        }
        response::json(self.status, &json!({"error": error}))
    }
}

/// The response to a request without a valid token.
pub(super) fn challenge(resource: &str, why: &str) -> Response<Body> {
    let error = Error::new(StatusCode::UNAUTHORIZED, "Unauthorized", why);
    let line = format!("Bearer authorization=\"https://login.microsoftonline.com/{TENANT}\", resource=\"{resource}\"");
    response::with(error.response(), "www-authenticate", &line)
}
