use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{Chaos, Mode};
use crate::web::ANY_PORT;

/// A proxy in front of a server that sends back what it receives.
async fn echo() -> Chaos {
    let listener = TcpListener::bind(ANY_PORT).await.unwrap();
    let chaos = Chaos::start(listener.local_addr().unwrap()).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    chaos
}

/// Sends a byte; whether it comes back.
async fn echoes(stream: &mut TcpStream) -> Option<bool> {
    stream.write_all(b"x").await.ok()?;
    let mut byte = [0];
    match timeout(Duration::from_millis(300), stream.read(&mut byte)).await {
        Ok(read) => Some(read.ok()? == 1),
        Err(_) => None,
    }
}

#[tokio::test]
async fn connections_are_passed_on_stalled_cut_and_refused() {
    let chaos = echo().await;
    let mut stream = TcpStream::connect(chaos.addr()).await.unwrap();
    assert_eq!(echoes(&mut stream).await, Some(true));
    chaos.set(Mode::Stall).await;
    assert_eq!(echoes(&mut stream).await, None);
    chaos.set(Mode::Pass).await;
    let mut byte = [0];
    assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "what was held back follows");
    chaos.cut();
    assert_eq!(stream.read(&mut byte).await.unwrap_or(0), 0);
    let mut stream = TcpStream::connect(chaos.addr()).await.unwrap();
    assert_eq!(echoes(&mut stream).await, Some(true));
    chaos.set(Mode::Refuse).await;
    assert_eq!(stream.read(&mut byte).await.unwrap_or(0), 0);
    assert!(TcpStream::connect(chaos.addr()).await.is_err());
    chaos.set(Mode::Pass).await;
    let mut stream = TcpStream::connect(chaos.addr()).await.unwrap();
    assert_eq!(echoes(&mut stream).await, Some(true));
    chaos.freeze();
    assert_eq!(echoes(&mut stream).await, None);
    let mut stream = TcpStream::connect(chaos.addr()).await.unwrap();
    assert_eq!(echoes(&mut stream).await, Some(true));
    assert_eq!(chaos.accepted(), 4);
}

#[tokio::test]
async fn replies_are_lost_and_requests_held_back() {
    let chaos = echo().await;
    let mut stream = TcpStream::connect(chaos.addr()).await.unwrap();
    chaos.hold(vec!["x", "y"]);
    assert_eq!(echoes(&mut stream).await, Some(true), "without one of the texts");
    stream.write_all(b"yx").await.unwrap();
    chaos.holds().await;
    let mut bytes = [0; 2];
    assert!(timeout(Duration::from_millis(100), stream.read_exact(&mut bytes)).await.is_err());
    chaos.release();
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"yx");
    chaos.lose_and_hold(&["x", "z"]);
    assert_eq!(echoes(&mut stream).await, Some(true), "without one of the texts");
    assert!(!chaos.has_lost());
    stream.write_all(b"zx").await.unwrap();
    assert!(stream.read_exact(&mut bytes).await.is_err());
    assert!(chaos.has_lost());
    let mut stream = TcpStream::connect(chaos.addr()).await.unwrap();
    assert_eq!(echoes(&mut stream).await, Some(true));
    stream.write_all(b"zx").await.unwrap();
    chaos.holds().await;
    assert!(timeout(Duration::from_millis(100), stream.read_exact(&mut bytes)).await.is_err());
    chaos.release();
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"zx");
}
