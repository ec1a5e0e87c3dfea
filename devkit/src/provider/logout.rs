use http::{Response, StatusCode};

use super::authorize::COOKIE;
use super::{State, append_query, cookie, page};
use crate::web::{Body, Form, Recorded, lock, response};

/// `GET …/oauth2/v2.0/logout` (OpenID Connect RP-Initiated Logout). An unregistered return is an error, where Entra
/// would just stay on its own page: a gateway under test must not send one.
pub(super) fn logout(state: &State, request: &Recorded) -> Response<Body> {
    let form = request.query_form();
    if let Some(name) = form.duplicate() {
        return page::error(StatusCode::BAD_REQUEST, &format!("AADSTS9000411: The parameter '{name}' is duplicated."));
    }
    let response = match form.get("post_logout_redirect_uri") {
        None => page::signed_out(),
        Some(uri) if is_registered(state, &form, uri) => {
            let encode = |state: &str| url::form_urlencoded::byte_serialize(state.as_bytes()).collect::<String>();
            let state = form.get("state").map(|state| append_query(uri, &format!("state={}", encode(state))));
            response::redirect(StatusCode::FOUND, state.as_deref().unwrap_or(uri))
        }
        Some(_) => {
            return page::error(
                StatusCode::BAD_REQUEST,
                "The post_logout_redirect_uri is not registered for the client.",
            );
        }
    };
    if let Some(cookie) = cookie(request) {
        lock(&state.store).sessions.remove(&cookie);
    }
    response::with(response, "set-cookie", &format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"))
}

fn is_registered(state: &State, form: &Form, uri: &str) -> bool {
    let client = form.get("client_id").and_then(|id| state.options.client(id));
    client.is_some_and(|client| client.post_logout_redirect_uris.iter().any(|have| have == uri))
}
