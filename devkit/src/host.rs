//! A stand-in for the Azure Functions host: it serves a project's HTTP and timer functions through the custom handler
//! that the project's `host.json` names, with the measured peculiarities of the real host.
//!
//! Imports point down this list:
//!
//! 1. `cli`: the program `cargo dev host`
//! 2. `host`: this file, a running host
//! 3. `inspect`: checks a project without starting it
//! 4. `script_host`: what is replaced when a file changes
//! 5. `server`: the listener, and what the host responds itself
//! 6. `front`: what the listener rejects before it finds a function
//! 7. `cors`: what the host adds itself on some plans, preflights included
//! 8. `timer`: timer functions
//! 9. `http`: invocations, and how each mode changes requests and responses
//! 10. `process`: the handler process
//! 11. `config`: the project's files and app settings
//! 12. `log`: the lines that host and handler write
//! 13. `options`: how to run a host

mod cli;
mod config;
mod cors;
mod front;
mod http;
mod inspect;
mod log;
mod options;
mod process;
mod script_host;
mod server;
mod timer;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use self::cli::run;
use self::config::{Watcher, add_local, environment};
pub use self::http::handler_target;
pub use self::inspect::{Inspection, inspect};
use self::log::Log;
pub use self::log::{Level, LogLine};
pub use self::options::{CodeLookup, Mode, Options, Plan};
use self::process::Phase;
use self::script_host::Launcher;
use self::server::{App, given_up, serve};
use crate::os;

/// A running host. Dropping it kills the handler.
pub struct Host {
    address: SocketAddr,
    log: Log,
    /// What the files say now; a change of them replaces it.
    current: watch::Receiver<Arc<App>>,
    stopping: Arc<Notify>,
    server: JoinHandle<()>,
    script_host: JoinHandle<()>,
}

impl Host {
    /// Listens, and starts the handler in the background, as the real host does.
    ///
    /// # Errors
    ///
    /// When the project cannot be read, its configuration is invalid, or the port is in use.
    pub async fn start(options: Options) -> io::Result<Self> {
        Self::start_with(options, None).await
    }

    /// Like [`Host::start`], but starts no handler if one listens on the port `attached` already.
    pub(crate) async fn start_with(mut options: Options, attached: Option<u16>) -> io::Result<Self> {
        options.root = os::resolved(&options.root)?;
        let log = Log::new(options.print);
        let settings = add_local(environment(options.inherit_env, &options.env), &options.root)?;
        let ip = options.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let listener = TcpListener::bind((ip, options.port)).await?;
        let address = listener.local_addr()?;
        let files = Watcher::new(&options.root);
        let launcher = Launcher { options, settings, address, attached, log: log.clone() };
        let running = launcher.launch()?;
        let (sender, current) = watch::channel(Arc::clone(&running.app));
        let stopping = Arc::new(Notify::new());
        Ok(Self {
            address,
            log,
            server: tokio::spawn(serve(listener, current.clone())),
            current,
            stopping: Arc::clone(&stopping),
            script_host: tokio::spawn(script_host::run(launcher, files, running, sender, stopping)),
        })
    }

    /// Where the host listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The lines that the host and its handler have written so far, the last 200,000 of them.
    pub fn logs(&self) -> Vec<LogLine> {
        self.log.lines()
    }

    /// The handler's process, while there is one.
    pub fn handler_pid(&self) -> Option<u32> {
        self.app().handler().state().pid
    }

    /// Where the handler listens.
    pub fn handler_port(&self) -> u16 {
        self.app().handler().port
    }

    /// Waits until the handler listens. A host without functions has no handler, and is ready at once.
    ///
    /// # Errors
    ///
    /// When the host has shut down.
    pub async fn wait_ready(&self) -> io::Result<()> {
        let app = self.app();
        let idle = app.functions.is_empty();
        match app.handler().wait_for(|phase| idle || phase != Phase::Starting).await {
            Phase::Down | Phase::Stopped => Err(io::Error::other("the host has shut down")),
            Phase::Starting | Phase::Initialized => Ok(()),
        }
    }

    /// Waits until the host has given up by itself, as the real one does after repeated crashes of its handler.
    pub async fn wait_shut_down(&self) {
        given_up(self.current.clone()).await;
    }

    /// Stops: the handler is killed at once, unless [`Options::platform_sigterm`] gives it time.
    pub async fn stop(mut self) {
        self.stopping.notify_one();
        // How the tasks end does not matter.
        let _ = (&mut self.script_host).await;
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    fn app(&self) -> Arc<App> {
        Arc::clone(&self.current.borrow())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.script_host.abort();
        self.server.abort();
    }
}
