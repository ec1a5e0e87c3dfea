//! The client: one request on a fresh connection, read byte for byte.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::vectors::{Vector, body_value, bytes, latin1, sorted};
use crate::host::tests::support::PATIENCE;

/// Reads messages from a connection.
pub(super) struct Reader<R> {
    pub(super) stream: R,
    pub(super) buffer: Vec<u8>,
}

/// The first line and the headers of a message.
pub(super) struct Head {
    pub(super) line: String,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.iter();
        lines.find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl<R: AsyncReadExt + Unpin> Reader<R> {
    /// Whether more bytes came.
    pub(super) async fn more(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        match self.stream.read(&mut chunk).await {
            Ok(length) if length > 0 => {
                self.buffer.extend_from_slice(&chunk[..length]);
                true
            }
            _ => false,
        }
    }

    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let mut searched = 0;
        loop {
            let found = self.buffer[searched..].windows(end.len()).position(|window| window == end);
            if let Some(at) = found {
                let taken: Vec<u8> = self.buffer.drain(..searched + at + end.len()).collect();
                return Some(taken[..searched + at].to_vec());
            }
            searched = self.buffer.len().saturating_sub(end.len());
            if !self.more().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// `None` when the connection ends first.
    pub(super) async fn head(&mut self) -> Option<Head> {
        let head = latin1(&self.until(b"\r\n\r\n").await?);
        let mut lines = head.split("\r\n");
        let line = lines.next()?.to_owned();
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            (name.to_owned(), value.trim_matches([' ', '\t']).to_owned())
        };
        Some(Head { line, headers: lines.map(pair).collect() })
    }

    pub(super) async fn chunked(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = latin1(&self.until(b"\r\n").await?);
            let length = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
            if length == 0 {
                while !self.until(b"\r\n").await?.is_empty() {}
                return Some(body);
            }
            body.extend(self.exactly(length).await?);
            self.exactly(2).await?;
        }
    }

    /// A body with a length or chunks; `None` when it is cut off.
    pub(super) async fn body(&mut self, head: &Head) -> Option<Vec<u8>> {
        if head.value("transfer-encoding").is_some() {
            return self.chunked().await;
        }
        self.exactly(head.value("content-length").map_or(0, |length| length.parse().unwrap_or(0))).await
    }
}

/// Sends a vector's request, and returns what came back.
pub(super) async fn exchange(address: SocketAddr, vector: &Vector) -> Value {
    let (read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
    let sent = [vector.request.as_slice(), vector.body.as_slice()].concat();
    let writer = tokio::spawn(async move {
        // The host may close before it has read everything.
        let _ = write.write_all(&sent).await;
        write
    });
    let mut reader = Reader { stream: read, buffer: Vec::new() };
    let method_is_head = vector.request.starts_with(b"HEAD ");
    let answer = timeout(PATIENCE, async {
        let with_date = vector.client.to_string().contains("\"date\"");
        let (mut answer, upgraded) = answer(&mut reader, method_is_head, with_date).await;
        if upgraded {
            let mut write = writer.await.unwrap();
            let mut talk = Vec::new();
            for (say, expected) in &vector.talk {
                write.write_all(&bytes(say)).await.unwrap();
                let received = timeout(Duration::from_secs(4), reader.exactly(expected.len())).await;
                talk.push(json!([say, latin1(&received.ok().flatten().unwrap_or_default())]));
            }
            answer["talk"] = talk.into();
        }
        answer
    });
    answer.await.unwrap_or_else(|_| json!({"error": "timeout"}))
}

/// The final response, and whether it is a 101.
async fn answer<R: AsyncReadExt + Unpin>(
    reader: &mut Reader<R>,
    method_is_head: bool,
    with_date: bool,
) -> (Value, bool) {
    let head = loop {
        match reader.head().await {
            None => return (json!({"error": "closed"}), false),
            Some(head) if head.line.starts_with("HTTP/1.1 100") => {}
            Some(head) => break head,
        }
    };
    let mut words = head.line.splitn(3, ' ').skip(1);
    let status: u16 = words.next().and_then(|status| status.parse().ok()).unwrap_or(0);
    let reason = words.next().unwrap_or_default();
    let framed = head.value("transfer-encoding").is_some() || head.value("content-length").is_some();
    let body = if method_is_head || matches!(status, 101 | 204 | 304) {
        Some(Vec::new())
    } else if framed {
        reader.body(&head).await
    } else {
        while reader.more().await {}
        Some(std::mem::take(&mut reader.buffer))
    };
    let lines =
        head.headers.iter().filter(|(name, _)| with_date || !name.eq_ignore_ascii_case("date")).cloned().collect();
    let body = body.map_or(json!("cut off"), |body| body_value(&body));
    (json!({"status": status, "reason": reason, "headers": sorted(lines), "body": body}), status == 101)
}
