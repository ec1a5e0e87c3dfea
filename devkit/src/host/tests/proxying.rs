//! What only proxying mode does, over real sockets.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::support::{
    PATIENCE, Project, Recorder, body, exchange, get, has_line, ok, open, read_message, read_until, scripted, send,
    stage, started, status, until, values,
};
use crate::host::Mode;
use crate::host::script_host::reserve_port;

/// Responds to probes, and closes every other connection after its request.
async fn silent() -> Recorder {
    Recorder::start(|number, _| if number == usize::MAX { ok("") } else { Vec::new() }).await
}

#[tokio::test]
async fn a_chunked_upload_arrives() {
    let (_project, recorder, host) = stage(Mode::Proxy, Recorder::ok().await).await;
    for method in ["POST", "GET"] {
        let lines = "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n";
        send(&host, &format!("{method} /x"), lines, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").await;
        let seen = recorder.last();
        assert_eq!(values(&seen, "transfer-encoding"), ["chunked"]);
        assert!(values(&seen, "content-length").is_empty());
        let text: String = body(&seen).split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(text, "abcde", "{method}");
    }
}

#[tokio::test]
async fn an_early_response_arrives_when_the_client_has_ended_its_upload() {
    let (_project, host, _handler) = scripted(Mode::Proxy, |mut stream| async move {
        stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\n\r\nearly").await.unwrap();
        read_until(&mut stream, "second").await;
    })
    .await;
    let mut client = TcpStream::connect(host.addr()).await.unwrap();
    client.write_all(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();
    let before = timeout(Duration::from_millis(200), client.read(&mut [0; 16])).await;
    assert!(before.is_err(), "the response came before the upload had ended");
    client.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut client, "early").await;
}

#[tokio::test]
async fn a_client_that_disconnects_cancels_the_handlers_request() {
    for before_the_response in [true, false] {
        let (reached, streaming) = oneshot::channel();
        let (_project, host, cancelled) = scripted(Mode::Proxy, move |mut stream| async move {
            read_message(&mut stream, false).await.unwrap();
            if !before_the_response {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
            }
            reached.send(()).unwrap();
            matches!(timeout(PATIENCE, stream.read(&mut [0; 16])).await, Ok(Ok(0) | Err(_)))
        })
        .await;
        let mut client = open(host.addr()).await;
        streaming.await.unwrap();
        if !before_the_response {
            read_until(&mut client, "one").await;
        }
        drop(client);
        assert!(cancelled.await.unwrap(), "before the response: {before_the_response}");
    }
}

#[tokio::test]
async fn a_response_ends_the_repetition() {
    let recorder = Recorder::start(|number, _| if matches!(number, 0 | 1) { Vec::new() } else { ok("third") }).await;
    let (_project, recorder, host) = stage(Mode::Proxy, recorder).await;
    assert_eq!(body(&get(&host, "/x").await), "third");
    assert_eq!(recorder.requests().len(), 3);
}

#[tokio::test]
async fn a_body_that_was_read_from_is_sent_once() {
    let (_project, recorder, host) = stage(Mode::Proxy, silent().await).await;
    assert_eq!(status(&send(&host, "POST /x", "", "abc").await), "500");
    assert_eq!(recorder.requests().len(), 1);
}

#[tokio::test]
async fn a_body_waits_for_a_handler_that_refuses_connections() {
    let project = Project::with_all();
    let reserved = reserve_port().unwrap();
    let address = reserved.local_addr().unwrap();
    let listener = TcpListener::bind(address).await.unwrap();
    let probed = tokio::spawn(async move {
        let mut probe = listener.accept().await.unwrap().0;
        probe.write_all(&ok("")).await.unwrap();
    });
    let host = started(project.options(Mode::Proxy), address.port()).await;
    probed.await.unwrap();
    // A process that another test is just starting may still hold the listener for a moment.
    until("a refused connection", || std::net::TcpStream::connect(address).is_err()).await;
    let late = tokio::spawn(async move {
        sleep(Duration::from_millis(300)).await;
        let listener = reserved.listen(1).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_message(&mut stream, false).await.unwrap();
        stream.write_all(&ok("late")).await.unwrap();
        request
    });
    assert_eq!(body(&send(&host, "POST /x", "", "abc").await), "late");
    assert_eq!(body(&late.await.unwrap()), "abc");
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_repeated() {
    let recorder = Recorder::start(|number, _| match number {
        usize::MAX => ok(""),
        _ => b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc".to_vec(),
    });
    let (_project, recorder, host) = stage(Mode::Proxy, recorder.await).await;
    let mut client = open(host.addr()).await;
    read_until(&mut client, "abc").await;
    // The recorder waits for the next request on its connection until the host is gone.
    drop(host);
    assert_eq!(recorder.requests().len(), 1);
}

#[tokio::test]
async fn a_readiness_probe_follows_redirects() {
    let target = Recorder::ok().await;
    let location = format!("http://127.0.0.1:{}/idp?x=1", target.port);
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let recorder = Recorder::start(move |_, _| redirect.clone().into_bytes()).await;
    let (_project, recorder, host) = stage(Mode::Proxy, recorder).await;
    assert_eq!(target.probes().len(), 1);
    assert!(target.probes()[0].starts_with("GET /idp?x=1 HTTP/1.1\r\n"));
    assert!(has_line(&host, &format!("readiness ping was redirected to {location}")));
    // The health ping of the platform's scale controller does the same again.
    exchange(&host, "GET /admin/host/ping HTTP/1.1\r\nHost: a\r\nUser-Agent: HttpScaleManager/1\r\n\r\n").await;
    assert_eq!((recorder.probes().len(), target.probes().len()), (2, 2));
}
