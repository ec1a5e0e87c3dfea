//! Return paths of sign-ins (contract 3.39 to 3.41).

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::Url;

use crate::origin::Origin;
use crate::path::strip_prefix_segments;

/// Longest return path in bytes.
const LIMIT: usize = 1_024;
/// A path that still changes after so many decodings is rejected (contract 10.3).
const DECODINGS: usize = 3;
/// Characters that are escaped in the value of `auth_error`.
const QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'&').add(b'<').add(b'>').add(b'+').add(b'%');

/// Path, query and fragment on the SPA's origin that the gateway does not serve itself; made only by parsing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// Parses a return path. `reserved`: the path prefixes that the gateway serves itself.
    #[must_use]
    pub fn parse(text: &str, spa: &Origin, reserved: &[String]) -> Option<Self> {
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
        let path_length = text.find(['?', '#']).unwrap_or(text.len());
        let (path, rest) = text.split_at(path_length);
        let is_path = path.starts_with('/') && !path.starts_with("//") && !path.contains('\\');
        let text = format!("{path}{}", rest.replace('\\', "%5C"));
        if text.len() > LIMIT || !printable || !is_path {
            return None;
        }
        // Browsers resolve it by the same rules (WHATWG URL), so the result is where they would go.
        let resolved = spa.url().join(&text).ok()?;
        // A page that resolves its own path `//x` again arrives at another host.
        let is_safe = resolved.origin() == spa.url().origin() && !resolved.path().starts_with("//");
        if !is_safe || is_reserved(&resolved, reserved)? {
            return None;
        }
        Some(Self(text))
    }

    /// From its first `/`, as received but for a `\` in query or fragment, which is `%5C` here.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same with `auth_error=<code>`, which replaces an existing one and is placed before the fragment.
    #[must_use]
    pub fn with_error(&self, code: &str) -> String {
        let (rest, fragment) = match self.0.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (self.0.as_str(), None),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let kept = query.split('&').filter(|pair| !pair.is_empty() && !is_auth_error(pair));
        let error = format!("auth_error={}", utf8_percent_encode(code, QUERY));
        let query: Vec<&str> = kept.chain(std::iter::once(error.as_str())).collect();
        let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
        format!("{path}?{}{fragment}", query.join("&"))
    }
}

fn is_auth_error(pair: &str) -> bool {
    let name = pair.split('=').next().unwrap_or_default();
    percent_decode_str(name).decode_utf8_lossy() == "auth_error"
}

/// Whether a path is reserved at any stage of decoding; `None` if it still changes after [`DECODINGS`].
fn is_reserved(url: &Url, reserved: &[String]) -> Option<bool> {
    let mut path = url.path().to_owned();
    for _ in 0..=DECODINGS {
        if reserved.iter().any(|prefix| strip_prefix_segments(&normalized(&path), prefix).is_some()) {
            return Some(true);
        }
        let decoded = percent_decode_str(&path).decode_utf8_lossy().into_owned();
        if decoded == path {
            return Some(false);
        }
        path = decoded;
    }
    None
}

/// A path as a lenient server might read it: `\` as `/`, no empty segments, dot segments resolved.
fn normalized(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split(['/', '\\']) {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<ReturnTo> {
        let reserved = ["/auth", "/.auth", "/health", "/api", "/graph", "/rotate_keys"].map(str::to_owned);
        ReturnTo::parse(text, &Origin::parse("https://app.example.org").unwrap(), &reserved)
    }

    #[test]
    fn paths_of_the_spa_are_unchanged() {
        for good in [
            "/",
            "/a/b?c=d&e=/auth#f?g",
            "/authors",
            "/graphs",
            "/a%20b",
            "/#/auth",
            "/a/../b",
            "/?x=//evil",
            "/@evil",
            "/x//y",
        ] {
            assert_eq!(parse(good).as_ref().map(ReturnTo::as_str), Some(good));
        }
        assert!(parse(&format!("/{}", "a".repeat(1_023))).is_some());
    }

    #[test]
    fn paths_that_leave_the_origin_are_rejected() {
        let own = "app.example.org";
        let hostile = [
            "",
            "null",
            "//evil",
            "///evil",
            "////evil",
            "/\\evil",
            "\\/evil",
            "\\\\evil",
            "/\\/evil",
            "/\t/evil",
            "/\n/evil",
            "/\r/evil",
            "/\u{b}/evil",
            "/ /evil",
            "%20//evil",
            "%2f%2fevil",
            "https:evil",
            "https:/evil",
            "https:///evil",
            "http:evil",
            "hTTps:\\\\evil",
            "javascript:alert(1)",
            "data:text/html,x",
            ".evil",
            "@evil",
            "https://evil",
            "?next=//evil",
            "#//evil",
            "/〱evil",
            "〵evil",
            "／／evil",
            "//[::1]",
            "//0x7f.1",
            "/./\\evil",
            " /x",
            "/x ",
            "/\u{0}",
            "/é",
            "/\u{2028}",
        ];
        for bad in hostile {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse(&format!("https://{own}@evil/")), None);
        assert_eq!(parse(&format!("https://{own}/")), None, "not even an absolute URL on the own origin");
        assert_eq!(parse(&format!("/{}", "a".repeat(1_024))), None);
    }

    #[test]
    fn a_path_that_resolves_to_two_slashes_is_rejected() {
        for bad in ["/.//x", "/..//x", "/%2e//x", "/x/%2e%2e//x", "/x/..//y", "/a/b/../..//x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    /// Browsers leave a `\` in query and fragment as it is, so addresses of pages have it.
    #[test]
    fn a_backslash_is_encoded_in_query_and_fragment_and_invalid_in_the_path() {
        let sent = |text| parse(text).map(|path| path.as_str().to_owned());
        assert_eq!(sent(r"/a?b=\c#d\"), Some("/a?b=%5Cc#d%5C".to_owned()));
        assert_eq!(sent(r"/#a?\"), Some("/#a?%5C".to_owned()));
        assert_eq!(sent(r"/a\b?c"), None);
    }

    #[test]
    fn a_path_is_decoded_three_times() {
        assert!(parse("/%252520x").is_some());
        assert_eq!(parse("/%25252520x"), None);
    }

    #[test]
    fn paths_of_the_gateway_are_rejected_in_any_encoding() {
        for bad in [
            "/auth",
            "/auth/",
            "/auth/login?return_to=/auth/login",
            "/a/../auth/logout",
            "/%61uth/logout",
            "/%2561uth/login",
            "/x/%2e%2e/auth/logout",
            "/x/%252e%252e/auth/logout",
            "/x%2f..%2fauth",
            "/%5cauth/x",
            "/./auth",
            "/.auth/me",
            "/%2eauth/login/aad",
            "/graph/me",
            "/api/x",
            "/rotate_keys",
            "/health/live",
            "/%25252525252561uth",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_error_is_placed_before_the_fragment_and_replaces_an_existing_one() {
        let with = |text: &str| parse(text).unwrap().with_error("access_denied");
        assert_eq!(with("/"), "/?auth_error=access_denied");
        assert_eq!(with("/a?b=c#d"), "/a?b=c&auth_error=access_denied#d");
        assert_eq!(
            with("/a?auth_error=old&b=c&auth%5Ferror=older#?auth_error=x"),
            "/a?b=c&auth_error=access_denied#?auth_error=x"
        );
    }

    proptest::proptest! {
        #[test]
        fn accepted_paths_stay_on_the_origin(text in "[/\\\\.%2fFeEa-z@:?#&;=\\t ]{0,40}") {
            if let Some(path) = parse(&text) {
                for text in [path.as_str().to_owned(), path.with_error("login_failed")] {
                    let url = Url::parse("https://app.example.org").unwrap().join(&text).unwrap();
                    proptest::prop_assert_eq!(url.origin().ascii_serialization(), "https://app.example.org");
                    proptest::prop_assert!(!url.path().starts_with("/auth/"));
                }
            }
        }
    }
}
