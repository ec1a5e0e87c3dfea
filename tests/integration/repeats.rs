//! The host repeats a request without a body when its connection closes without a response, whatever its method. So
//! each route of the gateway is safe to repeat (contract 11.13). The timer's is repeated in `rotate_keys`.

use devkit::provider::Options;

use crate::app::{TestApp, every_reach};
use crate::visitor::{CALL, NAVIGATION, Response, Visitor};

const ADA: &str = "ada.lovelace@contoso.example";

/// Sends a request twice with the same cookies. The browser gets the second response only.
async fn twice(visitor: &mut Visitor, method: &str, path: &str, headers: &[(&str, &str)]) -> [Response; 2] {
    let first = visitor.clone().send(method, path, headers, "").await;
    [first, visitor.send(method, path, headers, "").await]
}

fn statuses(responses: &[Response; 2]) -> [u16; 2] {
    responses.each_ref().map(|response| response.status)
}

/// The address of a redirect without its query, which has other random values each time.
fn target(response: &Response) -> &str {
    response.header("location").unwrap().split('?').next().unwrap()
}

/// Token requests, and revocations.
fn requests(app: &TestApp) -> [usize; 2] {
    let requests = app.provider.requests();
    ["/token", "/revoke"].map(|end| requests.iter().filter(|request| request.path().ends_with(end)).count())
}

async fn is_signed_in(visitor: &mut Visitor) -> bool {
    visitor.fetch("GET", "/auth/session").await.json()["authenticated"] == true
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_of_the_gateway_is_safe_to_repeat() {
    for reach in every_reach() {
        let options = Options { one_time_refresh: true, revocation: true, ..Options::new("http://x") };
        let app = TestApp::builder().reach(reach).provider(options).start().await;
        let mut visitor = app.visitor();

        let away = twice(&mut visitor, "GET", "/auth/login?return_to=/here", &NAVIGATION).await;
        assert_eq!((statuses(&away), target(&away[0])), ([302; 2], target(&away[1])), "{reach:?}");
        assert_eq!(requests(&app), [0, 0]);

        let location = app.provider.sign_in(away[1].header("location").unwrap(), ADA).unwrap().location();
        let back = location.strip_prefix(&app.origin).unwrap();
        let back = twice(&mut visitor, "GET", back, &[("sec-fetch-mode", "navigate")]).await;
        for response in &back {
            assert_eq!((response.status, response.header("location")), (302, Some("/here")), "{reach:?}");
        }
        assert_eq!(requests(&app), [1, 0], "{reach:?}: the code is exchanged once");

        let session = twice(&mut visitor, "GET", "/auth/session", &CALL).await.map(|response| response.json());
        assert_eq!(session[0]["user"], session[1]["user"], "{reach:?}");
        assert_eq!(session[1]["authenticated"], true, "{reach:?}");

        // The second is a request of its own, with the newest refresh token: the first would revoke the grant.
        let refreshed = twice(&mut visitor, "POST", "/auth/refresh", &CALL).await;
        assert_eq!(statuses(&refreshed), [204; 2], "{reach:?}: {}", refreshed[1].text());
        assert_eq!(visitor.fetch("POST", "/auth/refresh").await.status, 204, "{reach:?}");
        assert_eq!(visitor.fetch("GET", "/graph/me").await.status, 200, "{reach:?}");

        let out = twice(&mut visitor, "POST", "/auth/logout", &CALL).await;
        assert_eq!(statuses(&out), [200; 2], "{reach:?}");
        let url = |response: &Response| response.json()["logout_url"].as_str().unwrap().to_owned();
        let [first, second] = out.each_ref().map(url);
        assert_eq!(first.split('?').next(), second.split('?').next(), "{reach:?}");
        assert!(visitor.jar.is_empty(), "{reach:?}");
        assert_eq!(requests(&app)[1], 1, "{reach:?}: the refresh token is revoked once");

        // The return from the provider.
        let state = url::Url::parse(&second).unwrap();
        let state = state.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
        let home = twice(&mut visitor, "GET", &format!("/auth/logout?state={state}"), &NAVIGATION).await;
        assert_eq!((statuses(&home), home.each_ref().map(target)), ([302; 2], ["/"; 2]), "{reach:?}");

        let mut visitor = app.signed_in(ADA).await;
        let out = twice(&mut visitor, "POST", "/auth/logout", &NAVIGATION).await;
        assert_eq!((statuses(&out), target(&out[0])), ([303; 2], target(&out[1])), "{reach:?}");
        assert!(visitor.jar.is_empty(), "{reach:?}");

        // A link signs out once; its repetition has no effect, and shows the page, whose form leads to the provider.
        let mut visitor = app.signed_in(ADA).await;
        let session = visitor.fetch("GET", "/auth/session").await.json();
        let link = session["links"]["logout"].as_str().unwrap().to_owned();
        let followed = twice(&mut visitor, "GET", &link, &NAVIGATION).await;
        assert_eq!(statuses(&followed), [302, 200], "{reach:?}");
        assert!(!is_signed_in(&mut visitor).await, "{reach:?}");
        let confirmed = visitor.send("POST", "/auth/logout", &NAVIGATION, "").await;
        assert_eq!((confirmed.status, target(&confirmed)), (303, target(&followed[0])), "{reach:?}");
        assert!(visitor.jar.is_empty(), "{reach:?}");
        assert_eq!(requests(&app)[1], 3, "{reach:?}: once for each session");
    }
}
