use super::options::{Options, Resource};
use super::refusal::Refusal;

const OF_OPENID: [&str; 4] = ["openid", "profile", "email", "offline_access"];

/// A parsed `scope` parameter.
#[derive(Clone, Debug, Default)]
pub(super) struct Scopes {
    pub(super) openid: Vec<String>,
    pub(super) api: Vec<ApiScope>,
}

/// A scope of an API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ApiScope {
    pub(super) resource: String,
    pub(super) name: String,
}

impl Scopes {
    pub(super) fn parse(options: &Options, text: &str) -> Result<Self, Refusal> {
        let mut scopes = Self::default();
        for word in text.split_ascii_whitespace() {
            if OF_OPENID.contains(&word) {
                scopes.openid.push(word.to_owned());
            } else {
                scopes.api.push(ApiScope::parse(options, word)?);
            }
        }
        Ok(scopes)
    }

    pub(super) fn has(&self, openid: &str) -> bool {
        self.openid.iter().any(|have| have == openid)
    }

    /// The one resource that the scopes are of; the first there is when they are of none. A token is for one resource.
    pub(super) fn resource<'a>(&self, options: &'a Options) -> Result<&'a Resource, Refusal> {
        let named = self.api.first().map(|scope| scope.resource.as_str());
        if self.api.iter().any(|scope| Some(scope.resource.as_str()) != named) {
            return Err(Refusal::new("invalid_request", 28_000).saying(
                "Provided value for the input parameter scope is not valid because it contains more than one resource.",
            ));
        }
        let found = match named {
            Some(named) => options.resources.iter().find(|resource| resource.id == named),
            None => options.resources.first(),
        };
        found.ok_or_else(|| unknown(named.unwrap_or_default()))
    }
}

impl ApiScope {
    /// A scope without a resource is the first resource's, as `User.Read` is Graph's.
    fn parse(options: &Options, word: &str) -> Result<Self, Refusal> {
        let default = options.resources.first().map_or("", |resource| resource.id.as_str());
        let (id, name) = word.rsplit_once('/').unwrap_or((default, word));
        let resource = options.resources.iter().find(|resource| resource.id == id).ok_or_else(|| unknown(word))?;
        let known = resource.scopes.iter().map(String::as_str).chain([".default"]);
        let name = known.into_iter().find(|known| known.eq_ignore_ascii_case(name)).ok_or_else(|| unknown(word))?;
        Ok(Self { resource: resource.id.clone(), name: name.to_owned() })
    }

    pub(super) fn full(&self) -> String {
        format!("{}/{}", self.resource, self.name)
    }
}

fn unknown(scope: &str) -> Refusal {
    Refusal::new("invalid_scope", 70_011)
        .saying(&format!("The provided value for the input parameter 'scope' is not valid: {scope}"))
}
