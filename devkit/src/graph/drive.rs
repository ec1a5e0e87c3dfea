use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;
use chrono::{SecondsFormat, TimeDelta, Utc};
use http::{Response, StatusCode};
use percent_encoding::percent_decode_str;
use ring::digest;
use serde_json::{Value, json};

use super::State;
use super::answers::{error, missing};
use crate::web::{Body, Call, hex, lock, random_text, reply};

/// How long an upload session lasts from its last sign of life.
const SESSION_HOURS: i64 = 24;

/// A file of the drive.
#[derive(Clone, Debug)]
pub struct File {
    /// Its id, which it keeps when its content is replaced.
    pub id: String,
    /// Where it is: `/reports/2026.pdf`.
    pub path: String,
    /// All of it.
    pub content: Bytes,
    /// The number of the change that brought this content.
    change: u64,
}

impl File {
    pub(super) fn json(&self) -> Value {
        let (folder, name) = self.path.rsplit_once('/').unwrap_or_default();
        json!({
            "id": self.id,
            "name": name,
            "size": self.content.len(),
            "parentReference": {"path": format!("/drive/root:{folder}")},
            "file": {
                "mimeType": "application/octet-stream",
                "hashes": {"sha256Hash": hex(digest::digest(&digest::SHA256, &self.content).as_ref()).to_uppercase()},
            },
        })
    }
}

/// The one drive that there is, and what is on its way there.
#[derive(Debug, Default)]
pub(super) struct Drive {
    contents: Mutex<Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    files: Vec<File>,
    changes: u64,
    /// By the secret of the session's address.
    sessions: HashMap<String, Session>,
}

#[derive(Debug)]
struct Session {
    path: String,
    received: Vec<u8>,
}

/// What a chunk led to.
pub(super) enum Progress {
    /// So many bytes are there; the next is awaited.
    Partly(usize),
    /// The file is complete, and whether it is a new one.
    Complete(File, bool),
    /// It does not begin where the last one ended.
    Elsewhere,
    /// There is no such session.
    Unknown,
}

impl Drive {
    pub(super) fn files(&self) -> Vec<File> {
        lock(&self.contents).files.clone()
    }

    /// Begins an upload session and gives its secret.
    fn begin(&self, path: String) -> String {
        let secret = random_text(24);
        lock(&self.contents).sessions.insert(secret.clone(), Session { path, received: Vec::new() });
        secret
    }

    /// How many bytes of a session are there.
    pub(super) fn received(&self, secret: &str) -> Option<usize> {
        lock(&self.contents).sessions.get(secret).map(|session| session.received.len())
    }

    /// Whether there was such a session to end.
    pub(super) fn cancel(&self, secret: &str) -> bool {
        lock(&self.contents).sessions.remove(secret).is_some()
    }

    pub(super) fn append(&self, secret: &str, from: usize, chunk: &[u8], total: usize) -> Progress {
        let mut contents = lock(&self.contents);
        let Some(session) = contents.sessions.get_mut(secret) else { return Progress::Unknown };
        if session.received.len() != from {
            return Progress::Elsewhere;
        }
        session.received.extend_from_slice(chunk);
        if session.received.len() < total {
            return Progress::Partly(session.received.len());
        }
        match contents.sessions.remove(secret) {
            Some(Session { path, received }) => contents.keep(path, received.into()),
            None => Progress::Unknown,
        }
    }
}

impl Contents {
    fn keep(&mut self, path: String, content: Bytes) -> Progress {
        self.changes += 1;
        let change = self.changes;
        let old = self.files.iter().position(|file| file.path == path).map(|at| self.files.remove(at));
        let is_new = old.is_none();
        let id = old.map_or_else(|| format!("01CLOAK{}", random_text(9)), |file| file.id);
        let file = File { id, path, content, change };
        self.files.push(file.clone());
        Progress::Complete(file, is_new)
    }
}

/// Everything under `/me/drive`.
pub(super) fn answer(state: &State, call: &Call, path: &[&str]) -> Response<Body> {
    let decoded: Vec<_> = path.iter().map(|segment| percent_decode_str(segment).decode_utf8_lossy()).collect();
    let path: Vec<&str> = decoded.iter().map(AsRef::as_ref).collect();
    let file = |id: &str| state.drive.files().into_iter().find(|file| file.id == id);
    match (call.parts.method.as_str(), path.as_slice()) {
        ("POST", ["root:", folders @ .., name, "createUploadSession"]) => match name.strip_suffix(':') {
            Some(name) => begun(state, [folders, &[name]].concat().iter().map(|part| format!("/{part}")).collect()),
            None => missing(call.parts.uri.path()),
        },
        ("POST", ["items", id, "createUploadSession"]) => match file(id) {
            Some(file) => begun(state, file.path),
            None => missing(call.parts.uri.path()),
        },
        ("GET" | "HEAD", ["items", id]) => match file(id) {
            Some(file) => reply::json(StatusCode::OK, &file.json()),
            None => missing(call.parts.uri.path()),
        },
        ("GET" | "HEAD", ["root", "delta"]) => delta(state, 0),
        ("GET" | "HEAD", ["root", function]) => match token(function) {
            Some(token) => delta(state, token),
            None => missing(call.parts.uri.path()),
        },
        (_, ["root" | "items", _] | ["root:" | "items", .., "createUploadSession"]) => {
            error(StatusCode::METHOD_NOT_ALLOWED, "invalidRequest", "Specified HTTP method is not allowed.")
        }
        _ => missing(call.parts.uri.path()),
    }
}

fn begun(state: &State, path: String) -> Response<Body> {
    let secret = state.drive.begin(path);
    let mut body = session_json(0);
    if let Some(members) = body.as_object_mut() {
        let url = format!("{}/_api/v2.0/drive/uploadSession?guid='1'&tempauth={secret}", state.upload_origin);
        members.insert("uploadUrl".to_owned(), url.into());
    }
    reply::json(StatusCode::OK, &body)
}

/// An upload session that awaits its next byte.
pub(super) fn session_json(received: usize) -> Value {
    let expiry = Utc::now() + TimeDelta::hours(SESSION_HOURS);
    json!({
        "expirationDateTime": expiry.to_rfc3339_opts(SecondsFormat::Secs, true),
        "nextExpectedRanges": [format!("{received}-")],
    })
}

/// The token of `delta(token='3')`.
fn token(function: &str) -> Option<u64> {
    function.strip_prefix("delta(token='")?.strip_suffix("')")?.parse().ok()
}

fn delta(state: &State, since: u64) -> Response<Body> {
    let contents = lock(&state.drive.contents);
    let changed = contents.files.iter().filter(|file| file.change > since).map(File::json);
    let body = json!({
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#Collection(driveItem)",
        "@odata.deltaLink": state.link(&format!("/me/drive/root/delta(token='{}')", contents.changes)),
        "value": changed.collect::<Vec<_>>(),
    });
    reply::json(StatusCode::OK, &body)
}
