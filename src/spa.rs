//! The SPA: a folder of files or a fronted website, and how long browsers cache its files.

mod folder;
pub mod site;
mod tags;

use http::{HeaderMap, HeaderName, HeaderValue, header};

pub use folder::Folder;
use site::Site;

/// The app's page.
const INDEX: &str = "/index.html";

#[derive(Debug)]
pub enum Spa {
    Folder(Folder),
    /// A static website that the gateway fronts.
    Site(Box<Site>),
}

/// Headers of the SPA's files that settings decide.
#[derive(Debug, Clone)]
pub struct FileHeaders {
    /// The folders whose files with a hash in their name never change, each as a path that ends with `/`.
    pub immutable: Vec<String>,
    /// The `Content-Security-Policy` of pages: who may frame them.
    pub frame_policy: Option<HeaderValue>,
    /// The `Cross-Origin-Opener-Policy` of pages.
    pub opener_policy: Option<HeaderValue>,
}

impl FileHeaders {
    /// Adds the headers of a file (contract 8.8 to 8.9a). `path` decides how long browsers cache it.
    fn add(&self, headers: &mut HeaderMap, path: &str, is_page: bool) {
        headers.insert(header::CACHE_CONTROL, self.caching(path));
        if is_page {
            let referrer = HeaderValue::from_static("strict-origin-when-cross-origin");
            headers.entry(header::REFERRER_POLICY).or_insert(referrer);
            if let Some(policy) = &self.frame_policy {
                // On a line of its own: browsers apply both this policy and that of the page.
                headers.append(header::CONTENT_SECURITY_POLICY, policy.clone());
            }
            if let Some(policy) = &self.opener_policy {
                headers.insert(HeaderName::from_static("cross-origin-opener-policy"), policy.clone());
            }
        }
        crate::reply::add_security_headers(headers);
    }

    /// A file of a build with a hash in its name never changes; browsers revalidate every other.
    fn caching(&self, path: &str) -> HeaderValue {
        let (folder, name) = path.split_at(path.rfind('/').map_or(0, |slash| slash + 1));
        let (stem, extension) = name.rsplit_once('.').unwrap_or_default();
        let is_built = self.immutable.iter().any(|immutable| folder.starts_with(immutable));
        let is_immutable = is_built && has_hash(stem) && extension != "html";
        HeaderValue::from_static(if is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" })
    }
}

/// Whether a part of a file's name is a hash as bundlers write it: at least eight characters of base64url or hex, with
/// a digit.
fn has_hash(stem: &str) -> bool {
    let is_base64url = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let is_hash = |text: &str| text.len() >= 8 && is_base64url(text) && text.bytes().any(|byte| byte.is_ascii_digit());
    // A hash of base64url may contain the separator, so the usual length is tried too.
    let last = stem.len().checked_sub(8).and_then(|at| stem.split_at_checked(at));
    let is_last = last.is_some_and(|(before, hash)| before.ends_with(['-', '.']) && is_hash(hash));
    is_last || stem.split(['-', '.']).any(is_hash)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn file_headers() -> FileHeaders {
        FileHeaders { immutable: vec!["/assets/".to_owned()], frame_policy: None, opener_policy: None }
    }

    #[test]
    fn only_files_of_a_build_with_a_hash_in_their_name_are_immutable() {
        let caching = |path: &str| file_headers().caching(path).to_str().unwrap().to_owned();
        for hashed in [
            "/assets/index-BfX2k3aQ.js",
            "/assets/main.3f2a9c1b.css",
            "/assets/main.3f2a9c1b.chunk.js",
            "/assets/js/index-B-X2k3aQ.js",
            "/assets/12345678.js",
        ] {
            assert!(caching(hashed).contains("immutable"), "{hashed}");
        }
        for plain in [
            "/",
            "/index.html",
            "/cloakroom.js",
            "/index-BfX2k3aQ.js",
            "/user-Manual2024.pdf",
            "/config.Staging01.json",
            "/my/assets/index-BfX2k3aQ.js",
            "/assets-old/index-BfX2k3aQ.js",
            "/assets/app-manifest.json",
            "/assets/favicon.svg",
            "/assets/a-BfX2k3aQ.html",
            "/assets/lib-v2.js",
        ] {
            assert_eq!(caching(plain), "no-cache", "{plain}");
        }
    }
}
