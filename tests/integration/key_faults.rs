//! A vault in trouble for some seconds: sessions go on, an unknown key id is no sign-out, and all heals by itself.

use std::collections::BTreeMap;
use std::time::Duration;

use devkit::vault::{AcceptMode, Fault};
use futures_util::future::join_all;

use crate::app::TestApp;
use crate::cloud::{ADA, eventually, sealed_by, until_ready};
use crate::key_vault::{Setup, kid};
use crate::visitor::Visitor;

/// What the vault alone does not show: no token can be had. Later on there is one in memory.
const WITHOUT_TOKEN: [Trouble; 3] =
    [Trouble::Identity(Fault::Hang), Trouble::Identity(Fault::status(500)), Trouble::Identity(Fault::Garbage)];

/// How long a trouble lasts.
const SPELL: Duration = Duration::from_secs(2);
/// A little while between two calls.
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

type Jar = BTreeMap<String, String>;

/// A session sealed under a key of [`Setup::add`], made by another instance.
async fn sealed_elsewhere(byte: u8) -> Jar {
    let setup = Setup::empty().await;
    setup.add(byte, 60);
    setup.app().await.signed_in(ADA).await.jar
}

/// Whether the session is said to be alive; nobody can tell while the keys are unavailable, and its cookie is kept.
async fn is_alive(visitor: &mut Visitor, told: &str) -> Option<()> {
    let before = visitor.jar.clone();
    let response = visitor.fetch("GET", "/auth/session").await;
    if response.status == 200 {
        assert_eq!(response.json()["authenticated"], true, "{told}");
        return Some(());
    }
    assert_eq!((response.status, response.code()), (503, "keys_unavailable"), "{told}");
    assert!(response.header("retry-after").is_some(), "{told}");
    assert_eq!(visitor.jar, before, "{told}: the cookie is kept");
    None
}

fn holder(app: &TestApp, jar: &Jar) -> Visitor {
    let mut visitor = app.visitor();
    visitor.jar.clone_from(jar);
    visitor
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_start() {
    let jar = &sealed_elsewhere(1).await;
    let trial = async |trouble: Trouble| {
        let told = &format!("{trouble:?}");
        let setup = Setup::with_key(60).await;
        trouble.begin(&setup).await;
        let app = setup.cloud.gateway().impatient().start().await;
        let spell = async {
            tokio::time::sleep(SPELL).await;
            trouble.end(&setup).await;
        };
        let mut visitor = holder(&app, jar);
        let first = async {
            assert_eq!(app.visitor().get("/health/live").await.status, 200, "{told}");
            is_alive(&mut visitor, told).await
        };
        let (first, ()) = tokio::join!(first, spell);
        // What is only slow, or answers again before the second attempt, may be in time.
        let in_time = [SLOW, Trouble::Fault(Fault::Hang), Trouble::Identity(Fault::Hang)].contains(&trouble);
        assert!(first.is_none() || in_time, "{told}: there was no key yet");
        eventually(&app, told, async || is_alive(&mut visitor, told).await).await;
        app.wait_until_ready(200).await;
        app.signed_in(ADA).await;
    };
    join_all(TROUBLES.into_iter().chain(WITHOUT_TOKEN).map(trial)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_the_middle() {
    let trial = async |trouble: Trouble| {
        let told = &format!("{trouble:?}");
        let setup = Setup::with_key(60).await;
        let app = setup.app().await;
        let mut visitor = app.signed_in(ADA).await;
        trouble.begin(&setup).await;
        let started = tokio::time::Instant::now();
        while started.elapsed() < SPELL {
            assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{told}: sessions go on");
            assert_eq!(app.visitor().get("/health/ready").await.status, 200, "{told}");
            tokio::time::sleep(PAUSE).await;
        }
        assert_eq!(sealed_by(&app.signed_in(ADA).await), kid(1), "{told}: and new ones begin");
        trouble.end(&setup).await;
        setup.add(2, 30);
        eventually(&app, told, async || {
            assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{told}");
            (sealed_by(&visitor) == kid(2)).then_some(())
        })
        .await;
        until_ready(&app, told, |ready| ready["down"].as_array().unwrap().is_empty()).await;
    };
    join_all(TROUBLES.map(trial)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn during_an_unknown_kid() {
    let jar = &sealed_elsewhere(2).await;
    let trial = async |trouble: Trouble| {
        let told = &format!("{trouble:?}");
        let setup = Setup::with_key(60).await;
        let app = setup.app().await;
        let (mut known, mut unknown) = (app.signed_in(ADA).await, holder(&app, jar));
        trouble.begin(&setup).await;
        setup.add(2, 30);
        let started = tokio::time::Instant::now();
        let mut refused = 0;
        // Until a response came that was made in the trouble: one that hangs takes as long as the deadline.
        while started.elapsed() < SPELL || (refused == 0 && trouble != SLOW) {
            let (alive, going_on) = tokio::join!(is_alive(&mut unknown, told), known.fetch("GET", "/graph/me"));
            refused += usize::from(alive.is_none());
            assert!(alive.is_none() || trouble == SLOW, "{told}: how could it know?");
            assert_eq!(going_on.status, 200, "{told}: the others do not notice");
            tokio::time::sleep(PAUSE).await;
        }
        trouble.end(&setup).await;
        eventually(&app, told, async || is_alive(&mut unknown, told).await).await;
    };
    join_all(TROUBLES.map(trial)).await;
}
