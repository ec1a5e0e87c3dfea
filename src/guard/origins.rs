//! The origins of the gateway, of the SPA, and of other pages that may call.

use crate::origin::Origin;

#[derive(Debug, Clone)]
pub struct Origins {
    /// `PUBLIC_ORIGIN`: where browsers see the gateway.
    pub public: Origin,
    /// Where the SPA is: the same origin, or one of `allowed`.
    pub spa: Origin,
    /// Other origins whose scripts may call with the user's session.
    pub allowed: Vec<Origin>,
    /// Whether `allowed` may be on another site, since the session cookie is `SameSite=None`.
    pub cross_site: bool,
}

impl Origins {
    /// Gateway and SPA on one origin, and no others.
    #[must_use]
    pub fn only(public: Origin) -> Self {
        Self { spa: public.clone(), public, allowed: Vec::new(), cross_site: false }
    }

    /// Whether the value of an `Origin` header is one of `allowed`.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed.as_str() == origin)
    }

    /// Prefix of links to the gateway in JSON: empty if the SPA is on the same origin (contract 8.11).
    #[must_use]
    pub fn link_base(&self) -> &str {
        if self.is_split() { self.public.as_str() } else { "" }
    }

    /// A path of the SPA as a `Location`: absolute if the SPA is on another origin.
    #[must_use]
    pub fn page(&self, path: &str) -> String {
        if self.is_split() { format!("{}{path}", self.spa) } else { path.to_owned() }
    }

    fn is_split(&self) -> bool {
        self.spa != self.public
    }
}
