//! The SPA's files: which path is a file, which is the app itself, and how long browsers keep it.

pub mod site;
pub mod tags;

use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, header};
use percent_encoding::percent_decode_str;

use site::Site;
use tags::Tags;

/// The page of the app.
const INDEX: &str = "/index.html";

/// Where the SPA is.
#[derive(Debug)]
pub enum Spa {
    /// In a folder of the app.
    Folder(Folder),
    /// On a static website that the gateway fronts.
    Site(Box<Site>),
}

/// The folder of the SPA.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    tags: Arc<Tags>,
}

impl Folder {
    /// Takes a folder, with its links resolved.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn open(path: &Path) -> Result<Self, &'static str> {
        let root = path.canonicalize().map_err(|_| "is a folder that exists, or none")?;
        if !root.is_dir() {
            return Err("is a folder that exists, or none");
        }
        if root.join("host.json").exists() {
            return Err("must not be the folder of the gateway itself: its settings would be served");
        }
        Ok(Self { root, tags: Arc::default() })
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The tags of its files.
    #[must_use]
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The file that answers a request, and its path: the app's page for a navigation to what is no file.
    #[must_use]
    pub fn find<'a>(&self, raw: &'a str, headers: &HeaderMap) -> Option<(&'a str, PathBuf)> {
        match self.file(raw) {
            Some(file) => Some((raw, file)),
            None if is_navigation(headers) => Some((INDEX, self.file(INDEX)?)),
            None => None,
        }
    }

    /// The file of the raw path of a request. Dotfiles, and links that lead out of the folder, are no files.
    fn file(&self, raw: &str) -> Option<PathBuf> {
        let file = self.resolve(raw)?.canonicalize().ok()?;
        (file.starts_with(&self.root) && file.is_file()).then_some(file)
    }

    fn resolve(&self, raw: &str) -> Option<PathBuf> {
        let decoded = percent_decode_str(raw.trim_start_matches('/')).decode_utf8().ok()?;
        let relative = Path::new(decoded.as_ref());
        let plain =
            |part: Component<'_>| matches!(part, Component::Normal(name) if !name.as_encoded_bytes().starts_with(b"."));
        if decoded.contains(['\\', '\0']) || !relative.components().all(plain) {
            return None;
        }
        let path = self.root.join(relative);
        Some(if path.is_dir() { path.join("index.html") } else { path })
    }
}

/// Whether a request is a navigation, so that the app's page answers for its routes.
#[must_use]
pub fn is_navigation(headers: &HeaderMap) -> bool {
    crate::reply::wants_page(headers)
}

/// How long a browser keeps a file: for ever when its name holds a hash, else it asks each time.
#[must_use]
pub fn caching(path: &str) -> HeaderValue {
    let name = path.rsplit('/').next().unwrap_or_default();
    let (stem, ending) = name.rsplit_once('.').unwrap_or_default();
    let hashed = stem.rsplit(['-', '.']).next().is_some_and(|word| word.len() < stem.len() && is_hash(word));
    let keep = hashed && ending != "html";
    HeaderValue::from_static(if keep { "public, max-age=31536000, immutable" } else { "no-cache" })
}

/// At least eight characters as bundlers write them: hexadecimal with letters and digits, or both cases and a digit.
fn is_hash(word: &str) -> bool {
    let any = |kind: fn(&u8) -> bool| word.bytes().any(|byte| kind(&byte));
    let all = |kind: fn(&u8) -> bool| word.bytes().all(|byte| kind(&byte));
    let hexadecimal = all(u8::is_ascii_hexdigit) && any(u8::is_ascii_alphabetic);
    let mixed = all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && any(u8::is_ascii_lowercase)
        && any(u8::is_ascii_uppercase);
    word.len() >= 8 && any(u8::is_ascii_digit) && (hexadecimal || mixed)
}

/// Headers that every file carries.
pub fn add_file_headers(headers: &mut HeaderMap, path: &str) {
    headers.insert(header::CACHE_CONTROL, caching(path));
    crate::reply::secure(headers);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("dist");
        std::fs::create_dir_all(root.join("assets")).unwrap();
        std::fs::create_dir_all(root.join(".git")).unwrap();
        for (file, text) in [
            ("dist/index.html", "app"),
            ("dist/assets/a.js", "a"),
            ("dist/.git/config", "x"),
            ("dist/.env", "x"),
            ("secret", "s"),
        ] {
            std::fs::write(outside.path().join(file), text).unwrap();
        }
        #[cfg(unix)]
        std::os::unix::fs::symlink(outside.path().join("secret"), root.join("link.txt")).unwrap();
        let folder = Folder::open(&root).unwrap();
        (outside, folder)
    }

    #[test]
    fn only_plain_files_inside_are_files() {
        let (_outside, folder) = folder();
        for file in ["/", "/index.html", "/assets/a.js", "/%69ndex.html"] {
            assert!(folder.file(file).is_some(), "{file}");
        }
        for other in [
            "/assets",
            "/nope",
            "/.env",
            "/.git/config",
            "/%2eenv",
            "/link.txt",
            "/../secret",
            "/%2e%2e/secret",
            "/..%2fsecret",
            "/assets/..%2f..%2fsecret",
            "/assets/%2e%2e/%2e%2e/secret",
            "/..\\secret",
            "/%00",
            "/%ff",
            "//secret/../../secret",
        ] {
            assert_eq!(folder.file(other), None, "{other}");
        }
    }

    #[test]
    fn the_gateways_own_folder_is_refused() {
        let (outside, _) = folder();
        std::fs::write(outside.path().join("dist/host.json"), "{}").unwrap();
        assert!(Folder::open(&outside.path().join("dist")).is_err());
        assert!(Folder::open(&outside.path().join("nope")).is_err());
    }

    #[test]
    fn names_with_a_hash_are_kept() {
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
