//! `cargo dev bench --cold`: from the start of the process to listening, and to the first proxied call.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::stage::{Keys, Options, Stage, free_port};
use super::{cargo, root, target};
use crate::provider::{Endpoint, Fault};
use crate::web::client;

const USAGE: &str = "usage: cargo dev bench --cold";
/// Counted starts; one more comes first and warms the page cache.
const ROUNDS: usize = 21;
/// The bar for listening (the host asks every 25 ms, so that less is invisible).
const BAR: Duration = Duration::from_millis(10);
/// Longest wait for one start.
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Gives the exit code: 0 however fast it was, as these figures are for people to judge.
pub async fn run(arguments: &[String]) -> u8 {
    if arguments != ["--cold"] {
        eprintln!("{USAGE}");
        return 2;
    }
    match cold().await {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

async fn cold() -> Outcome<()> {
    println!("Building the release binary …");
    if !cargo().args(["build", "--release", "--quiet", "--bin", "cloakroom"]).status()?.success() {
        return Err("the gateway does not build".into());
    }
    let binary = target().join("release/cloakroom");
    println!("binary: {:.1} MB", std::fs::metadata(&binary)?.len() as f64 / 1e6);
    let stage = Stage::set(stage_options(&binary)).await?;
    let cookie = sign_in(&stage).await?;
    let mut first_calls = Vec::new();
    for _ in 0..=ROUNDS {
        first_calls.push(first_call(&binary, &stage, &cookie).await?);
    }
    stage.provider.set_fault(Endpoint::Discovery, Some(Fault::Hold(Duration::from_secs(5))));
    let mut listening = Vec::new();
    for _ in 0..=ROUNDS {
        listening.push(until_listening(&binary, &stage.settings)?.0);
    }
    let median = report("start of the process to listening, the provider held for 5 s", listening);
    println!("  the bar is {} ms: {}", BAR.as_millis(), if median <= BAR { "met" } else { "NOT MET" });
    report("start of the process to the first proxied call, keys from a file", first_calls);
    stage.host.stop().await;
    Ok(())
}

fn stage_options(binary: &Path) -> Options {
    let keys = Keys::File(target().join("devkit/bench-keys.json"));
    Options { root: root(), binary: binary.to_owned(), keys, mode: None, ports: [0; 3], print: false }
}

/// Prints minimum, median and maximum without the first, and gives the median.
fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.remove(0);
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    let [least, median, most] = [at(0), at(times.len() / 2), at(times.len() - 1)];
    println!("{what}: median {median:.1?} ({least:.1?} to {most:.1?}, {ROUNDS} starts)");
    median
}

/// A session cookie, by a sign-in through the stage's own gateway.
async fn sign_in(stage: &Stage) -> Outcome<String> {
    let navigation = [("sec-fetch-mode", "navigate"), ("accept", "text/html")];
    let login = get(stage.host.addr(), "/auth/login", &navigation).await?;
    let address = header(&login, "location").ok_or("the gateway does not begin a sign-in")?;
    let callback = stage.provider.sign_in(address, "ada.lovelace@contoso.example")?;
    let path = callback.location().replacen(&stage.origin, "", 1);
    let transaction = header(&login, "set-cookie").and_then(pair).ok_or("no login transaction")?;
    let back = get(stage.host.addr(), &path, &[("cookie", &transaction)]).await?;
    Ok(header(&back, "set-cookie").and_then(pair).ok_or("no session cookie")?)
}

async fn get(address: SocketAddr, path: &str, headers: &[(&'static str, &str)]) -> Outcome<Response<Bytes>> {
    let mut request = Request::get(format!("http://{address}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(client::send(request.body(Full::default())?).await?)
}

fn header<'a>(answer: &'a Response<Bytes>, name: &str) -> Option<&'a str> {
    answer.headers().get(name)?.to_str().ok()
}

fn pair(line: &str) -> Option<String> {
    line.split(';').next().map(str::to_owned)
}

/// Starts the binary alone and waits until its port takes connections.
fn until_listening(binary: &Path, settings: &BTreeMap<String, String>) -> Outcome<(Duration, Running, SocketAddr)> {
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
    while TcpStream::connect(address).is_err() {
        if begun.elapsed() > PATIENCE {
            return Err("the gateway does not listen".into());
        }
        std::hint::spin_loop();
    }
    Ok((begun.elapsed(), running, address))
}

async fn first_call(binary: &Path, stage: &Stage, cookie: &str) -> Outcome<Duration> {
    let begun = Instant::now();
    let (_, _running, address) = until_listening(binary, &stage.settings)?;
    let headers = [("cookie", cookie), ("x-csrf", "1"), ("sec-fetch-site", "same-origin")];
    let answer = get(address, "/graph/me", &headers).await?;
    if answer.status() == 200 {
        Ok(begun.elapsed())
    } else {
        Err(format!("the first call is answered {}", answer.status()).into())
    }
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
