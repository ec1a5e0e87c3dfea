//! `/auth/callback`: completes a sign-in (OpenID Connect Core 3.1.2.5, RFC 9207).
//!
//! The response is a redirect, whatever the browser or the provider sent. Only if a key is unavailable or too many
//! callbacks wait it is a page of the gateway: the code is not exchanged and the transaction is kept, so that reloading
//! works (contract 3.8).

use std::sync::Arc;

use futures_util::FutureExt;
use http::header::SET_COOKIE;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::Instant;

use super::callback_dedup::{Attempt, Outcome};
use super::exchange_limits::Slot;
use super::failure_log::Failure;
use super::params::callback::{AuthorizationResponse, CallbackParams, Malformed};
use super::transaction::Transaction;
use super::{Auth, AuthError, redirect_status, step_up};
use crate::api_map::Api;
use crate::clock::{self, UnixSeconds};
use crate::error::Error;
use crate::guard::return_to::ReturnTo;
use crate::keyring::revocations::KnownRevocations;
use crate::oidc::claims::nonce_hash;
use crate::oidc::discovery::Metadata;
use crate::oidc::grants::{CodeExchange, TokenResponse};
use crate::oidc::id_token::IdToken;
use crate::oidc::provider::SignInError;
use crate::oidc::scopes;
use crate::reply::{Reply, clear_cache, redirect};
use crate::secret::{ExposeSecret, Key32, SecretString};
use crate::session::RequiredInteraction;
use crate::session::audit::Audited;
use crate::session::companion::Companion;
use crate::session::payload::{AccessToken, Claims, Session, SessionId, Token, User};
use crate::session::sealer::UnsealError;
use crate::session::store::EndReason;
use crate::session::user_agent::UserAgent;

/// What a callback says about its browser.
struct Browser {
    /// That of its session before (contract 4.24a).
    companion: Option<Companion>,
    user_agent: UserAgent,
}

/// When a callback arrived.
#[derive(Clone)]
struct Arrival {
    now: UnixSeconds,
    at: Instant,
    /// What was known then: a later revocation also ends a session whose sign-in was in progress (contract 16.4).
    revocations: KnownRevocations,
}

/// What a callback sends to the browser of the session that it started.
#[derive(Default)]
struct Started {
    /// The lines that write its cookies. There are none if it has ended meanwhile.
    lines: Vec<HeaderValue>,
    /// Whether nothing says that it is the user of the session before.
    may_be_another_user: bool,
}

impl Auth {
    /// Exchanges the code of a callback and starts a session. `params`: the query, or the form of a POST.
    /// `release_place` is called before it waits for the exchange (contract 3.9b).
    ///
    /// # Errors
    /// [`Error::BadRequest`], [`Error::KeysUnavailable`] and [`Error::Overloaded`]; the transaction is kept then.
    pub async fn callback(
        self: &Arc<Self>,
        method: &Method,
        headers: &HeaderMap,
        params: &str,
        release_place: impl FnOnce() + Send,
        now: UnixSeconds,
    ) -> Result<Reply, Error> {
        let arrival = Arrival { now, at: Instant::now(), revocations: self.sessions.known_revocations() };
        let status = redirect_status(method);
        let CallbackParams { state, response } = CallbackParams::parse(params)?;
        let transaction = match &state {
            Some(state) => Transaction::open(&self.sessions, headers, state, now).await,
            None => Err(UnsealError::Invalid),
        };
        let transaction = match transaction {
            Ok(transaction) => transaction,
            Err(UnsealError::KeyUnavailable) => return Err(Error::KeysUnavailable),
            Err(UnsealError::Invalid | UnsealError::UnknownKey) => return Ok(self.login_expired(status)),
        };
        // Only now: without a transaction, a callback must not wait for the provider.
        let metadata = self.provider.metadata().await;
        if metadata.as_ref().is_ok_and(|of| !transaction.is_for(&of.issuer)) {
            return Ok(self.login_expired(status));
        }
        // The code can be exchanged only once, so everything else that the session needs must be available first.
        self.sessions.can_write(now).await.map_err(|_| Error::KeysUnavailable)?;
        let companion = self.sessions.cookies().presented_companion(headers);
        let outcome = match code(response, metadata.ok().as_deref()) {
            Ok(code) => {
                let slot = self.exchange_limits.slot().ok_or(Error::Overloaded)?;
                release_place();
                let browser = Browser { companion, user_agent: UserAgent::of(headers) };
                self.complete(code, slot, &transaction, browser, &arrival).await
            }
            Err(error) => Err(error.into()),
        };
        let return_to = ReturnTo::parse(&transaction.return_to, &self.config.origins.spa, &self.config.reserved)
            .unwrap_or_else(|| self.config.return_uri.clone());
        let (location, started) = match outcome {
            Ok(started) => (return_to.as_str().to_owned(), started),
            Err(failure) => {
                self.failure_log.record(failure);
                (return_to.with_error(failure.error.code()), Started::default())
            }
        };
        let cookies = self.sessions.cookies();
        let mut reply = self.redirect_to_page(status, &location);
        // Contract 8.9b.
        if started.may_be_another_user && self.config.apis.is_cached() {
            clear_cache(reply.headers_mut());
        }
        let deletion = cookies.delete(&cookies.login(transaction.state.id()));
        for line in started.lines.into_iter().chain([deletion]) {
            reply.headers_mut().append(SET_COOKIE, line);
        }
        Ok(reply)
    }

    /// The response without a transaction (contract 3.7): nothing is written, and no token request is sent.
    fn login_expired(&self, status: StatusCode) -> Reply {
        self.redirect_to_page(status, &self.config.return_uri.with_error(AuthError::LoginExpired.code()))
    }

    /// Browsers carry the fragment of the callback's address over a redirect without one, and an attacker can have the
    /// provider put a code there. So every redirect has a fragment, an empty one if need be (contract 3.9a).
    fn redirect_to_page(&self, status: StatusCode, location: &str) -> Reply {
        let mut location = self.config.origins.page(location);
        if !location.contains('#') {
            location.push('#');
        }
        redirect(status, &location)
    }

    /// The session that a callback starts, or the one that the callback it repeats started.
    async fn complete(
        self: &Arc<Self>,
        code: SecretString,
        slot: Slot,
        transaction: &Transaction,
        Browser { companion, user_agent }: Browser,
        arrival: &Arrival,
    ) -> Result<Started, Failure> {
        let now = arrival.now;
        // The exchange runs on if the browser disconnects, so it has the slot; of a repeated callback it is kept here.
        let mut slot = Some(slot);
        let start = || {
            let (auth, transaction, slot) = (Arc::clone(self), transaction.clone(), slot.take());
            let arrival = arrival.clone();
            let exchange = async move {
                let outcome = auth.exchange(&code, &transaction, user_agent, &arrival).await;
                drop(slot);
                outcome
            };
            exchange.boxed()
        };
        let replaces = companion.map(|companion| companion.session);
        let attempt = self.callback_dedup.join_or_start(&transaction.state, replaces, start);
        let (exchange, sign_in, is_first) = match attempt {
            Attempt::First(exchange, sign_in) => (exchange, sign_in, true),
            Attempt::Repeated(exchange, sign_in) => (exchange, sign_in, false),
            Attempt::Expired => return Err(AuthError::LoginExpired.into()),
        };
        let open = exchange.await?;
        let lines = self.sessions.start(&open, now, arrival.at).await.map_err(AuthError::from)?;
        let ended = self.sessions.ended_here(&open);
        if !is_first && matches!(ended, Some(EndReason::SignedOut | EndReason::FromElsewhere)) {
            return Err(AuthError::LoginExpired.into());
        }
        if let Some(replaced) = transaction.replaces {
            self.sessions.replace(replaced, &open, now).await;
        }
        // A repeated callback without a session to write must not end the one that a later sign-in began.
        if let Some(replaced) = sign_in.replaces.filter(|_| !lines.is_empty()) {
            self.sessions.replace_companion(replaced, &open, now).await;
        }
        if sign_in.must_be_logged() {
            let Audited { session, user } = Audited::of(&open.session);
            tracing::info!(event = "signed_in", session, user, "a user signed in");
        }
        let is_same_user = companion.is_some_and(|companion| companion.names_user_of(&open.session));
        Ok(Started { may_be_another_user: !lines.is_empty() && !is_same_user, lines })
    }

    async fn exchange(
        &self,
        code: &SecretString,
        transaction: &Transaction,
        user_agent: UserAgent,
        arrival: &Arrival,
    ) -> Outcome {
        let now = arrival.now;
        let _turn = self.exchange_limits.turn().await.ok_or(AuthError::ProviderUnavailable)?;
        // The API map may have changed since the sign-in began.
        let api = transaction.api.as_deref().and_then(|name| self.config.apis.get(name));
        let requested = scopes::of_token_request(&self.config.scopes, &self.config.apis, api, &[]);
        let exchange = CodeExchange {
            code: code.expose_secret(),
            verifier: &transaction.verifier(),
            redirect_uri: &self.redirect_uri(),
            scope: &requested.join(" "),
            resource: api.and_then(|api| api.resource.as_deref()),
        };
        let nonce = transaction.nonce();
        let signed_in = self.provider.sign_in(&exchange, &nonce, &clock::now).await;
        if let Err(SignInError::RateLimited(pause)) = &signed_in {
            self.exchange_limits.hold_back(*pause);
        }
        let (mut tokens, id_token) = signed_in.map_err(AuthError::from)?;
        self.tokens.on_sign_in();
        if transaction.only_sub.as_ref().is_some_and(|sub| *sub != id_token.sub) {
            tracing::warn!("a user other than the one who got the challenge signed in; the sign-in is rejected");
            return Err(AuthError::LoginFailed.into());
        }
        // The exchange may have waited for its turn, and the provider's `iat` is of its end.
        step_up::check(transaction, &id_token, clock::now())
            .map_err(|claim| Failure { error: AuthError::LoginFailed, reason: Some(claim) })?;
        // A token without any scope of the API is good for nothing there (contract 7.22).
        let granted = api.filter(|api| !scopes::lacks_all(tokens.scope.as_deref(), &api.scopes));
        let mut session = Session {
            id_token: tokens.id_token.take().filter(|_| self.config.end_session_id_token_hint).map(Token::from),
            issuer: self.provider.cached_metadata().map(|metadata| metadata.issuer.clone()),
            nonce_hash: Some(nonce_hash(&nonce)),
            not_granted: scopes::not_granted(&self.config.scopes, &requested, tokens.scope.as_deref()),
            handle: Some(Key32::random()),
            ..new_session(rand::random(), tokens, id_token, granted, now)
        };
        session.persist = transaction.persist.applies_to(&session);
        let mut open = self.sessions.begin(session, &arrival.revocations, now);
        open.user_agent = user_agent;
        if let Some(api) = api.filter(|_| granted.is_none()) {
            self.sessions.require(&open, &api.name, RequiredInteraction::Consent, now);
        }
        Ok(open)
    }
}

/// The code of an authorization response, after its issuer was compared (contract 7.5): one that is present must be the
/// provider's, and a provider that announces the parameter must send it. Without metadata that is not known.
fn code(
    response: Result<AuthorizationResponse, Malformed>,
    metadata: Option<&Metadata>,
) -> Result<SecretString, AuthError> {
    let AuthorizationResponse { iss, result } = response.map_err(|Malformed| AuthError::LoginFailed)?;
    let metadata = metadata.ok_or(AuthError::ProviderUnavailable)?;
    let is_valid = match iss {
        Some(iss) => iss == metadata.issuer,
        None => !metadata.authorization_response_iss_parameter_supported,
    };
    if is_valid { result } else { Err(AuthError::LoginFailed) }
}

fn new_session(id: SessionId, tokens: TokenResponse, claims: IdToken, api: Option<&Api>, now: UnixSeconds) -> Session {
    let life = tokens.life;
    let access_token = api.map(|api| AccessToken {
        api: api.name.clone(),
        token: tokens.access_token.into(),
        expires_at: now.saturating_add(life),
        life,
        binding: Some(api.binding),
    });
    Session {
        refresh_token: tokens.refresh_token.map(Token::from),
        access_tokens: access_token.into_iter().collect(),
        ..Session::new(id, user(claims), now)
    }
}

fn user(claims: IdToken) -> User {
    let other = Claims {
        name: claims.name,
        preferred_username: claims.preferred_username,
        email: claims.email,
        roles: claims.roles,
        login_hint: claims.login_hint,
        provider_sid: claims.sid,
        acr: claims.acr,
        amr: claims.amr,
        auth_time: claims.auth_time,
    };
    User { sub: claims.sub, oid: claims.oid, tid: claims.tid, claims: other.into() }
}
