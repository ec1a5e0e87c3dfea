//! The rules for headers, on the pure functions.

use super::*;

fn map(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
    }
    headers
}

/// The forwarded and the proxied headers.
fn both(client: &HeaderMap, body_length: usize) -> [HeaderMap; 2] {
    let route = Route { peer: "127.0.0.1", scheme: "http", handler_port: 9 };
    [forwarded(client, body_length, "ID"), proxied(client, &route, false, "ID")]
}

#[test]
fn lines_are_joined_and_what_a_client_may_spoof_is_appended_to_or_overwritten() {
    let client = map(&[
        ("host", "app.example"),
        ("user-agent", "curl"),
        ("x-a", "1"),
        ("x-a", "3"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
        ("expect", "100-continue"),
        ("sec-fetch-site", "same-origin"),
        ("range", "bytes=0-1"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "7.7.7.7"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-proto", "https"),
        ("x-azure-functions-hostversion", "spoof"),
        ("x-azure-functions-invocationid", "a"),
        ("x-azure-functions-invocationid", "b"),
        ("x-ms-invocation-id", "spoof"),
    ]);
    let table = [
        ("host", "app.example", "127.0.0.1:9"),
        ("user-agent", "curl Azure-Functions-Host/4.1037.0", "curl"),
        ("x-a", "1, 3", "1, 3"),
        ("cookie", "a=1; b=2", "a=1; b=2"),
        ("expect", "100-continue", "100-continue"),
        ("sec-fetch-site", "same-origin", "same-origin"),
        ("range", "bytes=0-1", "bytes=0-1"),
        ("x-forwarded-for", "6.6.6.6, 7.7.7.7", "127.0.0.1"),
        ("x-forwarded-host", "evil.example", "app.example"),
        ("x-forwarded-proto", "https", "http"),
        ("x-azure-functions-hostversion", "spoof, 4.1037.0", "4.1037.0"),
        ("x-azure-functions-invocationid", "a, b, ID", "ID"),
        ("x-ms-invocation-id", "spoof", "ID"),
    ];
    let [forwarded, proxied] = both(&client, 0);
    assert_eq!(forwarded, map(&table.map(|(name, forwarded, _)| (name, forwarded))));
    assert_eq!(proxied, map(&table.map(|(name, _, proxied)| (name, proxied))));
}

#[test]
fn forwarding_drops_content_headers_and_proxying_hop_by_hop_headers() {
    let content = CONTENT_HEADERS.iter().map(|name| (name.as_str(), "content"));
    let hops = HOP_BY_HOP.iter().map(|name| (name.as_str(), "hop"));
    let ends =
        [("content-type", "text/plain"), ("content-length", "3"), ("forwarded", "x"), ("x-forwarded-prefix", "/")];
    let client = map(&content.chain(hops).chain(ends).collect::<Vec<_>>());
    let [forwarded, proxied] = both(&client, 3);
    let has = |headers: &HeaderMap, value: &str| headers.values().filter(|other| *other == value).count();
    assert_eq!((has(&forwarded, "content"), has(&forwarded, "hop")), (0, HOP_BY_HOP.len()));
    assert_eq!((has(&proxied, "content"), has(&proxied, "hop")), (CONTENT_HEADERS.len(), 0));
    for headers in [&forwarded, &proxied] {
        assert_eq!(
            (&headers["content-type"], &headers["content-length"]),
            (&client["content-type"], &client["content-length"])
        );
    }
    assert!(!proxied.contains_key("forwarded") && !proxied.contains_key("x-forwarded-prefix"));
}

#[test]
fn a_forwarded_type_and_length_need_a_body_and_a_streamed_body_is_chunked() {
    let client = map(&[("content-type", "text/plain"), ("content-length", "0")]);
    let [forwarded, _] = both(&client, 0);
    assert!(!forwarded.contains_key(CONTENT_TYPE) && !forwarded.contains_key(CONTENT_LENGTH));
    let route = Route { peer: "127.0.0.1", scheme: "http", handler_port: 9 };
    let client = map(&[("transfer-encoding", "chunked"), ("content-length", "3")]);
    let streamed = proxied(&client, &route, true, "ID");
    assert_eq!(streamed["transfer-encoding"], "chunked");
    assert!(!streamed.contains_key(CONTENT_LENGTH));
}

#[test]
fn proxied_responses_lose_an_empty_length_only_where_none_is_allowed() {
    for (status, length, kept) in [(204, "0", false), (205, "0", false), (200, "0", true), (204, "3", true)] {
        let cookies = map(&[("set-cookie", "a"), ("set-cookie", "b")]);
        let mut headers = map(&[("content-length", length), ("connection", "close")]);
        headers.extend(cookies.clone());
        clean_proxied_response(StatusCode::from_u16(status).unwrap(), &mut headers);
        assert_eq!(headers.remove(CONTENT_LENGTH).is_some(), kept, "{status}");
        assert_eq!(headers, cookies);
    }
}

#[test]
fn the_front_end_adds_the_clients_address() {
    let mut headers = map(&[("host", "app.example"), ("x-forwarded-for", "6.6.6.6"), ("x-original-url", "/spoof")]);
    add_front_end(&mut headers, "/raw%2f?q", "LOG");
    let expected = [
        ("host", "app.example"),
        ("x-forwarded-for", "6.6.6.6, 1.2.3.4:56789"),
        ("x-forwarded-proto", "https"),
        ("x-original-url", "/raw%2f?q"),
        ("x-arr-log-id", "LOG"),
        ("disguised-host", "app.example"),
        ("client-ip", "1.2.3.4:56789"),
        ("max-forwards", "10"),
    ];
    assert_eq!(headers, map(&expected));
}
