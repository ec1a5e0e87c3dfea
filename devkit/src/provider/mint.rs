use ring::digest::{SHA256, digest};
use ring::hmac;
use serde_json::{Map, Value, json};

use super::State;
use super::book::Grant;
use super::mutation::{Draft, Signing};
use super::options::Client;
use super::refusal::Refusal;
use super::scopes::{ApiScope, Scopes};
use crate::web::{base64url, lock, random_text};

/// Tokens that were found to be due.
pub(super) struct Issue {
    pub(super) grant: Grant,
    /// Those of the audience only.
    pub(super) scopes: Scopes,
    pub(super) audience: String,
    /// Of the authorization request; a refreshed ID token has none.
    pub(super) nonce: Option<String>,
    /// Of the token request.
    pub(super) claims: Value,
}

/// The answer of the token endpoint.
pub(super) fn tokens(state: &State, client: &Client, issue: &Issue, refresh: Option<String>) -> Result<Value, Refusal> {
    let access = access_token(state, issue);
    let shown = issue.scopes.openid.iter().filter(|scope| *scope != "offline_access").cloned();
    let scope: Vec<String> = shown.chain(issue.scopes.api.iter().map(ApiScope::full)).collect();
    let life = state.options.access_token_life.as_secs();
    let mut body = json!({
        "token_type": "Bearer",
        "scope": scope.join(" "),
        "expires_in": life,
        "ext_expires_in": life,
        "access_token": access,
    });
    let members = body.as_object_mut().ok_or_else(|| Refusal::new("server_error", 90_033))?;
    if let Some(refresh) = refresh {
        members.insert("refresh_token".to_owned(), refresh.into());
    }
    if issue.scopes.has("openid") {
        members.insert("id_token".to_owned(), id_token(state, client, issue, &access).into());
    }
    Ok(body)
}

fn id_token(state: &State, client: &Client, issue: &Issue, access_token: &str) -> String {
    let user = &issue.grant.user;
    let mut draft = Draft {
        header: header(state),
        claims: common(state, issue, &client.id, state.options.id_token_life.as_secs()),
        signing: Signing::Active,
        refreshed: issue.nonce.is_none(),
    };
    if let Some(nonce) = &issue.nonce {
        draft.set("nonce", nonce.as_str());
    }
    draft.set("name", user.name.as_str());
    draft.set("preferred_username", user.preferred_username.as_str());
    if let Some(email) = &user.email {
        draft.set("email", email.as_str());
    }
    if !user.roles.is_empty() {
        draft.set("roles", user.roles.clone());
    }
    draft.set("sid", issue.grant.sid.as_str());
    draft.set("ver", "2.0");
    if state.options.at_hash {
        let hash = digest(&SHA256, access_token.as_bytes());
        draft.set("at_hash", base64url(hash.as_ref().get(..16).unwrap_or_default()));
    }
    if let Some(mutation) = lock(&state.mutation).as_ref() {
        mutation.apply(&mut draft);
    }
    let secret = client.secret.as_deref().unwrap_or_default();
    state.secret("id_token", sign(state, &draft.header, &draft.claims, draft.signing, secret))
}

/// A JWT for the audience, padded to the size of a real one.
pub(super) fn access_token(state: &State, issue: &Issue) -> String {
    let user = &issue.grant.user;
    let header = header(state);
    let mut claims = common(state, issue, &issue.audience, state.options.access_token_life.as_secs());
    let api = issue.scopes.api.iter().map(|scope| scope.name.clone());
    let mut scopes: Vec<String> = api.collect();
    if scopes.is_empty() {
        scopes = issue.scopes.openid.clone();
    }
    let mut set = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    set("appid", issue.grant.client_id.as_str().into());
    set("scp", scopes.join(" ").into());
    set("name", user.name.as_str().into());
    set("upn", user.preferred_username.as_str().into());
    if let Some(email) = &user.email {
        set("email", email.as_str().into());
    }
    set("uti", random_text(16).into());
    set("ver", "2.0".into());
    for asked in [&issue.grant.claims, &issue.claims] {
        capabilities(asked, &mut claims);
    }
    pad(&header, &mut claims, state.options.access_token_size);
    state.secret("access_token", sign(state, &header, &claims, Signing::Active, ""))
}

fn common(state: &State, issue: &Issue, audience: &str, life: u64) -> Map<String, Value> {
    let now = state.clock.now();
    let grant = &issue.grant;
    let claims = json!({
        "aud": audience,
        "iss": state.issuer(&grant.tid),
        "iat": now,
        "nbf": now,
        "exp": now + life,
        "sub": grant.user.sub,
        "oid": grant.user.oid,
        "tid": grant.tid,
    });
    claims.as_object().cloned().unwrap_or_default()
}

/// What a `claims` parameter asks of the access token: client capabilities, and an authentication context, which this
/// provider has always just seen.
fn capabilities(asked: &Value, claims: &mut Map<String, Value>) {
    if let Some(values) = asked.pointer("/access_token/xms_cc/values") {
        claims.insert("xms_cc".to_owned(), values.clone());
    }
    let acrs = asked.pointer("/access_token/acrs");
    let one = acrs.and_then(|acrs| acrs.get("value")).map(|value| json!([value]));
    if let Some(values) = acrs.and_then(|acrs| acrs.get("values")).cloned().or(one) {
        claims.insert("acrs".to_owned(), values);
    }
}

fn pad(header: &Map<String, Value>, claims: &mut Map<String, Value>, size: usize) {
    const SIGNATURE: usize = 343;
    claims.insert("xms_pad".to_owned(), "".into());
    let short = size.saturating_sub(unsigned(header, claims).len() + SIGNATURE);
    let filling: String = random_text(short).chars().take(short.div_ceil(4) * 3).collect();
    claims.insert("xms_pad".to_owned(), filling.into());
}

fn header(state: &State) -> Map<String, Value> {
    let header = json!({"typ": "JWT", "alg": "RS256", "kid": state.keys.active().kid});
    header.as_object().cloned().unwrap_or_default()
}

fn unsigned(header: &Map<String, Value>, claims: &Map<String, Value>) -> String {
    let part = |members: &Map<String, Value>| base64url(json!(members).to_string().as_bytes());
    format!("{}.{}", part(header), part(claims))
}

pub(super) fn sign(
    state: &State,
    header: &Map<String, Value>,
    claims: &Map<String, Value>,
    signing: Signing,
    secret: &str,
) -> String {
    let message = unsigned(header, claims);
    let signature = match signing {
        Signing::Active => state.keys.active().sign(message.as_bytes()),
        Signing::Stranger => state.keys.stranger.sign(message.as_bytes()),
        Signing::ClientSecret => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
            hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
        }
        Signing::Broken => {
            let mut signature = state.keys.active().sign(message.as_bytes());
            signature.iter_mut().skip(100).take(1).for_each(|byte| *byte ^= 1);
            signature
        }
        Signing::Nothing => Vec::new(),
    };
    format!("{message}.{}", base64url(&signature))
}

impl State {
    /// A JWT over any claims under the provider's usual header.
    pub(super) fn jwt(&self, claims: &Map<String, Value>, signing: Signing) -> String {
        sign(self, &header(self), claims, signing, "")
    }
}
