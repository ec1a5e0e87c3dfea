use std::net::SocketAddr;
use std::time::Duration;

use crate::web::ANY_PORT;

/// The tenant of [`Options::new`].
pub const TENANT: &str = "3f1c6f5a-8d2e-4b7a-9c41-0d5e7a2b6c18";
/// The client id of [`Options::new`].
pub const CLIENT_ID: &str = "a7d09c3e-52b4-4f0e-8e69-1b3c5d7f9a20";
/// The client secret of [`Options::new`], public and worth nothing.
pub const CLIENT_SECRET: &str = "dev~only.client-secret+of/no-one=1";
/// The resource of scopes that name none.
pub const GRAPH: &str = "https://graph.microsoft.com";

/// Lives are whole seconds.
#[derive(Clone, Debug)]
pub struct Options {
    pub addr: SocketAddr,
    /// The home tenant, a GUID. `common`, `organizations` and `consumers` are served too; the issuer in their discovery
    /// document contains `{tenantid}`.
    pub tenant: String,
    pub clients: Vec<Client>,
    /// Users with a button on the sign-in page.
    pub users: Vec<User>,
    /// Whether any other user name can be typed into the sign-in page.
    pub any_user: bool,
    /// The first is the one of scopes without a resource.
    pub resources: Vec<Resource>,
    pub access_token_life: Duration,
    pub id_token_life: Duration,
    pub refresh_token_life: Duration,
    pub code_life: Duration,
    /// Access tokens are padded to at least so many bytes.
    pub access_token_size: usize,
    pub refresh_token_size: usize,
    pub code_size: usize,
    /// A refresh token works once, and its reuse revokes the grant. With Entra used ones keep working.
    pub one_time_refresh: bool,
    /// The accepted and announced methods of client authentication with a secret; `None` announces none, which means
    /// `client_secret_basic`.
    pub secret_methods: Option<Vec<String>>,
    /// Offers a revocation endpoint (RFC 7009), which Entra does not have.
    pub revocation: bool,
    /// Accepts `resource` (RFC 8707), which Entra rejects.
    pub resource_indicators: bool,
    /// Adds `at_hash` to ID tokens.
    pub at_hash: bool,
    /// Adds `iss` to authorization responses (RFC 9207), which Entra does not.
    pub iss_parameter: bool,
}

/// A registered application. URIs are compared byte for byte.
#[derive(Clone, Debug)]
pub struct Client {
    pub id: String,
    /// Its name on the sign-in page.
    pub name: String,
    /// A client with neither a secret nor a federated credential is a public one.
    pub secret: Option<String>,
    pub federated: Option<Federated>,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
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

/// A user without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The same for every client, unlike Entra's.
    pub sub: String,
    /// A GUID.
    pub oid: String,
    /// Another tenant than the home tenant.
    pub tenant: Option<String>,
    pub name: String,
    pub preferred_username: String,
    pub email: Option<String>,
    pub roles: Vec<String>,
}

/// An API for which access tokens are issued.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The part of its scopes before the last slash, and `aud`.
    pub id: String,
    /// The parts of its scopes after the last slash.
    pub scopes: Vec<String>,
    /// Whether an administrator has consented for all users.
    pub consented: bool,
}

impl Options {
    /// Entra's behaviour for one confidential client whose gateway has this public origin, three users and three APIs:
    /// Graph, `api://orders` (consented by the administrator) and `api://ledger` (not consented).
    #[must_use]
    pub fn new(public_origin: &str) -> Self {
        let client = Client {
            id: CLIENT_ID.to_owned(),
            name: "Cloakroom".to_owned(),
            secret: Some(CLIENT_SECRET.to_owned()),
            federated: None,
            redirect_uris: Vec::new(),
            post_logout_redirect_uris: Vec::new(),
        };
        Self {
            addr: ANY_PORT,
            tenant: TENANT.to_owned(),
            clients: vec![client],
            users: users(),
            any_user: true,
            resources: resources(),
            access_token_life: Duration::from_secs(75 * 60),
            id_token_life: Duration::from_secs(60 * 60),
            refresh_token_life: Duration::from_secs(90 * 24 * 60 * 60),
            code_life: Duration::from_secs(60),
            access_token_size: 1_600,
            refresh_token_size: 1_100,
            code_size: 900,
            one_time_refresh: false,
            secret_methods: Some(vec!["client_secret_post".to_owned(), "client_secret_basic".to_owned()]),
            revocation: false,
            resource_indicators: false,
            at_hash: false,
            iss_parameter: false,
        }
        .with_origin(public_origin)
    }

    /// Registers the redirect URIs of one more public origin for every client.
    #[must_use]
    pub fn with_origin(mut self, origin: &str) -> Self {
        for client in &mut self.clients {
            client.redirect_uris.push(format!("{origin}/auth/callback"));
            client.post_logout_redirect_uris.push(format!("{origin}/auth/logout"));
        }
        self
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

    pub(super) fn user(&self, name: &str) -> Option<&User> {
        self.users.iter().find(|user| user.preferred_username.eq_ignore_ascii_case(name))
    }
}

fn users() -> Vec<User> {
    let user = |number: u8, name: &str, email: bool, roles: &[&str]| {
        let account = name.to_lowercase().replace(' ', ".");
        User {
            sub: format!("{}-subject-{number}", account.replace('.', "-")),
            oid: format!("0b1d0000-0000-4000-8000-00000000000{number}"),
            tenant: None,
            name: name.to_owned(),
            preferred_username: format!("{account}@contoso.example"),
            email: email.then(|| format!("{account}@contoso.example")),
            roles: roles.iter().map(|&role| role.to_owned()).collect(),
        }
    };
    vec![
        user(1, "Ada Lovelace", true, &["Orders.Admin"]),
        user(2, "Grace Hopper", true, &[]),
        user(3, "Alan Turing", false, &[]),
    ]
}

fn resources() -> Vec<Resource> {
    let resource = |id: &str, consented, scopes: &[&str]| Resource {
        id: id.to_owned(),
        scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
        consented,
    };
    vec![
        resource(GRAPH, false, &["User.Read", "User.ReadWrite", "User.ReadBasic.All", "Mail.Read", "Mail.Send"]),
        resource("api://orders", true, &["Orders.Read", "Orders.Write"]),
        resource("api://ledger", false, &["Ledger.Read"]),
    ]
}
