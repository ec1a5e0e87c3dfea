//! `cargo dev profile`: records how often each part of the gateway runs, under load and in whole journeys, so that
//! signing in does not count as code that never runs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use serde_json::json;

use super::super::stack::{Backends, Options, Store, free_port};
use super::super::{Result, build_release_with, exit_code, package, profile, root, setup, target, usage};
use super::gateway::{self, LISTEN, sign_in};
use super::stage::{BROWSER, USER};
use super::{client, stack_options};
use crate::graph::{Graph, GraphOptions};
use crate::provider::GRAPH;
use crate::redis_server::GET_REDIS;
use crate::web::client::send;

const USAGE: &str = "usage: cargo dev profile

  Records a profile of the gateway for `cargo dev package --profile-use FILE`, on Linux with x86_64: builds it with
  counters, runs journeys and load, and writes dist/cloakroom-VERSION-TARGET-rustc-VERSION.profdata. It needs
  redis-server, and llvm-profdata (rustup component add llvm-tools).";
/// Journeys in each way of running the gateway, and the calls under load after them.
const JOURNEYS: u32 = 40;
const CALLS: u32 = 20_000;
const CONNECTIONS: u32 = 16;
const NAVIGATION: [(&str, &str); 3] =
    [("accept", "text/html"), ("sec-fetch-dest", "document"), ("sec-fetch-mode", "navigate")];

/// Returns the exit code.
pub async fn run(arguments: &[&str]) -> u8 {
    match arguments {
        [] => exit_code(record().await),
        _ => usage(USAGE),
    }
}

async fn record() -> Result<()> {
    let merge = llvm_profdata()?;
    if !setup::redis_server() {
        return Err(format!("redis-server is required: {GET_REDIS}").into());
    }
    let counters = target().join("profile");
    if counters.exists() {
        std::fs::remove_dir_all(&counters)?;
    }
    let flag = format!("-Cprofile-generate={}", counters.display());
    let binary = build_release_with(Some(package::TARGET), &[flag], &[])?;
    for (store, standalone) in [(Store::Cookie, false), (Store::Cookie, true), (Store::Redis, true)] {
        println!("Training: {store:?}, {}", if standalone { "a server" } else { "as a handler of Azure Functions" });
        train(&binary, store, standalone).await?;
    }
    let file = root().join("dist").join(profile::file_name(package::TARGET)?);
    std::fs::create_dir_all(root().join("dist"))?;
    let merged = Command::new(merge).args(["merge", "--output"]).args([&file, &counters]).status()?;
    if !merged.success() {
        return Err("llvm-profdata does not merge the counters: was the gateway killed before it wrote them?".into());
    }
    println!("{}, {:.1} MB", file.display(), std::fs::metadata(&file)?.len() as f64 / 1e6);
    Ok(())
}

/// The tool of the active toolchain: counters of another LLVM's format cannot be merged.
fn llvm_profdata() -> Result<PathBuf> {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output()?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let program = libraries.parent().unwrap_or(&libraries).join("bin/llvm-profdata");
    if program.is_file() {
        Ok(program)
    } else {
        Err("llvm-profdata is required: rustup component add llvm-tools".into())
    }
}

/// Runs one gateway, which writes its counters at the end.
async fn train(binary: &Path, store: Store, standalone: bool) -> Result<()> {
    let options = Options { ports: [free_port()?, 0, 0], store, ..stack_options(binary) };
    let backends = Backends::start(&options).await?;
    let audience = "api://orders";
    let orders = GraphOptions { audience: audience.to_owned(), ..GraphOptions::new(&backends.provider.issuer()) };
    let orders = Graph::start(orders).await?;
    let mut settings = backends.settings.clone();
    settings.insert("CLOAKROOM_APIS".to_owned(), apis(&backends.graph, &orders));
    if standalone {
        settings.insert(LISTEN.to_owned(), String::new());
    }
    let (running, address) = gateway::start(Command::new(binary), &settings)?;
    for _ in 0..JOURNEYS {
        journey(address, &backends).await?;
    }
    let cookie = sign_in(address, &backends.provider, &backends.origin, USER).await?;
    let headers = BROWSER.into_iter().chain([("Cookie", cookie.as_str())]);
    let request = Request::get("/graph/me").header("Host", address.to_string());
    let request = headers.fold(request, |request, (name, value)| request.header(name, value));
    client::send(address.port(), &request.body(Empty::new())?, CALLS, CONNECTIONS).await?;
    running.end()
}

fn apis(graph: &Graph, orders: &Graph) -> String {
    let allow = ["GET /me", "GET /me/**", "POST /me/sendMail"];
    let graph = json!({"route": "/graph", "base": graph.base(), "scopes": [format!("{GRAPH}/User.Read")], "allow": allow,
        "sign_in": true});
    let orders = json!({"base": orders.base(), "scopes": ["api://orders/Orders.Read"], "allow": ["GET /me"]});
    json!({"graph": graph, "orders": orders}).to_string()
}

/// A browser's requests from the page to the end of the session, and some that are rejected.
async fn journey(gateway: SocketAddr, backends: &Backends) -> Result<()> {
    let mut browser = Browser { gateway, cookies: BTreeMap::new() };
    browser.navigate("/", 200).await?;
    for (name, _) in package::files(&root().join(package::SPA))? {
        browser.navigate(&format!("/{name}"), 200).await?;
    }
    browser.fetch("GET", "/auth/session", "", 200).await?;
    browser.fetch("GET", "/graph/me", "", 401).await?;
    browser.store(&sign_in(gateway, &backends.provider, &backends.origin, USER).await?);
    browser.fetch("GET", "/auth/session", "", 200).await?;
    for _ in 0..3 {
        browser.fetch("GET", "/graph/me", "", 200).await?;
        browser.fetch("GET", "/api/orders/me", "", 200).await?;
        browser.fetch("POST", "/graph/me/sendMail", r#"{"message": {"subject": "some subject"}}"#, 202).await?;
    }
    browser.fetch("GET", "/graph/users", "", 404).await?;
    browser.fetch("POST", "/auth/refresh", "", 204).await?;
    browser.fetch("GET", "/graph/me", "", 200).await?;
    browser.fetch("POST", "/auth/logout", "", 200).await?;
    browser.navigate("/health/ready", 200).await
}

struct Browser {
    gateway: SocketAddr,
    /// By their names: a session in two cookies is another one than the first of them.
    cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn navigate(&mut self, path: &str, status: u16) -> Result<()> {
        self.request("GET", path, &NAVIGATION, "", status).await
    }

    async fn fetch(&mut self, method: &str, path: &str, body: &str, status: u16) -> Result<()> {
        self.request(method, path, &BROWSER, body, status).await
    }

    async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
        status: u16,
    ) -> Result<()> {
        let cookie: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookie = cookie.join("; ");
        let own = [("cookie", cookie.as_str()), ("content-type", "application/json")];
        let used = [!cookie.is_empty(), !body.is_empty()];
        let own = own.into_iter().zip(used).filter_map(|(header, is_used)| is_used.then_some(header));
        let headers: Vec<_> = headers.iter().copied().chain(own).collect();
        let response: Response<Bytes> =
            send(method, &format!("http://{}{path}", self.gateway), &headers, body.to_owned()).await?;
        if response.status() != status {
            let text = String::from_utf8_lossy(response.body());
            return Err(format!("{method} {path} got {} instead of {status}: {text}", response.status()).into());
        }
        let lines = response.headers().get_all("set-cookie").iter().filter_map(|line| line.to_str().ok());
        lines.for_each(|line| self.store(line));
        Ok(())
    }

    /// Stores or deletes the cookie of a `Set-Cookie` line.
    fn store(&mut self, line: &str) {
        let pair = line.split(';').next().and_then(|pair| pair.split_once('='));
        match pair {
            Some((name, "")) => drop(self.cookies.remove(name)),
            Some((name, value)) => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            None => {}
        }
    }
}
