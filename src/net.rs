//! Outgoing connections: one TLS configuration for all, made on first use and never before the process listens.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::crypto::ring::default_provider;
use rustls_platform_verifier::BuilderVerifierExt;

/// Deadline for a connection to anything.
pub const CONNECT: Duration = Duration::from_secs(2);
/// Deadline for a whole exchange with the provider.
const EXCHANGE: Duration = Duration::from_secs(10);

/// TLS and the HTTP client for everything but proxied calls.
#[derive(Debug, Default)]
pub struct OutboundClients {
    tls: OnceLock<Option<Arc<ClientConfig>>>,
    http: OnceLock<Option<reqwest::Client>>,
}

impl OutboundClients {
    /// Whose HTTP client is the caller's own.
    #[must_use]
    pub fn with_http(client: reqwest::Client) -> Self {
        Self { tls: OnceLock::new(), http: OnceLock::from(Some(client)) }
    }

    /// TLS with the machine's trusted roots, or those of `SSL_CERT_FILE`. `None` when there are none.
    pub fn tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls
            .get_or_init(|| {
                let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
                    .with_safe_default_protocol_versions()
                    .and_then(|builder| builder.with_platform_verifier());
                match config {
                    Ok(builder) => Some(Arc::new(builder.with_no_client_auth())),
                    Err(error) => {
                        tracing::error!(%error, "no trusted TLS roots; install ca-certificates or set SSL_CERT_FILE");
                        None
                    }
                }
            })
            .clone()
    }

    /// TLS that trusts nobody, where every address is plain http on loopback: no roots are read.
    pub fn tls_without_roots(&self) -> Option<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let builder = builder.with_safe_default_protocol_versions().ok()?;
        Some(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
    }

    /// The HTTP client: no redirects, no proxies of the environment, no cookies.
    pub fn http(&self) -> Option<&reqwest::Client> {
        self.http
            .get_or_init(|| {
                // Without roots every https address fails, which is told; http on loopback needs none.
                let tls = self.tls().map(|tls| ClientConfig::clone(&tls)).or_else(|| self.tls_without_roots())?;
                reqwest::Client::builder()
                    .tls_backend_preconfigured(tls)
                    .redirect(reqwest::redirect::Policy::none())
                    .no_proxy()
                    .connect_timeout(CONNECT)
                    .timeout(EXCHANGE)
                    .tcp_nodelay(true)
                    .user_agent("cloakroom")
                    .build()
                    .inspect_err(|error| tracing::error!(%error, "the HTTP client cannot be built"))
                    .ok()
            })
            .as_ref()
    }
}
