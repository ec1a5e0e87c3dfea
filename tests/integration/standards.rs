//! What RFC 10017, RFC 9700, OpenID Connect and RFC 9207 require and no other test shows. `docs/standards.md` has all
//! requirements with their tests.

use devkit::provider::{CLIENT_ID, Options, Recorded};
use url::Url;

use crate::app::TestApp;
use crate::canaries::found;
use crate::visitor::{NAVIGATION, Response, Visitor};

const NAME: &str = "__Host-Http-cloakroom";
const ADA: &str = "ada.lovelace@contoso.example";
const GRACE: &str = "grace.hopper@contoso.example";

fn parameter(address: &str, name: &str) -> Option<String> {
    Url::parse(address).unwrap().query_pairs().find(|(of, _)| of == name).map(|(_, value)| value.into_owned())
}

fn token_requests(app: &TestApp) -> Vec<Recorded> {
    app.provider.requests().into_iter().filter(|request| request.path().ends_with("/token")).collect()
}

/// Names and values of a form, in the order of the names.
fn fields(request: &Recorded) -> Vec<(String, String)> {
    let mut fields: Vec<_> = url::form_urlencoded::parse(&request.body).into_owned().collect();
    fields.sort();
    fields
}

/// RFC 6749, sections 4.1.3 and 6: a code exchange and a refresh, no other grant.
#[tokio::test(flavor = "multi_thread")]
async fn token_requests_have_everything_and_nothing_else() {
    let app = TestApp::start().await;
    let mut visitor = app.visitor();
    let address = visitor.begin("/").await;
    assert_eq!(parameter(&address, "response_type").as_deref(), Some("code"));
    let callback = app.provider.sign_in(&address, ADA).unwrap();
    visitor.come_back(&callback.location()).await;
    let issued = |kind: &str, but: &str| {
        let mut secrets = app.provider.secrets().into_iter().filter(|(of, value)| of == kind && value != but);
        secrets.next().unwrap().1
    };
    let (verifier, first) = (issued("code_verifier", ""), issued("refresh_token", ""));
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());
    let second = issued("refresh_token", &first);
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{}", app.log());

    let redirect_uri = format!("{}/auth/callback", app.origin);
    assert_eq!(parameter(&address, "redirect_uri"), Some(redirect_uri.clone()));
    let client = [("client_id", CLIENT_ID), ("client_secret", devkit::provider::CLIENT_SECRET)];
    // Like Entra, the stand-in does not list `offline_access` among the scopes that it grants.
    let scope = "openid profile email https://graph.microsoft.com/User.Read";
    let claims = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
    let refresh = |token| {
        let grant = [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", scope), ("claims", claims)];
        [&client[..], &grant].concat()
    };
    let exchange = [
        ("code", callback.field("code").unwrap()),
        ("code_verifier", verifier.as_str()),
        ("grant_type", "authorization_code"),
        ("redirect_uri", redirect_uri.as_str()),
        ("scope", "openid profile email offline_access https://graph.microsoft.com/User.Read"),
    ];
    let expected = [[&client[..], &exchange].concat(), refresh(first.as_str()), refresh(second.as_str())];
    let expected = expected.map(|mut pairs| {
        pairs.sort_unstable();
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>()
    });
    let requests = token_requests(&app);
    assert_eq!(requests.iter().map(fields).collect::<Vec<_>>(), expected);
    for request in requests {
        assert_eq!((request.method.as_str(), request.query()), ("POST", None));
        assert_eq!(request.header("content-type"), Some("application/x-www-form-urlencoded"));
    }
}

/// Code injection (RFC 9700, section 4.5): the verifier is that of the browser's own sign-in, so that the provider
/// rejects the code. What happens where it does not: the wrong nonce in `no_invalid_id_token_signs_a_user_in`.
#[tokio::test(flavor = "multi_thread")]
async fn a_code_of_another_sign_in_is_rejected() {
    let app = TestApp::start().await;
    let of_another = app.visitor().begin("/").await;
    let code = app.provider.sign_in(&of_another, GRACE).unwrap().field("code").unwrap().to_owned();
    let mut victim = app.visitor();
    let state = parameter(&victim.begin("/").await, "state").unwrap();
    let response = victim.come_back(&format!("{}/auth/callback?code={code}&state={state}", app.origin)).await;
    assert_eq!(response.header("location"), Some("/?auth_error=login_failed"), "{}", app.log());
    assert!(victim.jar.is_empty());
    assert_eq!(app.provider.token_requests(), 1);
}

/// Session fixation (contract 3.9, 7.8): neither the session that was planted nor its id becomes the victim's.
#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_neither_uses_nor_extends_a_planted_session() {
    let app = TestApp::start().await;
    let mut attacker = app.signed_in(GRACE).await;
    let links = attacker.fetch("GET", "/auth/session").await.json()["links"].clone();
    let mut victim = app.visitor();
    victim.jar = attacker.jar.clone();
    assert_eq!(victim.sign_in(&app.provider, ADA, "/").await.header("location"), Some("/"));
    assert_ne!(victim.jar[NAME], attacker.jar[NAME]);
    let user = |session: Response| session.json()["user"]["preferred_username"].clone();
    assert_eq!(user(victim.fetch("GET", "/auth/session").await), ADA);
    let of_attacker = user(attacker.fetch("GET", "/auth/session").await);
    assert_ne!(of_attacker, ADA, "the planted session is not that of the victim");
    // A logout token is bound to the session's id: that of the planted session is worth nothing.
    let page = victim.navigate(links["logout"].as_str().unwrap()).await;
    assert_eq!(page.status, 200, "a confirmation page");
    assert_eq!(user(victim.fetch("GET", "/auth/session").await), ADA);
}

/// Contract 2.3 (RFC 9700, section 4.3.2): neither to an API nor to the provider.
#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_sent_in_a_url() {
    let app = TestApp::builder().provider(Options { revocation: true, ..Options::new("http://unused") }).start().await;
    let mut visitor = app.signed_in(ADA).await;
    for path in ["/graph/me", "/graph/echo/x?access_token=y"] {
        visitor.fetch("GET", path).await;
    }
    assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204);
    assert_eq!(visitor.fetch("POST", "/auth/logout").await.status, 200);
    let secrets: Vec<(String, Vec<u8>)> =
        app.provider.secrets().into_iter().map(|(kind, value)| (kind, value.into_bytes())).collect();
    assert!(secrets.iter().any(|(kind, _)| kind == "access_token"));
    let requests = [app.provider.requests(), app.graph.requests()].concat();
    let targets: String = requests.iter().map(|request| format!("{}\n", request.target)).collect();
    assert!(targets.contains("/revoke") && targets.contains("/me"), "{targets}");
    assert_eq!(found(targets.as_bytes(), &secrets), [""; 0]);
}

/// The names and attributes of all cookies in a response; `Max-Age` and `Expires` are left out.
fn attributes(response: &Response) -> Vec<(String, String)> {
    let lines = response.headers_named("set-cookie").map(|line| {
        let (pair, attributes) = line.split_once("; ").unwrap();
        let lasting = |one: &&str| !one.starts_with("Max-Age") && !one.starts_with("Expires");
        let attributes: Vec<&str> = attributes.split("; ").filter(lasting).collect();
        (pair.split_once('=').unwrap().0.to_owned(), attributes.join("; "))
    });
    lines.collect()
}

/// Contract 4.1, 4.6, 4.9, 4.13: browsers ignore a deletion that lacks an attribute of the name's prefix.
#[tokio::test(flavor = "multi_thread")]
async fn every_cookie_and_every_deletion_has_the_attributes_of_its_prefix() {
    const ORIGIN: &str = "https://app.example.org";
    for (domain, prefix, end) in
        [("", "__Host-Http-cloakroom", ""), ("example.org", "__Secure-cloakroom", "; Domain=example.org")]
    {
        let app = TestApp::builder().set("PUBLIC_ORIGIN", ORIGIN).set("COOKIE_DOMAIN", domain).start().await;
        let mut visitor = app.visitor();
        let begun = visitor.navigate("/auth/login").await;
        visitor.jar.insert(prefix.to_owned(), "broken".to_owned());
        let deleted = visitor.send("POST", "/auth/logout", &[("x-csrf", "1"), ("origin", ORIGIN)], "").await;
        assert_eq!((begun.status, deleted.status), (302, 200), "{}", app.log());
        assert!(visitor.jar.is_empty(), "session and login transaction are deleted");
        let cookies = [attributes(&begun), attributes(&deleted)].concat();
        assert!(cookies.len() >= 6, "{cookies:?}");
        for (name, attributes) in cookies {
            let relaxed = name.contains("-login-") || name.ends_with("-id");
            let same_site = if relaxed { "Lax" } else { "Strict" };
            assert!(name.starts_with(prefix), "{name}");
            assert_eq!(attributes, format!("Path=/; Secure; HttpOnly; SameSite={same_site}{end}"), "{name}");
        }
    }
}

/// A callback with this `iss`, as it stands in the query.
async fn come_back_with(app: &TestApp, issuers: &[String]) -> (Visitor, String) {
    let mut visitor = app.visitor();
    let callback = app.provider.sign_in(&visitor.begin("/").await, ADA).unwrap();
    let mut location = Url::parse(&callback.location()).unwrap();
    let others: Vec<_> = location.query_pairs().into_owned().filter(|(name, _)| name != "iss").collect();
    location.query_pairs_mut().clear().extend_pairs(others).extend_pairs(issuers.iter().map(|iss| ("iss", iss)));
    let response = visitor.come_back(location.as_str()).await;
    (visitor, response.header("location").unwrap().to_owned())
}

/// RFC 9207, section 2.4: as plain strings, after decoding; several are invalid. One that is not announced is accepted
/// if it is equal (contract 7.5).
#[tokio::test(flavor = "multi_thread")]
async fn the_issuer_of_a_callback_is_compared_as_a_string() {
    for announced in [true, false] {
        let options = Options { iss_parameter: announced, ..Options::new("http://unused") };
        let app = TestApp::builder().provider(options).start().await;
        let issuer = app.provider.issuer();
        let port = app.provider.addr().port().to_string();
        for other in [
            format!("{issuer}/"),
            issuer.to_uppercase(),
            issuer.replace("http://", "HTTP://"),
            issuer.replace(&port, &format!("0{port}")),
            issuer.replace("/v2.0", "/%762.0"),
            format!(" {issuer}"),
        ] {
            let (visitor, location) = come_back_with(&app, std::slice::from_ref(&other)).await;
            assert_eq!(location, "/?auth_error=login_failed", "{announced} {other}");
            assert!(visitor.jar.is_empty(), "{announced} {other}");
        }
        let (_, location) = come_back_with(&app, &[issuer.clone(), issuer.clone()]).await;
        assert_eq!(location, "/?auth_error=login_failed", "{announced}: twice");
        assert_eq!(app.provider.token_requests(), 0);
        assert_eq!(come_back_with(&app, &[issuer]).await.1, "/", "{announced}");
    }
}

/// The targets of links, forms and resources in a page, with or without quotes.
fn targets(page: &str) -> Vec<String> {
    let starts = ["href=", "src=", "srcset=", "action=", "url(", "@import", "data=", "ping=", "http-equiv="];
    let after = |start: &str| {
        let parts: Vec<&str> = page.split(start).skip(1).collect();
        parts.into_iter().map(|rest| {
            let rest = rest.trim_start_matches(['"', '\'']);
            rest.chars().take_while(|one| !matches!(one, '"' | '\'' | ' ' | '>' | ')')).collect()
        })
    };
    starts.into_iter().flat_map(after).collect()
}

/// RFC 9700, section 4.2.4 (contract 8.9): no page of the gateway loads anything or links to another site.
#[tokio::test(flavor = "multi_thread")]
async fn pages_load_nothing_and_link_to_their_own_origin_only() {
    let app = TestApp::start().await;
    let mut visitor = app.signed_in(ADA).await;
    let call = [&NAVIGATION[..], &[("x-csrf", "1")]].concat();
    let many = format!("/auth/callback?{}", "a=b&".repeat(40));
    let pages = [
        app.visitor().send("GET", "/graph/me", &call, "").await,
        app.visitor().navigate("/auth/login?return_to=https://evil.example/").await,
        app.visitor().navigate(&many).await,
        app.visitor().navigate("/auth/nothing").await,
        visitor.navigate("/auth/logout?state=https://evil.example/").await,
        visitor.navigate("/graph/me").await,
    ];
    let mut links = 0;
    for page in pages {
        let text = page.text();
        assert!(text.contains("<h1>"), "{text}");
        for tag in ["<script", "<img", "<iframe", "<link", "<object", "<embed", "<base", "evil.example"] {
            assert!(!text.contains(tag), "{tag}: {text}");
        }
        for target in targets(&text) {
            assert!(target.starts_with('/') && !target.starts_with("//"), "{target}");
            links += 1;
        }
    }
    assert!(links >= 2, "a link to sign in and the form to sign out");
}
