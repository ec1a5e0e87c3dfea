//! `GET /auth/login`: starts a sign-in at the provider (OpenID Connect Core 3.1.2.1, RFC 7636).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use url::Url;

use super::transaction::Transaction;
use super::{Auth, ResponseMode, parse_pairs, single};
use crate::api_map::Api;
use crate::clock::UnixSeconds;
use crate::error::Error;
use crate::guard::navigation;
use crate::guard::return_to::ReturnTo;
use crate::keyring::Purpose;
use crate::oidc::refresh::CAPABILITIES;
use crate::reply::{Reply, redirect};
use crate::session::OpenSession;
use crate::session::cookie::surplus_logins;
use crate::session::seal::UnsealError;
use crate::tokens::challenge::{self, Challenge};

/// The prompts of OpenID Connect Core that may be asked for.
const PROMPTS: [&str; 4] = ["login", "select_account", "consent", "none"];
/// Most bytes of a hint.
const HINT: usize = 320;

/// What a login may ask for.
struct LoginParams<'a> {
    return_to: ReturnTo,
    /// The API to sign in for.
    api: Option<&'a Api>,
    challenge: Option<&'a str>,
    prompt: Option<&'a str>,
    login_hint: Option<&'a str>,
    domain_hint: Option<&'a str>,
}

/// What the authorization request asks besides what every one does.
struct Request<'a> {
    api: Option<&'a Api>,
    claims: Option<&'a str>,
    wishes: &'a LoginParams<'a>,
}

impl Auth {
    /// Sends the browser to the provider, with a login transaction in a cookie.
    ///
    /// # Errors
    /// [`Error::NavigationRequired`], [`Error::BadRequest`], or what is unavailable; no cookie is set then.
    pub async fn login(&self, headers: &HeaderMap, query: &str, now: UnixSeconds) -> Result<Reply, Error> {
        navigation::require(headers)?;
        let pairs = parse_pairs(query);
        let wishes = self.wishes(&pairs)?;
        let open = self.sessions.open(headers, now).await.ok();
        let challenge = match wishes.challenge {
            Some(sealed) => Some(self.challenge(sealed, open.as_ref(), now).await?),
            None => None,
        };
        let api = challenge.as_ref().map_or(wishes.api, |challenge| self.config.apis.get(&challenge.api));
        let metadata = self.provider.metadata().await.map_err(|_| Error::ProviderUnavailable)?;
        let transaction = Transaction {
            api: api.map(|api| api.name.clone()),
            replaces: open.map(|open| open.session.id),
            only_sub: challenge.as_ref().map(|challenge| challenge.sub.clone()),
            ..Transaction::new(wishes.return_to.as_str())
        };
        let sealed = transaction.seal(self, now).await.ok_or(Error::KeysUnavailable)?;
        let claims = challenge.map(|challenge| challenge.claims);
        let claims = claims.or_else(|| metadata.takes_capabilities().then(|| CAPABILITIES.to_owned()));
        let request = Request { api, claims: claims.as_deref(), wishes: &wishes };
        let location = self.authorization_url(&metadata.authorization_endpoint, &transaction, &request);
        let mut reply = redirect(StatusCode::FOUND, location.as_str());
        let cookies = &self.sessions.cookies;
        let line = cookies.write_login(transaction.id(), &sealed);
        let bytes = cookies.login_name(transaction.id()).len() + 3 + sealed.len();
        for name in self.surplus(headers, bytes, now).await {
            reply.headers_mut().append(SET_COOKIE, cookies.delete_login(&name));
        }
        reply.headers_mut().append(SET_COOKIE, line);
        Ok(reply)
    }

    fn wishes<'a>(&'a self, pairs: &'a [(String, String)]) -> Result<LoginParams<'a>, Error> {
        let one = |name: &str, fault| single(pairs, name).map_err(|()| Error::BadRequest(fault));
        let hint = |name: &str, fault| {
            let value = one(name, fault)?;
            let good = |value: &str| (1..=HINT).contains(&value.len()) && !value.chars().any(char::is_control);
            if value.is_none_or(good) { Ok(value) } else { Err(Error::BadRequest(fault)) }
        };
        let return_to = match one("return_to", "return_to is given more than once")? {
            None => self.config.return_uri.clone(),
            Some(path) => ReturnTo::parse(path, &self.config.origins.spa, &self.config.reserved)
                .ok_or(Error::BadRequest("return_to is a path of the app, from its first /, of at most 1,024 bytes"))?,
        };
        let prompt = one("prompt", "prompt is given more than once")?;
        if prompt.is_some_and(|prompt| !PROMPTS.contains(&prompt)) {
            return Err(Error::BadRequest("prompt is login, select_account, consent or none"));
        }
        let api = match one("api", "api is given more than once")? {
            Some(name) => Some(self.config.apis.get(name).ok_or(Error::BadRequest("unknown api"))?),
            None => self.config.apis.sign_in_api(),
        };
        Ok(LoginParams {
            return_to,
            api,
            challenge: one("challenge", "challenge is given more than once")?,
            prompt,
            login_hint: hint("login_hint", "login_hint is one text of at most 320 bytes")?,
            domain_hint: hint("domain_hint", "domain_hint is one text of at most 320 bytes")?,
        })
    }

    /// What was asked of this sign-in, by a challenge that this gateway sealed for the very session.
    async fn challenge(&self, sealed: &str, open: Option<&OpenSession>, now: UnixSeconds) -> Result<Challenge, Error> {
        const INVALID: Error = Error::BadRequest("challenge is invalid, expired or for another session");
        let challenge = challenge::open(&self.sessions, sealed, now).await.map_err(|closed| match closed {
            UnsealError::KeyUnavailable => Error::KeysUnavailable,
            UnsealError::Invalid | UnsealError::UnknownKey => INVALID,
        })?;
        let other = open.is_some_and(|open| open.session.id != challenge.session);
        if other { Err(INVALID) } else { Ok(challenge) }
    }

    fn authorization_url(&self, endpoint: &Url, transaction: &Transaction, request: &Request<'_>) -> Url {
        let mut url = endpoint.clone();
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(transaction.verifier.as_bytes()));
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", self.provider.client_id())
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", &self.scopes(request.api).join(" "))
            .append_pair("state", &transaction.state)
            .append_pair("nonce", &transaction.nonce)
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let form_post = self.config.response_mode == ResponseMode::FormPost;
        let optional = [
            ("response_mode", form_post.then_some("form_post")),
            ("prompt", request.wishes.prompt),
            ("login_hint", request.wishes.login_hint),
            ("domain_hint", request.wishes.domain_hint),
            ("resource", request.api.and_then(|api| api.resource.as_deref())),
            ("claims", request.claims),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        drop(query);
        url
    }

    /// `SCOPES` and those of an API, each once.
    fn scopes<'a>(&'a self, api: Option<&'a Api>) -> Vec<&'a str> {
        let mut scopes: Vec<&str> = Vec::new();
        for scope in self.config.scopes.iter().chain(api.iter().flat_map(|api| &api.scopes)) {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        scopes
    }

    /// Names of the login transactions that must go so that one more fits.
    async fn surplus(&self, headers: &HeaderMap, new_bytes: usize, now: UnixSeconds) -> Vec<String> {
        let mut present = Vec::new();
        for (name, sealed) in self.sessions.cookies.logins(headers) {
            let opened = self.sessions.unseal(Purpose::Login, name, sealed, now).await;
            let transaction = opened.ok().and_then(|opened| Transaction::decode(opened.payload()));
            present.push((name, name.len() + 3 + sealed.len(), transaction.map(|transaction| transaction.begun)));
        }
        surplus_logins(present, new_bytes).into_iter().map(str::to_owned).collect()
    }
}
