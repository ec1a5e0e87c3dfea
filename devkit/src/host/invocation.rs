//! One call of a function, from its admission to its mode.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{
    HeaderMap, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, TRANSFER_ENCODING},
    request::Parts,
};
use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use tokio::time::{Instant, interval, sleep, sleep_until};

use super::{
    Body, CodeLookup, Mode, empty,
    forward::forward,
    functions::Function,
    handler::{Order, Phase},
    payload,
    proxy::proxy,
    server::App,
    uuid,
};

/// The host looks this often whether the handler is initialized.
const POLLING_INTERVAL: Duration = Duration::from_millis(25);

/// One call of a function, by a request or by a timer.
pub(super) struct Invocation {
    pub(super) id: String,
    pub(super) function: String,
    started: Instant,
}

/// A request that has found its function.
pub(super) struct Call {
    pub(super) invocation: Invocation,
    /// As Kestrel decoded it.
    pub(super) path: String,
    pub(super) parts: Parts,
    pub(super) peer: IpAddr,
}

/// What .NET says of a chunked request that is forwarded.
const CHUNKED: &str = "'Transfer-Encoding: chunked' header can not be used when content object is not specified.";

/// A request's body.
pub(super) enum Upload {
    /// The HTTP extension reads every body of known length before the function is called, whatever the mode.
    Whole(Bytes),
    /// A chunked body.
    Stream(Incoming),
}

impl Invocation {
    pub(super) fn new(function: &str) -> Self {
        Self { id: uuid(), function: function.to_owned(), started: Instant::now() }
    }

    pub(super) fn succeeded(&self, app: &App) {
        app.handler.log.information(format!("Executed 'Functions.{}' (Succeeded, Id={})", self.function, self.id));
    }

    pub(super) fn failed(&self, app: &App, reason: &str) {
        app.handler.log.error(format!("Executed 'Functions.{}' (Failed, Id={}): {reason}", self.function, self.id));
    }
}

/// The end of the time that a function may take.
pub(super) struct Deadline<'a> {
    app: &'a App,
    invocation: &'a Invocation,
    generation: u64,
}

impl<'a> Deadline<'a> {
    pub(super) fn new(app: &'a App, invocation: &'a Invocation) -> Self {
        Self { app, invocation, generation: app.handler.generation() }
    }

    /// Ends when the time is up, and takes the whole handler process along.
    pub(super) async fn passed(&self) {
        let Some(limit) = self.app.function_timeout else {
            return std::future::pending().await;
        };
        sleep_until(self.invocation.started + limit).await;
        let reason = format!("Timeout value of {limit:?} was exceeded; the handler is restarted");
        self.invocation.failed(self.app, &reason);
        self.app.handler.order(Order::Recycle(self.generation));
    }
}

/// Calls a function for a request.
pub(super) async fn invoke(
    app: &Arc<App>,
    function: &Function,
    path: String,
    peer: IpAddr,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Some(refusal) = refusal(app, function, &request).await {
        return refusal;
    }
    let (parts, body) = request.into_parts();
    let call = Call { invocation: Invocation::new(&function.name), path, parts, peer };
    let mode = if function.forwardable { app.mode } else { Mode::Payload };
    if mode == Mode::Forward && call.parts.headers.contains_key(TRANSFER_ENCODING) {
        call.invocation.failed(app, CHUNKED);
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    }
    let upload = match receive(&call.parts.headers, body, app.body_limit).await {
        Ok(upload) => upload,
        Err(status) => return empty(status),
    };
    if !initialized(app).await {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    }
    match (mode, upload) {
        (Mode::Forward, Upload::Whole(body)) => forward(app, call, body).await,
        (Mode::Payload, Upload::Whole(body)) => payload::serve(app, function, call, body).await,
        // The HTTP extension reads no body without a length, so that the handler is told of none.
        (Mode::Payload, Upload::Stream(_)) => payload::serve(app, function, call, Bytes::new()).await,
        (_, upload) => proxy(app, call, upload).await,
    }
}

/// What the host's own authorization answers. The local host checks no keys unless it is told to.
async fn refusal(app: &App, function: &Function, request: &Request<Incoming>) -> Option<Response<Body>> {
    let query = request.uri().query().unwrap_or_default().as_bytes();
    let code = url::form_urlencoded::parse(query).find(|(name, _)| name.eq_ignore_ascii_case("code"));
    let key = request.headers().get("x-functions-key");
    if !function.anonymous {
        let required = app.key.as_ref()?;
        let by_header = key.is_some_and(|key| key == required.as_str());
        let by_query = code.is_some_and(|(_, code)| code == required.as_str());
        return (!by_header && !by_query).then(|| empty(StatusCode::UNAUTHORIZED));
    }
    if code.is_none() && key.is_none() && !request.headers().contains_key("x-ms-client-principal") {
        return None;
    }
    match app.code_lookup? {
        CodeLookup::Fail => Some(empty(StatusCode::INTERNAL_SERVER_ERROR)),
        CodeLookup::Delay(delay) => {
            sleep(delay).await;
            None
        }
    }
}

async fn receive(headers: &HeaderMap, body: Incoming, limit: usize) -> Result<Upload, StatusCode> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Ok(Upload::Stream(body));
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > limit) {
        return Err(StatusCode::PAYLOAD_TOO_LARGE);
    }
    let body = body.collect().await.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(Upload::Whole(body.to_bytes()))
}

/// Waits for the handler. When that takes too long, the host shuts down.
pub(super) async fn initialized(app: &App) -> bool {
    let limit = Instant::now() + app.initialization_timeout * 4;
    let mut ticks = interval(POLLING_INTERVAL);
    loop {
        match app.handler.phase() {
            Phase::Initialized => return true,
            Phase::Stopped | Phase::Down => return false,
            Phase::Starting if Instant::now() >= limit => {
                app.handler.shut_down("Initialization timed out and host is shutting down");
                return false;
            }
            Phase::Starting => drop(ticks.tick().await),
        }
    }
}
