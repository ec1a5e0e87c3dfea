//! From cookies to Redis: a sealed session is moved into the store at the first use of its cookie (contract 15.17).

use super::RedisStore;
use super::record::{Index, SessionNames};
use super::records::{Fields, Stored, is_none, millis};
use crate::clock::UnixSeconds;
use crate::session::OpenSession;
use crate::session::handle::Handle;
use crate::session::payload::Session;
use crate::session::seal::Opened;
use crate::session::store::LoadError;

impl RedisStore {
    /// Loads the session of a cookie that holds all of it, which an instance without this store wrote. At its first use
    /// it is moved here, once, and from then on the record counts.
    pub(super) async fn load_moved(&self, cookie: &Opened, now: UnixSeconds) -> Result<Stored, LoadError> {
        let session = Session::decode(cookie.payload()).ok_or(LoadError::Expired)?;
        let (handle, expires_at) = (Handle::of(&session), cookie.times.expires_at);
        self.check_here(&session)?;
        self.check_here(&handle.session())?;
        let names = self.records.names.session(&handle.hash());
        let fields = match self.records.moved(&names).await? {
            Some(fields) => fields,
            None => self.move_here(session, &handle, &names, expires_at, now).await?,
        };
        self.open(&handle, &names, fields, expires_at, now).await
    }

    /// Moves a session here from its cookie. Returns the record that counts.
    async fn move_here(
        &self,
        mut session: Session,
        handle: &Handle,
        names: &SessionNames<'_>,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<Fields, LoadError> {
        session.handle = Some(handle.secret.clone());
        let idle_at = session.active_at.saturating_add(self.records.limits.idle.as_secs());
        let key = self.records.sealer.key(now).await.map_err(|_| LoadError::KeyUnavailable)?;
        let new = OpenSession::new(session, expires_at);
        let sealed = self.records.seal(&key, &new, now).ok().filter(|_| now < idle_at).ok_or(LoadError::Expired)?;
        let indexes = Index::of(&new.session);
        self.records.add_to_indexes(&indexes, names, expires_at, now).await?;
        let fields = self.records.move_here(names, &sealed, millis(expires_at, now)).await?;
        if is_none(&fields) {
            self.records.remove_from_indexes(&indexes, names).await;
        } else {
            // Who met the entries before there was a record may have removed them.
            self.records.add_to_indexes(&indexes, names, expires_at, now).await?;
        }
        Ok(fields)
    }
}
