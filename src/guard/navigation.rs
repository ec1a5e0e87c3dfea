//! Routes that accept navigations only (contract 3.1), and prefetches, which they reject (contract 3.33).

use http::HeaderMap;

use crate::error::Error;

/// Rejects a request whose fetch metadata says that it is not a top-level navigation. A service worker that passes a
/// navigation on sends the destination `empty`; its site is same-origin, unlike that of another page. Absent headers
/// pass.
///
/// # Errors
/// [`Error::NavigationRequired`].
pub fn require(headers: &HeaderMap) -> Result<(), Error> {
    let is = |name: &str, expected: &str| headers.get_all(name).iter().all(|value| value == expected);
    let to_document = is("sec-fetch-dest", "document");
    let by_service_worker = is("sec-fetch-dest", "empty") && is("sec-fetch-site", "same-origin");
    let is_navigation = is("sec-fetch-mode", "navigate") && (to_document || by_service_worker);
    if is_navigation { Ok(()) } else { Err(Error::NavigationRequired) }
}

/// Whether the user or a page of the gateway's origin began a navigation, as far as its fetch metadata says. Without
/// any, it passes.
#[must_use]
pub fn is_from_own_origin(headers: &HeaderMap) -> bool {
    let mut sites = headers.get_all("sec-fetch-site").iter();
    match (sites.next(), sites.next()) {
        (None, _) => true,
        (Some(site), None) => site == "same-origin" || site == "none",
        (Some(_), Some(_)) => false,
    }
}

/// Rejects a prefetch, which would have an effect before the user navigates.
///
/// # Errors
/// [`Error::BadRequest`].
pub fn reject_prefetch(headers: &HeaderMap) -> Result<(), Error> {
    let prefetch = ["sec-purpose", "purpose"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .any(|value| value.as_bytes().to_ascii_lowercase().windows(8).any(|word| word == b"prefetch"));
    if prefetch { Err(Error::BadRequest("this route does not accept prefetches")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_navigations_to_documents_pass() {
        assert!(require(&headers(&[])).is_ok());
        assert!(require(&headers(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")])).is_ok());
        for bad in [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "iframe"), ("sec-fetch-dest", "")] {
            assert_eq!(require(&headers(&[bad])), Err(Error::NavigationRequired), "{bad:?}");
        }
    }

    #[test]
    fn a_navigation_that_a_service_worker_passes_on_counts_if_it_is_same_origin() {
        let passed_on = |site| {
            let metadata = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "empty"), ("sec-fetch-site", site)];
            require(&headers(&metadata))
        };
        assert_eq!(passed_on("same-origin"), Ok(()));
        for site in ["same-site", "cross-site", "none"] {
            assert_eq!(passed_on(site), Err(Error::NavigationRequired), "{site}");
        }
    }

    /// Contract 16.11.
    #[test]
    fn only_the_user_and_pages_of_the_own_origin_pass() {
        let sites = |sites: &[&'static str]| {
            let line =
                |site: &&'static str| (HeaderName::from_static("sec-fetch-site"), HeaderValue::from_static(site));
            is_from_own_origin(&sites.iter().map(line).collect())
        };
        assert!(sites(&[]) && sites(&["same-origin"]) && sites(&["none"]));
        for bad in ["same-site", "cross-site", "", "None", "same-origin, none", "same-origin "] {
            assert!(!sites(&[bad]), "{bad}");
        }
        assert!(!sites(&["same-origin", "same-origin"]) && !sites(&["none", "cross-site"]));
    }

    #[test]
    fn prefetches_are_recognized_by_both_headers() {
        assert!(reject_prefetch(&headers(&[("sec-fetch-mode", "navigate")])).is_ok());
        for bad in [("sec-purpose", "prefetch;prerender"), ("purpose", "Prefetch")] {
            assert!(reject_prefetch(&headers(&[bad])).is_err(), "{bad:?}");
        }
    }
}
