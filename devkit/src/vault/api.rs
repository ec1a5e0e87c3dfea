use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::error::Error;
use super::secrets::{Secrets, Version};
use crate::web::{Body, Form, Recorded, base64url, from_base64url, response};

/// Key Vault's page size, and the largest `maxresults`.
const PAGE: usize = 25;

/// Key Vault's limit for a secret's value in bytes.
const LARGEST: usize = 25 * 1024;

/// Faults are set, and requests counted, by operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `GET /secrets/{name}/versions`.
    List,
    /// `GET /secrets/{name}/{version}`.
    Get,
    /// `GET /secrets/{name}`.
    GetNewest,
    /// `PUT /secrets/{name}`.
    Set,
    /// `PATCH /secrets/{name}/{version}`.
    Update,
}

impl Operation {
    /// The name under which requests are counted.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Get => "get",
            Self::GetNewest => "get newest",
            Self::Set => "set",
            Self::Update => "update",
        }
    }

    /// The permission of a role.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::List => "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
            Self::Get | Self::GetNewest => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::Set => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
        }
    }
}

/// A request with a known path and method.
pub(super) struct Request<'a> {
    pub(super) operation: Operation,
    name: &'a str,
    version: Option<&'a str>,
    query: Form,
    body: &'a [u8],
    /// The value of `Host`, which ids and links begin with.
    host: &'a str,
}

impl<'a> Request<'a> {
    pub(super) fn parse(request: &'a Recorded) -> Result<Self, Error> {
        let path = request.path();
        // Microsoft's client requests the newest version with a slash at the end.
        let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').skip(1).collect();
        let (operation, name, version) = match (request.method.as_str(), segments.as_slice()) {
            ("GET", ["secrets", name, "versions"]) => (Operation::List, name, None),
            ("GET", ["secrets", name]) => (Operation::GetNewest, name, None),
            ("GET", ["secrets", name, version]) => (Operation::Get, name, Some(*version)),
            ("PUT", ["secrets", name]) => (Operation::Set, name, None),
            ("PATCH", ["secrets", name]) => (Operation::Update, name, None),
            ("PATCH", ["secrets", name, version]) => (Operation::Update, name, Some(*version)),
            _ => return Err(Error::method_not_allowed()),
        };
        Ok(Self {
            operation,
            name,
            version,
            query: request.query_form(),
            body: &request.body,
            host: request.header("host").unwrap_or_default(),
        })
    }

    /// Whether it is anything but a request for a further page of a list.
    pub(super) fn is_first_page(&self) -> bool {
        self.query.get("$skiptoken").is_none()
    }

    pub(super) fn run(&self, secrets: &mut Secrets, now: u64) -> Result<Response<Body>, Error> {
        self.check()?;
        match self.operation {
            Operation::List => self.list(secrets),
            Operation::Get | Operation::GetNewest => self.get(secrets),
            Operation::Set => self.set(secrets, now),
            Operation::Update => self.update(secrets, now),
        }
    }

    fn check(&self) -> Result<(), Error> {
        let version = self.query.get("api-version").unwrap_or_default();
        if !(version.starts_with("7.") || version.starts_with("20")) {
            return Err(Error::bad(&format!("The specified version ({version}) is not recognized.")));
        }
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if self.name.is_empty() || self.name.len() > 127 || !plain(self.name) {
            return Err(Error::bad(&format!("The request URI contains an invalid name: {}", self.name)));
        }
        Ok(())
    }

    fn prefix(&self) -> String {
        format!("https://{}/secrets/{}", self.host, self.name)
    }

    fn not_found(&self) -> Error {
        Error::not_found(self.name, self.version)
    }

    /// A secret that does not exist has no versions, and that is no error.
    fn list(&self, secrets: &Secrets) -> Result<Response<Body>, Error> {
        let size = match self.query.get("maxresults").map(str::parse::<usize>) {
            None => PAGE,
            Some(Ok(size)) if (1..=PAGE).contains(&size) => size,
            Some(_) => return Err(Error::bad("Invalid value for maxresults.")),
        };
        let after = self.query.get("$skiptoken").map(read_skiptoken).transpose()?;
        let mut versions: Vec<&Version> = secrets.versions(self.name).iter().collect();
        // By id and thus not by age, as in Key Vault.
        versions.sort_by(|one, other| one.id.cmp(&other.id));
        versions.retain(|version| after.as_ref().is_none_or(|after| version.id > *after));
        let more = versions.len() > size;
        versions.truncate(size);
        let last = versions.last().filter(|_| more);
        let prefix = self.prefix();
        let page: Vec<Value> = versions.iter().map(|version| version.properties(&prefix)).collect();
        let next = last.map(|last| self.next_link(&last.id, size));
        Ok(response::json(StatusCode::OK, &json!({"value": page, "nextLink": next})))
    }

    fn next_link(&self, last: &str, size: usize) -> String {
        let port = if self.host.contains(':') { "" } else { ":443" };
        let version = self.query.get("api-version").unwrap_or_default();
        let token = base64url(format!("after:{last}"));
        let (host, name) = (self.host, self.name);
        format!(
            "https://{host}{port}/secrets/{name}/versions?api-version={version}&$skiptoken={token}&maxresults={size}"
        )
    }

    fn get(&self, secrets: &mut Secrets) -> Result<Response<Body>, Error> {
        let version = secrets.find(self.name, self.version).ok_or_else(|| self.not_found())?;
        if !version.enabled {
            return Err(Error::disabled());
        }
        Ok(self.bundle(version, true))
    }

    fn set(&self, secrets: &mut Secrets, now: u64) -> Result<Response<Body>, Error> {
        let body = self.json()?;
        let value = body.get("value").and_then(Value::as_str).ok_or_else(|| Error::bad("The value is missing."))?;
        if value.len() > LARGEST {
            return Err(Error::bad("The value is too large."));
        }
        let mut version = Version::new(value, now);
        version.apply(&body)?;
        let response = self.bundle(&version, true);
        secrets.put(self.name, version);
        Ok(response)
    }

    fn update(&self, secrets: &mut Secrets, now: u64) -> Result<Response<Body>, Error> {
        let body = self.json()?;
        let version = secrets.find(self.name, self.version).ok_or_else(|| self.not_found())?;
        let mut changed = version.clone();
        changed.apply(&body)?;
        changed.updated = now;
        *version = changed;
        Ok(self.bundle(version, false))
    }

    fn json(&self) -> Result<Value, Error> {
        serde_json::from_slice(self.body).map_err(|_| Error::bad("The request body is missing or no JSON."))
    }

    fn bundle(&self, version: &Version, with_value: bool) -> Response<Body> {
        let mut bundle = version.properties(&self.prefix());
        if with_value {
            bundle["value"] = version.value.as_str().into();
        }
        response::json(StatusCode::OK, &bundle)
    }
}

fn read_skiptoken(token: &str) -> Result<String, Error> {
    let text = from_base64url(token).and_then(|bytes| String::from_utf8(bytes).ok());
    let after = text.as_deref().and_then(|text| text.strip_prefix("after:"));
    after.map(str::to_owned).ok_or_else(|| Error::bad("Invalid skip token."))
}
