use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::directory::User;
use super::scopes::{ApiScope, Scopes};

/// The provider's data. Nothing is ever removed, since no process lives long.
#[derive(Debug, Default)]
pub(super) struct Store {
    /// Sign-ins whose page is shown, by the id in the page's form.
    pub(super) pending: BTreeMap<String, AuthRequest>,
    /// Signed-in browsers, by cookie.
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) codes: BTreeMap<String, Code>,
    /// One for each sign-in; codes and refresh tokens refer to it by its index.
    pub(super) grants: Vec<Grant>,
    pub(super) refresh: BTreeMap<String, Refresh>,
    /// Client, `sub` and scope.
    pub(super) consents: BTreeSet<(String, String, ApiScope)>,
}

/// A valid authorization request.
#[derive(Clone, Debug)]
pub(super) struct AuthRequest {
    pub(super) client_id: String,
    pub(super) target: ResponseTarget,
    pub(super) scope: String,
    pub(super) nonce: String,
    pub(super) challenge: String,
    pub(super) login_hint: Option<String>,
    pub(super) claims: Value,
    /// [`TENANT`](super::TENANT) or an alias.
    pub(super) authority: String,
    /// `prompt=none`.
    pub(super) silent: bool,
    /// Another prompt.
    pub(super) interactive: bool,
}

/// Where an authorization response goes.
#[derive(Clone, Debug)]
pub(super) struct ResponseTarget {
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
    pub(super) used: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) user: User,
    pub(super) sid: String,
    pub(super) scope: String,
    pub(super) claims: Value,
    pub(super) revoked: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Refresh {
    pub(super) grant: usize,
    pub(super) expires: u64,
    pub(super) used: bool,
}

impl Store {
    /// Stores a grant and the user's consent to its scopes; returns its index.
    pub(super) fn grant(&mut self, scopes: &Scopes, grant: Grant) -> usize {
        let consent = |scope: &ApiScope| (grant.client_id.clone(), grant.user.sub.clone(), *scope);
        self.consents.extend(scopes.api.iter().map(consent));
        self.grants.push(grant);
        self.grants.len() - 1
    }

    pub(super) fn revoke(&mut self, grant: usize) {
        if let Some(grant) = self.grants.get_mut(grant) {
            grant.revoked = true;
        }
    }

    pub(super) fn consented(&self, client_id: &str, sub: &str, scope: &ApiScope) -> bool {
        self.consents.contains(&(client_id.to_owned(), sub.to_owned(), *scope))
    }
}
