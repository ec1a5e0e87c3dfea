//! Fresh access tokens: which session gets which token, when it is renewed, and what a failure means.
//!
//! One redemption at a time for each session, shared by all who wait for it. It runs to its end whatever becomes of
//! those who asked, since a provider may have spent the refresh token already.

pub mod challenge;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, join_all, ready};
use tracing::Instrument;

use crate::api_map::ApiMap;
use crate::clock::{self, UnixSeconds};
use crate::error::Error;
use crate::oidc::Provider;
use crate::oidc::id_token::Subject;
use crate::oidc::refresh::{RefreshError, Refreshed, Scopes};
use crate::secret::SecretString;
use crate::session::cache::{Redeemed, RequiredInteraction};
use crate::session::payload::{AccessToken, SessionId, User};
use crate::session::{OpenSession, Sessions};

/// How long a call waits for a new token while the old one is still good.
const WAIT_WHILE_VALID: Duration = Duration::from_secs(2);

/// Settings of the tokens.
#[derive(Debug)]
pub struct Config {
    /// Asked with every API's own: what the sign-in asks.
    pub scopes: Vec<String>,
    /// The APIs, for the scopes and the resource of each.
    pub apis: Arc<ApiMap>,
    /// A token with less life left, in seconds, is renewed before a call.
    pub skew: u64,
}

/// Renews tokens.
#[derive(Debug)]
pub struct TokenService {
    config: Config,
    provider: Arc<Provider>,
    sessions: Arc<Sessions>,
    flights: Mutex<HashMap<RefreshKey, InFlight>>,
}

/// For whom a redemption is, and for which API; without one it only renews the session.
type RefreshKey = (SessionId, Option<String>);
/// A redemption under way.
type InFlight = Shared<BoxFuture<'static, Result<Option<AccessToken>, RefreshError>>>;

/// The state of an API's token, for the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// There is one, or one can be had without the user.
    Ok,
    /// Neither.
    Expired,
    /// The user has to do something first.
    Requires(RequiredInteraction),
}

impl TokenService {
    /// TokenService from a provider.
    #[must_use]
    pub fn new(config: Config, provider: Arc<Provider>, sessions: Arc<Sessions>) -> Arc<Self> {
        Arc::new(Self { config, provider, sessions, flights: Mutex::default() })
    }

    /// An access token for a call to an API, renewed first if it has little life left: borrowed from the session, or
    /// new.
    ///
    /// A token that is still valid is used when the renewal fails, whatever the reason, or takes too long.
    ///
    /// # Errors
    /// [`Error::SessionExpired`], [`Error::ConsentRequired`], [`Error::StepUpRequired`] or
    /// [`Error::ProviderUnavailable`].
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
        let renewal = self.fresh_token(open, api, now);
        let outcome = match held {
            None => renewal.await,
            Some(valid) => match tokio::time::timeout(WAIT_WHILE_VALID, renewal).await {
                Ok(Ok(renewed)) => Ok(renewed),
                Ok(Err(_)) | Err(_) => return Ok(Cow::Borrowed(valid)),
            },
        };
        match outcome {
            Ok(Some(token)) => Ok(Cow::Owned(token)),
            Ok(None) => Err(Error::Internal),
            Err(fault) => Err(self.refusal(open, api, fault, now).await),
        }
    }

    /// Renews the tokens that the session holds, or, when it holds none, the session alone. No older result is used.
    /// Without a refresh token there is nothing to do while an access token is good.
    ///
    /// # Errors
    /// As [`Self::for_call`]; of several the one that ends the session, else the first.
    pub async fn refresh_all(self: &Arc<Self>, open: &OpenSession, now: UnixSeconds) -> Result<(), Error> {
        if open.session.refresh_token.is_none() && open.session.access_tokens.iter().any(|token| !token.is_expired(now))
        {
            return Ok(());
        }
        let known = |api: &str| self.config.apis.get(api).is_some();
        let held = open.session.access_tokens.iter().map(|token| token.api.as_str()).filter(|api| known(api));
        let mut goals: Vec<Option<&str>> = held.map(Some).collect();
        if goals.is_empty() {
            goals.push(None);
        }
        let flights: Vec<InFlight> = {
            let mut flights = self.flights();
            goals.iter().map(|api| self.flight(&mut flights, open, *api)).collect()
        };
        let outcomes = join_all(flights).await;
        let mut faults = goals.into_iter().zip(outcomes).filter_map(|(api, outcome)| Some((api, outcome.err()?)));
        let Some(first) = faults.next() else { return Ok(()) };
        let (api, fault) = faults.find(|(_, fault)| *fault == RefreshError::Expired).unwrap_or(first);
        Err(self.refusal(open, api.unwrap_or_default(), fault, now).await)
    }

    /// What the page may know of an API's token. Nothing is asked for it.
    #[must_use]
    pub fn status(&self, open: &OpenSession, api: &str, now: UnixSeconds) -> Status {
        if let Some(wanting) = self.sessions.cache.wanting(&open.session.id, api) {
            return Status::Requires(wanting);
        }
        let spent = |token| self.sessions.cache.is_spent(&open.session.id, token);
        let renewable = open.session.refresh_token.as_ref().is_some_and(|token| !spent(token));
        if renewable || open.session.access_token(api, now).is_some() { Status::Ok } else { Status::Expired }
    }

    /// Takes note that an API refused a token. With `claims`, what it asks of the next sign-in, no instance should use
    /// the token again, and the refusal that sends the user there is the answer.
    pub async fn on_claims_challenge(
        &self,
        open: &OpenSession,
        token: AccessToken,
        claims: &str,
        now: UnixSeconds,
    ) -> Error {
        let api = token.api.clone();
        self.sessions.cache.drop_rejected_token(open, token, true);
        self.refusal(open, &api, RefreshError::StepUpRequired(Some(claims.to_owned())), now).await
    }

    /// Takes note that an API does not accept a token: it is not given to calls with an older cookie any more.
    pub fn on_unauthorized(&self, open: &OpenSession, token: AccessToken) {
        self.sessions.cache.drop_rejected_token(open, token, false);
    }

    /// A token that another call has brought by now, or else the redemption, joined or begun.
    fn fresh_token(self: &Arc<Self>, open: &OpenSession, api: &str, now: UnixSeconds) -> InFlight {
        // One lock over both looks: what lands between them would be redeemed a second time.
        let mut flights = self.flights();
        let mut session = open.session.clone();
        self.sessions.cache.merge_newer_tokens(&mut session, now);
        let found = session.access_token(api, now).filter(|token| token.is_fresh(now, self.config.skew));
        match found {
            Some(token) => ready(Ok(Some(token.clone()))).boxed().shared(),
            None => self.flight(&mut flights, open, Some(api)),
        }
    }

    /// The redemption for a goal: the one under way, or a new one that goes on even if nobody waits for it.
    fn flight(
        self: &Arc<Self>,
        flights: &mut HashMap<RefreshKey, InFlight>,
        open: &OpenSession,
        api: Option<&str>,
    ) -> InFlight {
        let goal = (open.session.id, api.map(str::to_owned));
        if let Some(flight) = flights.get(&goal) {
            return flight.clone();
        }
        let (tokens, open, key) = (Arc::clone(self), open.clone(), goal.clone());
        let flight = async move {
            let outcome = tokens.redeem(&open, key.1.as_deref()).await;
            tokens.flights().remove(&key);
            outcome
        };
        // Whoever polls it, its log lines belong to the request that started it.
        let flight = flight.in_current_span().boxed().shared();
        flights.insert(goal, flight.clone());
        tokio::spawn(flight.clone());
        flight
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<RefreshKey, InFlight>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn redeem(&self, open: &OpenSession, api: Option<&str>) -> Result<Option<AccessToken>, RefreshError> {
        let cache = &self.sessions.cache;
        let queue = cache.queue(open);
        let _turn = queue.lock().await;
        if self.sessions.ended.contains(&open.session.id) {
            cache.forget(&open.session.id);
            return Err(RefreshError::Expired);
        }
        // Whoever was before in the queue may have brought the next refresh token.
        let mut session = open.session.clone();
        cache.merge_newer_tokens(&mut session, clock::now());
        let refresh_token = session.refresh_token.as_ref().ok_or(RefreshError::Expired)?;
        if cache.is_spent(&session.id, refresh_token) {
            return Err(RefreshError::Expired);
        }
        let Refreshed { refresh_token: next, outcome } = self.ask(refresh_token, &session.user, api).await;
        match &outcome {
            Err(RefreshError::Expired) => cache.spend(open, refresh_token.clone()),
            Err(RefreshError::ConsentRequired) => {
                cache.require(open, api.unwrap_or_default(), RequiredInteraction::Consent)
            }
            Err(RefreshError::StepUpRequired(_)) => {
                cache.require(open, api.unwrap_or_default(), RequiredInteraction::StepUp)
            }
            Ok(_) | Err(RefreshError::Unavailable) => {}
        }
        if self.sessions.ended.contains(&session.id) {
            // The sign-out could revoke only the refresh token of its time. Those who waited get nothing any more.
            if let Some(next) = &next {
                self.provider.revoke(next).await;
            }
            return Err(RefreshError::Expired);
        }
        let access_token = outcome.as_ref().ok().cloned().flatten();
        cache.remember(open, Redeemed { refresh_token: next, access_token }, clock::now());
        outcome
    }

    async fn ask(
        &self,
        refresh_token: &SecretString,
        user: &User,
        api: Option<&str>,
    ) -> Refreshed<Option<AccessToken>> {
        let wanted = api.and_then(|api| self.config.apis.get(api));
        let of_api = wanted.map(|wanted| wanted.scopes.as_slice()).unwrap_or_default();
        let scopes = Scopes { always: &self.config.scopes, of_api };
        let resource = wanted.and_then(|wanted| wanted.resource.as_deref());
        let subject = Subject { sub: &user.sub, tid: user.tid.as_deref() };
        let asked_at = clock::now();
        self.provider.refresh(refresh_token, scopes, resource, subject, &clock::now).await.map(|tokens| {
            let life = tokens.life();
            let expires_at = asked_at.saturating_add(life);
            api.map(|api| {
                let (api, token) = (api.to_owned(), tokens.access_token);
                AccessToken { api, token, expires_at, life, binding: None }
            })
        })
    }

    /// What the page hears of a fault, with the way out of it.
    async fn refusal(&self, open: &OpenSession, api: &str, fault: RefreshError, now: UnixSeconds) -> Error {
        let login_url = if api.is_empty() { "/auth/login".to_owned() } else { format!("/auth/login?api={api}") };
        match fault {
            RefreshError::Expired => Error::SessionExpired,
            RefreshError::Unavailable => Error::ProviderUnavailable,
            RefreshError::ConsentRequired => Error::ConsentRequired(login_url.into()),
            RefreshError::StepUpRequired(claims) => {
                let challenge = match claims {
                    Some(claims) => challenge::seal(&self.sessions, open, api, &claims, now).await,
                    None => None,
                };
                let url = challenge.map(|challenge| format!("/auth/login?challenge={challenge}"));
                Error::StepUpRequired(url.unwrap_or(login_url).into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
