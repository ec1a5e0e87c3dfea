use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use super::brand::Brand;
use super::{Grant, State};
use crate::web::{base64url, guid, jwt, lock, random_text};

const LIFE: u64 = 3_600;
const NAME: &str = "Ada Lovelace";
const EMAIL: &str = "ada.lovelace@contoso.example";

/// A token response, without a refresh token.
pub(super) fn tokens(state: &State, grant: &Grant, scopes: &[String], is_sign_in: bool) -> Value {
    let access_token = access_token(state, grant, scopes);
    let mut response = json!({"token_type": "Bearer", "expires_in": LIFE, "access_token": access_token});
    // Keycloak issues one at every refresh, the others where `openid` is among the scopes.
    if state.options.brand == Brand::Keycloak || scopes.iter().any(|scope| scope == "openid") {
        response["id_token"] = id_token(state, grant, &access_token, is_sign_in).into();
    }
    let text = |scopes: &[String]| scopes.join(" ");
    match state.options.brand {
        Brand::EntraId | Brand::ExternalId => {
            let api: Vec<String> = scopes.iter().filter(|scope| scope.as_str() != "offline_access").cloned().collect();
            response["scope"] = text(&api).into();
            response["ext_expires_in"] = LIFE.into();
        }
        Brand::B2c => {
            response["scope"] = state.options.brand.api_scope().into();
            response["not_before"] = 1_700_000_000.into();
            response["refresh_token_expires_in"] = 1_209_600.into();
        }
        Brand::Keycloak => {
            // The whole grant, whatever this request asked for.
            response["scope"] = text(&grant.scopes).into();
            response["refresh_expires_in"] = 1_800.into();
            response["not-before-policy"] = 0.into();
            response["session_state"] = guid(rand::random()).into();
        }
        Brand::Okta => response["scope"] = text(scopes).into(),
        Brand::Auth0 => {
            response["scope"] = text(scopes).into();
            response["expires_in"] = 86_400.into();
        }
        // Cognito's responses have no `scope`.
        Brand::Cognito => {}
        Brand::Google => {
            let spelled = |scope: &String| match scope.as_str() {
                "email" | "profile" => format!("https://www.googleapis.com/auth/userinfo.{scope}"),
                _ => scope.clone(),
            };
            response["scope"] = text(&scopes.iter().map(spelled).collect::<Vec<_>>()).into();
            response["expires_in"] = (LIFE - 1).into();
        }
    }
    response
}

fn access_token(state: &State, grant: &Grant, scopes: &[String]) -> String {
    let brand = state.options.brand;
    let is_opaque = brand == Brand::Google || grant.audience.as_deref() != brand.required_audience();
    let token = if is_opaque {
        format!("ya29.{}", random_text(120))
    } else {
        let claims = json!({"iss": state.issuer(), "jti": random_text(12), "scope": scopes.join(" ")});
        sign(state, &claims)
    };
    // Auth0's opaque token is for its own `userinfo` only.
    if brand == Brand::Google || !is_opaque {
        lock(&state.store).access.insert(token.clone(), scopes.to_vec());
    }
    token
}

fn id_token(state: &State, grant: &Grant, access_token: &str, is_sign_in: bool) -> String {
    let now = state.core.clock.now();
    let mut claims = json!({
        "iss": state.issuer(), "aud": state.options.client_id, "sub": "ada", "iat": now, "exp": now + LIFE,
    });
    if is_sign_in {
        claims["nonce"] = grant.nonce.as_str().into();
    }
    for (name, value) in more_claims(state, access_token, now).as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    let token = sign(state, &claims);
    lock(&state.store).id_tokens.insert(token.clone());
    token
}

/// What each adds to the required claims.
fn more_claims(state: &State, access_token: &str, now: u64) -> Value {
    let half = |hash: &[u8]| base64url(hash.iter().copied().take(16).collect::<Vec<u8>>());
    let at_hash = half(digest(&SHA256, access_token.as_bytes()).as_ref());
    let client = &state.options.client_id;
    let tenant = state.options.issuer_path.split('/').find(|part| part.len() == 36).unwrap_or_default();
    match state.options.brand {
        Brand::EntraId | Brand::ExternalId => json!({
            "nbf": now, "oid": guid([7; 16]), "tid": tenant, "name": NAME, "preferred_username": EMAIL, "ver": "2.0",
            "rh": "1.AX", "uti": random_text(16),
        }),
        Brand::B2c => json!({
            "nbf": now, "auth_time": now, "tfp": "B2C_1_signin", "name": NAME, "emails": [EMAIL], "ver": "1.0",
            "at_hash": at_hash,
        }),
        Brand::Keycloak => json!({
            "typ": "ID", "azp": client, "auth_time": now, "sid": random_text(16), "at_hash": at_hash, "acr": "1",
            "email_verified": true, "name": NAME, "preferred_username": EMAIL, "email": EMAIL,
        }),
        Brand::Okta => json!({
            "ver": 1, "jti": "ID.x", "amr": ["pwd"], "idp": "00o1", "auth_time": now, "at_hash": at_hash, "name": NAME,
            "preferred_username": EMAIL,
        }),
        Brand::Auth0 => json!({
            "nickname": "ada", "name": NAME, "email": EMAIL, "picture": "https://cdn.example/a.png",
            "updated_at": "2026-11-01T00:00:00.000Z", "sid": random_text(16),
        }),
        Brand::Cognito => json!({
            "token_use": "id", "cognito:username": "ada", "origin_jti": guid(rand::random()), "auth_time": now,
            "at_hash": at_hash, "name": NAME, "email": EMAIL, "email_verified": true,
        }),
        Brand::Google => json!({
            "azp": client, "hd": "contoso.example", "email": EMAIL, "email_verified": true, "at_hash": at_hash,
            "name": NAME,
        }),
    }
}

fn sign(state: &State, claims: &Value) -> String {
    let mut header = state.key.header();
    // Neither of the two has `typ`.
    if matches!(state.options.brand, Brand::Okta | Brand::Cognito) {
        _ = header.as_object_mut().and_then(|header| header.remove("typ"));
    }
    let message = jwt::message(&header, claims);
    format!("{message}.{}", base64url(state.key.sign(&message)))
}
