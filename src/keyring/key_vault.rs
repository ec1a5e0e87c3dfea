//! The ring in Azure Key Vault: the versions of one secret, by the official crates over the gateway's own HTTP client.
//!
//! The SDK's retries are off (they would wait minutes, and lose bodies): the ring has its own deadline and its own
//! second attempt. An error is told by its status and codes alone, with the command that mends it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use azure_core::Error;
use azure_core::credentials::TokenCredential;
use azure_core::error::{ErrorKind, ErrorResponse};
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_core::time::OffsetDateTime;
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use azure_security_keyvault_secrets::models::{
    SecretAttributes, SecretClientGetSecretOptions, SecretClientUpdateSecretPropertiesOptions, SecretProperties,
    SetSecretParameters, UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{ResourceExt as _, SecretClient, SecretClientOptions};
use futures_util::TryStreamExt as _;
use url::Url;

use super::{Answer, CONTENT_TYPE, KeyId, KeySource, NewVersion, SourceDown, Value, Version};
use crate::clock::UnixSeconds;
use crate::net::OutboundClients;
use crate::origin::is_loopback;
use crate::secret::ExposeSecret;
use crate::telemetry::loggable_code;

/// Who asks the vault.
#[derive(Debug, Clone)]
pub enum Identity {
    /// What the developer signed in with: `az login`, `azd auth login`.
    Developer,
    /// Whoever a credential of the caller's own stands for.
    Given(Arc<dyn TokenCredential>),
    /// The app's managed identity; a user-assigned one by its client id.
    Managed(Option<String>),
}

/// One secret of one vault.
pub struct KeyVault {
    url: Url,
    name: String,
    identity: Identity,
    net: Arc<OutboundClients>,
    client: Mutex<Option<Arc<SecretClient>>>,
}

impl fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVault").field("url", &self.url.as_str()).field("name", &self.name).finish_non_exhaustive()
    }
}

/// What was asked, for the error's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Disable,
    Get,
    List,
    Publish,
}

impl KeyVault {
    /// The ring of this name. Nothing is asked yet.
    #[must_use]
    pub fn new(url: Url, name: String, identity: Identity, net: Arc<OutboundClients>) -> Self {
        Self { url, name, identity, net, client: Mutex::default() }
    }

    /// The client, made on first use; reading the trusted roots takes long enough to block others.
    async fn client(&self) -> Result<Arc<SecretClient>, SourceDown> {
        if let Some(client) = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(client);
        }
        let net = Arc::clone(&self.net);
        let http = tokio::task::spawn_blocking(move || net.http().cloned()).await.ok().flatten();
        let http = http.ok_or_else(|| SourceDown("there is no HTTP client".to_owned()))?;
        let made = self.connect(&http).map(Arc::new);
        let client = made.map_err(|error| SourceDown(format!("{} cannot be used: {:?}", self.url, error.kind())))?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&client));
        Ok(client)
    }

    fn connect(&self, http: &reqwest::Client) -> Result<SecretClient, Error> {
        let credential: Arc<dyn TokenCredential> = match &self.identity {
            Identity::Developer => DeveloperToolsCredential::new(None)?,
            Identity::Given(credential) => Arc::clone(credential),
            Identity::Managed(client_id) => ManagedIdentityCredential::new(Some(ManagedIdentityCredentialOptions {
                user_assigned_id: client_id.clone().map(UserAssignedId::ClientId),
                client_options: client_options(http),
            }))?,
        };
        let options = SecretClientOptions {
            client_options: client_options(http),
            // An emulator on loopback has no name that the challenge's resource could be compared with.
            verify_challenge_resource: Some(!is_loopback(&self.url)),
            ..SecretClientOptions::default()
        };
        SecretClient::new(self.url.as_str(), credential, Some(options))
    }

    async fn list_all(&self) -> Result<Vec<Version>, SourceDown> {
        let client = self.client().await?;
        let pager = client.list_secret_properties_versions(&self.name, None);
        let items: Result<Vec<SecretProperties>, Error> = match pager {
            Ok(pager) => pager.try_collect().await,
            Err(error) => Err(error),
        };
        match items {
            Ok(items) => Ok(items.iter().filter_map(version).collect()),
            // A secret that was never made has no versions.
            Err(error) if status(&error) == Some(404) => Ok(Vec::new()),
            Err(error) => Err(self.down(Operation::List, &error)),
        }
    }

    /// What went wrong, with what mends it. A client whose token the vault no longer takes is not used again.
    fn down(&self, operation: Operation, error: &Error) -> SourceDown {
        let refusal = Refusal::of(error);
        if refusal.status == Some(401) {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        SourceDown(format!(
            "Key Vault {}, {operation:?} of {}: {}",
            self.url,
            self.name,
            refusal.tell(operation, self, error)
        ))
    }
}

fn client_options(http: &reqwest::Client) -> ClientOptions {
    ClientOptions {
        retry: RetryOptions::none(),
        transport: Some(Transport::new(Arc::new(http.clone()))),
        ..ClientOptions::default()
    }
}

/// Status and codes of a refusal.
struct Refusal {
    status: Option<u16>,
    code: String,
    inner: String,
}

impl Refusal {
    fn of(error: &Error) -> Self {
        let ErrorKind::HttpResponse { error_code, raw_response, .. } = error.kind() else {
            return Self { status: None, code: String::new(), inner: String::new() };
        };
        // The body first: the SDK's own code is wrong as soon as the message holds an escape.
        let body =
            raw_response.as_ref().and_then(|raw| serde_json::from_slice::<ErrorResponse>(raw.body().as_ref()).ok());
        let detail = body.and_then(|body| body.error);
        let inner = detail.as_ref().and_then(|detail| detail.inner_error.as_ref()?.code.clone());
        let code = detail.and_then(|detail| detail.code).or_else(|| error_code.clone());
        Self {
            status: status(error),
            code: loggable_code(&code.unwrap_or_default()),
            inner: loggable_code(&inner.unwrap_or_default()),
        }
    }

    fn tell(&self, operation: Operation, vault: &KeyVault, error: &Error) -> String {
        let vault_name = vault.url.host_str().and_then(|host| host.split('.').next()).unwrap_or_default();
        let Some(status) = self.status else {
            return match error.kind() {
                ErrorKind::Credential => match vault.identity {
                    Identity::Developer => "no token: run az login, or azd auth login".to_owned(),
                    Identity::Given(_) => "no token".to_owned(),
                    Identity::Managed(_) => "no token: check the app's managed identity and AZURE_CLIENT_ID".to_owned(),
                },
                kind => format!(
                    "no answer ({kind:?}); is this the vault? \
                     az keyvault show --name {vault_name} --query properties.vaultUri"
                ),
            };
        };
        let remedy = match (status, self.inner.as_str()) {
            (403, "ForbiddenByFirewall" | "ForbiddenByConnection") => {
                format!(
                    "the vault's firewall refuses: az keyvault network-rule add --name {vault_name} --ip-address IP"
                )
            }
            (403, "SecretDisabled") => "the version is disabled".to_owned(),
            (403, _) => {
                let role = match operation {
                    Operation::Get | Operation::List => "Key Vault Secrets User",
                    Operation::Disable | Operation::Publish => "Key Vault Secrets Officer",
                };
                format!(
                    "the identity may not; it takes minutes once granted: az role assignment create --role \"{role}\" --assignee PRINCIPAL --scope VAULT_ID"
                )
            }
            (404, _) => "there is no such secret or version".to_owned(),
            (409, _) => format!(
                "the secret was deleted: az keyvault secret recover --vault-name {vault_name} --name {}",
                vault.name
            ),
            (429, _) => "too many calls".to_owned(),
            _ => "unexpected".to_owned(),
        };
        format!("{status} {} {}: {remedy}", self.code, self.inner)
    }
}

fn status(error: &Error) -> Option<u16> {
    error.http_status().map(u16::from)
}

fn version(item: &SecretProperties) -> Option<Version> {
    let id = item.resource_id().ok()?.version?;
    let Some(kid) = KeyId::from_version(&id) else {
        tracing::error!("key version ignored: its id is not 32 hex digits");
        return None;
    };
    let attributes = item.attributes.clone().unwrap_or_default();
    let seconds =
        |time: Option<OffsetDateTime>| time.and_then(|time| UnixSeconds::try_from(time.unix_timestamp()).ok());
    Some(Version {
        id,
        kid,
        enabled: attributes.enabled.unwrap_or(true),
        created: seconds(attributes.created).unwrap_or_default(),
        not_before: seconds(attributes.not_before),
        expires: seconds(attributes.expires),
        activate_now: item.tags.as_ref().and_then(|tags| tags.get("activate")).is_some_and(|tag| tag == "now"),
    })
}

impl KeySource for KeyVault {
    fn list(&self) -> Answer<'_, Vec<Version>> {
        Box::pin(self.list_all())
    }

    fn get<'a>(&'a self, id: &'a str) -> Answer<'a, Value> {
        Box::pin(async move {
            let client = self.client().await?;
            let options = SecretClientGetSecretOptions { secret_version: Some(id.to_owned()), ..Default::default() };
            let answer =
                client.get_secret(&self.name, Some(options)).await.and_then(azure_core::http::Response::into_model);
            let secret = answer.map_err(|error| self.down(Operation::Get, &error))?;
            // Every version has a value. An answer without one is a bad answer, which says nothing of the version.
            let text = secret.value.ok_or_else(|| SourceDown("Key Vault gave a version without a value".to_owned()))?;
            Ok(Value { text: text.into(), content_type: secret.content_type })
        })
    }

    fn list_or_empty(&self) -> Answer<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, new: &'a NewVersion, _now: UnixSeconds) -> Answer<'a, String> {
        Box::pin(async move {
            let client = self.client().await?;
            let expires = i64::try_from(new.expires).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
            let parameters = SetSecretParameters {
                value: Some(new.text.expose_secret().to_owned()),
                content_type: Some(CONTENT_TYPE.to_owned()),
                tags: new.activate_now.then(|| HashMap::from([("activate".to_owned(), "now".to_owned())])),
                secret_attributes: Some(SecretAttributes { enabled: Some(true), expires, ..Default::default() }),
            };
            let answer = match parameters.try_into() {
                Ok(body) => client.set_secret(&self.name, body, None).await,
                Err(error) => Err(error),
            };
            let made = answer.and_then(azure_core::http::Response::into_model);
            let made = made.map_err(|error| self.down(Operation::Publish, &error))?;
            let id = made.resource_id().ok().and_then(|id| id.version);
            id.ok_or_else(|| SourceDown("Key Vault made a version without an id".to_owned()))
        })
    }

    fn disable<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let client = self.client().await?;
            let parameters = UpdateSecretPropertiesParameters {
                secret_attributes: Some(SecretAttributes { enabled: Some(false), ..Default::default() }),
                ..Default::default()
            };
            let options =
                SecretClientUpdateSecretPropertiesOptions { secret_version: Some(id.to_owned()), ..Default::default() };
            let answer = match parameters.try_into() {
                Ok(body) => client.update_secret_properties(&self.name, body, Some(options)).await,
                Err(error) => Err(error),
            };
            answer.map(|_| ()).map_err(|error| self.down(Operation::Disable, &error))
        })
    }
}
