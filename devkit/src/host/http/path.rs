//! How the host changes the request target. Neither mode is transparent.

use percent_encoding::{percent_decode, percent_encode_byte};

use crate::host::options::Mode;

/// The target that the handler gets for the one that a client sent. `None` if the host rejects it or sends a payload
/// instead. Which function matches is not considered. Only the path of an absolute target counts, and a `#` is a
/// character like others.
#[must_use]
pub fn handler_target(mode: Mode, target: &str) -> Option<String> {
    let target = &*target.replace('#', "%23");
    let target = match target.split_once("://").filter(|(scheme, _)| !scheme.contains('/')) {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    };
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let decoded = decode(path)?;
    match mode {
        Mode::Forward => Some(forwarded(&decoded, query)),
        Mode::Proxy => Some(proxied(&decoded, query)),
        Mode::Payload => None,
    }
}

/// The target of a forwarded request, from the decoded path and the raw query.
///
/// The host writes the decoded path into a URL and parses that again, so what was encoded twice is decoded twice, and
/// an encoded `?` or `#` ends the path.
pub(super) fn forwarded(decoded: &str, query: Option<&str>) -> String {
    let path = decoded.split(['?', '#']).next().unwrap_or_default().replace('\\', "/");
    let path = unescape(&path, |decoded| decoded.is_ascii_alphanumeric() || "-._~".contains(decoded));
    let path = encode(&escape_stray_percents(&remove_dot_segments(&path)), b"-._~!$&'()*+,;=:@/[]%");
    with_query(path, query.and_then(forwarded_query).as_deref())
}

/// The target of a proxied request, from the decoded path and the raw query. Every `%` that is left in the path is
/// encoded once more, that of `%2F` included.
pub(super) fn proxied(decoded: &str, query: Option<&str>) -> String {
    with_query(encode(decoded, b"!$&'()*+,-./:;=@_~"), query.map(proxied_query).as_deref())
}

fn with_query(path: String, query: Option<&str>) -> String {
    let path = if path.is_empty() { "/".to_owned() } else { path };
    query.map_or(path.clone(), |query| format!("{path}?{query}"))
}

/// `Location` as .NET writes it, a URI with what is not allowed escaped.
pub(super) fn location(text: &str) -> String {
    encode(text, b"-._~!$&'()*+,;=:@/[]%?#")
}

/// The query of a proxied request: all but a few characters as the client sent them.
fn proxied_query(raw: &str) -> String {
    encode(&escape_stray_percents(raw), b"-._~!$&'()*+,;=:@/[]%?")
}

/// Parses the query and writes it again. `None` when no parameter is left.
///
/// Keys that differ by case only are one key, at the position of the first and with the spelling of the second (of the
/// first with more than ten different keys), and their values are joined by commas, an empty first one left out.
fn forwarded_query(raw: &str) -> Option<String> {
    let decode = |text: &str| unescape(&text.replace('+', " "), |_| true);
    let escape = |text: &str| encode(text, b"-._~!$()*,;@");
    let mut pairs: Vec<(String, String, Option<String>)> = Vec::new();
    for part in raw.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (decode(key), decode(value));
        match pairs.iter_mut().find(|pair| pair.0.to_uppercase() == key.to_uppercase()) {
            Some(pair) => {
                pair.2.get_or_insert(key);
                pair.1 = if pair.1.is_empty() { value } else { format!("{},{value}", pair.1) };
            }
            None => pairs.push((key, value, None)),
        }
    }
    let many = pairs.len() > 10;
    let pairs = pairs.into_iter().map(|(first, value, second)| (second.filter(|_| !many).unwrap_or(first), value));
    let written: Vec<_> = pairs.map(|(key, value)| format!("{}={}", escape(&key), escape(&value))).collect();
    (!written.is_empty()).then(|| written.join("&"))
}

/// Decodes a raw path as Kestrel does: once, all but `%2F`, and without dot segments. `None` if it holds `%00`.
pub(crate) fn decode(raw: &str) -> Option<String> {
    let decoded = unescape(raw, |decoded| decoded != '/');
    (!decoded.contains('\0')).then(|| remove_dot_segments(&decoded))
}

/// Percent-encodes all bytes but ASCII letters, digits and those of `also_kept`.
fn encode(text: &str, also_kept: &[u8]) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || also_kept.contains(&byte);
    text.bytes()
        .map(|byte| if kept(byte) { char::from(byte).to_string() } else { percent_encode_byte(byte).to_owned() })
        .collect()
}

/// Decodes those escaped characters that `wanted` accepts. What is not valid UTF-8 stays as it is.
fn unescape(text: &str, wanted: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let (before, escaped) = rest.split_at(at);
        out.push_str(before);
        let (character, length) = escaped_char(escaped).filter(|(decoded, _)| wanted(*decoded)).unwrap_or(('%', 1));
        out.push(character);
        rest = escaped.get(length..).unwrap_or_default();
    }
    out + rest
}

/// The character that a text like `%C3%A9rest` begins with, and the length of its escapes.
fn escaped_char(text: &str) -> Option<(char, usize)> {
    let bytes: Vec<u8> = text.as_bytes().chunks(3).take(4).map_while(escaped_byte).collect();
    let first = bytes.utf8_chunks().next()?.valid().chars().next()?;
    Some((first, 3 * first.len_utf8()))
}

fn escaped_byte(escape: &[u8]) -> Option<u8> {
    let mut decoded = percent_decode(escape);
    let byte = decoded.next()?;
    (escape.len() == 3 && decoded.next().is_none()).then_some(byte)
}

fn escape_stray_percents(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.len() >= 2 && part.bytes().take(2).all(|digit| digit.is_ascii_hexdigit());
        out.push_str(if digits { "%" } else { "%25" });
        out.push_str(part);
    }
    out
}

/// Removes `.` and `..` after RFC 3986, section 5.2.4.
fn remove_dot_segments(path: &str) -> String {
    let Some(relative) = path.strip_prefix('/') else {
        return path.to_owned();
    };
    let mut kept = Vec::new();
    let mut segments = relative.split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            other => {
                kept.push(other);
                continue;
            }
        }
        if segments.peek().is_none() {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tests::tables::{PATHS, QUERIES};

    #[test]
    fn the_measured_tables_are_reproduced() {
        for (raw, decoded, forward, proxy) in PATHS {
            let path = decode(raw).unwrap();
            assert_eq!(path, *decoded, "decoding {raw}");
            assert_eq!(forwarded(&path, None), *forward, "forwarding {raw}");
            assert_eq!(proxied(&path, None), *proxy, "proxying {raw}");
        }
        for (raw, expected) in QUERIES {
            assert_eq!(forwarded("/", Some(raw)), format!("/?{expected}"), "{raw}");
        }
        for without_parameters in ["", "&&"] {
            assert_eq!(forwarded("/", Some(without_parameters)), "/");
        }
    }

    #[test]
    fn a_nul_is_rejected() {
        assert_eq!(decode("/a%00b"), None);
        assert_eq!(decode("/a%2500b").as_deref(), Some("/a%00b"));
    }

    #[test]
    fn invalid_utf8_stays_escaped() {
        for raw in ["/%ff", "/%C3", "/%C3%28", "/%c0%af", "/%ed%a0%80", "/%zz", "/%", "/%4"] {
            let expected = raw.replace("%28", "(");
            assert_eq!(decode(raw).as_deref(), Some(expected.as_str()));
        }
        assert_eq!(decode("/%F0%9F%98%80").as_deref(), Some("/\u{1f600}"));
        assert_eq!(decode("/%é").as_deref(), Some("/%é"));
    }

    #[test]
    fn dot_segments_are_removed() {
        for (path, expected) in [
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/.", "/a/b/"),
            ("/../../a", "/a"),
            ("/a//../b", "/a/b"),
            ("/..", "/"),
            ("/a/...", "/a/..."),
            ("*", "*"),
        ] {
            assert_eq!(remove_dot_segments(path), expected, "{path}");
        }
    }
}
