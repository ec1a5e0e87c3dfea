use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::request::Parts;

use super::{Form, lock};

/// How many requests are kept. A soak test sends millions, a test looks at a few.
const KEPT: usize = 10_000;

/// A request as a stand-in received it. A byte above 0x7f stands as the character of that number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    pub method: String,
    /// The request target as it was in the request line.
    pub target: String,
    /// Names as they were written, values without surrounding blanks, in their order, duplicates included.
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

    /// The values of all headers of that name, in any case.
    #[must_use]
    pub fn header_values(&self, name: &str) -> Vec<&str> {
        let named = self.headers.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    #[must_use]
    pub fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target.as_str(), |(path, _)| path)
    }

    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// The first field of that name in a form body.
    #[must_use]
    pub fn form_field(&self, name: &str) -> Option<String> {
        self.form().get(name).map(str::to_owned)
    }

    pub(crate) fn form(&self) -> Form {
        Form::parse(&self.body)
    }

    pub(crate) fn query_form(&self) -> Form {
        Form::parse(self.query().unwrap_or_default().as_bytes())
    }

    /// From the bytes on the wire, where they belong to this request, else (a pipelined request) from hyper's view.
    pub(super) fn new(parts: &Parts, head: &[u8]) -> Self {
        Self::from_wire(head).filter(|wire| wire.method == parts.method.as_str()).unwrap_or_else(|| Self {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: parts.headers.iter().map(|(name, value)| (name.to_string(), latin1(value.as_bytes()))).collect(),
            ..Self::default()
        })
    }

    fn from_wire(head: &[u8]) -> Option<Self> {
        let text = latin1(head);
        let mut lines = text.split("\r\n").skip_while(|line| line.is_empty());
        let mut start = lines.next()?.split(' ');
        let (method, target) = (start.next()?.to_owned(), start.next()?.to_owned());
        let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Some(Self { method, target, headers: lines.filter_map(pair).collect(), ..Self::default() })
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// The requests that a stand-in received.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    count: AtomicU64,
    body_bytes: AtomicU64,
    kept: Mutex<VecDeque<(u64, Recorded)>>,
    by_kind: Mutex<BTreeMap<&'static str, u64>>,
}

impl RequestLog {
    /// Adds a request as soon as its head was read, and returns its number.
    pub(super) fn open(&self, request: Recorded) -> u64 {
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        let mut kept = lock(&self.kept);
        kept.push_back((number, request));
        if kept.len() > KEPT {
            kept.pop_front();
        }
        number
    }

    /// Replaces a request by itself with its body.
    pub(super) fn complete(&self, number: u64, request: Recorded) {
        if let Some((_, open)) = lock(&self.kept).iter_mut().rev().find(|(have, _)| *have == number) {
            *open = request;
        }
    }

    pub(super) fn add_body_bytes(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Ordering::SeqCst);
    }

    /// Counts a request of this kind.
    pub(crate) fn count_as(&self, kind: &'static str) {
        *lock(&self.by_kind).entry(kind).or_default() += 1;
    }

    pub(crate) fn count_of(&self, kind: &'static str) -> u64 {
        lock(&self.by_kind).get(kind).copied().unwrap_or_default()
    }

    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }

    pub(super) fn body_bytes(&self) -> u64 {
        self.body_bytes.load(Ordering::SeqCst)
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        lock(&self.kept).iter().map(|(_, request)| request.clone()).collect()
    }

    pub(super) fn clear(&self) {
        lock(&self.kept).clear();
        lock(&self.by_kind).clear();
    }
}
