//! The revocation list: up to which sign-in time sessions have ended (contract 16.5 to 16.7).
//!
//! Pure: times are parameters. [`cache`] holds the list that an instance knows, [`write`] adds to a list of which every
//! change makes a version.

pub mod cache;
pub(super) mod write;

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::SourceUnavailable;
use crate::clock::UnixSeconds;
pub use cache::{KnownRevocations, NotRead, RevocationCache};

/// Content type of a secret that contains a list; without one it may be a list, too.
pub const CONTENT_TYPE: &str = "application/vnd.cloakroom.revocations+json";
/// Largest list that is written, in bytes (contract 16.6); Key Vault allows 25 KB.
const LARGEST: usize = 20_000;

/// A revocation list. A session that began at or before a time in it has ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocations {
    /// For everyone.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    all: Option<UnixSeconds>,
    /// For a user, by `oid` or `sub`.
    #[serde(default, deserialize_with = "without_duplicates", skip_serializing_if = "BTreeMap::is_empty")]
    users: BTreeMap<String, UnixSeconds>,
}

/// Whose sessions to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    All,
    /// By `oid` or `sub`.
    User(String),
}

/// An addition to the list of a source.
#[derive(Debug, Clone)]
pub struct Addition {
    new: Revocations,
    /// The oldest time that is kept: no session that began before it is alive.
    keep_from: UnixSeconds,
    /// The latest time that is valid.
    latest: UnixSeconds,
}

impl Revocations {
    /// Parses a list whose times are at most `latest`: a time in the future would end sessions that have not begun.
    ///
    /// # Errors
    /// It is malformed. Never the same as empty: somebody's sessions have ended.
    pub fn parse(text: &str, latest: UnixSeconds) -> Result<Self, SourceUnavailable> {
        // Serde would take an array for a struct, and an empty one for an empty list.
        if !text.trim_start().starts_with('{') {
            return Err(malformed("not a JSON object"));
        }
        let list: Self = serde_json::from_str(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            malformed(&format!("not the expected JSON, line {line} column {column}"))
        })?;
        if list.all.iter().chain(list.users.values()).any(|at| *at > latest) {
            return Err(malformed("it has a time in the future"));
        }
        Ok(list)
    }

    /// Whether a session of this user has ended.
    #[must_use]
    pub fn is_revoked(&self, signed_in_at: UnixSeconds, oid: Option<&str>, sub: &str) -> bool {
        self.ended_at(oid, sub).is_some_and(|at| signed_in_at <= at)
    }

    /// The latest sign-in time of this user's sessions that have ended.
    #[must_use]
    pub fn ended_at(&self, oid: Option<&str>, sub: &str) -> Option<UnixSeconds> {
        let of_user = |id: &str| self.users.get(id).copied();
        self.all.max(of_user(sub)).max(oid.and_then(of_user))
    }

    /// What ends the sessions that began before `now`, and none that begins in this second.
    #[must_use]
    pub fn ending(target: &Target, now: UnixSeconds) -> Self {
        let at = now.saturating_sub(1);
        match target {
            Target::All => Self { all: Some(at), users: BTreeMap::new() },
            Target::User(id) => Self { all: None, users: BTreeMap::from([(id.clone(), at)]) },
        }
    }

    /// Both lists: of two times for one entry the later one.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.all = self.all.max(other.all);
        for (id, at) in other.users {
            let known = self.users.entry(id).or_insert(at);
            *known = at.max(*known);
        }
        self
    }

    /// Whether it ends sessions that another list does not.
    fn ends_more_than(&self, other: &Self) -> bool {
        let is_later = |id: &str, at: UnixSeconds| Some(at) > other.all.max(other.users.get(id).copied());
        self.all > other.all || self.users.iter().any(|(id, at)| is_later(id, *at))
    }

    /// Without the entries before `keep_from`, whose sessions have expired, and those that `all` includes.
    #[must_use]
    pub fn prune(mut self, keep_from: UnixSeconds) -> Self {
        self.users.retain(|_, at| *at >= keep_from && self.all.is_none_or(|all| *at > all));
        self.all = self.all.filter(|at| *at >= keep_from);
        self
    }

    /// The time for everyone.
    #[must_use]
    pub const fn all(&self) -> Option<UnixSeconds> {
        self.all
    }

    /// The number of users in it.
    #[must_use]
    pub fn users(&self) -> usize {
        self.users.len()
    }
}

impl Addition {
    /// An addition that is made at `now`. `keep` is how long an entry can matter (`SESSION_MAX` + `CLOCK_SKEW`), in
    /// seconds, as is `clock_skew`.
    #[must_use]
    pub fn new(target: &Target, now: UnixSeconds, keep: u64, clock_skew: u64) -> Self {
        let new = Revocations::ending(target, now);
        Self { new, keep_from: now.saturating_sub(keep), latest: now.saturating_add(clock_skew) }
    }

    /// The list with the addition and without what does not matter any more. `stored`: what the source has, if
    /// anything.
    ///
    /// # Errors
    /// What is stored is malformed.
    pub(super) fn to(&self, stored: Option<&str>) -> Result<Revocations, SourceUnavailable> {
        let stored = stored.map(|text| self.parse(text)).transpose()?.unwrap_or_default();
        Ok(self.merge(stored, self.new.clone()))
    }

    fn merge(&self, one: Revocations, other: Revocations) -> Revocations {
        one.merge(other).prune(self.keep_from)
    }

    fn parse(&self, text: &str) -> Result<Revocations, SourceUnavailable> {
        Revocations::parse(text, self.latest)
    }
}

/// The list as it is stored.
///
/// # Errors
/// It is too large for an addition.
pub(super) fn to_json(list: &Revocations) -> Result<String, SourceUnavailable> {
    let text = merged_to_json(list)?;
    if text.len() > LARGEST {
        return Err(SourceUnavailable(format!(
            "the revocation list would have {} users and exceed 20 KB, so nothing was written; end all sessions with \
             `cloakroom sessions end --all`, which empties it",
            list.users.len()
        )));
    }
    Ok(text)
}

/// The same for a list with what others have added meanwhile, of whatever size: they count on their entries.
pub(super) fn merged_to_json(list: &Revocations) -> Result<String, SourceUnavailable> {
    serde_json::to_string(list).map_err(|error| malformed(&error.to_string()))
}

fn malformed(problem: &str) -> SourceUnavailable {
    SourceUnavailable(format!("the revocation list is malformed: {problem}; docs/operations.md says how to repair it"))
}

/// A member that may be absent, but not null.
fn not_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UnixSeconds>, D::Error> {
    UnixSeconds::deserialize(deserializer).map(Some)
}

/// An object without duplicate members, of which one would be lost.
fn without_duplicates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, UnixSeconds>, D::Error> {
    struct Users;

    impl<'de> Visitor<'de> for Users {
        type Value = BTreeMap<String, UnixSeconds>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object of times")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut users = BTreeMap::new();
            while let Some((id, at)) = map.next_entry()? {
                if users.insert(id, at).is_some() {
                    return Err(A::Error::custom("a user occurs twice"));
                }
            }
            Ok(users)
        }
    }

    deserializer.deserialize_map(Users)
}

#[cfg(test)]
mod tests;
