//! Workload identity: a token that Kubernetes issued for the pod's service account is exchanged for tokens of Entra
//! (RFC 7523; in Entra a federated identity credential).

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use azure_core::Error;
use azure_core::cloud::CustomConfiguration;
use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::{ClientMethodOptions, ClientOptions};
use azure_identity::{ClientAssertion, ClientAssertionCredential, ClientAssertionCredentialOptions};
use url::Url;

use crate::secret::{ExposeSecret, SecretString};
use crate::telemetry::spawn_blocking;

/// The variables that Kubernetes sets (those of `azure.workload.identity/use`).
#[derive(Debug, Clone)]
pub struct Workload {
    /// `AZURE_TENANT_ID`.
    pub tenant: String,
    /// `AZURE_CLIENT_ID`.
    pub client_id: String,
    /// `AZURE_AUTHORITY_HOST`.
    pub authority: Url,
    /// `AZURE_FEDERATED_TOKEN_FILE`.
    pub token: TokenFile,
}

/// The file with the token of the service account. Kubernetes replaces it before it expires.
///
/// The SDK's own `WorkloadIdentityCredential` keeps what it read for ten minutes, which is as long as the shortest of
/// these tokens are valid.
#[derive(Debug, Clone)]
pub struct TokenFile(pub PathBuf);

/// Why there is no token in the file; not what is in it.
#[derive(Debug)]
pub(super) struct NoToken(String);

impl fmt::Display for NoToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AZURE_FEDERATED_TOKEN_FILE {}", self.0)
    }
}

impl std::error::Error for NoToken {}

impl TokenFile {
    pub(super) async fn read(&self) -> Result<SecretString, NoToken> {
        let path = self.0.clone();
        let read = spawn_blocking(move || std::fs::read_to_string(path)).await;
        let text = read.map_err(std::io::Error::other).and_then(|read| read);
        let text = text.map_err(|error| NoToken(format!("cannot be read: {}", error.kind())))?;
        match text.trim() {
            "" => Err(NoToken("is empty".to_owned())),
            token => Ok(token.into()),
        }
    }
}

type AssertionFuture<'a> = Pin<Box<dyn Future<Output = Result<String, Error>> + Send + 'a>>;

impl ClientAssertion for TokenFile {
    fn secret<'a, 'b, 'c>(&'a self, _: Option<ClientMethodOptions<'b>>) -> AssertionFuture<'c>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        Box::pin(async {
            let token = self.read().await.map_err(|problem| Error::new(ErrorKind::Credential, problem))?;
            Ok(token.expose_secret().to_owned())
        })
    }
}

impl Workload {
    pub(super) fn credential(&self, client_options: ClientOptions) -> Result<Arc<dyn TokenCredential>, Error> {
        let mut cloud = CustomConfiguration::default();
        cloud.authority_host = self.authority.to_string();
        let client_options = ClientOptions { cloud: Some(Arc::new(cloud.into())), ..client_options };
        Ok(ClientAssertionCredential::new(
            self.tenant.clone(),
            self.client_id.clone(),
            self.token.clone(),
            Some(ClientAssertionCredentialOptions { client_options }),
        )?)
    }
}
