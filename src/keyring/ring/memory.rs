//! What the ring keeps: the last good list, the keys fetched so far, and the states worked out from both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Opening;
use crate::clock::UnixSeconds;
use crate::keyring::states::{Parameters, State, ValueStatus, activation, states};
use crate::keyring::{Key, KeyId, Version};

/// How long an older key stands in, without asking, for one that could not be fetched.
const FALLBACK_PAUSE: Duration = Duration::from_secs(15);

/// What is known of the source.
#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) versions: Vec<Version>,
    pub(super) keys: HashMap<KeyId, Fetched>,
    pub(super) view: View,
    /// When a list last came.
    pub(super) listed: Option<Instant>,
    /// Why the last list failed, if it did.
    pub(super) list_problem: Option<String>,
    /// When a call to the source last failed.
    pub(super) failed: Option<Instant>,
    pub(super) asked_for_unknown: Option<Instant>,
    pub(super) was_ready: bool,
    pub(super) is_overdue: bool,
}

/// A version's value once fetched.
#[derive(Debug, Clone)]
pub(super) enum Fetched {
    Key(Arc<Key>),
    NotAKey,
}

/// The states worked out, so that opening is one look-up however long the ring is.
#[derive(Debug, Default)]
pub(super) struct View {
    pub(super) states: HashMap<KeyId, (State, String)>,
    pub(super) active: Option<KeyId>,
    /// What seals: the active key, or, while its value cannot be had, the newest before it that is in memory.
    pub(super) sealing: Option<(KeyId, UnixSeconds)>,
    /// The version that is to be active next.
    pub(super) next: Option<KeyId>,
    pub(super) holds: std::ops::Range<UnixSeconds>,
}

/// What can be said of a key id.
pub(super) enum Lookup {
    Decided(Opening),
    Unlisted,
    Unfetched(String),
}

impl Inner {
    /// What is to be said of a key id without asking.
    pub(super) fn lookup(&self, kid: KeyId) -> Lookup {
        match self.view.states.get(&kid) {
            None => Lookup::Unlisted,
            Some((state, _)) if !state.opens() => Lookup::Decided(Opening::Unknown),
            Some((_, id)) => match self.keys.get(&kid) {
                Some(Fetched::Key(key)) => Lookup::Decided(Opening::Key(Arc::clone(key))),
                Some(Fetched::NotAKey) => Lookup::Decided(Opening::Unknown),
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

    /// The active key, or the one before it: sealing goes on in an outage.
    pub(super) fn sealing_key(&self) -> Option<Arc<Key>> {
        self.view.sealing.and_then(|(kid, _)| self.key(kid))
    }

    /// The one before the active key, while it makes no sense to ask for the active one again.
    pub(super) fn fallback_key(&self) -> Option<Arc<Key>> {
        let failing = self.failed.is_some_and(|failed| failed.elapsed() < FALLBACK_PAUSE);
        failing.then(|| self.sealing_key()).flatten()
    }

    pub(super) fn take_list(&mut self, versions: Vec<Version>) {
        let listed: HashSet<KeyId> = versions.iter().map(|version| version.kid).collect();
        self.keys.retain(|kid, _| listed.contains(kid));
        self.versions = versions;
        self.listed = Some(Instant::now());
    }

    pub(super) fn rebuild(&mut self, now: UnixSeconds, parameters: &Parameters) {
        let known = |version: &Version| match self.keys.get(&version.kid) {
            None => ValueStatus::Unfetched,
            Some(Fetched::Key(_)) => ValueStatus::Valid,
            Some(Fetched::NotAKey) => ValueStatus::Invalid,
        };
        let versions: Vec<_> = self.versions.iter().map(|version| (version.clone(), known(version))).collect();
        let (found, holds_until) = states(&versions, now, parameters);
        let in_state = |wanted: State| {
            let with_state = versions.iter().zip(&found).filter(move |(_, state)| **state == wanted);
            with_state.map(|((version, known), _)| {
                ((activation(version, parameters), version.created, version.id.as_str()), version.kid, *known)
            })
        };
        let sealing = in_state(State::Active).chain(in_state(State::Retiring));
        let sealing = sealing.filter(|(.., known)| *known == ValueStatus::Valid).max_by_key(|(order, ..)| *order);
        let with_state = versions.iter().map(|(version, _)| version).zip(&found);
        self.view = View {
            active: in_state(State::Active).next().map(|(_, kid, _)| kid),
            sealing: sealing.map(|((activation, ..), kid, _)| (kid, activation)),
            next: in_state(State::Published).min_by_key(|(order, ..)| *order).map(|(_, kid, _)| kid),
            states: with_state.map(|(version, state)| (version.kid, (*state, version.id.clone()))).collect(),
            holds: now..holds_until,
        };
    }
}

/// Of two versions with one kid the later created takes no part.
pub(super) fn dedup_by_kid(mut versions: Vec<Version>) -> Vec<Version> {
    versions.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let mut seen = HashSet::new();
    versions.retain(|version| {
        let first = seen.insert(version.kid);
        if !first {
            tracing::error!(version = %version.id, "key version ignored: an earlier one begins with the same 16 hex digits");
        }
        first
    });
    versions
}
