use super::error::Error;
use super::options::{Options, Resource};

const OPENID_SCOPES: [&str; 4] = ["openid", "profile", "email", "offline_access"];

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
    pub(super) fn parse(options: &Options, text: &str) -> Result<Self, Error> {
        let mut scopes = Self::default();
        for word in text.split_ascii_whitespace() {
            if OPENID_SCOPES.contains(&word) {
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

    /// The resource of all scopes, since a token is for one resource; the first resource if there are no scopes.
    pub(super) fn resource<'a>(&self, options: &'a Options) -> Result<&'a Resource, Error> {
        let named = self.api.first().map(|scope| scope.resource.as_str());
        if self.api.iter().any(|scope| Some(scope.resource.as_str()) != named) {
            return Err(Error::invalid_request(
                28_000,
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
    /// A scope without a resource belongs to the first one, as `User.Read` belongs to Graph.
    fn parse(options: &Options, word: &str) -> Result<Self, Error> {
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

fn unknown(scope: &str) -> Error {
    let text = format!("The provided value for the input parameter 'scope' is not valid: {scope}");
    Error::new("invalid_scope", 70_011, &text)
}
