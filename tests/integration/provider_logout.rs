//! The provider ends sessions: back-channel and front-channel logout (contract 16.8, 16.9), over the double of a store
//! that all instances share.

mod journeys;

use std::collections::BTreeMap;
use std::time::Duration;

use cloakroom::clock::now;
use cloakroom::error::Error;
use devkit::provider::{Draft, Endpoint, Fault, Flaw, Mutation, Options};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::app::{PATIENCE, TestApp};
use crate::lab::{ADA, Jar, Lab, ORIGIN};
use crate::visitor::{NAVIGATION, Response, Visitor};

const GRACE: &str = "grace.hopper@contoso.example";
const BACK: &str = "/auth/backchannel-logout";
const FRONT: &str = "/auth/frontchannel-logout";
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];
/// How often a signing key that the provider's set lacks lets the set be loaded again (contract 7.1).
const MINUTE: Duration = Duration::from_secs(60);

/// The gateway over a socket, and the browsers that signed in.
struct Stage {
    lab: Lab,
    /// A client without cookies.
    client: Visitor,
}

/// A browser, and what the provider calls its user and its session.
struct Browser {
    jar: Jar,
    sub: String,
    sid: String,
}

impl Stage {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let stage = Self::over(Lab::with_shared_store(Options::new(ORIGIN), settings).await).await;
        // Until its metadata and keys were loaded, so that no test counts that load.
        let loaded = async {
            while !stage.lab.app.provider.was_ready() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, loaded).await.unwrap();
        stage
    }

    async fn over(lab: Lab) -> Self {
        let client = lab.visitor().await;
        Self { lab, client }
    }

    async fn sign_in(&self, user: &str) -> Browser {
        let mut jar = Jar::new();
        self.lab.sign_in(&mut jar, user, now()).await;
        let (sub, sid) = self.lab.provider.sign_ins().pop().unwrap();
        Browser { jar, sub, sid }
    }

    /// Whether each of these has an open session on this instance.
    async fn are_signed_in<const N: usize>(&self, browsers: [&Browser; N]) -> [bool; N] {
        let mut found = [false; N];
        for (found, browser) in found.iter_mut().zip(browsers) {
            *found = self.lab.is_signed_in(&browser.jar, now()).await;
        }
        found
    }

    fn token(&self, change: impl FnOnce(&mut Draft)) -> String {
        self.lab.provider.logout_token(change)
    }

    fn token_of_session(&self, browser: &Browser) -> String {
        self.token(|draft| draft.claims["sid"] = browser.sid.as_str().into())
    }

    /// Sends a logout token as a provider does.
    async fn send(&self, token: &str) -> Response {
        self.post(&form(&[("logout_token", token)])).await
    }

    async fn post(&self, body: &str) -> Response {
        self.client.clone().send("POST", BACK, &FORM, body).await
    }

    /// Loads a frame of the provider's sign-out page.
    async fn frame(&self, query: &str) -> Response {
        let headers = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe"), ("sec-fetch-site", "cross-site")];
        self.client.clone().send("GET", &format!("{FRONT}?{query}"), &headers, "").await
    }

    /// How often the provider's keys were requested.
    fn key_requests(&self) -> usize {
        let requests = self.lab.provider.requests();
        requests.iter().filter(|request| request.path().ends_with("/keys")).count()
    }
}

fn form(fields: &[(&str, &str)]) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// Sets a claim.
fn claim(name: &'static str, value: impl Into<Value>) -> impl FnOnce(&mut Draft) {
    let value = value.into();
    move |draft| draft.claims[name] = value
}

#[track_caller]
fn assert_ended(response: &Response) {
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert_common(response);
}

/// What holds for every response.
#[track_caller]
fn assert_common(response: &Response) {
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(response.header("set-cookie"), None);
}

#[track_caller]
fn assert_invalid(response: &Response, reason: &str) {
    assert_eq!((response.status, response.header("content-type")), (400, Some("application/json")), "{reason}");
    let body = response.json();
    let description = body["error_description"].as_str().unwrap();
    assert!(description.starts_with(reason), "{description} instead of {reason}");
    assert_eq!(body, json!({"error": "invalid_request", "error_description": description}));
    assert_eq!(response.code(), "bad_request");
    assert_common(response);
}

#[track_caller]
fn assert_unavailable(response: &Response, code: &str) {
    assert_eq!((response.status, response.code()), (503, code));
    assert!(response.header("retry-after").is_some());
    assert_common(response);
}

#[tokio::test]
async fn a_logout_token_ends_the_sessions_of_its_sid_on_every_instance() {
    let mut stage = Stage::new().await;
    let (ada, other, grace) = (stage.sign_in(ADA).await, stage.sign_in(ADA).await, stage.sign_in(GRACE).await);
    let token = stage.token(|draft| {
        draft.claims["sid"] = ada.sid.as_str().into();
        // `sid` goes before it.
        draft.claims["sub"] = ada.sub.as_str().into();
    });
    assert_ended(&stage.send(&token).await);
    assert_eq!(stage.are_signed_in([&ada, &other, &grace]).await, [false, true, true]);
    stage.lab.replace_instance().await;
    assert_eq!(stage.are_signed_in([&ada, &other, &grace]).await, [false, true, true], "another instance");
    let call = stage.lab.call(&mut ada.jar.clone(), now()).await;
    assert_eq!(call, Err(Error::SessionExpired));
}

#[tokio::test]
async fn a_logout_token_without_sid_ends_all_sessions_of_its_sub() {
    let stage = Stage::new().await;
    let (ada, other, grace) = (stage.sign_in(ADA).await, stage.sign_in(ADA).await, stage.sign_in(GRACE).await);
    assert_ended(&stage.send(&stage.token(claim("sub", ada.sub.as_str()))).await);
    assert_eq!(stage.are_signed_in([&ada, &other, &grace]).await, [false, false, true]);
}

/// Contract 4.18, 4.20: the browser of a session that the provider ended still has its cookie, whichever instance ended
/// it.
#[tokio::test]
async fn the_cookie_of_a_session_that_the_provider_ended_is_deleted_by_a_refresh() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    let mut browser = stage.client.clone();
    browser.jar = ada.jar.clone();
    assert_ended(&stage.send(&stage.token_of_session(&ada)).await);
    let call = browser.fetch("GET", "/graph/me").await;
    assert_eq!((call.status, call.code()), (401, "session_expired"));
    assert_eq!(browser.jar, ada.jar);
    let refresh = browser.fetch("POST", "/auth/refresh").await;
    assert_eq!((refresh.status, refresh.code()), (401, "session_expired"));
    assert!(browser.jar.is_empty());
}

/// Contract 10.18.
#[tokio::test]
async fn a_repeated_callback_does_not_bring_back_a_session_that_the_provider_ended() {
    let stage = Stage::new().await;
    let mut jar = Jar::new();
    let away = stage.lab.begin(&mut jar, "", now()).await.unwrap();
    let callback = stage.lab.provider.sign_in(&away, ADA).unwrap().form();
    let mut repeated = jar.clone();
    assert_eq!(stage.lab.come_back(&mut jar, &callback, now()).await, "/");
    let (sub, sid) = stage.lab.provider.sign_ins().pop().unwrap();
    let ada = Browser { jar, sub, sid };
    assert_ended(&stage.send(&stage.token_of_session(&ada)).await);
    assert_eq!(stage.lab.come_back(&mut repeated, &callback, now()).await, "/?auth_error=login_expired");
    assert!(!stage.lab.is_signed_in(&repeated, now()).await);
}

#[tokio::test]
async fn a_logout_token_without_sessions_is_accepted() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    for (name, value) in [("sid", "unknown"), ("sub", "unknown"), ("sid", ada.sub.as_str()), ("sub", ada.sid.as_str())]
    {
        assert_ended(&stage.send(&stage.token(claim(name, value))).await);
    }
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
}

/// The reasons are those of the unit tests of the profile; here each is the response of the gateway.
#[tokio::test]
async fn an_invalid_logout_token_is_rejected_with_its_reason_and_ends_nothing() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    let sid = || claim("sid", ada.sid.as_str());
    let flawed = |flaw: Flaw| {
        let flaw = Mutation::from(flaw);
        let sid = sid();
        stage.token(|draft| {
            sid(draft);
            flaw.apply(draft);
        })
    };
    let changed = |change: &dyn Fn(&mut Draft)| {
        let sid = sid();
        stage.token(|draft| {
            sid(draft);
            change(draft);
        })
    };
    for (token, reason) in [
        (flawed(Flaw::AlgNone), "alg: "),
        (flawed(Flaw::Hs256), "alg: "),
        (flawed(Flaw::BadSignature), "the signature does not match"),
        (flawed(Flaw::ForgedKid), "the signature does not match"),
        (flawed(Flaw::WrongAudience), "aud: "),
        (flawed(Flaw::WrongAuthorizedParty), "azp: "),
        (flawed(Flaw::WrongIssuer), "iss: "),
        (flawed(Flaw::IssuedInFuture), "iat: in the future"),
        (flawed(Flaw::Expired), "iat: too long ago"),
        (flawed(Flaw::WrongNonce), "nonce: not allowed"),
        (changed(&|draft| draft.claims["exp"] = (now() - 301).into()), "exp: expired"),
        (changed(&|draft| draft.claims["events"] = json!({})), "events: not the event"),
        (changed(&|draft| draft.claims["jti"] = Value::Null), "jti: missing"),
        (changed(&|draft| draft.claims["sid"] = Value::Null), "sid or sub: missing"),
        (changed(&|draft| draft.header["typ"] = "at+jwt".into()), "typ: "),
        ("not-a-jwt".to_owned(), "not a signed JWT"),
        (String::new(), "not a signed JWT"),
    ] {
        let response = stage.send(&token).await;
        assert_invalid(&response, reason);
        assert!(!response.text().contains(&ada.sid), "{}", response.text());
    }
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
}

#[tokio::test]
async fn a_form_without_exactly_one_logout_token_is_rejected() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    let token = stage.token_of_session(&ada);
    for body in [
        String::new(),
        "x=1".to_owned(),
        form(&[("logout_token", &token), ("logout_token", &token)]),
        form(&[("logout_token", &token), ("logout_token", "")]),
        format!("logout_token={token}&logout%5Ftoken={token}"),
        form(&[("Logout_Token", &token)]),
        json!({"logout_token": token}).to_string(),
    ] {
        assert_invalid(&stage.post(&body).await, "logout_token: ");
    }
    let in_query = stage.client.clone().send("POST", &format!("{BACK}?logout_token={token}"), &FORM, "x=1").await;
    assert_invalid(&in_query, "logout_token: ");
    assert_eq!(stage.post(&"x".repeat(64 * 1_024 + 1)).await.code(), "body_too_large");
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
    // Other parameters are ignored (section 2.5).
    assert_ended(&stage.post(&form(&[("more", "1"), ("logout_token", &token), ("more", "2")])).await);
    assert_eq!(stage.are_signed_in([&ada]).await, [false]);
}

/// A second delivery, or a copy that somebody kept, must not end a session that began later.
#[tokio::test]
async fn a_logout_token_counts_once() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    let token = stage.token(claim("sub", ada.sub.as_str()));
    assert_ended(&stage.send(&token).await);
    let later = stage.sign_in(ADA).await;
    assert_ended(&stage.send(&token).await);
    assert_eq!(stage.are_signed_in([&ada, &later]).await, [false, true]);
    assert_ended(&stage.send(&stage.token(claim("sub", ada.sub.as_str()))).await);
    assert_eq!(stage.are_signed_in([&later]).await, [false], "another token of the same user");
}

#[tokio::test]
async fn while_the_store_does_not_respond_a_logout_token_can_be_sent_again() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    let token = stage.token_of_session(&ada);
    let shared = stage.lab.shared.as_ref().unwrap();
    shared.set_down(true);
    assert_unavailable(&stage.send(&token).await, "store_unavailable");
    shared.set_down(false);
    shared.let_end_all_fail(true);
    assert_unavailable(&stage.send(&token).await, "store_unavailable");
    shared.let_end_all_fail(false);
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
    assert_ended(&stage.send(&token).await);
    assert_eq!(stage.are_signed_in([&ada]).await, [false]);
}

/// Contract 7.1, 16.8.
#[tokio::test]
async fn an_unknown_signing_key_is_rejected_only_after_the_keys_were_loaded_again() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    let unknown = stage.token(|draft| {
        draft.claims["sid"] = ada.sid.as_str().into();
        Mutation::from(Flaw::UnknownKid).apply(draft);
    });
    let before = stage.key_requests();
    assert_invalid(&stage.send(&unknown).await, "kid: no such key");
    assert_eq!(stage.key_requests(), before + 1);
    for _ in 0..3 {
        assert_unavailable(&stage.send(&unknown).await, "provider_unavailable");
    }
    // A key that the provider begins to use within that minute.
    stage.lab.provider.rotate_keys();
    let token = stage.token_of_session(&ada);
    assert_unavailable(&stage.send(&token).await, "provider_unavailable");
    assert_eq!(stage.key_requests(), before + 1, "once a minute");
    pass(MINUTE).await;
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
    assert_ended(&stage.send(&token).await);
    assert_eq!(stage.are_signed_in([&ada]).await, [false]);
    assert_eq!(stage.key_requests(), before + 2);
}

/// Otherwise invented key ids of clients that disconnect would load the keys again and again.
#[tokio::test]
async fn a_load_of_the_keys_counts_even_if_its_client_disconnects() {
    let stage = Stage::new().await;
    let unknown = stage.token(|draft| Mutation::from(Flaw::UnknownKid).apply(draft));
    let before = stage.key_requests();
    stage.lab.provider.fault(&[Endpoint::Keys], Fault::Delay(Duration::from_millis(300)));
    let request = stage.send(&unknown);
    let arrived = async {
        while stage.key_requests() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        response = request => panic!("{} before the keys were loaded", response.status),
        () = arrived => {}
    }
    // It waits for that load.
    assert_invalid(&stage.send(&unknown).await, "kid: no such key");
    assert_eq!(stage.key_requests(), before + 1);
}

#[tokio::test]
async fn keys_that_cannot_be_loaded_reject_no_logout_token() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    stage.lab.provider.rotate_keys();
    stage.lab.provider.fault(&[Endpoint::Keys], Fault::status(500));
    let token = stage.token_of_session(&ada);
    for _ in 0..2 {
        assert_unavailable(&stage.send(&token).await, "provider_unavailable");
    }
    stage.lab.provider.clear_faults();
    pass(MINUTE).await;
    assert_ended(&stage.send(&token).await);
    assert_eq!(stage.are_signed_in([&ada]).await, [false]);
}

/// Contract 10.20: what anybody can send has a share of the places, and calls keep theirs.
#[tokio::test]
async fn requests_that_wait_for_the_providers_keys_take_the_places_of_no_call() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    stage.lab.provider.fault(&[Endpoint::Keys], Fault::Hang);
    let unknown = form(&[("logout_token", &stage.token(|draft| Mutation::from(Flaw::UnknownKid).apply(draft)))]);
    let request = |_| {
        let (mut client, unknown) = (stage.client.clone(), unknown.clone());
        tokio::spawn(async move { client.send("POST", BACK, &FORM, unknown).await })
    };
    // 20 have a place, 20 more wait 2 s for one.
    let requests: Vec<_> = (0..45).map(request).collect();
    let wait_for = async |count: usize| {
        let responded = async {
            while requests.iter().filter(|request| request.is_finished()).count() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, responded).await.unwrap();
    };
    wait_for(5).await;
    let mut browser = stage.client.clone();
    browser.jar = ada.jar.clone();
    assert_eq!(browser.fetch("GET", "/graph/me").await.status, 200);
    pass(Duration::from_secs(2)).await;
    wait_for(25).await;
    // The deadline of the load, whose failure all of the others share.
    pass(Duration::from_secs(5)).await;
    let mut codes = BTreeMap::new();
    for request in requests {
        *codes.entry(request.await.unwrap().code().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(codes, BTreeMap::from([("overloaded".to_owned(), 25), ("provider_unavailable".to_owned(), 20)]));
}

#[tokio::test]
async fn without_the_providers_metadata_no_request_is_rejected() {
    let lab = Lab::with_shared_store(Options::new(ORIGIN), &[]).await;
    lab.provider.fault(&[Endpoint::Discovery], Fault::status(500));
    let stage = Stage::over(lab).await;
    let token = stage.token(claim("sid", "any"));
    assert_unavailable(&stage.send(&token).await, "provider_unavailable");
    assert_unavailable(&stage.frame("sid=any").await, "provider_unavailable");
    assert_eq!(stage.frame("sid=").await.status, 400, "no metadata is needed for that");
}

/// Lets time pass for deadlines and pauses.
async fn pass(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

#[tokio::test]
async fn the_front_channel_ends_the_sessions_of_a_sid_in_an_empty_page() {
    let stage = Stage::new().await;
    let (ada, other) = (stage.sign_in(ADA).await, stage.sign_in(ADA).await);
    let response = stage.frame(&form(&[("sid", &ada.sid)])).await;
    assert_ended(&response);
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = response.header("content-security-policy").unwrap();
    let issuer = stage.lab.provider.issuer();
    let provider = issuer.strip_suffix(&format!("/{}/v2.0", devkit::provider::TENANT)).unwrap();
    for directive in ["default-src 'none'", "base-uri 'none'", "form-action 'none'"] {
        assert!(policy.split("; ").any(|found| found == directive), "{policy}");
    }
    assert!(policy.ends_with(&format!("; frame-ancestors {provider}")), "{policy}");
    assert_eq!(stage.are_signed_in([&ada, &other]).await, [false, true]);
    assert_ended(&stage.frame(&form(&[("sid", &ada.sid)])).await);
    let with_issuer = form(&[("iss", &stage.lab.provider.issuer()), ("sid", &other.sid)]);
    assert_ended(&stage.frame(&with_issuer).await);
    assert_eq!(stage.are_signed_in([&other]).await, [false]);
}

#[tokio::test]
async fn a_frame_without_a_sid_or_of_another_issuer_ends_nothing() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    let (sid, issuer) = (ada.sid.as_str(), stage.lab.provider.issuer());
    for query in [
        String::new(),
        form(&[("iss", &issuer)]),
        form(&[("sid", ""), ("iss", &issuer)]),
        form(&[("sid", sid), ("sid", sid)]),
        form(&[("sid", sid), ("iss", "")]),
        form(&[("sid", sid), ("iss", "https://evil.example")]),
        form(&[("sid", sid), ("iss", &format!("{issuer}/"))]),
        form(&[("sid", sid), ("iss", &issuer), ("iss", &issuer)]),
    ] {
        let response = stage.frame(&query).await;
        assert_eq!((response.status, response.code()), (400, "bad_request"), "{query}");
        assert_common(&response);
        assert!(response.text().starts_with("<!doctype html>"), "{query}");
        assert!(response.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"), "{query}");
        assert!(!response.text().contains(sid), "{query}");
    }
    let no_navigation = stage.client.clone().send("GET", FRONT, &[], "").await;
    assert_eq!((no_navigation.status, no_navigation.header("content-type")), (400, Some("text/html; charset=utf-8")));
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
}

#[tokio::test]
async fn while_the_store_does_not_respond_the_front_channel_says_so() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    stage.lab.shared.as_ref().unwrap().set_down(true);
    assert_unavailable(&stage.frame(&form(&[("sid", &ada.sid)])).await, "store_unavailable");
    stage.lab.shared.as_ref().unwrap().set_down(false);
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
}

/// Contract 16.9: both the authorization and the end-session endpoint, which a setting may replace.
#[tokio::test]
async fn the_page_may_be_framed_by_the_origins_of_both_endpoints() {
    let stage = Stage::with(&[("END_SESSION_URL", "https://out.example:8443/logout?x=1")]).await;
    let response = stage.frame("sid=any").await;
    let policy = response.header("content-security-policy").unwrap();
    let issuer = stage.lab.provider.issuer();
    let provider = issuer.split('/').take(3).collect::<Vec<_>>().join("/");
    assert!(policy.ends_with(&format!("; frame-ancestors {provider} https://out.example:8443")), "{policy}");
}

/// Contract 7.2, 7.3: the template of the metadata with an allowed tenant.
#[tokio::test]
async fn with_several_tenants_the_issuer_is_that_of_an_allowed_one() {
    let tenant = devkit::provider::TENANT;
    let other = "99999999-2222-3333-4444-555555555555";
    let mut lab = Lab::with_shared_store(Options::new(ORIGIN), &[]).await;
    let authority = lab.provider.authority("common");
    lab.change_settings(&[("AUTHORITY", &authority), ("ALLOWED_TENANTS", tenant)]).await;
    let stage = Stage::over(lab).await;
    let ada = stage.sign_in(ADA).await;
    let issuer = stage.lab.provider.issuer();
    let of = |tid: &str| issuer.replace(tenant, tid);
    for iss in [of(other), of("{tenantid}"), of("common"), of("")] {
        let response = stage.frame(&form(&[("iss", &iss), ("sid", &ada.sid)])).await;
        assert_eq!(response.status, 400, "{iss}");
    }
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
    assert_ended(&stage.frame(&form(&[("iss", &issuer), ("sid", &ada.sid)])).await);
    assert_eq!(stage.are_signed_in([&ada]).await, [false], "sessions are found by the template");
}

/// Contract 9.6: neither route takes a cookie, so that none needs the CSRF header.
#[tokio::test]
async fn neither_route_reads_a_cookie_or_needs_a_header() {
    let stage = Stage::new().await;
    let (ada, grace) = (stage.sign_in(ADA).await, stage.sign_in(GRACE).await);
    let mut of_grace = stage.client.clone();
    of_grace.jar = grace.jar.clone();
    let foreign = [FORM[0], ("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")];
    let token = stage.token_of_session(&ada);
    assert_ended(&of_grace.send("POST", BACK, &foreign, form(&[("logout_token", &token)])).await);
    assert_ended(&of_grace.send("GET", &format!("{FRONT}?sid={}", ada.sid), &NAVIGATION, "").await);
    assert_eq!(stage.are_signed_in([&ada, &grace]).await, [false, true]);
}

#[tokio::test]
async fn other_methods_are_denied() {
    let stage = Stage::new().await;
    let ada = stage.sign_in(ADA).await;
    for (method, path, allow) in [
        ("GET", BACK.to_owned(), "POST"),
        ("PUT", BACK.to_owned(), "POST"),
        ("POST", format!("{FRONT}?sid={}", ada.sid), "GET, HEAD"),
        ("DELETE", format!("{FRONT}?sid={}", ada.sid), "GET, HEAD"),
    ] {
        let response = stage.client.clone().send(method, &path, &[], "").await;
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(stage.are_signed_in([&ada]).await, [true]);
    let head = stage.client.clone().send("HEAD", &format!("{FRONT}?sid={}", ada.sid), &[], "").await;
    assert_eq!(head.status, 200, "contract 3.30");
}

/// Contract 16.8, 16.9: with `STORE=cookie` the routes do not exist, whatever is sent there.
#[tokio::test]
async fn with_cookies_as_the_store_the_routes_do_not_exist() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let token = app.provider.logout_token(claim("sid", "any"));
    for (method, path, body) in [
        ("POST", BACK, form(&[("logout_token", &token)])),
        ("POST", BACK, String::new()),
        ("GET", BACK, String::new()),
        ("GET", FRONT, String::new()),
        ("GET", "/auth/frontchannel-logout?sid=any", String::new()),
    ] {
        let response = visitor.send(method, path, &FORM, body).await;
        assert_eq!((response.status, response.code()), (404, "route_denied"), "{method} {path}");
        assert_common(&response);
    }
}
