//! Which origins there are: the gateway's own, the page's, and others whose scripts may call.

use crate::origin::Origin;

/// The origins of an installation.
#[derive(Debug, Clone)]
pub struct Origins {
    /// Scheme, host and port at which browsers see the gateway.
    pub public: Origin,
    /// Where the page is; the same, unless it is on an origin of its own.
    pub spa: Origin,
    /// Origins whose scripts may call with the user's session, besides the gateway's own.
    pub allowed: Vec<Origin>,
    /// Whether even other sites among them may: the session cookie is sent from everywhere.
    pub cross_site: bool,
}

impl Origins {
    /// One origin for all.
    #[must_use]
    pub fn only(public: Origin) -> Self {
        Self { spa: public.clone(), public, allowed: Vec::new(), cross_site: false }
    }

    /// Whether an origin, as its header has it, is on the list.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.as_str() == origin)
    }

    /// What stands before links of ours that the page follows: nothing where it is on the same origin.
    #[must_use]
    pub fn link_base(&self) -> &str {
        if self.is_split() { self.public.as_str() } else { "" }
    }

    /// Where a path of the page is, as a `Location` of ours names it.
    #[must_use]
    pub fn page(&self, path: &str) -> String {
        if self.is_split() { format!("{}{path}", self.spa) } else { path.to_owned() }
    }

    fn is_split(&self) -> bool {
        self.spa != self.public
    }
}
