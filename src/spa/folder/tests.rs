use http::HeaderName;
use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH};

use super::*;
use crate::spa::tests::file_headers;

fn folder() -> (tempfile::TempDir, Folder) {
    let outside = tempfile::tempdir().unwrap();
    let root = outside.path().join("dist");
    std::fs::create_dir_all(root.join("assets")).unwrap();
    std::fs::create_dir_all(root.join(".git")).unwrap();
    std::fs::create_dir_all(root.join(".well-known")).unwrap();
    for (file, text) in [
        ("dist/index.html", "app"),
        ("dist/assets/a.js", "0123456789"),
        ("dist/assets/a-12345678.js", "0123456789"),
        ("dist/assets/empty.css", ""),
        ("dist/.git/config", "x"),
        ("dist/.env", "x"),
        ("dist/.well-known/microsoft-identity-association.json", "{}"),
        ("secret", "s"),
    ] {
        std::fs::write(outside.path().join(file), text).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(outside.path().join("secret"), root.join("link.txt")).unwrap();
    let folder = Folder::new(Folder::root_of(&root).unwrap(), file_headers());
    (outside, folder)
}

/// Status, `Content-Range` and body of a request.
async fn get(folder: &Folder, method: Method, path: &str, headers: &[(HeaderName, &str)]) -> (u16, String, String) {
    let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
    let reply = folder.get(&method, path, &headers).await.unwrap();
    let (parts, body) = reply.into_parts();
    let range = parts.headers.get(CONTENT_RANGE).map(|range| range.to_str().unwrap().to_owned()).unwrap_or_default();
    let body = body.collect().await.unwrap().to_bytes();
    (parts.status.as_u16(), range, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn only_plain_files_inside_the_folder_are_served() {
    let (_outside, folder) = folder();
    for file in
        ["/", "/index.html", "/assets/a.js", "/%69ndex.html", "/.well-known/microsoft-identity-association.json"]
    {
        assert!(folder.file(file).is_some(), "{file}");
    }
    for other in [
        "/assets",
        "/nope",
        "/.env",
        "/.git/config",
        "/%2eenv",
        "/link.txt",
        "/.well-known/../.env",
        "/.well-known-not/../.env",
        "/assets/.well-known/x",
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

/// Contract 3.25, 12.12.
#[tokio::test]
async fn a_navigation_gets_the_page_unless_it_names_a_dotfile() {
    let (_outside, folder) = folder();
    let navigation = HeaderMap::from_iter([(HeaderName::from_static("sec-fetch-mode"), "navigate".parse().unwrap())]);
    for path in ["/orders/5", "/items/a%2Fb", "/%ff", "/.well-known/change-password"] {
        assert_eq!(folder.get(&Method::GET, path, &navigation).await.unwrap().status(), 200, "{path}");
    }
    for path in ["/.env", "/%2eenv", "/.git/config", "/.nothing"] {
        assert_eq!(folder.get(&Method::GET, path, &navigation).await.unwrap_err(), Error::RouteDenied, "{path}");
    }
}

#[test]
fn the_gateways_own_folder_is_rejected() {
    let (outside, _) = folder();
    std::fs::write(outside.path().join("dist/host.json"), "{}").unwrap();
    assert!(Folder::root_of(&outside.path().join("dist")).is_err());
    assert!(Folder::root_of(&outside.path().join("nope")).is_err());
}

/// File-system calls would block the thread that serves all other requests.
#[test]
fn no_file_is_touched_on_the_thread_of_the_requests() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (_outside, folder) = folder();
    runtime.block_on(async {
        for path in ["/index.html", "/missing"] {
            // The only thread for blocking calls waits, so that nothing can be read before it is released.
            let (release, waiting) = std::sync::mpsc::channel::<()>();
            tokio::task::spawn_blocking(move || waiting.recv());
            let headers = HeaderMap::new();
            let mut response = std::pin::pin!(folder.get(&Method::GET, path, &headers));
            assert!(futures_util::poll!(&mut response).is_pending(), "{path}: another thread has to answer first");
            release.send(()).unwrap();
            assert_eq!(response.await.is_ok(), path == "/index.html");
        }
    });
}

#[tokio::test]
async fn a_file_has_the_headers_of_its_content() {
    let (_outside, folder) = folder();
    for method in [Method::GET, Method::HEAD] {
        let reply = folder.get(&method, "/assets/a.js", &HeaderMap::new()).await.unwrap();
        assert_eq!(reply.headers()[CONTENT_TYPE], "text/javascript");
        assert_eq!(reply.headers()[CONTENT_LENGTH], "10", "{method}");
        assert_eq!(reply.headers()[ACCEPT_RANGES], "bytes");
        assert!(reply.headers().contains_key(ETAG));
    }
    assert_eq!(get(&folder, Method::HEAD, "/assets/a.js", &[]).await.2, "");
    let missing = folder.get(&Method::GET, "/nope", &HeaderMap::new()).await;
    assert_eq!(missing.unwrap_err(), Error::RouteDenied);
}

#[tokio::test]
async fn a_tag_that_matches_in_any_form_gives_304() {
    let (_outside, folder) = folder();
    let reply = folder.get(&Method::GET, "/index.html", &HeaderMap::new()).await.unwrap();
    let tag = reply.headers()[ETAG].to_str().unwrap();
    for hit in [tag, &format!("W/{tag}"), &format!("\"b\", {tag}"), "*"] {
        let conditions = [(IF_NONE_MATCH, hit)];
        assert_eq!(get(&folder, Method::GET, "/", &conditions).await, (304, String::new(), String::new()), "{hit}");
    }
    for miss in ["\"b\"", "a", "\"\"", ""] {
        assert_eq!(get(&folder, Method::GET, "/", &[(IF_NONE_MATCH, miss)]).await.0, 200, "{miss}");
    }
}

#[tokio::test]
async fn ranges_are_those_of_rfc_9110() {
    let (_outside, folder) = folder();
    for (range, expected) in [
        ("bytes=0-2", (206, "bytes 0-2/10", "012")),
        ("bytes=8-", (206, "bytes 8-9/10", "89")),
        ("bytes=-3", (206, "bytes 7-9/10", "789")),
        ("bytes=5-18446744073709551615", (206, "bytes 5-9/10", "56789")),
        ("bytes=-11", (206, "bytes 0-9/10", "0123456789")),
        ("bytes=10-", (416, "bytes */10", "")),
        ("bytes=0-1,3-4", (200, "", "0123456789")),
        ("bytes=2-1", (200, "", "0123456789")),
        ("lines=0-1", (200, "", "0123456789")),
    ] {
        let (status, content_range, body) = get(&folder, Method::GET, "/assets/a.js", &[(RANGE, range)]).await;
        assert_eq!((status, content_range.as_str(), body.as_str()), expected, "{range}");
    }
    let beyond = HeaderMap::from_iter([(RANGE, "bytes=10-".parse().unwrap())]);
    let reply = folder.get(&Method::GET, "/assets/a-12345678.js", &beyond).await.unwrap();
    assert_eq!((reply.status().as_u16(), &reply.headers()[CACHE_CONTROL]), (416, &"no-store".parse().unwrap()));
    assert_eq!(get(&folder, Method::HEAD, "/assets/a.js", &[(RANGE, "bytes=0-2")]).await.0, 200, "only GET has ranges");
    assert_eq!(get(&folder, Method::GET, "/assets/empty.css", &[(RANGE, "bytes=0-2")]).await.0, 416);
    assert_eq!(get(&folder, Method::GET, "/assets/empty.css", &[]).await.0, 200);
}

#[tokio::test]
async fn a_range_of_other_content_is_ignored() {
    let (_outside, folder) = folder();
    let reply = folder.get(&Method::GET, "/assets/a.js", &HeaderMap::new()).await.unwrap();
    let tag = reply.headers()[ETAG].to_str().unwrap();
    for (condition, status) in [
        (tag, 206),
        ("\"b\"", 200),
        (&format!("W/{tag}"), 200),
        ("Tue, 01 Jan 1980 00:00:00 GMT", 200),
        ("no condition", 200),
    ] {
        let headers = [(RANGE, "bytes=0-2"), (IF_RANGE, condition)];
        assert_eq!(get(&folder, Method::GET, "/assets/a.js", &headers).await.0, status, "{condition}");
    }
}

#[tokio::test]
async fn a_long_file_is_streamed_whole_and_in_ranges() {
    let (outside, folder) = folder();
    let content: String = ('a'..='z').cycle().take(3 * PIECE + 5).collect();
    std::fs::write(outside.path().join("dist/long.txt"), &content).unwrap();
    assert_eq!(get(&folder, Method::GET, "/long.txt", &[]).await.2, content);
    let range = format!("bytes=1-{}", 2 * PIECE);
    assert_eq!(get(&folder, Method::GET, "/long.txt", &[(RANGE, &range)]).await.2, content[1..=2 * PIECE]);
}

#[cfg(unix)]
#[tokio::test]
async fn a_file_that_cannot_be_read_is_an_internal_error() {
    let (outside, folder) = folder();
    // A file that may not be read; root may read everything.
    let name = outside.path().join("dist/assets/a.js");
    let mut permissions = std::fs::metadata(&name).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o000);
    std::fs::set_permissions(&name, permissions).unwrap();
    if File::open(&name).is_err() {
        assert_eq!(folder.get(&Method::GET, "/assets/a.js", &HeaderMap::new()).await.unwrap_err(), Error::Internal);
    }
}
