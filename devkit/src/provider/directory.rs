//! The users and APIs of the tenant.

use ring::digest::{SHA256, digest};

use crate::web::{base64url, guid};

/// A user without a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    /// The same for every client, unlike Entra's.
    pub(super) sub: String,
    /// A GUID.
    pub(super) oid: String,
    pub(super) name: String,
    pub(super) preferred_username: String,
    pub(super) email: Option<String>,
    pub(super) roles: &'static [&'static str],
}

/// An API for which access tokens are issued.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Resource {
    /// The part of its scopes before the last slash, and `aud`.
    pub(super) id: &'static str,
    /// The parts of its scopes after the last slash.
    pub(super) scopes: &'static [&'static str],
    /// Whether an administrator has consented for all users.
    pub(super) consented: bool,
}

/// The first is the one of scopes without a resource.
pub(super) static RESOURCES: [Resource; 3] = [
    Resource {
        id: super::GRAPH,
        scopes: &["User.Read", "User.ReadWrite", "User.ReadBasic.All", "Mail.Read", "Mail.Send"],
        consented: false,
    },
    Resource { id: "api://orders", scopes: &["Orders.Read", "Orders.Write"], consented: true },
    Resource { id: "api://ledger", scopes: &["Ledger.Read"], consented: false },
];

/// Users with a button on the sign-in page.
pub(super) fn users() -> [User; 3] {
    let user = |number: u8, name: &str, email: bool, roles| {
        let account = name.to_lowercase().replace(' ', ".");
        User {
            sub: format!("{}-subject-{number}", account.replace('.', "-")),
            oid: format!("0b1d0000-0000-4000-8000-00000000000{number}"),
            name: name.to_owned(),
            preferred_username: format!("{account}@contoso.example"),
            email: email.then(|| format!("{account}@contoso.example")),
            roles,
        }
    };
    [
        user(1, "Ada Lovelace", true, &["Orders.Admin"]),
        user(2, "Grace Hopper", true, &[]),
        user(3, "Alan Turing", false, &[]),
    ]
}

/// The user of that name, who is new if it is none of [`users`]; `None` for an empty name.
pub(super) fn user(name: &str) -> Option<User> {
    let known = users().into_iter().find(|user| user.preferred_username.eq_ignore_ascii_case(name));
    let hash = digest(&SHA256, name.to_lowercase().as_bytes());
    let mut oid = [0; 16];
    oid.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    let new = || User {
        sub: base64url(hash),
        oid: guid(oid),
        name: name.to_owned(),
        preferred_username: name.to_owned(),
        email: None,
        roles: &[],
    };
    (!name.is_empty()).then(|| known.unwrap_or_else(new))
}
