//! What the host's server (Kestrel) rejects before any function is found, and where hyper is stricter or more lenient.
//!
//! Only the first request of a connection is checked; hyper checks the others by its own rules.

use std::io::Cursor;
use std::time::Duration;

use http::StatusCode;
use http::uri::Authority;
use percent_encoding::{AsciiSet, CONTROLS, percent_encode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, join};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MAX_LINE: usize = 8 * 1024;
const MAX_HEADERS: usize = 32 * 1024;
const MAX_HEADER_LINES: usize = 100;

/// What Kestrel makes of a `Content-Length` beside a `Transfer-Encoding`.
pub(super) const RENAMED_LENGTH: &str = "x-content-length";

/// How long a rejected client may take to close.
const LINGER: Duration = Duration::from_secs(1);

/// What Kestrel accepts in a target and hyper does not, or reads differently.
const ODD: &AsciiSet =
    &CONTROLS.add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`').add(b'{').add(b'|').add(b'}').add(b'#');

/// Why a request is rejected: the status, and the methods of `Allow`. `None` closes the connection without a response.
type Rejection = Option<(StatusCode, &'static str)>;

/// The name and the value of a header.
type Line<'a> = (&'a [u8], Vec<u8>);

const BAD_REQUEST: Rejection = Some((StatusCode::BAD_REQUEST, ""));
const TOO_LARGE: Rejection = Some((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, ""));

/// The connection, as if nothing had been read from it; `None` if its first request was rejected.
pub(super) async fn accepted(mut stream: TcpStream) -> Option<impl AsyncRead + AsyncWrite + Unpin> {
    let mut received = Vec::new();
    let outcome = loop {
        let end = end_of_head(&received);
        match end {
            Some(end) => break checked(received.get(..end).unwrap_or_default()).map(|head| (head, end)),
            // More than any head that is accepted.
            None if received.len() > MAX_LINE && !received.contains(&b'\n') => {
                break Err(Some((StatusCode::URI_TOO_LONG, "")));
            }
            None if received.len() > MAX_LINE + MAX_HEADERS => break Err(TOO_LARGE),
            None => {}
        }
        // A client that disconnects here gets nothing.
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    };
    match outcome {
        Ok((mut head, end)) => {
            head.extend_from_slice(received.get(end..).unwrap_or_default());
            let (read, write) = stream.into_split();
            Some(join(Cursor::new(head).chain(read), write))
        }
        Err(rejection) => {
            reject(stream, rejection).await;
            None
        }
    }
}

/// The length of the head, which also ends at an empty line that is only a line feed.
fn end_of_head(received: &[u8]) -> Option<usize> {
    let mut start = 0;
    for (at, _) in received.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        if matches!(received.get(start..at), Some(b"" | b"\r")) && start > 0 {
            return Some(at + 1);
        }
        start = at + 1;
    }
    None
}

async fn reject(mut stream: TcpStream, rejection: Rejection) {
    if let Some((status, allow)) = rejection {
        let allow = if allow.is_empty() { String::new() } else { format!("Allow: {allow}\r\n") };
        let head =
            format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\nServer: Kestrel\r\n{allow}\r\n");
        // The client may have disconnected.
        let _ = stream.write_all(head.as_bytes()).await;
    }
    let _ = stream.shutdown().await;
    let drained = async { while stream.read(&mut [0; 4096]).await.is_ok_and(|length| length > 0) {} };
    let _ = timeout(LINGER, drained).await;
}

/// The head as hyper accepts it.
fn checked(head: &[u8]) -> Result<Vec<u8>, Rejection> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request_line = lines.next().unwrap_or_default();
    if request_line.len() + 2 > MAX_LINE {
        return Err(Some((StatusCode::URI_TOO_LONG, "")));
    }
    let words: Vec<&[u8]> = request_line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words.as_slice() else { return Err(BAD_REQUEST) };
    let http10 = match *version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ if *method == b"PRI" => return Err(None),
        _ if version.starts_with(b"HTTP/") => return Err(Some((StatusCode::HTTP_VERSION_NOT_SUPPORTED, ""))),
        _ => return Err(BAD_REQUEST),
    };
    let headers = checked_headers(lines.filter(|line| !line.is_empty()))?;
    let host: Vec<_> = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(b"host")).collect();
    let host = match host.as_slice() {
        [] if http10 => return Err(Some((StatusCode::INTERNAL_SERVER_ERROR, ""))),
        [(_, host)] if host.is_empty() || is_authority(host) => host.as_slice(),
        _ => return Err(BAD_REQUEST),
    };
    check_target(method, target, host)?;
    let target = percent_encode(target, ODD).to_string();
    let mut out = [*method, b" ", target.as_bytes(), b" ", *version, b"\r\n"].concat();
    for (name, value) in &headers {
        out.extend_from_slice(&[*name, b": ", value, b"\r\n"].concat());
    }
    out.extend_from_slice(b"\r\n");
    Ok(out)
}

fn checked_headers<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Line<'a>>, Rejection> {
    let mut headers: Vec<Line<'a>> = Vec::new();
    let mut size = 0;
    for line in lines {
        size += line.len() + 2;
        if size > MAX_HEADERS || headers.len() == MAX_HEADER_LINES {
            return Err(TOO_LARGE);
        }
        let colon = line.iter().position(|byte| *byte == b':').ok_or(BAD_REQUEST)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        // Bytes that are not UTF-8 are rejected here, others outside ASCII later.
        let valid = !name.is_empty() && name.iter().all(token) && !value.contains(&0) && str::from_utf8(value).is_ok();
        if !valid {
            return Err(BAD_REQUEST);
        }
        let mut value = value.to_vec();
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = value.strip_prefix(b"+").unwrap_or(&value);
            let length = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let length = length.and_then(|text| text.parse::<i64>().ok()).ok_or(BAD_REQUEST)?;
            value = length.to_string().into_bytes();
            if headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
                return Err(BAD_REQUEST);
            }
        }
        let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"transfer-encoding") && !last.eq_ignore_ascii_case(b"chunked") {
            return Err(BAD_REQUEST);
        }
        headers.push((name, value));
    }
    if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(b"transfer-encoding")) {
        for (name, _) in headers.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case(b"content-length")) {
            *name = RENAMED_LENGTH.as_bytes();
        }
    }
    Ok(headers)
}

fn is_authority(host: &[u8]) -> bool {
    host.is_ascii() && !host.contains(&b'@') && !host.contains(&b',') && Authority::try_from(host).is_ok()
}

fn check_target(method: &[u8], target: &[u8], host: &[u8]) -> Result<(), Rejection> {
    if !target.is_ascii() || target.is_empty() {
        return Err(BAD_REQUEST);
    }
    if target.starts_with(b"/") || target == b"*" && method == b"OPTIONS" {
        return Ok(());
    }
    if target == b"*" {
        return Err(Some((StatusCode::METHOD_NOT_ALLOWED, "OPTIONS")));
    }
    let absolute = target.strip_prefix(b"http://").and_then(|rest| rest.split(|byte| *byte == b'/').next());
    if absolute.is_some_and(|authority| authority == host && !host.is_empty()) {
        return Ok(());
    }
    if method != b"CONNECT" && !target.contains(&b'/') && is_authority(target) {
        return Err(Some((StatusCode::METHOD_NOT_ALLOWED, "CONNECT")));
    }
    if method == b"CONNECT" && target == host { Ok(()) } else { Err(BAD_REQUEST) }
}
