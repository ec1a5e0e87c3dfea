//! The gateway under load, in turns with a plain nginx: processor time for each call, and the slowest calls.
//!
//! What is measured has the first core to itself; the API and the load have the second. Processor time is what the
//! scheduler counted for the process, so that other work on the machine falls on it least.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::stage::{Stage, free_port};
use super::super::{build_release, root, setup, target};
use super::gateway::{Running, get, header, pair, sign_in, until_taken};
use super::peers::{Asked, MEASURED, Nginx, ask, pinned};
use super::{Outcome, stage_options, told};
use crate::provider::GRAPH;

/// Counted turns of each side, and how long one takes. One more comes first and is not counted.
const ROUNDS: usize = 11;
const SECONDS: u32 = 2;
/// Connections that stay open and say nothing.
const IDLE: usize = 1_000;
/// The bar for the memory with them.
const IDLE_BAR_KB: u64 = 20_000;
/// The user of the load.
const USER: &str = "ada.lovelace@contoso.example";
/// What a browser sends besides its cookie.
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

/// Two servers, asked the same in turns.
struct Comparison<'a> {
    what: &'static str,
    path: &'static str,
    connections: u32,
    /// What is judged, and what it is judged by.
    sides: [&'a Server; 2],
    processor_bar: Option<f64>,
    p99_bar: Option<f64>,
}

/// A server under load.
struct Server {
    process: Running,
    port: u16,
    cookie: RefCell<String>,
}

/// One turn: what wrk says, and processor time for a call in microseconds.
#[derive(Clone, Copy)]
struct Turn {
    asked: Asked,
    processor: f64,
}

pub(super) async fn run() -> Outcome<()> {
    if !setup::nginx_and_wrk() {
        return Err("the load needs nginx, wrk and taskset: apt-get install nginx-light wrk util-linux".into());
    }
    let binary = build_release()?;
    let stage = Stage::set(stage_options(&binary)).await?;
    let api = Nginx::api()?;
    let token = stage.provider.access_token(USER, &format!("{GRAPH}/User.Read")).ok_or("no access token")?;
    let proxy = Nginx::proxy(api.port, &token)?;
    let plain = gateway(&stage, &settings(&stage, api.port, 1, 1)?).await?;
    let nginx = Server { process: proxy.process, port: proxy.port, cookie: plain.cookie.clone() };
    let many = gateway(&stage, &settings(&stage, api.port, 64, 200)?).await?;
    let mut found = Vec::new();
    for comparison in comparisons(&nginx, &plain, &many) {
        found.push(comparison.run().await?);
    }
    let idle = idle(&stage, &settings(&stage, api.port, 1, 1)?).await?;
    println!("{}", json!({"machine": machine(), "rounds": ROUNDS, "comparisons": found, "idle": idle}));
    stage.host.stop().await;
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
    /// Prints what was found, and gives it.
    async fn run(&self) -> Outcome<Value> {
        let mut turns = Vec::new();
        for round in 0..=ROUNDS {
            let [ours, other] = self.sides;
            // Who begins changes, so that what comes before favours nobody.
            let pair = if round % 2 == 0 {
                let ours = self.turn(ours).await?;
                [ours, self.turn(other).await?]
            } else {
                let other = self.turn(other).await?;
                [self.turn(ours).await?, other]
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
        let p99 = median(|turn| turn.asked.p99);
        let rate = median(|turn| turn.asked.rate);
        let calls: u64 = turns.iter().flatten().map(|turn| turn.asked.calls).sum();
        println!("{} ({calls} calls)", self.what);
        line("processor time a call, µs", processor, self.processor_bar);
        line("99th percentile, µs", p99, self.p99_bar);
        line("calls a second", rate, None);
        Ok(json!({"what": self.what, "processor_us": processor, "p99_us": p99, "calls_per_second": rate}))
    }

    async fn turn(&self, server: &Server) -> Outcome<Turn> {
        let url = format!("http://127.0.0.1:{}{}", server.port, self.path);
        let cookie = server.newest_cookie().await?;
        let headers: Vec<_> = BROWSER.into_iter().chain([("Cookie", cookie.as_str())]).collect();
        let before = processor_time(server.process.0.id())?;
        let asked = ask(&url, &headers, self.connections, SECONDS)?;
        let spent = processor_time(server.process.0.id())? - before;
        Ok(Turn { asked, processor: spent as f64 / 1e3 / asked.calls as f64 })
    }
}

impl Server {
    /// The cookie as a browser would have it by now: wrk keeps none, and the gateway writes an old one anew each time.
    async fn newest_cookie(&self) -> Outcome<String> {
        let cookie = self.cookie.borrow().clone();
        let headers = [("cookie", cookie.as_str()), ("x-csrf", "1"), ("sec-fetch-site", "same-origin")];
        let answer = get(([127, 0, 0, 1], self.port).into(), "/graph/me", &headers).await?;
        let newest = header(&answer, "set-cookie").and_then(pair).unwrap_or(cookie);
        self.cookie.replace(newest.clone());
        Ok(newest)
    }
}

fn line(what: &str, [ours, other, ratio]: [f64; 3], bar: Option<f64>) {
    let judged = bar.map(|bar| format!("   the bar is {bar}: {}", told(ratio <= bar))).unwrap_or_default();
    println!("  {what:<28}{ours:>10.1}{other:>10.1}{ratio:>8.3}{judged}");
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Nanoseconds on a processor that all threads of a process had.
fn processor_time(process: u32) -> Outcome<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{process}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat"))?;
        sum += text.split_whitespace().next().ok_or("schedstat is empty")?.parse::<u64>()?;
    }
    Ok(sum)
}

/// A gateway on the first core, with somebody signed in.
async fn gateway(stage: &Stage, settings: &BTreeMap<String, String>) -> Outcome<Server> {
    let port = free_port()?;
    let binary = target().join("release/cloakroom");
    let child = pinned(MEASURED, binary)
        .current_dir(root())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs(settings)
        .env("FUNCTIONS_CUSTOMHANDLER_PORT", port.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let process = Running(child);
    let address = until_taken(port)?;
    let cookie = sign_in(address, &stage.provider, &stage.origin).await?;
    Ok(Server { process, port, cookie: RefCell::new(cookie) })
}

/// The settings of a gateway with so many keys, and patterns of which the last is the one that is called.
fn settings(stage: &Stage, api: u16, keys: u32, patterns: u32) -> Outcome<BTreeMap<String, String>> {
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
    fs::write(&file, ring(keys).to_string())?;
    fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let mut settings = stage.settings.clone();
    settings.insert("CLOAKROOM_APIS".to_owned(), apis.to_string());
    settings.insert("CLOAKROOM_KEY_FILE".to_owned(), file.display().to_string());
    Ok(settings)
}

/// A ring of keys that were made one a second, long ago.
fn ring(keys: u32) -> Value {
    let key = |number: u32| {
        json!({
            "id": format!("{:032x}", rand::random::<u128>()),
            "value": URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()),
            "enabled": true, "created": number, "not_before": null, "expires": null, "tags": {},
        })
    };
    json!({"keys": (0..keys).map(key).collect::<Vec<_>>()})
}

/// Memory of a gateway before and while many connections are open that each made one call.
async fn idle(stage: &Stage, settings: &BTreeMap<String, String>) -> Outcome<Value> {
    let server = gateway(stage, settings).await?;
    let before = memory(server.process.0.id())?;
    let mut open = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        open.push(called_once(&server)?);
    }
    let with = memory(server.process.0.id())?;
    println!("{IDLE} idle connections");
    println!(
        "  memory (PSS): {before} kB before, {with} kB with them   the bar is {IDLE_BAR_KB}: {}",
        told(with <= IDLE_BAR_KB)
    );
    Ok(json!({"connections": IDLE, "before_kb": before, "with_kb": with}))
}

fn called_once(server: &Server) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let headers: String = BROWSER.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    write!(stream, "GET /graph/me HTTP/1.1\r\nHost: bench\r\n{headers}Cookie: {}\r\n\r\n", server.cookie.borrow())?;
    let mut read = Vec::new();
    // The body ends with the only quote that a brace follows.
    while !read.ends_with(b"\"}") {
        let mut part = [0; 4_096];
        match stream.read(&mut part)? {
            0 => return Err("the gateway closes a connection".into()),
            length => read.extend(part.iter().take(length)),
        }
    }
    if read.starts_with(b"HTTP/1.1 200") { Ok(stream) } else { Err("a call was refused".into()) }
}

/// Proportional set size in kB.
fn memory(process: u32) -> Outcome<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).ok_or("there is no Pss")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// What the figures were made on.
fn machine() -> Value {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    json!({
        "processor": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
    })
}
