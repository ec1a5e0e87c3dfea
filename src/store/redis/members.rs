//! The sessions that an index names, one by one: listed, or ended without their cookie (contract section 16).

use super::RedisStore;
use super::index::Member;
use super::records::MetadataError;
use crate::clock::UnixSeconds;
use crate::session::companion::SessionHash;
use crate::session::store::{EndReason, IndexError, ListedSession, SessionKey, StoreUnavailable};

impl RedisStore {
    /// Ends the session of an index's member; returns its hash if there was one. One whose record is not there yet,
    /// since it begins or is being moved here, ends too.
    pub(super) async fn end_member(
        &self,
        member: Member,
        now: UnixSeconds,
    ) -> Result<Option<SessionHash>, StoreUnavailable> {
        let latest = now.saturating_add(self.records.limits.max.as_secs());
        let expires_at = member.expires_at().map(|expires_at| expires_at.min(latest));
        if !self.records.end(&member.hash, EndReason::FromElsewhere, expires_at, now).await? {
            self.records.prune(&member, now).await;
            return Ok(None);
        }
        let key = SessionKey { id: None, hash: Some(member.hash), expires_at: latest };
        self.ended.insert(&key, EndReason::FromElsewhere, now);
        Ok(Some(member.hash))
    }

    pub(super) async fn list_member(
        &self,
        member: Member,
        now: UnixSeconds,
    ) -> Result<Option<ListedSession>, IndexError> {
        match self.records.metadata(&self.records.names.session(&member.hash), now).await {
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
