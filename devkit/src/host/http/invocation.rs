//! One invocation of a function, and what it needs of the handler.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use tokio::time::{Instant, interval, sleep_until};

use super::client::Client;
use crate::host::config::HostConfig;
use crate::host::log::Level;
use crate::host::process::{Handler, Order, Phase};
use crate::web::response::empty;
use crate::web::{Body, guid};

/// The host checks this often whether the handler is initialized.
const POLLING_INTERVAL: Duration = Duration::from_millis(25);

/// The handler and the connections to it.
pub(crate) struct Worker {
    pub(crate) handler: Arc<Handler>,
    pub(crate) client: Client,
    pub(crate) config: Arc<HostConfig>,
}

/// A request that has found its function.
pub(super) struct Call {
    /// As Kestrel decoded it.
    pub(super) path: String,
    pub(super) client: Parts,
    pub(super) peer: IpAddr,
    /// Of the URL that the client used.
    pub(super) scheme: &'static str,
}

impl Call {
    /// The request to the handler, whose target and headers the mode decides.
    pub(super) fn request<B>(&self, target: &str, headers: HeaderMap, body: B) -> Result<Request<B>, String> {
        let method = self.client.method.as_str().to_ascii_uppercase();
        let known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
        let method = known.iter().find(|known| **known == method).and_then(|known| known.parse().ok());
        request(method.unwrap_or_else(|| self.client.method.clone()), target, headers, body)
    }
}

pub(super) fn request<B>(method: Method, target: &str, headers: HeaderMap, body: B) -> Result<Request<B>, String> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = target.parse().map_err(|error| format!("the target {target} is not valid: {error}"))?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// One invocation of a function, by a request or by a timer.
pub(crate) struct Invocation {
    pub(crate) id: String,
    pub(super) function: String,
    pub(super) worker: Arc<Worker>,
    started: Instant,
    /// The start of the handler process that gets it.
    process: u64,
}

impl Invocation {
    pub(crate) fn new(worker: &Arc<Worker>, function: &str) -> Self {
        Self {
            id: guid(rand::random()),
            function: function.to_owned(),
            worker: Arc::clone(worker),
            started: Instant::now(),
            process: 0,
        }
    }

    /// Waits for the handler. When that takes too long, the host shuts down.
    pub(crate) async fn initialized(&mut self) -> bool {
        let handler = &self.worker.handler;
        let limit = Instant::now() + self.worker.config.initialization_timeout * 4;
        let mut ticks = interval(POLLING_INTERVAL);
        loop {
            let state = handler.state();
            match state.phase {
                Phase::Initialized => {
                    self.process = state.starts;
                    return true;
                }
                Phase::Stopped | Phase::Down => return false,
                Phase::Starting if Instant::now() >= limit => {
                    handler.shut_down("Initialization timed out and host is shutting down");
                    return false;
                }
                Phase::Starting => drop(ticks.tick().await),
            }
        }
    }

    /// Logs the start.
    pub(crate) fn executing(&self, reason: &str) {
        let text = format!("Executing 'Functions.{}' (Reason='{reason}', Id={})", self.function, self.id);
        self.write(Level::Information, text);
    }

    pub(super) fn succeeded(&self) {
        let duration = self.started.elapsed().as_millis();
        let (function, id) = (&self.function, &self.id);
        let text = format!("Executed 'Functions.{function}' (Succeeded, Id={id}, Duration={duration}ms)");
        self.write(Level::Information, text);
    }

    /// Writes a line about this invocation, or one of its function's.
    pub(super) fn write(&self, level: Level, text: impl Into<String>) {
        self.worker.handler.log.write(&format!("Function.{}", self.function), level, text);
    }

    /// Logs a failure. Returns what the client gets.
    pub(super) fn failed(&self, reason: &str) -> Response<Body> {
        let text = format!("Executed 'Functions.{}' (Failed, Id={}): {reason}", self.function, self.id);
        self.write(Level::Error, text);
        empty(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Ends when the function has taken too long, which also ends the handler process.
    pub(super) async fn timed_out(&self) -> Response<Body> {
        let Some(limit) = self.worker.config.function_timeout else {
            return std::future::pending().await;
        };
        sleep_until(self.started + limit).await;
        let response = self.failed(&format!("Timeout value of {limit:?} was exceeded; the handler is restarted"));
        self.worker.handler.order(Order::Recycle(self.process));
        response
    }
}
