use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf};

use super::super::{lock, response};
use super::*;

#[derive(Default)]
struct Hello(Core<()>);

impl Handler for Hello {
    type Target = ();

    fn core(&self) -> &Core<()> {
        &self.0
    }

    async fn respond(&self, _: Recorded) -> Result<Response<Body>, HangUp> {
        Ok(response::bytes(StatusCode::OK, "text/plain", "hello"))
    }
}

/// A connection that keeps what each write carries: over TCP without delay, that is a segment.
struct Segments(DuplexStream, Arc<Mutex<Vec<Vec<u8>>>>);

impl AsyncRead for Segments {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Segments {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        lock(&self.1).push(bytes.to_vec());
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

async fn segments(two_segments: bool) -> Vec<Vec<u8>> {
    let (mut client, server) = tokio::io::duplex(4_096);
    let segments = Arc::new(Mutex::new(Vec::new()));
    let server = serve_http(Segments(server, Arc::clone(&segments)), two_segments, Arc::new(Hello::default()));
    let request = async {
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    };
    tokio::join!(server, request);
    let segments = lock(&segments);
    segments.clone()
}

#[tokio::test]
async fn head_and_body_are_two_segments_if_configured() {
    let two = segments(true).await;
    assert_eq!(two.len(), 2);
    assert!(two[0].ends_with(b"\r\n\r\n"));
    assert_eq!(two[1], b"hello");
    let one = segments(false).await;
    assert_eq!(one.len(), 1);
    assert!(one[0].ends_with(b"\r\n\r\nhello"));
}
