//! Sessions that outlast the browser session (contract 16.11). What browsers make of the cookies is tested in
//! `browser/persist.rs`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cloakroom::clock;
use devkit::provider::{Endpoint, Fault, Options};
use devkit::redis_server::{self, RedisServer};
use http::header::SET_COOKIE;

use crate::app::{PATIENCE, Reach, TestApp, every_reach};
use crate::lab::{ADA, Lab, ORIGIN};
use crate::visitor::{NAVIGATION, Response, Visitor};

const NAME: &str = "__Host-Http-cloakroom";
const GRACE: &str = "grace.hopper@contoso.example";
/// `SESSION_MAX` in seconds.
const MAX: u64 = 8 * 3_600;
const HOUR: u64 = 3_600;
/// What signs a user in for a session that lasts.
const ASKED: &str = "/auth/login?persist=true";

/// How long the cookies of a session are kept that these `Set-Cookie` lines write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    NotWritten,
    /// Until the browser session ends.
    Browser,
    Seconds(u64),
}

fn age_of<'a>(lines: impl Iterator<Item = &'a str>) -> Age {
    let of_session =
        |line: &&str| line.starts_with(NAME) && !line.contains("-login-") && !line.contains("; Max-Age=0; ");
    let lines: Vec<&str> = lines.filter(of_session).collect();
    let ages: BTreeSet<_> = lines.iter().map(|line| line.split_once("; Max-Age=").map(|(_, age)| age)).collect();
    assert!(ages.len() <= 1, "every part and the companion have the same: {lines:?}");
    let has = |name: &str| lines.iter().any(|line| line.starts_with(&format!("{name}=")));
    assert_eq!((has(NAME), has(&format!("{NAME}-id"))), (!lines.is_empty(), !lines.is_empty()), "{lines:?}");
    match ages.first() {
        None => Age::NotWritten,
        Some(None) => Age::Browser,
        Some(Some(age)) => Age::Seconds(age.parse().unwrap()),
    }
}

fn age(response: &Response) -> Age {
    age_of(response.headers_named("set-cookie"))
}

/// Follows a sign-in at the provider; returns the response to the callback.
async fn sign_in(app: &TestApp, visitor: &mut Visitor, path: &str, user: &str) -> Response {
    sign_in_with(app, visitor, path, &NAVIGATION, user).await
}

async fn sign_in_with(
    app: &TestApp,
    visitor: &mut Visitor,
    path: &str,
    headers: &[(&str, &str)],
    user: &str,
) -> Response {
    let away = visitor.send("GET", path, headers, "").await;
    assert_eq!(away.status, 302, "{path}: {}", away.text());
    let callback = app.provider.sign_in(away.header("location").unwrap(), user).unwrap();
    let back = visitor.come_back(&callback.location()).await;
    assert_eq!((back.status, back.header("location")), (302, Some("/")), "{path}: {}", app.log());
    back
}

async fn refreshed(visitor: &mut Visitor) -> Age {
    let response = visitor.fetch("POST", "/auth/refresh").await;
    assert_eq!(response.status, 204, "{}", response.text());
    age(&response)
}

/// The life of a call's session cookie, once a response writes it.
async fn called(visitor: &mut Visitor) -> Age {
    let started = Instant::now();
    loop {
        let response = visitor.fetch("GET", "/graph/me").await;
        // The access token may expire on its way to the API.
        assert!(response.status == 200 || response.code() == "-", "{}", response.text());
        if age(&response) != Age::NotWritten {
            return age(&response);
        }
        assert!(started.elapsed() < PATIENCE, "no response writes the cookie");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Seconds to the absolute expiry.
async fn left(visitor: &mut Visitor) -> u64 {
    visitor.fetch("GET", "/auth/session").await.json()["session"]["expires_in"].as_u64().unwrap()
}

async fn start(reach: Reach, setting: &str) -> TestApp {
    // Access tokens expire at once, so that calls write the cookie.
    let options = Options { access_token_life: Duration::from_secs(1), ..Options::new("http://unused") };
    TestApp::builder().reach(reach).provider(options).set("SESSION_PERSIST", setting).start().await
}

/// Sign-in, call and refresh. With what the session has left before and after each, whatever the time that they take.
#[tokio::test(flavor = "multi_thread")]
async fn every_write_ends_the_cookies_with_the_session_or_with_the_browser_as_the_setting_says() {
    for reach in every_reach() {
        for (setting, path, lasts) in [
            ("off", ASKED, false),
            ("on", "/auth/login", true),
            ("on", "/auth/login?persist=false", true),
            ("ask", ASKED, true),
            ("ask", "/auth/login", false),
            ("ask", "/auth/login?persist=false", false),
        ] {
            let app = start(reach, setting).await;
            let mut visitor = app.visitor();
            let mut before = MAX;
            let mut ages = vec![age(&sign_in(&app, &mut visitor, path, ADA).await)];
            for write in 0..3 {
                let after = left(&mut visitor).await;
                match ages.last().unwrap() {
                    Age::Seconds(age) if lasts => assert!((after..=before).contains(age), "{after} {age} {before}"),
                    age => assert!(*age == Age::Browser && !lasts, "{reach:?} {setting} {path} {write}: {age:?}"),
                }
                before = after;
                let next = if write == 0 { called(&mut visitor).await } else { refreshed(&mut visitor).await };
                ages.push(next);
            }
        }
    }
}

/// Contract 4.13, 4.18.
#[tokio::test]
async fn deletions_are_the_same_whatever_the_setting() {
    for reach in every_reach() {
        let mut deletions = Vec::new();
        for setting in ["off", "on"] {
            let app = start(reach, setting).await;
            let mut visitor = app.signed_in(ADA).await;
            let response = visitor.fetch("POST", "/auth/logout").await;
            deletions.push(response.headers_named("set-cookie").map(str::to_owned).collect::<Vec<_>>());
            assert!(visitor.jar.is_empty());
        }
        assert!(deletions[0].len() == 5 && deletions[0] == deletions[1], "{deletions:?}");
    }
}

#[tokio::test]
async fn all_cookies_of_a_large_session_have_the_same_age() {
    for reach in every_reach() {
        let options = Options { access_token_size: 6_000, ..Options::new("http://unused") };
        let builder = TestApp::builder().reach(reach).provider(options).set("COOKIE_BUDGET", "12000");
        let app = builder.set("SESSION_PERSIST", "on").start().await;
        let mut visitor = app.visitor();
        let back = sign_in(&app, &mut visitor, "/auth/login", ADA).await;
        assert!(matches!(age(&back), Age::Seconds(1..=MAX)), "{back:?}");
        assert!(visitor.jar.contains_key(&format!("{NAME}-2")), "{:?}", visitor.jar.keys());
        assert!(back.headers_named("set-cookie").all(|line| line.len() < 4_096));
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200);
    }
}

/// No other site makes a session on a shared machine last; the sign-in itself continues.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_user_and_pages_of_the_own_origin_can_ask() {
    for reach in every_reach() {
        let app = start(reach, "ask").await;
        let cases: [(&[&str], bool); 8] = [
            (&["same-origin"], true),
            (&["none"], true),
            (&[], true),
            (&["same-site"], false),
            (&["cross-site"], false),
            (&["unknown"], false),
            (&["same-origin", "same-origin"], false),
            (&["none, same-origin"], false),
        ];
        for (sites, lasts) in cases {
            let mut headers =
                vec![("accept", "text/html"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
            headers.extend(sites.iter().map(|site| ("sec-fetch-site", *site)));
            let mut visitor = app.visitor();
            let back = sign_in_with(&app, &mut visitor, ASKED, &headers, ADA).await;
            assert_eq!(matches!(age(&back), Age::Seconds(_)), lasts, "{reach:?} {sites:?} {:?}", age(&back));
            assert_eq!(refreshed(&mut visitor).await == Age::Browser, !lasts, "{reach:?} {sites:?}");
        }
        let no_metadata = sign_in_with(&app, &mut app.visitor(), ASKED, &[], ADA).await;
        assert!(matches!(age(&no_metadata), Age::Seconds(_)), "{reach:?}");
    }
}

/// The user asked at the first sign-in, and is not asked again when an API needs more.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_up_or_a_consent_of_the_same_user_keeps_the_choice() {
    let app = start(Reach::Direct, "ask").await;
    let lasts = |response: &Response| matches!(age(response), Age::Seconds(_));
    let mut visitor = app.visitor();
    assert!(lasts(&sign_in(&app, &mut visitor, ASKED, ADA).await));
    app.graph.require_context(Some("c1"));
    let challenged = visitor.fetch("GET", "/graph/me").await;
    assert_eq!(challenged.code(), "step_up_required");
    let login_url = challenged.json()["login_url"].as_str().unwrap().to_owned();
    assert!(lasts(&sign_in(&app, &mut visitor, &login_url, ADA).await), "{login_url}");
    assert!(matches!(called(&mut visitor).await, Age::Seconds(_)));
    app.graph.require_context(None);

    let consent = "/auth/login?api=graph";
    for path in [consent, "/auth/login?acr_values=c1", "/auth/login?api=graph&acr_values=c1"] {
        assert!(lasts(&sign_in(&app, &mut visitor, path, ADA).await), "{path}");
    }
    let kept = visitor.clone();
    let cross_site =
        NAVIGATION.map(|(name, value)| (name, if name == "sec-fetch-site" { "cross-site" } else { value }));
    let by_another_site = sign_in_with(&app, &mut kept.clone(), consent, &cross_site, ADA).await;
    assert_eq!(age(&by_another_site), Age::Browser, "another site cannot");

    for (path, user) in [(consent, GRACE), ("/auth/login?api=graph&persist=false", ADA), ("/auth/login", ADA)] {
        let mut visitor = app.visitor();
        assert!(lasts(&sign_in(&app, &mut visitor, ASKED, ADA).await));
        assert_eq!(age(&sign_in(&app, &mut visitor, path, user).await), Age::Browser, "{path} {user}");
        assert_eq!(age(&sign_in(&app, &mut visitor, consent, user).await), Age::Browser, "{path} {user}: for good");
    }
}

/// The setting in force decides each write; a session keeps what its user asked, not what the setting was.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_the_setting_takes_effect_with_the_next_write() {
    let mut app = start(Reach::Direct, "ask").await;
    let mut visitors = [app.visitor(), app.visitor()];
    for (visitor, path) in visitors.iter_mut().zip([ASKED, "/auth/login"]) {
        sign_in(&app, visitor, path, ADA).await;
    }
    for (setting, asked, not_asked) in
        [("on", true, true), ("off", false, false), ("ask", true, false), ("off", false, false), ("on", true, true)]
    {
        app.settings.insert("CLOAKROOM_SESSION_PERSIST".to_owned(), setting.to_owned());
        app.restart();
        app.wait_until_ready(200).await;
        for (visitor, lasts) in visitors.iter_mut().zip([asked, not_asked]) {
            let age = refreshed(visitor).await;
            assert_eq!(matches!(age, Age::Seconds(1..=MAX)), lasts, "{setting}: {age:?}");
            assert_eq!(age == Age::Browser, !lasts, "{setting}: {age:?}");
        }
    }
}

/// Contract 15.1: the cookie holds a handle then, and is written less often.
#[tokio::test(flavor = "multi_thread")]
async fn cookies_of_stored_sessions_are_kept_as_long() {
    let redis = RedisServer::start(&redis_server::Options::default()).unwrap();
    for (reach, setting) in every_reach().into_iter().flat_map(|reach| ["off", "on", "ask"].map(|of| (reach, of))) {
        let builder = TestApp::builder().reach(reach).set("STORE", redis.url());
        let app = builder.set("SESSION_PERSIST", setting).start().await;
        let mut visitor = app.visitor();
        for (path, lasts) in [
            (ASKED, setting != "off"),
            ("/auth/login?api=graph", setting != "off"),
            ("/auth/login?api=graph&persist=false", setting == "on"),
            ("/auth/login?api=graph", setting == "on"),
        ] {
            let signed_in = age(&sign_in(&app, &mut visitor, path, ADA).await);
            for age in [signed_in, refreshed(&mut visitor).await] {
                assert_eq!(matches!(age, Age::Seconds(1..=MAX)), lasts, "{reach:?} {setting} {path}: {age:?}");
                assert_eq!(age == Age::Browser, !lasts, "{reach:?} {setting} {path}: {age:?}");
            }
        }
    }
}

/// Contract 15.17.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_moves_into_the_store_takes_the_answer_of_its_user_along() {
    let redis = RedisServer::start(&redis_server::Options::default()).unwrap();
    let mut app = start(Reach::Direct, "ask").await;
    let mut visitors = [app.visitor(), app.visitor()];
    for (visitor, path) in visitors.iter_mut().zip([ASKED, "/auth/login"]) {
        sign_in(&app, visitor, path, ADA).await;
    }
    app.settings.insert("CLOAKROOM_STORE".to_owned(), redis.url());
    app.restart();
    app.wait_until_ready(200).await;
    for (visitor, lasts) in visitors.iter_mut().zip([true, false]) {
        let before = visitor.jar[NAME].len();
        for age in [called(visitor).await, refreshed(visitor).await] {
            assert_eq!(matches!(age, Age::Seconds(1..=MAX)), lasts, "{age:?}");
        }
        assert!(visitor.jar[NAME].len() < 400 && before > 400, "it has moved");
    }
}

/// Browsers count from the response, so that what the provider or the API took is subtracted.
#[tokio::test(flavor = "multi_thread")]
async fn slow_responses_do_not_lengthen_the_life_of_the_cookies() {
    let app = start(Reach::Direct, "on").await;
    let delay = || app.provider.fault_next(&[Endpoint::Token], 1, Fault::Delay(Duration::from_millis(2_100)));
    let mut visitor = app.visitor();
    delay();
    let Age::Seconds(age) = age(&sign_in(&app, &mut visitor, "/auth/login", ADA).await) else { panic!("on") };
    assert!(age <= MAX - 2, "{age}");
    let before = left(&mut visitor).await;
    delay();
    let Age::Seconds(age) = refreshed(&mut visitor).await else { panic!("on") };
    assert!(age <= before - 2, "{age} {before}");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let before = left(&mut visitor).await;
    delay();
    let Age::Seconds(age) = called(&mut visitor).await else { panic!("on") };
    assert!(age <= before - 2, "{age} {before}");
}

/// Over hours, several instances, new tokens and written activity, with the time as a parameter.
#[tokio::test]
async fn no_write_lengthens_the_absolute_expiry() {
    let options = Options { access_token_life: Duration::from_secs(HOUR), ..Options::new(ORIGIN) };
    let mut lab = Lab::new(options, &[("SESSION_PERSIST", "on"), ("SESSION_IDLE", "8h")]).await;
    let started = clock::now();
    let mut jar = lab.signed_in(started).await;
    let (mut writes, mut now) = (0, started);
    for step in 1_u64.. {
        let pause = 1 + step * 7_919 % 1_800;
        now += pause;
        if now >= started + MAX {
            break;
        }
        lab.provider.advance(Duration::from_secs(pause));
        lab.graph.advance(Duration::from_secs(pause));
        if step.is_multiple_of(4) {
            lab.replace_instance().await;
        }
        let reply = lab.get(&mut jar, "/graph/me", None, now).await.unwrap();
        match age_of(reply.headers().get_all(SET_COOKIE).iter().map(|line| line.to_str().unwrap())) {
            Age::Seconds(age) => assert!(age > 0 && now + age <= started + MAX, "{age} at {}", now - started),
            age => assert_eq!(age, Age::NotWritten),
        }
        writes += usize::from(reply.headers().contains_key(SET_COOKIE));
    }
    assert!(writes > 20, "{writes}");
    assert!(!lab.is_signed_in(&jar, started + MAX).await);
}
