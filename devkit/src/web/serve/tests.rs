use std::pin::Pin;
use std::task::{Context, Poll};

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadBuf};

use super::*;

#[derive(Default)]
struct Hello {
    log: Log,
}

impl Handler for Hello {
    fn log(&self) -> &Log {
        &self.log
    }

    async fn answer(&self, _: Call) -> Result<Response<Body>, HangUp> {
        Ok(super::super::reply::bytes(StatusCode::OK, "text/plain", "hello"))
    }
}

/// A connection that notes what each write carries: over TCP without delay, that is a segment.
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

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        self.poll_write(cx, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

async fn segments(wire: Wire) -> Vec<Vec<u8>> {
    let (mut client, server) = tokio::io::duplex(4_096);
    let segments = Arc::new(Mutex::new(Vec::new()));
    let server = converse(Segments(server, Arc::clone(&segments)), wire, Arc::new(Hello::default()));
    let ask = async {
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        client.read_to_end(&mut Vec::new()).await.unwrap();
    };
    tokio::join!(server, ask);
    let segments = lock(&segments);
    segments.clone()
}

#[tokio::test]
async fn head_and_body_are_two_segments_only_when_asked() {
    let two = segments(Wire { two_segments: true }).await;
    assert_eq!(two.len(), 2);
    assert!(two[0].ends_with(b"\r\n\r\n"));
    assert_eq!(two[1], b"hello");
    let one = segments(Wire::default()).await;
    assert_eq!(one.len(), 1);
    assert!(one[0].ends_with(b"\r\n\r\nhello"));
}
