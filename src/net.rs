//! Outgoing connections: one TLS configuration and one HTTP client for all, created on first use, because reading the
//! trusted roots would delay the listener.

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_native_certs::CertificateResult;
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::time::Instant;

/// Deadline for a connection to anything.
pub const CONNECT: Duration = Duration::from_secs(2);
/// Deadline for a whole exchange with the provider.
const EXCHANGE: Duration = Duration::from_secs(10);
/// Shortest interval between attempts to load the trusted roots.
const ROOTS_PAUSE: Duration = Duration::from_secs(5);

/// TLS, and the HTTP client for everything except proxied calls.
#[derive(Debug)]
pub struct OutboundClients {
    load_roots: fn() -> Result<ClientConfig, rustls::Error>,
    tls: OnceLock<Arc<ClientConfig>>,
    /// When the roots could not be loaded. Locked during an attempt.
    failed_at: Mutex<Option<Instant>>,
    https: OnceLock<reqwest::Client>,
    http_without_roots: OnceLock<reqwest::Client>,
}

impl Default for OutboundClients {
    fn default() -> Self {
        let (tls, failed_at, https, http_without_roots) = Default::default();
        Self { load_roots: with_platform_roots, tls, failed_at, https, http_without_roots }
    }
}

impl OutboundClients {
    /// With an HTTP client of the caller.
    #[must_use]
    pub fn with_http(client: reqwest::Client) -> Self {
        Self { https: OnceLock::from(client), ..Self::default() }
    }

    /// With TLS of the caller.
    #[must_use]
    pub fn with_tls(tls: Arc<ClientConfig>) -> Self {
        Self { tls: OnceLock::from(tls), ..Self::default() }
    }

    /// TLS with the trusted roots of the machine, and those of `SSL_CERT_FILE`. `None` if there are none; a later call
    /// tries again.
    pub fn tls(&self) -> Option<Arc<ClientConfig>> {
        if let Some(tls) = self.tls.get() {
            return Some(Arc::clone(tls));
        }
        let mut failed_at = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner);
        if self.tls.get().is_none() && failed_at.is_none_or(|at| at.elapsed() >= ROOTS_PAUSE) {
            match (self.load_roots)() {
                Ok(config) => return Some(Arc::clone(self.tls.get_or_init(|| Arc::new(config)))),
                Err(error) => {
                    tracing::error!(%error, "no trusted TLS roots; install ca-certificates or set SSL_CERT_FILE");
                    *failed_at = Some(Instant::now());
                }
            }
        }
        self.tls.get().map(Arc::clone)
    }

    /// TLS that trusts no one, for http on loopback: no roots are read.
    pub fn tls_without_roots(&self) -> Option<ClientConfig> {
        Some(builder().ok()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
    }

    /// The HTTP client. Until there are trusted roots, one with which https requests fail, but not those over http to
    /// loopback; so do not store it, but call this for each request.
    pub fn http(&self) -> Option<&reqwest::Client> {
        self.https().or_else(|| self.http_without_roots())
    }

    /// An HTTP client for http, for which no roots are read.
    pub fn http_without_roots(&self) -> Option<&reqwest::Client> {
        created(&self.http_without_roots, || self.tls_without_roots())
    }

    /// The HTTP client with trusted roots, which may be stored. `None` if there are none; later calls try again.
    pub fn https(&self) -> Option<&reqwest::Client> {
        created(&self.https, || self.tls().map(Arc::unwrap_or_clone))
    }
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions()
}

/// `SSL_CERT_FILE` adds authorities (contract 15.15): the platform's verifier alone would then trust no others.
fn with_platform_roots() -> Result<ClientConfig, rustls::Error> {
    if !openssl_probe::has_ssl_cert_env_vars() {
        return Ok(builder()?.with_platform_verifier()?.with_no_client_auth());
    }
    let roots = joined_roots(rustls_native_certs::load_native_certs(), openssl_probe::candidate_cert_dirs());
    if roots.is_empty() {
        return Err(rustls::Error::General("no authorities were found".to_owned()));
    }
    Ok(builder()?.with_root_certificates(roots).with_no_client_auth())
}

/// The authorities of the environment and those in the machine's folders.
fn joined_roots<'a>(named: CertificateResult, folders: impl Iterator<Item = &'a Path>) -> RootCertStore {
    for error in &named.errors {
        tracing::error!(%error, "an authority of SSL_CERT_FILE or SSL_CERT_DIR cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(named.certs);
    for folder in folders {
        roots.add_parsable_certificates(rustls_native_certs::load_certs_from_paths(None, Some(folder)).certs);
    }
    roots
}

/// The client in `cell`, created now if it is not there: no redirects, no proxies of the environment, no cookies.
fn created(cell: &OnceLock<reqwest::Client>, tls: impl FnOnce() -> Option<ClientConfig>) -> Option<&reqwest::Client> {
    if let Some(client) = cell.get() {
        return Some(client);
    }
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .connect_timeout(CONNECT)
        .timeout(EXCHANGE)
        .tcp_nodelay(true)
        .user_agent("cloakroom")
        .build()
        .inspect_err(|error| tracing::error!(%error, "the HTTP client could not be created"))
        .ok()?;
    Some(cell.get_or_init(|| client))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Contract 15.15: a private authority of Redis does not take away the public one of the provider.
    #[test]
    fn authorities_of_the_environment_are_added_to_those_of_the_machine() {
        let [named, machine] = [(); 2].map(|()| devkit::redis_server::Authority::new().unwrap());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, named.pem()).unwrap();
        let named = rustls_native_certs::load_certs_from_paths(Some(&file), None);
        std::fs::write(&file, machine.pem()).unwrap();
        let folders = [folder.path(), Path::new("/nonexistent")].into_iter();
        let roots = joined_roots(named, folders);
        assert_eq!(roots.len(), 2);
        assert_ne!(roots.roots[0].subject_public_key_info, roots.roots[1].subject_public_key_info);
    }

    static ATTEMPTS: AtomicUsize = AtomicUsize::new(0);

    fn succeeds_later() -> Result<ClientConfig, rustls::Error> {
        if ATTEMPTS.fetch_add(1, Ordering::Relaxed) == 0 {
            return Err(rustls::Error::General("no roots".to_owned()));
        }
        Ok(OutboundClients::default().tls_without_roots().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn roots_that_could_not_be_loaded_are_loaded_later() {
        let clients = OutboundClients { load_roots: succeeds_later, ..OutboundClients::default() };
        assert!(clients.tls().is_none() && clients.https().is_none());
        assert!(clients.http().is_some(), "http on loopback needs no roots");
        assert_eq!(ATTEMPTS.load(Ordering::Relaxed), 1, "not at every request");
        tokio::time::advance(ROOTS_PAUSE).await;
        assert!(clients.tls().is_some() && clients.https().is_some());
        assert!(std::ptr::eq(clients.http().unwrap(), clients.https().unwrap()));
        assert_eq!(ATTEMPTS.load(Ordering::Relaxed), 2, "and once more");
    }
}
