//! A stand-in for Azure Key Vault's secrets: a real HTTPS server on loopback with an authority of its own, which takes
//! only access tokens that the [`identity`](crate::identity) stand-in issued for it.
//!
//! It keeps versions, attributes, pages and errors as Key Vault does, records what it receives, and misbehaves on
//! request, operation by operation or at the door.

mod api;
mod clock;
mod fault;
mod refusal;
mod secrets;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use tokio::net::TcpListener;

use crate::identity::{Identity, KEY_VAULT};
use crate::web::{Authority, Body, Call, Front, Handler, HangUp, Log, Server, Wire, lock};
use api::Request;
use clock::Clock;
use fault::Faults;
use secrets::Secrets;

pub use crate::web::{Door, Recorded};
pub use api::Operation;
pub use fault::Fault;
pub use secrets::Version;
#[cfg(test)]
pub(crate) use tests::install_ring;

/// How a [`Vault`] is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// Names for the certificate beside `localhost` and 127.0.0.1, such as `x.vault.azure.net`.
    pub names: Vec<String>,
    /// Whose tokens count.
    pub identity: Identity,
    /// The tenant that the challenge names. Nobody follows it.
    pub tenant: String,
    /// The resource that the challenge names, and that tokens must be for.
    pub resource: String,
}

impl Options {
    /// On a free port, as `localhost` and 127.0.0.1, for Key Vault's own resource.
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        Self {
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            names: Vec::new(),
            identity: identity.clone(),
            tenant: "7f2a5c1e-90b4-4d53-8e6f-1f0c2b3a4d5e".to_owned(),
            resource: KEY_VAULT.to_owned(),
        }
    }
}

/// A handle on a running vault. It runs until the last handle is dropped, or one is stopped.
#[derive(Clone, Debug)]
pub struct Vault {
    state: Arc<State>,
    front: Arc<Front>,
    server: Arc<Server>,
}

impl Vault {
    /// Binds and serves; it answers from the moment this returns.
    ///
    /// # Errors
    /// The address cannot be bound, or the certificate cannot be made.
    pub async fn start(options: Options) -> io::Result<Self> {
        let authority = Authority::new("Stand-in for Key Vault")?;
        let names = ["localhost", "127.0.0.1"].map(str::to_owned).into_iter().chain(options.names.iter().cloned());
        let acceptor = authority.acceptor(names.collect())?;
        let listener = TcpListener::bind(options.addr).await?;
        let state = Arc::new(State {
            options,
            authority: authority.pem,
            clock: Clock::default(),
            log: Log::default(),
            counts: Mutex::default(),
            faults: Faults::default(),
            secrets: Mutex::default(),
        });
        let behind = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let server = Server::start(behind, Wire::default(), Arc::clone(&state))?;
        let front = Front::start(listener, acceptor, server.addr())?;
        Ok(Self { state, front: Arc::new(front), server: Arc::new(server) })
    }

    /// Closes the listener and all connections; the port is free afterwards.
    pub async fn stop(&self) {
        self.front.stop().await;
        self.server.stop().await;
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.front.addr()
    }

    /// `https://localhost:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr().port())
    }

    /// The authority to trust, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.state.authority
    }

    /// Writes the authority to a file, for `SSL_CERT_FILE`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_ca(&self, path: &Path) -> io::Result<()> {
        std::fs::write(path, self.ca_pem())
    }

    /// Makes a version as `PUT` would, and gives its id. A deleted secret comes back.
    pub fn put(&self, name: &str, value: &str) -> String {
        self.put_with(name, value, |_| {})
    }

    /// Makes a version with attributes, content type or tags of the tester's choice, and gives its id.
    pub fn put_with(&self, name: &str, value: &str, edit: impl FnOnce(&mut Version)) -> String {
        let mut version = Version::new(value, self.now());
        edit(&mut version);
        let id = version.id.clone();
        lock(&self.state.secrets).put(name, version);
        id
    }

    /// Changes a version, its times included; `false` if there is none of that id. `updated` stays as it is.
    pub fn edit(&self, name: &str, version: &str, edit: impl FnOnce(&mut Version)) -> bool {
        lock(&self.state.secrets).find(name, Some(version)).map(edit).is_some()
    }

    /// Disables a version; `false` if there is none of that id.
    pub fn disable(&self, name: &str, version: &str) -> bool {
        let now = self.now();
        self.edit(name, version, |version| {
            version.enabled = false;
            version.updated = now;
        })
    }

    /// Deletes a secret as `DELETE` does: it can be recovered. `false` if there is none.
    pub fn delete(&self, name: &str) -> bool {
        let now = self.now();
        let mut secrets = lock(&self.state.secrets);
        secrets.by_name.get_mut(name).map(|secret| secret.deleted = Some(now)).is_some()
    }

    /// Forgets a secret with all its versions.
    pub fn remove(&self, name: &str) {
        lock(&self.state.secrets).by_name.remove(name);
    }

    /// The versions of a secret in the order in which they were made; none, if it is deleted.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<Version> {
        lock(&self.state.secrets).versions(name).to_vec()
    }

    /// What it received, oldest first, up to 10,000 requests, refused ones included.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.log.requests()
    }

    /// How many requests it ever received.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.state.log.count()
    }

    /// How often a caller with a token that counts asked for this, faults or not. Further pages of a list are no lists.
    #[must_use]
    pub fn count_of(&self, operation: Operation) -> u64 {
        lock(&self.state.counts).get(&operation).copied().unwrap_or_default()
    }

    /// Lists that were begun.
    #[must_use]
    pub fn count_lists(&self) -> u64 {
        self.count_of(Operation::List)
    }

    /// Values that were asked for.
    #[must_use]
    pub fn count_gets(&self) -> u64 {
        self.count_of(Operation::Get)
    }

    /// Forgets the recorded requests and what was counted by operation; [`Vault::count`] goes on.
    pub fn clear_requests(&self) {
        self.state.log.clear();
        lock(&self.state.counts).clear();
    }

    /// Sets a fault for these operations until [`Vault::heal`]. Of several, the one that was set last strikes.
    pub fn fault(&self, operations: &[Operation], fault: Fault) {
        self.state.faults.add(operations, fault, None, None);
    }

    /// Sets a fault for the next so many requests, all these operations together.
    pub fn fault_next(&self, operations: &[Operation], times: u32, fault: Fault) {
        self.state.faults.add(operations, fault, Some(times), None);
    }

    /// Sets a fault for so long, such as a role that takes its time to be known everywhere.
    pub fn fault_for(&self, operations: &[Operation], time: Duration, fault: Fault) {
        self.state.faults.add(operations, fault, None, Some(time));
    }

    /// Ends all faults of operations. Requests that hang already go on hanging.
    pub fn heal(&self) {
        self.state.faults.clear();
    }

    /// Ends all connections, and sets how new ones are received.
    ///
    /// # Errors
    /// The port was lost to another process.
    pub async fn set_door(&self, door: Door) -> io::Result<()> {
        self.front.set_door(door).await
    }

    /// The vault's clock, Unix seconds. Tokens expire by the identity's.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.state.clock.now()
    }

    /// Sets the clock forward.
    pub fn advance(&self, by: Duration) {
        self.state.clock.advance(by);
    }

    /// Sets the clock back.
    pub fn set_back(&self, by: Duration) {
        self.state.clock.set_back(by);
    }

    /// Stops the clock, so that all that is made shares one second; `false` lets it go on with the real time.
    pub fn stop_clock(&self, stopped: bool) {
        self.state.clock.stop(stopped);
    }
}

#[derive(Debug)]
struct State {
    options: Options,
    authority: String,
    clock: Clock,
    log: Log,
    counts: Mutex<BTreeMap<Operation, u64>>,
    faults: Faults,
    secrets: Mutex<Secrets>,
}

impl State {
    /// Why the request's token does not count.
    fn check(&self, call: &Call) -> Result<(), &'static str> {
        let line = call.request.header("authorization").unwrap_or_default();
        let token = line.strip_prefix("Bearer ").ok_or("AKV10000: Request is missing a Bearer or PoP token.")?;
        self.options.identity.check(token, &self.options.resource)
    }

    fn work(&self, call: &Call, fault: Option<Fault>) -> Response<Body> {
        if let Err(why) = self.check(call) {
            return refusal::challenge(&self.options.tenant, &self.options.resource, why);
        }
        let answer =
            Request::parse(call).and_then(|request| match fault.and_then(|fault| fault.forbids(request.operation)) {
                Some(refusal) => Err(refusal),
                None => request.run(&mut lock(&self.secrets), self.clock.now()),
            });
        answer.unwrap_or_else(|refusal| refusal.reply())
    }
}

impl Handler for State {
    fn log(&self) -> &Log {
        &self.log
    }

    async fn answer(&self, call: Call) -> Result<Response<Body>, HangUp> {
        let fault = Request::parse(&call).ok().and_then(|request| {
            if request.begins() && self.check(&call).is_ok() {
                *lock(&self.counts).entry(request.operation).or_default() += 1;
            }
            self.faults.take(request.operation)
        });
        match fault {
            Some(fault) => fault.strike(|| self.work(&call, Some(fault))).await,
            None => Ok(self.work(&call, None)),
        }
    }
}
