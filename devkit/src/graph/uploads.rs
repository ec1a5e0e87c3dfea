//! The host to which chunks go: not Graph's own, over TLS, with CORS for every page, and the session's address as the
//! only proof that it wants.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION,
    CONTENT_RANGE,
};
use http::{Response, StatusCode};
use tokio::net::TcpListener;

use super::answers::error;
use super::drive::{Drive, Progress, session_json};
use crate::web::{Authority, Body, Call, Form, Front, Handler, HangUp, Log, Recorded, Server, Wire, reply};

/// All chunks but the last are a multiple of this.
const STEP: usize = 320 * 1024;

/// The listener with its TLS.
#[derive(Debug)]
pub(super) struct UploadHost {
    state: Arc<State>,
    front: Front,
    server: Server,
}

impl UploadHost {
    pub(super) async fn start(drive: Arc<Drive>) -> io::Result<Self> {
        let acceptor = Authority::new("Stand-in for uploads")?.acceptor(vec!["127.0.0.1".to_owned()])?;
        let state = Arc::new(State { drive, log: Log::default() });
        let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Server::start(behind, Wire::default(), Arc::clone(&state))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        Ok(Self { state, front: Front::start(listener, acceptor, server.addr())?, server })
    }

    pub(super) fn origin(&self) -> String {
        format!("https://{}", self.front.addr())
    }

    /// Where it listens without TLS.
    #[cfg(test)]
    pub(super) fn behind(&self) -> std::net::SocketAddr {
        self.server.addr()
    }

    pub(super) fn requests(&self) -> Vec<Recorded> {
        self.state.log.requests()
    }

    pub(super) async fn stop(&self) {
        self.front.stop().await;
        self.server.stop().await;
    }
}

#[derive(Debug)]
struct State {
    drive: Arc<Drive>,
    log: Log,
}

impl Handler for State {
    fn log(&self) -> &Log {
        &self.log
    }

    async fn answer(&self, call: Call) -> Result<Response<Body>, HangUp> {
        Ok(reply::with(self.judged(&call), ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
    }
}

impl State {
    fn judged(&self, call: &Call) -> Response<Body> {
        if call.parts.method == "OPTIONS" {
            let answer = reply::with(reply::empty(StatusCode::OK), ACCESS_CONTROL_ALLOW_METHODS, "GET, PUT, DELETE");
            return reply::with(answer, ACCESS_CONTROL_ALLOW_HEADERS, "content-range, content-type");
        }
        if call.parts.headers.contains_key(AUTHORIZATION) {
            return error(
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "The address is the only proof that counts here.",
            );
        }
        let query = Form::parse(call.parts.uri.query().unwrap_or_default().as_bytes());
        let secret = query.get("tempauth").unwrap_or_default();
        match call.parts.method.as_str() {
            "PUT" => self.put(call, secret),
            "GET" => self
                .drive
                .received(secret)
                .map_or_else(unknown, |received| reply::json(StatusCode::OK, &session_json(received))),
            "DELETE" if self.drive.cancel(secret) => reply::empty(StatusCode::NO_CONTENT),
            _ => unknown(),
        }
    }

    fn put(&self, call: &Call, secret: &str) -> Response<Body> {
        let invalid = |why| error(StatusCode::BAD_REQUEST, "invalidRequest", why);
        let range = call.parts.headers.get(CONTENT_RANGE).and_then(|value| parse(value.to_str().ok()?));
        let Some((from, length, total)) = range else { return invalid("Content-Range is missing or wrong.") };
        let chunk = &call.request.body;
        if call.request.body_length != length as u64 {
            return invalid("The body is not as long as Content-Range says.");
        }
        if chunk.len() != length {
            return error(StatusCode::PAYLOAD_TOO_LARGE, "fragmentTooLarge", "This stand-in takes a MiB at once.");
        }
        if from + length < total && length % STEP != 0 {
            return invalid("Every chunk but the last is a multiple of 320 KiB.");
        }
        match self.drive.append(secret, from, chunk, total) {
            Progress::Partly(received) => reply::json(StatusCode::ACCEPTED, &session_json(received)),
            Progress::Complete(file, true) => reply::json(StatusCode::CREATED, &file.json()),
            Progress::Complete(file, false) => reply::json(StatusCode::OK, &file.json()),
            Progress::Elsewhere => {
                error(StatusCode::RANGE_NOT_SATISFIABLE, "invalidRange", "The chunk does not follow the last one.")
            }
            Progress::Unknown => unknown(),
        }
    }
}

fn unknown() -> Response<Body> {
    error(StatusCode::NOT_FOUND, "itemNotFound", "The upload session was not found.")
}

/// Start, length and whole of `bytes 0-327679/819200`.
fn parse(range: &str) -> Option<(usize, usize, usize)> {
    let (part, total) = range.strip_prefix("bytes ")?.split_once('/')?;
    let (from, to) = part.split_once('-')?;
    let (from, to, total) = (from.parse::<usize>().ok()?, to.parse::<usize>().ok()?, total.parse().ok()?);
    (from <= to && to < total).then(|| (from, to - from + 1, total))
}
