//! CSRF protection (contract 9.1 to 9.8), decided from the method, the headers and the configured origins.

use http::header::ORIGIN;
use http::{HeaderMap, HeaderName, Method};

use super::origins::Origins;
use crate::api_map::CsrfMode;
use crate::error::Error;
use crate::origin::Origin;

/// The headers that decide, for `Vary`.
pub const VARY: &str = "Cookie, Origin, Sec-Fetch-Dest, Sec-Fetch-Site, X-CSRF";

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const X_CSRF: HeaderName = HeaderName::from_static("x-csrf");

/// `Sec-Fetch-Dest` of requests that need no header, with [`CsrfMode::FetchMetadata`] (contract 9.7).
const DESTINATIONS: [&str; 6] = ["empty", "image", "audio", "video", "track", "font"];

/// Checks a call.
///
/// # Errors
/// First [`Error::OriginDenied`], then [`Error::CsrfFailed`].
pub fn check(method: &Method, headers: &HeaderMap, origins: &Origins, mode: CsrfMode) -> Result<(), Error> {
    reject_foreign(method, headers, origins)?;
    let reading = *method == Method::GET || *method == Method::HEAD;
    let by_metadata = mode == CsrfMode::FetchMetadata
        && reading
        && headers.contains_key(SEC_FETCH_SITE)
        && matches!(single(headers, &SEC_FETCH_DEST), Single::Value(of) if DESTINATIONS.contains(&of));
    if by_metadata || single(headers, &X_CSRF) == Single::Value("1") { Ok(()) } else { Err(Error::CsrfFailed) }
}

/// Contract 9.2 to 9.4.
fn reject_foreign(method: &Method, headers: &HeaderMap, origins: &Origins) -> Result<(), Error> {
    let origin = single(headers, &ORIGIN);
    let is_public = origin == Single::Value(origins.public.as_str());
    let is_allowed = matches!(origin, Single::Value(origin) if origins.allows(origin));
    if origin != Single::Absent && !is_public && !is_allowed {
        return Err(Error::OriginDenied);
    }
    match single(headers, &SEC_FETCH_SITE) {
        Single::Value("same-origin") => Ok(()),
        Single::Value("same-site") if is_allowed => Ok(()),
        Single::Value("cross-site") if is_allowed && origins.cross_site => Ok(()),
        Single::Absent if method.is_safe() || is_public || is_allowed => Ok(()),
        _ => Err(Error::OriginDenied),
    }
}

/// Where a form was posted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FormOrigin {
    /// Another origin, by its fetch metadata.
    Foreign,
    /// `PUBLIC_ORIGIN`.
    Own,
    /// Neither header decides; a token in the form does.
    Unknown,
}

/// The origin of a form, by its fetch metadata, or by `Origin` without that (contract 3.13).
#[must_use]
pub fn form_origin(headers: &HeaderMap, own: &Origin) -> FormOrigin {
    match single(headers, &SEC_FETCH_SITE) {
        Single::Value("same-origin") => FormOrigin::Own,
        Single::Absent if single(headers, &ORIGIN) == Single::Value(own.as_str()) => FormOrigin::Own,
        Single::Absent => FormOrigin::Unknown,
        _ => FormOrigin::Foreign,
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Single<'a> {
    Absent,
    Several,
    Value(&'a str),
}

/// The single value of a header. Several values, or one that is not ASCII, never pass a check.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Single<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Single::Absent,
        (Some(value), None) => value.to_str().map_or(Single::Several, Single::Value),
        _ => Single::Several,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const OWN: &str = "https://app.example.org";
    const PAGE: &str = "https://spa.example.org";

    /// One origin only; with a page on another origin; with that page on another site.
    fn installations() -> [Origins; 3] {
        let origin = |text| Origin::parse(text).unwrap();
        let alone = Origins::only(origin(OWN));
        let split = Origins { allowed: vec![origin(PAGE)], ..alone.clone() };
        let far = Origins { cross_site: true, ..split.clone() };
        [alone, split, far]
    }

    fn headers(pairs: [(&'static str, &[&'static str]); 3]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, values) in pairs {
            for value in values {
                headers.append(name, HeaderValue::from_static(value));
            }
        }
        headers
    }

    fn decide_with(
        method: &Method,
        site: &[&'static str],
        origin: &[&'static str],
        csrf: &[&'static str],
        mode: CsrfMode,
        destination: Option<&'static str>,
    ) -> Result<(), Error> {
        let mut headers = headers([("sec-fetch-site", site), ("origin", origin), ("x-csrf", csrf)]);
        if let Some(destination) = destination {
            headers.insert("sec-fetch-dest", HeaderValue::from_static(destination));
        }
        check(method, &headers, &Origins::only(Origin::parse(OWN).unwrap()), mode)
    }

    /// The rules of the contract are written as what is rejected; here they are written as what is allowed.
    #[test]
    fn the_whole_matrix_of_methods_and_headers_agrees_with_the_contract() {
        let methods = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "FOO"];
        let sites: [&[&str]; 7] = [
            &[],
            &["same-origin"],
            &["same-site"],
            &["cross-site"],
            &["none"],
            &["unknown"],
            &["same-origin", "same-origin"],
        ];
        let origins: [&[&str]; 9] = [
            &[],
            &[OWN],
            &[PAGE],
            &[PAGE, PAGE],
            &["null"],
            &["https://evil.example"],
            &["https://app.example.org:8443"],
            &["https://APP.example.org"],
            &[OWN, OWN],
        ];
        let values: [&[&str]; 5] = [&[], &["1"], &["0"], &["1", "1"], &["1 "]];
        for method in methods.map(|method| Method::from_bytes(method.as_bytes()).unwrap()) {
            for site in sites {
                for origin in origins {
                    for (csrf, installation) in values.iter().flat_map(|csrf| installations().map(|one| (*csrf, one))) {
                        let listed = origin == [PAGE] && !installation.allowed.is_empty();
                        let known = origin == [OWN] || listed;
                        let near = site == ["same-origin"]
                            || (site == ["same-site"] && listed)
                            || (site == ["cross-site"] && listed && installation.cross_site)
                            || (site.is_empty() && (method.is_safe() || known));
                        let expected = if !near || !(origin.is_empty() || known) {
                            Err(Error::OriginDenied)
                        } else if csrf == ["1"] {
                            Ok(())
                        } else {
                            Err(Error::CsrfFailed)
                        };
                        let headers = headers([("sec-fetch-site", site), ("origin", origin), ("x-csrf", csrf)]);
                        let found = check(&method, &headers, &installation, CsrfMode::Header);
                        assert_eq!(found, expected, "{method} {site:?} {origin:?} {csrf:?} {installation:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn images_may_be_read_by_fetch_metadata_where_the_api_says_so() {
        let read =
            |method, site, destination| decide_with(&method, site, &[], &[], CsrfMode::FetchMetadata, destination);
        assert_eq!(read(Method::GET, &["same-origin"], Some("image")), Ok(()));
        assert_eq!(read(Method::HEAD, &["same-origin"], Some("empty")), Ok(()));
        assert_eq!(read(Method::GET, &["same-origin"], Some("document")), Err(Error::CsrfFailed));
        assert_eq!(read(Method::GET, &["same-origin"], None), Err(Error::CsrfFailed));
        assert_eq!(read(Method::GET, &[], Some("image")), Err(Error::CsrfFailed));
        assert_eq!(read(Method::GET, &["cross-site"], Some("image")), Err(Error::OriginDenied));
        assert_eq!(read(Method::POST, &["same-origin"], Some("image")), Err(Error::CsrfFailed));
    }

    #[test]
    fn fetch_metadata_decides_about_a_form_before_its_origin() {
        let form = |pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_static(value)))
                .collect();
            form_origin(&headers, &Origin::parse(OWN).unwrap())
        };
        use FormOrigin::{Foreign, Own, Unknown};
        assert_eq!(form(&[("sec-fetch-site", "same-origin"), ("origin", "null")]), Own, "the origin is ignored");
        assert_eq!(form(&[("sec-fetch-site", "same-site"), ("origin", OWN)]), Foreign);
        assert_eq!(form(&[("sec-fetch-site", "none")]), Foreign);
        assert_eq!(form(&[("origin", OWN)]), Own);
        assert_eq!(form(&[("origin", "null")]), Unknown);
        assert_eq!(form(&[]), Unknown);
    }
}
