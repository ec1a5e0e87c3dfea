//! Client authentication at the provider (contract 7.7): by a secret, or by a token of the gateway's identity as client
//! assertion, without any secret (RFC 7523; in Entra a federated identity credential).

use std::sync::Arc;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::discovery::Metadata;
use crate::credential::Credential;
use crate::secret::{ExposeSecret, SecretString};

/// What RFC 6749 section 2.3.1 does not encode.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');
/// `client_assertion_type` of a JWT (RFC 7523 section 2.2).
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// The gateway as confidential client of the provider.
#[derive(Debug)]
pub struct Client {
    pub id: String,
    pub authentication: ClientAuthentication,
}

#[derive(Debug)]
pub enum ClientAuthentication {
    Assertion(Assertion),
    Secret(SecretString, SecretMethod),
}

/// How a secret is sent (RFC 6749 section 2.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretMethod {
    /// `client_secret_post` where the metadata names it, otherwise `client_secret_basic`.
    Auto,
    /// In the `Authorization` header.
    Basic,
    /// In the form.
    Post,
}

/// Client assertions.
#[derive(Debug)]
pub struct Assertion {
    pub credential: Arc<Credential>,
    /// The audience that Entra expects, which depends on the cloud.
    pub audience: &'static str,
}

impl Client {
    /// Adds the form and the client authentication to a request.
    ///
    /// # Errors
    /// There is no assertion; the text is for the log.
    pub async fn authenticate<'a>(
        &'a self,
        request: reqwest::RequestBuilder,
        metadata: &Metadata,
        mut form: Vec<(&'a str, &'a str)>,
    ) -> Result<reqwest::RequestBuilder, String> {
        let announced = || {
            let methods = metadata.token_endpoint_auth_methods_supported.as_deref().unwrap_or_default();
            methods.iter().any(|method| method == "client_secret_post")
        };
        match &self.authentication {
            ClientAuthentication::Assertion(Assertion { credential, audience }) => {
                let token = credential.client_assertion(audience).await;
                let token = token.map_err(|problem| format!("no client assertion: {problem}"))?;
                form.push(("client_id", &self.id));
                form.push(("client_assertion_type", JWT_BEARER));
                form.push(("client_assertion", token.expose_secret()));
                Ok(request.form(&form))
            }
            ClientAuthentication::Secret(secret, method)
                if *method == SecretMethod::Post || (*method == SecretMethod::Auto && announced()) =>
            {
                form.push(("client_id", &self.id));
                form.push(("client_secret", secret.expose_secret()));
                Ok(request.form(&form))
            }
            ClientAuthentication::Secret(secret, _) => {
                let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
                Ok(request.basic_auth(encode(&self.id), Some(encode(secret.expose_secret()))).form(&form))
            }
        }
    }
}
