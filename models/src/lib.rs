//! Models of the tables that the threads of an instance share (contract 17.5): the tables' own sources, compiled with
//! Shuttle's locks, atomics and tasks in place of those of `std` and tokio.
//!
//! Each use of these is a place where Shuttle may let another task run; in between none is interrupted. So a table that
//! needs two steps to be one, and does not hold its lock, is found out. Each model is a function for Shuttle to repeat,
//! and panics where a promise is broken; `tests/tables.rs` runs them.

#![expect(dead_code, reason = "the models do not use all of the tables")]
#![expect(unreachable_pub, reason = "it is public in the package that the sources belong to")]

pub use cloakroom::{clock, id_hash, keyring, oidc, secret, telemetry};

/// In place of `cloakroom::sync`.
pub mod sync {
    pub use shuttle::sync::{Mutex, MutexGuard, PoisonError, atomic};
}

#[path = "../../src/places"]
pub mod places {
    mod limits;
    mod users;

    #[path = "../../models/src/users.rs"]
    pub mod model;
}

#[path = "../../src/session"]
pub mod session {
    pub(crate) mod ended;
    mod watch;

    #[path = "../../models/src/double.rs"]
    mod double;
    #[path = "../../models/src/ends.rs"]
    pub mod model;

    pub(crate) use cloakroom::session::{
        OpenError, OpenSession, companion, cookie, handle, payload, seal, sealer, store,
    };
    pub(crate) use double::Sessions;
}

#[path = "../../src/store"]
pub mod store {
    pub(crate) mod cookie;
    #[path = "../../models/src/cookies.rs"]
    pub mod model;

    #[path = "redis"]
    pub mod redis {
        mod deletions;
        #[path = "../../../models/src/deletions.rs"]
        pub mod model;
    }
}

#[path = "../../src/tokens"]
pub mod tokens {
    mod circuit;
    mod failure;
    mod in_flight;
    mod limits;
    mod writer;

    #[path = "../../models/src/refreshes.rs"]
    pub mod model;

    pub(crate) use cloakroom::tokens::endpoint;
}
