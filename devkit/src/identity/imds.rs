//! The metadata service of a virtual machine (IMDS), as far as it issues tokens.

use http::{Response, StatusCode};
use serde_json::json;

use super::State;
use crate::web::{Body, Recorded, response};

pub(super) const PATH: &str = "/metadata/identity/oauth2/token";

/// The oldest version with this operation, and the newest that is documented for it.
const VERSIONS: std::ops::RangeInclusive<&str> = "2018-02-01"..="2019-08-01";

pub(super) fn token(state: &State, request: &Recorded) -> Response<Body> {
    let rejected = |error, description| {
        let body = json!({"error": error, "error_description": description});
        response::json(StatusCode::BAD_REQUEST, &body)
    };
    if request.header("metadata") != Some("true") {
        return rejected("bad_request_102", "Required metadata header not specified");
    }
    // Whoever forwards requests of others must not be able to get a token for them.
    if request.header("x-forwarded-for").is_some() {
        return rejected("bad_request", "X-Forwarded-For is not allowed");
    }
    let query = request.query_form();
    if !query.get("api-version").is_some_and(|version| VERSIONS.contains(&version)) {
        return rejected("bad_request_101", "The api-version is missing or not supported.");
    }
    let Some(resource) = query.get("resource").filter(|resource| !resource.is_empty()) else {
        return rejected("invalid_request", "The resource is missing.");
    };
    let Some(client_id) = state.identity_of(&query) else { return rejected("invalid_request", "Identity not found") };
    let (token, expires) = state.issue(client_id, resource);
    let now = state.core.clock.now();
    let body = json!({
        "access_token": token,
        "client_id": client_id,
        "expires_in": (expires - now).to_string(),
        "expires_on": expires.to_string(),
        "ext_expires_in": (expires - now).to_string(),
        "not_before": now.to_string(),
        "resource": resource,
        "token_type": "Bearer",
    });
    response::json(StatusCode::OK, &body)
}
