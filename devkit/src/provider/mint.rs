//! Issues tokens.

use ring::hmac;
use serde_json::{Value, json};

use super::State;
use super::mutation::{Draft, Signing};
use super::options::{Client, TENANT};
use super::scopes::{ApiScope, Scopes};
use super::store::Grant;
use crate::web::{base64url, jwt, lock, random_text};

/// Seconds.
const ID_TOKEN_LIFE: u64 = 60 * 60;
/// Seconds.
const LOGOUT_TOKEN_LIFE: u64 = 2 * 60;

/// What tokens are issued for.
pub(super) struct Issue {
    pub(super) grant: Grant,
    /// Only those of the audience.
    pub(super) scopes: Scopes,
    pub(super) audience: &'static str,
    /// Of the authorization request; `None` for a refresh.
    pub(super) nonce: Option<String>,
    /// The `claims` parameter of the token request.
    pub(super) claims: Value,
}

/// The body of a token response.
pub(super) fn tokens(state: &State, client: &Client, issue: &Issue, refresh_token: Option<String>) -> Value {
    let access_token = access_token(state, issue);
    let openid = issue.scopes.openid.iter().filter(|scope| **scope != "offline_access").map(ToString::to_string);
    let scope: Vec<String> = openid.chain(issue.scopes.api.iter().map(ApiScope::full)).collect();
    let life = state.options.access_token_life.as_secs();
    let mut body = json!({
        "token_type": "Bearer",
        "scope": scope.join(" "),
        "expires_in": life,
        "ext_expires_in": life,
        "access_token": access_token,
    });
    if let Some(token) = refresh_token {
        body["refresh_token"] = token.into();
    }
    if issue.scopes.has("openid") {
        body["id_token"] = id_token(state, client, issue).into();
    }
    body
}

fn id_token(state: &State, client: &Client, issue: &Issue) -> String {
    let user = &issue.grant.user;
    let mut claims = common(state, issue, &client.id, ID_TOKEN_LIFE);
    if let Some(nonce) = &issue.nonce {
        claims["nonce"] = nonce.as_str().into();
    }
    claims["name"] = user.name.as_str().into();
    claims["preferred_username"] = user.preferred_username.as_str().into();
    if let Some(email) = &user.email {
        claims["email"] = email.as_str().into();
    }
    if !user.roles.is_empty() {
        claims["roles"] = user.roles.into();
    }
    claims["sid"] = issue.grant.sid.as_str().into();
    claims["ver"] = "2.0".into();
    let mut draft = Draft { header: state.keys.active().header(), claims, signing: Signing::Active };
    if let Some(mutation) = lock(&state.mutation).as_ref() {
        mutation.apply(&mut draft);
    }
    let secret = client.secret.as_deref().unwrap_or_default();
    state.secret("id_token", sign(state, &draft.header, &draft.claims, draft.signing, secret))
}

/// A logout token for the first client (OpenID Connect Back-Channel Logout 1.0 section 2.4), after a change.
pub(super) fn logout_token(state: &State, change: impl FnOnce(&mut Draft)) -> String {
    let now = state.core.clock.now();
    let client = state.options.clients.first();
    let mut header = state.keys.active().header();
    header["typ"] = "logout+jwt".into();
    let claims = json!({
        "iss": state.issuer(TENANT),
        "aud": client.map(|client| &client.id),
        "iat": now,
        "exp": now + LOGOUT_TOKEN_LIFE,
        "jti": random_text(16),
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    });
    let mut draft = Draft { header, claims, signing: Signing::Active };
    change(&mut draft);
    let secret = client.and_then(|client| client.secret.as_deref()).unwrap_or_default();
    state.secret("logout_token", sign(state, &draft.header, &draft.claims, draft.signing, secret))
}

/// A JWT for the audience, padded to the size of a real one.
pub(super) fn access_token(state: &State, issue: &Issue) -> String {
    let user = &issue.grant.user;
    let header = state.keys.active().header();
    let mut claims = common(state, issue, issue.audience, state.options.access_token_life.as_secs());
    let mut scopes: Vec<&str> = issue.scopes.api.iter().map(|scope| scope.name).collect();
    if scopes.is_empty() {
        scopes.clone_from(&issue.scopes.openid);
    }
    claims["appid"] = issue.grant.client_id.as_str().into();
    claims["scp"] = scopes.join(" ").into();
    claims["name"] = user.name.as_str().into();
    claims["upn"] = user.preferred_username.as_str().into();
    if let Some(email) = &user.email {
        claims["email"] = email.as_str().into();
    }
    claims["uti"] = random_text(16).into();
    claims["ver"] = "2.0".into();
    for requested in [&issue.grant.claims, &issue.claims] {
        add_requested(requested, &mut claims);
    }
    pad(&header, &mut claims, state.options.access_token_size);
    state.secret("access_token", sign(state, &header, &claims, Signing::Active, ""))
}

fn common(state: &State, issue: &Issue, audience: &str, life: u64) -> Value {
    let now = state.core.clock.now();
    let grant = &issue.grant;
    json!({
        "aud": audience,
        "iss": state.issuer(TENANT),
        "iat": now,
        "nbf": now,
        "exp": now + life,
        "sub": grant.user.sub,
        "oid": grant.user.oid,
        "tid": TENANT,
    })
}

/// Adds what a `claims` parameter requests for the access token: client capabilities, and an authentication context,
/// which is always granted.
fn add_requested(requested: &Value, claims: &mut Value) {
    if let Some(values) = requested.pointer("/access_token/xms_cc/values") {
        claims["xms_cc"] = values.clone();
    }
    let acrs = requested.pointer("/access_token/acrs");
    let one = acrs.and_then(|acrs| acrs.get("value")).map(|value| json!([value]));
    if let Some(values) = acrs.and_then(|acrs| acrs.get("values")).cloned().or(one) {
        claims["acrs"] = values;
    }
}

fn pad(header: &Value, claims: &mut Value, size: usize) {
    const SIGNATURE: usize = 343;
    claims["xms_pad"] = "".into();
    let missing = size.saturating_sub(jwt::message(header, claims).len() + SIGNATURE);
    let padding: String = random_text(missing).chars().take(missing.div_ceil(4) * 3).collect();
    claims["xms_pad"] = padding.into();
}

pub(super) fn sign(state: &State, header: &Value, claims: &Value, signing: Signing, secret: &str) -> String {
    let message = jwt::message(header, claims);
    let signature = match signing {
        Signing::Active => state.keys.active().sign(&message),
        Signing::Unpublished => state.keys.unpublished.sign(&message),
        Signing::ClientSecret => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
        }
        Signing::Broken => {
            let mut signature = state.keys.active().sign(&message);
            signature.iter_mut().skip(100).take(1).for_each(|byte| *byte ^= 1);
            signature
        }
        Signing::None => Vec::new(),
    };
    format!("{message}.{}", base64url(signature))
}
