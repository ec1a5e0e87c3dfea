//! Headers of a response of an API or a website, as they go to the browser (contract 10.9, 10.9a, 10.11).

use std::borrow::Cow;
use std::collections::HashSet;
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
pub struct LeftOut(Mutex<HashSet<HeaderName>>);

impl LeftOut {
    /// Logs a name, once.
    fn log(&self, api: &str, name: &HeaderName, why: &'static str) {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.contains(name) || logged.len() >= LOGGED {
            return;
        }
        logged.insert(name.clone());
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
    /// The headers that are passed on.
    #[must_use]
    pub fn apply(&self, received: &HeaderMap) -> HeaderMap {
        let nominated = nominated(received);
        let mut passed = HeaderMap::with_capacity(received.len() + 8);
        for (name, value) in received {
            if nominated.contains(name) || is_of_the_connection(name) {
                continue;
            }
            if !(self.passes)(name) {
                self.left_out.log(self.name, name, "only listed response headers are passed on");
            } else if *name == CONTENT_DISPOSITION && is_superseded(value, received) {
                // One that is repaired is the only one.
            } else if let Some(value) = self.value(name, value) {
                passed.append(name.clone(), value);
            }
        }
        passed
    }

    fn value(&self, name: &HeaderName, value: &HeaderValue) -> Option<HeaderValue> {
        let is_visible = value.to_str().is_ok();
        match name.as_str() {
            "azure-asyncoperation" | "content-location" | "location" | "odata-entityid" | "operation-location" => {
                HeaderValue::try_from((self.locate)(name, &ascii(value))?).ok()
            }
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

/// Whether a line of `Content-Disposition` is not the first, and one of them needs a repair.
fn is_superseded(value: &HeaderValue, headers: &HeaderMap) -> bool {
    let is_first = headers.get(CONTENT_DISPOSITION).is_some_and(|first| std::ptr::eq(first, value));
    !is_first && headers.get_all(CONTENT_DISPOSITION).iter().any(|value| value.to_str().is_err())
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
    let words =
        headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok()).flat_map(|line| line.split(','));
    words.filter_map(|word| HeaderName::from_bytes(word.trim().as_bytes()).ok()).collect()
}

/// What every response may have and no browser gets: it is not worth a line of the log.
fn is_of_the_connection(name: &HeaderName) -> bool {
    *name == CACHE_CONTROL || matches!(name.as_str(), "connection" | "keep-alive" | "transfer-encoding")
}
