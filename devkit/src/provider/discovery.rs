use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{State, TENANT_ALIASES};
use crate::web::{Body, response};

pub(super) fn metadata(state: &State, authority: &str) -> Response<Body> {
    cacheable(&document(state, authority))
}

pub(super) fn keys(state: &State) -> Response<Body> {
    cacheable(&state.keys.set())
}

fn cacheable(body: &Value) -> Response<Body> {
    response::with(response::json(StatusCode::OK, body), "cache-control", "max-age=86400, private")
}

fn document(state: &State, authority: &str) -> Value {
    let issuer = state.issuer(if TENANT_ALIASES.contains(&authority) { "{tenantid}" } else { authority });
    let base = format!("{}/{authority}", state.origin);
    let mut document = json!({
        "token_endpoint": format!("{base}/oauth2/v2.0/token"),
        "jwks_uri": format!("{base}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": false,
        "authorization_endpoint": format!("{base}/oauth2/v2.0/authorize"),
        "http_logout_supported": true,
        "end_session_endpoint": format!("{base}/oauth2/v2.0/logout"),
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "nonce", "preferred_username", "name", "tid",
            "oid", "email", "roles", "sid", "ver", "at_hash"],
        "tenant_region_scope": "EU",
        "cloud_instance_name": "localhost",
    });
    if let Some(methods) = &state.options.secret_methods {
        let assertion = ["private_key_jwt".to_owned()];
        document["token_endpoint_auth_methods_supported"] = json!([methods.as_slice(), &assertion].concat());
    }
    if state.options.revocation {
        document["revocation_endpoint"] = format!("{base}/oauth2/v2.0/revoke").into();
    }
    if state.options.iss_parameter {
        document["authorization_response_iss_parameter_supported"] = true.into();
    }
    document
}
