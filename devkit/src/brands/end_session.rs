use http::{Response, StatusCode};

use super::State;
use super::brand::Brand;
use crate::web::{Body, Form, Recorded, lock, response};

/// The end-session endpoint. A page is status 200 (a confirmation) or 400.
pub(super) fn end_session(state: &State, request: &Recorded) -> Response<Body> {
    let form = request.query_form();
    let brand = state.options.brand;
    let is_client = form.get("client_id") == Some(state.options.client_id.as_str());
    match brand {
        _ if form.duplicate().is_some() => page(StatusCode::BAD_REQUEST),
        Brand::EntraId | Brand::ExternalId | Brand::B2c | Brand::Keycloak => {
            back(state, &form, "post_logout_redirect_uri", is_client, true)
        }
        Brand::Okta => back(state, &form, "post_logout_redirect_uri", has_own_hint(state, &form), true),
        Brand::Auth0 if request.path() == "/v2/logout" => back(state, &form, "returnTo", is_client, false),
        // Auth0's newer endpoint compares `logout_hint` with the session's `sid`, and asks without any hint.
        Brand::Auth0 if form.get("logout_hint").is_some() => page(StatusCode::BAD_REQUEST),
        Brand::Auth0 if !has_own_hint(state, &form) => page(StatusCode::OK),
        Brand::Auth0 => back(state, &form, "post_logout_redirect_uri", true, true),
        Brand::Cognito => back(state, &form, "logout_uri", is_client, false),
        Brand::Google => response::empty(StatusCode::NOT_FOUND),
    }
}

/// Back to the application, if the request is accepted and the address is registered.
fn back(state: &State, form: &Form, name: &str, is_accepted: bool, with_state: bool) -> Response<Body> {
    let uri = form.get(name).filter(|uri| *uri == state.options.post_logout_redirect_uri);
    let Some(uri) = uri.filter(|_| is_accepted) else { return page(StatusCode::BAD_REQUEST) };
    let returned = form.get("state").filter(|_| with_state);
    let query =
        returned.map(|value| url::form_urlencoded::Serializer::new(String::new()).append_pair("state", value).finish());
    response::redirect(StatusCode::FOUND, &query.map_or_else(|| uri.to_owned(), |query| format!("{uri}?{query}")))
}

/// Whether `id_token_hint` is an ID token that this provider issued.
fn has_own_hint(state: &State, form: &Form) -> bool {
    form.get("id_token_hint").is_some_and(|token| lock(&state.store).id_tokens.contains(token))
}

fn page(status: StatusCode) -> Response<Body> {
    response::html(status, format!("<h1>{status}</h1>"))
}
