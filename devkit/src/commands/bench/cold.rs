//! What a cold start costs: from the start of the process to listening, and to the first proxied call.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::stage::Stage;
use super::super::{package, target};
use super::gateway::{get, sign_in, until_listening};
use super::{Outcome, stage_options, told};
use crate::identity::{self, Identity};
use crate::provider::{Endpoint, Fault};
use crate::vault::{self, Operation, Vault};

/// How long the vault takes for every answer, and what may come on top of its answers before the first call's own.
const VAULT: Duration = Duration::from_millis(50);
const VAULT_BAR: Duration = Duration::from_millis(25);
/// Counted starts; one more comes first and warms the page cache.
const ROUNDS: usize = 21;
/// The bar for listening (the host asks every 25 ms, so that less is invisible).
const BAR: Duration = Duration::from_millis(10);

pub(super) async fn run() -> Outcome<()> {
    // What is deployed: linked statically.
    let binary = package::build_static(package::TARGET)?;
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
