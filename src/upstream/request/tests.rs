use futures_util::FutureExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::{AsyncReadExt, duplex};

use super::*;

fn new(method: &Method, target: &'static str) -> Request {
    Request::new(method, &PathAndQuery::from_static(target), &HeaderValue::from_static("api.example"), 100)
}

/// A body of these parts.
fn body(parts: &[&'static str]) -> Body {
    let frames: Vec<_> = parts.iter().map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes())))).collect();
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// What is written, through a connection that takes `at_a_time` bytes.
async fn sent(mut request: Request, at_a_time: usize) -> (String, Result<(), SendError>) {
    let (mut near, mut far) = duplex(at_a_time);
    let reading = tokio::spawn(async move {
        let mut all = String::new();
        far.read_to_string(&mut all).await.unwrap();
        all
    });
    request.start();
    let result = std::future::poll_fn(|context| request.poll_send(Pin::new(&mut near), context)).await;
    drop(near);
    (reading.await.unwrap(), result)
}

const HEAD: &str = "POST /v1.0/me?x=1 HTTP/1.1\r\nhost: api.example\r\n";

#[tokio::test]
async fn a_request_is_sent_as_it_was_built() {
    for at_a_time in [1, 7, 1_000] {
        let mut plain = new(&Method::GET, "/");
        plain.header(&HeaderName::from_static("accept"), &HeaderValue::from_static("a, b"));
        plain.header_with(&HeaderName::from_static("x"), |value| value.write_all(b"y").ok()).unwrap();
        let (text, result) = sent(plain, at_a_time).await;
        assert_eq!(text, "GET / HTTP/1.1\r\nhost: api.example\r\naccept: a, b\r\nx: y\r\n\r\n");
        assert!(result.is_ok());
        for (length, framing, data) in [
            (Some(5), "content-length: 5\r\n\r\n", "abcde"),
            (Some(0), "content-length: 0\r\n\r\n", ""),
            (None, "transfer-encoding: chunked\r\n\r\n", "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n"),
        ] {
            let mut post = new(&Method::POST, "/v1.0/me?x=1");
            post.body(body(&["ab", "", "cde"]), length);
            let (text, result) = sent(post, at_a_time).await;
            assert_eq!(text, format!("{HEAD}{framing}{data}"));
            assert!(result.is_ok());
        }
    }
}

/// An origin form begins with a slash (RFC 9112 section 3.2.1).
#[tokio::test]
async fn a_target_without_a_path_gets_one() {
    assert!(sent(new(&Method::GET, "?x"), 1_000).await.0.starts_with("GET /?x HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_header_without_a_value_adds_no_line() {
    let mut request = new(&Method::GET, "/");
    let part = |line: &mut Vec<u8>| {
        line.extend_from_slice(b"part");
        None
    };
    assert!(request.header_with(&HeaderName::from_static("x"), part).is_none());
    assert_eq!(sent(request, 1_000).await.0, "GET / HTTP/1.1\r\nhost: api.example\r\n\r\n");
}

/// Otherwise the rest would be read as another request, or that as the rest.
#[tokio::test]
async fn a_body_of_another_length_than_announced_is_not_sent_as_if_it_were_complete() {
    for (parts, length) in [(&["ab", "cd"][..], 3), (&["ab"], 3), (&[], 3)] {
        let mut request = new(&Method::POST, "/");
        request.body(body(parts), Some(length));
        let (text, result) = sent(request, 1_000).await;
        assert!(matches!(result, Err(SendError::Body(_))), "{result:?}");
        assert!(!text.ends_with("cd") && text.len() < 70, "{text}");
    }
}

#[tokio::test]
async fn the_head_does_not_wait_for_the_body() {
    let (mut near, mut far) = duplex(1_000);
    let mut request = new(&Method::POST, "/v1.0/me?x=1");
    let waiting = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>());
    request.body(waiting.boxed(), None);
    assert!(request.is_unsent());
    request.start();
    assert!(std::future::poll_fn(|context| request.poll_send(Pin::new(&mut near), context)).now_or_never().is_none());
    assert!(!request.is_unsent() && !request.is_sent());
    let mut head = vec![0; 1_000];
    let length = far.read(&mut head).await.unwrap();
    assert_eq!(&head[..length], format!("{HEAD}transfer-encoding: chunked\r\n\r\n").as_bytes());
}

/// The rest of the head would become the beginning of the next request's.
#[tokio::test]
async fn a_response_before_the_end_of_the_head_ends_the_connection() {
    let (mut near, _far) = duplex(10);
    let mut request = new(&Method::GET, "/");
    request.start();
    assert!(std::future::poll_fn(|context| request.poll_send(Pin::new(&mut near), context)).now_or_never().is_none());
    let mut rest = request.take_rest().unwrap();
    let again = std::future::poll_fn(|context| rest.poll_send(Pin::new(&mut near), context)).now_or_never();
    assert!(again.is_some_and(|sent| sent.is_ok()) && !rest.is_sent());
}

/// It is sent on another connection.
#[tokio::test]
async fn a_request_of_which_nothing_was_written_is_whole() {
    for length in [Some(2), None] {
        let mut request = new(&Method::POST, "/");
        request.body(body(&["ab"]), length);
        let (mut near, far) = duplex(1_000);
        drop(far);
        request.start();
        let broken = std::future::poll_fn(|context| request.poll_send(Pin::new(&mut near), context)).await;
        assert!(matches!(broken, Err(SendError::Io(_))) && request.is_unsent() && !request.is_sent());
        let (text, result) = sent(request, 1_000).await;
        assert!(text.starts_with("POST / HTTP/1.1\r\n") && text.contains("ab") && result.is_ok(), "{text}");
    }
}
