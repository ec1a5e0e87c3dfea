//! A thousand connections that are idle, slow or half-open: calls and sign-ins of another user lose nothing, idle
//! connections serve a call until their deadline (contract 11.10), and no descriptor stays open.
//!
//! A client that vanishes without closing its connection is not among them: the kernel closes those of a process that
//! ends, and only a packet filter could suppress that on loopback.

use std::fs;
use std::io::{Error, ErrorKind};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::attacks::served;
use super::{ADA, figure};
use crate::app::{PATIENCE, TestApp};
use crate::raw::is_whole;

const GRACE: &str = "grace.hopper@contoso.example";
/// The gateway's deadlines for a head and without a request, and what a busy machine may add.
const HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(300);
const TOLERANCE: Duration = Duration::from_secs(8);
/// How long a connection is idle before it is used again.
const REUSED_AFTER: Duration = Duration::from_secs(200);
/// The pause between two bytes that are sent, and between two reads.
const PAUSE: Duration = Duration::from_secs(1);
/// Connections that are opened at once, and the pause after them.
const BURST: usize = 32;
const AFTER_A_BURST: Duration = Duration::from_millis(20);
/// More than the buffers of a connection, and than is read of it.
const LARGE: usize = 32 << 20;

/// What a client does with its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A call, then nothing until the gateway closes the connection.
    Idle,
    /// A call now and then.
    Reused,
    /// Connected, and nothing is sent.
    HalfOpen,
    /// A byte of the head per second.
    SlowHead,
    /// A response of which 1 KB is read per second.
    SlowReader,
    /// A byte of the body per second.
    SlowBody,
}

const KINDS: [Kind; 6] = [Kind::Idle, Kind::Reused, Kind::HalfOpen, Kind::SlowHead, Kind::SlowReader, Kind::SlowBody];

#[tokio::test(flavor = "multi_thread")]
async fn idle_slow_and_half_open_connections_take_nothing_from_others() {
    run(Duration::from_secs(4), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "ten minutes: cargo dev soak connections"]
async fn long() {
    run(Duration::from_secs(600), 167).await;
}

/// What all clients of a kind saw.
#[derive(Debug, Default)]
struct Seen {
    /// Connections that the gateway closed by a deadline, and calls with the expected response.
    closed: AtomicUsize,
    responses: AtomicUsize,
}

/// A client, its number among those of its kind, and when it ends.
#[derive(Debug, Clone)]
struct Client {
    kind: Kind,
    port: u16,
    cookie: Arc<str>,
    end: Instant,
    seen: Arc<Seen>,
}

async fn run(time: Duration, of_each_kind: usize) {
    cloakroom::os::raise_open_files().unwrap();
    let entry = json!({"timeouts": {"idle": "1s"}});
    let app = TestApp::builder().graph_entry(entry).set("LOG", "warn,json").start().await;
    let ada: Arc<str> = app.signed_in(ADA).await.cookie_header().into();
    let grace = app.signed_in(GRACE).await;
    assert_eq!(grace.clone().fetch("GET", "/graph/me").await.status, 200);
    let before = descriptors(&app);
    let end = Instant::now() + time;
    let seen = KINDS.map(|kind| (kind, Arc::<Seen>::default()));
    let mut clients = JoinSet::new();
    for (kind, seen) in &seen {
        for number in 0..of_each_kind {
            let (cookie, seen) = (Arc::clone(&ada), Arc::clone(seen));
            clients.spawn(Client { kind: *kind, port: app.port, cookie, end, seen }.run());
            // The kernel queues only so many for the gateway.
            if number % BURST == 0 {
                sleep(AFTER_A_BURST).await;
            }
        }
    }
    sleep(time / 4).await;
    let during = descriptors(&app);
    let served = served(&app, &grace, end - Instant::now()).await;
    let mut failures = served.failures;
    while let Some(ended) = clients.join_next().await {
        failures.extend(ended.unwrap().err());
    }
    let after = descriptors_after(&app, before).await;
    figure("connections of clients", KINDS.len() * of_each_kind, "-");
    figure("calls and sign-ins of another user that succeed", format!("{}, {}", served.calls, served.sign_ins), "all");
    figure("the longest of them", format!("{:.2?}", served.longest), "-");
    for (kind, seen) in &seen {
        let (closed, responses) = (seen.closed.load(Ordering::Relaxed), seen.responses.load(Ordering::Relaxed));
        figure(&format!("{kind:?}: responses, connections closed on time"), format!("{responses}, {closed}"), "all");
        let is_seen = match kind {
            Kind::Idle | Kind::Reused | Kind::SlowReader => responses > 0,
            Kind::HalfOpen => closed > 0 || time <= IDLE + TOLERANCE,
            Kind::SlowHead => closed > 0 || time <= HEAD + TOLERANCE,
            Kind::SlowBody => responses > 0 || time <= IDLE,
        };
        assert!(is_seen, "{kind:?}: {seen:?}");
    }
    figure("open descriptors before, during and after", format!("{before}, {during}, {after}"), "as before");
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    assert!(served.calls > 0 && served.sign_ins > 0);
    assert!(during >= before + 5 * of_each_kind, "{during} open descriptors: the connections are not open");
    assert!(after <= before, "{after} open descriptors, {before} before");
}

/// How many descriptors the gateway has open.
fn descriptors(app: &TestApp) -> usize {
    fs::read_dir(format!("/proc/{}/fd", app.pid())).unwrap().count()
}

/// How many are still open when the gateway has noticed that its clients are gone.
async fn descriptors_after(app: &TestApp, before: usize) -> usize {
    let begun = Instant::now();
    loop {
        let open = descriptors(app);
        if open <= before || begun.elapsed() > PATIENCE {
            return open;
        }
        sleep(Duration::from_millis(100)).await;
    }
}

impl Client {
    async fn run(self) -> Result<(), String> {
        while Instant::now() < self.end {
            let connected = self.connect().await;
            let once = match connected {
                Ok(stream) => self.once(stream).await,
                Err(error) => Err(error),
            };
            once.map_err(|error| format!("{:?}: {error}", self.kind))?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<TcpStream, Error> {
        let socket = TcpSocket::new_v4()?;
        // So that little of what is not read is buffered.
        socket.set_recv_buffer_size(4_096)?;
        socket.connect((Ipv4Addr::LOCALHOST, self.port).into()).await
    }

    /// Uses one connection until it is closed, or to the end of the test.
    async fn once(&self, mut stream: TcpStream) -> Result<(), Error> {
        match self.kind {
            Kind::Idle => {
                self.call(&mut stream).await?;
                if self.is_closed_after(&mut stream, IDLE, self.end).await? {
                    return Ok(());
                }
                self.call(&mut stream).await
            }
            Kind::Reused => {
                while Instant::now() < self.end {
                    self.call(&mut stream).await?;
                    let again = self.end.min(Instant::now() + REUSED_AFTER);
                    if self.is_closed_after(&mut stream, IDLE, again).await? {
                        return Err(Error::other("closed before its deadline"));
                    }
                }
                self.call(&mut stream).await
            }
            Kind::HalfOpen => self.is_closed_after(&mut stream, IDLE, self.end).await.map(|_| ()),
            Kind::SlowHead => self.slow_head(&mut stream).await,
            Kind::SlowReader => self.slow_reader(&mut stream).await,
            Kind::SlowBody => self.slow_body(&mut stream).await,
        }
    }

    /// The request line of a call, and its headers but for the last line.
    fn head(&self, line: &str) -> String {
        let (cookie, guards) = (&self.cookie, "X-CSRF: 1\r\nSec-Fetch-Site: same-origin");
        format!("{line} HTTP/1.1\r\nHost: localhost\r\n{guards}\r\nCookie: {cookie}\r\n")
    }

    /// A request without a session, since a user has fewer places than there are connections.
    async fn call(&self, stream: &mut TcpStream) -> Result<(), Error> {
        stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
        let mut response = Vec::new();
        while !is_whole(&response) {
            if timeout(PATIENCE, stream.read_buf(&mut response)).await?? == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, "closed instead of a response"));
            }
        }
        if !response.starts_with(b"HTTP/1.1 200") {
            return Err(Error::other(String::from_utf8_lossy(&response).into_owned()));
        }
        self.seen.responses.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Waits until the gateway closes a connection, which it must do at the deadline, or until this time.
    async fn is_closed_after(&self, stream: &mut TcpStream, deadline: Duration, until: Instant) -> Result<bool, Error> {
        let since = Instant::now();
        let read = timeout_at(until, stream.read(&mut [0])).await;
        let elapsed = since.elapsed();
        match read {
            Err(_) if elapsed <= deadline + TOLERANCE => Ok(false),
            Ok(Ok(0) | Err(_)) if elapsed + PAUSE >= deadline && elapsed <= deadline + TOLERANCE => {
                self.seen.closed.fetch_add(1, Ordering::Relaxed);
                Ok(true)
            }
            read => Err(Error::other(format!("{read:?} after {elapsed:.1?}, and the deadline is {deadline:?}"))),
        }
    }

    async fn slow_head(&self, stream: &mut TcpStream) -> Result<(), Error> {
        let begun = Instant::now();
        let head = self.head("GET /graph/me");
        for byte in head.as_bytes() {
            let sent = stream.write_all(&[*byte]).await;
            if Instant::now() >= self.end {
                return Ok(());
            }
            let closed = sent.is_err() || timeout(PAUSE, stream.read(&mut [0; 1_024])).await.is_ok();
            if closed {
                break;
            }
            if begun.elapsed() > HEAD + TOLERANCE {
                return Err(Error::other(format!("a head may take {:.1?}", begun.elapsed())));
            }
        }
        if begun.elapsed() + PAUSE < HEAD {
            return Err(Error::other(format!("closed after {:.1?} of its head", begun.elapsed())));
        }
        self.seen.closed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn slow_reader(&self, stream: &mut TcpStream) -> Result<(), Error> {
        let request = self.head(&format!("GET /graph/bytes?n={LARGE}")) + "\r\n";
        stream.write_all(request.as_bytes()).await?;
        let (mut part, mut has_begun) = ([0; 1_024], false);
        while Instant::now() < self.end {
            match timeout_at(self.end, stream.read(&mut part)).await {
                Ok(Ok(1..)) if !has_begun => {
                    self.begins_a_response(&part)?;
                    has_begun = true;
                    if !part.starts_with(b"HTTP/1.1 200") {
                        break;
                    }
                }
                Ok(Ok(0) | Err(_)) if !has_begun => return Err(Error::other("closed without a response")),
                // The end of the call.
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) | Err(_) => {}
            }
            sleep(PAUSE).await;
        }
        sleep(PAUSE).await;
        Ok(())
    }

    async fn slow_body(&self, stream: &mut TcpStream) -> Result<(), Error> {
        let request = self.head("POST /graph/echo/slow") + "Content-Length: 100000\r\n\r\n";
        stream.write_all(request.as_bytes()).await?;
        while Instant::now() < self.end {
            stream.write_all(b"a").await?;
            // It ends with a response, which is a rejection or that of a deadline.
            let mut part = [0; 1_024];
            if let Ok(read) = timeout(PAUSE, stream.read(&mut part)).await {
                read?;
                self.begins_a_response(&part)?;
                break;
            }
        }
        sleep(PAUSE).await;
        Ok(())
    }

    /// Counts a response, which a connection must have before it is closed (contract 11.8).
    fn begins_a_response(&self, part: &[u8]) -> Result<(), Error> {
        if !part.starts_with(b"HTTP/1.1 ") {
            return Err(Error::other(format!("no response: {:?}", String::from_utf8_lossy(part).get(..40))));
        }
        self.seen.responses.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
