//! Request bodies that are still being sent when the response begins.

use http_body_util::StreamBody;

use super::*;

/// The API has sent its whole response, and never reads the rest of the request.
#[tokio::test]
async fn a_request_that_is_not_sent_to_its_end_closes_its_connection() {
    let (address, notices) = api();
    let pool = pool(address);
    let endless = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, BodyError>>());
    let mut request = request("POST", "/early");
    request.body(endless.boxed(), Some(100));
    let response = pool.send(&mut request, Instant::now()).await.unwrap_or_else(|failure| panic!("{failure:?}"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "xx");
    let closed = tokio::task::spawn_blocking(move || [(); 2].map(|()| notices.recv().unwrap().1));
    assert_eq!(closed.await.unwrap(), ["POST /early", "closed"]);
}

/// Contract 10.13: bodies stream in both directions, also where the client reads a response only after it has sent its
/// request.
#[tokio::test]
async fn a_request_is_sent_to_its_end_while_its_response_is_not_read() {
    const LENGTH: usize = 20_000_000;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pool = pool(listener.local_addr().unwrap());
    let api = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            lines.read_line(&mut line).unwrap();
        }
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun").unwrap();
        lines.read_exact(&mut vec![0; LENGTH]).unwrap();
        write!(stream, "ended").unwrap();
    });
    let parts = (0..LENGTH / 10_000).map(|_| Ok(Frame::data(Bytes::from_static(&[b'x'; 10_000]))));
    let mut request = request("POST", "/");
    request.body(StreamBody::new(futures_util::stream::iter(parts)).boxed(), Some(LENGTH as u64));
    let response = pool.send(&mut request, Instant::now()).await.unwrap_or_else(|failure| panic!("{failure:?}"));
    tokio::task::spawn_blocking(|| api.join().unwrap()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "begunended");
}

/// The API must not take what it got for the whole.
#[tokio::test]
async fn a_request_body_that_fails_after_the_response_began_ends_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let pool = pool(listener.local_addr().unwrap());
    let api = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _ = stream.read(&mut [0; 1_000]).unwrap();
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nbegun").unwrap();
        let mut received = String::new();
        stream.read_to_string(&mut received).unwrap();
        received
    });
    let (sender, mut parts) = tokio::sync::mpsc::unbounded_channel();
    let body = StreamBody::new(futures_util::stream::poll_fn(move |context| parts.poll_recv(context)));
    let mut request = request("POST", "/");
    request.body(body.boxed(), None);
    let response = pool.send(&mut request, Instant::now()).await.unwrap_or_else(|failure| panic!("{failure:?}"));
    sender.send(Ok(Frame::data(Bytes::from_static(b"ab")))).unwrap();
    sender.send(Err(BodyError::from("broken"))).unwrap();
    let received = tokio::task::spawn_blocking(|| api.join().unwrap()).await.unwrap();
    assert!(received.ends_with("2\r\nab\r\n"), "{received}");
    assert!(response.into_body().collect().await.is_err());
}

/// It holds the client's request body, and the API would wait for the rest.
#[tokio::test]
async fn a_response_that_is_dropped_ends_its_request() {
    let (address, notices) = api();
    let pool = pool(address);
    let (sender, mut parts) = tokio::sync::mpsc::unbounded_channel::<Result<_, BodyError>>();
    let body = StreamBody::new(futures_util::stream::poll_fn(move |context| parts.poll_recv(context)));
    let mut request = request("POST", "/early-long");
    request.body(body.boxed(), Some(100));
    let response = pool.send(&mut request, Instant::now()).await.unwrap_or_else(|failure| panic!("{failure:?}"));
    assert!(!response.body().is_complete());
    // Its task runs once before.
    tokio::task::yield_now().await;
    drop(response);
    timeout(Duration::from_secs(5), sender.closed()).await.expect("the body is dropped");
    let closed = tokio::task::spawn_blocking(move || [(); 2].map(|()| notices.recv_timeout(Duration::from_secs(5))));
    assert_eq!(closed.await.unwrap().map(|notice| notice.unwrap().1), ["POST /early-long", "closed"]);
}
