//! The sessions that an index names, one by one: listed, or ended without their cookie (contract section 16).

use super::RedisStore;
use super::index::Member;
use super::records::{MetadataError, StoredMetadata};
use crate::clock::UnixSeconds;
use crate::session::companion::SessionHash;
use crate::session::store::{EndReason, IndexError, ListedSession, SessionKey};

impl RedisStore {
    /// Ends the session of an index's member; returns its hash if there was one. One whose record is not there yet,
    /// since it begins or is being moved here, ends too.
    pub(super) async fn end_member(&self, member: Member, now: UnixSeconds) -> Result<Option<SessionHash>, IndexError> {
        if !self.may_end(&member, now).await? {
            return Ok(None);
        }
        let latest = now.saturating_add(self.records.limits.max.as_secs());
        let expires_at = member.expires_at.map(|expires_at| expires_at.min(latest));
        if !self.records.end(&member.hash, EndReason::FromElsewhere, expires_at, now).await? {
            self.records.prune(&member, now).await;
            return Ok(None);
        }
        let key = SessionKey { id: None, hash: Some(member.hash), expires_at: latest };
        self.ended.insert(&key, EndReason::FromElsewhere, now);
        Ok(Some(member.hash))
    }

    /// Whether a session is in the index that it was looked for in. If its metadata does not say that, an entry of the
    /// index is enough: who can write one can delete the session as well.
    async fn may_end(&self, member: &Member, now: UnixSeconds) -> Result<bool, IndexError> {
        if member.index.is_none() {
            return Ok(true);
        }
        let is_entry = member.expires_at.is_some();
        match self.records.metadata(&self.records.names.session(&member.hash), now).await {
            Ok(found) => Ok(self.is_in_index(member, &found).await),
            Err(MetadataError::StoreUnavailable) => Err(IndexError::StoreUnavailable),
            Err(MetadataError::KeyUnavailable) if !is_entry => Err(IndexError::KeysUnavailable),
            Err(MetadataError::Gone | MetadataError::Invalid | MetadataError::KeyUnavailable) => Ok(is_entry),
        }
    }

    /// Whether a session is in the index by its metadata, which is sealed: who can write to Redis can write any entry.
    /// One that is wrong is removed.
    async fn is_in_index(&self, member: &Member, found: &StoredMetadata) -> bool {
        let wrong = member.index.filter(|index| !found.metadata.indexes.contains(index));
        if let (Some(index), Some(_)) = (wrong, member.expires_at) {
            tracing::warn!("an index of the store names a session of another user or provider session: it is removed");
            self.records.remove_from_indexes(&[index], &self.records.names.session(&member.hash)).await;
        }
        wrong.is_none()
    }

    pub(super) async fn list_member(
        &self,
        member: Member,
        now: UnixSeconds,
    ) -> Result<Option<ListedSession>, IndexError> {
        match self.records.metadata(&self.records.names.session(&member.hash), now).await {
            Ok(found) if !self.is_in_index(&member, &found).await => Ok(None),
            Ok(found) => Ok(Some(ListedSession {
                hash: member.hash,
                signed_in_at: found.metadata.signed_in_at,
                active_at: found.metadata.active_at,
                expires_at: found.expires_at,
                user_agent: found.metadata.user_agent,
            })),
            Err(MetadataError::Gone) => {
                self.records.prune(&member, now).await;
                Ok(None)
            }
            Err(MetadataError::Invalid) => Ok(None),
            Err(MetadataError::KeyUnavailable) => Err(IndexError::KeysUnavailable),
            Err(MetadataError::StoreUnavailable) => Err(IndexError::StoreUnavailable),
        }
    }
}
