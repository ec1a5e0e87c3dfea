use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Response, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::State;
use super::assertion::{self, Assertion};
use super::authorize::claims;
use super::error::Error;
use super::mint::{self, Issue};
use super::options::Client;
use super::scopes::{ApiScope, Scopes};
use super::store::{Code, Refresh, Store};
use crate::web::{Body, Form, Recorded, base64url, lock, response};

/// Seconds.
const REFRESH_TOKEN_LIFE: u64 = 90 * 24 * 60 * 60;

/// `POST …/oauth2/v2.0/token`.
pub(super) fn token(state: &State, request: &Recorded, assertion: Assertion) -> Response<Body> {
    let response = match grant(state, request, assertion) {
        Ok(tokens) => response::json(StatusCode::OK, &tokens),
        Err(error) => error_response(&error),
    };
    response::with(response::with(response, "cache-control", "no-store, no-cache"), "pragma", "no-cache")
}

/// `POST …/oauth2/v2.0/revoke` (RFC 7009): revokes the whole grant. An unknown token counts as revoked.
pub(super) fn revoke(state: &State, request: &Recorded, assertion: Assertion) -> Response<Body> {
    let revoked = form(request).and_then(|form| {
        let client = authenticate(state, request, &form, assertion)?;
        let token = required(&form, "token")?;
        let mut store = lock(&state.store);
        let grant = store.refresh.get(token).map(|refresh| refresh.grant);
        let own = |grant: &usize| store.grants.get(*grant).is_some_and(|grant| grant.client_id == client.id);
        if let Some(grant) = grant.filter(own) {
            store.revoke(grant);
        }
        Ok(())
    });
    revoked.map_or_else(|error| error_response(&error), |()| response::empty(StatusCode::OK))
}

fn error_response(error: &Error) -> Response<Body> {
    match error.status {
        StatusCode::UNAUTHORIZED => response::with(error.response(), "www-authenticate", "Basic realm=\"token\""),
        StatusCode::METHOD_NOT_ALLOWED => response::with(error.response(), "allow", "POST"),
        _ => error.response(),
    }
}

fn grant(state: &State, request: &Recorded, assertion: Assertion) -> Result<Value, Error> {
    let form = form(request)?;
    let client = authenticate(state, request, &form, assertion)?;
    match required(&form, "grant_type")? {
        "authorization_code" => exchange_code(state, &client, &form),
        "refresh_token" => refresh(state, &client, &form),
        _ => Err(Error::new("unsupported_grant_type", 70_003, "The grant type is not supported.")),
    }
}

/// The parameters, if they came as RFC 6749 specifies.
fn form(request: &Recorded) -> Result<Form, Error> {
    if request.method != "POST" {
        let error = Error::invalid_request(900_561, "The endpoint only accepts POST requests.");
        return Err(Error { status: StatusCode::METHOD_NOT_ALLOWED, ..error });
    }
    let media_type = request.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Error::invalid_request(900_144, "The body must be application/x-www-form-urlencoded."));
    }
    if request.query().is_some() {
        return Err(Error::invalid_request(900_144, "Parameters belong in the body."));
    }
    if request.header("origin").is_some() {
        let text = "Cross-origin token redemption is permitted only for the SPA client-type.";
        return Err(Error::invalid_request(9_002_326, text));
    }
    let form = request.form();
    match form.duplicate() {
        Some(name) => Err(Error::invalid_request(9_000_411, &format!("The parameter '{name}' is duplicated."))),
        None => Ok(form),
    }
}

/// By one of the announced methods, never two (RFC 6749, section 2.3), or by a client assertion.
fn authenticate(state: &State, request: &Recorded, form: &Form, assertion: Assertion) -> Result<Client, Error> {
    let basic = request.header("authorization").map(|value| basic(state, value)).transpose()?;
    let post = form.get("client_secret").map(|secret| state.secret("client_secret", secret.to_owned()));
    let asserted = !matches!(assertion, Assertion::Absent);
    if [basic.is_some(), post.is_some(), asserted].into_iter().filter(|used| *used).count() > 1 {
        return Err(Error::invalid_request(900_144, "Two methods of client authentication at once."));
    }
    for (used, method) in [(basic.is_some(), "client_secret_basic"), (post.is_some(), "client_secret_post")] {
        if used && !state.options.accepts_secret_by(method) {
            return Err(Error::invalid_client(7_000_218, "The client authentication method is not supported."));
        }
    }
    let (basic_id, basic_secret) = basic.unzip();
    let id = form.get("client_id");
    if basic_id.as_deref().zip(id).is_some_and(|(basic, form)| basic != form) {
        return Err(Error::invalid_request(900_144, "Two client ids at once."));
    }
    let id = basic_id.as_deref().or(id).ok_or_else(|| missing("client_id"))?;
    let unknown = || Error::invalid_client(700_016, "The application was not found.");
    let client = state.options.client(id).ok_or_else(unknown)?;
    match assertion {
        Assertion::Absent => {}
        Assertion::Invalid(error) => return Err(error),
        Assertion::Signed(claims) => return assertion::check(state, client, &claims).map(|()| client.clone()),
    }
    match (&client.secret, basic_secret.or(post)) {
        (None, None) if client.federated.is_none() => Ok(client.clone()),
        (Some(secret), Some(sent)) if *secret == sent => Ok(client.clone()),
        (_, None) => Err(Error::invalid_client(7_000_218, "'client_assertion' or 'client_secret' is missing.")),
        (_, Some(_)) => Err(Error::invalid_client(7_000_215, "Invalid client secret provided.")),
    }
}

/// Id and secret, each form-encoded before they were joined.
fn basic(state: &State, header: &str) -> Result<(String, String), Error> {
    let malformed = || Error::invalid_client(7_000_215, "The Authorization header is malformed.");
    let text = header.strip_prefix("Basic ").ok_or_else(malformed)?;
    state.secret("client_secret_basic", text.to_owned());
    let pair = STANDARD.decode(text).ok().and_then(|raw| String::from_utf8(raw).ok()).ok_or_else(malformed)?;
    let (id, secret) = pair.split_once(':').ok_or_else(malformed)?;
    let decode = |part: &str| Form::parse(format!("v={part}").as_bytes()).get("v").unwrap_or_default().to_owned();
    Ok((decode(id), state.secret("client_secret", decode(secret))))
}

fn exchange_code(state: &State, client: &Client, form: &Form) -> Result<Value, Error> {
    let (text, verifier) = (required(form, "code")?, required(form, "code_verifier")?);
    state.secret("code_verifier", verifier.to_owned());
    let store = &mut *lock(&state.store);
    let invalid = || Error::invalid_grant(70_000, "The code is not valid.");
    let code = store.codes.get(text).cloned().ok_or_else(invalid)?;
    if code.request.client_id != client.id {
        return Err(Error::invalid_grant(70_000, "The code was issued to another client."));
    }
    if code.used {
        store.revoke(code.grant);
        return Err(Error::invalid_grant(54_005, "The code was already redeemed."));
    }
    check_code(state, &code, form, verifier)?;
    let scope = form.get("scope").unwrap_or(&code.request.scope);
    let issue = issue(store, client, code.grant, form, scope)?;
    if let Some(code) = store.codes.get_mut(text) {
        code.used = true;
    }
    let offline = Scopes::parse(&code.request.scope)?.has("offline_access");
    let issue = Issue { nonce: Some(code.request.nonce), ..issue };
    let refresh_token = offline.then(|| new_refresh_token(state, store, code.grant));
    Ok(mint::tokens(state, client, &issue, refresh_token))
}

fn check_code(state: &State, code: &Code, form: &Form, verifier: &str) -> Result<(), Error> {
    if state.core.clock.now() >= code.expires {
        return Err(Error::invalid_grant(70_008, "The code has expired."));
    }
    if form.get("redirect_uri") != Some(&code.request.target.uri) {
        let text = "The redirect URI is not the one of the authorization request.";
        return Err(Error::invalid_grant(500_112, text));
    }
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return Err(Error::invalid_grant(501_491, "The code verifier is malformed."));
    }
    if base64url(digest(&SHA256, verifier.as_bytes())) != code.request.challenge {
        return Err(Error::invalid_grant(501_481, "The code verifier does not match the code challenge."));
    }
    Ok(())
}

fn refresh(state: &State, client: &Client, form: &Form) -> Result<Value, Error> {
    let text = required(form, "refresh_token")?;
    let store = &mut *lock(&state.store);
    let refresh = store.refresh.get(text).cloned();
    let refresh = refresh.ok_or_else(|| Error::invalid_grant(9_002_313, "The refresh token is malformed."))?;
    let grant = store.grants.get(refresh.grant).filter(|grant| grant.client_id == client.id);
    let other_client = || Error::invalid_grant(70_000, "The refresh token was issued to another client.");
    let granted = grant.ok_or_else(other_client)?.scope.clone();
    if state.core.clock.now() >= refresh.expires {
        return Err(Error::invalid_grant(700_082, "The refresh token has expired due to inactivity."));
    }
    if state.options.one_time_refresh && refresh.used {
        store.revoke(refresh.grant);
        return Err(Error::invalid_grant(54_005, "The refresh token was already redeemed."));
    }
    let issue = issue(store, client, refresh.grant, form, form.get("scope").unwrap_or(&granted))?;
    if let Some(refresh) = store.refresh.get_mut(text) {
        refresh.used = true;
    }
    let next = new_refresh_token(state, store, refresh.grant);
    Ok(mint::tokens(state, client, &issue, Some(next)))
}

/// What is to be issued for these scopes, if grant and consents cover them.
fn issue(store: &Store, client: &Client, grant: usize, form: &Form, scope: &str) -> Result<Issue, Error> {
    let grant = store.grants.get(grant).filter(|grant| !grant.revoked).cloned();
    let grant = grant.ok_or_else(|| Error::invalid_grant(50_173, "The grant has been revoked."))?;
    if form.get("resource").is_some() {
        return Err(Error::invalid_request(901_002, "The 'resource' request parameter is not supported."));
    }
    let scopes = Scopes::parse(scope)?;
    let resource = scopes.resource()?;
    let allowed = |scope: &ApiScope| resource.consented || store.consented(&client.id, &grant.user.sub, scope);
    let all = resource.scopes.iter().map(|name| ApiScope { resource, name });
    let (default, mut granted): (Vec<ApiScope>, _) = scopes.api.iter().partition(|scope| scope.name == ".default");
    if !default.is_empty() {
        granted.extend(all.filter(|scope| allowed(scope)));
    }
    let nothing_granted = granted.is_empty() && !default.is_empty();
    if nothing_granted || !granted.iter().all(allowed) {
        let text = "The user or administrator has not consented to use the application.";
        return Err(Error { suberror: Some("consent_required"), ..Error::invalid_grant(65_001, text) });
    }
    let claims = claims(form.get("claims"))?;
    Ok(Issue { grant, scopes: Scopes { api: granted, ..scopes }, audience: resource.id, nonce: None, claims })
}

fn new_refresh_token(state: &State, store: &mut Store, grant: usize) -> String {
    let token = State::opaque(state.options.refresh_token_size);
    store_refresh_token(state, store, &token, grant);
    token
}

pub(super) fn store_refresh_token(state: &State, store: &mut Store, token: &str, grant: usize) {
    let token = state.secret("refresh_token", token.to_owned());
    let expires = state.core.clock.now() + REFRESH_TOKEN_LIFE;
    store.refresh.insert(token, Refresh { grant, expires, used: false });
}

fn required<'a>(form: &'a Form, name: &str) -> Result<&'a str, Error> {
    form.get(name).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Error {
    Error::invalid_request(900_144, &format!("The request body must contain the following parameter: '{name}'."))
}
