//! The trace of a request (W3C Trace Context).

use http::{HeaderMap, HeaderName};

use crate::secret::{random_hex, random_hex_pairs};

pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace that a request belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// 32 hex digits.
    pub trace_id: String,
    /// The caller's sampling flag; true for a trace that starts here.
    pub sampled: bool,
    /// Whether the caller began it.
    pub is_continued: bool,
}

impl TraceContext {
    /// Continues the trace of `traceparent`, or starts one where the header is absent or malformed.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let continued = headers.get(TRACEPARENT).and_then(|value| Self::parse(value.as_bytes()));
        continued.unwrap_or_else(|| Self { trace_id: random_hex::<16>(), sampled: true, is_continued: false })
    }

    /// Of the value of `traceparent` (section 3.2). A later version may have more parts.
    fn parse(value: &[u8]) -> Option<Self> {
        let mut parts = value.split(|byte| *byte == b'-');
        let mut hex = |length| {
            let is_hex = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
            parts.next().filter(|part| part.len() == length && part.iter().all(is_hex))
        };
        let (version, trace_id, parent_id, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
        let is_zero = |id: &[u8]| id.iter().all(|byte| *byte == b'0');
        let has_more = parts.next().is_some();
        if version == b"ff" || (version == b"00" && has_more) || is_zero(trace_id) || is_zero(parent_id) {
            return None;
        }
        let sampled = u8::from_str_radix(str::from_utf8(flags).ok()?, 16).ok()? & 1 == 1;
        Some(Self { trace_id: String::from_utf8(trace_id.to_vec()).ok()?, sampled, is_continued: true })
    }

    /// Writes the value of the header that continues this trace in a request of the gateway, under a new span id.
    pub fn write_traceparent(&self, value: &mut Vec<u8>) {
        value.extend_from_slice(b"00-");
        value.extend_from_slice(self.trace_id.as_bytes());
        value.push(b'-');
        random_hex_pairs::<8>().for_each(|pair| value.extend_from_slice(pair.as_bytes()));
        value.extend_from_slice(if self.sampled { b"-01" } else { b"-00" });
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const ID: &str = "0af7651916cd43dd8448eb211c80319c";

    fn parse(traceparent: &'static str) -> TraceContext {
        TraceContext::from_headers(&HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_static(traceparent))]))
    }

    #[test]
    fn a_trace_is_continued_with_its_sampling_flag() {
        for (flags, sampled) in [("01", true), ("00", false), ("03", true), ("02", false), ("fb", true), ("0a", false)]
        {
            let value = format!("00-{ID}-b7ad6b7169203331-{flags}").leak();
            let trace = parse(value);
            assert_eq!(trace, TraceContext { trace_id: ID.to_owned(), sampled, is_continued: true });
            let mut sent = Vec::new();
            trace.write_traceparent(&mut sent);
            let (start, end) = (format!("00-{ID}-"), if sampled { "-01" } else { "-00" });
            let sent = str::from_utf8(&sent).unwrap();
            assert!(sent.starts_with(&start) && sent.ends_with(end) && sent.len() == 55, "{sent}");
            assert!(!sent.contains("b7ad6b7169203331"), "under a span id of its own");
        }
        assert!(parse(format!("01-{ID}-b7ad6b7169203331-01-more").leak()).is_continued, "of a later version");
    }

    #[test]
    fn a_trace_starts_here_where_the_header_is_absent_or_malformed() {
        for malformed in [
            "",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-00",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-+1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-x",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "zz-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        ] {
            let trace = parse(malformed);
            assert!(
                trace.trace_id.len() == 32 && trace.trace_id != ID && trace.sampled && !trace.is_continued,
                "{malformed}"
            );
        }
        assert!(TraceContext::from_headers(&HeaderMap::new()).sampled);
    }
}
