//! The gateway alone, as a bench starts and asks it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::super::root;
use super::super::stage::free_port;
use super::Outcome;
use crate::provider::Provider;
use crate::web::client;

/// Longest wait for one start.
const PATIENCE: Duration = Duration::from_secs(10);

/// A session cookie, by a sign-in at a gateway.
pub(super) async fn sign_in(gateway: SocketAddr, provider: &Provider, origin: &str) -> Outcome<String> {
    let navigation = [("sec-fetch-mode", "navigate"), ("accept", "text/html")];
    let login = get(gateway, "/auth/login", &navigation).await?;
    let address = header(&login, "location").ok_or("the gateway does not begin a sign-in")?;
    let callback = provider.sign_in(address, "ada.lovelace@contoso.example")?;
    let path = callback.location().replacen(origin, "", 1);
    let transaction = header(&login, "set-cookie").and_then(pair).ok_or("no login transaction")?;
    let back = get(gateway, &path, &[("cookie", &transaction)]).await?;
    Ok(header(&back, "set-cookie").and_then(pair).ok_or("no session cookie")?)
}

pub(super) async fn get(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Outcome<Response<Bytes>> {
    let mut request = Request::get(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(client::send(request.body(Full::default())?).await?)
}

pub(super) fn header<'a>(answer: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

pub(super) fn pair(line: &str) -> Option<String> {
    line.split(';').next().map(str::to_owned)
}

/// Starts the binary alone and waits until its port takes connections.
pub(super) fn until_listening(
    binary: &Path,
    settings: &BTreeMap<String, String>,
) -> Outcome<(Duration, Running, SocketAddr)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let begun = Instant::now();
    let child = Command::new(binary)
        .current_dir(root())
        .env_clear()
        .envs(settings)
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", address.port().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let running = Running(child);
    until_taken(address.port())?;
    Ok((begun.elapsed(), running, address))
}

/// Waits until a port takes connections, and gives its address.
pub(super) fn until_taken(port: u16) -> Outcome<SocketAddr> {
    let (address, begun) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Instant::now());
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("the process does not listen".into());
        }
        std::hint::spin_loop();
    }
    Ok(address)
}

/// A process that ends with this value.
pub(super) struct Running(pub(super) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
