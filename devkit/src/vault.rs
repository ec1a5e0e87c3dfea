//! A stand-in for Azure Key Vault's secrets: HTTPS with its own authority, for access tokens that the
//! [`identity`](crate::identity) stand-in issued.
//!
//! Versions, attributes, pages and errors are Key Vault's.

mod api;
mod error;
mod secrets;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;

use http::{Response, StatusCode};
use tokio::net::TcpListener;

use crate::identity::{Identity, KEY_VAULT};
use crate::web::{ANY_PORT, Body, CertificateAuthority, Core, Handler, HangUp, StandIn, lock};
use api::Request;
use error::Error;
use secrets::Secrets;

pub use crate::web::{AcceptMode, Fault, Recorded};
pub use api::Operation;
pub use secrets::Version;

#[derive(Clone, Debug)]
pub struct Options {
    pub addr: SocketAddr,
    /// Names for the certificate besides `localhost` and 127.0.0.1, such as `x.vault.azure.net`.
    pub names: Vec<String>,
    /// Whose tokens are valid.
    pub identity: Identity,
    /// The resource in the challenge, for which tokens must be.
    pub resource: String,
}

impl Options {
    #[must_use]
    pub fn new(identity: &Identity) -> Self {
        Self { addr: ANY_PORT, names: Vec::new(), identity: identity.clone(), resource: KEY_VAULT.to_owned() }
    }
}

pub type Vault = StandIn<State>;

impl StandIn<State> {
    /// # Errors
    /// The address cannot be bound, or the certificate cannot be created.
    pub async fn start(options: Options) -> io::Result<Self> {
        let authority = CertificateAuthority::new("Stand-in for Key Vault")?;
        let names = ["localhost", "127.0.0.1"].map(str::to_owned).into_iter().chain(options.names.iter().cloned());
        let tls = Some(authority.acceptor(names.collect())?);
        let listener = TcpListener::bind(options.addr).await?;
        let state = State { options, authority: authority.pem, core: Core::default(), secrets: Mutex::default() };
        Self::serve(listener, tls, state)
    }

    /// `https://localhost:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.addr().port())
    }

    /// The certificate authority to trust, PEM.
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

    /// Adds a version as `PUT` does, and returns its id.
    pub fn put(&self, name: &str, value: &str) -> String {
        self.put_with(name, value, |_| {})
    }

    /// Adds a version that `edit` has changed, and returns its id.
    pub fn put_with(&self, name: &str, value: &str, edit: impl FnOnce(&mut Version)) -> String {
        let mut version = Version::new(value, self.now());
        edit(&mut version);
        let id = version.id.clone();
        lock(&self.state.secrets).put(name, version);
        id
    }

    /// Disables a version; `false` if there is none of that id.
    pub fn disable(&self, name: &str, version: &str) -> bool {
        let now = self.now();
        let mut secrets = lock(&self.state.secrets);
        let found = secrets.find(name, Some(version));
        found.map(|version| (version.enabled, version.updated) = (false, now)).is_some()
    }

    /// Removes a secret with all its versions.
    pub fn remove(&self, name: &str) {
        lock(&self.state.secrets).remove(name);
    }

    /// The versions of a secret, oldest first.
    #[must_use]
    pub fn versions(&self, name: &str) -> Vec<Version> {
        lock(&self.state.secrets).versions(name).to_vec()
    }

    /// Requests for the first page of a list, with a valid token.
    #[must_use]
    pub fn count_lists(&self) -> u64 {
        self.state.core.log.count_of(Operation::List.name())
    }

    /// Requests for a value, with a valid token.
    #[must_use]
    pub fn count_gets(&self) -> u64 {
        self.state.core.log.count_of(Operation::Get.name()) + self.count_gets_of_newest()
    }

    /// Those of them that name no version.
    #[must_use]
    pub fn count_gets_of_newest(&self) -> u64 {
        self.state.core.log.count_of(Operation::GetNewest.name())
    }
}

#[derive(Debug)]
pub struct State {
    options: Options,
    authority: String,
    core: Core<Operation>,
    secrets: Mutex<Secrets>,
}

impl State {
    fn check_token(&self, request: &Recorded) -> Result<(), &'static str> {
        let line = request.header("authorization").unwrap_or_default();
        let token = line.strip_prefix("Bearer ").ok_or("AKV10000: Request is missing a Bearer or PoP token.")?;
        self.options.identity.check(token, &self.options.resource)
    }

    fn work(&self, request: &Recorded, fault: Option<Fault>) -> Response<Body> {
        if let Err(why) = self.check_token(request) {
            return error::challenge(&self.options.resource, why);
        }
        let response = Request::parse(request).and_then(|request| match fault {
            Some(Fault::ForbiddenByRbac) => Err(Error::forbidden_by_rbac(request.operation.action())),
            Some(Fault::ForbiddenByFirewall) => Err(Error::forbidden_by_firewall()),
            _ => request.run(&mut lock(&self.secrets), self.core.clock.now()),
        });
        response.unwrap_or_else(|error| error.response())
    }
}

impl Handler for State {
    type Target = Operation;

    fn core(&self) -> &Core<Operation> {
        &self.core
    }

    async fn respond(&self, request: Recorded) -> Result<Response<Body>, HangUp> {
        let fault = Request::parse(&request).ok().and_then(|parsed| {
            if parsed.is_first_page() && self.check_token(&request).is_ok() {
                self.core.log.count_as(parsed.operation.name());
            }
            self.core.faults.take(parsed.operation)
        });
        match fault {
            Some(fault) => {
                let error = |status: StatusCode| Error::with_status(status).response();
                fault.apply(error, || self.work(&request, Some(fault))).await
            }
            None => Ok(self.work(&request, None)),
        }
    }
}
