//! The handler: answers one vector as the recording says, and records the requests.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use regex_lite::Regex;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::client::{Head, Reader};
use super::vectors::{Answer, body_value, sorted};

/// Between the parts of a slow response.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(Default)]
struct Seen {
    pings: usize,
    requests: usize,
    first: Value,
}

pub(super) struct ReplayHandler {
    pub(super) port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl ReplayHandler {
    pub(super) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Seen>>::default();
        let records = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, port, answer.clone(), Arc::clone(&records)));
            }
        });
        Self { port, seen }
    }

    pub(super) fn forget_pings(&self) {
        self.seen.lock().unwrap().pings = 0;
    }

    /// Waits a while for that many requests: one whose response comes early may still be arriving.
    pub(super) async fn wait_for_requests(&self, number: u64) {
        for _ in 0..100 {
            if self.seen.lock().unwrap().requests as u64 >= number {
                return;
            }
            sleep(PAUSE / 10).await;
        }
    }

    /// In the form of the recording.
    pub(super) fn seen(&self, with_pings: bool) -> Value {
        let seen = self.seen.lock().unwrap();
        let mut value = json!({"seen": seen.requests});
        if let (Some(value), Some(first)) = (value.as_object_mut(), seen.first.as_object()) {
            value.extend(first.clone());
        }
        if with_pings {
            value["pings"] = seen.pings.into();
        }
        value
    }
}

async fn connection(stream: TcpStream, port: u16, answer: Answer, seen: Arc<Mutex<Seen>>) {
    let mut reader = Reader { stream, buffer: Vec::new() };
    while let Some(head) = reader.head().await {
        if head.value("x-azure-functions-invocationid").is_none() {
            seen.lock().unwrap().pings += 1;
            let _ = reader.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            continue;
        }
        let early = answer.before.starts_with("answers before");
        if head.value("expect").is_some() && answer.before.is_empty() {
            let _ = reader.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        }
        if early {
            let _ = reader.stream.write_all(&answer.raw).await;
        }
        let closes_unread = early && answer.then.starts_with("closes");
        let body = if closes_unread {
            json!({"unread": true})
        } else {
            let Some(body) = reader.body(&head).await else { return };
            body_value(&body)
        };
        {
            let mut seen = seen.lock().unwrap();
            seen.requests += 1;
            if seen.first.is_null() {
                seen.first = normalised(&head, &body, port);
            }
        }
        if closes_unread || !early && !respond(&mut reader, &head, &answer).await {
            return;
        }
    }
}

/// Whether the connection lives on.
async fn respond(reader: &mut Reader<TcpStream>, head: &Head, answer: &Answer) -> bool {
    if answer.behaviour.starts_with("resets") {
        // An RST instead of a FIN.
        let _ = reader.stream.set_zero_linger();
        return false;
    }
    if answer.raw.is_empty() && answer.behaviour.is_empty() {
        // The recorded handler got no such request.
        return reader.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.is_ok();
    }
    if !answer.behaviour.is_empty() {
        return false;
    }
    let end = answer.raw.windows(4).position(|window| window == b"\r\n\r\n").map_or(answer.raw.len(), |at| at + 4);
    let sent = if head.line.starts_with("HEAD ") { &answer.raw[..end] } else { &answer.raw };
    if reader.stream.write_all(sent).await.is_err() {
        return false;
    }
    for part in &answer.parts {
        let text =
            if answer.then.contains("chunks") { format!("{:x}\r\n{part}\r\n", part.len()) } else { part.clone() };
        let _ = reader.stream.write_all(text.as_bytes()).await;
        sleep(PAUSE).await;
    }
    if answer.then.contains("chunks") {
        let _ = reader.stream.write_all(b"0\r\n\r\n").await;
    }
    if answer.then.contains("echo") {
        while reader.buffer.len() < 2 && reader.more().await {}
        let piece = std::mem::take(&mut reader.buffer);
        let _ = reader.stream.write_all(&[b"echo ", piece.as_slice()].concat()).await;
        sleep(PAUSE).await;
    }
    answer.then != "close"
}

/// A request with placeholders for what is new each time.
fn normalised(head: &Head, body: &Value, port: u16) -> Value {
    let mut words = head.line.splitn(3, ' ');
    let mut request = json!({"method": words.next(), "target": words.next()});
    request["headers"] = sorted(head.headers.clone());
    request["body"] = body.clone();
    let text =
        request.to_string().replace(&format!("127.0.0.1:{port}"), "<handler>").replace("4.1037.0.0", "<version>");
    let text = replaced(&text, "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<uuid>");
    let text = replaced(&text, r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", "<time>");
    let mut request: Value = serde_json::from_str(&text).unwrap();
    for line in request["headers"].as_array_mut().unwrap() {
        if line[0] == "x-forwarded-for" && line[1] == "127.0.0.1" {
            line[1] = "<client>".into();
        }
    }
    request
}

fn replaced(text: &str, pattern: &str, placeholder: &str) -> String {
    Regex::new(pattern).unwrap().replace_all(text, placeholder).into_owned()
}
