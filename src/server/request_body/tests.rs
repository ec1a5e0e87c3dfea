//! Contract 11.12, over connections in memory with the deadlines of a socket, and with time passed in. The service
//! rejects every request without reading its body, as a request without a session is rejected.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::super::connection::{ConnState, TimeoutStream};
use super::{Discarding, RequestBody, ResponseBody, shared};

/// Contract 11.12.
const MAX_BYTES: u64 = 100 << 20;
const MAX_DISCARDING: usize = 128;

/// The client's end of a connection.
fn connection(discarding: &Discarding) -> DuplexStream {
    serve(discarding, |_unread| Full::new(Bytes::from_static(b"no")))
}

/// The same with another body of the response.
fn serve<B>(discarding: &Discarding, respond: impl Fn(RequestBody) -> B + Send + 'static) -> DuplexStream
where
    B: Body<Data = Bytes, Error = Infallible> + Send + Unpin + 'static,
{
    let (client, server) = duplex(256 * 1_024);
    let (state, discarding) = (ConnState::new(), discarding.clone());
    let server = TimeoutStream::new(server, Bytes::new(), state.clone());
    let service = service_fn(move |request: Request<Incoming>| {
        let active = state.begin_request(!request.body().is_end_stream());
        let (body, rest) = shared(request.into_body(), &discarding);
        let response = Response::new(ResponseBody::new(respond(body), rest, active));
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut http = http1::Builder::new();
    tokio::spawn(http.header_read_timeout(None).serve_connection(TokioIo::new(server), service));
    client
}

/// Sends the head of a request and reads its response.
async fn post(client: &mut DuplexStream, length: u64) {
    let head = format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let (mut response, mut part) = (Vec::new(), [0; 1_024]);
    while !response.ends_with(b"no") {
        let read = client.read(&mut part).await.unwrap();
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&part[..read]);
    }
    assert!(response.starts_with(b"HTTP/1.1 200 OK\r\n") && !response.windows(7).any(|part| part == b": close"));
}

/// Waits until the gateway closes a connection, and returns after how many seconds.
async fn closed_after(client: &mut DuplexStream) -> u64 {
    let begun = Instant::now();
    assert_eq!(client.read(&mut [0; 64]).await.unwrap(), 0);
    begun.elapsed().as_secs()
}

async fn send(client: &mut DuplexStream, bytes: u64) -> bool {
    let part = vec![b'x'; 128 * 1_024];
    let mut left = bytes;
    while left > 0 {
        let count = left.min(part.len() as u64);
        if client.write_all(&part[..count as usize]).await.is_err() {
            return false;
        }
        left -= count;
    }
    true
}

#[tokio::test(start_paused = true)]
async fn up_to_100_mib_are_discarded_and_the_connection_is_used_again() {
    let mut client = connection(&Discarding::default());
    for _ in 0..2 {
        post(&mut client, MAX_BYTES).await;
        assert!(send(&mut client, MAX_BYTES).await);
    }
    post(&mut client, 0).await;
}

#[tokio::test(start_paused = true)]
async fn past_100_mib_the_connection_is_closed() {
    let mut client = connection(&Discarding::default());
    post(&mut client, 2 * MAX_BYTES).await;
    assert!(send(&mut client, MAX_BYTES).await);
    send(&mut client, 1).await;
    assert_eq!(closed_after(&mut client).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_makes_no_progress_for_15_s_is_not_awaited() {
    let mut client = connection(&Discarding::default());
    post(&mut client, 1_000).await;
    sleep(Duration::from_secs(14)).await;
    client.write_all(b"x").await.unwrap();
    assert_eq!(closed_after(&mut client).await, 15);
}

#[tokio::test(start_paused = true)]
async fn discarding_ends_after_30_s() {
    let (mut reader, mut writer) = tokio::io::split(connection(&Discarding::default()));
    writer.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    let trickle = tokio::spawn(async move {
        while writer.write_all(b"x").await.is_ok() {
            sleep(Duration::from_secs(1)).await;
        }
    });
    let mut response = Vec::new();
    reader.read_to_end(&mut response).await.unwrap();
    assert!(response.ends_with(b"no"));
    assert_eq!(begun.elapsed().as_secs(), 30);
    trickle.abort();
}

#[tokio::test(start_paused = true)]
async fn of_128_connections_that_discard_a_further_one_closes_the_oldest() {
    let discarding = Discarding::default();
    let mut clients = Vec::new();
    for _ in 0..MAX_DISCARDING {
        let mut client = connection(&discarding);
        post(&mut client, 1_000).await;
        clients.push(client);
    }
    let other = connection(&discarding);
    assert!(client_is_open(&mut clients[0]).await);
    let mut further = other;
    post(&mut further, 1_000).await;
    assert_eq!(closed_after(&mut clients[0]).await, 0);
    for client in &mut clients[1..] {
        assert!(client_is_open(client).await);
    }
    // One that has ended makes room.
    assert!(send(&mut clients[1], 1_000).await);
    post(&mut clients[1], 0).await;
    let mut last = connection(&discarding);
    post(&mut last, 1_000).await;
    assert!(client_is_open(&mut clients[2]).await);
}

/// Whether nothing was closed by now: a read waits.
async fn client_is_open(client: &mut DuplexStream) -> bool {
    tokio::time::timeout(Duration::from_millis(1), client.read(&mut [0; 64])).await.is_err()
}

/// A response that does not end, of an API that has stopped reading.
struct Stalled {
    _unread: RequestBody,
}

impl Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_taken_from_an_api_that_has_read_nothing_for_15_s_since_its_response_head() {
    let mut client = serve(&Discarding::default(), |_unread| Stalled { _unread });
    let begun = Instant::now();
    client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n").await.unwrap();
    let sent = tokio::time::timeout(Duration::from_secs(60), send(&mut client, 1_000_000)).await;
    assert_eq!(sent, Ok(true));
    assert_eq!(begun.elapsed().as_secs(), 15, "until then the connection takes what fits its buffers");
}
