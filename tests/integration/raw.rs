//! Raw bytes over a socket, and the response.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::visitor::Response;

/// A reused connection for requests whose bytes are sent unchanged; reopened when the server has closed it.
pub struct Wire {
    port: u16,
    stream: Option<TcpStream>,
}

impl Wire {
    pub fn to(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// Sends a request and reads its response, or to the end of the connection.
    pub fn exchange(&mut self, request: &[u8]) -> String {
        let kept = self.stream.is_some();
        let response = self.attempt(request);
        // A reused connection may have been closed meanwhile: without a response the request was not processed.
        if response.is_empty() && kept { self.attempt(request) } else { response }
    }

    fn attempt(&mut self, request: &[u8]) -> String {
        let mut stream = self.stream.take().unwrap_or_else(|| open(self.port));
        let (response, ended) = match stream.write_all(request) {
            Ok(()) => read_response(&mut stream, is_whole),
            Err(_) => (Vec::new(), true),
        };
        let response = String::from_utf8_lossy(&response).into_owned();
        if !ended && !response.to_lowercase().contains("\r\nconnection: close\r\n") {
            self.stream = Some(stream);
        }
        response
    }
}

/// Sends a request and reads its response, or to the end of the connection.
pub fn exchange(port: u16, request: &str) -> String {
    let mut stream = open(port);
    stream.write_all(request.as_bytes()).unwrap();
    String::from_utf8_lossy(&read_response(&mut stream, is_whole).0).into_owned()
}

/// Sends a request on a connection and reads its response, or to the end of the connection.
pub fn exchange_on(stream: &mut TcpStream, request: &[u8]) -> String {
    match stream.write_all(request) {
        Ok(()) => String::from_utf8_lossy(&read_response(stream, is_whole).0).into_owned(),
        Err(_) => String::new(),
    }
}

/// Sends bytes and reads until the server closes the connection.
pub fn exchange_to_the_end(port: u16, bytes: &[u8]) -> String {
    let mut stream = open(port);
    // The server may reject early and close while the request is still being sent.
    let _ = stream.write_all(bytes);
    let (response, ended) = read_response(&mut stream, |_| false);
    let response = String::from_utf8_lossy(&response).into_owned();
    assert!(ended, "the connection stays open after {response:?}");
    response
}

/// A new connection.
pub fn open(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// Reads until `enough` or the end of the connection; returns whether it has ended.
pub fn read_response(stream: &mut TcpStream, enough: impl Fn(&[u8]) -> bool) -> (Vec<u8>, bool) {
    let mut response = Vec::new();
    let mut part = [0; 16 * 1_024];
    while !enough(&response) {
        // A reset after the response counts as the end.
        match stream.read(&mut part) {
            Ok(read) if read > 0 => response.extend_from_slice(&part[..read]),
            // With a timeout, a signal ends the call (signal(7)), for example SIGCHLD when any test ends its gateway.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (response, false),
            _ => return (response, true),
        }
    }
    (response, false)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_signal_does_not_end_a_read() {
    let mut children = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (report, thread) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        let own = std::fs::read_link("/proc/thread-self").unwrap();
        report.send(own.file_name().unwrap().to_owned()).unwrap();
        read_response(&mut open(port), |_| false).0
    });
    let mut peer = listener.accept().unwrap().0;
    let thread = thread.recv().unwrap();
    for _ in 0..20 {
        let sent = std::process::Command::new("kill").arg("-CHLD").arg(&thread).status().unwrap();
        assert!(sent.success());
        children.recv().await;
    }
    peer.write_all(b"x").unwrap();
    drop(peer);
    assert_eq!(reading.join().unwrap(), b"x");
}

/// Whether a response is complete by its own framing.
pub fn is_whole(response: &[u8]) -> bool {
    let Some(end) = memchr::memmem::find(response, b"\r\n\r\n") else { return false };
    let (head, body) = (String::from_utf8_lossy(&response[..end]).to_lowercase(), &response[end + 4..]);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    match length {
        Some(length) => body.len() >= length,
        None => head.contains("transfer-encoding: chunked") && body.ends_with(b"0\r\n\r\n"),
    }
}

/// The status of a response, or 0 for a connection that was closed without one.
pub fn status(response: &str) -> u16 {
    response.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// A connection that is reused for many requests, and reopened when the server has closed it.
pub struct Connection {
    port: u16,
    stream: Option<tokio::net::TcpStream>,
}

impl Connection {
    /// Connects with the first request.
    pub fn to(port: u16) -> Self {
        Self { port, stream: None }
    }

    /// A `GET` with these headers.
    pub async fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> io::Result<Response> {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        let kept = self.stream.is_some();
        match self.exchange(request.as_bytes()).await {
            Err(_) if kept => self.exchange(request.as_bytes()).await,
            outcome => outcome,
        }
    }

    /// Keeps no stream when it fails or is dropped.
    async fn exchange(&mut self, request: &[u8]) -> io::Result<Response> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await?,
        };
        stream.set_nodelay(true)?;
        stream.write_all(request).await?;
        let mut bytes = Vec::with_capacity(4_096);
        loop {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(response) = response(&bytes) {
                self.stream = Some(stream);
                return Ok(response);
            }
        }
    }
}

/// The response in these bytes, if it is complete.
fn response(bytes: &[u8]) -> Option<Response> {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).unwrap();
    let body = &bytes[end + 4..];
    let pairs = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    let response = Response { status: status(head), headers, body: body.to_vec() };
    let is_whole = match response.header("content-length") {
        Some(length) => body.len() >= length.parse().unwrap(),
        None => response.header("transfer-encoding").is_none() || body.ends_with(b"0\r\n\r\n"),
    };
    is_whole.then_some(response)
}
