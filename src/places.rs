//! Places: how many requests may be in flight, by class, kind and user (contract 10.19, 10.20).
//!
//! Requests beyond the limits are rejected, so that memory stays bounded, sign-ins still succeed while API calls pile
//! up, and no client takes the places of all others.

mod limits;
mod unread;
mod users;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::error::Error;
use crate::reply::Body;
use crate::reply::body::text;
use crate::session::payload::Session;
pub use limits::{Limits, Share, UNDER_FUNCTIONS};
use users::{UserPermit, Users};

/// How long a request waits for a place of its share, so that a short burst is not rejected.
const WAIT: Duration = Duration::from_secs(2);

/// The admission class of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Never rejected and not counted: health, and requests of the host itself.
    Exempt,
    /// May use every place, so that signing in and out works while calls pile up.
    SignIn,
    /// May use all but the places reserved for [`Self::SignIn`].
    General,
    /// As [`Self::General`], with the share of the SPA's files.
    SpaFile,
    /// As [`Self::General`], with the share of its user, and its handler enters: a malformed path is reported before
    /// overload, and the user is known only once the session is open (contract 8.7).
    Proxied,
}

/// The places of this instance.
#[derive(Debug)]
pub struct Places {
    all: Arc<Semaphore>,
    general: Arc<Semaphore>,
    spa: Kind,
    sessionless: Kind,
    users: Arc<Users>,
    forms: Arc<Semaphore>,
}

/// A kind of requests that has a share of the places.
#[derive(Debug)]
struct Kind {
    held: Arc<Semaphore>,
    waiting: Semaphore,
}

/// A request's place: from when it enters until its response was sent, or its handler gives the place back. Clones are
/// the same place.
#[derive(Debug, Clone)]
pub struct Place(Arc<Request>);

#[derive(Debug)]
struct Request {
    places: Arc<Places>,
    class: Class,
    held: Mutex<Held>,
}

/// What a request has taken.
#[derive(Debug, Default)]
struct Held {
    _all: Option<OwnedSemaphorePermit>,
    _general: Option<OwnedSemaphorePermit>,
    kind: Option<OwnedSemaphorePermit>,
    user: Option<UserPermit>,
}

impl Places {
    #[must_use]
    pub fn new(limits: &Limits) -> Arc<Self> {
        let permits = |count| Arc::new(Semaphore::new(count));
        let kind = |share: Share| Kind { held: permits(share.held), waiting: Semaphore::new(share.waiting) };
        Arc::new(Self {
            all: permits(limits.all),
            general: permits(limits.general),
            spa: kind(limits.spa),
            sessionless: kind(limits.sessionless),
            users: Arc::new(Users::new(limits.user)),
            forms: permits(limits.forms),
        })
    }

    /// For a request that has arrived. It has no place before [`Place::enter`].
    #[must_use]
    pub fn arrived(self: &Arc<Self>, class: Class) -> Place {
        Place(Arc::new(Request { places: Arc::clone(self), class, held: Mutex::default() }))
    }
}

impl Place {
    /// Takes the place, for which the request may have to wait.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    pub async fn enter(&self) -> Result<(), Error> {
        let Request { places, class, .. } = self.0.as_ref();
        let kind = match class {
            Class::Exempt => return Ok(()),
            Class::Proxied => None,
            Class::SpaFile => Some(&places.spa),
            Class::General | Class::SignIn => Some(&places.sessionless),
        };
        let share = kind.and_then(|kind| take(&kind.held).ok());
        let waits = kind.filter(|_| share.is_none());
        // Who waits counts among the general places, so that those for signing in stay free.
        let general = (*class != Class::SignIn || waits.is_some()).then(|| take(&places.general)).transpose()?;
        let all = take(&places.all)?;
        let share = match waits {
            None => share,
            Some(kind) => Some(kind.wait().await?),
        };
        let general = general.filter(|_| *class != Class::SignIn);
        *self.held() = Held { _all: Some(all), _general: general, kind: share, user: None };
        Ok(())
    }

    /// Reads a form, whose request takes its place once the form has arrived: a slow one takes none.
    ///
    /// # Errors
    /// Those of [`text`]; [`Error::Overloaded`].
    pub async fn enter_with_form(&self, body: Body) -> Result<String, Error> {
        let arriving = take(&self.0.places.forms)?;
        let form = text(body).await?;
        drop(arriving);
        self.enter().await?;
        Ok(form)
    }

    /// Moves the place to the share of the session's user, for which the request may have to wait.
    ///
    /// # Errors
    /// [`Error::Overloaded`].
    pub async fn enter_as(&self, session: &Session) -> Result<(), Error> {
        let registration = self.0.places.users.register(session).ok_or(Error::Overloaded)?;
        let user = match registration.try_permit() {
            Ok(user) => user,
            Err(registration) => {
                // As in `enter`; other classes have a general place.
                let is_sign_in = self.0.class == Class::SignIn;
                let _general = is_sign_in.then(|| take(&self.0.places.general)).transpose()?;
                timeout(WAIT, registration.permit()).await.ok().flatten().ok_or(Error::Overloaded)?
            }
        };
        self.set_user(user);
        Ok(())
    }

    /// The same if the user's share has room; otherwise the place stays where it is.
    pub fn try_enter_as(&self, session: &Session) {
        if let Some(registration) = self.0.places.users.register(session)
            && let Ok(user) = registration.try_permit()
        {
            self.set_user(user);
        }
    }

    fn set_user(&self, user: UserPermit) {
        let mut held = self.held();
        held.kind = None;
        held.user = Some(user);
    }

    /// Gives the place back.
    pub fn release(&self) {
        let held = std::mem::take(&mut *self.held());
        drop(held);
    }

    /// The body of an SPA file, which gives the place back if its client does not read it, and continues without one.
    #[must_use]
    pub fn while_read(&self, body: Body) -> Body {
        unread::while_read(body, self.clone())
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    async fn wait(&self) -> Result<OwnedSemaphorePermit, Error> {
        let _waiting = self.waiting.try_acquire().map_err(|_| Error::Overloaded)?;
        let permit = timeout(WAIT, Arc::clone(&self.held).acquire_owned()).await;
        permit.ok().and_then(Result::ok).ok_or(Error::Overloaded)
    }
}

fn take(permits: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Error> {
    Arc::clone(permits).try_acquire_owned().map_err(|_| Error::Overloaded)
}

#[cfg(test)]
mod tests;
