//! A vault that fails for some seconds: sessions continue, an unknown key id is no sign-out, and everything recovers
//! (contract 5.13, 6.19, 6.22).

use std::time::Duration;

use devkit::vault::{AcceptMode, Fault};
use futures_util::future::join_all;

use crate::cloud::{ADA, eventually, sealed_by, until_ready};
use crate::key_vault::{Setup, kid, sealed_elsewhere};
use crate::visitor::Visitor;

/// A fault beyond the vault: the identity endpoint returns no token. Later one is cached.
const WITHOUT_TOKEN: [Trouble; 3] =
    [Trouble::Identity(Fault::Hang), Trouble::Identity(Fault::status(500)), Trouble::Identity(Fault::Garbage)];

/// How long a fault lasts.
const SPELL: Duration = Duration::from_secs(2);
/// The pause between two calls.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Trouble {
    AcceptMode(AcceptMode),
    Fault(Fault),
    Identity(Fault),
}

const SLOW: Trouble = Trouble::Fault(Fault::Delay(Duration::from_secs(1)));
const TROUBLES: [Trouble; 8] = [
    Trouble::AcceptMode(AcceptMode::Refused),
    Trouble::Fault(Fault::Hang),
    Trouble::Fault(Fault::Status { status: 429, retry_after: Some(3_600) }),
    Trouble::Fault(Fault::status(503)),
    Trouble::Fault(Fault::Garbage),
    Trouble::Fault(Fault::Truncated),
    SLOW,
    Trouble::Fault(Fault::ForbiddenByRbac),
];

impl Trouble {
    async fn begin(self, setup: &Setup) {
        match self {
            Self::AcceptMode(door) => setup.vault.set_accept_mode(door).await.unwrap(),
            Self::Fault(fault) => setup.vault.fault(&[], fault),
            Self::Identity(fault) => setup.cloud.identity.fault(&[], fault),
        }
    }

    async fn end(self, setup: &Setup) {
        setup.vault.clear_faults();
        setup.cloud.identity.clear_faults();
        if matches!(self, Self::AcceptMode(_)) {
            setup.vault.set_accept_mode(AcceptMode::Normal).await.unwrap();
        }
    }
}

/// Whether the session opens; `None` while the keys are unavailable, and then its cookie is kept.
async fn is_alive(visitor: &mut Visitor, case: &str) -> Option<()> {
    let before = visitor.jar.clone();
    let response = visitor.fetch("GET", "/auth/session").await;
    if response.status == 200 {
        assert_eq!(response.json()["authenticated"], true, "{case}");
        return Some(());
    }
    assert_eq!((response.status, response.code()), (503, "keys_unavailable"), "{case}");
    assert!(response.header("retry-after").is_some(), "{case}");
    assert_eq!(visitor.jar, before, "{case}: the cookie is kept");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_start() {
    let trial = async |trouble: Trouble| {
        let case = &format!("{trouble:?}");
        let setup = Setup::with_key(60).await;
        trouble.begin(&setup).await;
        let app = setup.cloud.gateway().impatient().start().await;
        let spell = async {
            tokio::time::sleep(SPELL).await;
            trouble.end(&setup).await;
        };
        let mut visitor = sealed_elsewhere(&app, 1);
        let first = async {
            assert_eq!(app.visitor().get("/health/live").await.status, 200, "{case}");
            is_alive(&mut visitor, case).await
        };
        let (first, ()) = tokio::join!(first, spell);
        // A vault that is only slow, or recovers before the retry, may respond in time.
        let in_time = [SLOW, Trouble::Fault(Fault::Hang), Trouble::Identity(Fault::Hang)].contains(&trouble);
        assert!(first.is_none() || in_time, "{case}: no key was loaded yet");
        eventually(&app, case, async || is_alive(&mut visitor, case).await).await;
        app.wait_until_ready(200).await;
        app.signed_in(ADA).await;
    };
    join_all(TROUBLES.into_iter().chain(WITHOUT_TOKEN).map(trial)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle() {
    let trial = async |trouble: Trouble| {
        let case = &format!("{trouble:?}");
        let setup = Setup::with_key(60).await;
        let app = setup.app().await;
        let mut visitor = app.signed_in(ADA).await;
        trouble.begin(&setup).await;
        let started = tokio::time::Instant::now();
        while started.elapsed() < SPELL {
            assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{case}: sessions continue");
            assert_eq!(app.visitor().get("/health/ready").await.status, 200, "{case}");
            tokio::time::sleep(PAUSE).await;
        }
        assert_eq!(sealed_by(&app.signed_in(ADA).await), kid(1), "{case}: and new ones start");
        trouble.end(&setup).await;
        setup.add(2, 30);
        eventually(&app, case, async || {
            assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{case}");
            (sealed_by(&visitor) == kid(2)).then_some(())
        })
        .await;
        until_ready(&app, case, |ready| ready["down"].as_array().unwrap().is_empty()).await;
    };
    join_all(TROUBLES.map(trial)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_an_unknown_kid() {
    let trial = async |trouble: Trouble| {
        let case = &format!("{trouble:?}");
        let setup = Setup::with_key(60).await;
        let app = setup.app().await;
        let (mut known, mut unknown) = (app.signed_in(ADA).await, sealed_elsewhere(&app, 2));
        trouble.begin(&setup).await;
        setup.add(2, 30);
        let started = tokio::time::Instant::now();
        let mut rejected = 0;
        // Until a request that was sent during the fault has ended: one that hangs takes until the deadline.
        while started.elapsed() < SPELL || (rejected == 0 && trouble != SLOW) {
            let (alive, going_on) = tokio::join!(is_alive(&mut unknown, case), known.fetch("GET", "/graph/me"));
            rejected += usize::from(alive.is_none());
            assert!(alive.is_none() || trouble == SLOW, "{case}: the key cannot be known yet");
            assert_eq!(going_on.status, 200, "{case}: other sessions are not affected");
            tokio::time::sleep(PAUSE).await;
        }
        trouble.end(&setup).await;
        eventually(&app, case, async || is_alive(&mut unknown, case).await).await;
    };
    join_all(TROUBLES.map(trial)).await;
}
