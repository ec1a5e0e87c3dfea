//! The `GET /` by which the host finds out that its handler listens.

use std::time::Duration;

use http::{Request, Response, StatusCode, header::HOST, header::LOCATION};
use http_body_util::Empty;
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use url::Url;

use super::log::Log;

const POLLING_INTERVAL: Duration = Duration::from_millis(25);
const MOST_REDIRECTS: usize = 50;

/// How the host asks.
pub(super) struct Probe {
    pub(super) port: u16,
    /// The client of proxying mode follows redirects, even to the identity provider.
    pub(super) follow_redirects: bool,
    /// How long a handler that accepts without an answer is waited for. `None` is for ever.
    pub(super) patience: Option<Duration>,
    pub(super) log: Log,
}

impl Probe {
    /// Asks until the handler listens. `false` if it does not within `limit`, counted in pauses as the host counts it.
    pub(super) async fn until_ready(&self, limit: Duration) -> bool {
        let mut paused = Duration::ZERO;
        while !self.once().await {
            if paused >= limit {
                return false;
            }
            tokio::time::sleep(POLLING_INTERVAL).await;
            paused += POLLING_INTERVAL;
        }
        true
    }

    /// Asks once. Any answer will do, and so will any failure after the connection was accepted.
    pub(super) async fn once(&self) -> bool {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return false;
        };
        let Ok(url) = Url::parse(&format!("http://127.0.0.1:{}/", self.port)) else {
            return true;
        };
        let asking = self.ask(stream, url);
        match self.patience {
            None => asking.await,
            Some(patience) => tokio::time::timeout(patience, asking).await.unwrap_or_default(),
        }
        true
    }

    async fn ask(&self, mut stream: TcpStream, mut url: Url) {
        for _ in 0..=MOST_REDIRECTS {
            let Some(next) = get(stream, &url).await.and_then(|response| redirect(&response, &url)) else {
                return;
            };
            if !self.follow_redirects {
                return;
            }
            self.log.warning(format!("readiness ping was redirected to {next}"));
            let (true, Some(host), Some(port)) =
                (next.scheme() == "http", next.host_str(), next.port_or_known_default())
            else {
                return;
            };
            let Ok(followed) = TcpStream::connect((host, port)).await else {
                return;
            };
            (stream, url) = (followed, next);
        }
    }
}

/// A request with no header but `Host`.
async fn get(stream: TcpStream, url: &Url) -> Option<Response<()>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let target = url.query().map_or(url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let request = Request::get(target).header(HOST, url.authority()).body(Empty::<Bytes>::new()).ok()?;
    let response = sender.send_request(request).await.ok()?;
    connection.abort();
    Some(response.map(drop))
}

fn redirect(response: &Response<()>, base: &Url) -> Option<Url> {
    let redirected = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(LOCATION).filter(|_| redirected)?.to_str().ok()?;
    base.join(location).ok()
}
