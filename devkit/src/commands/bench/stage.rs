//! What all comparisons under load share: the API, the provider, and gateways with a signed-in user.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use http::Request;
use http_body_util::Empty;
use serde_json::{Value, json};

use super::super::stack::{Backends, Options, free_port, key_file, write_private};
use super::super::{Result, build_release, package, setup, target};
use super::client;
use super::gateway::{self, Running, cookie_pair, get, header, request, sign_in};
use super::peers::{self, Load, MEASURED, Nginx, pinned};
use super::{binary_or, stack_options};
use crate::os::{self, Signal};
use crate::provider::GRAPH;

/// The length of a turn.
const SECONDS: u32 = 2;
pub(super) const USER: &str = "ada.lovelace@contoso.example";
/// The headers of a browser besides its cookie.
pub(super) const BROWSER: [(&str, &str); 9] = [
    ("Accept", "application/json, text/plain, */*"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Accept-Language", "en-GB,en;q=0.9,de;q=0.8"),
    ("Referer", "https://app.contoso.example/"),
    ("Sec-Fetch-Dest", "empty"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Site", "same-origin"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
    ),
    ("X-CSRF", "1"),
];

/// A server under load.
pub(super) struct Server {
    process: Running,
    port: u16,
    cookie: RefCell<String>,
}

#[derive(Clone, Copy)]
pub(super) struct Turn {
    pub(super) load: Load,
    /// Microseconds per call.
    pub(super) processor: f64,
}

/// What every gateway and nginx under load connects to.
pub(super) struct Stage {
    backends: Backends,
    api: Nginx,
    /// The measured gateway.
    binary: PathBuf,
    /// How many gateways have a key file. Each has its own, since it reads the file again after some minutes.
    key_files: Cell<u32>,
}

impl Stage {
    /// For this binary or the one that is shipped, under the load of wrk.
    pub(super) async fn start(binary: Option<&Path>) -> Result<Self> {
        if !setup::nginx_and_wrk() {
            return Err("nginx, wrk and taskset are required: apt-get install nginx-light wrk util-linux".into());
        }
        Self::of(binary_or(binary, || build_release(Some(package::TARGET)))?).await
    }

    /// For this binary. It needs nginx.
    pub(super) async fn of(binary: PathBuf) -> Result<Self> {
        // No host listens there: clients connect to the gateways themselves.
        let options = Options { ports: [free_port()?, 0, 0], ..stack_options(&binary) };
        Ok(Self { backends: Backends::start(&options).await?, api: Nginx::api()?, binary, key_files: Cell::new(0) })
    }

    /// A gateway with so many keys and patterns, and with further settings.
    pub(super) async fn gateway(&self, keys: u32, patterns: u32, more: &[(&str, String)]) -> Result<Server> {
        self.gateway_on(MEASURED, keys, patterns, more).await
    }

    /// The same on other cores.
    pub(super) async fn gateway_on(
        &self,
        cores: &str,
        keys: u32,
        patterns: u32,
        more: &[(&str, String)],
    ) -> Result<Server> {
        self.server(pinned(cores, &self.binary), keys, patterns, more).await
    }

    /// The same, started by this command.
    pub(super) async fn server(
        &self,
        command: Command,
        keys: u32,
        patterns: u32,
        more: &[(&str, String)],
    ) -> Result<Server> {
        let mut settings = self.settings(keys, patterns)?;
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Server::start(command, &self.backends, &settings).await
    }

    /// The cookie of a new session at one of its gateways, whose user is one of a hundred.
    pub(super) async fn sign_in(&self, server: &Server, number: usize) -> Result<String> {
        let user = format!("user-{}@contoso.example", number % 100);
        sign_in(server.address(), &self.backends.provider, &self.backends.origin, &user).await
    }

    /// The settings of a gateway with so many keys and patterns, whose last patterns match the calls.
    fn settings(&self, keys: u32, patterns: u32) -> Result<BTreeMap<String, String>> {
        let others = (1..patterns).map(|number| format!("GET /users/*/things-{number}/**"));
        let allow: Vec<String> = others.chain(["GET /me".to_owned(), "GET /large".to_owned()]).collect();
        let apis = json!({"graph": {
            "route": "/graph",
            "base": format!("http://127.0.0.1:{}/v1.0", self.api.port),
            "scopes": [format!("{GRAPH}/User.Read")],
            "allow": allow,
            "sign_in": true,
        }});
        let number = self.key_files.replace(self.key_files.get() + 1);
        let file = target().join(format!("devkit/bench/keys-{number}.json"));
        write_private(&file, &key_file(keys).to_string())?;
        let mut settings = self.backends.settings.clone();
        settings.insert("CLOAKROOM_APIS".to_owned(), apis.to_string());
        settings.insert("CLOAKROOM_KEY_FILE".to_owned(), file.display().to_string());
        Ok(settings)
    }

    pub(super) fn binary(&self) -> &Path {
        &self.binary
    }

    /// An nginx that is sent the same requests as a gateway.
    pub(super) fn nginx(&self, like: &Server) -> Result<Server> {
        let token = self.backends.provider.access_token(USER, &format!("{GRAPH}/User.Read"));
        let proxy = Nginx::proxy(self.api.port, &token.ok_or("no access token")?)?;
        Ok(Server { process: proxy.process, port: proxy.port, cookie: like.cookie.clone() })
    }
}

impl Server {
    /// A gateway with a signed-in user.
    async fn start(command: Command, backends: &Backends, settings: &BTreeMap<String, String>) -> Result<Self> {
        let (process, address) = gateway::start(command, settings)?;
        let cookie = sign_in(address, &backends.provider, &backends.origin, USER).await?;
        Ok(Self { process, port: address.port(), cookie: RefCell::new(cookie) })
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.0.id()
    }

    /// Asks the process to end.
    pub(super) fn terminate(&self) -> Result<()> {
        Ok(os::signal(self.process_id(), Signal::Terminate)?)
    }

    pub(super) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.process.0.try_wait()?.is_some())
    }

    /// Sends exactly so many calls over so many connections.
    pub(super) async fn calls(&self, path: &str, calls: u32, connections: u32) -> Result<()> {
        let cookie = self.newest_cookie().await?;
        let request = Request::get(path).header("Host", format!("127.0.0.1:{}", self.port));
        let headers = BROWSER.into_iter().chain([("Cookie", cookie.as_str())]);
        let request = headers.fold(request, |request, (name, value)| request.header(name, value));
        client::send(self.port, &request.body(Empty::new())?, calls, connections).await
    }

    /// A turn of load over so many connections.
    pub(super) async fn turn(&self, path: &str, connections: u32) -> Result<Turn> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let cookie = self.newest_cookie().await?;
        let headers: Vec<_> = BROWSER.into_iter().chain([("Cookie", cookie.as_str())]).collect();
        let before = processor_time(self.process.0.id())?;
        let load = peers::load(&url, &headers, connections, SECONDS)?;
        let spent = processor_time(self.process.0.id())? - before;
        Ok(Turn { load, processor: spent as f64 / 1e3 / load.calls as f64 })
    }

    fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Refreshes the tokens of a session.
    pub(super) async fn refresh(&self, cookie: &str) -> Result<()> {
        let headers = [("cookie", cookie), ("x-csrf", "1"), ("sec-fetch-site", "same-origin")];
        let response = request("POST", self.address(), "/auth/refresh", &headers).await?;
        let status = response.status();
        if status == 204 { Ok(()) } else { Err(format!("a refresh got {status}").into()) }
    }

    /// A connection that has done one call.
    pub(super) fn call_once(&self) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let headers: String = BROWSER.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        write!(stream, "GET /graph/me HTTP/1.1\r\nHost: bench\r\n{headers}Cookie: {}\r\n\r\n", self.cookie.borrow())?;
        let mut read = Vec::new();
        // Only at the end of the body is a quote followed by a brace.
        while !read.ends_with(b"\"}") {
            let mut part = [0; 4_096];
            match stream.read(&mut part)? {
                0 => return Err("the gateway closes a connection".into()),
                length => read.extend(part.iter().take(length)),
            }
        }
        if read.starts_with(b"HTTP/1.1 200") { Ok(stream) } else { Err("a call failed".into()) }
    }

    /// The cookie as a browser has it by now. wrk stores none, and the gateway renews an old one with every call.
    async fn newest_cookie(&self) -> Result<String> {
        let cookie = self.cookie.borrow().clone();
        let headers = [("cookie", cookie.as_str()), ("x-csrf", "1"), ("sec-fetch-site", "same-origin")];
        let response = get(self.address(), "/graph/me", &headers).await?;
        let newest = header(&response, "set-cookie").and_then(cookie_pair).unwrap_or(cookie);
        self.cookie.replace(newest.clone());
        Ok(newest)
    }
}

/// A turn of several servers at once, each with so many connections: the sum of their calls.
pub(super) async fn turn_at_once(servers: &[&Server], path: &str, connections: u32) -> Result<Turn> {
    let mut requests = Vec::new();
    for server in servers {
        requests.push((format!("http://127.0.0.1:{}{path}", server.port), server.newest_cookie().await?));
    }
    let spent = || servers.iter().map(|server| processor_time(server.process_id())).sum::<Result<u64>>();
    let before = spent()?;
    let loads = std::thread::scope(|scope| {
        let run = |(url, cookie): &(String, String)| {
            let headers: Vec<_> = BROWSER.into_iter().chain([("Cookie", cookie.as_str())]).collect();
            peers::load(url, &headers, connections, SECONDS)
        };
        let running: Vec<_> = requests.iter().map(|request| scope.spawn(move || run(request))).collect();
        let ended = running.into_iter().map(|load| load.join().map_err(|_| "a load panicked")?);
        ended.collect::<Result<Vec<Load>>>()
    })?;
    let spent = spent()? - before;
    let calls = loads.iter().map(|load| load.calls).sum();
    let rate = loads.iter().map(|load| load.rate).sum();
    let p99 = loads.iter().map(|load| load.p99).fold(0.0, f64::max);
    Ok(Turn { load: Load { calls, rate, p99 }, processor: spent as f64 / 1e3 / calls as f64 })
}

/// Processor time of all threads of a process in nanoseconds.
fn processor_time(process: u32) -> Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(sum)
}

pub(super) fn machine() -> Value {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    })
}
