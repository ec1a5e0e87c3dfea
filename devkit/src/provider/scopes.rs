use super::directory::{RESOURCES, Resource};
use super::error::Error;

const OPENID_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// A parsed `scope` parameter.
#[derive(Clone, Debug, Default)]
pub(super) struct Scopes {
    pub(super) openid: Vec<&'static str>,
    pub(super) api: Vec<ApiScope>,
}

/// A scope of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiScope {
    pub(super) resource: &'static Resource,
    pub(super) name: &'static str,
}

impl Scopes {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let mut scopes = Self::default();
        for word in text.split_ascii_whitespace() {
            match OPENID_SCOPES.into_iter().find(|scope| *scope == word) {
                Some(scope) => scopes.openid.push(scope),
                None => scopes.api.push(ApiScope::parse(word)?),
            }
        }
        Ok(scopes)
    }

    pub(super) fn has(&self, openid: &str) -> bool {
        self.openid.contains(&openid)
    }

    /// The resource of all API scopes, since a token is for one resource; Graph if there are none.
    pub(super) fn resource(&self) -> Result<&'static Resource, Error> {
        let [graph, ..] = &RESOURCES;
        let resource = self.api.first().map_or(graph, |scope| scope.resource);
        if self.api.iter().any(|scope| scope.resource != resource) {
            return Err(Error::invalid_request(
                28_000,
                "Provided value for the input parameter scope is not valid because it contains more than one resource.",
            ));
        }
        Ok(resource)
    }
}

impl ApiScope {
    /// A scope without a resource belongs to Graph.
    fn parse(word: &str) -> Result<Self, Error> {
        let unknown = || {
            let text = format!("The provided value for the input parameter 'scope' is not valid: {word}");
            Error::new("invalid_scope", 70_011, &text)
        };
        let (id, name) = word.rsplit_once('/').unwrap_or((super::GRAPH, word));
        let resource = RESOURCES.iter().find(|resource| resource.id == id).ok_or_else(unknown)?;
        let mut names = resource.scopes.iter().copied().chain([".default"]);
        let name = names.find(|known| known.eq_ignore_ascii_case(name)).ok_or_else(unknown)?;
        Ok(Self { resource, name })
    }

    pub(super) fn full(&self) -> String {
        format!("{}/{}", self.resource.id, self.name)
    }
}
