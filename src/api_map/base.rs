//! An API's base URL: every final URL keeps its scheme, host, port and path prefix (contract 10.6).

use http::Uri;
use http::uri::{Authority, PathAndQuery, Scheme};
use url::Url;

use super::Locations;
use super::path::ProvenPath;
use crate::origin::is_secure;
use crate::path::strip_prefix_segments;

/// Parsed once, so that a request's URL is built from parts and never by joining client input to a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// With a trailing slash; for what the API sends, which may be relative to it.
    url: Url,
    scheme: Scheme,
    authority: Authority,
    prefix: String,
}

impl Base {
    /// Reads a base URL.
    ///
    /// # Errors
    /// What is allowed.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be an https URL (http only on loopback) without query, fragment or user information";
        let mut url = Url::parse(text).map_err(|_| RULE)?;
        let plain =
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
        if !plain || !is_secure(&url) {
            return Err(RULE);
        }
        let uri: Uri = url.as_str().parse().map_err(|_| RULE)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(RULE) };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}/"));
        Ok(Self { url, scheme: scheme.clone(), authority: authority.clone(), prefix })
    }

    /// The URL of a path under this base. `None` if the result would not be under it, or is too long for a URI.
    #[must_use]
    pub fn uri(&self, path: &ProvenPath<'_>, query: Option<&str>) -> Option<Uri> {
        let target = self.target(path, query)?;
        let uri = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone());
        uri.path_and_query(target).build().ok()
    }

    /// Path and query of that URL: the target of a request for it.
    #[must_use]
    pub fn target(&self, path: &ProvenPath<'_>, query: Option<&str>) -> Option<PathAndQuery> {
        // As long as it becomes, so that it is not allocated twice.
        let query_len = query.map_or(0, |query| query.len() + 1);
        let mut target = String::with_capacity((self.prefix.len() + path.raw.len()).max(1) + query_len);
        target.push_str(&self.prefix);
        target.push_str(path.raw);
        if target.is_empty() {
            target.push('/');
        }
        if let Some(query) = query {
            target.push('?');
            target.push_str(query);
        }
        let target = PathAndQuery::try_from(target).ok()?;
        strip_prefix_segments(target.path(), &self.prefix).is_some().then_some(target)
    }

    /// The normalised URL, with a trailing slash.
    #[must_use]
    pub(super) fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Scheme and authority, with the path `/`.
    #[must_use]
    #[expect(clippy::expect_used, reason = "the parts are those of a URI")]
    pub fn origin(&self) -> Uri {
        let parts = Uri::builder().scheme(self.scheme.clone()).authority(self.authority.clone()).path_and_query("/");
        parts.build().expect("scheme, authority and path are a URI")
    }

    /// Path, query and fragment below this base of a reference in a response to the request of this URL (contract
    /// 10.11). `None` if it leads elsewhere.
    #[must_use]
    pub fn relative(&self, reference: &str, request: &Uri, locations: Locations) -> Option<String> {
        let target = Url::parse(&request.to_string()).ok()?.join(reference).ok()?;
        let has_user = !target.username().is_empty() || target.password().is_some();
        if has_user || target.origin() != self.url.origin() {
            return None;
        }
        let below_base = || (locations == Locations::Base && is_plain_path(reference, &target)).then(|| target.path());
        let rest = strip_prefix_segments(target.path(), &self.prefix).or_else(below_base)?;
        let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
        let fragment = target.fragment().map(|fragment| format!("#{fragment}")).unwrap_or_default();
        Some(format!("{rest}{query}{fragment}"))
    }
}

/// Whether a reference is an absolute path without `.` and `..` segments; `target` is what it resolves to.
fn is_plain_path(reference: &str, target: &Url) -> bool {
    let path = reference.split(['?', '#']).next().unwrap_or_default();
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    path.starts_with('/') && !path.starts_with("//") && !path.contains('\\') && slashes(path) == slashes(target.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Base {
        Base::parse("https://graph.example/v1.0").unwrap()
    }

    fn uri(base: &Base, raw: &str, query: Option<&str>) -> String {
        base.uri(&ProvenPath::parse(raw).unwrap(), query).unwrap().to_string()
    }

    #[test]
    fn a_url_is_the_base_and_the_received_path_and_query() {
        assert_eq!(uri(&base(), "/me", None), "https://graph.example/v1.0/me");
        assert_eq!(uri(&base(), "/", None), "https://graph.example/v1.0");
        assert_eq!(uri(&base(), "//evil/x", None), "https://graph.example/v1.0//evil/x");
        assert_eq!(uri(&base(), "/a%20b", Some("$filter=a%2Fb&x")), "https://graph.example/v1.0/a%20b?$filter=a%2Fb&x");
        assert_eq!(uri(&Base::parse("https://a.example").unwrap(), "", None), "https://a.example/");
        assert_eq!(uri(&Base::parse("https://a.example").unwrap(), "//evil", None), "https://a.example//evil");
    }

    #[test]
    fn a_base_is_https_without_query_fragment_or_user() {
        assert!(Base::parse("http://127.0.0.1:9/x").is_ok());
        for bad in [
            "http://a.example",
            "https://u@a.example",
            "https://a.example?x",
            "https://a.example#x",
            "a.example",
            "file:///x",
        ] {
            assert!(Base::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_references_inside_the_base_are_relative_to_it() {
        let request: Uri = "https://graph.example/v1.0/teams/1?x=1".parse().unwrap();
        let relative = |reference: &str, locations| base().relative(reference, &request, locations);
        for (reference, expected) in [
            ("https://graph.example/v1.0/me?x#y", Some("/me?x#y")),
            ("/v1.0/me", Some("/me")),
            ("2", Some("/teams/2")),
            ("?y", Some("/teams/1?y")),
            ("../me", Some("/me")),
            ("../../beta/me", None),
            ("https://graph.example/beta", None),
            ("https://evil.example/v1.0/me", None),
            ("https://user@graph.example/v1.0/me", None),
            ("https://graph.example:444/v1.0/me", None),
            ("http://graph.example/v1.0/me", None),
            ("//evil/v1.0/me", None),
            ("/\\evil/v1.0/me", None),
            ("javascript:alert(1)", None),
            ("https://graph.example/v1.0/../beta", None),
            ("/v1.0/../beta", None),
        ] {
            for locations in [Locations::Host, Locations::Base] {
                assert_eq!(relative(reference, locations).as_deref(), expected, "{reference} {locations:?}");
            }
        }
        for (reference, by_base) in
            [("/teams('1')/operations('2')", "/teams('1')/operations('2')"), ("/v1.0x/me", "/v1.0x/me")]
        {
            assert_eq!(relative(reference, Locations::Host), None, "{reference}");
            assert_eq!(relative(reference, Locations::Base).as_deref(), Some(by_base), "{reference}");
        }
    }
}
