//! `cargo dev up`: the whole application on a machine with nothing but Rust.

use std::net::{Ipv4Addr, TcpListener};

use super::ring::RingPage;
use super::stack::{Backends, Keys, LocalStack, Options, free_port};
use super::{Result, cargo, exit_code, root, target, usage};
use crate::host::Mode;

/// The usual ports.
const HOST: (&str, u16) = ("the page", 7071);
const PROVIDER: (&str, u16) = ("the provider", 7072);
const GRAPH: (&str, u16) = ("Microsoft Graph", 7073);
const RING: (&str, u16) = ("the key ring", 7076);
const USAGE: &str = "usage: cargo dev up [--verbose] [--mode forward|proxy] | --stand-ins";
/// The settings that lead `func start` to the stand-ins.
const LOCAL_SETTINGS: &str = "devkit/local.settings.json";

/// Builds the gateway, starts it with everything it needs, and runs until Ctrl-C. Returns the exit code.
pub async fn run(arguments: &[&str]) -> u8 {
    let verbose = arguments.contains(&"--verbose");
    let others: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--verbose").collect();
    exit_code(match others.as_slice() {
        [] => up(None, verbose).await,
        ["--mode", "forward"] => up(Some(Mode::Forward), verbose).await,
        ["--mode", "proxy"] => up(Some(Mode::Proxy), verbose).await,
        ["--stand-ins"] => stand_ins().await,
        _ => return usage(USAGE),
    })
}

async fn up(mode: Option<Mode>, verbose: bool) -> Result<()> {
    println!("Building the gateway …");
    if !cargo().args(["build", "--bin", "cloakroom"]).status()?.success() {
        return Err("the gateway does not build".into());
    }
    let binary = target().join("debug/cloakroom");
    let options = Options {
        root: root(),
        binary: Some(binary.clone()),
        keys: Keys::Vault(target().join("devkit/vault-ca.pem")),
        mode,
        ports: [choose_port(HOST)?, choose_port(PROVIDER)?, choose_port(GRAPH)?],
        print: verbose,
    };
    let stack = LocalStack::start(options).await?;
    let Backends { origin, provider, graph, vault, settings } = &stack.backends;
    let ring = match vault {
        Some(vault) => {
            let address = (Ipv4Addr::LOCALHOST, choose_port(RING)?).into();
            Some(RingPage::start(address, binary, settings.clone(), vault.clone()).await?)
        }
        None => None,
    };
    println!("\n  Provider (any user name, no password)  http://{}", provider.addr());
    println!("  Microsoft Graph                        {}", graph.base());
    if let Some(ring) = &ring {
        println!("  Key ring, to watch and to rotate       {}", ring.url());
    }
    println!("\n  All of these are stand-ins that keep their data in memory: sessions end with this command.");
    println!("  {}Ctrl-C stops everything.", if verbose { "" } else { "--verbose prints the log. " });
    println!("\n  Open {origin}\n");
    tokio::select! {
        signal = tokio::signal::ctrl_c() => signal?,
        () = stack.host.wait_shut_down() => return Err(stack.with_log("the host has shut down")),
    }
    stack.host.stop().await;
    Ok(())
}

/// Everything but host and gateway, for the real host.
async fn stand_ins() -> Result<()> {
    let options = Options {
        root: root(),
        binary: Some("target/debug/cloakroom".into()),
        keys: Keys::File(target().join("devkit/keys.json")),
        mode: None,
        // The port of Core Tools, which may already listen.
        ports: [HOST.1, choose_port(PROVIDER)?, choose_port(GRAPH)?],
        print: false,
    };
    let backends = Backends::start(&options).await?;
    let file = target().join(LOCAL_SETTINGS);
    std::fs::write(&file, backends.local_settings(HOST.1))?;
    println!("The provider is at {}, Microsoft Graph at {}.", backends.provider.addr(), backends.graph.addr());
    println!("In another terminal, with Azure Functions Core Tools:\n");
    println!("  cp {} local.settings.json && cargo build && func start\n", file.display());
    println!("Then open {}. Ctrl-C stops everything.", backends.origin);
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// The usual port, or another one if that is busy.
fn choose_port((what, usual): (&str, u16)) -> std::io::Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).is_ok() {
        return Ok(usual);
    }
    let other = free_port()?;
    println!("Port {usual} is busy; {what} uses {other}.");
    Ok(other)
}
