//! Validates the path of a call below its API's route (contract 10.3 to 10.5).
//!
//! The path is forwarded as received, byte for byte. What is validated is every form that a server might decode it to.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// A path that still changes after so many decodings is rejected.
const DECODINGS: usize = 3;

/// A path that stays under the base it is appended to, however often it is decoded; made only by parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenPath<'a> {
    /// As received, from its first `/`; empty for the base itself.
    pub raw: &'a str,
    /// Fully decoded, for the patterns; `/` for the base itself.
    pub decoded: Cow<'a, str>,
}

impl<'a> ProvenPath<'a> {
    /// Validates the part of the path after an API's route.
    ///
    /// # Errors
    /// What is wrong with it, in a text for the client.
    pub fn parse(raw: &'a str) -> Result<Self, &'static str> {
        // Contract 3.29: the route with a trailing slash is forwarded without it.
        let raw = if raw == "/" { "" } else { raw };
        reject_invalid_escapes(raw.as_bytes())?;
        reject_traversal(raw.as_bytes())?;
        if !raw.contains('%') {
            let decoded = Cow::Borrowed(if raw.is_empty() { "/" } else { raw });
            return Ok(Self { raw, decoded });
        }
        let slashes = count_slashes(raw.as_bytes());
        let mut path = raw.as_bytes().to_vec();
        for _ in 0..DECODINGS {
            let decoded: Vec<u8> = percent_decode(&path).collect();
            if decoded == path {
                break;
            }
            reject_traversal(&decoded)?;
            if count_slashes(&decoded) != slashes {
                return Err("the path contains an encoded slash");
            }
            path = decoded;
        }
        let still_changing = percent_decode(&path).ne(path.iter().copied());
        if still_changing {
            return Err("the path is percent-encoded more than three times");
        }
        let decoded = String::from_utf8(path).map_err(|_| "the decoded path is not UTF-8")?;
        Ok(Self { raw, decoded: decoded.into() })
    }
}

fn reject_invalid_escapes(raw: &[u8]) -> Result<(), &'static str> {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = rest.get(at + 3..).unwrap_or_default();
            }
            _ => return Err("the path contains an invalid percent escape"),
        }
    }
    Ok(())
}

fn reject_traversal(path: &[u8]) -> Result<(), &'static str> {
    if path.contains(&b'\\') {
        return Err("the path contains a backslash");
    }
    if path.iter().any(u8::is_ascii_control) {
        return Err("the path contains a control character");
    }
    if path.split(|byte| *byte == b'/').any(is_dots) {
        return Err("the path contains a . or .. segment");
    }
    Ok(())
}

/// Whether a server might read a segment as `.` or `..`: some cut parameters off, some trim spaces, some fold dots of
/// other scripts to ASCII.
fn is_dots(segment: &[u8]) -> bool {
    let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
    if !name.iter().any(|byte| *byte == b'.' || !byte.is_ascii()) {
        return false;
    }
    let mut dots = 0;
    for character in String::from_utf8_lossy(name).chars().filter(|character| !character.is_whitespace()) {
        dots += match character {
            '.' | '\u{2024}' | '\u{ff0e}' => 1,
            '\u{2025}' => 2,
            _ => return false,
        };
    }
    dots == 1 || dots == 2
}

fn count_slashes(path: &[u8]) -> usize {
    path.iter().filter(|byte| **byte == b'/').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(raw: &str) -> Result<String, &'static str> {
        ProvenPath::parse(raw).map(|path| path.decoded.into_owned())
    }

    #[test]
    fn no_number_of_spaces_hides_dots() {
        for spaces in [1, 31, 500] {
            let dots = format!("/me/..{}/x", "%20".repeat(spaces));
            assert!(ProvenPath::parse(&dots).is_err(), "{spaces}");
        }
    }

    #[test]
    fn ordinary_paths_are_unchanged() {
        for raw in [
            "/me",
            "/users('x@y.z')",
            "/a:b",
            "//a",
            "/me;x=1",
            "/a+b",
            "/a/",
            "/me/photo/$value",
            "/...",
            "/a..b",
            "/.a",
        ] {
            assert_eq!(decoded(raw).as_deref(), Ok(raw));
        }
        assert_eq!(decoded("").as_deref(), Ok("/"));
        assert_eq!(ProvenPath::parse("/").unwrap().raw, "", "forwarded without a trailing slash");
        assert_eq!(decoded("/a%20b/%C3%A9").as_deref(), Ok("/a b/é"));
        assert_eq!(decoded("/100%25").as_deref(), Ok("/100%"), "a literal percent sign is allowed");
        assert_eq!(decoded("/%2541").as_deref(), Ok("/A"));
        assert_eq!(decoded("/%252541").as_deref(), Ok("/A"));
    }

    #[test]
    fn traversal_is_rejected_however_encoded() {
        for raw in [
            "/../x",
            "/a/..",
            "/.",
            "/./a",
            "/%2e%2e/x",
            "/.%2e/x",
            "/%252e%252e/x",
            "/%25252e%25252e/x",
            "/..;/x",
            "/..;a=b/x",
            "/;/../x",
            "/%2e;x/y",
            "/a%2Fb",
            "/a%2fb",
            "/a%252fb",
            "/..%2fx",
            "/a\\b",
            "/a%5cb",
            "/a%255cb",
            "/%00",
            "/a%0d%0aX:",
            "/%7f",
            "/%",
            "/%1",
            "/%zz",
            "/a%u002e",
            "/%25252541",
            "/..%20/x",
            "/%20../x",
            "/..%C2%A0/x",
            "/%EF%BC%8E%EF%BC%8E/x",
            "/%E2%80%A5/x",
            "/%E2%80%A4%E2%80%A4/x",
            "/.%20;a/x",
            "/%c0%ae%c0%ae/x",
            "/%ff",
        ] {
            assert!(decoded(raw).is_err(), "{raw} became {:?}", decoded(raw));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_server_can_decode_its_way_out(raw in "(/([.%25eEfFcC/;a\\\\]|%2[eEfF]|%5[cC]|%25){0,8}){1,5}") {
            if let Ok(path) = ProvenPath::parse(&raw) {
                let mut seen = path.raw.to_owned();
                for _ in 0..6 {
                    for segment in seen.split(['/', '\\']) {
                        let name = segment.split(';').next().unwrap();
                        proptest::prop_assert!(name != "." && name != "..", "{} in {}", segment, raw);
                    }
                    proptest::prop_assert_eq!(seen.matches('/').count(), path.raw.matches('/').count());
                    seen = percent_encoding::percent_decode_str(&seen).decode_utf8_lossy().into_owned();
                }
            }
        }
    }
}
