use url::Url;

use super::brand::{Brand, UnknownScope};
use super::{Grant, State};
use crate::web::{Form, base64url, from_base64url, guid, lock, random_text};

/// Where the provider redirects the browser, or the text of its error page.
pub(super) fn respond(state: &State, authorize_url: &str) -> Result<String, String> {
    let url = Url::parse(authorize_url).map_err(|error| error.to_string())?;
    let brand = state.options.brand;
    if url.path() != brand.paths(&state.options.issuer_path).authorize {
        return Err(format!("{} is not the authorization endpoint", url.path()));
    }
    let form = Form::parse(url.query().unwrap_or_default().as_bytes());
    let uri = check_client(state, &form)?;
    match grant(brand, &form, &uri)? {
        Ok(grant) => Ok(issue_code(state, grant, &form, &uri)),
        Err(error) => Ok(redirect(state, &uri, &form, &[("error", error.to_owned())])),
    }
}

/// The redirect URI, if client and URI are registered.
fn check_client(state: &State, form: &Form) -> Result<String, String> {
    if let Some(name) = form.duplicate() {
        return Err(format!("the parameter '{name}' is duplicated"));
    }
    if form.get("client_id") != Some(state.options.client_id.as_str()) {
        return Err("unknown client".to_owned());
    }
    let uri = form.get("redirect_uri").filter(|uri| *uri == state.options.redirect_uri);
    uri.map(str::to_owned).ok_or_else(|| "the redirect URI is not registered".to_owned())
}

/// What is granted; or an error for the client; or the text of a page.
fn grant(brand: Brand, form: &Form, uri: &str) -> Result<Result<Grant, &'static str>, String> {
    let required = ["state", "nonce", "code_challenge"].map(|name| form.get(name).filter(|value| !value.is_empty()));
    let [Some(_), Some(nonce), Some(challenge)] = required else {
        return Ok(Err("invalid_request"));
    };
    let is_s256 = form.get("code_challenge_method") == Some("S256")
        && from_base64url(challenge).is_some_and(|hash| hash.len() == 32);
    if form.get("response_type") != Some("code") || !is_s256 || form.get("resource").is_some() {
        return Ok(Err("invalid_request"));
    }
    let prompt = form.get("prompt");
    if brand == Brand::Google && !matches!(prompt, None | Some("none" | "consent" | "select_account")) {
        return Err("Error 400: invalid_request: Invalid prompt".to_owned());
    }
    let audience = form.get("audience").map(str::to_owned);
    if brand == Brand::Auth0 && audience.as_deref().is_some_and(|audience| Some(audience) != brand.required_audience())
    {
        return Ok(Err("access_denied"));
    }
    let mut scopes = Vec::new();
    for scope in form.get("scope").unwrap_or_default().split(' ') {
        let is_known = brand.openid_scopes().contains(&scope) || scope == brand.api_scope();
        match brand.unknown_scope() {
            _ if is_known => scopes.push(scope.to_owned()),
            UnknownScope::Page(text) => return Err(text.to_owned()),
            UnknownScope::Error => return Ok(Err("invalid_scope")),
            UnknownScope::Ignored => {}
        }
    }
    if !scopes.iter().any(|scope| scope == "openid") {
        return Ok(Err("invalid_request"));
    }
    let (redirect_uri, challenge, nonce) = (uri.to_owned(), challenge.to_owned(), nonce.to_owned());
    Ok(Ok(Grant { redirect_uri, challenge, nonce, scopes, has_refresh_token: false, audience }))
}

fn issue_code(state: &State, grant: Grant, form: &Form, uri: &str) -> String {
    let brand = state.options.brand;
    let mut store = lock(&state.store);
    let is_new_consent = !store.consented || form.get("prompt") == Some("consent");
    store.consented = true;
    let has_refresh_token = match brand {
        Brand::Keycloak | Brand::Cognito => true,
        Brand::Google => form.get("access_type") == Some("offline") && is_new_consent,
        _ => grant.scopes.iter().any(|scope| scope == "offline_access"),
    };
    let code = match brand {
        Brand::Keycloak => [guid(rand::random()), guid(rand::random()), guid(rand::random())].join("."),
        Brand::Google => format!("4/0A{}", random_text(40)),
        _ => random_text(30),
    };
    store.codes.insert(code.clone(), Grant { has_refresh_token, ..grant });
    drop(store);
    let mut fields = vec![("code", code)];
    match brand {
        Brand::EntraId | Brand::ExternalId | Brand::Keycloak => fields.push(("session_state", guid(rand::random()))),
        Brand::Google => fields.extend([
            ("scope", "email profile openid".to_owned()),
            ("authuser", "0".to_owned()),
            ("hd", "contoso.example".to_owned()),
            ("prompt", "consent".to_owned()),
        ]),
        _ => {}
    }
    redirect(state, uri, form, &fields)
}

fn redirect(state: &State, uri: &str, form: &Form, fields: &[(&str, String)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(format!("{uri}?"));
    let query = query.extend_pairs(form.get("state").map(|value| ("state", value)));
    let query = query.extend_pairs(fields);
    if state.options.brand.has_iss() {
        query.append_pair("iss", &state.issuer());
    }
    query.finish().replacen("?&", "?", 1)
}

/// Whether a verifier belongs to a challenge (RFC 7636 section 4.6).
pub(super) fn is_verifier(verifier: &str, challenge: &str) -> bool {
    base64url(ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes())) == challenge
}
