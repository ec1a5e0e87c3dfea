//! A client that sends an exact number of calls.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::Result;

/// Longest time for all calls, which callgrind makes slow.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Sends a request so many times, over connections that are kept. Each has one call at a time.
///
/// # Errors
/// A response is not 200, or does not come.
pub(super) async fn send(port: u16, request: &Request<Empty<Bytes>>, calls: u32, connections: u32) -> Result<()> {
    let left = Arc::new(AtomicU32::new(calls));
    let mut running = JoinSet::new();
    for _ in 0..connections {
        running.spawn(connection(port, request.clone(), Arc::clone(&left)));
    }
    let all = async {
        while let Some(ended) = running.join_next().await {
            ended??;
        }
        Ok(())
    };
    timeout(TIMEOUT, all).await.map_err(|_| format!("{calls} calls took longer than {TIMEOUT:?}"))?
}

async fn connection(port: u16, request: Request<Empty<Bytes>>, left: Arc<AtomicU32>) -> Result<()> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the sender.
    tokio::spawn(connection);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        sender.ready().await?;
        let response = sender.send_request(request.clone()).await?;
        let status = response.status();
        response.into_body().collect().await?;
        if status != StatusCode::OK {
            return Err(format!("a call got {status}").into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// A server that counts requests by the ends of their heads, and gives this response.
    async fn server(response: &'static str) -> (u16, Arc<AtomicU32>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (port, requests) = (listener.local_addr().unwrap().port(), Arc::<AtomicU32>::default());
        let counted = Arc::clone(&requests);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut bytes = [0; 4_096];
                    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                        assert!(bytes[..length].ends_with(b"\r\n\r\n"));
                        counted.fetch_add(1, Ordering::Relaxed);
                        stream.write_all(response.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        (port, requests)
    }

    fn request() -> Request<Empty<Bytes>> {
        Request::get("/graph/me").header("host", "test").body(Empty::new()).unwrap()
    }

    #[tokio::test]
    async fn exactly_the_calls_are_sent() {
        let (port, requests) = server("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        send(port, &request(), 101, 16).await.unwrap();
        assert_eq!(requests.load(Ordering::Relaxed), 101);
    }

    #[tokio::test]
    async fn a_failed_call_is_an_error() {
        let (port, _) = server("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
        assert_eq!(send(port, &request(), 3, 1).await.unwrap_err().to_string(), "a call got 401 Unauthorized");
    }
}
