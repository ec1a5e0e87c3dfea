//! Headers of a response of an API or a website, as they go to the browser (contract 10.9, 10.9a, 10.11).

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_DISPOSITION, LINK};
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, percent_encode};

use super::disposition;

/// Most names that are logged of one API, since it decides what they are.
const LOGGED: usize = 100;
/// Nothing but what is no ASCII.
const NOT_ASCII: &AsciiSet = &AsciiSet::EMPTY;

/// The names of left-out headers that were logged already.
#[derive(Debug, Default)]
pub struct LeftOut(Mutex<Vec<HeaderName>>);

impl LeftOut {
    /// Logs a name, once.
    fn log(&self, api: &str, name: &HeaderName, why: &'static str) {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.contains(name) || logged.len() >= LOGGED {
            return;
        }
        logged.push(name.clone());
        drop(logged);
        let header = name.as_str().get(..64).unwrap_or(name.as_str());
        tracing::info!(api, header, why, "a response header is left out");
    }
}

/// What is passed on, by the rules of one API or website.
pub struct Filter<'a, P, L> {
    /// Its name, for the log.
    pub name: &'a str,
    pub passes: P,
    /// The address for the browser of a reference in the response, if there is one.
    pub locate: L,
    pub left_out: &'a LeftOut,
}

impl<P, L> Filter<'_, P, L>
where
    P: Fn(&HeaderName) -> bool,
    L: Fn(&HeaderName, &str) -> Option<String>,
{
    /// Removes what is not passed on, and rewrites the rest where that is needed. Most headers stay as they are, so
    /// that changing the received ones costs less than building others.
    pub fn apply(&self, headers: &mut HeaderMap) {
        let nominated = nominated(headers);
        let mut changed: Vec<(HeaderName, Vec<HeaderValue>)> = Vec::new();
        for (name, value) in headers.iter() {
            if changed.iter().any(|(known, _)| known == name) {
                continue;
            }
            if nominated.contains(name) || is_of_the_connection(name) {
                changed.push((name.clone(), Vec::new()));
            } else if !(self.passes)(name) {
                self.left_out.log(self.name, name, "only listed response headers are passed on");
                changed.push((name.clone(), Vec::new()));
            } else if is_rewritten(name, value) {
                changed.push((name.clone(), self.values(name, headers)));
            }
        }
        for (name, values) in changed {
            headers.remove(&name);
            values.into_iter().for_each(|value| _ = headers.append(&name, value));
        }
    }

    fn values(&self, name: &HeaderName, headers: &HeaderMap) -> Vec<HeaderValue> {
        // A line of `Content-Disposition` that is repaired is the only one.
        let lines = if *name == CONTENT_DISPOSITION { 1 } else { usize::MAX };
        headers.get_all(name).iter().take(lines).filter_map(|value| self.value(name, value)).collect()
    }

    fn value(&self, name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
        let is_visible = value.to_str().is_ok();
        match name.as_str() {
            _ if has_reference(name) => HeaderValue::try_from((self.locate)(name, &ascii(value))?).ok(),
            "link" => HeaderValue::try_from(self.links(&ascii(value))?).ok(),
            _ if is_visible => Some(value.clone()),
            "content-disposition" => HeaderValue::try_from(disposition::rewrite(value.as_bytes())?).ok(),
            _ => {
                self.left_out.log(self.name, name, "its value has other bytes than visible ASCII");
                None
            }
        }
    }

    /// The members of a `Link` (RFC 8288 section 3) whose target has an address. A malformed line has none.
    fn links(&self, line: &str) -> Option<String> {
        let (mut members, mut rest) = (Vec::new(), line);
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            if rest.is_empty() {
                break;
            }
            let (target, after) = rest.strip_prefix('<')?.split_once('>')?;
            let (parameters, after) = after.split_at(end_of_member(after)?);
            rest = after;
            if let Some(target) = (self.locate)(&LINK, target) {
                members.push(format!("<{target}>{}", parameters.trim_end()));
            }
        }
        (!members.is_empty()).then(|| members.join(", "))
    }
}

/// Whether a value is not passed on as it is. No value has control characters but tabs, so that one of ASCII characters
/// is visible.
fn is_rewritten(name: &HeaderName, value: &HeaderValue) -> bool {
    has_reference(name) || *name == LINK || !value.as_bytes().is_ascii()
}

/// Whether a header's value is a reference to another resource.
fn has_reference(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "azure-asyncoperation" | "content-location" | "location" | "odata-entityid" | "operation-location"
    )
}

/// Where the next member of a list begins: at a comma that is not within a quoted string. `None` if one does not end.
fn end_of_member(text: &str) -> Option<usize> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_quoted => is_escaped = true,
            b'"' => is_quoted = !is_quoted,
            b',' if !is_quoted => return Some(at),
            _ => {}
        }
    }
    (!is_quoted).then_some(text.len())
}

/// A reference whose bytes from 0x80 are percent-encoded.
fn ascii(value: &HeaderValue) -> Cow<'_, str> {
    percent_encode(value.as_bytes(), NOT_ASCII).into()
}

/// The names that `Connection` makes hop-by-hop (RFC 9110 section 7.6.1).
pub(super) fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    // The usual two name no header that is passed on.
    let lines = headers.get_all(CONNECTION).iter().filter(|line| !matches!(line.as_bytes(), b"close" | b"keep-alive"));
    let words = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    words.filter_map(|word| HeaderName::from_bytes(word).ok()).collect()
}

/// What every response may have and no browser gets: it is not worth a line of the log.
fn is_of_the_connection(name: &HeaderName) -> bool {
    *name == CACHE_CONTROL || matches!(name.as_str(), "connection" | "keep-alive" | "transfer-encoding")
}
