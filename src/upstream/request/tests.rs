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
        plain.header_with(&HeaderName::from_static("x"), |value| value.push(b'y'));
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

/// Takes everything, and notes how much at a time.
#[derive(Default)]
struct Writes(Vec<usize>);

impl AsyncWrite for Writes {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.push(bytes.len());
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Of two records the first may arrive although the write failed with the second.
#[tokio::test]
async fn the_first_write_is_one_tls_record() {
    let long = HeaderValue::from_bytes(&[b'x'; 20_000]).unwrap();
    for has_body in [false, true] {
        let mut request = new(&Method::POST, "/");
        request.header(&HeaderName::from_static("x"), &long);
        if has_body {
            request.body(body(&["ab"]), Some(2));
        }
        request.start();
        let mut writes = Writes::default();
        std::future::poll_fn(|context| request.poll_send(Pin::new(&mut writes), context)).await.unwrap();
        assert!(writes.0[0] == FIRST_WRITE && writes.0.iter().sum::<usize>() > 20_000, "{:?}", writes.0);
    }
}

/// A buffer that grows leaves a copy of the token in freed memory.
#[tokio::test]
async fn the_head_does_not_move_once_there_is_room_for_the_token() {
    for others in 0..200 {
        let mut request = new(&Method::POST, "/");
        (0..others).for_each(|_| request.header(&HeaderName::from_static("x"), &HeaderValue::from_static("y")));
        request.reserve("authorization: ".len() + 500);
        let before = request.head.as_ptr();
        request.header_with(&HeaderName::from_static("authorization"), |value| value.extend_from_slice(&[b'x'; 500]));
        request.start();
        // As the size of a chunk, which is written after it.
        request.head.extend_from_slice(b"ffffffffffffffff\r\n");
        assert_eq!(request.head.as_ptr(), before, "{others} other headers");
    }
}

/// Contract 11.12: what the client still sends is discarded once the API's connection is closed.
#[tokio::test]
async fn a_body_is_dropped_when_the_connection_breaks() {
    let (sender, mut parts) = tokio::sync::mpsc::unbounded_channel();
    let body = StreamBody::new(futures_util::stream::poll_fn(move |context| parts.poll_recv(context)));
    let mut request = new(&Method::POST, "/");
    request.body(body.boxed(), None);
    let (mut near, far) = duplex(1_000);
    request.start();
    assert!(std::future::poll_fn(|context| request.poll_send(Pin::new(&mut near), context)).now_or_never().is_none());
    drop(far);
    sender.send(Ok(Frame::data(Bytes::from_static(b"ab")))).unwrap();
    let broken = std::future::poll_fn(|context| request.poll_send(Pin::new(&mut near), context)).await;
    assert!(matches!(broken, Err(SendError::Io(_))) && sender.is_closed());
    assert!(request.take_rest().is_some_and(|rest| !rest.is_sent()), "the connection is not used again");
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
