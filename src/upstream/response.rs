//! The head of a response as it arrives, and where its body ends (RFC 9112 sections 4 to 7).

use std::mem::MaybeUninit;
use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use httparse::{ParserConfig, Status};
use hyper::ext::ReasonPhrase;
use smallvec::SmallVec;

/// Most headers of a response.
const HEADERS: usize = 100;
/// Headers of most responses.
const USUAL: usize = 16;
/// How many headers the gateway adds to most responses.
const ADDED: usize = 8;
/// Most bytes of a line with a chunk's size, and of trailers.
const LINES: usize = 8 * 1_024;

/// The head of a response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// The reason phrase, if it is not the usual one of the status.
    pub(super) reason: Option<ReasonPhrase>,
    pub(super) framing: Framing,
    /// Whether the connection may be used again after the body.
    pub(super) is_persistent: bool,
}

/// Where the rest of a body ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked(Chunk),
    /// When the connection closes.
    Close,
}

/// What is next in a chunked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chunk {
    Size,
    /// So many bytes of data, and a line end.
    Data(u64),
    Trailers,
    /// Nothing: the body has ended.
    End,
}

/// What a buffer holds of a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Data(Bytes),
    /// The next part has not arrived.
    Missing,
    End,
}

/// Takes the head of the final response out of a buffer; interim ones before it are skipped (RFC 9110 section 15.2).
/// `None`, if it has not arrived as a whole.
pub(super) fn take_head(buffer: &mut BytesMut, method: &Method) -> Result<Option<Head>, &'static str> {
    while let Some((head, status)) = take_any_head(buffer, method)? {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

/// As [`take_head`], of any response.
fn take_any_head(buffer: &mut BytesMut, method: &Method) -> Result<Option<(Head, StatusCode)>, &'static str> {
    const INVALID: &str = "the head of the response is malformed";
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(&mut response, buffer, &mut lines);
    let length = match parsed {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err("the response has more than 100 headers"),
        Err(_) => return Err(INVALID),
    };
    let (Some(code), Some(version)) = (response.code, response.version) else { return Err(INVALID) };
    let status = StatusCode::from_u16(code).map_err(|_| INVALID)?;
    let reason = response.reason.filter(|reason| !reason.is_empty() && Some(*reason) != status.canonical_reason());
    let reason = reason.and_then(|reason| ReasonPhrase::try_from(reason.to_owned()).ok());
    let mut found: SmallVec<[(HeaderName, Range<usize>); USUAL]> = SmallVec::new();
    let mut framing = FramingHeaders::default();
    for line in response.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| INVALID)?;
        framing.note(&name, line.value);
        // It belongs to this connection (RFC 9112 section 6.1).
        if name != TRANSFER_ENCODING {
            let start = line.value.as_ptr().addr() - buffer.as_ptr().addr();
            found.push((name, start..start + line.value.len()));
        }
    }
    let head = buffer.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(found.len() + ADDED);
    for (name, place) in found {
        headers.append(name, HeaderValue::from_maybe_shared(head.slice(place)).map_err(|_| INVALID)?);
    }
    if let (Some(length), true) = (framing.length, framing.is_repeated) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
    let has_body = !(*method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED));
    let problem = framing.problem(version);
    let is_persistent = version == 1 && problem.is_none() && !framing.closes && !status.is_informational();
    // What is wrong with the framing does not matter to a response without a body.
    let body = match problem {
        _ if !has_body => Framing::Length(0),
        Some(problem) => return Err(problem),
        None => framing.body(),
    };
    // A mistaken server sends the body that such a response announces, and it would be read as the next response.
    let announces_body = framing.is_chunked || framing.length.is_some_and(|length| length > 0);
    let is_persistent = is_persistent && body.is_delimited() && (has_body || !announces_body);
    Ok(Some((Head { status, headers, reason, framing: body, is_persistent }, status)))
}

/// What the headers say about the ends of response and connection.
#[derive(Debug, Default)]
struct FramingHeaders {
    length: Option<u64>,
    /// Whether the length is there several times.
    is_repeated: bool,
    is_chunked: bool,
    /// Whether the connection closes after the response (RFC 9112 section 9.6).
    closes: bool,
    problem: Option<&'static str>,
}

impl FramingHeaders {
    fn note(&mut self, name: &HeaderName, value: &[u8]) {
        let mut options = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        match *name {
            CONTENT_LENGTH => options.for_each(|digits| self.note_length(digits)),
            TRANSFER_ENCODING if self.is_chunked || !value.eq_ignore_ascii_case(b"chunked") => {
                self.problem = Some("the response has another transfer encoding than chunked");
            }
            TRANSFER_ENCODING => self.is_chunked = true,
            CONNECTION => self.closes |= options.any(|option| option.eq_ignore_ascii_case(b"close")),
            _ => {}
        }
    }

    fn note_length(&mut self, digits: &[u8]) {
        let digits = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        let Some(length) = digits.and_then(|digits| digits.parse().ok()) else {
            self.problem = Some("the response has an invalid Content-Length");
            return;
        };
        self.is_repeated = self.length.is_some();
        if self.length.replace(length).is_some_and(|other| other != length) {
            self.problem = Some("the response has several Content-Lengths");
        }
    }

    /// Why it is in doubt where a body ends.
    fn problem(&self, version: u8) -> Option<&'static str> {
        let is_mixed = self.is_chunked && self.length.is_some();
        // RFC 9112 section 6.1: an attempt to smuggle a response, or a mistake.
        let mixed = is_mixed.then_some("the response has both Transfer-Encoding and Content-Length");
        let early = (self.is_chunked && version == 0).then_some("the response has a transfer encoding and is HTTP/1.0");
        self.problem.or(mixed).or(early)
    }

    /// Where a body ends (RFC 9112 section 6.3).
    fn body(&self) -> Framing {
        match self.length {
            _ if self.is_chunked => Framing::Chunked(Chunk::Size),
            Some(length) => Framing::Length(length),
            None => Framing::Close,
        }
    }
}

impl Framing {
    /// Whether it is known where the body ends.
    const fn is_delimited(&self) -> bool {
        !matches!(self, Self::Close)
    }

    pub(super) const fn has_ended(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::End))
    }

    /// The length of the rest, if that is known.
    pub(super) const fn left(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::Close => None,
        }
    }

    /// Takes the next part of the body out of a buffer.
    pub(super) fn take(&mut self, buffer: &mut BytesMut) -> Result<Next, &'static str> {
        self.advance(buffer)?;
        let left = match self {
            Self::Length(0) | Self::Chunked(Chunk::End) => return Ok(Next::End),
            Self::Length(left) | Self::Chunked(Chunk::Data(left)) => left,
            Self::Chunked(_) => return Ok(Next::Missing),
            Self::Close => &mut u64::MAX.clone(),
        };
        let here = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        *left -= here as u64;
        Ok(if here == 0 { Next::Missing } else { Next::Data(buffer.split_to(here).freeze()) })
    }

    /// Passes over what is between data, as far as it has arrived.
    pub(super) fn advance(&mut self, buffer: &mut BytesMut) -> Result<(), &'static str> {
        match self {
            Self::Chunked(chunk) => {
                chunk.advance(buffer).map_err(|Malformed| "the chunks of the response are malformed")
            }
            Self::Length(_) | Self::Close => Ok(()),
        }
    }

    /// What the end of the connection means to the body.
    pub(super) const fn at_close(&self) -> Result<(), &'static str> {
        match self {
            Self::Close => Ok(()),
            Self::Length(_) | Self::Chunked(_) => Err("the connection closed before the end of the response"),
        }
    }
}

/// Chunks that are not as in RFC 9112 section 7.1.
struct Malformed;

impl Chunk {
    fn advance(&mut self, buffer: &mut BytesMut) -> Result<(), Malformed> {
        loop {
            let next = match self {
                Self::Size => chunk_size(buffer)?.map(|size| if size == 0 { Self::Trailers } else { Self::Data(size) }),
                Self::Data(0) => line_end(buffer)?.then_some(Self::Size),
                Self::Data(_) | Self::End => None,
                Self::Trailers => trailers(buffer)?.then_some(Self::End),
            };
            match next {
                Some(next) => *self = next,
                None => return Ok(()),
            }
        }
    }
}

/// The size of a chunk. `None`, if its line has not arrived as a whole.
fn chunk_size(buffer: &mut BytesMut) -> Result<Option<u64>, Malformed> {
    // `parse_chunk_size` takes a line without digits for a size of 0.
    if buffer.first().is_some_and(|byte| !byte.is_ascii_hexdigit()) {
        return Err(Malformed);
    }
    match httparse::parse_chunk_size(buffer).map_err(|_| Malformed)? {
        // An extension may contain any byte but a line end (RFC 9112 section 7.1.1).
        Status::Complete((length, _)) if buffer.get(..length - 2).is_none_or(|line| line.contains(&b'\n')) => {
            Err(Malformed)
        }
        Status::Complete((length, size)) => {
            buffer.advance(length);
            Ok(Some(size))
        }
        Status::Partial => not_too_long(buffer).map(|()| None),
    }
}

/// Passes over the line end after the data of a chunk. False, if it has not arrived.
fn line_end(buffer: &mut BytesMut) -> Result<bool, Malformed> {
    match buffer.get(..2) {
        Some(b"\r\n") => {
            buffer.advance(2);
            Ok(true)
        }
        Some(_) => Err(Malformed),
        None => Ok(false),
    }
}

/// Passes over the trailers, which are not forwarded. False, if they have not arrived as a whole.
fn trailers(buffer: &mut BytesMut) -> Result<bool, Malformed> {
    let mut lines = [httparse::EMPTY_HEADER; HEADERS];
    match httparse::parse_headers(buffer, &mut lines).map_err(|_| Malformed)? {
        Status::Complete((length, _)) => {
            buffer.advance(length);
            Ok(true)
        }
        Status::Partial => not_too_long(buffer).map(|()| false),
    }
}

fn not_too_long(lines: &[u8]) -> Result<(), Malformed> {
    if lines.len() > LINES { Err(Malformed) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
