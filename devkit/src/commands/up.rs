//! `cargo dev up`: the main job on a machine with nothing but Rust.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::ring::RingPage;
use super::stage::{Keys, Options, Stage, Surroundings, free_port, with_log};
use super::{cargo, root, target};
use crate::host::Mode;

/// The ports that are taken when they are free: host, provider, Graph.
const PORTS: [(&str, u16); 3] = [("the page", 7071), ("the provider", 7072), ("Microsoft Graph", 7073)];
/// The port of the page that shows the key ring.
const RING: (&str, u16) = ("the key ring", 7076);
const USAGE: &str = "usage: cargo dev up [--verbose] [--mode forward|proxy] | --stand-ins";
/// The settings that lead `func start` to the stand-ins.
const LOCAL_SETTINGS: &str = "devkit/local.settings.json";

/// Builds the gateway, starts it with everything it needs, and runs until Ctrl-C. Returns the exit code.
pub async fn run(arguments: &[String]) -> u8 {
    let mut arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let all = arguments.len();
    arguments.retain(|argument| *argument != "--verbose");
    let verbose = arguments.len() < all;
    let done = match arguments.as_slice() {
        [] => up(None, verbose).await,
        ["--mode", "forward"] => up(Some(Mode::Forward), verbose).await,
        ["--mode", "proxy"] => up(Some(Mode::Proxy), verbose).await,
        ["--stand-ins"] => stand_ins().await,
        _ => {
            eprintln!("{USAGE}");
            return 2;
        }
    };
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            1
        }
    }
}

async fn up(mode: Option<Mode>, verbose: bool) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    println!("Building the gateway …");
    if !cargo().args(["build", "--bin", "cloakroom"]).status()?.success() {
        return Err("the gateway does not build".into());
    }
    let ports = [pick(PORTS[0])?, pick(PORTS[1])?, pick(PORTS[2])?];
    let binary = target().join("debug/cloakroom");
    let options = Options {
        root: root(),
        binary: Some(binary.clone()),
        keys: Keys::Vault(target().join("devkit/vault-ca.pem")),
        mode,
        ports,
        print: verbose,
    };
    let stage = Stage::set(options).await?;
    let ring = match &stage.cloud {
        Some(cloud) => {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, pick(RING)?));
            Some(RingPage::start(address, binary, stage.settings.clone(), cloud.clone()).await?)
        }
        None => None,
    };
    println!("\n  Provider (any user name, no password)  http://{}", stage.provider.addr());
    println!("  Microsoft Graph                        {}", stage.graph.base());
    if let Some(ring) = &ring {
        println!("  Key ring, to watch and to rotate       {}", ring.url());
    }
    println!("\n  All of these are stand-ins that keep their data in memory: sessions end with this command.");
    println!("  {}Ctrl-C stops everything.", if verbose { "" } else { "--verbose prints the log. " });
    println!("\n  Open {}\n", stage.origin);
    tokio::select! {
        signal = tokio::signal::ctrl_c() => signal?,
        () = stage.host.wait_shut_down() => return Err(with_log("the host has shut down", &stage.host, verbose)),
    }
    stage.host.stop().await;
    Ok(())
}

/// Everything but host and gateway, for the real host.
async fn stand_ins() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // Its port is Core Tools' own; it may be busy already, by them.
    let ports = [PORTS[0].1, pick(PORTS[1])?, pick(PORTS[2])?];
    let options = Options {
        root: root(),
        binary: Some("target/debug/cloakroom".into()),
        keys: Keys::File(target().join("devkit/keys.json")),
        mode: None,
        ports,
        print: false,
    };
    let around = Surroundings::start(&options).await?;
    let file = target().join(LOCAL_SETTINGS);
    std::fs::write(&file, around.local_settings(ports[0]))?;
    println!("The provider is at {}, Microsoft Graph at {}.", around.provider.addr(), around.graph.addr());
    println!("In another terminal, with Azure Functions Core Tools:\n");
    println!("  cp {} local.settings.json && cargo build && func start\n", file.display());
    println!("Then open {}. Ctrl-C ends everything.", around.origin);
    tokio::signal::ctrl_c().await?;
    Ok(())
}

/// The usual port, or, when that is busy, another, which is told.
fn pick((what, usual): (&str, u16)) -> std::io::Result<u16> {
    if TcpListener::bind((Ipv4Addr::LOCALHOST, usual)).is_ok() {
        return Ok(usual);
    }
    let other = free_port()?;
    println!("Port {usual} is busy; {what} takes {other}.");
    Ok(other)
}
