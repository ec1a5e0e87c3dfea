use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, ORIGIN, PRAGMA, WWW_AUTHENTICATE};
use http::{Method, Response, StatusCode};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::State;
use super::assertion::{self, Assertion};
use super::authorize::claims;
use super::book::{Book, Code, Refresh};
use super::mint::{self, Issue};
use super::options::Client;
use super::refusal::Refusal;
use super::scopes::{ApiScope, Scopes};
use crate::web::{Body, Call, Form, base64url, lock, reply};

/// `POST …/oauth2/v2.0/token`.
pub(super) fn token(state: &State, call: &Call, assertion: Assertion) -> Response<Body> {
    let answer = match redeem(state, call, assertion) {
        Ok(tokens) => reply::json(StatusCode::OK, &tokens),
        Err(refusal) => told(&refusal),
    };
    reply::with(reply::with(answer, CACHE_CONTROL, "no-store, no-cache"), PRAGMA, "no-cache")
}

/// `POST …/oauth2/v2.0/revoke` (RFC 7009): revokes the whole grant; an unknown token is as good as revoked.
pub(super) fn revoke(state: &State, call: &Call, assertion: Assertion) -> Response<Body> {
    let revoked = form(call).and_then(|form| {
        let client = authenticate(state, call, &form, assertion)?;
        let token = form.get("token").ok_or_else(|| missing("token"))?;
        let mut book = lock(&state.book);
        let grant = book.refresh.get(token).map(|refresh| refresh.grant);
        let own = |grant: &usize| book.grants.get(*grant).is_some_and(|grant| grant.client_id == client.id);
        if let Some(grant) = grant.filter(own) {
            book.revoke(grant);
        }
        Ok(())
    });
    revoked.map_or_else(|refusal| told(&refusal), |()| reply::empty(StatusCode::OK))
}

fn told(refusal: &Refusal) -> Response<Body> {
    let answer = refusal.reply();
    match refusal.status {
        StatusCode::UNAUTHORIZED => reply::with(answer, WWW_AUTHENTICATE, "Basic realm=\"token\""),
        StatusCode::METHOD_NOT_ALLOWED => reply::with(answer, ALLOW, "POST"),
        _ => answer,
    }
}

fn redeem(state: &State, call: &Call, assertion: Assertion) -> Result<Value, Refusal> {
    let form = form(call)?;
    let client = authenticate(state, call, &form, assertion)?;
    match form.get("grant_type") {
        Some("authorization_code") => redeem_code(state, &client, &form),
        Some("refresh_token") => redeem_refresh(state, &client, &form),
        Some(_) => Err(Refusal::new("unsupported_grant_type", 70_003).saying("The grant type is not supported.")),
        None => Err(missing("grant_type")),
    }
}

/// The parameters, which must have come in the one form that the specification allows.
fn form(call: &Call) -> Result<Form, Refusal> {
    let header = |name| call.parts.headers.get(name).and_then(|value: &http::HeaderValue| value.to_str().ok());
    if call.parts.method != Method::POST {
        return Err(Refusal::new("invalid_request", 900_561)
            .saying("The endpoint only accepts POST requests.")
            .status(StatusCode::METHOD_NOT_ALLOWED));
    }
    let essence = header(CONTENT_TYPE).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(invalid_request(900_144, "The body must be application/x-www-form-urlencoded."));
    }
    if call.parts.uri.query().is_some() {
        return Err(invalid_request(900_144, "Parameters belong in the body."));
    }
    if header(ORIGIN).is_some() {
        return Err(invalid_request(
            9_002_326,
            "Cross-origin token redemption is permitted only for the SPA client-type.",
        ));
    }
    let form = Form::parse(&call.request.body);
    match form.duplicate() {
        Some(name) => Err(invalid_request(9_000_411, &format!("The parameter '{name}' is duplicated."))),
        None => Ok(form),
    }
}

/// One of the ways that are announced, never two (RFC 6749, section 2.3), or a client assertion.
fn authenticate(state: &State, call: &Call, form: &Form, assertion: Assertion) -> Result<Client, Refusal> {
    let basic = call.parts.headers.get(AUTHORIZATION).map(|value| basic(state, value.as_bytes())).transpose()?;
    let post = form.get("client_secret").map(|secret| state.secret("client_secret", secret.to_owned()));
    let asserted = !matches!(assertion, Assertion::None);
    if [basic.is_some(), post.is_some(), asserted].into_iter().filter(|way| *way).count() > 1 {
        return Err(invalid_request(900_144, "Two ways of client authentication at once."));
    }
    for (used, method) in [(basic.is_some(), "client_secret_basic"), (post.is_some(), "client_secret_post")] {
        if used && !state.options.takes_secret_by(method) {
            return Err(invalid_client(7_000_218, "The client authentication method is not supported."));
        }
    }
    let (basic_id, basic_secret) = basic.unzip();
    let id = form.get("client_id");
    if basic_id.as_deref().zip(id).is_some_and(|(basic, form)| basic != form) {
        return Err(invalid_request(900_144, "Two client ids at once."));
    }
    let id = basic_id.as_deref().or(id).ok_or_else(|| missing("client_id"))?;
    let client = state.options.client(id).ok_or_else(|| invalid_client(700_016, "The application was not found."))?;
    match assertion {
        Assertion::None => {}
        Assertion::Bad(refusal) => return Err(refusal),
        Assertion::Signed(claims) => return assertion::check(state, client, &claims).map(|()| client.clone()),
    }
    match (&client.secret, basic_secret.or(post)) {
        (None, None) if client.federated.is_none() => Ok(client.clone()),
        (Some(secret), Some(sent)) if *secret == sent => Ok(client.clone()),
        (_, None) => Err(invalid_client(7_000_218, "'client_assertion' or 'client_secret' is missing.")),
        (_, Some(_)) => Err(invalid_client(7_000_215, "Invalid client secret provided.")),
    }
}

/// Id and secret, each form-encoded before they were joined.
fn basic(state: &State, header: &[u8]) -> Result<(String, String), Refusal> {
    let bad = || invalid_client(7_000_215, "The Authorization header is malformed.");
    let text = std::str::from_utf8(header).ok().and_then(|text| text.strip_prefix("Basic ")).ok_or_else(bad)?;
    state.secret("client_secret_basic", text.to_owned());
    let pair = STANDARD.decode(text).ok().and_then(|raw| String::from_utf8(raw).ok()).ok_or_else(bad)?;
    let (id, secret) = pair.split_once(':').ok_or_else(bad)?;
    let decode = |part: &str| Form::parse(format!("v={part}").as_bytes()).get("v").unwrap_or_default().to_owned();
    Ok((decode(id), state.secret("client_secret", decode(secret))))
}

fn redeem_code(state: &State, client: &Client, form: &Form) -> Result<Value, Refusal> {
    let text = form.get("code").ok_or_else(|| missing("code"))?;
    let verifier = form.get("code_verifier").ok_or_else(|| missing("code_verifier"))?;
    state.secret("code_verifier", verifier.to_owned());
    let book = &mut *lock(&state.book);
    let code = book.codes.get(text).cloned().ok_or_else(|| invalid_grant(70_000, "The code is not valid."))?;
    if code.request.client_id != client.id {
        return Err(invalid_grant(70_000, "The code was issued to another client."));
    }
    if code.spent {
        book.revoke(code.grant);
        return Err(invalid_grant(54_005, "The code was already redeemed."));
    }
    holds(state, &code, form, verifier)?;
    let scope = form.get("scope").unwrap_or(&code.request.scope);
    let issue = asked(state, book, client, code.grant, form, scope)?;
    if let Some(code) = book.codes.get_mut(text) {
        code.spent = true;
    }
    let offline = Scopes::parse(&state.options, &code.request.scope)?.has("offline_access");
    let issue = Issue { nonce: Some(code.request.nonce), ..issue };
    let refresh = offline.then(|| new_refresh(state, book, code.grant));
    mint::tokens(state, client, &issue, refresh)
}

fn holds(state: &State, code: &Code, form: &Form, verifier: &str) -> Result<(), Refusal> {
    if state.clock.now() >= code.expires {
        return Err(invalid_grant(70_008, "The code has expired."));
    }
    if form.get("redirect_uri") != Some(&code.request.back.uri) {
        return Err(invalid_grant(500_112, "The redirect URI is not the one of the authorization request."));
    }
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return Err(invalid_grant(501_491, "The code verifier is malformed."));
    }
    if base64url(digest(&SHA256, verifier.as_bytes()).as_ref()) != code.request.challenge {
        return Err(invalid_grant(501_481, "The code verifier does not match the code challenge."));
    }
    Ok(())
}

fn redeem_refresh(state: &State, client: &Client, form: &Form) -> Result<Value, Refusal> {
    let text = form.get("refresh_token").ok_or_else(|| missing("refresh_token"))?;
    let book = &mut *lock(&state.book);
    let refresh = book.refresh.get(text).cloned();
    let refresh = refresh.ok_or_else(|| invalid_grant(9_002_313, "The refresh token is malformed."))?;
    if book.grants.get(refresh.grant).is_none_or(|grant| grant.client_id != client.id) {
        return Err(invalid_grant(70_000, "The refresh token was issued to another client."));
    }
    if state.clock.now() >= refresh.expires {
        return Err(invalid_grant(700_082, "The refresh token has expired due to inactivity."));
    }
    if state.options.one_time_refresh && refresh.spent {
        book.revoke(refresh.grant);
        return Err(invalid_grant(54_005, "The refresh token was already redeemed."));
    }
    let granted = book.grants.get(refresh.grant).map(|grant| grant.scope.clone()).unwrap_or_default();
    let issue = asked(state, book, client, refresh.grant, form, form.get("scope").unwrap_or(&granted))?;
    if let Some(refresh) = book.refresh.get_mut(text) {
        refresh.spent = true;
    }
    let next = new_refresh(state, book, refresh.grant);
    mint::tokens(state, client, &issue, Some(next))
}

/// What is to be issued, if the grant and the consents go so far.
fn asked(
    state: &State,
    book: &Book,
    client: &Client,
    grant: usize,
    form: &Form,
    scope: &str,
) -> Result<Issue, Refusal> {
    let grant = book.grants.get(grant).filter(|grant| !grant.revoked).cloned();
    let grant = grant.ok_or_else(|| invalid_grant(50_173, "The grant has been revoked."))?;
    let scopes = Scopes::parse(&state.options, scope)?;
    let resource = match form.get("resource") {
        None => scopes.resource(&state.options)?,
        Some(_) if !state.options.resource_indicators => {
            return Err(invalid_request(901_002, "The 'resource' request parameter is not supported."));
        }
        Some(named) => state
            .options
            .resources
            .iter()
            .find(|resource| resource.id == named)
            .ok_or_else(|| Refusal::new("invalid_target", 500_011).saying("The resource was not found."))?,
    };
    let allowed = |scope: &ApiScope| resource.consented || book.consented(&client.id, &grant.user.sub, scope);
    let known = resource.scopes.iter().map(|name| ApiScope { resource: resource.id.clone(), name: name.clone() });
    let of_resource = scopes.api.iter().filter(|scope| scope.resource == resource.id);
    let (default, named): (Vec<&ApiScope>, Vec<&ApiScope>) = of_resource.partition(|scope| scope.name == ".default");
    let mut granted: Vec<ApiScope> = named.into_iter().cloned().collect();
    if !default.is_empty() {
        granted.extend(known.filter(|scope| allowed(scope)));
    }
    let short_of = (granted.is_empty() && !default.is_empty()) || !granted.iter().all(allowed);
    if short_of {
        let text = "The user or administrator has not consented to use the application.";
        return Err(invalid_grant(65_001, text).suberror("consent_required"));
    }
    let claims = claims(form.get("claims"))?;
    Ok(Issue { grant, scopes: Scopes { api: granted, ..scopes }, audience: resource.id.clone(), nonce: None, claims })
}

fn new_refresh(state: &State, book: &mut Book, grant: usize) -> String {
    let token = state.secret("refresh_token", state.opaque(state.options.refresh_token_size));
    let expires = state.clock.now() + state.options.refresh_token_life.as_secs();
    book.refresh.insert(token.clone(), Refresh { grant, expires, spent: false });
    token
}

fn missing(name: &str) -> Refusal {
    invalid_request(900_144, &format!("The request body must contain the following parameter: '{name}'."))
}

pub(super) fn invalid_request(code: u32, text: &str) -> Refusal {
    Refusal::new("invalid_request", code).saying(text)
}

fn invalid_grant(code: u32, text: &str) -> Refusal {
    Refusal::new("invalid_grant", code).saying(text)
}

pub(super) fn invalid_client(code: u32, text: &str) -> Refusal {
    Refusal::new("invalid_client", code).saying(text)
}
