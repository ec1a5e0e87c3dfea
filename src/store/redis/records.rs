//! The records of sessions: sealed, read, written and deleted one by one.

use std::sync::Arc;

use redis::{Cmd, FromRedisValue, Value};

use super::client::{Client, Script};
use super::record::{Index, LIMIT, Metadata, Names, SessionNames, mark, reason};
use super::scripts;
use crate::clock::UnixSeconds;
use crate::keyring::{Key, KeyId};
use crate::session::companion::SessionHash;
use crate::session::handle::Handle;
use crate::session::payload::Session;
use crate::session::seal::{Opened, Times};
use crate::session::sealer::{Sealer, UnsealError};
use crate::session::store::{EndReason, LoadError, RefreshLock, SaveError, StoreUnavailable};
use crate::session::{Limits, OpenSession};

/// Most bytes of metadata that this release writes: hashes, times, and 256 bytes of a `User-Agent`, sealed.
const METADATA: usize = 1_024;
/// How often activity is written against that of other requests before it is left to them.
const ATTEMPTS: usize = 16;

/// The records in one Redis.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) client: Arc<Client>,
    pub(super) names: Names,
    pub(super) sealer: Arc<Sealer>,
    pub(super) limits: Limits,
}

/// A record that was read.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) session: Session,
    pub(super) expires_at: UnixSeconds,
    /// The key that the session is sealed under.
    pub(super) kid: KeyId,
}

/// A record that is to be written.
pub(super) struct Sealed {
    session: String,
    metadata: String,
    generation: u64,
    /// In ms.
    life: u64,
}

/// Metadata that was read.
pub(super) struct StoredMetadata {
    /// As it is stored.
    sealed: Vec<u8>,
    pub(super) metadata: Metadata,
    /// The absolute expiry.
    pub(super) expires_at: UnixSeconds,
}

/// Generation, session, metadata; as of `HMGET`.
pub(super) type Fields = (Option<Vec<u8>>, Option<Vec<u8>>, Option<Vec<u8>>);

/// Why metadata cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MetadataError {
    /// There is no record.
    Gone,
    /// It does not open, for reasons that the log has.
    Invalid,
    KeyUnavailable,
    StoreUnavailable,
}

impl Records {
    /// Sends a command to the slot of a key.
    pub(super) async fn call<T: FromRedisValue>(
        &self,
        name: &'static str,
        key: &str,
        arguments: &[&[u8]],
    ) -> Result<T, StoreUnavailable> {
        self.parse(name, self.client.call(key, &command(name, key, arguments)).await?)
    }

    /// Sends a command that reads a record; `None` if its key has another type.
    async fn read_record<T: FromRedisValue>(
        &self,
        name: &'static str,
        names: &SessionNames<'_>,
        fields: &[&[u8]],
    ) -> Result<Option<T>, StoreUnavailable> {
        let command = command(name, &names.record, fields);
        let value = self.client.read(&names.record, &command).await?;
        value.map(|value| self.parse(name, value)).transpose()
    }

    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[&str],
        arguments: &[&[u8]],
    ) -> Result<T, StoreUnavailable> {
        self.parse(script.name(), self.client.run(script, keys, arguments).await?)
    }

    fn parse<T: FromRedisValue>(&self, operation: &str, reply: Value) -> Result<T, StoreUnavailable> {
        redis::from_redis_value(reply).map_err(|_| self.client.unexpected_reply(operation))
    }

    /// Reads a session in one round trip (contract 15.9).
    pub(super) async fn read(&self, handle: &Handle, now: UnixSeconds) -> Result<Stored, LoadError> {
        let names = self.names.session(&handle.hash());
        let fields = self.fields(&names).await?;
        self.open(handle, &names, fields, now).await
    }

    pub(super) async fn fields(&self, names: &SessionNames<'_>) -> Result<Fields, StoreUnavailable> {
        let fields = self.read_record("HMGET", names, &[b"g", b"v", b"m"]).await?;
        // A key of another type does not open (contract 15.8).
        Ok(fields.unwrap_or_else(|| (Some(Vec::new()), Some(Vec::new()), Some(Vec::new()))))
    }

    /// A record that is not there is an expired session, and so is one that does not open (contract 15.8).
    pub(super) async fn open(
        &self,
        handle: &Handle,
        names: &SessionNames<'_>,
        fields: Fields,
        now: UnixSeconds,
    ) -> Result<Stored, LoadError> {
        let opened = match fields {
            (None, None, None) => return Err(LoadError::Expired),
            (Some(generation), Some(session), Some(metadata)) => {
                let opened = tokio::try_join!(
                    self.sealer.unseal_record(&names.member, Some(&handle.secret), &session, now),
                    self.sealer.unseal_record(&names.metadata, None, &metadata, now),
                );
                opened.map(|(session, metadata)| decode(&session, &metadata, &generation))
            }
            _ => Ok(None),
        };
        match opened {
            Ok(Some(stored)) => Ok(stored),
            Err(UnsealError::KeyUnavailable) => Err(LoadError::KeyUnavailable),
            Ok(None) | Err(UnsealError::Invalid | UnsealError::UnknownKey) => {
                tracing::warn!("a record of the store does not open: its session counts as expired");
                // As with a cookie under such a key, another instance may know it already (contract 4.18, 6.29).
                let is_unknown_key = matches!(opened, Err(UnsealError::UnknownKey));
                Err(if is_unknown_key { LoadError::UnknownKey } else { LoadError::Expired })
            }
        }
    }

    /// Seals a session that begins, or that is moved here, as the first state of its record.
    pub(super) fn seal(&self, key: &Key, new: &OpenSession, now: UnixSeconds) -> Result<Sealed, SaveError> {
        let handle = Handle::of(&new.session);
        let names = self.names.session(&handle.hash());
        let metadata = Metadata {
            signed_in_at: new.session.signed_in_at,
            active_at: new.session.active_at,
            user_agent: new.user_agent.clone(),
            indexes: Index::of(&new.session),
        };
        let metadata = self.seal_metadata(key, &names, &metadata, new.expires_at, now);
        let mut session = new.session.clone();
        session.handle = Some(handle.secret.clone());
        let mut sealed = self.seal_session(key, &names, &handle, &session, new.expires_at, now);
        if sealed.len() + metadata.len() > LIMIT && session.id_token.take().is_some() {
            // It is kept where everything else fits too (contract 12.22).
            sealed = self.seal_session(key, &names, &handle, &session, new.expires_at, now);
        }
        if sealed.len() + metadata.len() > LIMIT {
            return Err(SaveError::TooLarge);
        }
        let life = self.life(session.active_at, new.expires_at, now);
        Ok(Sealed { session: sealed, metadata, generation: session.generation, life })
    }

    /// Stores a session that begins, where there is none and it has not ended. Returns whether there is one then.
    pub(super) async fn create(
        &self,
        names: &SessionNames<'_>,
        sealed: &Sealed,
        may_create: bool,
    ) -> Result<bool, StoreUnavailable> {
        let (generation, life) = (sealed.generation.to_string(), sealed.life.to_string());
        let may_create: &[u8] = if may_create { b"1" } else { b"0" };
        let arguments =
            [generation.as_bytes(), sealed.session.as_bytes(), sealed.metadata.as_bytes(), life.as_bytes(), may_create];
        self.run(&scripts::CREATE, &[&names.record, &names.mark()], &arguments).await
    }

    /// The record of a session that was moved here before; `None` if it was not.
    pub(super) async fn moved(&self, names: &SessionNames<'_>) -> Result<Option<Fields>, StoreUnavailable> {
        self.run(&scripts::MOVED, &[&names.record, &names.mark()], &[]).await
    }

    /// Moves a session here, unless another instance was first. Returns the record that counts.
    pub(super) async fn move_here(
        &self,
        names: &SessionNames<'_>,
        sealed: &Sealed,
        mark: u64,
    ) -> Result<Fields, StoreUnavailable> {
        let (generation, life, mark) = (sealed.generation.to_string(), sealed.life.to_string(), mark.to_string());
        let (session, metadata) = (sealed.session.as_bytes(), sealed.metadata.as_bytes());
        let arguments = [generation.as_bytes(), session, metadata, life.as_bytes(), mark.as_bytes()];
        self.run(&scripts::MOVE, &[&names.record, &names.mark()], &arguments).await
    }

    /// Stores the next generation of a session that was read. What does not fit is left out as far as the refresh token
    /// can obtain it again, so that a newer one is never lost (contract 4.17).
    pub(super) async fn save(
        &self,
        mut next: Session,
        expires_at: UnixSeconds,
        lock: &RefreshLock,
        now: UnixSeconds,
    ) -> Result<(), SaveError> {
        let handle = Handle::of(&next);
        let names = self.names.session(&handle.hash());
        let key = self.sealer.key(now).await.map_err(|_| SaveError::KeysUnavailable)?;
        let (before, after) = (next.generation.to_string(), next.generation.saturating_add(1));
        next.generation = after;
        let sealed = loop {
            let sealed = self.seal_session(&key, &names, &handle, &next, expires_at, now);
            if sealed.len() + METADATA <= LIMIT {
                break sealed;
            }
            if next.id_token.take().is_none() {
                next.take_largest_access_token().ok_or(SaveError::TooLarge)?;
            }
        };
        let after = after.to_string();
        let holder = lock.holder().map_or(&[][..], |holder| holder);
        let arguments = [before.as_bytes(), after.as_bytes(), sealed.as_bytes(), holder];
        match self.run(&scripts::SAVE, &[&names.record, &names.lock()], &arguments).await? {
            1 => Ok(()),
            0 => Err(SaveError::Ended),
            _ => Err(SaveError::Superseded),
        }
    }

    /// Stores `now` as the last activity, unless a later one is stored. It changes nothing else, so that it never costs
    /// another instance its new tokens (contract 15.5). If that fails, the log has the reason.
    pub(super) async fn touch(&self, hash: &SessionHash, now: UnixSeconds) {
        let names = self.names.session(hash);
        for _ in 0..ATTEMPTS {
            if !matches!(self.try_touch(&names, now).await, Ok(-1)) {
                break;
            }
        }
    }

    async fn try_touch(&self, names: &SessionNames<'_>, now: UnixSeconds) -> Result<i64, MetadataError> {
        let StoredMetadata { sealed: read, mut metadata, expires_at } = self.metadata(names, now).await?;
        if metadata.active_at >= now {
            return Ok(1);
        }
        metadata.active_at = now;
        let key = self.sealer.key(now).await.map_err(|_| MetadataError::KeyUnavailable)?;
        let sealed = self.seal_metadata(&key, names, &metadata, expires_at, now);
        let life = self.life(metadata.active_at, expires_at, now).to_string();
        let arguments = [read.as_slice(), sealed.as_bytes(), life.as_bytes()];
        Ok(self.run(&scripts::TOUCH, &[&names.record], &arguments).await?)
    }

    /// What is known of a session without its handle.
    pub(super) async fn metadata(
        &self,
        names: &SessionNames<'_>,
        now: UnixSeconds,
    ) -> Result<StoredMetadata, MetadataError> {
        // A key of another type does not open (contract 15.8).
        let sealed: Option<Option<Vec<u8>>> = self.read_record("HGET", names, &[b"m"]).await?;
        let sealed = sealed.unwrap_or_else(|| Some(Vec::new())).ok_or(MetadataError::Gone)?;
        match self.sealer.unseal_record(&names.metadata, None, &sealed, now).await {
            Err(UnsealError::KeyUnavailable) => Err(MetadataError::KeyUnavailable),
            opened => {
                let decode = |opened: Opened| Some((Metadata::decode(opened.payload())?, opened.times.expires_at));
                let opened = opened.ok().and_then(decode);
                let (metadata, expires_at) = opened.ok_or_else(|| {
                    tracing::warn!("the metadata of a session in the store does not open");
                    MetadataError::Invalid
                })?;
                Ok(StoredMetadata { sealed, metadata, expires_at })
            }
        }
    }

    /// Why a session without a record ended; `None` if nothing ended it: its record has expired, or was lost.
    pub(super) async fn end_reason(&self, names: &SessionNames<'_>) -> Result<Option<EndReason>, StoreUnavailable> {
        let mark: Option<Vec<u8>> = self.call("GET", &names.mark(), &[]).await?;
        Ok(mark.as_deref().and_then(reason))
    }

    /// Ends a session: deletes it with its index entries, and nothing writes it again (contract 15.5). Returns whether
    /// there was one. If there was none, it can only begin or be moved here until `expires_at`.
    pub(super) async fn end(
        &self,
        hash: &SessionHash,
        reason: EndReason,
        expires_at: Option<UnixSeconds>,
        now: UnixSeconds,
    ) -> Result<bool, StoreUnavailable> {
        let names = self.names.session(hash);
        let latest = now.saturating_add(self.limits.max.as_secs());
        let (was_there, indexes, until) = match (self.metadata(&names, now).await, expires_at) {
            (Ok(found), _) => (true, found.metadata.indexes, found.expires_at),
            (Err(MetadataError::Gone), None) => return Ok(false),
            (Err(MetadataError::Gone), Some(expires_at)) => (false, Vec::new(), expires_at),
            (Err(MetadataError::StoreUnavailable), _) => return Err(StoreUnavailable),
            // Its index entries are removed when they are met.
            (Err(MetadataError::Invalid | MetadataError::KeyUnavailable), _) => (true, Vec::new(), latest),
        };
        let life = millis(until, now).to_string();
        let arguments = [life.as_bytes(), mark(reason)];
        let _: i64 = self.run(&scripts::END, &[&names.record, &names.mark()], &arguments).await?;
        self.remove_from_indexes(&indexes, &names).await;
        Ok(was_there)
    }

    fn seal_session(
        &self,
        key: &Key,
        names: &SessionNames<'_>,
        handle: &Handle,
        session: &Session,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> String {
        let times = Times { issued_at: now, expires_at };
        self.sealer.seal_record(key, &names.member, Some(&handle.secret), times, &session.encode())
    }

    fn seal_metadata(
        &self,
        key: &Key,
        names: &SessionNames<'_>,
        metadata: &Metadata,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> String {
        let times = Times { issued_at: now, expires_at };
        self.sealer.seal_record(key, &names.metadata, None, times, &metadata.encode())
    }

    /// How long a record is kept, in ms: to the earlier of idle and absolute expiry, and the tolerance for the clocks
    /// of other instances (contract 15.6).
    fn life(&self, active_at: UnixSeconds, expires_at: UnixSeconds, now: UnixSeconds) -> u64 {
        let idle = active_at.saturating_add(self.limits.idle.as_secs());
        let seconds = idle.min(expires_at).saturating_add(self.limits.clock_skew.as_secs()).saturating_sub(now);
        seconds.saturating_mul(1_000).max(1)
    }
}

fn command(name: &str, key: &str, arguments: &[&[u8]]) -> Cmd {
    let size = arguments.iter().map(|argument| argument.len()).sum::<usize>();
    // Allocated once, since every call sends a command.
    let mut command = Cmd::with_capacity(2 + arguments.len(), name.len() + key.len() + size);
    command.arg(name).arg(key).arg(arguments);
    command
}

/// What a record says, if its parts belong together. The last activity is in the metadata only.
fn decode(session: &Opened, metadata: &Opened, generation: &[u8]) -> Option<Stored> {
    let (expires_at, kid) = (session.times.expires_at, session.kid);
    let mut session = Session::decode(session.payload())?;
    session.active_at = Metadata::decode(metadata.payload())?.active_at;
    let generation: u64 = std::str::from_utf8(generation).ok()?.parse().ok()?;
    (generation == session.generation).then_some(Stored { session, expires_at, kid })
}

/// Whether there is no record.
pub(super) const fn is_none(fields: &Fields) -> bool {
    matches!(fields, (None, None, None))
}

/// How long it is from `now` to a time, at least 1 ms.
pub(super) const fn millis(until: UnixSeconds, now: UnixSeconds) -> u64 {
    match until.saturating_sub(now).saturating_mul(1_000) {
        0 => 1,
        millis => millis,
    }
}

impl From<StoreUnavailable> for MetadataError {
    fn from(StoreUnavailable: StoreUnavailable) -> Self {
        Self::StoreUnavailable
    }
}
