//! Attacks on the places of an instance (contract 10.20, 3.9b): during each, every call and every sign-in of
//! another user succeeds.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{ADA, figure};
use crate::app::TestApp;
use crate::visitor::Visitor;

const GRACE: &str = "grace.hopper@contoso.example";
/// Attackers of each kind: more than there are places.
const ATTACKERS: usize = 95;
/// A file of the SPA that is larger than the buffers of a connection.
const LARGE: u64 = 32 << 20;

/// What one attacker does with a connection, over and over.
#[derive(Debug, Clone, Copy)]
enum Attack {
    /// A form of which a byte arrives now and then.
    SlowPosts,
    /// 64 KiB of parameters.
    Parameters,
    /// A file of the SPA that its client does not read.
    UnreadFiles,
    /// Responses of an API that are not read, to two sessions of one user.
    UnreadResponses,
    /// Slow calls of two sessions of one user.
    SlowCalls,
}

const ATTACKS: [(Attack, &str); 5] = [
    (Attack::SlowPosts, "95 slow posts"),
    (Attack::Parameters, "64 KiB of parameters, 95 at a time"),
    (Attack::UnreadFiles, "95 readers of files that stall"),
    (Attack::UnreadResponses, "95 readers of responses that stall, one user with two sessions"),
    (Attack::SlowCalls, "95 slow calls, one user with two sessions"),
];

#[tokio::test(flavor = "multi_thread")]
async fn attacks_on_places_leave_other_users_theirs() {
    run(Duration::from_millis(1_500)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "three minutes: cargo dev soak attacks"]
async fn long() {
    run(Duration::from_secs(30)).await;
}

/// What the other user did during an attack.
#[derive(Debug, Default)]
pub(super) struct Served {
    pub(super) calls: usize,
    pub(super) sign_ins: usize,
    pub(super) longest: Duration,
    pub(super) failures: Vec<String>,
}

async fn run(time: Duration) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("index.html"), "<!doctype html>").unwrap();
    std::fs::File::create(folder.path().join("large.bin")).unwrap().set_len(LARGE).unwrap();
    let app = TestApp::builder().set("SPA", folder.path().to_str().unwrap()).set("LOG", "warn,json").start().await;
    let sessions = [app.signed_in(ADA).await, app.signed_in(ADA).await];
    let grace = app.signed_in(GRACE).await;
    // So that its entity tag is known.
    assert_eq!(app.visitor().send("HEAD", "/large.bin", &[], "").await.status, 200);
    let mut failures = Vec::new();
    for (attack, what) in ATTACKS {
        let mut attackers = JoinSet::new();
        for number in 0..ATTACKERS {
            let cookie: Arc<str> = sessions[number % 2].cookie_header().into();
            attackers.spawn(attacker(attack, app.port, cookie));
        }
        sleep(Duration::from_millis(500)).await;
        let served = served(&app, &grace, time).await;
        attackers.shutdown().await;
        let done = format!("{} calls, {} sign-ins", served.calls, served.sign_ins);
        figure(&format!("{what}: of another user succeed"), done, "all");
        figure(&format!("{what}: the longest of them"), format!("{:.2?}", served.longest), "-");
        assert!(served.calls > 0 && served.sign_ins > 0, "{what}: {served:?}");
        failures.extend(served.failures.into_iter().map(|failure| format!("{what}: {failure}")));
        // Calls that the attackers left behind end here.
        wait_until_free(&sessions[0]).await;
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// The calls and sign-ins of another user, one after the other.
pub(super) async fn served(app: &TestApp, grace: &Visitor, time: Duration) -> Served {
    let (mut served, mut grace) = (Served::default(), grace.clone());
    let end = Instant::now() + time;
    while Instant::now() < end {
        for _ in 0..10 {
            let begun = Instant::now();
            let response = grace.fetch("GET", "/graph/me").await;
            served.longest = served.longest.max(begun.elapsed());
            served.calls += 1;
            if response.status != 200 {
                served.failures.push(format!("a call: {} {}", response.status, response.text()));
            }
            sleep(Duration::from_millis(10)).await;
        }
        let begun = Instant::now();
        let mut browser = app.visitor();
        let login = browser.navigate("/auth/login").await;
        served.sign_ins += 1;
        match login.header("location") {
            Some(address) => {
                let callback = app.provider.sign_in(address, GRACE).unwrap().location();
                let back = browser.come_back(&callback).await;
                if back.header("location") != Some("/") {
                    served.failures.push(format!("a callback: {} {:?}", back.status, back.header("location")));
                }
            }
            None => served.failures.push(format!("a sign-in: {} {}", login.status, login.text())),
        }
        served.longest = served.longest.max(begun.elapsed());
    }
    served
}

async fn wait_until_free(visitor: &Visitor) {
    let begun = Instant::now();
    while visitor.clone().fetch("GET", "/graph/me").await.status != 200 {
        assert!(begun.elapsed() < crate::app::PATIENCE, "the attack continues");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Attacks until it is dropped, each time on a connection of its own.
async fn attacker(attack: Attack, port: u16, cookie: Arc<str>) {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        // So that little of what is not read is buffered.
        socket.set_recv_buffer_size(4_096).unwrap();
        let Ok(mut stream) = socket.connect((Ipv4Addr::LOCALHOST, port).into()).await else { continue };
        if attack_once(attack, &mut stream, &cookie).await.is_err() {
            // A rejected attacker comes back, but a machine without time for others proves nothing.
            sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn attack_once(attack: Attack, stream: &mut TcpStream, cookie: &str) -> std::io::Result<()> {
    let form = "POST /auth/logout HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let call = format!("HTTP/1.1\r\nHost: x\r\nX-CSRF: 1\r\nSec-Fetch-Site: same-origin\r\nCookie: {cookie}\r\n\r\n");
    match attack {
        Attack::SlowPosts => {
            stream.write_all(format!("{form}Content-Length: 10\r\n\r\n").as_bytes()).await?;
            loop {
                stream.write_all(b"a").await?;
                // It ends when the gateway responds.
                let mut response = [0; 1_024];
                if timeout(Duration::from_secs(1), stream.read(&mut response)).await.is_ok() {
                    return Err(std::io::ErrorKind::ConnectionReset.into());
                }
            }
        }
        Attack::Parameters => {
            let body = "a=b&".repeat(16 * 1_024);
            stream.write_all(format!("{form}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
            responded(stream).await
        }
        Attack::UnreadFiles => {
            stream.write_all(b"GET /large.bin HTTP/1.1\r\nHost: x\r\n\r\n").await?;
            closed(stream).await
        }
        Attack::UnreadResponses => {
            stream.write_all(format!("GET /graph/bytes?n={LARGE} {call}").as_bytes()).await?;
            closed(stream).await
        }
        Attack::SlowCalls => {
            stream.write_all(format!("GET /graph/slow?first=5000&total=5000 {call}").as_bytes()).await?;
            responded(stream).await
        }
    }
}

/// Waits for a response; the next attack has a connection of its own.
async fn responded(stream: &mut TcpStream) -> std::io::Result<()> {
    let _length = stream.read(&mut [0; 1_024]).await?;
    Err(std::io::ErrorKind::ConnectionReset.into())
}

/// Waits without reading, and looks now and then whether the response was a short one, a rejection.
async fn closed(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut head = [0; 16];
    sleep(Duration::from_millis(500)).await;
    stream.peek(&mut head).await?;
    if head.starts_with(b"HTTP/1.1 200") {
        sleep(Duration::from_secs(60)).await;
    }
    Err(std::io::ErrorKind::ConnectionReset.into())
}
