//! The Azure credential (contract 6.5): the identity of the gateway at Key Vault, Redis and, by client assertions, at
//! Entra.
//!
//! Each kind of identity is one variant of [`Identity`] and one arm of `create`; users of the credential do not change.

mod federated;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::Error;
use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};

use crate::net::OutboundClients;
use crate::secret::SecretString;
use crate::telemetry::spawn_blocking;
use federated::NoToken;
pub use federated::{TokenFile, Workload};

/// Deadline for a token. The SDK repeats requests to a virtual machine's endpoint for more than a minute.
const TOKEN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub enum Identity {
    /// The sign-in of a developer on this machine: `az login` or `azd auth login`.
    Developer,
    /// A credential of the SDK that the caller created.
    Given(Arc<dyn TokenCredential>),
    /// The app's managed identity; a user-assigned one by its client ID.
    Managed(Option<String>),
    /// The managed identity of the virtual machine, from its metadata service (IMDS); likewise.
    VirtualMachine(Option<String>),
    /// The identity that trusts the tokens of a Kubernetes service account.
    Workload(Workload),
}

/// A credential of the SDK, created on first use. The SDK caches its tokens.
pub struct Credential {
    identity: Identity,
    net: Arc<OutboundClients>,
    created: Mutex<Option<Arc<dyn TokenCredential>>>,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Credential {
    #[must_use]
    pub fn new(identity: Identity, net: Arc<OutboundClients>) -> Self {
        Self { identity, net, created: Mutex::default() }
    }

    /// A token for a scope, such as `https://vault.azure.net/.default`.
    ///
    /// # Errors
    /// What is wrong and what to do, for the log.
    pub async fn token(&self, scope: &str) -> Result<SecretString, String> {
        let credential = self.for_sdk().await?;
        let scopes = [scope];
        let response = tokio::time::timeout(TOKEN, credential.get_token(&scopes, None)).await;
        let response = response.map_err(|_| format!("no token within 5 s: {}", self.remedy()))?;
        let token = response.map_err(|error| self.describe(&error))?;
        Ok(token.token.secret().into())
    }

    /// A client assertion for this audience (contract 7.7).
    ///
    /// That of a workload is the token of its service account. Entra does not accept a token as client assertion that
    /// it issued for one (AADSTS700222).
    ///
    /// # Errors
    /// What is wrong and what to do, for the log.
    pub async fn client_assertion(&self, audience: &str) -> Result<SecretString, String> {
        match &self.identity {
            Identity::Workload(workload) => {
                let token = workload.token.read().await;
                token.map_err(|problem| format!("no token ({problem}): {}", self.remedy()))
            }
            _ => self.token(&format!("{audience}/.default")).await,
        }
    }

    /// The credential for a client of the SDK.
    ///
    /// # Errors
    /// What is wrong and what to do, for the log.
    pub async fn for_sdk(&self) -> Result<Arc<dyn TokenCredential>, String> {
        if let Some(credential) = self.created.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            return Ok(Arc::clone(credential));
        }
        let options = match self.identity {
            Identity::Workload(_) => self.client_options().await?,
            // The endpoint of a managed identity is plain http and needs no trusted roots.
            _ => client_options(&self.net, |net| net.http()).await?,
        };
        // Another request may have created one meanwhile, whose tokens are cached.
        let mut created = self.created.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credential) = created.as_ref() {
            return Ok(Arc::clone(credential));
        }
        let credential = self.create(options);
        let credential = credential
            .map_err(|error| format!("no credential could be created ({:?}): {}", error.kind(), self.remedy()))?;
        Ok(Arc::clone(created.insert(credential)))
    }

    fn create(&self, client_options: ClientOptions) -> Result<Arc<dyn TokenCredential>, Error> {
        Ok(match &self.identity {
            Identity::Developer => DeveloperToolsCredential::new(None)?,
            Identity::Given(credential) => Arc::clone(credential),
            // Which of the two endpoints the SDK requests depends on the variables of the process.
            Identity::Managed(client_id) | Identity::VirtualMachine(client_id) => {
                ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                    user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                    client_options,
                }))?
            }
            Identity::Workload(workload) => workload.credential(client_options)?,
        })
    }

    /// Discards the cached tokens, because a service rejected one.
    pub fn discard_tokens(&self) {
        *self.created.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// An error of the SDK's credential, and what to do. No text of a response is in it.
    #[must_use]
    pub fn describe(&self, error: &Error) -> String {
        format!("no token ({}): {}", cause(error), self.remedy())
    }

    /// What to do when there is no token.
    const fn remedy(&self) -> &'static str {
        match self.identity {
            Identity::Developer => "run az login, or azd auth login",
            Identity::Given(_) => "check the credential",
            Identity::Managed(_) => "check the app's managed identity and AZURE_CLIENT_ID",
            Identity::VirtualMachine(_) => {
                "check that the virtual machine has an identity (az vm identity show), and AZURE_CLIENT_ID"
            }
            Identity::Workload(_) => {
                "check AZURE_FEDERATED_TOKEN_FILE, AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_AUTHORITY_HOST, and that \
                 the identity trusts issuer, subject and audience of that token (a federated credential)"
            }
        }
    }

    /// Options for a client of the SDK for an Azure service.
    ///
    /// # Errors
    /// What is wrong, for the log.
    pub async fn client_options(&self) -> Result<ClientOptions, String> {
        client_options(&self.net, |net| net.https()).await
    }
}

/// What made the SDK fail. Of a response it has only the status and Entra's error numbers: the rest may be anything.
fn cause(error: &Error) -> String {
    let chain = || std::iter::successors(Some(error as &(dyn std::error::Error + 'static)), |error| error.source());
    if let Some(problem) = chain().find_map(|error| error.downcast_ref::<NoToken>()) {
        return problem.to_string();
    }
    let mut kinds = chain().filter_map(|error| error.downcast_ref::<Error>()).map(Error::kind);
    let response = kinds.find_map(|kind| match kind {
        ErrorKind::HttpResponse { status, error_code, .. } => Some((status, error_code)),
        _ => None,
    });
    let Some((status, code)) = response else { return format!("{:?}", error.kind()) };
    let is_number = |code: &&String| code.bytes().all(|byte| byte.is_ascii_digit() || byte == b',');
    let number = code.as_ref().filter(is_number).map(|code| format!(", AADSTS{code}"));
    format!("status {}{}", u16::from(*status), number.unwrap_or_default())
}

/// The gateway's own HTTP client, and no retries, which would take minutes and lose request bodies.
async fn client_options(
    net: &Arc<OutboundClients>,
    client: fn(&OutboundClients) -> Option<&reqwest::Client>,
) -> Result<ClientOptions, String> {
    let net = Arc::clone(net);
    // Reading the trusted roots blocks for tens of milliseconds.
    let http = spawn_blocking(move || client(&net).cloned()).await.ok().flatten();
    let http = http.ok_or("the HTTP client could not be created; are there trusted TLS roots?")?;
    Ok(ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(http))),
        ..ClientOptions::default()
    })
}
