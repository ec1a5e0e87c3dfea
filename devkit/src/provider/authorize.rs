use http::header::SET_COOKIE;
use http::{Method, Response, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::book::{AuthRequest, Back, Book, Code, Grant, Session};
use super::options::{Client, User};
use super::page::{self, SignIn};
use super::refusal::Refusal;
use super::scopes::Scopes;
use super::{Callback, State, WORDS};
use crate::web::{Body, Call, Form, from_base64url, guid, lock, random_text, reply};

pub(super) const COOKIE: &str = "provider-session";

/// Why there is no authorization request to go on with.
pub(super) enum Denied {
    /// Nobody can be told but the user.
    Page(String),
    /// The client is told.
    Client(Back, Refusal),
}

/// `GET …/oauth2/v2.0/authorize`.
pub(super) fn authorize(state: &State, authority: &str, call: &Call) -> Response<Body> {
    if call.parts.method != Method::GET {
        return reply::with(reply::empty(StatusCode::METHOD_NOT_ALLOWED), http::header::ALLOW, "GET");
    }
    let request = match check(state, authority, call.parts.uri.query().unwrap_or_default()) {
        Ok(request) => request,
        Err(Denied::Page(text)) => return page::error(StatusCode::BAD_REQUEST, &text),
        Err(Denied::Client(back, refusal)) => {
            return refuse(state, &back, &refusal).reply(StatusCode::FOUND);
        }
    };
    let mut book = lock(&state.book);
    let session = session(&book, call).filter(|session| hinted(&request, &session.user));
    match session.map(|session| (consented(state, &book, &request, &session.user), session)) {
        Some((true, session)) if !request.page_wanted => {
            finish(state, &mut book, request, &session).reply(StatusCode::FOUND)
        }
        Some((false, _)) if request.silent_only => {
            let refusal = Refusal::new("interaction_required", 65_001).saying("The user has not consented.");
            refuse(state, &request.back, &refusal).reply(StatusCode::FOUND)
        }
        None if request.silent_only => {
            let refusal = Refusal::new("login_required", 50_058).saying("No user is signed in.");
            refuse(state, &request.back, &refusal).reply(StatusCode::FOUND)
        }
        _ => ask(state, &mut book, request),
    }
}

/// `POST …/login`: what the sign-in page sends.
pub(super) fn sign_in(state: &State, call: &Call) -> Response<Body> {
    let form = Form::parse(&call.request.body);
    let mut book = lock(&state.book);
    let id = form.get("request").unwrap_or_default();
    if call.parts.method != Method::POST || form.duplicate().is_some() || !book.pending.contains_key(id) {
        return page::error(StatusCode::BAD_REQUEST, "There is no such sign-in, or it has ended already.");
    }
    let name = form.get("user").or_else(|| form.get("username")).unwrap_or_default().trim();
    let user = user(state, name);
    let cancelled = form.get("action") == Some("cancel");
    if user.is_none() && !cancelled {
        let shown = book.pending.get(id).map(|request| show(state, id, request, Some("Nobody has that user name.")));
        return shown.unwrap_or_else(page::signed_out);
    }
    match (book.pending.remove(id), user) {
        (Some(request), Some(user)) if !cancelled => {
            let session = Session { user, sid: guid(rand::random()) };
            let cookie = random_text(24);
            book.sessions.insert(cookie.clone(), session.clone());
            let answer = finish(state, &mut book, request, &session).reply(StatusCode::SEE_OTHER);
            reply::with(answer, SET_COOKIE, &format!("{COOKIE}={cookie}; Path=/; HttpOnly; SameSite=Lax"))
        }
        (Some(request), _) => {
            let refusal = Refusal::new("access_denied", 65_004).saying("User declined to consent to access the app.");
            refuse(state, &request.back, &refusal).reply(StatusCode::SEE_OTHER)
        }
        (None, _) => page::signed_out(),
    }
}

/// Checks an authorization request. First what decides where an answer may go at all.
pub(super) fn check(state: &State, authority: &str, query: &str) -> Result<AuthRequest, Denied> {
    let form = Form::parse(query.as_bytes());
    if let Some(name) = form.duplicate() {
        return Err(Denied::Page(format!("AADSTS9000411: The parameter '{name}' is duplicated.")));
    }
    let client = form.get("client_id").and_then(|id| state.options.client(id));
    let client = client.ok_or_else(|| Denied::Page("AADSTS700016: The application was not found.".to_owned()))?;
    let uri = form.get("redirect_uri").filter(|&uri| client.redirect_uris.iter().any(|have| have == uri));
    let uri = uri.ok_or_else(|| {
        Denied::Page("AADSTS50011: The redirect URI does not match the redirect URIs of the application.".to_owned())
    })?;
    Scopes::parse(&state.options, form.get("scope").unwrap_or_default())
        .map_err(|refusal| Denied::Page(refusal.description()))?;
    let back = Back {
        uri: uri.to_owned(),
        form_post: form.get("response_mode") == Some("form_post"),
        state: form.get("state").map(str::to_owned),
    };
    details(state, authority, client, &form, &back).map_err(|refusal| Denied::Client(back, refusal))
}

fn details(state: &State, authority: &str, client: &Client, form: &Form, back: &Back) -> Result<AuthRequest, Refusal> {
    let refuse = |text: &str| Refusal::new("invalid_request", 900_144).saying(text);
    let needed = |name: &str| {
        form.get(name).filter(|value| !value.is_empty()).ok_or_else(|| refuse(&format!("'{name}' is missing.")))
    };
    if needed("response_type")? != "code" {
        return Err(Refusal::new("unsupported_response_type", 70_007).saying("Only 'code' is supported."));
    }
    if !matches!(form.get("response_mode"), None | Some("query" | "form_post")) {
        return Err(refuse("'response_mode' must be 'query' or 'form_post'."));
    }
    let scope = needed("scope")?;
    if !scope.split_ascii_whitespace().any(|word| word == "openid") {
        return Err(refuse("'scope' must have 'openid'."));
    }
    needed("state")?;
    if form.get("code_challenge_method") != Some("S256") {
        return Err(refuse("'code_challenge_method' must be 'S256'."));
    }
    let challenge = needed("code_challenge")?;
    if from_base64url(challenge).is_none_or(|hash| hash.len() != 32) {
        return Err(refuse("'code_challenge' is not the hash of a verifier."));
    }
    if form.get("resource").is_some() && !state.options.resource_indicators {
        return Err(Refusal::new("invalid_request", 901_002).saying("'resource' is not supported."));
    }
    let (silent_only, page_wanted) = prompts(form.get("prompt").unwrap_or_default())?;
    Ok(AuthRequest {
        client_id: client.id.clone(),
        back: back.clone(),
        scope: scope.to_owned(),
        nonce: needed("nonce")?.to_owned(),
        challenge: challenge.to_owned(),
        login_hint: form.get("login_hint").map(str::to_owned),
        claims: claims(form.get("claims"))?,
        authority: authority.to_owned(),
        silent_only,
        page_wanted,
    })
}

/// Whether no page may be shown, and whether one must be.
fn prompts(prompt: &str) -> Result<(bool, bool), Refusal> {
    let words: Vec<&str> = prompt.split_ascii_whitespace().collect();
    let known = |word: &&str| ["none", "login", "select_account", "consent"].contains(word);
    let none = words.contains(&"none");
    if !words.iter().all(known) || (none && words.len() > 1) {
        return Err(Refusal::new("invalid_request", 90_023).saying("Unsupported 'prompt' value."));
    }
    Ok((none, !none && !words.is_empty()))
}

/// The `claims` parameter (OpenID Connect Core, section 5.5).
pub(super) fn claims(text: Option<&str>) -> Result<Value, Refusal> {
    let Some(text) = text else {
        return Ok(Value::Null);
    };
    let parsed = serde_json::from_str(text).ok().filter(Value::is_object);
    parsed.ok_or_else(|| Refusal::new("invalid_request", 901_401).saying("'claims' is not a JSON object."))
}

/// Whether somebody is who the client hinted at.
fn hinted(request: &AuthRequest, user: &User) -> bool {
    request.login_hint.as_ref().is_none_or(|hint| hint.eq_ignore_ascii_case(&user.preferred_username))
}

fn consented(state: &State, book: &Book, request: &AuthRequest, user: &User) -> bool {
    let by_admin = |id: &str| state.options.resources.iter().any(|resource| resource.id == id && resource.consented);
    Scopes::parse(&state.options, &request.scope).is_ok_and(|scopes| {
        scopes.api.iter().all(|scope| by_admin(&scope.resource) || book.consented(&request.client_id, &user.sub, scope))
    })
}

fn session(book: &Book, call: &Call) -> Option<Session> {
    super::cookie(call).and_then(|cookie| book.sessions.get(&cookie).cloned())
}

fn ask(state: &State, book: &mut Book, request: AuthRequest) -> Response<Body> {
    let id = random_text(18);
    let answer = show(state, &id, &request, None);
    book.pending.insert(id, request);
    answer
}

fn show(state: &State, id: &str, request: &AuthRequest, alert: Option<&str>) -> Response<Body> {
    let sign_in = SignIn {
        id,
        action: &format!("/{}/login", request.authority),
        client: state.options.client(&request.client_id).map_or("", |client| client.name.as_str()),
        scope: &request.scope,
        users: &state.options.users,
        typed: request.login_hint.as_deref().unwrap_or_default(),
        alert,
    };
    sign_in.reply(StatusCode::OK)
}

/// Who has that name: somebody on the list, or somebody made up.
pub(super) fn user(state: &State, name: &str) -> Option<User> {
    if let Some(user) = state.options.user(name) {
        return Some(user.clone());
    }
    if name.is_empty() || !state.options.any_user {
        return None;
    }
    let hash = digest(&SHA256, name.to_lowercase().as_bytes());
    let mut oid = [0; 16];
    oid.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    Some(User {
        sub: crate::web::base64url(hash.as_ref()),
        oid: guid(oid),
        tenant: None,
        name: name.to_owned(),
        preferred_username: name.to_owned(),
        email: None,
        roles: Vec::new(),
    })
}

/// Signs in: notes the consent and issues a code.
pub(super) fn finish(state: &State, book: &mut Book, request: AuthRequest, session: &Session) -> Callback {
    let user = &session.user;
    let word = WORDS.contains(&request.authority.as_str());
    let foreign = user.tenant.as_ref().filter(|_| word);
    let tid = foreign.unwrap_or(&state.options.tenant).clone();
    book.grants.push(Grant {
        client_id: request.client_id.clone(),
        user: user.clone(),
        tid: tid.clone(),
        sid: session.sid.clone(),
        scope: request.scope.clone(),
        claims: request.claims.clone(),
        revoked: false,
    });
    for scope in Scopes::parse(&state.options, &request.scope).unwrap_or_default().api {
        book.consents.insert((request.client_id.clone(), user.sub.clone(), scope));
    }
    let code = state.secret("code", state.opaque(state.options.code_size));
    let back = request.back.clone();
    let expires = state.clock.now() + state.options.code_life.as_secs();
    book.codes.insert(code.clone(), Code { request, grant: book.grants.len() - 1, expires, spent: false });
    callback(state, &tid, &back, vec![("code".to_owned(), code), ("session_state".to_owned(), session.sid.clone())])
}

fn refuse(state: &State, back: &Back, refusal: &Refusal) -> Callback {
    let fields =
        vec![("error".to_owned(), refusal.error.to_owned()), ("error_description".to_owned(), refusal.description())];
    callback(state, &state.options.tenant, back, fields)
}

fn callback(state: &State, tenant: &str, back: &Back, mut fields: Vec<(String, String)>) -> Callback {
    fields.extend(back.state.clone().map(|value| ("state".to_owned(), value)));
    if state.options.iss_parameter {
        fields.push(("iss".to_owned(), state.issuer(tenant)));
    }
    Callback { uri: back.uri.clone(), fields, form_post: back.form_post }
}

impl Callback {
    fn reply(&self, status: StatusCode) -> Response<Body> {
        if self.form_post {
            page::form_post(&self.uri, &self.fields)
        } else {
            reply::redirect(status, &self.location())
        }
    }
}

/// What [`Denied`] says, for the in-process sign-in.
impl Denied {
    pub(super) fn callback(self, state: &State) -> Result<Callback, String> {
        match self {
            Self::Page(text) => Err(text),
            Self::Client(back, refusal) => Ok(refuse(state, &back, &refusal)),
        }
    }
}
