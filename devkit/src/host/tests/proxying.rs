//! Proxying mode over real sockets.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    time::{sleep, timeout},
};

use super::{
    support::{
        PATIENCE, Project, Recorder, body, exchange, get, has_line, ok, read_message, started, status, until, values,
    },
    tables::PATHS,
};
use crate::host::{Mode, Options, reserve_port};

/// Answers probes, and closes every other connection after its request.
async fn silent() -> Recorder {
    Recorder::start(|number, _| if number == usize::MAX { ok("") } else { Vec::new() }).await
}

#[tokio::test]
async fn paths_and_queries_arrive_as_measured() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = project.before(&recorder, Mode::Proxy).await;
    for (raw, _, _, expected) in PATHS {
        assert_eq!(status(&get(host.addr(), &format!("{raw}?a=1&A='+%zz&flag")).await), "200");
        let line = format!("GET {expected}?a=1&A='+%zz&flag HTTP/1.1");
        assert_eq!(recorder.last().lines().next(), Some(line.as_str()), "{raw}");
    }
}

#[tokio::test]
async fn headers_arrive_as_measured() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = project.before(&recorder, Mode::Proxy).await;
    let request = "POST /x HTTP/1.1\r\nHost: app.example\r\nUser-Agent: Mozilla/5.0\r\nX-A: 1\r\nX-A: 2\r\nTE: trailers\r\n\
        Connection: keep-alive\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Prefix: /p\r\nForwarded: for=6.6.6.6\r\n\
        X-Ms-Invocation-Id: spoof\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nabc";
    exchange(host.addr(), request).await;
    let seen = recorder.last();
    assert_eq!(body(&seen), "abc");
    assert_eq!(values(&seen, "x-ms-invocation-id"), values(&seen, "x-azure-functions-invocationid"));
    assert_eq!(values(&seen, "x-ms-invocation-id")[0].len(), 36);
    let handler = format!("127.0.0.1:{}", recorder.port);
    for (name, expected) in [
        ("host", &[handler.as_str()][..]),
        ("user-agent", &["Mozilla/5.0"]),
        ("x-azure-functions-hostversion", &["4.1037.0"]),
        ("x-a", &["1, 2"]),
        ("x-forwarded-for", &["127.0.0.1"]),
        ("x-forwarded-host", &["app.example"]),
        ("x-forwarded-proto", &["http"]),
        ("content-type", &["text/plain"]),
        ("content-length", &["3"]),
        ("content-encoding", &["gzip"]),
        ("connection", &[]),
        ("te", &[]),
        ("x-forwarded-prefix", &[]),
        ("forwarded", &[]),
        ("transfer-encoding", &[]),
    ] {
        assert_eq!(values(&seen, name), expected, "{name}");
    }
}

#[tokio::test]
async fn responses_keep_their_lines_and_lose_hop_by_hop_headers() {
    let recorder = Recorder::start(|_, _| {
        b"HTTP/1.1 299 Quite Fine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\nAlt-Svc: h3\r\n\
          Location: ../there\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc"
            .to_vec()
    });
    let (project, recorder) = (Project::with_all(), recorder.await);
    let host = project.before(&recorder, Mode::Proxy).await;
    let response = get(host.addr(), "/x").await;
    assert!(response.starts_with("HTTP/1.1 299 Quite Fine\r\n"), "{response}");
    assert_eq!(body(&response), "abc");
    for (name, expected) in [
        ("set-cookie", &["a=1", "b=2"][..]),
        ("location", &["../there"]),
        ("content-encoding", &["gzip"]),
        ("content-length", &["3"]),
        ("keep-alive", &[]),
        ("alt-svc", &[]),
    ] {
        assert_eq!(values(&response, name), expected, "{name}");
    }
}

#[tokio::test]
async fn a_chunked_upload_arrives() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = project.before(&recorder, Mode::Proxy).await;
    for method in ["POST", "GET"] {
        let head =
            format!("{method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n");
        exchange(host.addr(), &format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")).await;
        let seen = recorder.last();
        assert_eq!(values(&seen, "transfer-encoding"), ["chunked"]);
        assert!(values(&seen, "content-length").is_empty());
        let text: String = body(&seen).split("\r\n").skip(1).step_by(2).collect();
        assert_eq!(text, "abcde", "{method}");
    }
}

#[tokio::test]
async fn too_long_a_chunked_upload_is_413() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let mut options = project.options(Mode::Proxy);
    options.env.insert("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT".to_owned(), "4".to_owned());
    let host = started(options, recorder.port).await;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    assert_eq!(status(&exchange(host.addr(), request).await), "413");
}

#[tokio::test]
async fn both_directions_stream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let mut probe = listener.accept().await.unwrap().0;
        probe.write_all(&ok("")).await.unwrap();
        // Each chunk of the answer is written only after the chunk of the request that asks for it.
        let (mut stream, _) = listener.accept().await.unwrap();
        read_until(&mut stream, "first").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
        read_until(&mut stream, "second").await;
        stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    });
    let project = Project::with_all();
    let host = started(project.options(Mode::Proxy), port).await;
    let mut client = TcpStream::connect(host.addr()).await.unwrap();
    client.write_all(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n").await.unwrap();
    read_until(&mut client, "one").await;
    client.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut client, "two").await;
}

async fn read_until(stream: &mut TcpStream, text: &str) {
    let mut seen = String::new();
    while !seen.contains(text) {
        let mut buffer = [0; 1024];
        let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(length > 0, "{text} never came");
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_handlers_request() {
    for early in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (answered, streaming) = oneshot::channel();
        let cancelled = tokio::spawn(async move {
            let mut probe = listener.accept().await.unwrap().0;
            probe.write_all(&ok("")).await.unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            read_message(&mut stream, false).await.unwrap();
            if !early {
                stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
            }
            answered.send(()).unwrap();
            matches!(timeout(PATIENCE, stream.read(&mut [0; 16])).await, Ok(Ok(0) | Err(_)))
        });
        let project = Project::with_all();
        let host = started(project.options(Mode::Proxy), port).await;
        let mut client = TcpStream::connect(host.addr()).await.unwrap();
        client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        streaming.await.unwrap();
        if !early {
            read_until(&mut client, "one").await;
        }
        drop(client);
        assert!(cancelled.await.unwrap(), "early: {early}");
    }
}

#[tokio::test]
async fn unanswered_requests_are_sent_ten_times() {
    for method in ["GET", "DELETE", "POST"] {
        let (project, recorder) = (Project::with_all(), silent().await);
        let host = project.before(&recorder, Mode::Proxy).await;
        let start = Instant::now();
        let request = format!("{method} /auth/callback?code=1 HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = exchange(host.addr(), &request).await;
        assert_eq!((status(&response), body(&response)), ("500", ""));
        assert!(start.elapsed() >= Duration::from_millis(1850));
        assert_eq!(recorder.requests().len(), 10, "{method}");
        let ids: std::collections::BTreeSet<_> =
            recorder.requests().iter().map(|request| values(request, "x-ms-invocation-id").concat()).collect();
        assert_eq!(ids.len(), 1, "all attempts belong to one invocation");
    }
}

#[tokio::test]
async fn a_retry_that_is_answered_is_the_last() {
    let recorder = Recorder::start(|number, _| if matches!(number, 0 | 1) { Vec::new() } else { ok("third") }).await;
    let project = Project::with_all();
    let host = project.before(&recorder, Mode::Proxy).await;
    assert_eq!(body(&get(host.addr(), "/x").await), "third");
    assert_eq!(recorder.requests().len(), 3);
}

#[tokio::test]
async fn a_touched_body_is_sent_once() {
    let (project, recorder) = (Project::with_all(), silent().await);
    let host = project.before(&recorder, Mode::Proxy).await;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(status(&exchange(host.addr(), request).await), "500");
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
    until("a refusal", || std::net::TcpStream::connect(address).is_err()).await;
    let late = tokio::spawn(async move {
        sleep(Duration::from_millis(300)).await;
        let listener = reserved.listen(1).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_message(&mut stream, false).await.unwrap();
        stream.write_all(&ok("late")).await.unwrap();
        request
    });
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(body(&exchange(host.addr(), request).await), "late");
    assert_eq!(body(&late.await.unwrap()), "abc");
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off_for_the_client() {
    let recorder = Recorder::start(|number, _| match number {
        usize::MAX => ok(""),
        _ => b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc".to_vec(),
    });
    let (project, recorder) = (Project::with_all(), recorder.await);
    let host = project.before(&recorder, Mode::Proxy).await;
    let mut client = TcpStream::connect(host.addr()).await.unwrap();
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
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
    let project = Project::with_all();
    let host = project.before(&recorder, Mode::Proxy).await;
    assert_eq!(target.probes().len(), 1);
    assert!(target.probes()[0].starts_with("GET /idp?x=1 HTTP/1.1\r\n"));
    assert!(has_line(&host, &format!("readiness ping was redirected to {location}")));
    // The health ping of the platform's scale controller does the same again.
    exchange(host.addr(), "GET /admin/host/ping HTTP/1.1\r\nHost: a\r\nUser-Agent: HttpScaleManager/1\r\n\r\n").await;
    assert_eq!((recorder.probes().len(), target.probes().len()), (2, 2));
}

#[tokio::test]
async fn behind_azures_front_end_the_scheme_is_https() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = started(Options { front_end_azure: true, ..project.options(Mode::Proxy) }, recorder.port).await;
    get(host.addr(), "/x").await;
    assert_eq!(values(&recorder.last(), "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&recorder.last(), "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&recorder.last(), "disguised-host"), ["app.example"]);
}
