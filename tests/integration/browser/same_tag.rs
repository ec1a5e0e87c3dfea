//! An API that gives every user the same entity tag, so that only a browser whose cache was cleared gets its own data.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The user and status of each response.
type Responses = Arc<Mutex<Vec<(String, u16)>>>;

/// Responds with the name of the access token's user, and with 304 to every `If-None-Match`, until it is dropped.
pub struct SameTag {
    pub base: String,
    responses: Responses,
    server: JoinHandle<()>,
}

impl SameTag {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1.0", listener.local_addr().unwrap());
        let responses = Responses::default();
        let log = Arc::clone(&responses);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(respond(stream, Arc::clone(&log)));
            }
        });
        Self { base, responses, server }
    }

    /// The responses since the last call.
    pub fn take_responses(&self) -> Vec<(String, u16)> {
        std::mem::take(&mut self.responses.lock().unwrap())
    }
}

impl Drop for SameTag {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn respond(mut stream: TcpStream, log: Responses) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let user = user(header(&head, "authorization").unwrap());
    let (status, body) = if header(&head, "if-none-match").is_some() { (304, "") } else { (200, user.as_str()) };
    log.lock().unwrap().push((user.clone(), status));
    let length = if status == 200 { format!("Content-Length: {}\r\n", body.len()) } else { String::new() };
    let head =
        format!("HTTP/1.1 {status} x\r\nContent-Type: text/plain\r\nConnection: close\r\nETag: \"1\"\r\n{length}");
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// The user of a bearer token.
fn user(authorization: &str) -> String {
    let claims = URL_SAFE_NO_PAD.decode(authorization.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["upn"].as_str().unwrap().to_owned()
}
