use http::header::LOCATION;
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
    let session = cookie(request).and_then(|cookie| lock(&state.store).sessions.remove(&cookie));
    let frames = session.map(|session| frames(state, &session.sid)).unwrap_or_default();
    let response = match response.headers().get(LOCATION).and_then(|location| location.to_str().ok()) {
        Some(location) if !frames.is_empty() => page::signing_out(&frames, location),
        _ => response,
    };
    response::with(response, "set-cookie", &format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"))
}

/// The addresses at which the clients of a session end theirs.
fn frames(state: &State, sid: &str) -> Vec<String> {
    let store = lock(&state.store);
    let has_session = |id: &str| store.grants.iter().any(|grant| grant.client_id == id && grant.sid == sid);
    let clients = state.options.clients.iter().filter(|client| has_session(&client.id));
    let uris = clients.filter_map(|client| client.frontchannel_logout_uri.as_deref());
    uris.map(|uri| append_query(uri, &format!("sid={sid}"))).collect()
}

fn is_registered(state: &State, form: &Form, uri: &str) -> bool {
    let client = form.get("client_id").and_then(|id| state.options.client(id));
    client.is_some_and(|client| client.post_logout_redirect_uris.iter().any(|have| have == uri))
}
