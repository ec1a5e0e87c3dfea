use proptest::prelude::{any, prop};

use super::*;

fn head(text: &str, method: &Method) -> Result<Option<(Head, BytesMut)>, &'static str> {
    let mut buffer = BytesMut::from(text.as_bytes());
    Ok(take_head(&mut buffer, method)?.map(|head| (head, buffer)))
}

fn complete(text: &str, method: &Method) -> (Head, BytesMut) {
    head(text, method).unwrap().unwrap()
}

/// Everything that is left of a body, in a buffer that ends with other bytes.
fn body(framing: &mut Framing, buffer: &mut BytesMut) -> Vec<u8> {
    let mut body = Vec::new();
    while let Next::Data(data) = framing.take(buffer).unwrap() {
        body.extend_from_slice(&data);
    }
    body
}

#[test]
fn a_head_is_taken_once_it_has_arrived_as_a_whole() {
    let text = "HTTP/1.1 201 Created\r\nX-One: a\r\nContent-Length: 4\r\nx-one:  b \r\n\r\n";
    for length in 0..text.len() {
        assert!(head(&text[..length], &Method::GET).unwrap().is_none(), "{length}");
    }
    let (head, rest) = complete(&format!("{text}body"), &Method::GET);
    assert_eq!((head.status.as_u16(), &rest[..]), (201, &b"body"[..]));
    assert_eq!(head.headers.get_all("x-one").iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(head.is_persistent && head.framing == Framing::Length(4));
}

#[test]
fn interim_responses_are_skipped() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nContent-Length: 9\r\n\r\n";
    assert!(head(interim, &Method::GET).unwrap().is_none());
    let (head, _) = complete(&format!("{interim}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), &Method::GET);
    assert!(head.status == 200 && !head.headers.contains_key("link"));
    let (switching, _) = complete("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", &Method::GET);
    assert!(switching.status == 101 && !switching.is_persistent);
}

/// RFC 9112 section 6.3.
#[test]
fn the_framing_is_that_of_method_status_and_headers() {
    let chunked = || Framing::Chunked(Chunk::Size);
    for (method, line, headers, expected) in [
        (Method::GET, "HTTP/1.1 200 OK", "Content-Length: 5\r\n", Framing::Length(5)),
        (Method::GET, "HTTP/1.1 200 OK", "Content-Length: 5, 5\r\nContent-Length: 5\r\n", Framing::Length(5)),
        (Method::GET, "HTTP/1.1 200 OK", "Transfer-Encoding: Chunked\r\n", chunked()),
        (Method::GET, "HTTP/1.1 200 OK", "", Framing::Close),
        (Method::GET, "HTTP/1.0 200 OK", "Content-Length: 5\r\n", Framing::Length(5)),
        (Method::POST, "HTTP/1.1 205 Reset Content", "Content-Length: 0\r\n", Framing::Length(0)),
        (Method::HEAD, "HTTP/1.1 200 OK", "Content-Length: 5\r\n", Framing::Length(0)),
        (Method::HEAD, "HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\n", Framing::Length(0)),
        (Method::HEAD, "HTTP/1.1 200 OK", "", Framing::Length(0)),
        (Method::GET, "HTTP/1.1 204 No Content", "", Framing::Length(0)),
        (Method::GET, "HTTP/1.1 204 No Content", "Transfer-Encoding: chunked\r\n", Framing::Length(0)),
        (Method::GET, "HTTP/1.1 304 Not Modified", "Content-Length: 5\r\n", Framing::Length(0)),
    ] {
        let (head, _) = complete(&format!("{line}\r\n{headers}\r\n"), &method);
        assert_eq!(head.framing, expected, "{method} {line} {headers}");
        assert!(head.headers.get_all("content-length").iter().count() < 2);
        assert!(!head.headers.contains_key("transfer-encoding"));
    }
}

#[test]
fn a_response_whose_end_is_in_doubt_is_an_error() {
    for headers in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5,\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\r\n",
        "Content-Length : 5\r\n",
        "X: a\r\n b\r\n",
        "X: \0\r\n",
        "X\r\n",
        ": x\r\n",
    ] {
        assert!(head(&format!("HTTP/1.1 200 OK\r\n{headers}\r\n"), &Method::GET).is_err(), "{headers}");
    }
    for text in [
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "no\r\n\r\n",
    ] {
        assert!(head(text, &Method::GET).is_err(), "{text}");
    }
    let many = "X: y\r\n".repeat(HEADERS);
    assert!(head(&format!("HTTP/1.1 200 OK\r\n{many}\r\n"), &Method::GET).is_ok());
    assert!(head(&format!("HTTP/1.1 200 OK\r\n{many}X: y\r\n\r\n"), &Method::GET).is_err());
}

/// They end with their heads, but where the next one begins is not relied on.
#[test]
fn framing_in_doubt_does_not_matter_without_a_body_but_ends_the_connection() {
    for headers in ["Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 5, 6\r\n"] {
        for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
            let (head, _) = complete(&format!("HTTP/1.1 {status} X\r\n{headers}\r\n"), &method);
            assert!(head.framing == Framing::Length(0) && !head.is_persistent, "{method} {status} {headers}");
        }
        let interim = format!("HTTP/1.1 103 X\r\n{headers}\r\nHTTP/1.1 204 X\r\n\r\n");
        assert_eq!(complete(&interim, &Method::GET).0.status, 204);
    }
}

/// A server that sends the body all the same would have it read as the response to the next request.
#[test]
fn a_connection_ends_after_a_response_that_announces_a_body_it_must_not_have() {
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 204), (Method::GET, 304)] {
        for (headers, is_persistent) in [
            ("", true),
            ("Content-Length: 0\r\n", true),
            ("Content-Length: 5\r\n", false),
            ("Transfer-Encoding: chunked\r\n", false),
        ] {
            let (head, _) = complete(&format!("HTTP/1.1 {status} X\r\n{headers}\r\n"), &method);
            assert_eq!(head.is_persistent, is_persistent, "{method} {status} {headers}");
        }
    }
}

#[test]
fn an_unusual_reason_phrase_is_kept() {
    for (line, expected) in
        [("509 Bandwidth Limit Exceeded", Some("Bandwidth Limit Exceeded")), ("200 OK", None), ("200", None)]
    {
        let (head, _) = complete(&format!("HTTP/1.1 {line}\r\n\r\n"), &Method::GET);
        assert_eq!(head.reason.as_ref().map(ReasonPhrase::as_bytes), expected.map(str::as_bytes), "{line}");
    }
}

#[test]
fn a_connection_is_used_again_unless_the_response_closes_it() {
    for (line, headers, expected) in [
        ("HTTP/1.1 200 OK", "Content-Length: 0\r\n", true),
        ("HTTP/1.1 200 OK", "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n", true),
        ("HTTP/1.1 200 OK", "Content-Length: 0\r\nConnection: Close\r\n", false),
        ("HTTP/1.1 200 OK", "Content-Length: 0\r\nConnection: x\r\nConnection: y ,close\r\n", false),
        ("HTTP/1.1 200 OK", "", false),
        ("HTTP/1.0 200 OK", "Content-Length: 0\r\nConnection: keep-alive\r\n", false),
    ] {
        let (head, _) = complete(&format!("{line}\r\n{headers}\r\n"), &Method::GET);
        assert_eq!(head.is_persistent, expected, "{line} {headers}");
    }
}

/// RFC 9112 section 7.1.
#[test]
fn malformed_chunks_are_an_error() {
    let long = format!("1;{}", "x".repeat(LINES));
    let trailer = format!("0\r\nX: {}", "x".repeat(LINES));
    for chunks in [
        "\r\n",
        ";x\r\n",
        " 1\r\n",
        "-1\r\n",
        "0x1\r\n",
        "1\n",
        "1 1\r\n",
        "10000000000000000\r\n",
        "1;a\nb\r\n",
        "2\r\nabcd",
        "2\r\nab\n\r",
        "2\r\nab\r\r\n",
        "0\r\nX\r\n\r\n",
        "0\r\n\0\r\n",
        &long,
        &trailer,
    ] {
        let (mut framing, mut buffer) = (Framing::Chunked(Chunk::Size), BytesMut::from(chunks));
        let mut next = framing.take(&mut buffer);
        while let Ok(Next::Data(_)) = next {
            next = framing.take(&mut buffer);
        }
        assert!(next.is_err(), "{chunks:.20}: {next:?}");
        assert!(framing.take(&mut buffer).is_err(), "it stays one");
    }
}

#[test]
fn the_end_of_the_connection_ends_no_body_of_known_length() {
    assert!(Framing::Close.at_close().is_ok());
    assert!(Framing::Length(1).at_close().is_err());
    assert!(Framing::Chunked(Chunk::Size).at_close().is_err());
    assert!(Framing::Chunked(Chunk::Trailers).at_close().is_err());
}

#[test]
fn a_body_until_the_connection_closes_is_all_that_arrives() {
    let (mut framing, mut buffer) = (Framing::Close, BytesMut::from("abc"));
    assert_eq!(body(&mut framing, &mut buffer), b"abc");
    assert_eq!(framing.take(&mut buffer), Ok(Next::Missing));
}

/// The bytes of a body in parts of any size: what they are, and where they end.
fn in_parts(wire: &[u8], cuts: &[prop::sample::Index], mut framing: Framing) -> (Vec<u8>, BytesMut, bool) {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
    cuts.sort_unstable();
    let (mut buffer, mut found, mut start) = (BytesMut::new(), Vec::new(), 0);
    for end in cuts.into_iter().chain([wire.len()]) {
        buffer.extend_from_slice(&wire[start..end]);
        found.extend(body(&mut framing, &mut buffer));
        start = end;
    }
    (found, buffer, framing.has_ended())
}

proptest::proptest! {
    /// However a body arrives, it is the same, and the bytes after it are not of it.
    #[test]
    fn a_chunked_body_is_its_data(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..6),
        extension in "(;[a-z]{0,9})?",
        trailer in "(X-[a-z]: [a-z]{0,9}\r\n)?",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        surplus in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend(format!("{:X}{extension}\r\n", chunk.len()).bytes().chain(chunk.iter().copied()).chain(*b"\r\n"));
        }
        wire.extend(format!("0{extension}\r\n{trailer}\r\n").bytes().chain(surplus.iter().copied()));
        let (found, rest, has_ended) = in_parts(&wire, &cuts, Framing::Chunked(Chunk::Size));
        proptest::prop_assert_eq!(found, chunks.concat());
        proptest::prop_assert!(has_ended);
        proptest::prop_assert_eq!(&rest[..], surplus);
    }

    #[test]
    fn a_body_with_a_length_is_so_many_bytes(
        data in prop::collection::vec(any::<u8>(), 1..99),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..9),
        surplus in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let wire = [&data[..], &surplus].concat();
        let (found, rest, has_ended) = in_parts(&wire, &cuts, Framing::Length(data.len() as u64));
        proptest::prop_assert_eq!(found, data);
        proptest::prop_assert!(has_ended);
        proptest::prop_assert_eq!(&rest[..], surplus);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\r\n0-9a-fx;: ]{0,60}") {
        for bytes in [&bytes[..], text.as_bytes(), &[b"HTTP/1.1 200 OK\r\n", text.as_bytes()].concat()] {
            let _ = take_head(&mut BytesMut::from(bytes), &Method::GET);
            let (mut framing, mut buffer) = (Framing::Chunked(Chunk::Size), BytesMut::from(bytes));
            while let Ok(Next::Data(_)) = framing.take(&mut buffer) {}
        }
    }
}
