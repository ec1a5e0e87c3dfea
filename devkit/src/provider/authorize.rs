use http::{Response, StatusCode};
use serde_json::Value;

use super::directory::{User, user};
use super::error::Error;
use super::options::{Client, TENANT};
use super::page::{self, SignIn};
use super::scopes::Scopes;
use super::store::{AuthRequest, Code, Grant, ResponseTarget, Session, Store};
use super::{Callback, State, cookie};
use crate::web::{Body, Form, Recorded, from_base64url, guid, lock, random_text, response};

pub(super) const COOKIE: &str = "provider-session";
/// Seconds.
const CODE_LIFE: u64 = 60;
const CODE_SIZE: usize = 900;

/// Why an authorization request is invalid.
pub(super) enum Rejected {
    /// Shown to the user, since there is no registered URI to return to.
    Page(String),
    /// Sent to the client.
    Client(ResponseTarget, Error),
}

/// `GET …/oauth2/v2.0/authorize`.
pub(super) fn authorize(state: &State, authority: &str, request: &Recorded) -> Response<Body> {
    if request.method != "GET" {
        return response::with(response::empty(StatusCode::METHOD_NOT_ALLOWED), "allow", "GET");
    }
    let own_cookie = cookie(request);
    let request = match validate(state, authority, request.query().unwrap_or_default()) {
        Ok(request) => request,
        Err(Rejected::Page(text)) => return page::error(StatusCode::BAD_REQUEST, &text),
        Err(Rejected::Client(target, error)) => return error_response(state, &target, &error),
    };
    let mut store = lock(&state.store);
    let session = own_cookie.and_then(|cookie| store.sessions.get(&cookie).cloned());
    let session = session.filter(|session| matches_hint(&request, &session.user));
    match session.map(|session| (is_consented(&store, &request, &session.user), session)) {
        Some((true, session)) if !request.interactive => {
            finish(state, &mut store, request, &session).response(StatusCode::FOUND)
        }
        Some((false, _)) if request.silent => {
            let error = Error::new("interaction_required", 65_001, "The user has not consented.");
            error_response(state, &request.target, &error)
        }
        None if request.silent => {
            let error = Error::new("login_required", 50_058, "No user is signed in.");
            error_response(state, &request.target, &error)
        }
        _ => {
            let id = random_text(18);
            let page = sign_in_page(&id, &request, None);
            store.pending.insert(id, request);
            page
        }
    }
}

/// `POST …/login`, by the sign-in page.
pub(super) fn submit(state: &State, request: &Recorded) -> Response<Body> {
    let form = request.form();
    let mut store = lock(&state.store);
    let id = form.get("request").unwrap_or_default();
    let pending = store.pending.get(id).filter(|_| request.method == "POST" && form.duplicate().is_none());
    let Some(request) = pending.cloned() else {
        return page::error(StatusCode::BAD_REQUEST, "There is no such sign-in, or it has ended already.");
    };
    let name = form.get("user").or_else(|| form.get("username")).unwrap_or_default().trim();
    let user = user(name);
    let cancelled = form.get("action") == Some("cancel");
    let Some(user) = user.filter(|_| !cancelled) else {
        if !cancelled {
            return sign_in_page(id, &request, Some("The user name is missing."));
        }
        store.pending.remove(id);
        let error = Error::new("access_denied", 65_004, "User declined to consent to access the app.");
        return error_callback(state, &request.target, &error).response(StatusCode::SEE_OTHER);
    };
    store.pending.remove(id);
    let session = Session { user, sid: guid(rand::random()) };
    let cookie = random_text(24);
    store.sessions.insert(cookie.clone(), session.clone());
    let response = finish(state, &mut store, request, &session).response(StatusCode::SEE_OTHER);
    response::with(response, "set-cookie", &format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax"))
}

/// Validates an authorization request, first the parameters that decide where a response may go.
pub(super) fn validate(state: &State, authority: &str, query: &str) -> Result<AuthRequest, Rejected> {
    let form = Form::parse(query.as_bytes());
    if let Some(name) = form.duplicate() {
        return Err(Rejected::Page(format!("AADSTS9000411: The parameter '{name}' is duplicated.")));
    }
    let client = form.get("client_id").and_then(|id| state.options.client(id));
    let client = client.ok_or_else(|| Rejected::Page("AADSTS700016: The application was not found.".to_owned()))?;
    let uri = form.get("redirect_uri").filter(|&uri| client.redirect_uris.iter().any(|have| have == uri));
    let uri = uri.ok_or_else(|| {
        Rejected::Page("AADSTS50011: The redirect URI does not match the redirect URIs of the application.".to_owned())
    })?;
    Scopes::parse(form.get("scope").unwrap_or_default()).map_err(|error| Rejected::Page(error.description()))?;
    let target = ResponseTarget {
        uri: uri.to_owned(),
        form_post: form.get("response_mode") == Some("form_post"),
        state: form.get("state").map(str::to_owned),
    };
    parameters(authority, client, &form, &target).map_err(|error| Rejected::Client(target, error))
}

fn parameters(authority: &str, client: &Client, form: &Form, target: &ResponseTarget) -> Result<AuthRequest, Error> {
    let invalid = |text: &str| Error::invalid_request(900_144, text);
    let required = |name: &str| {
        form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| invalid(&format!("'{name}' is missing.")))
    };
    if required("response_type")? != "code" {
        return Err(Error::new("unsupported_response_type", 70_007, "Only 'code' is supported."));
    }
    if !matches!(form.get("response_mode"), None | Some("query" | "form_post")) {
        return Err(invalid("'response_mode' must be 'query' or 'form_post'."));
    }
    let scope = required("scope")?;
    if !scope.split_ascii_whitespace().any(|word| word == "openid") {
        return Err(invalid("'scope' must contain 'openid'."));
    }
    required("state")?;
    if form.get("code_challenge_method") != Some("S256") {
        return Err(invalid("'code_challenge_method' must be 'S256'."));
    }
    let challenge = required("code_challenge")?;
    if from_base64url(challenge).is_none_or(|hash| hash.len() != 32) {
        return Err(invalid("'code_challenge' is not the hash of a verifier."));
    }
    if form.get("resource").is_some() {
        return Err(Error::invalid_request(901_002, "'resource' is not supported."));
    }
    let prompts: Vec<&str> = form.get("prompt").unwrap_or_default().split_ascii_whitespace().collect();
    let is_known = |prompt: &&str| ["none", "login", "select_account", "consent"].contains(prompt);
    let silent = prompts.contains(&"none");
    if !prompts.iter().all(is_known) || (silent && prompts.len() > 1) {
        return Err(Error::invalid_request(90_023, "Unsupported 'prompt' value."));
    }
    Ok(AuthRequest {
        client_id: client.id.clone(),
        target: target.clone(),
        scope: scope.to_owned(),
        nonce: required("nonce")?.to_owned(),
        challenge: challenge.to_owned(),
        login_hint: form.get("login_hint").map(str::to_owned),
        claims: claims(form.get("claims"))?,
        authority: authority.to_owned(),
        silent,
        interactive: !silent && !prompts.is_empty(),
    })
}

/// The `claims` parameter (OpenID Connect Core, section 5.5).
pub(super) fn claims(text: Option<&str>) -> Result<Value, Error> {
    let Some(text) = text else {
        return Ok(Value::Null);
    };
    let parsed = serde_json::from_str(text).ok().filter(Value::is_object);
    parsed.ok_or_else(|| Error::invalid_request(901_401, "'claims' is not a JSON object."))
}

fn matches_hint(request: &AuthRequest, user: &User) -> bool {
    request.login_hint.as_ref().is_none_or(|hint| hint.eq_ignore_ascii_case(&user.preferred_username))
}

fn is_consented(store: &Store, request: &AuthRequest, user: &User) -> bool {
    Scopes::parse(&request.scope).is_ok_and(|scopes| {
        let by_user = |scope| store.consented(&request.client_id, &user.sub, scope);
        scopes.api.iter().all(|scope| scope.resource.consented || by_user(scope))
    })
}

fn sign_in_page(id: &str, request: &AuthRequest, alert: Option<&str>) -> Response<Body> {
    let sign_in = SignIn {
        id,
        action: &format!("/{}/login", request.authority),
        scope: &request.scope,
        typed: request.login_hint.as_deref().unwrap_or_default(),
        alert,
    };
    sign_in.response(StatusCode::OK)
}

/// Completes a sign-in: stores grant and consent, and issues a code.
pub(super) fn finish(state: &State, store: &mut Store, request: AuthRequest, session: &Session) -> Callback {
    let scopes = Scopes::parse(&request.scope).unwrap_or_default();
    let grant = store.grant(
        &scopes,
        Grant {
            client_id: request.client_id.clone(),
            user: session.user.clone(),
            sid: session.sid.clone(),
            scope: request.scope.clone(),
            claims: request.claims.clone(),
            revoked: false,
        },
    );
    let code = state.secret("code", State::opaque(CODE_SIZE));
    let target = request.target.clone();
    let expires = state.core.clock.now() + CODE_LIFE;
    store.codes.insert(code.clone(), Code { request, grant, expires, used: false });
    callback(state, &target, [("code", code), ("session_state", session.sid.clone())])
}

pub(super) fn error_callback(state: &State, target: &ResponseTarget, error: &Error) -> Callback {
    let fields = [("error", error.error.to_owned()), ("error_description", error.description())];
    callback(state, target, fields)
}

fn error_response(state: &State, target: &ResponseTarget, error: &Error) -> Response<Body> {
    error_callback(state, target, error).response(StatusCode::FOUND)
}

fn callback(state: &State, target: &ResponseTarget, fields: [(&str, String); 2]) -> Callback {
    let state_field = target.state.clone().map(|value| ("state", value));
    let iss = state.options.iss_parameter.then(|| ("iss", state.issuer(TENANT)));
    let fields = fields.into_iter().chain(state_field).chain(iss);
    Callback {
        uri: target.uri.clone(),
        fields: fields.map(|(name, value)| (name.to_owned(), value)).collect(),
        form_post: target.form_post,
    }
}

impl Callback {
    fn response(&self, status: StatusCode) -> Response<Body> {
        if self.form_post {
            page::form_post(&self.uri, &self.fields)
        } else {
            response::redirect(status, &self.location())
        }
    }
}
