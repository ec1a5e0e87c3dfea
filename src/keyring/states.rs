//! The states of key versions (contract 6.8 to 6.16), derived from attributes, time and parameters alone.

use std::collections::HashSet;
use std::time::Duration;

use super::Version;
use crate::clock::UnixSeconds;

/// Propagation delay of a version with the tag `activate` = `now`, in seconds.
const SHORT_PROPAGATION: u64 = 30;

/// The parameters of a key's life (contract 6.16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// From the creation of a version to its activation: every instance has listed it by then.
    pub propagation: Duration,
    /// How long a key seals.
    pub life: Duration,
    /// How long a key opens after the activation of its successor: no session lives longer.
    pub retention: Duration,
}

/// What a version may do (contract 6.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Seals and opens.
    Active,
    /// Opens, does not seal yet.
    Published,
    /// Neither seals nor opens: its value is not a key.
    Invalid,
    /// Opens only if the value of its successor cannot be fetched: its retention has ended (contract 6.15).
    Lapsed,
    /// Neither seals nor opens: its retention has ended.
    Retired,
    /// Opens, does not seal any more.
    Retiring,
    /// Neither seals nor opens: it was disabled.
    Revoked,
}

impl State {
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::Active | Self::Published | Self::Retiring | Self::Lapsed)
    }
}

/// Whether the value of a version is a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueStatus {
    /// Fetched, and not a key: the version is ignored.
    Invalid,
    /// Not fetched: counts as a key, but does not retire the one before (contract 6.15).
    Unfetched,
    /// Fetched, and a key.
    Valid,
}

/// When a version begins to seal (contract 6.9).
#[must_use]
pub fn activation(version: &Version, parameters: &Parameters) -> UnixSeconds {
    let delay = if version.activate_now { SHORT_PROPAGATION } else { parameters.propagation.as_secs() };
    let earliest = version.created.saturating_add(delay);
    version.not_before.map_or(earliest, |not_before| not_before.max(earliest))
}

/// The state of each version, in the given order, and the time at which one of them changes next.
#[must_use]
pub fn states(
    versions: &[(Version, ValueStatus)],
    now: UnixSeconds,
    parameters: &Parameters,
) -> (Vec<State>, UnixSeconds) {
    let mut states: Vec<State> = versions
        .iter()
        .map(|(version, status)| match (version.enabled, status) {
            (false, _) => State::Revoked,
            (true, ValueStatus::Invalid) => State::Invalid,
            (true, _) => State::Published,
        })
        .collect();
    let mut holds_until = UnixSeconds::MAX;
    let order = oldest_first(versions, parameters, &states);
    let activated = order.iter().take_while(|(at, _)| *at <= now).count();
    if let Some((at, _)) = order.get(activated) {
        holds_until = holds_until.min(*at);
    }
    // If none is activated, the oldest seals (contract 6.11).
    let active = activated.saturating_sub(1);
    for (position, (_, index)) in order.iter().enumerate().take(active + 1) {
        let state = match order.get(position + 1).filter(|_| position < active) {
            None => State::Active,
            Some((successor_activation, successor)) => {
                let ends = successor_activation.saturating_add(parameters.retention.as_secs());
                let successor_is_key =
                    versions.get(*successor).is_some_and(|(_, status)| *status == ValueStatus::Valid);
                match now >= ends {
                    true if successor_is_key => State::Retired,
                    true => State::Lapsed,
                    false => {
                        holds_until = holds_until.min(ends);
                        State::Retiring
                    }
                }
            }
        };
        if let Some(slot) = states.get_mut(*index) {
            *slot = state;
        }
    }
    (states, holds_until)
}

/// The version that is activated next after a version, of those whose values are, or may be, keys.
pub(super) fn successor<'a>(
    versions: &'a [(Version, ValueStatus)],
    of: &Version,
    parameters: &Parameters,
) -> Option<&'a Version> {
    fn order<'a>(version: &'a Version, parameters: &Parameters) -> (UnixSeconds, UnixSeconds, &'a str) {
        (activation(version, parameters), version.created, &version.id)
    }
    let usable = versions.iter().filter(|(version, status)| version.enabled && *status != ValueStatus::Invalid);
    let later = usable.map(|(version, _)| version).filter(|other| order(other, parameters) > order(of, parameters));
    later.min_by(|a, b| order(a, parameters).cmp(&order(b, parameters)))
}

/// The versions that count, and those with the `kid` of one that was created earlier, which are ignored (contract 5.4).
pub(super) fn dedup_by_kid(mut versions: Vec<Version>) -> (Vec<Version>, Vec<Version>) {
    versions.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    let mut seen = HashSet::new();
    versions.into_iter().partition(|version| seen.insert(version.kid))
}

/// The enabled, valid versions in the order of contract 6.10: activation and index of each.
fn oldest_first(
    versions: &[(Version, ValueStatus)],
    parameters: &Parameters,
    states: &[State],
) -> Vec<(UnixSeconds, usize)> {
    let mut order: Vec<_> = versions
        .iter()
        .zip(states)
        .enumerate()
        .filter(|(_, (_, state))| **state == State::Published)
        .map(|(index, ((version, _), _))| {
            (activation(version, parameters), version.created, version.id.as_str(), index)
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(activation, _, _, index)| (activation, index)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::KeyId;

    const PARAMETERS: Parameters = Parameters {
        propagation: Duration::from_secs(900),
        life: Duration::from_secs(30 * 86_400),
        retention: Duration::from_secs(30_000),
    };

    fn version(number: u8, created: UnixSeconds) -> Version {
        Version {
            id: format!("{number:032x}"),
            kid: KeyId([number; 8]),
            enabled: true,
            created,
            not_before: None,
            expires: None,
            activate_now: false,
        }
    }

    fn at(now: UnixSeconds, versions: &[Version]) -> Vec<State> {
        let valid: Vec<_> = versions.iter().map(|version| (version.clone(), ValueStatus::Valid)).collect();
        states(&valid, now, &PARAMETERS).0
    }

    #[test]
    fn a_key_lives_through_its_states_at_the_exact_seconds() {
        use State::{Active, Published, Retired, Retiring};
        let two = [version(1, 1_000), version(2, 100_000)];
        assert_eq!(at(1_000, &two[..1]), [Active], "the only one seals before its activation");
        assert_eq!(at(100_000, &two), [Active, Published]);
        assert_eq!(at(100_899, &two), [Active, Published]);
        assert_eq!(at(100_900, &two), [Retiring, Active]);
        assert_eq!(at(130_899, &two), [Retiring, Active]);
        assert_eq!(at(130_900, &two), [Retired, Active]);
    }

    #[test]
    fn when_the_newest_is_disabled_the_one_before_is_active_again() {
        let mut two = [version(1, 1_000), version(2, 2_000)];
        two[1].enabled = false;
        assert_eq!(at(900_000, &two), [State::Active, State::Revoked]);
    }

    #[test]
    fn a_version_that_is_not_a_key_is_ignored() {
        let two = [(version(1, 1_000), ValueStatus::Valid), (version(2, 2_000), ValueStatus::Invalid)];
        assert_eq!(states(&two, 900_000, &PARAMETERS).0, [State::Active, State::Invalid]);
    }

    #[test]
    fn a_key_retires_only_after_its_successor_was_fetched_and_is_valid() {
        let two = [(version(1, 1_000), ValueStatus::Valid), (version(2, 2_000), ValueStatus::Unfetched)];
        assert_eq!(states(&two, 900_000, &PARAMETERS).0, [State::Lapsed, State::Active]);
        assert_eq!(successor(&two, &two[0].0, &PARAMETERS), Some(&two[1].0));
        assert_eq!(successor(&two, &two[1].0, &PARAMETERS), None);
    }

    #[test]
    fn activation_follows_not_before_and_the_tag() {
        let mut one = version(1, 1_000);
        one.activate_now = true;
        assert_eq!(activation(&one, &PARAMETERS), 1_030);
        one.not_before = Some(5_000);
        assert_eq!(activation(&one, &PARAMETERS), 5_000);
        one.not_before = Some(10);
        one.activate_now = false;
        assert_eq!(activation(&one, &PARAMETERS), 1_900);
    }

    #[test]
    fn of_two_created_in_one_second_the_greater_id_is_newer() {
        assert_eq!(at(900_000, &[version(2, 1_000), version(1, 1_000)])[0], State::Active);
    }

    #[test]
    fn if_none_is_activated_the_oldest_seals() {
        assert_eq!(at(500, &[version(2, 600), version(1, 400)]), [State::Published, State::Active]);
    }

    proptest::proptest! {
        #[test]
        fn exactly_one_version_seals_if_any_is_usable(
            created in proptest::collection::vec((0u64..10_000, proptest::bool::ANY, 0u8..3), 0..12),
            now in 0u64..50_000,
        ) {
            let versions: Vec<_> = created.iter().enumerate().map(|(number, (created, enabled, status))| {
                let mut one = version(u8::try_from(number).unwrap(), *created);
                one.enabled = *enabled;
                (one, [ValueStatus::Invalid, ValueStatus::Unfetched, ValueStatus::Valid][usize::from(*status)])
            }).collect();
            let usable = versions.iter().any(|(one, status)| one.enabled && *status != ValueStatus::Invalid);
            let (all, holds_until) = states(&versions, now, &PARAMETERS);
            let sealing = all.iter().filter(|state| **state == State::Active).count();
            proptest::prop_assert_eq!(sealing, usize::from(usable));
            proptest::prop_assert!(holds_until > now);
            let (later, _) = states(&versions, holds_until - 1, &PARAMETERS);
            proptest::prop_assert_eq!(all, later, "nothing changes before that time");
        }
    }
}
