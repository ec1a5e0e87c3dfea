//! Key rings with the real binary: unusual rings, new keys under load, revoked keys.

use std::time::Duration;

use devkit::vault::{Fault, Operation};
use futures_util::future::join_all;

use crate::cloud::{ADA, eventually, sealed_by};
use crate::key_vault::{Setup, kid, sealed_elsewhere};
use crate::visitor::{CALL, Visitor};

/// A ring, and the key that must seal, if any.
struct UnusualRing {
    name: &'static str,
    seals: Option<u8>,
    fill: fn(&Setup),
}

const HOUR: u64 = 3_600;

const RINGS: [UnusualRing; 13] = [
    UnusualRing { name: "none", seals: None, fill: |_| {} },
    UnusualRing { name: "26 versions", seals: Some(26), fill: |setup| fill(setup, 26) },
    UnusualRing { name: "60 versions", seals: Some(60), fill: |setup| fill(setup, 60) },
    UnusualRing {
        name: "only versions with a future activation",
        seals: Some(2),
        fill: |setup| {
            let future = setup.vault.now() + HOUR;
            setup.add_with(1, 9, |version| version.not_before = Some(future + 1));
            setup.add_with(2, 9, |version| version.not_before = Some(future));
        },
    },
    UnusualRing {
        name: "all disabled",
        seals: None,
        fill: |setup| {
            setup.add_with(1, HOUR, |version| version.enabled = false);
            setup.add_with(2, HOUR, |version| version.enabled = false);
        },
    },
    UnusualRing {
        name: "the active one disabled",
        seals: Some(1),
        fill: |setup| {
            setup.add(1, HOUR);
            setup.add_with(2, 60, |version| version.enabled = false);
        },
    },
    UnusualRing {
        name: "two created in one second",
        seals: Some(9),
        fill: |setup| {
            let created = setup.vault.now() - 60;
            setup.add_with(9, 60, |version| version.created = created);
            setup.add_with(8, 60, |version| version.created = created);
        },
    },
    UnusualRing {
        name: "created by a clock 5 minutes ahead",
        seals: Some(1),
        fill: |setup| {
            setup.add(1, 60);
            setup.vault.advance(Duration::from_secs(300));
            setup.add(2, 0);
        },
    },
    UnusualRing {
        name: "the newest version is garbage",
        seals: Some(1),
        fill: |setup| add_invalid(setup, "no key at all", None),
    },
    UnusualRing { name: "of the wrong length", seals: Some(1), fill: |setup| add_invalid(setup, "AAAA", None) },
    UnusualRing {
        name: "of another content type",
        seals: Some(1),
        fill: |setup| add_invalid(setup, &crate::key_vault::key(2), Some("application/x-pkcs12")),
    },
    UnusualRing {
        name: "without a content type",
        seals: Some(2),
        fill: |setup| add_invalid(setup, &crate::key_vault::key(2), None),
    },
    UnusualRing {
        name: "an expiry in the past",
        seals: Some(2),
        fill: |setup| {
            setup.add(1, HOUR);
            setup.add_with(2, 60, |version| version.expires = Some(1_000_000_000));
        },
    },
];

/// Keys, from the oldest to the newest.
fn fill(setup: &Setup, count: u8) {
    for byte in 1..=count {
        setup.add(byte, HOUR - u64::from(byte));
    }
}

/// A valid key, and a newer one with this value.
fn add_invalid(setup: &Setup, value: &str, content_type: Option<&str>) {
    setup.add(1, HOUR);
    setup.add_with(2, 60, |version| {
        version.value = value.to_owned();
        version.content_type = content_type.map(str::to_owned);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expected_key_seals_in_unusual_rings() {
    let trial = async |ring: UnusualRing| {
        let setup = Setup::empty().await;
        (ring.fill)(&setup);
        let Some(byte) = ring.seals else {
            let app = setup.cloud.gateway().impatient().start().await;
            eventually(&app, ring.name, async || (setup.vault.count_lists() > 1).then_some(())).await;
            let ready = app.visitor().get("/health/ready").await;
            assert_eq!((ready.status, &ready.json()["missing"][0]), (503, &"keys".into()), "{}", ring.name);
            assert_eq!(app.visitor().navigate("/auth/login").await.code(), "keys_unavailable", "{}", ring.name);
            // A first key makes it work.
            setup.add(7, 0);
            app.wait_until_ready(200).await;
            return;
        };
        let app = setup.app().await;
        let mut visitor = app.signed_in(ADA).await;
        assert_eq!(sealed_by(&visitor), kid(byte), "{}: {}", ring.name, app.log());
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{}", ring.name);
    };
    join_all(RINGS.map(trial)).await;
}

/// Status and error code of a call with this session.
async fn session_status(visitor: &mut Visitor) -> (u16, bool) {
    let response = visitor.fetch("GET", "/auth/session").await;
    (response.status, response.status == 200 && response.json()["authenticated"] == true)
}

const ALIVE: (u16, bool) = (200, true);

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_concurrent_calls_with_a_new_kid_cause_one_list_and_one_get() {
    let setup = Setup::with_key(600).await;
    // Long enough that no refresh occurs during the test.
    let rarely = setup.cloud.gateway().set("KEY_REFRESH", "10m").set("KEY_PROPAGATION", "21m").set("KEY_LIFE", "1h");
    let app = rarely.start().await;
    setup.add(2, 30);
    setup.vault.clear_requests();
    setup.vault.fault(&[Operation::List, Operation::Get], Fault::Delay(Duration::from_millis(200)));
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(cloakroom::net::OutboundClients::default().tls_without_roots().unwrap())
        .no_proxy()
        .build()
        .unwrap();
    let cookie = sealed_elsewhere(&app, 2).cookie_header();
    let call = |_| {
        let mut request = client.get(format!("{}/auth/session", app.origin)).header("cookie", &cookie);
        for (name, value) in CALL {
            request = request.header(name, value);
        }
        async { request.send().await.unwrap().json::<serde_json::Value>().await.unwrap() }
    };
    let responses = join_all((0..1_000).map(call)).await;
    let shed = responses.iter().filter(|response| response["code"] == "overloaded").count();
    let alive = responses.iter().filter(|response| response["authenticated"] == true).count();
    assert_eq!(alive + shed, 1_000, "{}", app.log().len());
    // 20 have a place and 20 wait for one while their sessions are not open yet (contract 10.20).
    assert!(alive >= 40, "the limit of requests without an open session: {alive}");
    assert_eq!((setup.vault.count_lists(), setup.vault.count_gets()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_ends_its_own_sessions_only() {
    let setup = Setup::with_key(600).await;
    setup.add(2, 60);
    let app = setup.app().await;
    let (mut idle, mut active) = (sealed_elsewhere(&app, 1), sealed_elsewhere(&app, 1));
    let (first, mut second) = (idle.jar.clone(), sealed_elsewhere(&app, 2));
    assert_eq!(active.fetch("GET", "/graph/me").await.status, 200);
    assert_eq!(sealed_by(&active), kid(2), "re-sealed in time");
    let (code, text) = setup.cloud.keys(&["revoke", &kid(1)]);
    assert_eq!(code, Some(0), "{text}");
    eventually(&app, "revoked", async || {
        assert_eq!(session_status(&mut second).await, ALIVE);
        assert_eq!(session_status(&mut active).await, ALIVE);
        // A browser that still has its first cookie.
        idle.jar.clone_from(&first);
        (idle.fetch("GET", "/graph/me").await.code() == "session_expired").then_some(())
    })
    .await;
    // Contract 4.18: the key is on the list, so that the cookie opens nowhere and never will.
    let refused = idle.fetch("POST", "/auth/refresh").await;
    assert_eq!((refused.status, refused.code()), (401, "session_expired"));
    assert!(refused.headers_named("set-cookie").count() > 0 && !idle.jar.contains_key("__Host-Http-cloakroom"));
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_the_active_key_keeps_resealed_sessions() {
    let setup = Setup::with_key(600).await;
    let app = setup.app().await;
    let (mut active, mut idle) = (app.signed_in(ADA).await, app.signed_in(ADA).await);
    let jar = idle.jar.clone();
    // The successor as `revoke` publishes it, and a user who is active while both are enabled.
    setup.add_with(2, 31, |version| {
        version.tags.insert("activate".to_owned(), "now".to_owned());
    });
    eventually(&app, "re-sealed", async || {
        assert_eq!(active.fetch("GET", "/graph/me").await.status, 200);
        (sealed_by(&active) == kid(2)).then_some(())
    })
    .await;
    assert_eq!(setup.cloud.keys(&["revoke", &kid(1)]).0, Some(0));
    eventually(&app, "revoked", async || {
        assert_eq!(active.fetch("GET", "/graph/me").await.status, 200, "{}", app.log());
        idle.jar.clone_from(&jar);
        (idle.fetch("GET", "/graph/me").await.code() == "session_expired").then_some(())
    })
    .await;
    // The command publishes the successor itself. The vault's clock says it was created 25 s ago, so it seals soon.
    setup.vault.set_back(Duration::from_secs(25));
    let (code, text) = setup.cloud.keys(&["revoke", &kid(2), "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let successor = serde_json::from_str::<serde_json::Value>(&text).unwrap()["successor"].as_str().unwrap().to_owned();
    let states = setup.cloud.states();
    let state = |kid: &str| states[kid].as_str();
    assert_eq!((state(&kid(1)), state(&kid(2)), state(&successor)), ("revoked", "revoked", "active"));
    eventually(&app, "sealed under the successor", async || {
        (sealed_by(&app.signed_in(ADA).await) == successor).then_some(())
    })
    .await;
}
