//! `GET /auth/login`: starts a sign-in at the provider (OpenID Connect Core 3.1.2.1, RFC 7636).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::header::SET_COOKIE;
use http::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use url::Url;

use super::params::login::LoginParams;
use super::persist::Persist;
use super::transaction::Transaction;
use super::{Auth, ResponseMode};
use crate::api_map::Api;
use crate::clock::{self, UnixSeconds};
use crate::error::Error;
use crate::guard::navigation;
use crate::keyring::Purpose;
use crate::oidc::acr::AcrValues;
use crate::oidc::refresh::CAPABILITIES;
use crate::reply::{Reply, redirect};
use crate::secret::ExposeSecret;
use crate::session::cookie::surplus_logins;
use crate::session::payload::SessionId;
use crate::session::seal::Opened;
use crate::session::sealer::UnsealError;
use crate::tokens::challenge::{self, Challenge};

/// The parts of an authorization request that differ between sign-ins.
struct AuthorizationRequest<'a> {
    transaction: &'a Transaction,
    params: &'a LoginParams<'a>,
    api: Option<&'a Api>,
    /// The `claims` parameter (OpenID Connect Core 5.5).
    claims: Option<&'a str>,
    acr_values: Option<&'a str>,
    max_age: Option<&'a str>,
}

impl Auth {
    /// Redirects the browser to the provider and sets a login transaction cookie.
    ///
    /// # Errors
    /// [`Error::NavigationRequired`], [`Error::BadRequest`], [`Error::ProviderUnavailable`] or
    /// [`Error::KeysUnavailable`]; no cookie is set then.
    pub async fn login(&self, headers: &HeaderMap, query: &str, now: UnixSeconds) -> Result<Reply, Error> {
        navigation::require(headers)?;
        let params = LoginParams::parse(query, &self.config)?;
        // By the cookie alone: a sign-in starts whether the store responds or not (contract 15.9).
        let before = self.sessions.identify(headers, now).await.ok();
        let persists = before.as_ref().filter(|_| params.continues_session).and_then(|before| before.persists);
        let persist = Persist::of(headers, params.persist, persists);
        let session = before.and_then(|before| before.key.id);
        let challenge = match &params.challenge {
            Some(sealed) => Some(self.open_challenge(sealed, session, now).await?),
            None => None,
        };
        let api = challenge.as_ref().map_or(params.api, |challenge| self.config.apis.get(&challenge.api));
        let metadata = self.provider.metadata().await.map_err(|_| Error::ProviderUnavailable)?;
        let (only_sub, required) = challenge.map(|challenge| (challenge.sub, challenge.requirement)).unzip();
        let required = required.unwrap_or_default();
        let max_age = required.max_age.or(params.max_age).or(self.config.default_max_age());
        let transaction = Transaction {
            api: api.map(|api| api.name.clone()),
            replaces: session,
            only_sub,
            required_acr: required.acr_values.clone(),
            max_age,
            persist,
            ..Transaction::new(&params.return_to, &metadata.issuer, clock::micros(), &mut rand::rng())
        };
        let sealed = transaction.seal(&self.sessions, now).await.ok_or(Error::KeysUnavailable)?;
        let capabilities = metadata.takes_capabilities().then_some(CAPABILITIES);
        let max_age = max_age.map(|max_age| max_age.seconds().to_string());
        let request = AuthorizationRequest {
            transaction: &transaction,
            params: &params,
            api,
            claims: required.claims.as_deref().or(capabilities),
            // A challenge goes before parameters (contract 21.2).
            acr_values: required.acr_values.as_ref().or(params.acr_values.as_ref()).map(AcrValues::as_str),
            max_age: max_age.as_deref(),
        };
        let location = self.authorization_url(&metadata.authorization_endpoint, &request);
        let mut reply = redirect(StatusCode::FOUND, location.as_str());
        let cookies = self.sessions.cookies();
        let id = transaction.state.id();
        let cookie = cookies.login(id);
        let bytes = cookie.name.len() + 3 + sealed.len();
        for name in self.surplus_transactions(headers, bytes, now).await {
            reply.headers_mut().append(SET_COOKIE, cookies.delete_login(name));
        }
        reply.headers_mut().append(SET_COOKIE, cookies.set(&cookie, &sealed));
        Ok(reply)
    }

    /// Opens the challenge of the request's own session. Without a session, the callback checks that the
    /// challenged user signs in (contract 7.29, 7.32).
    async fn open_challenge(
        &self,
        sealed: &str,
        session: Option<SessionId>,
        now: UnixSeconds,
    ) -> Result<Challenge, Error> {
        const INVALID: Error = Error::BadRequest("challenge is invalid, expired or for another session");
        let challenge = challenge::open(&self.sessions, sealed, now).await.map_err(|error| match error {
            UnsealError::KeyUnavailable => Error::KeysUnavailable,
            UnsealError::Invalid | UnsealError::UnknownKey => INVALID,
        })?;
        let is_foreign = session.is_some_and(|session| session != challenge.session);
        if is_foreign { Err(INVALID) } else { Ok(challenge) }
    }

    fn authorization_url(&self, endpoint: &Url, request: &AuthorizationRequest<'_>) -> Url {
        let AuthorizationRequest { transaction, params, api, claims, acr_values, max_age } = request;
        let mut url = endpoint.clone();
        let code_challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(transaction.verifier().expose_secret()));
        let mut query = url.query_pairs_mut();
        query
            .append_pair("client_id", self.provider.client_id())
            .append_pair("response_type", "code")
            .append_pair("redirect_uri", &self.redirect_uri())
            .append_pair("scope", &self.scopes(*api).join(" "))
            .append_pair("state", transaction.state.as_str())
            .append_pair("nonce", &transaction.nonce())
            .append_pair("code_challenge", &code_challenge)
            .append_pair("code_challenge_method", "S256");
        let form_post = self.config.response_mode == ResponseMode::FormPost;
        let optional = [
            ("response_mode", form_post.then_some("form_post")),
            ("prompt", params.prompt),
            ("login_hint", params.login_hint.as_deref()),
            ("domain_hint", params.domain_hint.as_deref()),
            ("resource", api.and_then(|api| api.resource.as_deref())),
            ("claims", *claims),
            ("acr_values", *acr_values),
            ("max_age", *max_age),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let is_set = |name: &str| optional.iter().any(|(of, value)| *of == name && value.is_some());
        for (name, value) in self.config.login_params.iter().filter(|(name, _)| !is_set(name)) {
            query.append_pair(name, value);
        }
        drop(query);
        url
    }

    /// `SCOPES` and those of an API, without duplicates.
    fn scopes<'a>(&'a self, api: Option<&'a Api>) -> Vec<&'a str> {
        let mut scopes: Vec<&str> = Vec::new();
        for scope in self.config.scopes.iter().chain(api.iter().flat_map(|api| &api.scopes)) {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        scopes
    }

    /// The cookie names of the login transactions that must be deleted to make room for a new one of `new_bytes`.
    async fn surplus_transactions(&self, headers: &HeaderMap, new_bytes: usize, now: UnixSeconds) -> Vec<String> {
        let mut present = Vec::new();
        for (name, sealed) in self.sessions.cookies().logins(headers) {
            let opened = self.sessions.unseal(Purpose::Login, name, sealed, now).await;
            let decode = |opened: Opened| Transaction::decode(opened.payload(), name, opened.times.issued_at);
            let transaction = opened.ok().and_then(decode);
            present.push((name, name.len() + 3 + sealed.len(), transaction.map(|transaction| transaction.begun)));
        }
        surplus_logins(present, new_bytes).into_iter().map(str::to_owned).collect()
    }
}
