//! What each version may do, from attributes, time and parameters alone.

use std::time::Duration;

use super::Version;
use crate::clock::UnixSeconds;

/// The delay of a version tagged `activate` = `now`, in seconds.
const SHORT_PROPAGATION: u64 = 30;

/// The parameters of a key's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// From a version's creation to its first sealing: every instance has heard of it by then.
    pub propagation: Duration,
    /// How long a key seals.
    pub life: Duration,
    /// How long a key still opens after its successor's activation: no session is older.
    pub retention: Duration,
}

/// What a version may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Seals and opens.
    Active,
    /// Opens, and does not seal yet.
    Published,
    /// Neither: it holds no valid key.
    Invalid,
    /// Neither: too long after its successor's activation.
    Retired,
    /// Opens, and does not seal any more.
    Retiring,
    /// Neither: it was disabled.
    Revoked,
}

impl State {
    /// Whether values sealed under the version still open.
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::Active | Self::Published | Self::Retiring)
    }
}

/// What is known of a version's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueStatus {
    /// Fetched, and no key: it takes no part.
    Invalid,
    /// Not fetched: counts as a key, and retires no other.
    Unfetched,
    /// Fetched, and a key.
    Valid,
}

/// When a version begins to seal.
#[must_use]
pub fn activation(version: &Version, parameters: &Parameters) -> UnixSeconds {
    let delay = if version.activate_now { SHORT_PROPAGATION } else { parameters.propagation.as_secs() };
    let earliest = version.created.saturating_add(delay);
    version.not_before.map_or(earliest, |not_before| not_before.max(earliest))
}

/// The state of each version, in the given order, and the moment until which that holds.
#[must_use]
pub fn states(
    versions: &[(Version, ValueStatus)],
    now: UnixSeconds,
    parameters: &Parameters,
) -> (Vec<State>, UnixSeconds) {
    let mut states: Vec<State> = versions
        .iter()
        .map(|(version, known)| match (version.enabled, known) {
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
    // If none is activated, the oldest seals.
    let active = activated.saturating_sub(1);
    for (position, (_, index)) in order.iter().enumerate().take(active + 1) {
        let state = match order.get(position + 1).filter(|_| position < active) {
            None => State::Active,
            Some((successor_activation, successor)) => {
                let ends = successor_activation.saturating_add(parameters.retention.as_secs());
                let proven = versions.get(*successor).is_some_and(|(_, known)| *known == ValueStatus::Valid);
                if now >= ends && proven {
                    State::Retired
                } else {
                    holds_until = if now < ends { holds_until.min(ends) } else { holds_until };
                    State::Retiring
                }
            }
        };
        if let Some(slot) = states.get_mut(*index) {
            *slot = state;
        }
    }
    (states, holds_until)
}

/// The versions that take part, by (activation, created, id): activation and index of each.
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
        let known: Vec<_> = versions.iter().map(|version| (version.clone(), ValueStatus::Valid)).collect();
        states(&known, now, &PARAMETERS).0
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
    fn the_one_before_a_disabled_newest_is_active_again() {
        let mut two = [version(1, 1_000), version(2, 2_000)];
        two[1].enabled = false;
        assert_eq!(at(900_000, &two), [State::Active, State::Revoked]);
    }

    #[test]
    fn a_version_that_is_no_key_takes_no_part() {
        let two = [(version(1, 1_000), ValueStatus::Valid), (version(2, 2_000), ValueStatus::Invalid)];
        assert_eq!(states(&two, 900_000, &PARAMETERS).0, [State::Active, State::Invalid]);
    }

    #[test]
    fn none_retires_before_its_successor_was_seen_to_be_a_key() {
        let two = [(version(1, 1_000), ValueStatus::Valid), (version(2, 2_000), ValueStatus::Unfetched)];
        assert_eq!(states(&two, 900_000, &PARAMETERS).0, [State::Retiring, State::Active]);
    }

    #[test]
    fn not_before_and_the_tag_move_the_activation() {
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
    fn of_two_made_in_one_second_the_greater_id_is_newer() {
        assert_eq!(at(900_000, &[version(2, 1_000), version(1, 1_000)])[0], State::Active);
    }

    #[test]
    fn if_none_is_activated_the_oldest_seals() {
        assert_eq!(at(500, &[version(2, 600), version(1, 400)]), [State::Published, State::Active]);
    }

    proptest::proptest! {
        #[test]
        fn exactly_one_seals_whenever_one_can(
            made in proptest::collection::vec((0u64..10_000, proptest::bool::ANY, 0u8..3), 0..12),
            now in 0u64..50_000,
        ) {
            let versions: Vec<_> = made.iter().enumerate().map(|(number, (created, enabled, known))| {
                let mut one = version(u8::try_from(number).unwrap(), *created);
                one.enabled = *enabled;
                (one, [ValueStatus::Invalid, ValueStatus::Unfetched, ValueStatus::Valid][usize::from(*known)])
            }).collect();
            let usable = versions.iter().any(|(one, known)| one.enabled && *known != ValueStatus::Invalid);
            let (all, holds_until) = states(&versions, now, &PARAMETERS);
            let sealing = all.iter().filter(|state| **state == State::Active).count();
            proptest::prop_assert_eq!(sealing, usize::from(usable));
            proptest::prop_assert!(holds_until > now);
            let (later, _) = states(&versions, holds_until - 1, &PARAMETERS);
            proptest::prop_assert_eq!(all, later, "nothing changes before the moment that was told");
        }
    }
}
