use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::error::Error;
use crate::web::hex;

/// As real vaults report it with soft delete for 90 days.
const RECOVERABLE_DAYS: u64 = 90;

/// A version of a secret. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// 32 hex digits.
    pub id: String,
    pub value: String,
    pub content_type: Option<String>,
    /// A disabled version is listed, but its value cannot be read.
    pub enabled: bool,
    /// `nbf`, which Key Vault does not enforce.
    pub not_before: Option<u64>,
    /// `exp`, which Key Vault does not enforce.
    pub expires: Option<u64>,
    pub created: u64,
    pub updated: u64,
    pub tags: BTreeMap<String, String>,
}

impl Version {
    pub(super) fn new(value: &str, now: u64) -> Self {
        let id = hex(&rand::random::<[u8; 16]>());
        Self { id, value: value.to_owned(), enabled: true, created: now, updated: now, ..Self::default() }
    }

    /// The item of a list, or the response to a change. Its id begins with `prefix`.
    pub(super) fn properties(&self, prefix: &str) -> Value {
        let mut bundle = json!({"id": format!("{prefix}/{}", self.id), "attributes": {
            "enabled": self.enabled,
            "created": self.created,
            "updated": self.updated,
            "recoveryLevel": "Recoverable+Purgeable",
            "recoverableDays": RECOVERABLE_DAYS,
        }});
        for (name, time) in [("nbf", self.not_before), ("exp", self.expires)] {
            if let Some(time) = time {
                bundle["attributes"][name] = time.into();
            }
        }
        if let Some(content_type) = &self.content_type {
            bundle["contentType"] = content_type.as_str().into();
        }
        if !self.tags.is_empty() {
            bundle["tags"] = json!(self.tags);
        }
        bundle
    }

    /// Sets what the body of a `PUT` or `PATCH` names.
    pub(super) fn apply(&mut self, body: &Value) -> Result<(), Error> {
        if let Some(content_type) = member(body, "contentType", Value::as_str)? {
            self.content_type = Some(content_type.to_owned());
        }
        if let Some(tags) = member(body, "tags", Value::as_object)? {
            let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
            self.tags = tags.iter().map(text).collect::<Option<_>>().ok_or_else(|| Error::bad("Invalid tags."))?;
            if self.tags.len() > 15 {
                return Err(Error::bad("Too many tags."));
            }
        }
        let attributes = &body["attributes"];
        if let Some(enabled) = member(attributes, "enabled", Value::as_bool)? {
            self.enabled = enabled;
        }
        for (name, time) in [("nbf", &mut self.not_before), ("exp", &mut self.expires)] {
            *time = member(attributes, name, Value::as_u64)?.or(*time);
        }
        Ok(())
    }
}

/// A member that is absent, null, or of the right type.
fn member<'a, T: 'a>(
    body: &'a Value,
    name: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, Error> {
    let wrong_type = || Error::bad(&format!("The property '{name}' has a wrong type."));
    let value = body.get(name).filter(|value| !value.is_null());
    value.map(|value| read(value).ok_or_else(wrong_type)).transpose()
}

/// The versions of each secret, oldest first.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    by_name: BTreeMap<String, Vec<Version>>,
}

impl Secrets {
    pub(super) fn versions(&self, name: &str) -> &[Version] {
        self.by_name.get(name).map_or(&[], Vec::as_slice)
    }

    /// The named version, or the one most recently created, whatever its `nbf` and `exp`.
    pub(super) fn find(&mut self, name: &str, version: Option<&str>) -> Option<&mut Version> {
        let versions = self.by_name.get_mut(name)?;
        match version {
            Some(id) => versions.iter_mut().find(|have| have.id == id),
            None => versions.iter_mut().max_by_key(|have| have.created),
        }
    }

    pub(super) fn put(&mut self, name: &str, version: Version) {
        self.by_name.entry(name.to_owned()).or_default().push(version);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }
}
