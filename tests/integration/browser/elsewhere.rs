//! Pages on another origin: one that tries to reach the gateway, a SPA that the gateway lets call, one that frames the
//! gateway's page, and one with a link to a sign-in.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Writes the result of each attempt to `data-results`, once all have ended.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Elsewhere</title><link rel="icon" href="data:,">
<body>
<form method="post" action="TARGET/auth/logout"><button id="post">Win a prize</button></form>
<a id="link" href="TARGET/graph/me">Read more</a>
<script type="module">
  const request = (path, init) => fetch('TARGET' + path, { credentials: 'include', ...init })
    .then((response) => response.type, (error) => error.name);
  const image = (path) => new Promise((resolve) => {
    const element = new Image();
    element.onload = () => resolve('shown');
    element.onerror = () => resolve('broken');
    element.src = 'TARGET' + path;
  });
  const results = await Promise.all([
    request('/graph/me', { headers: { 'X-CSRF': '1' } }),
    request('/graph/me'),
    request('/graph/me', { mode: 'no-cors' }),
    request('/auth/logout', { method: 'POST', mode: 'no-cors' }),
    request('/auth/logout', { method: 'POST', mode: 'no-cors', body: new URLSearchParams({ lt: 'guess' }) }),
    image('/graph/me/photo/$value'),
  ]);
  document.body.dataset.results = results.join(' ');
</script>
"#;

/// The result if nothing worked: no response may be read or embedded (contract 8.9a), so each is an error.
pub const NOTHING: &str = "TypeError TypeError TypeError TypeError TypeError broken";

/// A SPA on another origin. Writes the result of each call to `data-results`, once all have ended.
const SPA: &str = r#"<!doctype html><meta charset="utf-8"><title>SPA</title><link rel="icon" href="data:,">
<body>
<script type="module">
  const call = (path, init) => fetch('TARGET' + path, { credentials: 'include', ...init });
  const headers = { 'X-CSRF': '1' };
  const results = await Promise.all([
    call('/auth/session').then((response) => response.json()).then((session) => session.user?.name),
    call('/graph/me', { headers }).then((response) => response.json()).then((user) => user.displayName),
    call('/auth/refresh', { method: 'POST', headers }).then((response) => response.status),
    call('/graph/no-such-path', { headers }).then((response) => response.headers.get('Cloakroom-Error')),
  ].map((result) => result.catch((error) => error.name)));
  document.body.dataset.results = results.join(', ');
</script>
"#;

/// A page on another origin with the client of the gateway, which it has as `gateway`. Writes the users of all sessions
/// that it gets to `data-seen`. It may create no script from text.
const CLIENT: &str = r#"<!doctype html><meta charset="utf-8"><title>Client</title><link rel="icon" href="data:,">
<meta http-equiv="Content-Security-Policy" content="require-trusted-types-for 'script'; trusted-types 'none'">
<body>
<script type="module">
  import { createCloakroom } from 'TARGET/cloakroom.js';
  window.target = 'TARGET';
  window.gateway = createCloakroom({ origin: window.target });
  const seen = [];
  window.gateway.subscribe((session) => {
    seen.push(session.user?.name ?? 'none');
    document.body.dataset.seen = seen.join(', ');
  });
</script>
"#;

/// Frames the gateway's page, and says so once the frame has loaded, even if the browser blocks it.
const NEIGHBOUR: &str = r#"<!doctype html><meta charset="utf-8"><title>Neighbour</title><link rel="icon" href="data:,">
<body>
<iframe src="TARGET" width="700" height="900" onload="document.body.dataset.loaded = ''"></iframe>
"#;

/// Has links that begin a sign-in.
const LINK: &str = r#"<!doctype html><meta charset="utf-8"><title>Link</title><link rel="icon" href="data:,">
<body>
<a id="link" href="TARGET/auth/login?prompt=select_account">Sign in</a>
<a id="persist" href="TARGET/auth/login?persist=true">Sign in for good</a>
"#;

/// Serves a page at every path until it is dropped.
pub struct Elsewhere {
    /// Its port, reachable under every host name of the loopback.
    pub port: u16,
    server: JoinHandle<()>,
}

impl Elsewhere {
    /// Starts the page, which attacks the origin `target`.
    pub async fn start(target: &str) -> Self {
        Self::serve(0, PAGE.replace("TARGET", target)).await
    }

    /// Starts the SPA, which calls the gateway at the origin `target`, on a port.
    pub async fn spa(port: u16, target: &str) -> Self {
        Self::serve(port, SPA.replace("TARGET", target)).await
    }

    /// Starts the page with the client of the gateway at the origin `target`, on a port.
    pub async fn client(port: u16, target: &str) -> Self {
        Self::serve(port, CLIENT.replace("TARGET", target)).await
    }

    /// Starts the page that frames the one at the origin `target`, on a port.
    pub async fn neighbour(port: u16, target: &str) -> Self {
        Self::framing(port, &format!("{target}/")).await
    }

    /// Starts the page that frames the one at this address, on a port.
    pub async fn framing(port: u16, address: &str) -> Self {
        Self::serve(port, NEIGHBOUR.replace("TARGET", address)).await
    }

    /// Starts the page with links to a sign-in at the origin `target`.
    pub async fn link(target: &str) -> Self {
        Self::serve(0, LINK.replace("TARGET", target)).await
    }

    async fn serve(port: u16, page: String) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Browsers open connections that they do not use, so none may block the others.
                tokio::spawn(response(stream, page.clone()));
            }
        });
        Self { port, server }
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn response(mut stream: TcpStream, page: String) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length:";
    stream.write_all(format!("{head} {}\r\n\r\n{page}", page.len()).as_bytes()).await
}
