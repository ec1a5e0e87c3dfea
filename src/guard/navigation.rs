//! Routes that only a person's navigation may open, and prefetches, which nothing under `/auth` answers.

use http::HeaderMap;

use crate::error::Error;

/// Refuses what says of itself that it is no top-level navigation. Absent headers pass.
///
/// # Errors
/// [`Error::NavigationRequired`].
pub fn require(headers: &HeaderMap) -> Result<(), Error> {
    let is = |name: &str, wanted: &str| headers.get_all(name).iter().all(|value| value == wanted);
    if is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document") {
        Ok(())
    } else {
        Err(Error::NavigationRequired)
    }
}

/// Refuses a prefetch: it would use up what a person has not asked for.
///
/// # Errors
/// [`Error::BadRequest`].
pub fn refuse_prefetch(headers: &HeaderMap) -> Result<(), Error> {
    let prefetch = ["sec-purpose", "purpose"]
        .into_iter()
        .flat_map(|name| headers.get_all(name))
        .any(|value| value.as_bytes().to_ascii_lowercase().windows(8).any(|word| word == b"prefetch"));
    if prefetch { Err(Error::BadRequest("prefetches are not answered here")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn only_navigations_of_documents_pass() {
        assert!(require(&headers(&[])).is_ok());
        assert!(require(&headers(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")])).is_ok());
        for bad in [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "iframe"), ("sec-fetch-dest", "")] {
            assert_eq!(require(&headers(&[bad])), Err(Error::NavigationRequired), "{bad:?}");
        }
    }

    #[test]
    fn prefetches_are_seen_in_both_headers() {
        assert!(refuse_prefetch(&headers(&[("sec-fetch-mode", "navigate")])).is_ok());
        for bad in [("sec-purpose", "prefetch;prerender"), ("purpose", "Prefetch")] {
            assert!(refuse_prefetch(&headers(&[bad])).is_err(), "{bad:?}");
        }
    }
}
