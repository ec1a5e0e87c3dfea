//! `cargo dev up`: the whole application on a machine with nothing but Rust, or with nothing but a release.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use super::ring::RingPage;
use super::setup;
use super::stack::{Backends, Keys, LocalStack, Options, Store, free_port};
use super::{Result, exit_code, gateway, release_folder, root, target, usage};
use crate::host::Mode;
use crate::os::{self, Stop};
use crate::redis_server::GET_REDIS;

/// The usual ports.
const HOST: (&str, u16) = ("the page", 7071);
const PROVIDER: (&str, u16) = ("the provider", 7072);
const GRAPH: (&str, u16) = ("Microsoft Graph", 7073);
const RING: (&str, u16) = ("the key ring", 7076);
const USAGE: &str = "usage: cargo dev up [--store cookie|redis] [--verbose] [--mode forward|proxy]
       cargo dev up [--store cookie|redis] --stand-ins";
/// The settings that lead `func start` to the stand-ins.
const LOCAL_SETTINGS: &str = "devkit/local.settings.json";

#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    mode: Option<Mode>,
    stand_ins: bool,
    store: Store,
    verbose: bool,
}

/// Builds the gateway, starts it with everything it needs, and runs until Ctrl-C. Returns the exit code.
pub async fn run(arguments: &[&str]) -> u8 {
    let Some(arguments) = Arguments::parse(arguments) else { return usage(USAGE) };
    exit_code(if arguments.stand_ins { stand_ins(arguments.store).await } else { up(arguments).await })
}

impl Arguments {
    fn parse(arguments: &[&str]) -> Option<Self> {
        let mut parsed = Self::default();
        let mut arguments = arguments.iter().copied();
        while let Some(argument) = arguments.next() {
            match argument {
                "--mode" => parsed.mode = Some(mode(arguments.next()?)?),
                "--stand-ins" => parsed.stand_ins = true,
                "--store" => parsed.store = store(arguments.next()?)?,
                "--verbose" => parsed.verbose = true,
                _ => return None,
            }
        }
        // The real host has its own mode.
        (!parsed.stand_ins || parsed.mode.is_none()).then_some(parsed)
    }
}

fn mode(name: &str) -> Option<Mode> {
    match name {
        "forward" => Some(Mode::Forward),
        "proxy" => Some(Mode::Proxy),
        _ => None,
    }
}

fn store(name: &str) -> Option<Store> {
    match name {
        "cookie" => Some(Store::Cookie),
        "redis" => Some(Store::Redis),
        _ => None,
    }
}

async fn up(Arguments { mode, store, verbose, .. }: Arguments) -> Result<()> {
    check_redis(store)?;
    let binary = gateway()?;
    // A release may be in a folder that cannot be written.
    let files = tempfile::tempdir()?;
    let options = Options {
        root: root(),
        binary: Some(binary.clone()),
        keys: Keys::Vault(files.path().join("vault-ca.pem")),
        store,
        mode,
        ports: [choose_port(HOST)?, choose_port(PROVIDER)?, choose_port(GRAPH)?],
        print: verbose,
    };
    let mut stop = Stop::listen()?;
    let stack = LocalStack::start(options).await?;
    let Backends { origin, provider, graph, vault, redis, settings } = &stack.backends;
    let ring = match vault {
        Some(vault) => {
            let address = (Ipv4Addr::LOCALHOST, choose_port(RING)?).into();
            Some(RingPage::start(address, binary, settings.clone(), vault.clone()).await?)
        }
        None => None,
    };
    println!("\n  Provider (any user name, no password)  http://{}", provider.addr());
    println!("  Microsoft Graph                        {}", graph.base());
    if let Some(redis) = redis {
        println!("  Redis, with the sessions               {}", redis.url());
    }
    if let Some(ring) = &ring {
        println!("  Key ring, to watch and to rotate       {}", ring.url());
    }
    println!("\n  All of these keep their data in memory: sessions end with this command.");
    println!("  {}Ctrl-C stops everything.", if verbose { "" } else { "--verbose prints the log. " });
    println!("\n  Open {origin}\n");
    tokio::select! {
        () = stop.received() => {}
        () = stack.host.wait_shut_down() => return Err(stack.with_log("the host has shut down")),
    }
    stack.host.stop().await;
    Ok(())
}

/// Before anything is built: `redis-server` is the only program that is neither built nor part of Rust.
fn check_redis(store: Store) -> Result<()> {
    if store == Store::Redis && !setup::runs("redis-server", &["--version"]) {
        return Err(format!("--store redis needs redis-server: {}", GET_REDIS).into());
    }
    Ok(())
}

/// Everything but host and gateway, for the real host.
async fn stand_ins(store: Store) -> Result<()> {
    check_redis(store)?;
    // Relative to the folder in which `func` starts.
    let (folder, build) = if release_folder().is_some() { (".", "") } else { ("target/debug", "cargo build && ") };
    let options = Options {
        root: root(),
        binary: Some(Path::new(folder).join(os::executable("cloakroom"))),
        keys: if os::HAS_KEY_FILES { Keys::File(target().join("devkit/keys.json")) } else { Keys::Static },
        store,
        mode: None,
        // The port of Core Tools, which may already listen.
        ports: [HOST.1, choose_port(PROVIDER)?, choose_port(GRAPH)?],
        print: false,
    };
    let mut stop = Stop::listen()?;
    let backends = Backends::start(&options).await?;
    let file = target().join(LOCAL_SETTINGS);
    file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
    std::fs::write(&file, backends.local_settings(HOST.1))?;
    println!("The provider is at {}, Microsoft Graph at {}.", backends.provider.addr(), backends.graph.addr());
    if let Some(redis) = &backends.redis {
        println!("Redis is at {}.", redis.url());
    }
    println!("In another terminal, with Azure Functions Core Tools:\n");
    println!("  cp {} local.settings.json && {build}func start\n", file.display());
    println!("Then open {}. Ctrl-C stops everything.", backends.origin);
    stop.received().await;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_accepted_in_any_order() {
        let parse = Arguments::parse;
        assert_eq!(parse(&[]), Some(Arguments::default()));
        let all = Arguments { mode: Some(Mode::Proxy), store: Store::Redis, verbose: true, stand_ins: false };
        assert_eq!(parse(&["--verbose", "--store", "redis", "--mode", "proxy"]), Some(all));
        let stand_ins = Arguments { stand_ins: true, store: Store::Redis, ..Arguments::default() };
        assert_eq!(parse(&["--stand-ins", "--store", "redis"]), Some(stand_ins));
        assert_eq!(parse(&["--store", "cookie"]), Some(Arguments::default()));
        let unknown: [&[&str]; 6] = [
            &["--store"],
            &["--store", "sql"],
            &["--mode", "payload"],
            &["--stand-ins", "--mode", "proxy"],
            &["redis"],
            &["--mode"],
        ];
        for arguments in unknown {
            assert_eq!(parse(arguments), None, "{arguments:?}");
        }
    }
}
