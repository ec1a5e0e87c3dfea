//! What the ring caches: the last good list, the keys fetched so far, and the states derived from both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::KeyForOpening;
use crate::clock::UnixSeconds;
use crate::id_hash::IdHash;
use crate::keyring::states::{Parameters, State, ValueStatus, activation, dedup_by_kid, states, successor};
use crate::keyring::{Key, KeyId, Version};

/// How long after a failed request the source counts as failing: an older key then seals, without another request,
/// instead of an active key that could not be fetched, and one request at a time finds out whether it responds again.
const FAILURE_PAUSE: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The last good list.
    pub(super) versions: Vec<Version>,
    pub(super) keys: HashMap<KeyId, Fetched, IdHash>,
    pub(super) view: View,
    /// When the last good list was read.
    pub(super) listed_at: Option<Instant>,
    /// Why the last list failed, if it did.
    pub(super) list_problem: Option<String>,
    /// When a request to the source last failed.
    pub(super) failed_at: Option<Instant>,
    /// When the last list because of an unknown key ID started.
    pub(super) listed_for_unknown: Option<Instant>,
    /// The IDs in the source of the versions whose fault was logged: once per version and process (contract 5.4, 6.14).
    reported: HashSet<String>,
    pub(super) was_ready: bool,
    pub(super) is_overdue: bool,
}

/// A value that was fetched.
#[derive(Debug, Clone)]
pub(super) enum Fetched {
    Key(Arc<Key>),
    NotAKey,
}

/// The states, computed once so that opening a value costs one lookup however long the ring is.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) states: HashMap<KeyId, (State, String), IdHash>,
    pub(super) active: Option<KeyId>,
    /// The key that seals, and its activation: the active one or, while its value cannot be fetched, the newest one
    /// before it that is in memory.
    pub(super) sealing: Option<(KeyId, UnixSeconds)>,
    /// The version that will be active next.
    pub(super) next: Option<KeyId>,
    /// The successors of those that are past their retention, whose values were not fetched (contract 6.15).
    pub(super) unproven: HashMap<KeyId, KeyId, IdHash>,
    pub(super) valid_for: std::ops::Range<UnixSeconds>,
}

/// What the memory says about a key ID.
pub(super) enum Lookup {
    Decided(KeyForOpening),
    Unlisted,
    Unfetched(String),
    /// It is past its retention, and the value of its successor is to be fetched first (contract 6.15). With its ID in
    /// the source.
    Unproven(String),
}

impl Memory {
    pub(super) fn lookup(&self, kid: KeyId) -> Lookup {
        match self.view.states.get(&kid) {
            None => Lookup::Unlisted,
            Some((state, _)) if !state.opens() => Lookup::Decided(KeyForOpening::Closed),
            Some((_, id)) => match self.keys.get(&kid) {
                // A key in memory continues to open while the successor cannot be fetched.
                Some(Fetched::Key(_)) if self.view.unproven.contains_key(&kid) && !self.failed_lately() => {
                    Lookup::Unproven(id.clone())
                }
                None if self.view.unproven.contains_key(&kid) => Lookup::Unproven(id.clone()),
                Some(Fetched::Key(key)) => Lookup::Decided(KeyForOpening::Found(Arc::clone(key))),
                Some(Fetched::NotAKey) => Lookup::Decided(KeyForOpening::Closed),
                None => Lookup::Unfetched(id.clone()),
            },
        }
    }

    fn key(&self, kid: KeyId) -> Option<Arc<Key>> {
        match self.keys.get(&kid) {
            Some(Fetched::Key(key)) => Some(Arc::clone(key)),
            Some(Fetched::NotAKey) | None => None,
        }
    }

    pub(super) fn active_key(&self) -> Option<Arc<Key>> {
        self.view.active.and_then(|kid| self.key(kid))
    }

    /// The active key, or the one before it: sealing continues through an outage (contract 6.22).
    pub(super) fn sealing_key(&self) -> Option<Arc<Key>> {
        self.view.sealing.and_then(|(kid, _)| self.key(kid))
    }

    /// The sealing key, shortly after a request to the source failed, when another would fail too.
    pub(super) fn fallback_key(&self) -> Option<Arc<Key>> {
        self.failed_lately().then(|| self.sealing_key()).flatten()
    }

    /// Whether a request to the source failed shortly before.
    pub(super) fn failed_lately(&self) -> bool {
        self.failed_at.is_some_and(|failed_at| failed_at.elapsed() < FAILURE_PAUSE)
    }

    /// Whether the fault of a version was not logged before; from now on it counts as logged.
    pub(super) fn is_first_report(&mut self, id: &str) -> bool {
        self.reported.insert(id.to_owned())
    }

    /// Stores a good list. Of two versions with one `kid` the one that was created later is ignored (contract 5.4).
    pub(super) fn set_list(&mut self, versions: Vec<Version>) {
        let (versions, ignored) = dedup_by_kid(versions);
        for Version { id, kid, .. } in ignored {
            if self.is_first_report(&id) {
                tracing::error!(%kid, version = %id, "key version ignored: an earlier one has the same kid");
            }
        }
        for Version { kid, .. } in versions.iter().filter(|version| !version.enabled) {
            // A rotation disables what does not open any more.
            if self.view.states.get(kid).is_some_and(|(state, _)| state.opens() && *state != State::Lapsed) {
                tracing::warn!(event = "key_revoked", %kid, "a key was revoked: what is sealed under it is invalid");
            }
        }
        let listed: HashSet<KeyId> = versions.iter().map(|version| version.kid).collect();
        self.keys.retain(|kid, _| listed.contains(kid));
        self.versions = versions;
        self.listed_at = Some(Instant::now());
    }

    pub(super) fn rebuild_view(&mut self, now: UnixSeconds, parameters: &Parameters) {
        let status = |version: &Version| match self.keys.get(&version.kid) {
            None => ValueStatus::Unfetched,
            Some(Fetched::Key(_)) => ValueStatus::Valid,
            Some(Fetched::NotAKey) => ValueStatus::Invalid,
        };
        let versions: Vec<_> = self.versions.iter().map(|version| (version.clone(), status(version))).collect();
        let (states, valid_until) = states(&versions, now, parameters);
        let in_state = |wanted: State| {
            let with_state = versions.iter().zip(&states).filter(move |(_, state)| **state == wanted);
            with_state.map(|((version, status), _)| {
                ((activation(version, parameters), version.created, version.id.as_str()), version.kid, *status)
            })
        };
        let sealing = in_state(State::Active).chain(in_state(State::Retiring)).chain(in_state(State::Lapsed));
        let sealing = sealing.filter(|(.., status)| *status == ValueStatus::Valid).max_by_key(|(order, ..)| *order);
        let with_state = versions.iter().map(|(version, _)| version).zip(&states);
        let lapsed = with_state.clone().filter(|(_, state)| **state == State::Lapsed);
        let unproven =
            lapsed.filter_map(|(version, _)| Some((version.kid, successor(&versions, version, parameters)?.kid)));
        let unproven = unproven.collect();
        self.view = View {
            active: in_state(State::Active).next().map(|(_, kid, _)| kid),
            sealing: sealing.map(|((activation, ..), kid, _)| (kid, activation)),
            next: in_state(State::Published).min_by_key(|(order, ..)| *order).map(|(_, kid, _)| kid),
            states: with_state.map(|(version, state)| (version.kid, (*state, version.id.clone()))).collect(),
            unproven,
            valid_for: now..valid_until,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fault_of_a_version_is_reported_once_even_if_it_leaves_the_list_and_returns() {
        let mut memory = Memory::default();
        assert!(memory.is_first_report("a") && memory.is_first_report("b"));
        memory.set_list(Vec::new());
        assert!(!memory.is_first_report("a") && !memory.is_first_report("b"));
    }
}
