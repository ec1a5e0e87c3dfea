use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn me_is_the_user_of_the_token() {
    let pair = Pair::start().await;
    let me = json(&pair.get("/me").await);
    assert_eq!(me["displayName"], "Ada Lovelace");
    assert_eq!(me["id"], "0b1d0000-0000-4000-8000-000000000001");
    assert_eq!((&me["userPrincipalName"], &me["mail"]), (&ADA.into(), &ADA.into()));
    assert!(me["@odata.context"].is_string());
    let head = pair.send("HEAD", "/me", &[], "").await;
    assert_eq!((head.status().as_u16(), head.body().len()), (200, 0));
    assert!(head.headers().contains_key("content-length"));
}

#[tokio::test]
async fn writes_return_graphs_statuses() {
    let pair = Pair::start().await;
    assert_eq!(pair.send("PATCH", "/me", &[], "{\"jobTitle\":\"Countess\"}").await.status(), 204);
    assert_eq!(pair.send("PATCH", "/me", &[], "not json").await.status(), 400);
    assert_eq!(pair.send("POST", "/me/sendMail", &[], "{}").await.status(), 202);
    assert_eq!(pair.send("DELETE", "/me", &[], "").await.status(), 405);
    assert_eq!(pair.get("/me/sendMail").await.status(), 405);
    assert_eq!(pair.get("/unknown").await.status(), 404);
    assert_eq!(json(&pair.get("/users").await)["value"][1]["displayName"], "Grace Hopper");
}

#[tokio::test]
async fn the_photo_supports_conditions_and_ranges() {
    let pair = Pair::start().await;
    let path = "/me/photo/$value";
    let whole = pair.get(path).await;
    let photo = whole.body();
    assert!(photo.starts_with(b"\x89PNG"));
    assert_eq!(whole.headers()["content-type"], "image/png");
    let tag = whole.headers()["etag"].to_str().unwrap().to_owned();
    let same = pair.send("GET", path, &[("if-none-match", &tag)], "").await;
    assert_eq!((same.status().as_u16(), same.body().len()), (304, 0));
    assert_eq!(same.headers()["etag"], tag.as_str());
    assert_eq!(pair.send("GET", path, &[("if-none-match", "\"other\"")], "").await.status(), 200);
    let size = photo.len();
    for (range, bytes, content_range) in [
        ("bytes=0-3", &photo[..4], format!("bytes 0-3/{size}")),
        ("bytes=10-", &photo[10..], format!("bytes 10-{}/{size}", size - 1)),
        ("bytes=-5", &photo[size - 5..], format!("bytes {}-{}/{size}", size - 5, size - 1)),
        ("bytes=4-999999", &photo[4..], format!("bytes 4-{}/{size}", size - 1)),
    ] {
        let part = pair.send("GET", path, &[("range", range)], "").await;
        assert_eq!(part.status(), 206, "{range}");
        assert_eq!(part.body(), bytes);
        assert_eq!(part.headers()["content-range"], content_range.as_str());
    }
    for range in ["bytes=999999-", "bytes=9-3", "bytes=x-y", "bytes=-0"] {
        assert_eq!(pair.send("GET", path, &[("range", range)], "").await.status(), 416, "{range}");
    }
    let stale = [("range", "bytes=0-3"), ("if-range", "\"other\"")];
    assert_eq!(pair.send("GET", path, &stale, "").await.status(), 200);
}

#[tokio::test]
async fn messages_are_paged_with_absolute_links() {
    let pair = Pair::start().await;
    let mut path = "/me/messages?$top=10".to_owned();
    let mut ids = Vec::new();
    for rest in [true, true, false] {
        let page = json(&pair.get(&path).await);
        ids.extend(page["value"].as_array().unwrap().iter().map(|message| message["id"].to_string()));
        let next = page.get("@odata.nextLink").map(|link| link.as_str().unwrap().to_owned());
        assert_eq!(next.is_some(), rest);
        path = next.map_or(path, |next| next.strip_prefix(&pair.graph.base()).unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 25);
    assert_eq!(pair.get("/me/messages?$top=0").await.status(), 400);
    assert_eq!(pair.get("/me/messages?$top=x").await.status(), 400);
    assert_eq!(json(&pair.get("/me/messages?$skip=99").await)["value"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn echo_returns_the_request_as_sent() {
    let pair = Pair::start().await;
    let head =
        "PROPFIND /v1.0/echo/a%2Fb//c;d?x=%41&&y HTTP/1.1\r\nX-B: 1\r\nX-a: 2\r\nX-B: 3\r\nConnection: close\r\n";
    let mut stream = pair.raw(head).await;
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let body: Value = serde_json::from_str(response.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["method"], &body["target"]), (&"PROPFIND".into(), &"/v1.0/echo/a%2Fb//c;d?x=%41&&y".into()));
    let names: Vec<&str> = body["headers"].as_array().unwrap().iter().map(|pair| pair[0].as_str().unwrap()).collect();
    assert_eq!(names, ["X-B", "X-a", "X-B", "Connection", "Host", "Authorization"]);
    let text = json(&pair.send("PUT", "/echo/", &[], "abc").await);
    assert_eq!((&text["body"], &text["body_length"]), (&"abc".into(), &3.into()));
    assert!(text["body_sha256"].as_str().unwrap().starts_with("ba7816bf"));
}

#[tokio::test]
async fn hostile_headers_and_redirects_are_sent() {
    let pair = Pair::start().await;
    let response = pair.get("/hostile").await;
    assert_eq!(response.headers().get_all("set-cookie").iter().count(), 2);
    for name in [
        "access-control-allow-origin",
        "strict-transport-security",
        "clear-site-data",
        "refresh",
        "www-authenticate",
        "server",
        "location",
        "service-worker-allowed",
        "cloakroom-error",
    ] {
        assert!(response.headers().contains_key(name), "{name}");
    }
    let response = pair.get("/redirect?to=https%3A%2F%2Fx.example%2Fa%3Fb").await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["location"]),
        (302, &"https://x.example/a?b".parse().unwrap())
    );
    assert_eq!(pair.get("/redirect?to=/x&status=307").await.status(), 307);
}

#[tokio::test]
async fn any_status_can_be_requested() {
    let pair = Pair::start().await;
    for status in [200, 204, 304, 400, 401, 404, 429, 500, 503, 599] {
        let response = pair.get(&format!("/status/{status}")).await;
        assert_eq!(response.status(), status);
        assert_eq!(response.headers().contains_key("retry-after"), [429, 503].contains(&status));
    }
    assert_eq!(pair.get("/status/100").await.status(), 400);
    assert_eq!(pair.get("/status/abc").await.status(), 400);
}

#[tokio::test]
async fn bytes_have_a_length_or_are_chunked() {
    let pair = Pair::start().await;
    let response = pair.get("/bytes?n=100000").await;
    assert_eq!((response.body().len(), &response.headers()["content-length"]), (100_000, &"100000".parse().unwrap()));
    assert!(response.body().iter().enumerate().all(|(place, byte)| usize::from(*byte) == place % 256));
    let response = pair.get("/bytes?n=100000&chunked=1").await;
    assert_eq!((response.body().len(), response.headers().get("content-length")), (100_000, None));
    assert_eq!(pair.get("/bytes").await.body().len(), 0);
}

#[tokio::test]
async fn slow_responses_are_delayed() {
    let pair = Pair::start().await;
    let start = Instant::now();
    let mut stream = pair.raw("GET /v1.0/slow?first=60&total=660&chunks=3 HTTP/1.1\r\nConnection: close\r\n").await;
    let mut buffer = [0; 4_096];
    assert!(stream.read(&mut buffer).await.unwrap() > 0);
    let first = start.elapsed();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!((Duration::from_millis(60)..Duration::from_millis(600)).contains(&first), "{first:?}");
    assert!(start.elapsed() >= Duration::from_millis(660));
    assert!(rest.contains("chunk 2"));
}

#[tokio::test]
async fn connections_can_be_closed() {
    let pair = Pair::start().await;
    let bearer = format!("Bearer {}", pair.token);
    let headers = [("authorization", bearer.as_str())];
    assert!(pair.bare("GET", "/hang-up", &headers, "").await.is_err());
    let mut stream = pair.raw("GET /v1.0/hang-up?after=10 HTTP/1.1\r\n").await;
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(response.contains("content-length: 1000") && response.ends_with("\r\n\r\nxxxxxxxxxx"));
}

#[tokio::test]
async fn headers_can_be_requested() {
    let pair = Pair::start().await;
    let response = pair.get("/headers?link=%3Ca%3E&link=b&x-y=1").await;
    assert_eq!(response.headers().get_all("link").iter().collect::<Vec<_>>(), ["<a>", "b"]);
    assert_eq!(response.headers()["x-y"], "1");
}
