//! The gateway under load, in turns with a plain nginx: processor time per call, and the slowest calls.
//!
//! The measured process has the first core for itself; client and API use the second. Processor time is the
//! scheduler's, which other work on the machine affects least.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::stack::{Backends, LocalStack, key_file, write_private};
use super::super::{Result, build_release, setup, target};
use super::gateway::{self, Running, cookie_pair, get, header, sign_in};
use super::peers::{self, Load, MEASURED, Nginx, pinned};
use super::{stack_options, verdict};
use crate::provider::GRAPH;

/// Counted turns of each side, and their length. One more before them is not counted.
pub(super) const ROUNDS: usize = 11;
const SECONDS: u32 = 2;
const IDLE_CONNECTIONS: usize = 1_000;
/// The bar for the memory with idle connections.
const IDLE_BAR_KB: u64 = 20_000;
const USER: &str = "ada.lovelace@contoso.example";
/// The headers of a browser besides its cookie.
const BROWSER: [(&str, &str); 9] = [
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

/// Two servers with the same load in turns.
pub(super) struct Comparison<'a> {
    pub(super) what: &'static str,
    pub(super) path: &'static str,
    pub(super) connections: u32,
    /// The measured server, and its reference.
    pub(super) sides: [&'a Server; 2],
    pub(super) processor_bar: Option<f64>,
    pub(super) p99_bar: Option<f64>,
}

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
    stack: LocalStack,
    api: Nginx,
}

impl Stage {
    pub(super) async fn start() -> Result<Self> {
        if !setup::nginx_and_wrk() {
            return Err("nginx, wrk and taskset are required: apt-get install nginx-light wrk util-linux".into());
        }
        let stack = LocalStack::start(stack_options(&build_release(None)?)).await?;
        Ok(Self { stack, api: Nginx::api()? })
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
        let mut settings = settings(&self.stack.backends, self.api.port, keys, patterns)?;
        settings.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        Server::start(cores, &self.stack.backends, &settings).await
    }

    /// An nginx that is sent the same requests as a gateway.
    pub(super) fn nginx(&self, like: &Server) -> Result<Server> {
        let token = self.stack.backends.provider.access_token(USER, &format!("{GRAPH}/User.Read"));
        let proxy = Nginx::proxy(self.api.port, &token.ok_or("no access token")?)?;
        Ok(Server { process: proxy.process, port: proxy.port, cookie: like.cookie.clone() })
    }

    pub(super) async fn stop(self) {
        self.stack.host.stop().await;
    }
}

pub(super) async fn run() -> Result<()> {
    let stage = Stage::start().await?;
    let plain = stage.gateway(1, 1, &[]).await?;
    let nginx = stage.nginx(&plain)?;
    let many = stage.gateway(64, 200, &[]).await?;
    let mut found = Vec::new();
    for comparison in comparisons(&nginx, &plain, &many) {
        found.push(comparison.run().await?);
    }
    let idle = idle(&stage.gateway(1, 1, &[]).await?)?;
    println!("{}", json!({"machine": machine(), "rounds": ROUNDS, "comparisons": found, "idle": idle}));
    stage.stop().await;
    Ok(())
}

fn comparisons<'a>(nginx: &'a Server, plain: &'a Server, many: &'a Server) -> [Comparison<'a>; 4] {
    let beside_nginx = Comparison {
        what: "600 B, 16 connections, over nginx",
        path: "/graph/me",
        connections: 16,
        sides: [plain, nginx],
        processor_bar: Some(1.25),
        p99_bar: Some(1.5),
    };
    [
        Comparison { what: "600 B, 1 connection, over nginx", connections: 1, processor_bar: None, ..beside_nginx },
        Comparison { what: "64 KB, 16 connections, over nginx", path: "/graph/large", p99_bar: None, ..beside_nginx },
        Comparison {
            what: "64 keys and 200 patterns over 1 and 1",
            sides: [many, plain],
            processor_bar: Some(1.03),
            p99_bar: None,
            ..beside_nginx
        },
        beside_nginx,
    ]
}

impl Comparison<'_> {
    /// Prints the figures and returns them.
    pub(super) async fn run(&self) -> Result<Value> {
        let mut turns = Vec::new();
        for round in 0..=ROUNDS {
            let [ours, other] = self.sides;
            // The order alternates, since the earlier turn affects the later one.
            let pair = if round % 2 == 0 {
                let ours = ours.turn(self.path, self.connections).await?;
                [ours, other.turn(self.path, self.connections).await?]
            } else {
                let other = other.turn(self.path, self.connections).await?;
                [ours.turn(self.path, self.connections).await?, other]
            };
            turns.push(pair);
        }
        turns.remove(0);
        let median = |of: fn(&Turn) -> f64| {
            let values = |side: usize| turns.iter().filter_map(|pair| pair.get(side)).map(of).collect();
            let ratios = turns.iter().map(|[ours, other]| of(ours) / of(other)).collect();
            [middle(values(0)), middle(values(1)), middle(ratios)]
        };
        let processor = median(|turn| turn.processor);
        let p99 = median(|turn| turn.load.p99);
        let rate = median(|turn| turn.load.rate);
        let calls: u64 = turns.iter().flatten().map(|turn| turn.load.calls).sum();
        println!("{} ({calls} calls)", self.what);
        line("processor time a call, µs", processor, self.processor_bar);
        line("99th percentile, µs", p99, self.p99_bar);
        line("calls a second", rate, None);
        Ok(json!({"what": self.what, "processor_us": processor, "p99_us": p99, "calls_per_second": rate}))
    }
}

impl Server {
    /// A gateway with a signed-in user.
    async fn start(cores: &str, backends: &Backends, settings: &BTreeMap<String, String>) -> Result<Self> {
        let (process, address) = gateway::start(pinned(cores, target().join("release/cloakroom")), settings)?;
        let cookie = sign_in(address, &backends.provider, &backends.origin).await?;
        Ok(Self { process, port: address.port(), cookie: RefCell::new(cookie) })
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.0.id()
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

    /// The cookie as a browser has it by now. wrk stores none, and the gateway renews an old one with every call.
    async fn newest_cookie(&self) -> Result<String> {
        let cookie = self.cookie.borrow().clone();
        let headers = [("cookie", cookie.as_str()), ("x-csrf", "1"), ("sec-fetch-site", "same-origin")];
        let response = get(([127, 0, 0, 1], self.port).into(), "/graph/me", &headers).await?;
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

fn line(what: &str, [ours, other, ratio]: [f64; 3], bar: Option<f64>) {
    let verdict = bar.map(|bar| format!("   the bar is {bar}: {}", verdict(ratio <= bar))).unwrap_or_default();
    println!("  {what:<28}{ours:>10.1}{other:>10.1}{ratio:>8.3}{verdict}");
}

pub(super) fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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

/// The settings of a gateway with so many keys and patterns, whose last patterns match the calls.
fn settings(backends: &Backends, api: u16, keys: u32, patterns: u32) -> Result<BTreeMap<String, String>> {
    let others = (1..patterns).map(|number| format!("GET /users/*/things-{number}/**"));
    let allow: Vec<String> = others.chain(["GET /me".to_owned(), "GET /large".to_owned()]).collect();
    let apis = json!({"graph": {
        "route": "/graph",
        "base": format!("http://127.0.0.1:{api}/v1.0"),
        "scopes": [format!("{GRAPH}/User.Read")],
        "allow": allow,
        "sign_in": true,
    }});
    let file = target().join(format!("devkit/bench/keys-{keys}.json"));
    write_private(&file, &key_file(keys).to_string())?;
    let mut settings = backends.settings.clone();
    settings.insert("CLOAKROOM_APIS".to_owned(), apis.to_string());
    settings.insert("CLOAKROOM_KEY_FILE".to_owned(), file.display().to_string());
    Ok(settings)
}

/// Memory of a gateway without connections, and with many idle ones, each after one call.
fn idle(server: &Server) -> Result<Value> {
    let before = memory(server.process.0.id())?;
    let mut open = Vec::with_capacity(IDLE_CONNECTIONS);
    for _ in 0..IDLE_CONNECTIONS {
        open.push(call_once(server)?);
    }
    let with = memory(server.process.0.id())?;
    println!("{IDLE_CONNECTIONS} idle connections");
    println!(
        "  memory (PSS): {before} kB before, {with} kB with them   the bar is {IDLE_BAR_KB}: {}",
        verdict(with <= IDLE_BAR_KB)
    );
    Ok(json!({"connections": IDLE_CONNECTIONS, "before_kb": before, "with_kb": with}))
}

fn call_once(server: &Server) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let headers: String = BROWSER.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "GET /graph/me HTTP/1.1\r\nHost: bench\r\n{headers}Cookie: {}\r\n\r\n", server.cookie.borrow())?;
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

/// Proportional set size in kB.
fn memory(process: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("there is no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
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
