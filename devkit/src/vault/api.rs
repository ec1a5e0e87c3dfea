use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::refusal::Refusal;
use super::secrets::{Secrets, Version};
use crate::web::{Body, Call, Form, base64url, from_base64url, reply};

/// Key Vault's page, and the most that `maxresults` may ask for.
const PAGE: usize = 25;

/// Key Vault's limit for a secret's value in bytes.
const LARGEST: usize = 25 * 1024;

/// What is asked of the vault: faults are set, and requests counted, by these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `GET /secrets/{name}/versions`.
    List,
    /// `GET /secrets/{name}` or `/secrets/{name}/{version}`.
    Get,
    /// `PUT /secrets/{name}`.
    Set,
    /// `PATCH /secrets/{name}/{version}`.
    Update,
    /// `DELETE /secrets/{name}`.
    Delete,
    /// `GET /deletedsecrets/{name}`.
    GetDeleted,
    /// `POST /deletedsecrets/{name}/recover`.
    Recover,
    /// `DELETE /deletedsecrets/{name}`.
    Purge,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::List, Self::Get, Self::Set, Self::Update, Self::Delete, Self::GetDeleted, Self::Recover, Self::Purge];

    /// What a role must allow.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::List => "Microsoft.KeyVault/vaults/secrets/readMetadata/action",
            Self::Get => "Microsoft.KeyVault/vaults/secrets/getSecret/action",
            Self::Set => "Microsoft.KeyVault/vaults/secrets/setSecret/action",
            Self::Update => "Microsoft.KeyVault/vaults/secrets/update/action",
            Self::Delete => "Microsoft.KeyVault/vaults/secrets/delete",
            Self::GetDeleted => "Microsoft.KeyVault/vaults/deletedsecrets/read",
            Self::Recover => "Microsoft.KeyVault/vaults/secrets/recover/action",
            Self::Purge => "Microsoft.KeyVault/vaults/secrets/purge/action",
        }
    }
}

/// A request whose path and method mean something to the vault.
pub(super) struct Request<'a> {
    pub(super) operation: Operation,
    name: &'a str,
    version: Option<&'a str>,
    query: Form,
    body: &'a [u8],
    /// The vault's host as the client knows it, with the port, if it named one.
    host: &'a str,
}

impl<'a> Request<'a> {
    pub(super) fn parse(call: &'a Call) -> Result<Self, Refusal> {
        let path = call.parts.uri.path();
        // Microsoft's client asks for the newest version with a slash at the end.
        let segments: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').skip(1).collect();
        let method = &call.parts.method;
        let (operation, name, version) = match (method, segments.as_slice()) {
            (&Method::GET, ["secrets", name, "versions"]) => (Operation::List, name, None),
            (&Method::GET, ["secrets", name]) => (Operation::Get, name, None),
            (&Method::GET, ["secrets", name, version]) => (Operation::Get, name, Some(*version)),
            (&Method::PUT, ["secrets", name]) => (Operation::Set, name, None),
            (&Method::PATCH, ["secrets", name]) => (Operation::Update, name, None),
            (&Method::PATCH, ["secrets", name, version]) => (Operation::Update, name, Some(*version)),
            (&Method::DELETE, ["secrets", name]) => (Operation::Delete, name, None),
            (&Method::GET, ["deletedsecrets", name]) => (Operation::GetDeleted, name, None),
            (&Method::POST, ["deletedsecrets", name, "recover"]) => (Operation::Recover, name, None),
            (&Method::DELETE, ["deletedsecrets", name]) => (Operation::Purge, name, None),
            _ => return Err(Refusal::no_such_method()),
        };
        Ok(Self {
            operation,
            name,
            version,
            query: Form::parse(call.request.query().unwrap_or_default().as_bytes()),
            body: &call.request.body,
            host: call.request.header("host").unwrap_or_default(),
        })
    }

    /// The first page of a list, or anything but a list.
    pub(super) fn begins(&self) -> bool {
        self.query.get("$skiptoken").is_none()
    }

    /// Does what is asked.
    pub(super) fn run(&self, secrets: &mut Secrets, now: u64) -> Result<Response<Body>, Refusal> {
        self.checked()?;
        match self.operation {
            Operation::List => self.list(secrets),
            Operation::Get => self.get(secrets),
            Operation::Set => self.set(secrets, now),
            Operation::Update => self.update(secrets, now),
            Operation::Delete => self.delete(secrets, now),
            Operation::GetDeleted => self.deleted(secrets),
            Operation::Recover => self.recover(secrets),
            Operation::Purge => self.purge(secrets),
        }
    }

    fn checked(&self) -> Result<(), Refusal> {
        let version = self.query.get("api-version").unwrap_or_default();
        if !(version.starts_with("7.") || version.starts_with("20")) {
            return Err(Refusal::bad(&format!("The specified version ({version}) is not recognized.")));
        }
        let plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if self.name.is_empty() || self.name.len() > 127 || !plain(self.name) {
            return Err(Refusal::bad(&format!("The request URI contains an invalid name: {}", self.name)));
        }
        Ok(())
    }

    /// What ids of this secret's versions begin with.
    fn prefix(&self) -> String {
        format!("https://{}/secrets/{}", self.host, self.name)
    }

    fn not_found(&self) -> Refusal {
        Refusal::not_found(self.name, self.version)
    }

    /// A secret that does not exist has no versions, and that is no error.
    fn list(&self, secrets: &Secrets) -> Result<Response<Body>, Refusal> {
        let size = match self.query.get("maxresults").map(str::parse::<usize>) {
            None => PAGE,
            Some(Ok(size)) if (1..=PAGE).contains(&size) => size,
            Some(_) => return Err(Refusal::bad("Invalid value for maxresults.")),
        };
        let after = self.query.get("$skiptoken").map(read_skiptoken).transpose()?;
        let mut versions: Vec<&Version> = secrets.versions(self.name).iter().collect();
        // In the order of their ids, which says nothing of their age: as Key Vault does it.
        versions.sort_by(|one, other| one.id.cmp(&other.id));
        versions.retain(|version| after.as_ref().is_none_or(|after| version.id > *after));
        let more = versions.len() > size;
        versions.truncate(size);
        let last = versions.last().filter(|_| more);
        let prefix = self.prefix();
        let page: Vec<Value> = versions.iter().map(|version| Value::Object(version.properties(&prefix))).collect();
        let next = last.map(|last| self.next_link(&last.id, size));
        Ok(reply::json(StatusCode::OK, &json!({"value": page, "nextLink": next})))
    }

    fn next_link(&self, last: &str, size: usize) -> String {
        let port = if self.host.contains(':') { "" } else { ":443" };
        let version = self.query.get("api-version").unwrap_or_default();
        let token = base64url(format!("after:{last}").as_bytes());
        let (host, name) = (self.host, self.name);
        format!(
            "https://{host}{port}/secrets/{name}/versions?api-version={version}&$skiptoken={token}&maxresults={size}"
        )
    }

    fn get(&self, secrets: &mut Secrets) -> Result<Response<Body>, Refusal> {
        let version = secrets.find(self.name, self.version).ok_or_else(|| self.not_found())?;
        if !version.enabled {
            return Err(Refusal::disabled());
        }
        Ok(self.bundle(version, true))
    }

    fn set(&self, secrets: &mut Secrets, now: u64) -> Result<Response<Body>, Refusal> {
        let body = self.json()?;
        let value = body.get("value").and_then(Value::as_str).ok_or_else(|| Refusal::bad("The value is missing."))?;
        if value.len() > LARGEST {
            return Err(Refusal::bad("The value is too large."));
        }
        if secrets.by_name.get(self.name).is_some_and(|secret| secret.deleted.is_some()) {
            return Err(Refusal::deleted(self.name));
        }
        let mut version = Version::new(value, now);
        version.apply(&body)?;
        let answer = self.bundle(&version, true);
        secrets.put(self.name, version);
        Ok(answer)
    }

    fn update(&self, secrets: &mut Secrets, now: u64) -> Result<Response<Body>, Refusal> {
        let body = self.json()?;
        let version = secrets.find(self.name, self.version).ok_or_else(|| self.not_found())?;
        let mut changed = version.clone();
        changed.apply(&body)?;
        changed.updated = now;
        *version = changed;
        Ok(self.bundle(version, false))
    }

    fn delete(&self, secrets: &mut Secrets, now: u64) -> Result<Response<Body>, Refusal> {
        let secret = secrets.by_name.get_mut(self.name).filter(|secret| secret.deleted.is_none());
        secret.ok_or_else(|| self.not_found())?.deleted = Some(now);
        self.deleted(secrets)
    }

    fn deleted(&self, secrets: &Secrets) -> Result<Response<Body>, Refusal> {
        let secret = secrets.by_name.get(self.name).ok_or_else(|| self.not_found())?;
        let (deleted, newest) = secret.deleted.zip(secret.versions.last()).ok_or_else(|| self.not_found())?;
        let mut bundle = newest.properties(&self.prefix());
        bundle.insert("recoveryId".to_owned(), format!("https://{}/deletedsecrets/{}", self.host, self.name).into());
        bundle.insert("deletedDate".to_owned(), deleted.into());
        bundle.insert("scheduledPurgeDate".to_owned(), (deleted + 90 * 24 * 60 * 60).into());
        Ok(reply::json(StatusCode::OK, &Value::Object(bundle)))
    }

    fn recover(&self, secrets: &mut Secrets) -> Result<Response<Body>, Refusal> {
        let secret = secrets.by_name.get_mut(self.name).filter(|secret| secret.deleted.is_some());
        secret.ok_or_else(|| self.not_found())?.deleted = None;
        let version = secrets.find(self.name, None).ok_or_else(|| self.not_found())?;
        Ok(self.bundle(version, false))
    }

    fn purge(&self, secrets: &mut Secrets) -> Result<Response<Body>, Refusal> {
        if secrets.by_name.get(self.name).is_none_or(|secret| secret.deleted.is_none()) {
            return Err(self.not_found());
        }
        secrets.by_name.remove(self.name);
        Ok(reply::empty(StatusCode::NO_CONTENT))
    }

    fn json(&self) -> Result<Value, Refusal> {
        serde_json::from_slice(self.body).map_err(|_| Refusal::bad("The request body is missing or no JSON."))
    }

    fn bundle(&self, version: &Version, with_value: bool) -> Response<Body> {
        let mut bundle = version.properties(&self.prefix());
        if with_value {
            bundle.insert("value".to_owned(), version.value.as_str().into());
        }
        reply::json(StatusCode::OK, &Value::Object(bundle))
    }
}

fn read_skiptoken(token: &str) -> Result<String, Refusal> {
    let text = from_base64url(token).and_then(|bytes| String::from_utf8(bytes).ok());
    let after = text.as_deref().and_then(|text| text.strip_prefix("after:"));
    after.map(str::to_owned).ok_or_else(|| Refusal::bad("Invalid skip token."))
}
