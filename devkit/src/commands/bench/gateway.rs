//! A gateway without the host, and requests to it.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;

use super::super::stack::free_port;
use super::super::{Result, root};
use crate::os::{self, Signal};
use crate::provider::Provider;
use crate::web::client;

pub(super) const LISTEN: &str = "CLOAKROOM_LISTEN";
/// Longest wait for a process to listen: valgrind takes seconds on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long the wait for it takes no pause, and the pauses after that.
const EXACT: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(10);
/// How long a process has to end by itself.
const TIME_TO_END: Duration = Duration::from_millis(200);

/// Signs in at a gateway and returns the session cookie.
pub(super) async fn sign_in(gateway: SocketAddr, provider: &Provider, origin: &str, user: &str) -> Result<String> {
    let navigation = [("sec-fetch-mode", "navigate"), ("accept", "text/html")];
    let login = get(gateway, "/auth/login", &navigation).await?;
    let address = header(&login, "location").ok_or("the gateway does not start a sign-in")?;
    let callback = provider.sign_in(address, user)?;
    let path = callback.location().replacen(origin, "", 1);
    let transaction = header(&login, "set-cookie").and_then(cookie_pair).ok_or("no login transaction")?;
    let done = get(gateway, &path, &[("cookie", &transaction)]).await?;
    Ok(header(&done, "set-cookie").and_then(cookie_pair).ok_or("no session cookie")?)
}

pub(super) async fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Result<Response<Bytes>> {
    request("GET", address, path, headers).await
}

pub(super) async fn request(
    method: &str,
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Response<Bytes>> {
    Ok(client::send(method, &format!("http://{address}{path}"), headers, "").await?)
}

pub(super) fn header<'a>(response: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The `name=value` of a `Set-Cookie` line.
pub(super) fn cookie_pair(line: &str) -> Option<String> {
    line.split(';').next().map(str::to_owned)
}

/// A process that ends with this value.
pub(super) struct Running(pub(super) Child);

impl Running {
    /// Asks the process to end, and waits until it has.
    pub(super) fn end(mut self) -> Result<()> {
        os::signal(self.0.id(), Signal::Terminate)?;
        let begun = Instant::now();
        while self.0.try_wait()?.is_none() {
            if begun.elapsed() > TIMEOUT {
                return Err("the process does not end".into());
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already. With this signal strace ends the gateway too, but not when it is killed.
        let _ = os::signal(self.0.id(), Signal::Terminate);
        let begun = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && begun.elapsed() < TIME_TO_END {
            std::thread::sleep(PAUSE);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a gateway and waits until it listens: outside Functions if its settings have `CLOAKROOM_LISTEN`, whose value
/// is replaced.
pub(super) fn start(mut gateway: Command, settings: &BTreeMap<String, String>) -> Result<(Running, SocketAddr)> {
    let port = free_port()?;
    let address = match settings.contains_key(LISTEN) {
        true => (LISTEN, format!("127.0.0.1:{port}")),
        false => ("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string()),
    };
    let child = gateway
        .current_dir(root())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(settings)
        .env(address.0, address.1)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut running = Running(child);
    let address = running.wait_until_listening(port)?;
    Ok((running, address))
}

impl Running {
    pub(super) fn wait_until_listening(&mut self, port: u16) -> Result<SocketAddr> {
        let (address, begun) = (SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Instant::now());
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.0.try_wait()? {
                return Err(format!("the process ended before it listened: {status}").into());
            }
            match begun.elapsed() {
                // Sleeping would blur the time of a start.
                elapsed if elapsed < EXACT => std::hint::spin_loop(),
                elapsed if elapsed < TIMEOUT => std::thread::sleep(PAUSE),
                _ => return Err("the process does not listen".into()),
            }
        }
        Ok(address)
    }
}
