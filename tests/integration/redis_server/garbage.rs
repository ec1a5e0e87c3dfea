//! Servers that do not speak the protocol, or not to this client: no reply of them becomes a result (contract 15.12).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use cloakroom::session::store::StoreUnavailable;
use devkit::chaos::Chaos;
use devkit::redis_server::{Options, RedisServer};

use super::{client, get, recovered};

/// What `HELLO` replies, in short.
const HELLO: &[u8] = b"*4\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n";

/// A server that sends the first text at the first command of a connection, the second at the next, and so on.
fn fake(replies: &'static [&'static [u8]], then_closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                for reply in replies {
                    if !stream.read(&mut buffer).is_ok_and(|read| read > 0) || stream.write_all(reply).is_err() {
                        return;
                    }
                }
                if !then_closes {
                    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
                }
            });
        }
    });
    addr
}

#[tokio::test]
async fn what_is_not_a_reply_of_redis_is_an_outage_that_ends() {
    let server = RedisServer::start(&Options::default()).unwrap();
    server.command(&["SET", "a", "1"]).unwrap();
    let cases: [&'static [&'static [u8]]; 18] = [
        &[],
        &[b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"],
        &[b"SSH-2.0-OpenSSH_9.2\r\n"],
        &[b"\x16\x03\x01\x02\x00\x01"],
        &[b"\0\0\0\0\0\0\0\0"],
        &[b"+OK\r\n"],
        &[b"$-1\r\n"],
        &[b"*0\r\n"],
        &[b"*2\r\n$4\r\nrole\r\n$8\r\nsentinel\r\n"],
        &[b"-ERR unknown command 'HELLO', with args beginning with: '2'\r\n"],
        &[HELLO, b"garbage\r\n"],
        &[HELLO, b"$5\r\nabc"],
        &[HELLO, b"$x\r\nabc\r\n"],
        &[HELLO, b"$9223372036854775807\r\n"],
        &[HELLO, b"*1000000000\r\n"],
        &[HELLO, b"%1000000000\r\n"],
        &[HELLO, b"-MOVED 1\r\n"],
        &[HELLO, b"-MOVED 1 127.0.0.1:1\r\n"],
    ];
    // Many of them are waited for up to a deadline, so all run at the same time.
    let server = &server;
    let cases = cases.into_iter().flat_map(|replies| [(replies, false), (replies, true)]);
    let cases = cases.map(|(replies, then_closes)| async move {
        let chaos = Chaos::start(fake(replies, then_closes)).await.unwrap();
        let client = client(chaos.port());
        assert_eq!(get(&client, "a").await, Err(StoreUnavailable), "{replies:?}");
        chaos.retarget(server.addr());
        chaos.cut();
        assert_eq!(recovered(async || get(&client, "a").await).await.as_deref(), Some("1"), "{replies:?}");
    });
    futures_util::future::join_all(cases).await;
}

/// Deep nesting is not followed without limit.
#[tokio::test]
async fn deeply_nested_replies_are_rejected() {
    static NESTED: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| b"*1\r\n".repeat(100_000));
    static REPLIES: std::sync::LazyLock<[&[u8]; 2]> = std::sync::LazyLock::new(|| [HELLO, NESTED.as_slice()]);
    let client = client(fake(&*REPLIES, false).port());
    assert_eq!(get(&client, "a").await, Err(StoreUnavailable));
}

/// An error reply that is longer than it should be, with what must not get into a log.
#[tokio::test]
async fn an_error_reply_is_described_by_its_code_only() {
    for (reply, expected) in [
        (b"-OOM command not allowed, CANARY\r\n".as_slice(), "OOM: the server has no memory left"),
        (b"-CANARY-x y\r\n", "other: an error reply"),
        (b"-NOPERM this user has no permissions to run the 'CANARY x' command\r\n", "NOPERM: the ACL does not permit"),
        (
            b"-NOPERM User ada has no permissions to run the 'cluster|slots' command\r\n",
            "rule that is needed: +cluster|slots",
        ),
    ] {
        let replies: &'static [&'static [u8]] = Box::leak(Box::new([HELLO, reply]));
        let problem = client(fake(replies, false).port()).check().await.unwrap_err();
        assert!(problem.contains(expected), "{problem}");
        assert!(!problem.contains("CANARY"), "{problem}");
    }
}
