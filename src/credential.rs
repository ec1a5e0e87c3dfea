//! The Azure credential (contract 6.5): the identity of the gateway at Key Vault and, by client assertions, at Entra.
//!
//! Each kind of identity is one variant of [`Identity`] and one arm of `create`; users of the credential do not change.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::Error;
use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};

use crate::net::OutboundClients;
use crate::secret::SecretString;
use crate::telemetry::spawn_blocking;

/// Deadline for a token.
const TOKEN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone)]
pub enum Identity {
    /// The sign-in of a developer on this machine: `az login` or `azd auth login`.
    Developer,
    /// A credential of the SDK that the caller created.
    Given(Arc<dyn TokenCredential>),
    /// The app's managed identity; a user-assigned one by its client ID.
    Managed(Option<String>),
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
        // The text of the error may contain the response of the identity endpoint; its kind does not.
        let token = response.map_err(|error| format!("no token ({:?}): {}", error.kind(), self.remedy()))?;
        Ok(token.token.secret().into())
    }

    /// The credential for a client of the SDK.
    ///
    /// # Errors
    /// What is wrong and what to do, for the log.
    pub async fn for_sdk(&self) -> Result<Arc<dyn TokenCredential>, String> {
        if let Some(credential) = self.created.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            return Ok(Arc::clone(credential));
        }
        // The endpoint of a managed identity is plain http and needs no trusted roots.
        let options = client_options(&self.net, |net| net.http()).await?;
        let credential = self.create(options);
        let credential = credential
            .map_err(|error| format!("no credential could be created ({:?}): {}", error.kind(), self.remedy()))?;
        *self.created.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&credential));
        Ok(credential)
    }

    fn create(&self, client_options: ClientOptions) -> Result<Arc<dyn TokenCredential>, Error> {
        Ok(match &self.identity {
            Identity::Developer => DeveloperToolsCredential::new(None)?,
            Identity::Given(credential) => Arc::clone(credential),
            Identity::Managed(client_id) => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                client_options,
            }))?,
        })
    }

    /// Discards the cached tokens, because a service rejected one.
    pub fn discard_tokens(&self) {
        *self.created.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What to do when there is no token.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self.identity {
            Identity::Developer => "run az login, or azd auth login",
            Identity::Given(_) => "check the credential",
            Identity::Managed(_) => "check the app's managed identity and AZURE_CLIENT_ID",
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
