//! The SPA: a folder of files or a fronted website, and how long browsers cache its files.

mod folder;
pub mod site;
mod tags;

use http::{HeaderMap, HeaderValue, header};

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

/// Adds the headers of every file. `path` decides how long browsers cache it (contract 8.8).
fn add_file_headers(headers: &mut HeaderMap, path: &str) {
    headers.insert(header::CACHE_CONTROL, caching(path));
    crate::reply::add_security_headers(headers);
}

/// A file with a hash in its name never changes; browsers revalidate every other.
fn caching(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    let (stem, extension) = name.rsplit_once('.').unwrap_or_default();
    let hashed = stem.rsplit(['-', '.']).next().is_some_and(|word| word.len() < stem.len() && is_hash(word));
    let is_immutable = hashed && extension != "html";
    HeaderValue::from_static(if is_immutable { "public, max-age=31536000, immutable" } else { "no-cache" })
}

/// At least eight characters as bundlers write them: hex with letters and digits, or both cases and a digit.
fn is_hash(word: &str) -> bool {
    let any = |kind: fn(&u8) -> bool| word.bytes().any(|byte| kind(&byte));
    let all = |kind: fn(&u8) -> bool| word.bytes().all(|byte| kind(&byte));
    let hexadecimal = all(u8::is_ascii_hexdigit) && any(u8::is_ascii_alphabetic);
    let mixed = all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && any(u8::is_ascii_lowercase)
        && any(u8::is_ascii_uppercase);
    word.len() >= 8 && any(u8::is_ascii_digit) && (hexadecimal || mixed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_with_a_hash_in_their_name_are_immutable() {
        for hashed in ["/assets/index-BfX2k3aQ.js", "/main.3f2a9c1b.css"] {
            assert!(caching(hashed).to_str().unwrap().contains("immutable"), "{hashed}");
        }
        for plain in [
            "/",
            "/index.html",
            "/cloakroom.js",
            "/app-manifest.json",
            "/12345678.js",
            "/favicon.svg",
            "/hero-1920x1080.jpg",
            "/lib-20240501.js",
            "/a-BfX2k3aQ.html",
        ] {
            assert_eq!(caching(plain), "no-cache", "{plain}");
        }
    }
}
