//! The `GET /` by which the host finds out that its handler listens.

use std::io;
use std::time::Duration;

use http::header::{HOST, LOCATION};
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use url::Url;

use crate::host::log::Log;

const POLLING_INTERVAL: Duration = Duration::from_millis(25);
const MAX_REDIRECTS: usize = 50;

#[derive(Clone)]
pub(crate) struct Probe {
    pub(crate) port: u16,
    /// The client of proxying mode follows redirects, even to the identity provider.
    pub(crate) follow_redirects: bool,
    /// How long to wait for the response of a handler that accepts the connection. `None` is without limit.
    pub(crate) patience: Option<Duration>,
    pub(crate) log: Log,
}

impl Probe {
    /// Repeats the request until the handler listens. `false` if it does not within `limit`, which the host counts in
    /// its pauses.
    pub(super) async fn until_ready(&self, limit: Duration) -> bool {
        let mut paused = Duration::ZERO;
        while !self.once().await {
            if paused >= limit {
                return false;
            }
            sleep(POLLING_INTERVAL).await;
            paused += POLLING_INTERVAL;
        }
        true
    }

    /// Whether the handler accepts a connection. Its response does not matter, nor does a failure after that.
    pub(crate) async fn once(&self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return false;
        };
        // A failure is as good as a response.
        let _ = timeout(self.patience.unwrap_or(Duration::MAX), self.exchange(stream)).await;
        true
    }

    async fn exchange(&self, mut stream: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut url = Url::parse(&format!("http://127.0.0.1:{}/", self.port))?;
        for _ in 0..=MAX_REDIRECTS {
            let response = get(stream, &url).await?;
            let redirected = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) && self.follow_redirects;
            let Some(location) = response.headers().get(LOCATION).filter(|_| redirected) else { break };
            url = url.join(location.to_str()?)?;
            self.log.warning(format!("readiness ping was redirected to {url}"));
            let (Some(host), Some(port), "http") = (url.host_str(), url.port_or_known_default(), url.scheme()) else {
                break;
            };
            stream = TcpStream::connect((host, port)).await?;
        }
        Ok(())
    }
}

/// A request with no header but `Host`.
async fn get(stream: TcpStream, url: &Url) -> io::Result<Response<()>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let target = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let request = Request::get(target).header(HOST, url.authority()).body(Empty::<Bytes>::new());
    let response = sender.send_request(request.map_err(io::Error::other)?).await.map_err(io::Error::other)?;
    connection.abort();
    Ok(response.map(drop))
}
