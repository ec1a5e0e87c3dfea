//! The key ring in Azure Key Vault: the versions of one secret (contract 6.1, 6.2, 6.5 to 6.7). The newest version of a
//! second one is the revocation list (contract 16.5).
//!
//! Requests go through the gateway's own HTTP client without the SDK's retries: the ring has its own deadline and its
//! own second attempt. Error texts consist of status and codes, and of the command that solves the problem; never of
//! the vault's own texts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use azure_core::Error;
use azure_core::credentials::TokenCredential;
use azure_core::error::{ErrorKind, ErrorResponse};
use azure_core::http::ClientOptions;
use azure_core::time::OffsetDateTime;
use azure_security_keyvault_secrets::models::{
    Secret, SecretAttributes, SecretClientGetSecretOptions, SecretClientUpdateSecretPropertiesOptions,
    SecretProperties, SetSecretParameters, UpdateSecretPropertiesParameters,
};
use azure_security_keyvault_secrets::{ResourceExt as _, SecretClient, SecretClientOptions};
use futures_util::TryStreamExt as _;
use url::Url;

use super::revocations::write::{self, Stored, VersionedSecret};
use super::revocations::{self, Addition};
use super::ring::{SOURCE_DEADLINE, hedged};
use super::{CONTENT_TYPE, KeyId, KeySource, NewVersion, SourceFuture, SourceUnavailable, Value, Version};
use crate::clock::UnixSeconds;
use crate::credential::Credential;
use crate::origin::is_loopback;
use crate::secret::ExposeSecret;
use crate::telemetry::loggable_code;

/// What follows the name of the ring's secret in that of the revocation list.
pub const REVOCATIONS_SUFFIX: &str = "-revocations";

/// One vault.
pub struct KeyVault {
    url: Url,
    /// The name of the secret whose versions are the keys.
    keys: String,
    /// The name of the secret whose newest version is the revocation list.
    revocations: String,
    credential: Arc<Credential>,
    client: Mutex<Option<Arc<SecretClient>>>,
}

impl fmt::Debug for KeyVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyVault").field("url", &self.url.as_str()).field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// The operation that failed, for error texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Disable,
    Get,
    List,
    Publish,
}

impl KeyVault {
    /// Nothing is requested yet.
    #[must_use]
    pub fn new(url: Url, keys: String, credential: Arc<Credential>) -> Self {
        let revocations = format!("{keys}{REVOCATIONS_SUFFIX}");
        Self { url, keys, revocations, credential, client: Mutex::default() }
    }

    async fn client(&self) -> Result<Arc<SecretClient>, SourceUnavailable> {
        if let Some(client) = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(client);
        }
        let unusable = |problem: String| SourceUnavailable(format!("Key Vault {}: {problem}", self.url));
        let credential = self.credential.for_sdk().await.map_err(unusable)?;
        let options = self.credential.client_options().await.map_err(unusable)?;
        let client = self.connect(credential, options);
        let client = client.map_err(|error| unusable(format!("no client could be created ({:?})", error.kind())))?;
        // Another request may have created one meanwhile, which already knows the vault's challenge.
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(slot.get_or_insert_with(|| Arc::new(client))))
    }

    fn connect(
        &self,
        credential: Arc<dyn TokenCredential>,
        client_options: ClientOptions,
    ) -> Result<SecretClient, Error> {
        let options = SecretClientOptions {
            client_options,
            // An emulator on loopback has no host name to compare the challenge's resource with (contract 6.7).
            verify_challenge_resource: Some(!is_loopback(&self.url)),
            ..SecretClientOptions::default()
        };
        SecretClient::new(self.url.as_str(), credential, Some(options))
    }

    async fn list_versions(&self, name: &str) -> Result<Vec<Version>, SourceUnavailable> {
        let client = self.client().await?;
        let pager = client.list_secret_properties_versions(name, None);
        let items: Result<Vec<SecretProperties>, Error> = match pager {
            Ok(pager) => pager.try_collect().await,
            Err(error) => Err(error),
        };
        match items {
            Ok(items) => Ok(items.iter().filter_map(version).collect()),
            // A secret that does not exist has no versions.
            Err(error) if status(&error) == Some(404) => Ok(Vec::new()),
            Err(error) => Err(self.unavailable(Operation::List, name, &error)),
        }
    }

    /// A version of a secret, or the newest.
    async fn get_secret(&self, name: &str, version: Option<&str>) -> Result<Result<Secret, Error>, SourceUnavailable> {
        let client = self.client().await?;
        let options = SecretClientGetSecretOptions { secret_version: version.map(str::to_owned), ..Default::default() };
        let response = client.get_secret(name, Some(options)).await;
        Ok(response.and_then(azure_core::http::Response::into_model))
    }

    /// Creates a version; returns its ID.
    async fn set_secret(&self, name: &str, parameters: SetSecretParameters) -> Result<String, SourceUnavailable> {
        let client = self.client().await?;
        let response = match parameters.try_into() {
            Ok(body) => client.set_secret(name, body, None).await,
            Err(error) => Err(error),
        };
        let created = response.and_then(azure_core::http::Response::into_model);
        let created = created.map_err(|error| self.unavailable(Operation::Publish, name, &error))?;
        let id = created.resource_id().ok().and_then(|id| id.version);
        id.ok_or_else(|| SourceUnavailable("Key Vault created a version without an id".to_owned()))
    }

    /// A revocation list: the newest, or that of a version. `None` if the secret does not exist.
    async fn get_revocations(&self, version: Option<&str>) -> Result<Option<Stored>, SourceUnavailable> {
        match self.get_secret(&self.revocations, version).await? {
            Ok(secret) => self.stored(secret).map(Some),
            // No other 404 says that there is no list.
            Err(error) if version.is_none() && ErrorCodes::of(&error).is_secret_not_found() => Ok(None),
            Err(error) => Err(self.unavailable(Operation::Get, &self.revocations, &error)),
        }
    }

    fn stored(&self, secret: Secret) -> Result<Stored, SourceUnavailable> {
        let has_type = |of: &str| of.is_empty() || of == revocations::CONTENT_TYPE;
        if !secret.content_type.as_deref().is_none_or(has_type) {
            let (name, content_type) = (&self.revocations, revocations::CONTENT_TYPE);
            return Err(SourceUnavailable(format!(
                "the revocation list is malformed: the secret {name} has another content type than {content_type}"
            )));
        }
        let id = secret.resource_id().ok().and_then(|id| id.version);
        let created = secret.attributes.and_then(|attributes| seconds(attributes.created));
        let (Some(id), Some(created), Some(text)) = (id, created, secret.value) else {
            return Err(SourceUnavailable("Key Vault returned a version without id, time or value".to_owned()));
        };
        Ok(Stored { id, created, text })
    }

    /// What went wrong, and what to do. After a 401 the next request uses a new token.
    fn unavailable(&self, operation: Operation, name: &str, error: &Error) -> SourceUnavailable {
        let codes = ErrorCodes::of(error);
        if codes.status == Some(401) {
            self.credential.discard_tokens();
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let problem = codes.describe(operation, self, name, error);
        SourceUnavailable(format!("Key Vault {}, {operation:?} of {name}: {problem}", self.url))
    }
}

/// Status and codes of an error response.
struct ErrorCodes {
    status: Option<u16>,
    code: String,
    inner: String,
}

impl ErrorCodes {
    fn of(error: &Error) -> Self {
        let ErrorKind::HttpResponse { error_code, raw_response, .. } = error.kind() else {
            return Self { status: None, code: String::new(), inner: String::new() };
        };
        // The body is preferred: the SDK's own code is wrong if the message contains an escape sequence.
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

    fn is_secret_not_found(&self) -> bool {
        self.status == Some(404) && self.code == "SecretNotFound"
    }

    fn describe(&self, operation: Operation, vault: &KeyVault, name: &str, error: &Error) -> String {
        let vault_name = vault.url.host_str().and_then(|host| host.split('.').next()).unwrap_or_default();
        let Some(status) = self.status else {
            return match error.kind() {
                ErrorKind::Credential => vault.credential.describe(error),
                kind => format!(
                    "no response ({kind:?}); is this the vault? \
                     az keyvault show --name {vault_name} --query properties.vaultUri"
                ),
            };
        };
        let remedy = match (status, self.inner.as_str()) {
            (403, "ForbiddenByFirewall" | "ForbiddenByConnection") => format!(
                "the vault's firewall denies access: \
                 az keyvault network-rule add --name {vault_name} --ip-address IP"
            ),
            (403, "SecretDisabled") => "the version is disabled".to_owned(),
            (403, _) => {
                let role = match operation {
                    Operation::Get | Operation::List => "Key Vault Secrets User",
                    Operation::Disable | Operation::Publish => "Key Vault Secrets Officer",
                };
                format!(
                    "the identity lacks a role, which takes effect minutes after it is assigned: \
                     az role assignment create --role \"{role}\" --assignee PRINCIPAL --scope VAULT_ID"
                )
            }
            (404, _) => "the secret or the version does not exist".to_owned(),
            (409, _) => {
                format!("the secret was deleted: az keyvault secret recover --vault-name {vault_name} --name {name}")
            }
            (429, _) => "too many requests".to_owned(),
            _ => "unexpected".to_owned(),
        };
        format!("{status} {} {}: {remedy}", self.code, self.inner)
    }
}

fn status(error: &Error) -> Option<u16> {
    error.http_status().map(u16::from)
}

fn seconds(time: Option<OffsetDateTime>) -> Option<UnixSeconds> {
    time.and_then(|time| UnixSeconds::try_from(time.unix_timestamp()).ok())
}

fn version(item: &SecretProperties) -> Option<Version> {
    let id = item.resource_id().ok()?.version?;
    let Some(kid) = KeyId::from_version(&id) else {
        tracing::error!("key version ignored: its id is not 32 hex digits");
        return None;
    };
    let attributes = item.attributes.clone().unwrap_or_default();
    let Some(created) = seconds(attributes.created) else {
        tracing::error!(%kid, "key version ignored: Key Vault listed it without its time of creation");
        return None;
    };
    Some(Version {
        id,
        kid,
        enabled: attributes.enabled.unwrap_or(true),
        created,
        not_before: seconds(attributes.not_before),
        expires: seconds(attributes.expires),
        activate_now: item.tags.as_ref().and_then(|tags| tags.get("activate")).is_some_and(|tag| tag == "now"),
    })
}

/// Every request with its own deadline and second attempt, except the one that must not be repeated.
impl VersionedSecret for KeyVault {
    async fn newest(&self) -> Result<Option<Stored>, SourceUnavailable> {
        hedged(|| Box::pin(self.get_revocations(None))).await
    }

    async fn versions(&self) -> Result<Vec<Version>, SourceUnavailable> {
        hedged(|| Box::pin(self.list_versions(&self.revocations))).await
    }

    async fn get(&self, id: &str) -> Result<Stored, SourceUnavailable> {
        let version = hedged(|| Box::pin(self.get_revocations(Some(id)))).await?;
        version.ok_or_else(|| SourceUnavailable("a version of the revocation list does not exist any more".to_owned()))
    }

    async fn put(&self, text: &str) -> Result<String, SourceUnavailable> {
        let parameters = SetSecretParameters {
            value: Some(text.to_owned()),
            content_type: Some(revocations::CONTENT_TYPE.to_owned()),
            ..Default::default()
        };
        let created = tokio::time::timeout(SOURCE_DEADLINE, self.set_secret(&self.revocations, parameters)).await;
        created.map_err(|_| SourceUnavailable("no response within 5 s".to_owned()))?
    }
}

impl KeySource for KeyVault {
    fn list(&self) -> SourceFuture<'_, Vec<Version>> {
        Box::pin(self.list_versions(&self.keys))
    }

    fn get<'a>(&'a self, id: &'a str) -> SourceFuture<'a, Value> {
        Box::pin(async move {
            let secret = self.get_secret(&self.keys, Some(id)).await?;
            let secret = secret.map_err(|error| self.unavailable(Operation::Get, &self.keys, &error))?;
            // Every version has a value: without one the response is invalid, not the version.
            let text = secret
                .value
                .ok_or_else(|| SourceUnavailable("Key Vault returned a version without a value".to_owned()))?;
            Ok(Value { text: text.into(), content_type: secret.content_type })
        })
    }

    fn list_or_empty(&self) -> SourceFuture<'_, Vec<Version>> {
        self.list()
    }

    fn publish<'a>(&'a self, new: &'a NewVersion, _now: UnixSeconds) -> SourceFuture<'a, String> {
        Box::pin(async move {
            let expires = i64::try_from(new.expires).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
            let expires = expires.ok_or_else(|| SourceUnavailable("the expiry is after the year 9999".to_owned()))?;
            let parameters = SetSecretParameters {
                value: Some(new.text.expose_secret().to_owned()),
                content_type: Some(CONTENT_TYPE.to_owned()),
                tags: new.activate_now.then(|| HashMap::from([("activate".to_owned(), "now".to_owned())])),
                secret_attributes: Some(SecretAttributes {
                    enabled: Some(true),
                    expires: Some(expires),
                    ..Default::default()
                }),
            };
            self.set_secret(&self.keys, parameters).await
        })
    }

    fn disable<'a>(&'a self, id: &'a str) -> SourceFuture<'a, ()> {
        Box::pin(async move {
            let client = self.client().await?;
            let parameters = UpdateSecretPropertiesParameters {
                secret_attributes: Some(SecretAttributes { enabled: Some(false), ..Default::default() }),
                ..Default::default()
            };
            let options =
                SecretClientUpdateSecretPropertiesOptions { secret_version: Some(id.to_owned()), ..Default::default() };
            let response = match parameters.try_into() {
                Ok(body) => client.update_secret_properties(&self.keys, body, Some(options)).await,
                Err(error) => Err(error),
            };
            response.map(|_| ()).map_err(|error| self.unavailable(Operation::Disable, &self.keys, &error))
        })
    }

    fn has_revocations(&self) -> bool {
        true
    }

    fn revocations(&self) -> SourceFuture<'_, Option<String>> {
        Box::pin(async { Ok(self.get_revocations(None).await?.map(|stored| stored.text)) })
    }

    fn add_revocations<'a>(&'a self, addition: &'a Addition) -> SourceFuture<'a, ()> {
        Box::pin(write::add(self, addition))
    }
}
