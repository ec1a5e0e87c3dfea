//! `cargo dev bench`: what opening a session costs with many keys. With `--cold`: from the start of the process to
//! listening, and to the first proxied call.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use super::stage::{Keys, Options, Stage, free_port};
use super::{build_release, cargo, root, target};
use crate::identity::{self, Identity};
use crate::provider::{Endpoint, Fault, Provider};
use crate::vault::{self, Operation, Vault};
use crate::web::client;

const USAGE: &str = "usage: cargo dev bench [--cold]";
/// The bar for an opening with many keys over one with one key.
const KEYS_BAR: f64 = 1.03;
/// How long the vault takes for every answer, and what may come on top of its answers before the first call's own.
const VAULT: Duration = Duration::from_millis(50);
const VAULT_BAR: Duration = Duration::from_millis(25);
/// Counted starts; one more comes first and warms the page cache.
const ROUNDS: usize = 21;
/// The bar for listening (the host asks every 25 ms, so that less is invisible).
const BAR: Duration = Duration::from_millis(10);
/// Longest wait for one start.
const PATIENCE: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Gives the exit code: 0 however fast it was, as these figures are for people to judge.
pub async fn run(arguments: &[String]) -> u8 {
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => opening(),
        ["--cold"] => cold().await,
        _ => {
            eprintln!("{USAGE}");
            return 2;
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

/// Runs `benches/opening.rs`, which takes turns, and prints what it found as a table and as it came.
fn opening() -> Outcome<()> {
    println!("Building and running benches/opening.rs …");
    let output = cargo()
        .args(["run", "--release", "--quiet", "--package", "benches", "--bin", "opening"])
        .stderr(Stdio::inherit())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find(|line| line.starts_with('{')).ok_or("the bench told nothing")?;
    let found: serde_json::Value = serde_json::from_str(line)?;
    let number = |name: &str| found.get(name).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN);
    println!("opening a session cookie        ns");
    println!("  1 key in the ring      {:>9.0}", number("one_key_ns"));
    println!("  {:.0} keys in the ring    {:>9.0}", number("keys"), number("many_keys_ns"));
    let ratio = number("ratio");
    println!("  the one over the other {ratio:>9.4}   the bar is {KEYS_BAR}: {}", told(ratio <= KEYS_BAR));
    println!("{line}");
    Ok(())
}

const fn told(met: bool) -> &'static str {
    if met { "met" } else { "NOT MET" }
}

async fn cold() -> Outcome<()> {
    let binary = build_release()?;
    println!("binary: {:.1} MB", std::fs::metadata(&binary)?.len() as f64 / 1e6);
    let stage = Stage::set(stage_options(&binary)).await?;
    let cookie = sign_in(stage.host.addr(), &stage.provider, &stage.origin).await?;
    let mut first_calls = Vec::new();
    for _ in 0..=ROUNDS {
        first_calls.push(first_call(&binary, &stage.settings, &cookie).await?);
    }
    let with_vault = first_calls_with_a_vault(&binary, &stage).await?;
    stage.provider.set_fault(Endpoint::Discovery, Some(Fault::Hold(Duration::from_secs(5))));
    let mut listening = Vec::new();
    for _ in 0..=ROUNDS {
        listening.push(until_listening(&binary, &stage.settings)?.0);
    }
    let median = report("start of the process to listening, the provider held for 5 s", listening);
    println!("  the bar is {} ms: {}", BAR.as_millis(), told(median <= BAR));
    report("start of the process to the first proxied call, keys from a file", first_calls);
    let (asked, times) = with_vault;
    let median = report("start of the process to the first proxied call, keys from a vault", times);
    let bar = VAULT * asked + VAULT_BAR;
    println!(
        "  the vault was asked {asked} times, {} ms each; the bar is that and {} ms, {} ms in all: {}",
        VAULT.as_millis(),
        VAULT_BAR.as_millis(),
        bar.as_millis(),
        told(median <= bar)
    );
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

/// First calls with a vault that takes its time, and the fewest requests that one of them needed there.
async fn first_calls_with_a_vault(binary: &Path, stage: &Stage) -> Outcome<(u32, Vec<Duration>)> {
    let identity = Identity::start(identity::Options::default()).await?;
    let vault = Vault::start(vault::Options::new(&identity)).await?;
    vault.put("cloakroom-keys", &URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    let authority = target().join("devkit/bench-authority.pem");
    vault.write_ca(&authority)?;
    let mut settings = stage.settings.clone();
    settings.remove("CLOAKROOM_KEY_FILE");
    settings.extend(identity.env().map(|(name, value)| (name.to_owned(), value)));
    settings.insert("SSL_CERT_FILE".to_owned(), authority.display().to_string());
    settings.insert("CLOAKROOM_KEY_VAULT_URL".to_owned(), vault.url());
    let (_, running, address) = until_listening(binary, &settings)?;
    while get(address, "/health/ready", &[]).await?.status() != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cookie = sign_in(address, &stage.provider, &stage.origin).await?;
    drop(running);
    vault.fault(&Operation::ALL, vault::Fault::Hold(VAULT));
    let mut times = Vec::new();
    let mut asked = u64::MAX;
    for _ in 0..=ROUNDS {
        let before = vault.count();
        times.push(first_call(binary, &settings, &cookie).await?);
        asked = asked.min(vault.count() - before);
    }
    vault.stop().await;
    Ok((u32::try_from(asked)?, times))
}

/// A session cookie, by a sign-in at a gateway.
async fn sign_in(gateway: SocketAddr, provider: &Provider, origin: &str) -> Outcome<String> {
    let navigation = [("sec-fetch-mode", "navigate"), ("accept", "text/html")];
    let login = get(gateway, "/auth/login", &navigation).await?;
    let address = header(&login, "location").ok_or("the gateway does not begin a sign-in")?;
    let callback = provider.sign_in(address, "ada.lovelace@contoso.example")?;
    let path = callback.location().replacen(origin, "", 1);
    let transaction = header(&login, "set-cookie").and_then(pair).ok_or("no login transaction")?;
    let back = get(gateway, &path, &[("cookie", &transaction)]).await?;
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

async fn first_call(binary: &Path, settings: &BTreeMap<String, String>, cookie: &str) -> Outcome<Duration> {
    let begun = Instant::now();
    let (_, _running, address) = until_listening(binary, settings)?;
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
