use http::header::CACHE_CONTROL;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{State, WORDS};
use crate::web::{Body, reply};

/// The discovery document of a tenant, or of one of Entra's words for several.
pub(super) fn discovery(state: &State, authority: &str) -> Response<Body> {
    let answer = reply::json(StatusCode::OK, &document(state, authority));
    reply::with(answer, CACHE_CONTROL, "max-age=86400, private")
}

pub(super) fn keys(state: &State) -> Response<Body> {
    reply::with(reply::json(StatusCode::OK, &state.keys.set()), CACHE_CONTROL, "max-age=86400, private")
}

fn document(state: &State, authority: &str) -> Value {
    let issuer = state.issuer(if WORDS.contains(&authority) { "{tenantid}" } else { authority });
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
    let mut also = |name: &str, value: Value| {
        if let Some(members) = document.as_object_mut() {
            members.insert(name.to_owned(), value);
        }
    };
    if let Some(methods) = &state.options.secret_methods {
        let also_asserted = ["private_key_jwt".to_owned()];
        let methods: Vec<&String> = methods.iter().chain(&also_asserted).collect();
        also("token_endpoint_auth_methods_supported", json!(methods));
    }
    if state.options.revocation {
        also("revocation_endpoint", format!("{base}/oauth2/v2.0/revoke").into());
    }
    if state.options.iss_parameter {
        also("authorization_response_iss_parameter_supported", true.into());
    }
    document
}
