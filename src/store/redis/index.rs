//! Which sessions there are: by the indexes that sign-ins write (contract 15.4), or all of them.

use std::collections::HashSet;

use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt};

use super::record::{Index, SessionNames, parse_member};
use super::records::Records;
use super::scripts;
use crate::clock::UnixSeconds;
use crate::session::companion::SessionHash;
use crate::session::store::{StoreUnavailable, Whose};

/// How many sessions of one list are looked at at the same time.
pub(super) const AT_ONCE: usize = 32;
/// How long after its sign-in a session may have no record yet, in seconds: the indexes are written first.
const SIGN_IN: u64 = 60;

/// A session that an index names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) hash: SessionHash,
    /// The index that the session must be in by its metadata.
    pub(super) index: Option<Index>,
    /// The absolute expiry, if it was found in the index.
    pub(super) expires_at: Option<UnixSeconds>,
}

impl Records {
    /// Adds a session to its indexes, before its record is written.
    pub(super) async fn add_to_indexes(
        &self,
        indexes: &[Index],
        names: &SessionNames<'_>,
        expires_at: UnixSeconds,
        now: UnixSeconds,
    ) -> Result<(), StoreUnavailable> {
        let skew = self.limits.clock_skew.as_secs().to_string();
        let (score, now) = (expires_at.to_string(), now.to_string());
        let arguments = [names.member.as_bytes(), score.as_bytes(), now.as_bytes(), skew.as_bytes()];
        let add = async |index: &Index| -> Result<i64, StoreUnavailable> {
            self.run(&scripts::ADD_TO_INDEX, &[&self.names.index(index)], &arguments).await
        };
        try_join_all(indexes.iter().map(add)).await.map(drop)
    }

    /// Removes a session from indexes. An entry that is left is removed when it is met.
    pub(super) async fn remove_from_indexes(&self, indexes: &[Index], names: &SessionNames<'_>) {
        let remove = async |index: &Index| -> Result<i64, StoreUnavailable> {
            self.call("ZREM", &self.names.index(index), &[names.member.as_bytes()]).await
        };
        // The client logs why it fails.
        let _ = try_join_all(indexes.iter().map(remove)).await;
    }

    /// The sessions of `whose`, by the indexes: there may be no record for one.
    pub(super) async fn members(&self, whose: &Whose, now: UnixSeconds) -> Result<Vec<Member>, StoreUnavailable> {
        let Some(index) = Index::of_whose(whose) else { return self.not_indexed(whose).await };
        let after = format!("({now}");
        let arguments: [&[u8]; 3] = [after.as_bytes(), b"+inf", b"WITHSCORES"];
        let pairs: Vec<(Vec<u8>, f64)> = self.call("ZRANGEBYSCORE", &self.names.index(&index), &arguments).await?;
        let member = |(member, score): (Vec<u8>, f64)| {
            // Scores are whole seconds, far below 2^53.
            let expires_at = Some(score as UnixSeconds);
            Some(Member { hash: parse_member(&member)?, index: Some(index), expires_at })
        };
        Ok(pairs.into_iter().filter_map(member).collect())
    }

    async fn not_indexed(&self, whose: &Whose) -> Result<Vec<Member>, StoreUnavailable> {
        let member = |hash, index| Member { hash, index, expires_at: None };
        Ok(match whose {
            Whose::One(hash) => vec![member(*hash, None)],
            Whose::OneOfUser { hash, issuer, sub } => vec![member(*hash, Some(Index::of_subject(issuer, sub)))],
            _ => {
                let keys = self.client.scan(&self.names.all_records()).await?;
                self.of_keys(&keys).into_iter().map(|hash| member(hash, None)).collect()
            }
        })
    }

    /// The sessions of records. `SCAN` returns some keys several times.
    fn of_keys(&self, keys: &[Vec<u8>]) -> HashSet<SessionHash> {
        keys.iter().filter_map(|key| self.names.of_record(key)).collect()
    }

    /// Removes a member without a record from its index, unless its sign-in may still write one. If it is being moved
    /// here, the later one of this and the instance that moves it writes the entry again.
    pub(super) async fn prune(&self, member: &Member, now: UnixSeconds) {
        let (Some(index), Some(expires_at)) = (member.index, member.expires_at) else { return };
        let signed_in_at = expires_at.saturating_sub(self.limits.max.as_secs());
        if now <= signed_in_at.saturating_add(SIGN_IN) {
            return;
        }
        let names = self.names.session(&member.hash);
        self.remove_from_indexes(&[index], &names).await;
        if self.call::<bool>("EXISTS", &names.record, &[]).await != Ok(false) {
            // The client logs why it fails.
            let _ = self.add_to_indexes(&[index], &names, expires_at, now).await;
        }
    }
}

/// Does something for each member, several at a time, and collects the results.
pub(super) async fn for_each<T, F: Future<Output = T>>(members: Vec<Member>, run: impl Fn(Member) -> F) -> Vec<T> {
    stream::iter(members).map(run).buffer_unordered(AT_ONCE).collect().await
}
