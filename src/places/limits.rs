//! The numbers of contract 10.19, 10.20 and 3.9b, computed from the number of all places.

/// Places under the Functions host (contract 10.19).
pub const UNDER_FUNCTIONS: usize = 90;

/// How many requests may be in flight, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// All places.
    pub all: usize,
    /// Those for everything that is not under `/auth`. Who waits for a share has one of them.
    pub general: usize,
    /// Of one user.
    pub user: Share,
    /// Of the SPA's files.
    pub spa: Share,
    /// Of other requests without an open session.
    pub sessionless: Share,
    /// Forms that arrive; they have no places yet.
    pub forms: usize,
    /// Code exchanges; callbacks that wait for one have no places.
    pub exchanges: Share,
    /// Callbacks that may be repeated, whether they wait or have ended.
    pub callbacks: usize,
}

/// A part of the places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Most requests that have a place of it.
    pub held: usize,
    /// Most further requests that wait for one.
    pub waiting: usize,
}

impl Limits {
    /// The numbers of the contract hold for 90 places; for others they grow in proportion, rounded down (contract
    /// 17.4).
    #[must_use]
    pub const fn of(all: usize) -> Self {
        const fn share(all: usize, held: usize, waiting: usize) -> Share {
            Share { held: scaled(all, held), waiting: scaled(all, waiting) }
        }
        const fn at_least(number: usize, least: usize) -> usize {
            if number < least { least } else { number }
        }
        Self {
            all,
            general: scaled(all, 80),
            user: share(all, 48, 8),
            spa: share(all, 30, 20),
            sessionless: share(all, 20, 20),
            forms: scaled(all, 128),
            exchanges: share(all, 16, 64),
            callbacks: at_least(scaled(all, 1_000), 1_000),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::of(UNDER_FUNCTIONS)
    }
}

/// A number that holds for 90 places, for another number of places.
#[must_use]
const fn scaled(all: usize, of_90: usize) -> usize {
    of_90 * all / UNDER_FUNCTIONS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contract 10.19, 10.20, 3.9b.
    #[test]
    fn the_numbers_for_90_places_are_those_of_the_contract() {
        let expected = Limits {
            all: 90,
            general: 80,
            user: Share { held: 48, waiting: 8 },
            spa: Share { held: 30, waiting: 20 },
            sessionless: Share { held: 20, waiting: 20 },
            forms: 128,
            exchanges: Share { held: 16, waiting: 64 },
            callbacks: 1_000,
        };
        assert_eq!(Limits::default(), expected);
    }

    /// Contract 17.4 gives 888, 533, 333, 222 and 177.
    #[test]
    fn the_numbers_for_1_000_places_grow_in_proportion() {
        let expected = Limits {
            all: 1_000,
            general: 888,
            user: Share { held: 533, waiting: 88 },
            spa: Share { held: 333, waiting: 222 },
            sessionless: Share { held: 222, waiting: 222 },
            forms: 1_422,
            exchanges: Share { held: 177, waiting: 711 },
            callbacks: 11_111,
        };
        assert_eq!(Limits::of(1_000), expected);
    }
}
