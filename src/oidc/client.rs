//! The confidential client, and how it proves itself: by a secret, or by a token of the app's managed identity, so that
//! there is no secret anywhere (RFC 7523; in Entra a federated identity credential).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use azure_core::http::{ClientOptions, RetryOptions, Transport};
use azure_identity::{ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::discovery::Metadata;
use crate::net::OutboundClients;
use crate::secret::{ExposeSecret, SecretString};

/// What RFC 6749 section 2.3.1 leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');
/// Says that the assertion is a JWT (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Deadline for the identity endpoint, which is on the same machine.
const IDENTITY: Duration = Duration::from_secs(5);

/// The confidential client.
#[derive(Debug)]
pub struct Client {
    /// Its id.
    pub id: String,
    /// What it proves itself with.
    pub authentication: ClientAuthentication,
}

/// What a client proves itself with.
#[derive(Debug)]
pub enum ClientAuthentication {
    /// A token of the managed identity, as client assertion.
    Assertion(Assertion),
    /// A secret.
    Secret(SecretString),
}

/// Where assertions come from. The SDK keeps a token until it is old.
pub struct Assertion {
    identity: Option<String>,
    audience: &'static str,
    net: Arc<OutboundClients>,
    credential: Mutex<Option<Arc<ManagedIdentityCredential>>>,
}

impl std::fmt::Debug for Assertion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assertion").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Client {
    /// Adds the client's proof. A secret goes in the form that the provider announces; without a word of it that is
    /// `Basic`.
    ///
    /// # Errors
    /// The managed identity gives no token; the text is for the log.
    pub async fn authenticate<'a>(
        &'a self,
        request: reqwest::RequestBuilder,
        metadata: &Metadata,
        mut form: Vec<(&'a str, &'a str)>,
    ) -> Result<reqwest::RequestBuilder, String> {
        let methods = metadata.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
        match &self.authentication {
            ClientAuthentication::Assertion(assertion) => {
                let token = assertion.token().await?;
                form.push(("client_id", &self.id));
                form.push(("client_assertion_type", JWT_BEARER));
                form.push(("client_assertion", token.expose_secret()));
                Ok(request.form(&form))
            }
            ClientAuthentication::Secret(secret) if methods.iter().any(|method| method == "client_secret_post") => {
                form.push(("client_id", &self.id));
                form.push(("client_secret", secret.expose_secret()));
                Ok(request.form(&form))
            }
            ClientAuthentication::Secret(secret) => {
                let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
                Ok(request.basic_auth(encode(&self.id), Some(encode(secret.expose_secret()))).form(&form))
            }
        }
    }
}

impl Assertion {
    /// Assertions of the app's identity; of a user-assigned one by its client id. The audience names the cloud.
    #[must_use]
    pub fn new(identity: Option<String>, audience: &'static str, net: Arc<OutboundClients>) -> Self {
        Self { identity, audience, net, credential: Mutex::default() }
    }

    async fn token(&self) -> Result<SecretString, String> {
        let credential = self.credential()?;
        let scope = format!("{}/.default", self.audience);
        let asked = [scope.as_str()];
        let answer = tokio::time::timeout(IDENTITY, credential.get_token(&asked, None)).await;
        let answer = answer.map_err(|_| "the managed identity does not answer within 5 s".to_owned())?;
        // The error's text may hold what the endpoint sent; its kind does not.
        let token = answer.map_err(|error| format!("the managed identity gives no token ({:?})", error.kind()))?;
        Ok(token.token.secret().into())
    }

    fn credential(&self) -> Result<Arc<ManagedIdentityCredential>, String> {
        let mut made = self.credential.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(credential) = made.as_ref() {
            return Ok(Arc::clone(credential));
        }
        let http = self.net.http().ok_or("there is no HTTP client")?;
        let options = ManagedIdentityCredentialOptions {
            user_assigned_id: self.identity.clone().map(UserAssignedId::ClientId),
            client_options: ClientOptions {
                retry: RetryOptions::none(),
                transport: Some(Transport::new(Arc::new(http.clone()))),
                ..ClientOptions::default()
            },
        };
        let credential = ManagedIdentityCredential::new(Some(options))
            .map_err(|error| format!("there is no managed identity ({:?})", error.kind()))?;
        *made = Some(Arc::clone(&credential));
        Ok(credential)
    }
}
