use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The tenant of [`Options::new`].
pub const TENANT: &str = "3f1c6f5a-8d2e-4b7a-9c41-0d5e7a2b6c18";
/// The client id of [`Options::new`].
pub const CLIENT_ID: &str = "a7d09c3e-52b4-4f0e-8e69-1b3c5d7f9a20";
/// The client secret of [`Options::new`], known to everybody and worth nothing.
pub const CLIENT_SECRET: &str = "dev~only.client-secret+of/nobody=1";
/// The resource that scopes without one belong to.
pub const GRAPH: &str = "https://graph.microsoft.com";

/// How a [`super::Provider`] is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub addr: SocketAddr,
    /// The home tenant, a GUID. Besides it `common`, `organizations` and `consumers` are served, whose discovery
    /// document has the issuer with `{tenantid}` in it.
    pub tenant: String,
    /// Who may ask for tokens.
    pub clients: Vec<Client>,
    /// Who can sign in by a button.
    pub users: Vec<User>,
    /// Whether a name typed into the sign-in page that is nobody's makes a new user.
    pub any_user: bool,
    /// The APIs there are tokens for. The first is the one that scopes without a resource belong to.
    pub resources: Vec<Resource>,
    /// Life of an access token, whole seconds.
    pub access_token_life: Duration,
    /// Life of an ID token, whole seconds.
    pub id_token_life: Duration,
    /// Life of a refresh token, whole seconds.
    pub refresh_token_life: Duration,
    /// Life of an authorization code, whole seconds.
    pub code_life: Duration,
    /// Access tokens are padded to at least so many bytes.
    pub access_token_size: usize,
    /// Bytes of a refresh token.
    pub refresh_token_size: usize,
    /// Bytes of an authorization code.
    pub code_size: usize,
    /// A refresh token works once, and its reuse revokes everything that came of that sign-in. Entra lets old ones go
    /// on working.
    pub one_time_refresh: bool,
    /// How a client may send its secret, as the metadata announce it; `None` leaves the member out, which means
    /// `client_secret_basic`.
    pub secret_methods: Option<Vec<String>>,
    /// Offers a revocation endpoint (RFC 7009); Entra has none.
    pub revocation: bool,
    /// Takes `resource` (RFC 8707); Entra refuses it.
    pub resource_indicators: bool,
    /// Puts `at_hash` into ID tokens that come with an access token.
    pub at_hash: bool,
    /// Puts `iss` into authorization responses (RFC 9207) and announces it; Entra does neither.
    pub iss_parameter: bool,
}

/// A registered application.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its `client_id`.
    pub id: String,
    /// What the sign-in page calls it.
    pub name: String,
    /// Its secret; with neither that nor a federated credential it is a public client.
    pub secret: Option<String>,
    /// Whose tokens prove that it is this client.
    pub federated: Option<Federated>,
    /// Redirect URIs, compared byte for byte.
    pub redirect_uris: Vec<String>,
    /// Where sign-out may return to, compared byte for byte.
    pub post_logout_redirect_uris: Vec<String>,
}

/// A federated identity credential: tokens of another issuer count as client assertions.
#[derive(Clone, Debug)]
pub struct Federated {
    /// Who signs them; its keys are found by discovery.
    pub issuer: String,
    /// Their `sub`: for a managed identity its object id.
    pub subject: String,
    /// Their `aud`: `api://AzureADTokenExchange`.
    pub audience: String,
}

/// Somebody who can sign in, without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The subject, the same for every client here.
    pub sub: String,
    /// The object id, a GUID.
    pub oid: String,
    /// Their tenant, if it is not the home tenant.
    pub tenant: Option<String>,
    /// What they are called.
    pub name: String,
    /// What they sign in with.
    pub preferred_username: String,
    /// Their address, if the provider knows one.
    pub email: Option<String>,
    /// Roles in the application.
    pub roles: Vec<String>,
}

/// An API that access tokens are for.
#[derive(Clone, Debug)]
pub struct Resource {
    /// What stands before the last slash of its scopes, and in `aud`.
    pub id: String,
    /// The last segments of its scopes.
    pub scopes: Vec<String>,
    /// An administrator consented for everybody: no sign-in has to ask for its scopes first.
    pub consented: bool,
}

impl Options {
    /// Entra's behaviour for one confidential client whose gateway browsers see at `public_origin`
    /// (`scheme://host[:port]`), three users and three APIs: Graph, `api://orders` (consented by the administrator) and
    /// `api://ledger` (not consented).
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
            addr: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
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

    /// Registers the gateway's callback and sign-out return under one more origin, for every client.
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

    /// Whether a secret may come that way.
    pub(super) fn takes_secret_by(&self, method: &str) -> bool {
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
