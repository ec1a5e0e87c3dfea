//! The table of request headers, on the pure functions.

use super::*;

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

fn lines<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
}

const ORIGIN: Origin<'_> = Origin { peer: "127.0.0.1", scheme: "http", handler: "127.0.0.1:9" };

#[test]
fn forwarding_keeps_the_host_and_all_hop_by_hop_headers() {
    let client = map(&[
        ("host", "app.example"),
        ("connection", "keep-alive, upgrade"),
        ("upgrade", "websocket"),
        ("expect", "100-continue"),
        ("x-forwarded-for", "6.6.6.6"),
        ("sec-fetch-site", "same-origin"),
        ("authorization", "Bearer x"),
        ("range", "bytes=0-1"),
        ("if-none-match", "\"a\""),
    ]);
    let headers = forwarded(&client, 0, "ID");
    for (name, value) in &client {
        assert_eq!(headers.get(name), Some(value), "{name}");
    }
}

#[test]
fn forwarding_joins_lines() {
    let headers =
        forwarded(&map(&[("x-a", "1"), ("x-b", "2"), ("x-a", "3"), ("cookie", "a=1"), ("cookie", "b=2")]), 0, "ID");
    assert_eq!(lines(&headers, "x-a"), ["1, 3"]);
    assert_eq!(lines(&headers, "cookie"), ["a=1; b=2"]);
}

#[test]
fn forwarding_drops_content_headers() {
    let mut client: Vec<_> = CONTENT_HEADERS.iter().map(|name| (name.as_str(), "x")).collect();
    client.extend([("content-type", "text/plain"), ("content-length", "3")]);
    let headers = forwarded(&map(&client), 3, "ID");
    let names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    assert_eq!(
        names,
        [
            "content-length",
            "content-type",
            "user-agent",
            "x-azure-functions-hostversion",
            "x-azure-functions-invocationid"
        ]
    );
    let without_body = forwarded(&map(&[("content-type", "text/plain"), ("content-length", "0")]), 0, "ID");
    assert!(!without_body.contains_key(CONTENT_TYPE) && !without_body.contains_key(CONTENT_LENGTH));
}

#[test]
fn forwarding_appends_to_what_a_client_may_spoof() {
    let spoof = map(&[
        ("user-agent", "Mozilla/5.0 (X11)"),
        ("x-azure-functions-hostversion", "spoof"),
        ("x-azure-functions-invocationid", "a"),
        ("x-azure-functions-invocationid", "b"),
    ]);
    let headers = forwarded(&spoof, 0, "ID");
    assert_eq!(lines(&headers, "user-agent"), ["Mozilla/5.0 (X11) Azure-Functions-Host/4.1037.0"]);
    assert_eq!(lines(&headers, "x-azure-functions-hostversion"), ["spoof, 4.1037.0"]);
    assert_eq!(lines(&headers, "x-azure-functions-invocationid"), ["a, b, ID"]);
    assert_eq!(lines(&forwarded(&HeaderMap::new(), 0, "ID"), "user-agent"), ["Azure-Functions-Host/4.1037.0"]);
}

#[test]
fn proxying_overwrites_what_a_client_may_spoof() {
    let client = map(&[
        ("host", "app.example"),
        ("user-agent", "curl"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "7.7.7.7"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=6.6.6.6"),
        ("x-azure-functions-hostversion", "spoof"),
        ("x-azure-functions-invocationid", "spoof"),
        ("x-ms-invocation-id", "spoof"),
    ]);
    let headers = proxied(&client, &ORIGIN, false, "ID");
    let expected = map(&[
        ("host", "127.0.0.1:9"),
        ("user-agent", "curl"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "app.example"),
        ("x-forwarded-proto", "http"),
        ("x-azure-functions-hostversion", "4.1037.0"),
        ("x-azure-functions-invocationid", "ID"),
        ("x-ms-invocation-id", "ID"),
    ]);
    assert_eq!(headers, expected);
}

#[test]
fn proxying_strips_hop_by_hop_and_keeps_content_headers() {
    let mut client: Vec<_> = HOP_BY_HOP.iter().map(|name| (name.as_str(), "x")).collect();
    client.extend(CONTENT_HEADERS.iter().map(|name| (name.as_str(), "kept")));
    let headers = proxied(&map(&client), &ORIGIN, false, "ID");
    assert!(HOP_BY_HOP.iter().all(|name| !headers.contains_key(name)));
    assert!(CONTENT_HEADERS.iter().all(|name| headers.get(name).is_some_and(|value| value == "kept")));
}

#[test]
fn a_streamed_body_is_announced() {
    let headers = proxied(&map(&[("transfer-encoding", "chunked"), ("content-length", "3")]), &ORIGIN, true, "ID");
    assert_eq!(lines(&headers, "transfer-encoding"), ["chunked"]);
    assert!(!headers.contains_key(CONTENT_LENGTH));
}

#[test]
fn proxied_responses_lose_an_empty_length_only_where_none_may_be() {
    for (status, length, kept) in [(204, "0", false), (205, "0", false), (200, "0", true), (204, "3", true)] {
        let mut headers =
            map(&[("content-length", length), ("connection", "close"), ("set-cookie", "a"), ("set-cookie", "b")]);
        clean_proxied_response(StatusCode::from_u16(status).unwrap(), &mut headers);
        assert_eq!(headers.contains_key(CONTENT_LENGTH), kept, "{status}");
        assert!(!headers.contains_key(CONNECTION));
        assert_eq!(lines(&headers, "set-cookie"), ["a", "b"]);
    }
}

#[test]
fn the_front_end_tells_the_clients_address() {
    let mut headers = map(&[("host", "app.example"), ("x-forwarded-for", "6.6.6.6"), ("x-original-url", "/spoof")]);
    add_front_end(&mut headers, "/raw%2f?q", "LOG");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6, 1.2.3.4:56789"),
        ("x-forwarded-proto", "https"),
        ("x-original-url", "/raw%2f?q"),
        ("x-arr-log-id", "LOG"),
        ("disguised-host", "app.example"),
        ("client-ip", "1.2.3.4:56789"),
        ("max-forwards", "10"),
    ] {
        assert_eq!(lines(&headers, name), [value], "{name}");
    }
}
