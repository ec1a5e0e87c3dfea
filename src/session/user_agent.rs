//! The `User-Agent` of a sign-in, by which users recognize their sessions (contract 16.2).

use http::HeaderMap;
use http::header::USER_AGENT;

/// Most bytes.
const LONGEST: usize = 256;
/// What the Functions host appends in forwarding mode, before its version.
const HOST: &[u8] = b"Azure-Functions-Host/";

/// Printable ASCII, at most 256 bytes; empty if there was none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserAgent(String);

impl UserAgent {
    #[must_use]
    pub const fn unknown() -> Self {
        Self(String::new())
    }

    /// That of a request, without what the host appends.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        headers.get(USER_AGENT).map_or_else(Self::unknown, |value| Self::parse(without_host(value.as_bytes())))
    }

    /// The first 256 bytes, with `?` for each that is not printable ASCII.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let printable = |byte: &u8| if matches!(byte, b' '..=b'~') { char::from(*byte) } else { '?' };
        Self(bytes.iter().take(LONGEST).map(printable).collect())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn without_host(value: &[u8]) -> &[u8] {
    let last = value.iter().rposition(|byte| *byte == b' ').map_or(0, |space| space + 1);
    match value.split_at_checked(last) {
        Some((before, last)) if last.starts_with(HOST) => before.trim_ascii_end(),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(value: &[u8]) -> String {
        let value = HeaderValue::from_bytes(value).unwrap();
        UserAgent::of(&HeaderMap::from_iter([(USER_AGENT, value)])).as_str().to_owned()
    }

    /// Contract 16.2; the suffix is that of `functions-host.json`.
    #[test]
    fn what_the_host_appends_is_removed() {
        assert_eq!(of(b"Browser/1 (X) Azure-Functions-Host/4.1037.0.0"), "Browser/1 (X)");
        assert_eq!(of(b"Azure-Functions-Host/4.1037.0.0"), "");
        assert_eq!(of(b"Azure-Functions-Host/1 Browser/1"), "Azure-Functions-Host/1 Browser/1");
        assert_eq!(of(b"Browser/1"), "Browser/1");
        assert_eq!(UserAgent::of(&HeaderMap::new()), UserAgent::unknown());
    }

    #[test]
    fn at_most_256_bytes_of_printable_ascii_are_kept() {
        assert_eq!(of("Bröwser\t1".as_bytes()), "Br??wser?1");
        let long = [b'x'; 300];
        assert_eq!(of(&long).len(), 256);
        let with_host = [long.as_slice(), b" Azure-Functions-Host/4"].concat();
        assert_eq!(of(&with_host), "x".repeat(256));
        assert_eq!(UserAgent::parse(b"a\x00\x7f\xff~ "), UserAgent("a???~ ".to_owned()));
    }
}
