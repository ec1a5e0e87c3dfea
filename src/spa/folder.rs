//! The SPA's folder: which file a path names, and the response that serves it (contract 3.24, 3.25, RFC 9110).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::RangeInclusive;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use futures_util::TryStreamExt;
use headers::{AcceptRanges, ContentLength, ContentRange, ContentType, ETag, HeaderMapExt, IfNoneMatch, IfRange};
use http::header::{CACHE_CONTROL, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use http_range_header::{RangeUnsatisfiableError, parse_range_header};
use percent_encoding::percent_decode_str;
use tokio::io::AsyncReadExt;
use tokio_util::io::ReaderStream;

use super::tags::Tags;
use super::{FileHeaders, INDEX};
use crate::error::Error;
use crate::os::is_alias;
use crate::reply::{Body, BodyError, Reply, full, is_navigation, no_body};
use crate::telemetry::spawn_blocking;

/// Content up to this many bytes is read at once; longer content is streamed in pieces of this length.
const PIECE: usize = 64 * 1_024;

/// The folder of the SPA.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    tags: Arc<Tags>,
    file_headers: Arc<FileHeaders>,
}

/// What a request says about the file that it gets.
struct FileRequest {
    is_head: bool,
    is_navigation: bool,
    if_none_match: Option<IfNoneMatch>,
    range: Option<String>,
    /// `Err` if the header is malformed, so that it matches no entity tag.
    if_range: Option<Result<IfRange, headers::Error>>,
}

impl Folder {
    /// The path of a folder, without links.
    ///
    /// # Errors
    /// What is wrong with the path.
    pub fn root_of(path: &Path) -> Result<PathBuf, &'static str> {
        let root = path.canonicalize().map_err(|_| "must be an existing folder, or empty")?;
        if !root.is_dir() {
            return Err("must be an existing folder, or empty");
        }
        if root.join("host.json").exists() {
            return Err("must not be the folder of the gateway itself: its settings would be served");
        }
        Ok(root)
    }

    /// The folder at a path that has no links.
    #[must_use]
    pub fn new(root: PathBuf, file_headers: FileHeaders) -> Self {
        Self { root, tags: Arc::default(), file_headers: Arc::new(file_headers) }
    }

    /// Serves `GET` and `HEAD` for a path.
    ///
    /// # Errors
    /// [`Error::RouteDenied`] if there is no such file, [`Error::Internal`] if it cannot be read.
    pub async fn get(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<Reply, Error> {
        let (folder, path, request) = (self.clone(), path.to_owned(), FileRequest::new(method, headers));
        // File-system calls block the thread, which serves all other requests too.
        let response = spawn_blocking(move || folder.respond(&path, &request)).await;
        response.map_err(io::Error::other).flatten().map_or_else(
            |error| {
                tracing::error!(%error, "cannot read a file of the SPA");
                Err(Error::Internal)
            },
            |found| found.ok_or(Error::RouteDenied),
        )
    }

    fn respond(&self, path: &str, request: &FileRequest) -> io::Result<Option<Reply>> {
        let Some((path, name)) = self.find(path, request.is_navigation) else { return Ok(None) };
        let mut file = match File::open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let metadata = file.metadata()?;
        let length = metadata.len();
        let kind = mime_guess::from_path(&name).first_or_octet_stream();
        let etag = self.tags.etag_for(&name, &mut file, &metadata)?;
        let mut reply = Response::new(no_body());
        if request.if_none_match.as_ref().is_some_and(|condition| !condition.precondition_passes(&etag)) {
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
        } else if let Ok(range) = request.range(&etag, length) {
            *reply.status_mut() = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
            if let Some(range) = range.clone() {
                reply.headers_mut().typed_insert(ContentRange::bytes(range, length).map_err(io::Error::other)?);
            }
            let (start, count) = range.map_or((0, length), |range| (*range.start(), range.end() - range.start() + 1));
            reply.headers_mut().typed_insert(AcceptRanges::bytes());
            reply.headers_mut().typed_insert(ContentLength(count));
            reply.headers_mut().typed_insert(ContentType::from(kind.clone()));
            if !request.is_head {
                *reply.body_mut() = content(file, start, count)?;
            }
        } else {
            *reply.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            reply.headers_mut().typed_insert(ContentRange::unsatisfied_bytes(length));
        }
        reply.headers_mut().typed_insert(etag);
        self.file_headers.add(reply.headers_mut(), path, kind.essence_str() == "text/html");
        if reply.status().is_client_error() {
            reply.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        Ok(Some(reply))
    }

    /// The file for a path, with the path that it was found under: the app's page for a navigation to another path.
    fn find<'a>(&self, path: &'a str, is_navigation: bool) -> Option<(&'a str, PathBuf)> {
        match self.file(path) {
            Some(file) => Some((path, file)),
            None if is_navigation && !is_hidden(path) => Some((INDEX, self.file(INDEX)?)),
            None => None,
        }
    }

    /// The file for the path of a request target. Hidden files and links that lead out of the folder are not served.
    fn file(&self, path: &str) -> Option<PathBuf> {
        let file = self.resolve(path)?.canonicalize().ok()?;
        (file.starts_with(&self.root) && file.is_file()).then_some(file)
    }

    fn resolve(&self, path: &str) -> Option<PathBuf> {
        let decoded = percent_decode_str(path.trim_start_matches('/')).decode_utf8().ok()?;
        let relative = Path::new(decoded.as_ref());
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
        if decoded.contains(['\\', '\0']) || decoded.split('/').any(is_alias) || !relative.components().all(plain) {
            return None;
        }
        if is_hidden(path) {
            return None;
        }
        let path = self.root.join(relative);
        Some(if path.is_dir() { path.join("index.html") } else { path })
    }
}

impl FileRequest {
    fn new(method: &Method, headers: &HeaderMap) -> Self {
        let range = headers.get(RANGE).and_then(|range| range.to_str().ok()).map(str::to_owned);
        Self {
            is_head: *method == Method::HEAD,
            is_navigation: is_navigation(headers),
            if_none_match: headers.typed_get(),
            range,
            if_range: headers
                .contains_key(IF_RANGE)
                .then(|| headers.typed_try_get()?.ok_or_else(headers::Error::invalid)),
        }
    }

    /// The range to send, if the request has one that counts. Malformed and multiple ranges are ignored (RFC 9110
    /// section 14.2), and so is a range of other content (section 13.1.5).
    fn range(&self, etag: &ETag, length: u64) -> Result<Option<RangeInclusive<u64>>, RangeUnsatisfiableError> {
        let matches = |condition: &Result<IfRange, _>| {
            condition.as_ref().is_ok_and(|condition| !condition.is_modified(Some(etag), None))
        };
        let range = self.range.as_deref().filter(|_| !self.is_head && self.if_range.as_ref().is_none_or(matches));
        let Some(Ok(ranges)) = range.map(parse_range_header) else { return Ok(None) };
        let ranges = ranges.validate(length)?;
        Ok(if let [range] = ranges.as_slice() { Some(range.clone()) } else { None })
    }
}

/// Whether a path names a dotfile, or something in such a folder, other than a well-known URI (RFC 8615, contract
/// 12.12).
fn is_hidden(path: &str) -> bool {
    let decoded = percent_decode_str(path.trim_start_matches('/')).decode_utf8_lossy();
    let is_well_known = decoded == ".well-known" || decoded.starts_with(".well-known/");
    let is_dotfile = |name: &str| name.starts_with('.') && !matches!(name, "." | "..");
    !is_well_known && decoded.split('/').any(is_dotfile)
}

fn content(mut file: File, start: u64, count: u64) -> io::Result<Body> {
    file.seek(SeekFrom::Start(start))?;
    if count <= PIECE as u64 {
        let mut content = Vec::new();
        file.take(count).read_to_end(&mut content)?;
        return Ok(full(content));
    }
    let pieces = ReaderStream::with_capacity(tokio::fs::File::from_std(file).take(count), PIECE);
    Ok(StreamBody::new(pieces.map_ok(Frame::data).map_err(BodyError::from)).boxed())
}

#[cfg(test)]
mod tests;
