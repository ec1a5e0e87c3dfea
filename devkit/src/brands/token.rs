use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::brand::Brand;
use super::{Grant, State, authorize, mint};
use crate::web::{Body, Form, Recorded, lock, random_text, response};

/// An error of the token endpoint: `error`, and Microsoft's `suberror`.
type Rejected = (&'static str, Option<&'static str>);

/// The token endpoint.
pub(super) fn token(state: &State, request: &Recorded) -> Response<Body> {
    match tokens(state, request) {
        Ok(tokens) => response::with(response::json(StatusCode::OK, &tokens), "cache-control", "no-store"),
        Err((error, suberror)) => {
            let mut body = json!({"error": error});
            if state.options.brand.is_microsoft() {
                body["error_codes"] = json!([70_000]);
                body["suberror"] = json!(suberror);
            }
            let is_client = error == "invalid_client";
            response::json(if is_client { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST }, &body)
        }
    }
}

/// The revocation endpoint (RFC 7009).
pub(super) fn revoke(state: &State, request: &Recorded) -> Response<Body> {
    let form = request.form();
    let revoked = authenticate(state, request, &form).and_then(|()| required(&form, "token").map(str::to_owned));
    match revoked {
        Ok(token) => {
            let mut store = lock(&state.store);
            store.refresh.remove(&token);
            store.revoked.insert(token);
            response::empty(StatusCode::OK)
        }
        Err((error, _)) => response::json(StatusCode::BAD_REQUEST, &json!({"error": error})),
    }
}

fn tokens(state: &State, request: &Recorded) -> Result<Value, Rejected> {
    let is_form = request.header("content-type").is_some_and(|of| of.starts_with("application/x-www-form-urlencoded"));
    let form = request.form();
    if request.method != "POST" || !is_form || request.query().is_some() || form.duplicate().is_some() {
        return Err(("invalid_request", None));
    }
    authenticate(state, request, &form)?;
    // Only Entra rejects it in so many words, but none of them reads it as this gateway means it.
    if form.get("resource").is_some() {
        return Err(("invalid_request", None));
    }
    match required(&form, "grant_type")? {
        "authorization_code" => exchange_code(state, &form),
        "refresh_token" => refresh(state, &form),
        _ => Err(("unsupported_grant_type", None)),
    }
}

/// By `client_secret_post` or `client_secret_basic`, not both.
fn authenticate(state: &State, request: &Recorded, form: &Form) -> Result<(), Rejected> {
    let decode = |part: &str| Form::parse(format!("v={part}").as_bytes()).get("v").unwrap_or_default().to_owned();
    let basic = request.header("authorization").and_then(|value| value.strip_prefix("Basic ")).and_then(|text| {
        let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        pair.split_once(':').map(|(id, secret)| (decode(id), decode(secret)))
    });
    let post = form
        .get("client_secret")
        .map(|secret| (form.get("client_id").unwrap_or_default().to_owned(), secret.to_owned()));
    let registered = (state.options.client_id.clone(), state.options.client_secret.clone());
    match (basic, post) {
        (Some(sent), None) | (None, Some(sent)) if sent == registered => Ok(()),
        _ => Err(("invalid_client", None)),
    }
}

fn exchange_code(state: &State, form: &Form) -> Result<Value, Rejected> {
    // A code works once.
    let grant = lock(&state.store).codes.remove(required(form, "code")?).ok_or(("invalid_grant", None))?;
    let verifier = required(form, "code_verifier")?;
    if form.get("redirect_uri") != Some(&grant.redirect_uri) || !authorize::is_verifier(verifier, &grant.challenge) {
        return Err(("invalid_grant", None));
    }
    let scopes = grant.scopes.clone();
    let mut tokens = mint::tokens(state, &grant, &scopes, true);
    if grant.has_refresh_token {
        tokens["refresh_token"] = new_refresh_token(state, grant).into();
    }
    Ok(tokens)
}

fn refresh(state: &State, form: &Form) -> Result<Value, Rejected> {
    let token = required(form, "refresh_token")?;
    let grant = lock(&state.store).refresh.get(token).cloned().ok_or(("invalid_grant", None))?;
    let brand = state.options.brand;
    let scopes = match form.get("scope") {
        // Cognito has no such parameter here.
        Some(_) if brand == Brand::Cognito => grant.scopes.clone(),
        None => grant.scopes.clone(),
        Some(requested) => narrowed(brand, &grant, requested)?,
    };
    let mut tokens = mint::tokens(state, &grant, &scopes, false);
    match brand {
        Brand::EntraId | Brand::ExternalId | Brand::B2c | Brand::Keycloak => {
            tokens["refresh_token"] = new_refresh_token(state, grant).into();
        }
        Brand::Okta => tokens["refresh_token"] = token.into(),
        // Without rotation the old one stays valid, and none is in the response.
        Brand::Auth0 | Brand::Cognito | Brand::Google => {}
    }
    Ok(tokens)
}

/// What the scopes of a refresh make of a grant.
fn narrowed(brand: Brand, grant: &Grant, requested: &str) -> Result<Vec<String>, Rejected> {
    let requested: Vec<String> = requested.split(' ').map(str::to_owned).collect();
    let is_granted = |scope: &String| grant.scopes.contains(scope);
    match brand {
        // Google's scopes may be spelled in two ways.
        _ if requested.iter().all(is_granted) => Ok(requested),
        Brand::Keycloak | Brand::Auth0 => Ok(requested.into_iter().filter(is_granted).collect()),
        Brand::EntraId | Brand::ExternalId | Brand::B2c => Err(("invalid_grant", Some("consent_required"))),
        Brand::Okta | Brand::Cognito | Brand::Google => Err(("invalid_scope", None)),
    }
}

fn new_refresh_token(state: &State, grant: Grant) -> String {
    let token = match state.options.brand {
        Brand::Google => format!("1//0{}", random_text(60)),
        _ => random_text(100),
    };
    lock(&state.store).refresh.insert(token.clone(), grant);
    token
}

fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, Rejected> {
    form.get(name).ok_or(("invalid_request", None))
}
