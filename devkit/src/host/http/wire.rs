//! Responses of the handler, byte for byte: more lenient and stricter than hyper, as .NET is.

use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use hyper::body::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::mpsc;

/// Of a response head.
const MAX_HEAD: usize = 64 * 1024;

/// One connection to the handler.
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    buffer: Vec<u8>,
}

/// The status line and the header lines of a response.
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) reason: Vec<u8>,
    pub(super) lines: Vec<(HeaderName, Vec<u8>)>,
    http10: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

impl Head {
    fn values(&self, name: &str) -> impl Iterator<Item = String> {
        let lines = self.lines.iter().filter(move |(other, _)| other.as_str() == name);
        lines.map(|(_, value)| String::from_utf8_lossy(value).trim().to_ascii_lowercase())
    }

    pub(super) fn has_chunks(&self) -> bool {
        self.values("transfer-encoding").any(|value| value.ends_with("chunked"))
    }

    pub(super) fn framing(&self, method: &Method) -> Framing {
        if *method == Method::HEAD || self.status.is_informational() || matches!(self.status.as_u16(), 204 | 304) {
            return Framing::Length(0);
        }
        if self.has_chunks() {
            return Framing::Chunked;
        }
        let length = self.values("content-length").find_map(|length| length.parse().ok());
        length.map_or(Framing::UntilClose, Framing::Length)
    }

    pub(super) fn keeps_alive(&self) -> bool {
        !self.http10 && !self.values("connection").any(|value| value.contains("close"))
    }

    /// The headers, or those before the first one that the host's server accepts in no response.
    pub(super) fn headers(&self) -> Result<HeaderMap, HeaderMap> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.lines {
            let repeated = name == "content-length" && headers.contains_key(name);
            match HeaderValue::from_bytes(value) {
                Ok(value) if value.as_bytes().is_ascii() && !repeated => headers.append(name, value),
                _ => return Err(headers),
            };
        }
        Ok(headers)
    }
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Whether the handler has neither closed the connection nor sent anything.
    pub(super) fn is_idle(&self) -> bool {
        let mut byte = [0];
        let read = self.stream.try_read(&mut byte);
        self.buffer.is_empty() && read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether more bytes came.
    async fn more(&mut self) -> io::Result<bool> {
        Ok(self.stream.read_buf(&mut self.buffer).await? > 0)
    }

    /// The next line without its end.
    async fn line(&mut self, limit: &mut usize) -> io::Result<Option<Vec<u8>>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.buffer.iter().skip(searched).position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=searched + at).collect();
                *limit = limit.checked_sub(line.len()).ok_or_else(|| invalid("the response head is too long"))?;
                line.pop();
                line.pop_if(|last| *last == b'\r');
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if searched > *limit {
                return Err(invalid("the response head is too long"));
            }
            if !self.more().await? {
                return if self.buffer.is_empty() { Ok(None) } else { Err(invalid("the response breaks off")) };
            }
        }
    }

    /// The next response head, 1xx included. `None` if the connection was closed before its first byte.
    pub(super) async fn head(&mut self) -> io::Result<Option<Head>> {
        let mut limit = MAX_HEAD;
        let Some(first) = self.line(&mut limit).await? else { return Ok(None) };
        let http10 = first.starts_with(b"HTTP/1.0");
        let status = first.get(9..12).and_then(|status| StatusCode::from_bytes(status).ok());
        let status = status.filter(|_| first.starts_with(b"HTTP/1.")).ok_or_else(|| invalid("no status line"))?;
        let reason = first.get(13..).unwrap_or_default().to_vec();
        let mut lines: Vec<(HeaderName, Vec<u8>)> = Vec::new();
        loop {
            let line = self.line(&mut limit).await?.ok_or_else(|| invalid("the response breaks off"))?;
            if line.is_empty() {
                return Ok(Some(Head { status, reason, lines, http10 }));
            }
            if let (true, Some((_, value))) = (line.starts_with(b" ") || line.starts_with(b"\t"), lines.last_mut()) {
                // A folded line: its line break becomes spaces.
                value.extend_from_slice(b"  ");
                value.extend_from_slice(&line);
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or_else(|| invalid("a line without colon"))?;
            let (name, value) = line.split_at(colon);
            let name = HeaderName::from_bytes(name).map_err(|_| invalid("the name of a header is not valid"))?;
            lines.push((name, value.get(1..).unwrap_or_default().trim_ascii().to_vec()));
        }
    }

    /// Sends a body piece by piece. What the receiver no longer takes is not read.
    pub(super) async fn copy_body(&mut self, framing: Framing, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        match framing {
            Framing::Length(length) => self.copy(length, to).await,
            Framing::UntilClose => {
                while !self.buffer.is_empty() || self.more().await? {
                    let all = self.buffer.len() as u64;
                    self.copy(all, to).await?;
                }
                Ok(())
            }
            Framing::Chunked => loop {
                let line = self.line(&mut { MAX_HEAD }).await?.ok_or_else(|| invalid("the body breaks off"))?;
                let size = String::from_utf8_lossy(&line);
                let size = u64::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16);
                let size = size.map_err(|_| invalid("the size of a chunk is not valid"))?;
                self.copy(size, to).await?;
                // The end of the chunk, or trailers, which are dropped.
                while self.line(&mut { MAX_HEAD }).await?.is_some_and(|line| !line.is_empty()) {}
                if size == 0 {
                    return Ok(());
                }
            },
        }
    }

    async fn copy(&mut self, mut length: u64, to: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        while length > 0 {
            if self.buffer.is_empty() && !self.more().await? {
                return Err(invalid("the body breaks off"));
            }
            let taken = usize::try_from(length).map_or(self.buffer.len(), |length| length.min(self.buffer.len()));
            length -= taken as u64;
            let piece: Bytes = self.buffer.drain(..taken).collect();
            if to.send(Ok(piece)).await.is_err() {
                return Err(invalid("the client has disconnected"));
            }
        }
        Ok(())
    }
}
