use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep_until};

use crate::web::{Body, Form, HangUp, response};

const CHUNK: usize = 16 * 1024;
const BINARY: &str = "application/octet-stream";

/// A head after `first` ms, then `chunks` chunks, the last of them `total` ms after the request. Chunked.
pub(super) async fn slow(query: &Form) -> Response<Body> {
    let number = |name, default| query.get(name).and_then(|text| text.parse::<u32>().ok()).unwrap_or(default);
    let (first, total, chunks) = (number("first", 0), number("total", 0), number("chunks", 1).max(1));
    let start = Instant::now() + Duration::from_millis(first.into());
    let step = Duration::from_millis(total.saturating_sub(first).into()) / chunks;
    sleep_until(start).await;
    let frames = stream::unfold(0, move |sent: u32| async move {
        if sent >= chunks {
            return None;
        }
        sleep_until(start + step * (sent + 1)).await;
        Some((Ok::<_, io::Error>(Frame::data(Bytes::from(format!("chunk {sent}\n")))), sent + 1))
    });
    streamed(StreamBody::new(frames).boxed_unsync(), "text/plain")
}

/// Server-sent events. Chunked.
pub(super) fn events(events: broadcast::Receiver<String>) -> Response<Body> {
    let frames = stream::unfold(events, |mut events| async move {
        let event = events.recv().await.ok()?;
        Some((Ok::<_, io::Error>(Frame::data(Bytes::from(format!("data: {event}\n\n")))), events))
    });
    streamed(StreamBody::new(frames).boxed_unsync(), "text/event-stream")
}

/// `n` bytes, repeating 0 to 255.
pub(super) fn bytes(query: &Form) -> Response<Body> {
    let size = query.get("n").and_then(|text| text.parse::<usize>().ok()).unwrap_or(0);
    let pattern: Bytes = (0..CHUNK).map(|place| (place % 256) as u8).collect();
    let frames = stream::unfold(size, move |left| {
        let chunk = pattern.slice(..left.min(CHUNK));
        let frame = (left > 0).then(|| (Ok::<_, io::Error>(Frame::data(chunk)), left.saturating_sub(CHUNK)));
        std::future::ready(frame)
    });
    let response = streamed(StreamBody::new(frames).boxed_unsync(), BINARY);
    match query.get("chunked") {
        Some("1") => response,
        _ => response::with(response, "content-length", &size.to_string()),
    }
}

/// Closes the connection: at once, or in the middle of a body that was declared as 1,000 bytes.
pub(super) fn hang_up(query: &Form) -> Result<Response<Body>, HangUp> {
    let after = query.get("after").and_then(|text| text.parse::<usize>().ok()).ok_or(HangUp)?;
    let response = response::bytes(StatusCode::OK, BINARY, Bytes::new());
    Ok(response::truncated(response, Bytes::from(vec![b'x'; after.min(999)]), 1_000))
}

fn streamed(body: Body, content_type: &'static str) -> Response<Body> {
    response::bytes(StatusCode::OK, content_type, Bytes::new()).map(|_| body)
}
