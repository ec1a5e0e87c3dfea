use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;

use super::lock;

/// How many requests are kept. A soak makes millions, a test looks at a few.
const KEPT: usize = 10_000;

/// A request as a stand-in received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// The method, as sent.
    pub method: String,
    /// The request target as it stood in the request line, byte for byte (a byte above 0x7f as the character of that
    /// number).
    pub target: String,
    /// Names as they were written, values without surrounding blanks, in the order of the wire, duplicates included
    /// (a byte above 0x7f as the character of that number).
    pub headers: Vec<(String, String)>,
    /// The first MiB of the body, without transfer coding; empty until the body ended.
    pub body: Bytes,
    /// Length of the whole body in bytes.
    pub body_length: u64,
    /// SHA-256 of the whole body in lower-case hex; empty until the body ended.
    pub body_sha256: String,
}

impl Recorded {
    /// The first header of that name, in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.header_values(name).first().copied()
    }

    /// All values under that name, in any case.
    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The target up to its query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    /// The target's query, without the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The first field of that name in a body that is a form.
    #[must_use]
    pub fn form_field(&self, name: &str) -> Option<String> {
        super::Form::parse(&self.body).get(name).map(str::to_owned)
    }

    /// From the bytes of the wire where they are at hand and belong to this request, else from what hyper made of them
    /// (a pipelined request).
    pub(super) fn of(parts: &Parts, head: &[u8]) -> Self {
        Self::from_wire(head).filter(|wire| wire.method == parts.method.as_str()).unwrap_or_else(|| Self {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: pairs(&parts.headers),
            ..Self::default()
        })
    }

    fn from_wire(head: &[u8]) -> Option<Self> {
        let text: String = head.iter().copied().map(char::from).collect();
        let mut lines = text.split("\r\n").skip_while(|line| line.is_empty());
        let mut start = lines.next()?.split(' ');
        let (method, target) = (start.next()?.to_owned(), start.next()?.to_owned());
        let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Some(Self { method, target, headers: lines.filter_map(pair).collect(), ..Self::default() })
    }
}

fn pairs(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| bytes.iter().copied().map(char::from).collect();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

/// Everything that a stand-in received.
#[derive(Debug, Default)]
pub(crate) struct Log {
    count: AtomicU64,
    body_bytes: AtomicU64,
    kept: Mutex<VecDeque<(u64, Recorded)>>,
}

impl Log {
    /// Notes a request as soon as its head is there: that it came is what a test asks for most.
    pub(super) fn open(&self, request: Recorded) -> u64 {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let mut kept = lock(&self.kept);
        kept.push_back((number, request));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        number
    }

    pub(super) fn close(&self, number: u64, request: Recorded) {
        if let Some((_, open)) = lock(&self.kept).iter_mut().rev().find(|(have, _)| *have == number) {
            *open = request;
        }
    }

    pub(super) fn received(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// How many requests ever came.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    /// How many bytes of bodies came so far, those of requests under way included.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_bytes.load(Ordering::SeqCst)
    }

    /// The newest 10,000 requests, oldest first.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        lock(&self.kept).iter().map(|(_, request)| request.clone()).collect()
    }

    /// Forgets the requests; the count goes on.
    pub(crate) fn clear(&self) {
        lock(&self.kept).clear();
    }
}
