//! What only forwarding mode does, over real sockets.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{sleep, timeout};

use super::support::{Recorder, body, get, has_line, open, read_message, scripted, send, stage, status, until};
use crate::host::Mode;

#[tokio::test]
async fn a_chunked_upload_is_500_and_never_reaches_the_handler() {
    let (_project, recorder, host) = stage(Mode::Forward, Recorder::ok().await).await;
    let response = send(&host, "POST /x", "Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!((status(&response), body(&response)), ("500", ""));
    assert!(recorder.requests().is_empty());
    assert!(has_line(&host, "Transfer-Encoding: chunked"));
}

#[tokio::test]
async fn a_response_is_sent_only_when_it_is_complete() {
    let (_project, host, _handler) = scripted(Mode::Forward, |mut stream| async move {
        read_message(&mut stream, false).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").await.unwrap();
        sleep(Duration::from_millis(300)).await;
        stream.write_all(b"def").await.unwrap();
    })
    .await;
    let mut client = open(host.addr()).await;
    let early = timeout(Duration::from_millis(150), client.readable()).await;
    assert!(early.is_err(), "the response was not buffered");
    assert_eq!(body(&read_message(&mut client, false).await.unwrap()), "abcdef");
}

#[tokio::test]
async fn a_client_that_disconnects_does_not_cancel_the_handlers_request() {
    let (_project, host, handler) = scripted(Mode::Forward, |mut stream| async move {
        read_message(&mut stream, false).await.unwrap();
        sleep(Duration::from_millis(200)).await;
        // Still open: nothing to read, and no end.
        timeout(Duration::from_millis(200), stream.readable()).await.is_err()
    })
    .await;
    let client = open(host.addr()).await;
    sleep(Duration::from_millis(100)).await;
    drop(client);
    assert!(handler.await.unwrap());
}

#[tokio::test]
async fn the_readiness_probe_has_only_a_host_and_does_not_follow_redirects() {
    let target = Recorder::ok().await;
    let location = format!("http://127.0.0.1:{}/idp", target.port);
    let redirect = Recorder::start(move |_, _| {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let (_project, recorder, host) = stage(Mode::Forward, redirect.await).await;
    assert_eq!(recorder.probes(), [format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n", recorder.port)]);
    assert!(target.probes().is_empty());
    assert_eq!(host.handler_pid(), None);
    assert_eq!(status(&get(&host, "/x").await), "302", "a redirect reaches the client");
    until("the line about readiness", || has_line(&host, "Worker process started and initialized.")).await;
}
