//! From the raw path of a request to a path that is proven to stay beneath the API's base.
//!
//! What goes on is what came, byte for byte. What is judged is every form that a server might decode it to.

use percent_encoding::percent_decode;

/// How often a path may turn out to be encoded.
const DECODINGS: usize = 3;

/// A path beneath a base, made only by parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenPath<'a> {
    /// As it came, from its first `/`; empty for the base itself.
    pub raw: &'a str,
    /// Fully decoded, for the patterns; `/` for the base itself.
    pub decoded: String,
}

impl<'a> ProvenPath<'a> {
    /// Judges the path behind an API's route.
    ///
    /// # Errors
    /// What is wrong with it, as the client may hear it.
    pub fn parse(raw: &'a str) -> Result<Self, &'static str> {
        // The route itself, with or without a slash, is the API's path `/`.
        let raw = if raw == "/" { "" } else { raw };
        refuse_invalid_escapes(raw.as_bytes())?;
        let slashes = count_slashes(raw.as_bytes());
        let mut path = raw.as_bytes().to_vec();
        refuse_hostile(&path)?;
        for _ in 0..DECODINGS {
            let decoded: Vec<u8> = percent_decode(&path).collect();
            if decoded == path {
                let text = String::from_utf8(decoded).map_err(|_| "the path is not UTF-8 once decoded")?;
                let decoded = if text.is_empty() { "/".to_owned() } else { text };
                return Ok(Self { raw, decoded });
            }
            refuse_hostile(&decoded)?;
            if count_slashes(&decoded) != slashes {
                return Err("the path holds an encoded slash");
            }
            path = decoded;
        }
        let still_changing = percent_decode(&path).ne(path.iter().copied());
        if still_changing {
            return Err("the path is encoded more than three times");
        }
        let decoded = String::from_utf8(path).map_err(|_| "the path is not UTF-8 once decoded")?;
        Ok(Self { raw, decoded })
    }
}

fn refuse_invalid_escapes(raw: &[u8]) -> Result<(), &'static str> {
    let mut rest = raw;
    while let Some(at) = rest.iter().position(|byte| *byte == b'%') {
        match rest.get(at + 1..at + 3) {
            Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                rest = rest.get(at + 3..).unwrap_or_default();
            }
            _ => return Err("the path holds an invalid escape"),
        }
    }
    Ok(())
}

fn refuse_hostile(path: &[u8]) -> Result<(), &'static str> {
    if path.contains(&b'\\') {
        return Err("the path holds a backslash");
    }
    if path.iter().any(u8::is_ascii_control) {
        return Err("the path holds a control character");
    }
    let dots = |segment: &[u8]| {
        let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        name == b"." || name == b".."
    };
    if path.split(|byte| *byte == b'/').any(dots) {
        return Err("the path holds a . or .. segment");
    }
    Ok(())
}

fn count_slashes(path: &[u8]) -> usize {
    path.iter().filter(|byte| **byte == b'/').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(raw: &str) -> Result<String, &'static str> {
        ProvenPath::parse(raw).map(|path| path.decoded)
    }

    #[test]
    fn honest_paths_pass_as_they_are() {
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
        assert_eq!(ProvenPath::parse("/").unwrap().raw, "", "sent on without a trailing slash");
        assert_eq!(decoded("/a%20b/%C3%A9").as_deref(), Ok("/a b/é"));
        assert_eq!(decoded("/100%25").as_deref(), Ok("/100%"), "a literal percent sign is fine");
        assert_eq!(decoded("/%2541").as_deref(), Ok("/A"));
        assert_eq!(decoded("/%252541").as_deref(), Ok("/A"));
    }

    #[test]
    fn hostile_paths_are_refused() {
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
