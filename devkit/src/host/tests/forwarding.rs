//! Forwarding mode over real sockets.

use std::time::Duration;

use serde_json::json;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::sleep,
};

use super::{
    support::{Project, Recorder, body, exchange, get, has_line, ok, read_message, started, status, until, values},
    tables::{PATHS, QUERIES},
};
use crate::host::{Mode, Options};

#[tokio::test]
async fn paths_and_queries_arrive_as_measured() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = project.before(&recorder, Mode::Forward).await;
    for (raw, _, expected, _) in PATHS {
        assert_eq!(status(&get(host.addr(), &format!("{raw}?q=1")).await), "200");
        assert_eq!(recorder.last().lines().next(), Some(format!("GET {expected}?q=1 HTTP/1.1").as_str()), "{raw}");
    }
    for (raw, expected) in QUERIES {
        get(host.addr(), &format!("/x?{raw}")).await;
        assert_eq!(recorder.last().lines().next(), Some(format!("GET /x?{expected} HTTP/1.1").as_str()));
    }
    get(host.addr(), "/x?").await;
    assert_eq!(recorder.last().lines().next(), Some("GET /x HTTP/1.1"));
}

#[tokio::test]
async fn headers_arrive_as_measured() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = project.before(&recorder, Mode::Forward).await;
    let request = "PROPFIND /x HTTP/1.1\r\nHost: app.example\r\nUser-Agent: Mozilla/5.0 (X11) Gecko/1\r\nX-A: 1\r\n\
        X-A: 2\r\nConnection: keep-alive\r\nUpgrade: h2c\r\nX-Forwarded-For: 6.6.6.6\r\nLast-Modified: now\r\n\
        X-Azure-Functions-InvocationId: spoof\r\nContent-Encoding: gzip\r\nContent-Type: text/plain\r\n\
        Content-Length: 3\r\n\r\nabc";
    exchange(host.addr(), request).await;
    let seen = recorder.last();
    assert!(seen.starts_with("PROPFIND /x HTTP/1.1\r\n"));
    assert_eq!(body(&seen), "abc");
    let invocation = values(&seen, "x-azure-functions-invocationid")[0].strip_prefix("spoof, ").unwrap();
    assert_eq!(invocation.len(), 36);
    for (name, expected) in [
        ("host", &["app.example"][..]),
        ("user-agent", &["Mozilla/5.0 (X11) Gecko/1 Azure-Functions-Host/4.1037.0"]),
        ("x-azure-functions-hostversion", &["4.1037.0"]),
        ("x-a", &["1, 2"]),
        ("connection", &["keep-alive"]),
        ("upgrade", &["h2c"]),
        ("x-forwarded-for", &["6.6.6.6"]),
        ("x-forwarded-host", &[]),
        ("content-type", &["text/plain"]),
        ("content-length", &["3"]),
        ("content-encoding", &[]),
        ("last-modified", &[]),
    ] {
        assert_eq!(values(&seen, name), expected, "{name}");
    }
}

#[tokio::test]
async fn a_type_without_a_body_is_lost() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = project.before(&recorder, Mode::Forward).await;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(status(&exchange(host.addr(), request).await), "200");
    assert!(values(&recorder.last(), "content-type").is_empty());
}

#[tokio::test]
async fn a_chunked_upload_never_reaches_the_handler() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = project.before(&recorder, Mode::Forward).await;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let response = exchange(host.addr(), request).await;
    assert_eq!((status(&response), body(&response)), ("500", ""));
    assert!(recorder.requests().is_empty());
    assert!(has_line(&host, "Transfer-Encoding: chunked"));
}

#[tokio::test]
async fn responses_are_buffered_and_keep_their_lines() {
    let (project, recorder) = (Project::with_all(), Recorder::start(|_, _| {
        b"HTTP/1.1 299 Quite Fine\r\nSet-Cookie: a=1\r\nVary: A\r\nSet-Cookie: b=2\r\nVary: B\r\nX-Frame-Options: OWN\r\n\
          Location: ../there\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n\
          3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n".to_vec()
    }).await);
    let headers = json!({"X-Frame-Options": "DENY", "X-Added": "yes"});
    project.configure(
        &json!({"description": {"defaultExecutablePath": "handler"}}),
        &json!({"routePrefix": "", "customHeaders": headers}),
    );
    let host = project.before(&recorder, Mode::Forward).await;
    let response = get(host.addr(), "/x").await;
    assert!(response.starts_with("HTTP/1.1 299 Quite Fine\r\n"), "{response}");
    assert_eq!(body(&response), "abcdef");
    for (name, expected) in [
        ("set-cookie", &["a=1", "b=2"][..]),
        ("vary", &["A", "B"]),
        ("x-frame-options", &["OWN"]),
        ("x-added", &["yes"]),
        ("location", &["../there"]),
        ("content-encoding", &["gzip"]),
        ("content-length", &["6"]),
        ("transfer-encoding", &[]),
        ("server", &["Kestrel"]),
    ] {
        assert_eq!(values(&response, name), expected, "{name}");
    }
}

#[tokio::test]
async fn nothing_comes_before_the_handler_has_finished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_message(&mut stream, false).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc").await.unwrap();
            sleep(Duration::from_millis(300)).await;
            let _ = stream.write_all(b"def").await;
        }
    });
    let project = Project::with_all();
    let host = started(project.options(Mode::Forward), port).await;
    let mut client = TcpStream::connect(host.addr()).await.unwrap();
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(150), client.readable()).await;
    assert!(early.is_err(), "the response was not buffered");
    assert_eq!(body(&read_message(&mut client, false).await.unwrap()), "abcdef");
}

#[tokio::test]
async fn bodiless_responses_keep_the_handlers_length() {
    let recorder = Recorder::start(|_, request| {
        let head = if request.starts_with("HEAD") { "200 OK" } else { "304 Not Modified" };
        format!("HTTP/1.1 {head}\r\nContent-Length: 10\r\n\r\n").into_bytes()
    });
    let (project, recorder) = (Project::with_all(), recorder.await);
    let host = project.before(&recorder, Mode::Forward).await;
    let response = exchange(host.addr(), "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!((status(&response), values(&response, "content-length")), ("200", vec!["10"]));
    let response = get(host.addr(), "/x").await;
    assert_eq!((status(&response), values(&response, "content-length")), ("304", vec!["10"]));
}

#[tokio::test]
async fn an_unanswered_request_is_500_and_not_repeated() {
    let recorder = Recorder::start(|number, _| if number == usize::MAX { ok("") } else { Vec::new() }).await;
    let project = Project::with_all();
    let host = project.before(&recorder, Mode::Forward).await;
    let response = get(host.addr(), "/x").await;
    assert_eq!((status(&response), body(&response)), ("500", ""));
    assert_eq!(recorder.requests().len(), 1);
}

#[tokio::test]
async fn a_reused_connection_gives_a_get_a_second_chance() {
    for (method, expected_status, expected_count) in [("GET", "200", 3), ("DELETE", "500", 2)] {
        let recorder = Recorder::start(|number, _| if number == 1 { Vec::new() } else { ok("") }).await;
        let project = Project::with_all();
        let host = project.before(&recorder, Mode::Forward).await;
        get(host.addr(), "/x").await;
        // The connection returns to the pool by a task of its own.
        sleep(Duration::from_millis(100)).await;
        let response = exchange(host.addr(), &format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!((status(&response), recorder.requests().len()), (expected_status, expected_count), "{method}");
    }
}

#[tokio::test]
async fn a_client_that_leaves_does_not_cancel_the_handler() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let project = Project::with_all();
    let accepting = tokio::spawn(async move {
        let mut probe = listener.accept().await.unwrap().0;
        probe.write_all(&ok("")).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        read_message(&mut stream, false).await.unwrap();
        sleep(Duration::from_millis(200)).await;
        // Still open: nothing to read, and no end.
        tokio::time::timeout(Duration::from_millis(200), stream.readable()).await.is_err()
    });
    let host = started(project.options(Mode::Forward), port).await;
    let mut client = TcpStream::connect(host.addr()).await.unwrap();
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    drop(client);
    assert!(accepting.await.unwrap());
}

#[tokio::test]
async fn too_long_a_body_is_413() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let mut options = project.options(Mode::Forward);
    options.env.insert("FUNCTIONS_REQUEST_BODY_SIZE_LIMIT".to_owned(), "4".to_owned());
    let host = started(options, recorder.port).await;
    let post = |body: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    assert_eq!(status(&exchange(host.addr(), &post("1234")).await), "200");
    assert_eq!(status(&exchange(host.addr(), &post("12345")).await), "413");
    assert_eq!(recorder.requests().len(), 1);
}

#[tokio::test]
async fn the_readiness_probe_has_only_a_host_and_follows_nothing() {
    let target = Recorder::ok().await;
    let location = format!("http://127.0.0.1:{}/idp", target.port);
    let recorder = Recorder::start(move |_, _| {
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let (project, recorder) = (Project::with_all(), recorder.await);
    let host = project.before(&recorder, Mode::Forward).await;
    assert_eq!(recorder.probes(), [format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n", recorder.port)]);
    assert!(target.probes().is_empty());
    assert_eq!(host.handler_port(), recorder.port);
    // A redirect is handed on, not followed.
    assert_eq!(status(&get(host.addr(), "/x").await), "302");
    until("the line that tells of readiness", || has_line(&host, "Worker process started and initialized.")).await;
}

#[tokio::test]
async fn azures_front_end_can_be_played() {
    let (project, recorder) = (Project::with_all(), Recorder::ok().await);
    let host = started(Options { front_end_azure: true, ..project.options(Mode::Forward) }, recorder.port).await;
    get(host.addr(), "/a%2541").await;
    let seen = recorder.last();
    assert!(seen.starts_with("GET /aA "));
    assert_eq!(values(&seen, "x-original-url"), ["/a%2541"]);
    assert_eq!(values(&seen, "x-forwarded-for"), ["1.2.3.4:56789"]);
}
