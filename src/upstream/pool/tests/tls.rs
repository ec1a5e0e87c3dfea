//! Connections with TLS. The API is rustls, which sends session tickets after the handshake (RFC 8446 section 4.6.1).

use devkit::web::tls::CertificateAuthority;
use http_body_util::StreamBody;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::server::TlsStream;

use super::*;

type Stream = BufReader<TlsStream<tokio::net::TcpStream>>;

/// A pool for an API that serves each of its connections so.
async fn pool_for<F>(serve: impl Fn(Stream) -> F + Send + 'static) -> Arc<Pool>
where
    F: Future<Output = ()> + Send + 'static,
{
    let authority = CertificateAuthority::new("api").unwrap();
    let acceptor = authority.acceptor(vec!["localhost".to_owned()]).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://localhost:{}/", listener.local_addr().unwrap().port()).parse().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            tokio::spawn(serve(BufReader::new(stream)));
        }
    });
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let tls = tls.with_root_certificates(roots).with_no_client_auth();
    Pool::new(tls, origin, Duration::from_secs(5), IDLE)
}

/// The length of the next request; `None` at the end of the connection.
async fn next_request(stream: &mut Stream) -> Option<usize> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap() == 0 {
            return None;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            return Some(length);
        }
    }
}

async fn respond(stream: &mut Stream, text: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
}

/// Counts the connections, and echoes bodies.
async fn echo() -> (Arc<Pool>, UnboundedReceiver<&'static str>) {
    let (events, receiver) = unbounded_channel();
    let pool = pool_for(move |mut stream| {
        let events = events.clone();
        async move {
            let _ = events.send("opened");
            while let Some(length) = next_request(&mut stream).await {
                let mut body = vec![0; length];
                stream.read_exact(&mut body).await.unwrap();
                respond(&mut stream, &format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")).await;
                stream.write_all(&body).await.unwrap();
                stream.flush().await.unwrap();
            }
            // Without close_notify the read before would have failed.
            let _ = events.send("closed");
        }
    });
    (pool.await, receiver)
}

#[tokio::test]
async fn a_connection_with_tls_is_used_again_and_closed_with_an_alert() {
    let (pool, mut events) = echo().await;
    for _ in 0..3 {
        let response = send(&pool, "GET", "/").await;
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "");
    }
    assert_eq!(events.recv().await, Some("opened"));
    assert!(events.try_recv().is_err(), "one connection");
    drop(pool);
    assert_eq!(timeout(Duration::from_secs(10), events.recv()).await, Ok(Some("closed")));
}

#[tokio::test]
async fn large_bodies_pass_in_both_directions() {
    const PART: &[u8] = &[b'x'; 70_000];
    let (pool, _events) = echo().await;
    for _ in 0..2 {
        let parts = (0..50).map(|_| Ok(Frame::data(Bytes::from_static(PART))));
        let mut request = request("POST", "/");
        request.body(StreamBody::new(futures_util::stream::iter(parts)).boxed(), Some(50 * PART.len() as u64));
        let response = pool.send(&mut request, Instant::now()).await.unwrap_or_else(|failure| panic!("{failure:?}"));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(body.len() == 50 * PART.len() && body.iter().all(|byte| *byte == b'x'));
    }
}

/// What was sealed into records must be written before the next part arrives.
#[tokio::test]
async fn a_part_of_a_body_arrives_while_the_next_one_is_awaited() {
    let (arrived, mut arrivals) = unbounded_channel();
    let pool = pool_for(move |mut stream| {
        let arrived = arrived.clone();
        async move {
            next_request(&mut stream).await.unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                let is_last = line == "0\r\n";
                let _ = arrived.send(line);
                if is_last {
                    break;
                }
            }
            respond(&mut stream, "HTTP/1.1 204 No Content\r\n\r\n").await;
        }
    });
    let pool = pool.await;
    let (sender, mut parts) = unbounded_channel();
    let body = StreamBody::new(futures_util::stream::poll_fn(move |context| parts.poll_recv(context)));
    let mut request = request("POST", "/");
    request.body(body.boxed(), None);
    let sent =
        tokio::spawn(async move { pool.send(&mut request, Instant::now()).await.is_ok_and(|it| it.status() == 204) });
    for part in ["one", "two"] {
        sender.send(Ok(Frame::data(Bytes::from_static(part.as_bytes())))).unwrap();
        assert_eq!([arrivals.recv().await.unwrap(), arrivals.recv().await.unwrap()], ["3\r\n", &format!("{part}\r\n")]);
    }
    drop(sender);
    assert!(sent.await.unwrap());
}

/// An attacker who cuts the connection cannot shorten a response whose length is not announced.
#[tokio::test]
async fn a_body_until_the_end_of_the_connection_must_end_with_an_alert() {
    for is_closed in [true, false] {
        let pool = pool_for(move |mut stream| async move {
            next_request(&mut stream).await.unwrap();
            respond(&mut stream, "HTTP/1.1 200 OK\r\n\r\nbody").await;
            if is_closed {
                stream.shutdown().await.unwrap();
            } else {
                AsyncWriteExt::shutdown(stream.get_mut().get_mut().0).await.unwrap();
            }
        });
        let pool = pool.await;
        let body = send(&pool, "GET", "/").await.into_body().collect().await;
        assert_eq!(body.is_ok(), is_closed, "{:?}", body.err());
    }
}
