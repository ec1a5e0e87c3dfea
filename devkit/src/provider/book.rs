use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::options::User;
use super::scopes::ApiScope;

/// What the provider remembers. Nothing is ever forgotten: a process lives as long as a test or a developer's morning.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Sign-ins whose page is being shown, by the id in the page's form.
    pub(super) pending: BTreeMap<String, AuthRequest>,
    /// Browsers that signed in, by cookie.
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) codes: BTreeMap<String, Code>,
    /// One for each sign-in; codes and refresh tokens name it by its place.
    pub(super) grants: Vec<Grant>,
    pub(super) refresh: BTreeMap<String, Refresh>,
    /// What somebody (by `sub`) allowed a client.
    pub(super) consents: BTreeSet<(String, String, ApiScope)>,
}

/// A checked authorization request.
#[derive(Clone, Debug)]
pub(super) struct AuthRequest {
    pub(super) client_id: String,
    pub(super) back: Back,
    pub(super) scope: String,
    pub(super) nonce: String,
    pub(super) challenge: String,
    pub(super) login_hint: Option<String>,
    pub(super) claims: Value,
    /// The tenant that the URL named, or one of Entra's words.
    pub(super) authority: String,
    pub(super) silent_only: bool,
    pub(super) page_wanted: bool,
}

/// How an authorization response goes back to the client.
#[derive(Clone, Debug)]
pub(super) struct Back {
    pub(super) uri: String,
    pub(super) form_post: bool,
    pub(super) state: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) user: User,
    pub(super) sid: String,
}

#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) request: AuthRequest,
    pub(super) grant: usize,
    pub(super) expires: u64,
    pub(super) spent: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) user: User,
    pub(super) tid: String,
    pub(super) sid: String,
    pub(super) scope: String,
    pub(super) claims: Value,
    pub(super) revoked: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Refresh {
    pub(super) grant: usize,
    pub(super) expires: u64,
    pub(super) spent: bool,
}

impl Book {
    pub(super) fn revoke(&mut self, grant: usize) {
        if let Some(grant) = self.grants.get_mut(grant) {
            grant.revoked = true;
        }
    }

    pub(super) fn consented(&self, client_id: &str, sub: &str, scope: &ApiScope) -> bool {
        self.consents.contains(&(client_id.to_owned(), sub.to_owned(), scope.clone()))
    }
}
