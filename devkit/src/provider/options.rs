use std::net::SocketAddr;
use std::time::Duration;

use crate::web::ANY_PORT;

/// The home tenant.
pub const TENANT: &str = "3f1c6f5a-8d2e-4b7a-9c41-0d5e7a2b6c18";
/// The client id of [`Options::new`].
pub const CLIENT_ID: &str = "a7d09c3e-52b4-4f0e-8e69-1b3c5d7f9a20";
/// The client secret of [`Options::new`], public and worth nothing.
pub const CLIENT_SECRET: &str = "dev~only.client-secret+of/no-one=1";
/// The resource of scopes that name none.
pub const GRAPH: &str = "https://graph.microsoft.com";

#[derive(Clone, Debug)]
pub struct Options {
    pub addr: SocketAddr,
    pub clients: Vec<Client>,
    /// Whole seconds.
    pub access_token_life: Duration,
    /// Access tokens are padded to at least so many bytes.
    pub access_token_size: usize,
    pub refresh_token_size: usize,
    /// A refresh token works once, and its reuse revokes the grant. With Entra used ones keep working.
    pub one_time_refresh: bool,
    /// The accepted and announced methods of client authentication with a secret; `None` announces none, which means
    /// `client_secret_basic`.
    pub secret_methods: Option<Vec<String>>,
    /// Offers a revocation endpoint (RFC 7009), which Entra does not have.
    pub revocation: bool,
    /// Adds `iss` to authorization responses (RFC 9207), which Entra does not.
    pub iss_parameter: bool,
}

/// A registered application. URIs are compared byte for byte.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    /// A client with neither a secret nor a federated credential is a public one.
    pub secret: Option<String>,
    pub federated: Option<Federated>,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
    /// Framed by the sign-out page with the session's `sid`, and as Entra does it without `iss` (OpenID Connect
    /// Front-Channel Logout).
    pub frontchannel_logout_uri: Option<String>,
}

/// A federated identity credential: tokens of another issuer are accepted as client assertions.
#[derive(Clone, Debug)]
pub struct Federated {
    /// Its keys are found by discovery.
    pub issuer: String,
    /// `sub`: for a managed identity its object id.
    pub subject: String,
    /// `aud`: `api://AzureADTokenExchange`.
    pub audience: String,
}

impl Options {
    /// Entra's behaviour for one confidential client, whose gateway has this public origin.
    #[must_use]
    pub fn new(public_origin: &str) -> Self {
        let client = Client {
            id: CLIENT_ID.to_owned(),
            secret: Some(CLIENT_SECRET.to_owned()),
            federated: None,
            redirect_uris: vec![format!("{public_origin}/auth/callback")],
            post_logout_redirect_uris: vec![format!("{public_origin}/auth/logout")],
            frontchannel_logout_uri: None,
        };
        Self {
            addr: ANY_PORT,
            clients: vec![client],
            access_token_life: Duration::from_secs(75 * 60),
            access_token_size: 1_600,
            refresh_token_size: 1_100,
            one_time_refresh: false,
            secret_methods: Some(vec!["client_secret_post".to_owned(), "client_secret_basic".to_owned()]),
            revocation: false,
            iss_parameter: false,
        }
    }

    pub(super) fn client(&self, id: &str) -> Option<&Client> {
        self.clients.iter().find(|client| client.id == id)
    }

    pub(super) fn accepts_secret_by(&self, method: &str) -> bool {
        match &self.secret_methods {
            None => method == "client_secret_basic",
            Some(methods) => methods.iter().any(|have| have == method),
        }
    }
}
