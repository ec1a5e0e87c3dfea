//! A cold start: from the start of the process until it listens, and until the first proxied call is done.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::super::stack::{LocalStack, VaultAccess};
use super::super::{Result, build_release, package, target};
use super::gateway::{get, sign_in, start};
use super::stage::USER;
use super::{binary_or, stack_options, verdict};
use crate::provider::{Endpoint, Fault};
use crate::web::random_text;

/// The time of each of the vault's responses.
const VAULT: Duration = Duration::from_millis(50);
/// The responses that the first call waits for one after another: the challenge, the versions, the newest version. What
/// the revocation list needs comes at the same time.
const VAULT_RESPONSES: u32 = 3;
/// The bar for the rest of the first call.
const VAULT_BAR: Duration = Duration::from_millis(15);
/// Starts that count. One before them fills the page cache.
const ROUNDS: usize = 21;
/// The bar for listening. The host checks every 25 ms, so that a shorter time has no effect.
const BAR: Duration = Duration::from_millis(5);

pub(super) async fn run(binary: Option<&Path>) -> Result<()> {
    let binary = binary_or(binary, || build_release(Some(package::TARGET)))?;
    println!("binary: {:.1} MB", std::fs::metadata(&binary)?.len() as f64 / 1e6);
    let stack = LocalStack::start(stack_options(&binary)).await?;
    let (provider, settings) = (&stack.backends.provider, &stack.backends.settings);
    let cookie = sign_in(stack.host.addr(), provider, &stack.backends.origin, USER).await?;
    let mut first_calls = Vec::new();
    for _ in 0..=ROUNDS {
        first_calls.push(first_call(&binary, settings, &cookie).await?);
    }
    let (vault_requests, with_vault) = first_calls_with_a_vault(&binary, &stack).await?;
    provider.fault(&[Endpoint::Discovery], Fault::Delay(Duration::from_secs(5)));
    let mut listening = Vec::new();
    for _ in 0..=ROUNDS {
        let begun = Instant::now();
        let _gateway = start(Command::new(&binary), settings)?;
        listening.push(begun.elapsed());
    }
    let median = report("start of the process until it listens, the provider delayed by 5 s", listening);
    println!("  the bar is {} ms: {}", BAR.as_millis(), verdict(median <= BAR));
    report("start of the process until the first proxied call, keys from a file", first_calls);
    let median = report("start of the process until the first proxied call, keys from a vault", with_vault);
    let delay = report("the vault's delay of 50 ms, by the clock", delays().await);
    let bar = delay * VAULT_RESPONSES + VAULT_BAR;
    println!(
        "  {vault_requests} requests to the vault, {VAULT_RESPONSES} of them one after another; the bar is these and {} ms, \
         {bar:.1?} in total: {}",
        VAULT_BAR.as_millis(),
        verdict(median <= bar)
    );
    stack.host.stop().await;
    Ok(())
}

/// Prints minimum, median and maximum without the first, and returns the median.
fn report(what: &str, mut times: Vec<Duration>) -> Duration {
    times.remove(0);
    times.sort_unstable();
    let at = |index: usize| times.get(index).copied().unwrap_or_default();
    let [least, median, most] = [at(0), at(times.len() / 2), at(times.len() - 1)];
    println!("{what}: median {median:.1?} ({least:.1?} to {most:.1?}, {ROUNDS} times)");
    median
}

/// First calls with a slow vault, and the fewest requests that one of them sent to it.
async fn first_calls_with_a_vault(binary: &Path, stack: &LocalStack) -> Result<(u32, Vec<Duration>)> {
    let access = VaultAccess::start(&target().join("devkit/bench-authority.pem")).await?;
    access.vault.put("cloakroom-keys", &random_text(32));
    let mut settings = stack.backends.settings.clone();
    settings.remove("CLOAKROOM_KEY_FILE");
    settings.extend(access.variables());
    let (gateway, address) = start(Command::new(binary), &settings)?;
    while get(address, "/health/ready", &[]).await?.status() != 200 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let cookie = sign_in(address, &stack.backends.provider, &stack.backends.origin, USER).await?;
    drop(gateway);
    access.vault.fault(&[], Fault::Delay(VAULT));
    let mut times = Vec::new();
    let mut fewest = u64::MAX;
    for _ in 0..=ROUNDS {
        let before = access.vault.count();
        times.push(first_call(binary, &settings, &cookie).await?);
        fewest = fewest.min(access.vault.count() - before);
    }
    Ok((u32::try_from(fewest)?, times))
}

/// How long the vault's delay takes: timers have a resolution of a millisecond.
async fn delays() -> Vec<Duration> {
    let mut times = Vec::new();
    for _ in 0..=ROUNDS {
        let begun = Instant::now();
        tokio::time::sleep(VAULT).await;
        times.push(begun.elapsed());
    }
    times
}

async fn first_call(binary: &Path, settings: &BTreeMap<String, String>, cookie: &str) -> Result<Duration> {
    let begun = Instant::now();
    let (_gateway, address) = start(Command::new(binary), settings)?;
    let headers = [("cookie", cookie), ("x-csrf", "1"), ("sec-fetch-site", "same-origin")];
    let response = get(address, "/graph/me", &headers).await?;
    if response.status() == 200 {
        Ok(begun.elapsed())
    } else {
        Err(format!("the first call returned {}", response.status()).into())
    }
}
