//! What becomes of a path on its way through the host. Neither mode is transparent.

use percent_encoding::percent_encode_byte;

use super::{Mode, query};

/// The target that the handler gets for one that a client sent; `None` if the host refuses it, or sends a payload
/// instead. Whether a function has that path is another matter. Of the absolute form the host takes the path, and a
/// fragment it drops.
#[must_use]
pub fn seen_by_handler(mode: Mode, target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or_default();
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
pub(super) fn forwarded(decoded: &str, query: Option<&str>) -> String {
    with_query(forwarded_path(decoded), query.and_then(query::rebuild).as_deref())
}

/// The target of a proxied request, from the decoded path and the raw query.
pub(super) fn proxied(decoded: &str, query: Option<&str>) -> String {
    with_query(proxied_path(decoded), query)
}

fn with_query(path: String, query: Option<&str>) -> String {
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Decodes a raw path as Kestrel does: once, all but `%2F`, and without dot segments. `None` if it holds `%00`.
pub(super) fn decode(raw: &str) -> Option<String> {
    let decoded = unescape(raw, |decoded| decoded != '/');
    (!decoded.contains('\0')).then(|| remove_dot_segments(&decoded))
}

/// The path that a forwarded request has.
///
/// The host writes the decoded path into a URL and parses that again, so what was encoded twice is decoded twice, and
/// an encoded `?` or `#` ends the path.
fn forwarded_path(decoded: &str) -> String {
    let end = decoded.find(['?', '#']).unwrap_or(decoded.len());
    let slashes = decoded.get(..end).unwrap_or_default().replace('\\', "/");
    let unescaped = unescape(&slashes, |decoded| decoded.is_ascii_alphanumeric() || "-._~".contains(decoded));
    let path = encode(&escape_stray_percents(&remove_dot_segments(&unescaped)), b"-._~!$&'()*+,;=:@/[]%");
    if path.is_empty() { "/".to_owned() } else { path }
}

/// The path that a proxied request has: every `%` that is left is encoded once more, that of `%2F` included.
fn proxied_path(decoded: &str) -> String {
    let path = encode(decoded, b"!$&'()*+,-./:;=@_~");
    if path.is_empty() { "/".to_owned() } else { path }
}

/// Percent-encodes all bytes but ASCII letters, digits and those in `also_kept`.
pub(super) fn encode(text: &str, also_kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || also_kept.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(percent_encode_byte(byte));
        }
    }
    encoded
}

/// Decodes those escaped characters that `wanted` accepts. What is no valid UTF-8 stays as it is.
pub(super) fn unescape(text: &str, wanted: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        rest = match escaped_char(after) {
            Some((decoded, tail)) if wanted(decoded) => {
                out.push(decoded);
                tail
            }
            _ => {
                out.push('%');
                after
            }
        };
    }
    out + rest
}

/// The character at the start of `C3%A9rest`, whose first `%` is already taken, and what follows it.
fn escaped_char(text: &str) -> Option<(char, &str)> {
    let (first, mut rest) = escaped_byte(text)?;
    let mut bytes = vec![first];
    let length = match first {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    while bytes.len() < length {
        let (byte, tail) = escaped_byte(rest.strip_prefix('%')?)?;
        bytes.push(byte);
        rest = tail;
    }
    let decoded = str::from_utf8(&bytes).ok()?.chars().next()?;
    Some((decoded, rest))
}

fn escaped_byte(text: &str) -> Option<(u8, &str)> {
    let (digits, rest) = text.split_at_checked(2)?;
    let valid = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    valid.then(|| u8::from_str_radix(digits, 16).ok()).flatten().map(|byte| (byte, rest))
}

fn escape_stray_percents(text: &str) -> String {
    let mut parts = text.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(if escaped_byte(part).is_some() { "%" } else { "%25" });
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
    use crate::host::tests::tables::PATHS;

    #[test]
    fn the_measured_table_is_reproduced() {
        for (raw, decoded, forward, proxy) in PATHS {
            let path = decode(raw).unwrap();
            assert_eq!(path, *decoded, "decoding {raw}");
            assert_eq!(forwarded(&path, None), *forward, "forwarding {raw}");
            assert_eq!(proxied(&path, None), *proxy, "proxying {raw}");
        }
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(decode("/a%00b"), None);
        assert_eq!(decode("/a%2500b").as_deref(), Some("/a%00b"));
    }

    #[test]
    fn what_is_no_utf8_stays_escaped() {
        for raw in ["/%ff", "/%C3", "/%C3%28", "/%c0%af", "/%ed%a0%80", "/%zz", "/%", "/%4"] {
            let expected = raw.replace("%28", "(");
            assert_eq!(decode(raw).as_deref(), Some(expected.as_str()));
        }
        assert_eq!(decode("/%F0%9F%98%80").as_deref(), Some("/\u{1f600}"));
        assert_eq!(decode("/%é").as_deref(), Some("/%é"));
    }

    #[test]
    fn dot_segments_go() {
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
