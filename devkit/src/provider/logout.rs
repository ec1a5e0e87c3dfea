use http::header::SET_COOKIE;
use http::{Response, StatusCode};

use super::authorize::COOKIE;
use super::{State, cookie, page};
use crate::web::{Body, Call, Form, lock, reply};

/// `GET …/oauth2/v2.0/logout` (OpenID Connect RP-Initiated Logout). An unregistered return is refused loudly, where
/// Entra would just not return: a gateway under test should not get away with it.
pub(super) fn logout(state: &State, call: &Call) -> Response<Body> {
    let form = Form::parse(call.parts.uri.query().unwrap_or_default().as_bytes());
    if let Some(name) = form.duplicate() {
        return page::error(StatusCode::BAD_REQUEST, &format!("AADSTS9000411: The parameter '{name}' is duplicated."));
    }
    let answer = match form.get("post_logout_redirect_uri") {
        None => page::signed_out(),
        Some(uri) if registered(state, &form, uri) => reply::redirect(StatusCode::FOUND, &back(uri, form.get("state"))),
        Some(_) => {
            return page::error(
                StatusCode::BAD_REQUEST,
                "The return of this sign-out is not registered for the client.",
            );
        }
    };
    if let Some(cookie) = cookie(call) {
        lock(&state.book).sessions.remove(&cookie);
    }
    reply::with(answer, SET_COOKIE, &format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"))
}

fn registered(state: &State, form: &Form, uri: &str) -> bool {
    let client = form.get("client_id").and_then(|id| state.options.client(id));
    client.is_some_and(|client| client.post_logout_redirect_uris.iter().any(|have| have == uri))
}

fn back(uri: &str, state: Option<&str>) -> String {
    let Some(state) = state else {
        return uri.to_owned();
    };
    let state: String = url::form_urlencoded::byte_serialize(state.as_bytes()).collect();
    let joint = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{joint}state={state}")
}
