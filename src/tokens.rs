//! Fresh access tokens: which session gets which token, when it is refreshed, and what a failure means (contract 7.9 to
//! 7.27).
//!
//! A session has one token request at a time, and all who wait for the same token share it. It runs to its end even if
//! no one waits any more, because the provider may have consumed the refresh token already (contract 7.18).

pub mod challenge;
mod circuit;
pub mod endpoint;
mod failure;
mod in_flight;
mod limits;
mod rejection;
mod writer;

use std::borrow::Cow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use crate::api_map::{Api, ApiMap};
use crate::clock::{Clock, UnixSeconds};
use crate::error::Error;
use crate::oidc::id_token::Subject;
use crate::oidc::refresh::{RefreshError, Refreshed, Scopes};
use crate::oidc::scopes;
use crate::secret::SecretString;
use crate::session::payload::{AccessToken, Session};
use crate::session::store::NewTokens;
use crate::session::{OpenError, OpenSession, RequiredInteraction, Sessions};
use crate::telemetry::in_current_request;
use challenge::Requirement;
use endpoint::TokenEndpoint;
use failure::Failure;
use in_flight::{InFlight, Registration};
use limits::RefreshLimits;
use writer::TokenWriter;

/// How long a call waits for a refresh while its access token is still valid (contract 7.17).
const WAIT_WHILE_VALID: Duration = Duration::from_secs(2);
/// How long the refresh lock must last when a token request is sent: its deadline, and the time to store its result.
const LOCKED_FOR: Duration = Duration::from_secs(12);

/// Settings of the tokens.
#[derive(Debug)]
pub struct Config {
    /// Requested for every API: `SCOPES`.
    pub scopes: Vec<String>,
    /// The APIs, for the scopes and the resource of each.
    pub apis: Arc<ApiMap>,
    /// An access token with fewer seconds left is refreshed before a call.
    pub skew: u64,
    /// Whether sessions keep the newest ID token (contract 12.22).
    pub keep_id_token: bool,
    /// Most requests in flight of this instance (contract 10.19).
    pub max_in_flight: usize,
}

/// Gives access tokens for calls, and refreshes them.
#[derive(Debug)]
pub struct TokenService {
    config: Config,
    endpoint: Arc<dyn TokenEndpoint>,
    sessions: Arc<Sessions>,
    in_flight: Arc<InFlight<Outcome>>,
    writer: Arc<TokenWriter>,
    limits: RefreshLimits,
}

type Outcome = Result<Done, Failure>;

/// The access token of a refresh, if it was for an API, and the ID token, if sessions keep it.
type Issued = (Option<AccessToken>, Option<SecretString>);

/// What a refresh resulted in.
#[derive(Debug, Clone)]
struct Done {
    /// The access token, if the refresh was for an API.
    token: Option<AccessToken>,
    /// Whether a token request was sent. If not, another request had just stored the token.
    is_requested: bool,
}

/// The state of an API's token, as `GET /auth/session` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There is one, or one can be obtained without the user.
    Ok,
    /// There is none, and none can be obtained.
    Expired,
    /// The user has to do something first.
    Requires(RequiredInteraction),
}

impl TokenService {
    #[must_use]
    pub fn new(config: Config, endpoint: Arc<dyn TokenEndpoint>, sessions: Arc<Sessions>) -> Arc<Self> {
        let limits = RefreshLimits::of(config.max_in_flight);
        let writer = TokenWriter::new(Arc::clone(&sessions), Arc::clone(&endpoint));
        Arc::new(Self { config, endpoint, sessions, in_flight: Arc::default(), writer, limits })
    }

    /// Sends refreshes again, since the provider has exchanged a code (contract 22.2).
    pub fn on_sign_in(&self) {
        self.limits.close_circuit();
    }

    /// An access token for a call to an API: borrowed from the session if it is fresh, otherwise refreshed before.
    ///
    /// If the refresh fails or takes too long, or if too many requests wait for one, an access token that is still
    /// valid is used (contract 7.16, 7.17).
    ///
    /// # Errors
    /// [`Error::SessionExpired`], [`Error::ConsentRequired`], [`Error::StepUpRequired`] or
    /// [`Error::ProviderUnavailable`]; or the session cannot be read or stored.
    pub async fn for_call<'a>(
        self: &Arc<Self>,
        open: &'a OpenSession,
        api: &str,
        now: UnixSeconds,
    ) -> Result<Cow<'a, AccessToken>, Error> {
        let held = open.session.access_token(api, now);
        if let Some(token) = held.filter(|token| token.is_fresh(now, self.config.skew)) {
            return Ok(Cow::Borrowed(token));
        }
        // Boxed, since few calls need it.
        Box::pin(self.refreshed(open, api, held, now)).await
    }

    async fn refreshed<'a>(
        self: &Arc<Self>,
        open: &'a OpenSession,
        api: &str,
        held: Option<&'a AccessToken>,
        now: UnixSeconds,
    ) -> Result<Cow<'a, AccessToken>, Error> {
        let Some(_permit) = self.limits.may_wait() else {
            return held.map(Cow::Borrowed).ok_or(Error::ProviderUnavailable);
        };
        let started = Instant::now();
        let mut refresh = pin!(self.join_or_start(open, Some(api), false, now));
        let is_expired = |token: &AccessToken| token.is_expired(now.saturating_add(started.elapsed().as_secs()));
        let outcome = match held {
            None => refresh.await,
            Some(held) => match tokio::time::timeout(WAIT_WHILE_VALID, refresh.as_mut()).await {
                Ok(Ok(done)) => Ok(done),
                // The session has ended, and with it the use of all its tokens.
                Ok(Err(ended @ Failure::Session(OpenError::Ended | OpenError::Expired))) => Err(ended),
                // It may have expired while the call waited.
                Ok(Err(failure)) if is_expired(held) => Err(failure),
                Err(_) if is_expired(held) => refresh.await,
                Ok(Err(_)) | Err(_) => return Ok(Cow::Borrowed(held)),
            },
        };
        match outcome {
            Ok(Done { token: Some(token), .. }) => Ok(Cow::Owned(token)),
            Ok(Done { token: None, .. }) => Err(Error::Internal),
            Err(failure) => Err(self.error(open, api, failure, now).await),
        }
    }

    /// Refreshes the tokens that the session holds, or, when it holds none, the session alone. Does nothing without a
    /// refresh token, as long as an access token is valid.
    ///
    /// # Errors
    /// As [`Self::for_call`]; of several the one that ends the session, else the first.
    pub async fn refresh_all(self: &Arc<Self>, open: &OpenSession, now: UnixSeconds) -> Result<(), Error> {
        if open.session.refresh_token.is_none() && open.session.access_tokens.iter().any(|token| !token.is_expired(now))
        {
            return Ok(());
        }
        let _permit = self.limits.may_wait().ok_or(Error::ProviderUnavailable)?;
        let held = open.session.access_tokens.iter().map(|token| token.api.as_str());
        let mut apis: Vec<Option<&str>> = held.filter(|api| self.config.apis.get(api).is_some()).map(Some).collect();
        if apis.is_empty() {
            apis.push(None);
        }
        let outcomes = join_all(apis.iter().map(|api| self.request_tokens(open, *api, now))).await;
        let mut failures = apis.into_iter().zip(outcomes).filter_map(|(api, outcome)| Some((api, outcome.err()?)));
        let Some(first) = failures.next() else { return Ok(()) };
        let (api, failure) = failures.find(|(_, failure)| failure.ends_session()).unwrap_or(first);
        Err(self.error(open, api.unwrap_or_default(), failure, now).await)
    }

    /// The state of an API's token. Sends no request.
    #[must_use]
    pub fn status(&self, open: &OpenSession, api: &str, now: UnixSeconds) -> Status {
        let id = &open.session.id;
        if let Some(interaction) = self.sessions.required(id, api) {
            return Status::Requires(interaction);
        }
        let is_rejected = |token| self.sessions.is_refresh_token_rejected(id, token);
        let is_refreshable = open.session.refresh_token.as_deref().is_some_and(|token| !is_rejected(token));
        if is_refreshable || open.session.access_token(api, now).is_some() { Status::Ok } else { Status::Expired }
    }

    /// Handles a challenge of an API. Returns the response, which sends the user to the sign-in. After a claims
    /// challenge the token is not used again (contract 7.28); after one of RFC 9470 it stays good for other calls.
    pub async fn on_challenge(
        &self,
        open: &OpenSession,
        token: AccessToken,
        required: Requirement,
        now: UnixSeconds,
    ) -> Error {
        let api = token.api.clone();
        if required.claims.is_some() {
            self.sessions.reject_access_token(open, token, now);
        }
        Error::StepUpRequired(challenge::login_url(&self.sessions, open, &api, Some(&required), now).await.into())
    }

    /// Handles another 401 of an API: requests with an older cookie do not get this token from the cache any more.
    pub fn on_unauthorized(&self, open: &OpenSession, token: &AccessToken) {
        self.sessions.forget_cached_token(open, token);
    }

    /// The refresh of [`Self::refresh_all`] for one API: joins one in flight, but uses no result of an earlier token
    /// request (contract 7.13).
    async fn request_tokens(
        self: &Arc<Self>,
        open: &OpenSession,
        api: Option<&str>,
        now: UnixSeconds,
    ) -> Result<(), Failure> {
        while !self.join_or_start(open, api, true, now).await?.is_requested {}
        Ok(())
    }

    /// The refresh for an API that is in flight, or a new one. It runs to its end even if no one waits for it.
    async fn join_or_start(
        self: &Arc<Self>,
        open: &OpenSession,
        api: Option<&str>,
        must_request: bool,
        now: UnixSeconds,
    ) -> Outcome {
        let (waiting, new) = self.in_flight.join_or_register((open.session.id, api.map(str::to_owned)));
        if let Some(registration) = new {
            self.start(registration, open, must_request, now);
        }
        waiting.outcome().await.unwrap_or(Err(Failure::Internal))
    }

    fn start(
        self: &Arc<Self>,
        registration: Registration<Outcome>,
        open: &OpenSession,
        must_request: bool,
        now: UnixSeconds,
    ) {
        if let Err(rejected @ Failure::CircuitOpen(_)) = self.check(open) {
            registration.finish(Err(rejected));
            return;
        }
        let (service, open, started) = (Arc::clone(self), open.clone(), Instant::now());
        let refresh = async move {
            let clock = || now.saturating_add(started.elapsed().as_secs());
            let outcome = service.refresh(&registration, open, must_request, &clock).await;
            registration.finish(outcome);
        };
        // A task of its own: a panic ends it alone, and all who wait get an error.
        tokio::spawn(in_current_request(refresh));
    }

    /// Whether a refresh of the session can be sent now.
    fn check(&self, open: &OpenSession) -> Result<(), Failure> {
        let refresh_token = open.session.refresh_token.as_deref().ok_or(RefreshError::Expired)?;
        if self.sessions.is_refresh_token_rejected(&open.session.id, refresh_token) {
            return Err(RefreshError::Expired.into());
        }
        self.limits.pause().map_or(Ok(()), |left| Err(Failure::CircuitOpen(left)))
    }

    async fn refresh(
        &self,
        registration: &Registration<Outcome>,
        mut open: OpenSession,
        must_request: bool,
        clock: Clock<'_>,
    ) -> Outcome {
        let api = registration.key.1.as_deref();
        let fresh = |session: &Session, now| {
            let token = api.and_then(|api| session.access_token(api, now));
            let token = token.filter(|token| !must_request && token.is_fresh(now, self.config.skew)).cloned();
            token.map(|token| Done { token: Some(token), is_requested: false })
        };
        // Not only with the lock, which is held until they are stored.
        self.add_unsaved(&mut open.session);
        if let Some(done) = fresh(&open.session, clock()) {
            return Ok(done);
        }
        let (lock, turn) = loop {
            let lock = self.sessions.lock_refresh(&open).await?;
            open = self.sessions.reload(&open, clock()).await?;
            self.add_unsaved(&mut open.session);
            if let Some(done) = fresh(&open.session, clock()) {
                return Ok(done);
            }
            self.check(&open)?;
            // The lock comes first: a turn that waited for the lock of a session would keep others from theirs.
            let turn = tokio::select! {
                biased;
                turn = self.limits.turn() => turn,
                // Only a request that was sent must run to its end (contract 7.18).
                () = registration.abandoned() => return Err(Failure::Internal),
            };
            if self.sessions.ended_here(&open).is_some() {
                return Err(OpenError::Ended.into());
            }
            if let Some(lock) = lock.filter(|lock| lock.lasts(LOCKED_FOR)) {
                break (lock, turn);
            }
        };
        let refresh_token = open.session.refresh_token.as_deref().ok_or(RefreshError::Expired)?;
        let attempt = self.limits.attempt().map_err(Failure::CircuitOpen)?;
        let Refreshed { refresh_token: rotated, outcome, availability } =
            self.send_request(refresh_token, &open.session, api, clock).await;
        attempt.end(availability);
        drop(turn);
        if let Err(error) = &outcome {
            rejection::note(&self.sessions, &open, (refresh_token, api), error, clock());
        }
        let (access_token, id_token) = outcome.as_ref().ok().cloned().unwrap_or_default();
        self.writer.save(lock, &open, NewTokens { refresh_token: rotated, access_token, id_token }, clock()).await?;
        Ok(Done { token: outcome?.0, is_requested: true })
    }

    /// Puts the tokens into a session that are not stored yet, but those that their API has rejected meanwhile.
    fn add_unsaved(&self, session: &mut Session) {
        self.writer.add_unsaved(session);
        self.sessions.remove_rejected_tokens(session);
    }

    async fn send_request(
        &self,
        refresh_token: &SecretString,
        session: &Session,
        api: Option<&str>,
        clock: Clock<'_>,
    ) -> Refreshed<Issued> {
        let settings = api.and_then(|api| self.config.apis.get(api));
        let of_api = settings.map(|settings| settings.scopes.as_slice()).unwrap_or_default();
        let requested =
            scopes::of_token_request(&self.config.scopes, &self.config.apis, settings, &session.not_granted);
        let scopes = Scopes { requested: &requested, of_api };
        let resource = settings.and_then(|settings| settings.resource.as_deref());
        let user = &session.user;
        let subject = Subject { sub: &user.sub, tid: user.tid.as_deref(), nonce_hash: session.nonce_hash };
        let sent_at = clock();
        let refreshed = self.endpoint.refresh(refresh_token, scopes, resource, subject, clock).await;
        refreshed.map(|tokens| {
            let life = tokens.life;
            let (token, expires_at) = (tokens.access_token.into(), sent_at.saturating_add(life));
            let access_token =
                |api: &Api| AccessToken { api: api.name.clone(), token, expires_at, life, binding: Some(api.binding) };
            let token = settings.map(access_token);
            (token, tokens.id_token.filter(|_| self.config.keep_id_token))
        })
    }

    /// The response to a failure, with the URL that helps against it (contract 7.24, 7.26).
    async fn error(&self, open: &OpenSession, api: &str, failure: Failure, now: UnixSeconds) -> Error {
        match failure {
            Failure::CircuitOpen(left) => Error::ProviderUnavailableFor(failure::retry_after(left)),
            Failure::Internal => Error::Internal,
            Failure::Session(error) => error.into(),
            Failure::Refresh(RefreshError::Expired) => Error::SessionExpired,
            Failure::Refresh(RefreshError::Unavailable) => Error::ProviderUnavailable,
            Failure::Refresh(RefreshError::ConsentRequired) => {
                Error::ConsentRequired(challenge::plain_login_url(api).into())
            }
            Failure::Refresh(RefreshError::StepUpRequired(claims)) => {
                let required = claims.map(|claims| Requirement { claims: Some(claims), ..Requirement::default() });
                let url = challenge::login_url(&self.sessions, open, api, required.as_ref(), now).await;
                Error::StepUpRequired(url.into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
