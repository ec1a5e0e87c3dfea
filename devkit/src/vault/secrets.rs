use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::refusal::Refusal;
use crate::web::hex;

/// Real vaults say so when soft delete is on with 90 days.
const RECOVERABLE_DAYS: u64 = 90;

/// A version of a secret. Times are Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// 32 hex digits.
    pub id: String,
    /// The secret value.
    pub value: String,
    /// `contentType`, if any.
    pub content_type: Option<String>,
    /// A disabled version is listed, but its value is not given out.
    pub enabled: bool,
    /// `nbf`, if any. Key Vault does not act on it.
    pub not_before: Option<u64>,
    /// `exp`, if any. Key Vault does not act on it.
    pub expires: Option<u64>,
    /// When it was made.
    pub created: u64,
    /// When its attributes were last changed.
    pub updated: u64,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Version {
    pub(super) fn new(value: &str, now: u64) -> Self {
        let id = hex(&rand::random::<[u8; 16]>());
        Self { id, value: value.to_owned(), enabled: true, created: now, updated: now, ..Self::default() }
    }

    /// As items of a list and answers to changes have it, with the id under this prefix.
    pub(super) fn properties(&self, prefix: &str) -> Map<String, Value> {
        let mut attributes = json!({"enabled": self.enabled});
        for (name, time) in [("nbf", self.not_before), ("exp", self.expires)] {
            if let (Some(members), Some(time)) = (attributes.as_object_mut(), time) {
                members.insert(name.to_owned(), time.into());
            }
        }
        if let Some(members) = attributes.as_object_mut() {
            members.insert("created".to_owned(), self.created.into());
            members.insert("updated".to_owned(), self.updated.into());
            members.insert("recoveryLevel".to_owned(), "Recoverable+Purgeable".into());
            members.insert("recoverableDays".to_owned(), RECOVERABLE_DAYS.into());
        }
        let mut bundle = Map::new();
        if let Some(content_type) = &self.content_type {
            bundle.insert("contentType".to_owned(), content_type.as_str().into());
        }
        bundle.insert("id".to_owned(), format!("{prefix}/{}", self.id).into());
        bundle.insert("attributes".to_owned(), attributes);
        if !self.tags.is_empty() {
            bundle.insert("tags".to_owned(), json!(self.tags));
        }
        bundle
    }

    /// Takes over what the body of a `PUT` or `PATCH` names.
    pub(super) fn apply(&mut self, body: &Value) -> Result<(), Refusal> {
        if let Some(content_type) = member(body, "contentType", Value::as_str)? {
            self.content_type = Some(content_type.to_owned());
        }
        if let Some(tags) = member(body, "tags", Value::as_object)? {
            let text = |(name, value): (&String, &Value)| Some((name.clone(), value.as_str()?.to_owned()));
            self.tags = tags.iter().map(text).collect::<Option<_>>().ok_or_else(|| Refusal::bad("Invalid tags."))?;
            if self.tags.len() > 15 {
                return Err(Refusal::bad("Too many tags."));
            }
        }
        let none = Value::Null;
        let attributes = body.get("attributes").unwrap_or(&none);
        if let Some(enabled) = member(attributes, "enabled", Value::as_bool)? {
            self.enabled = enabled;
        }
        if let Some(time) = member(attributes, "nbf", Value::as_u64)? {
            self.not_before = Some(time);
        }
        if let Some(time) = member(attributes, "exp", Value::as_u64)? {
            self.expires = Some(time);
        }
        Ok(())
    }
}

/// A member that is absent or null, or of the right type.
fn member<'a, T: 'a>(
    body: &'a Value,
    name: &str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, Refusal> {
    let Some(value) = body.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    read(value).map(Some).ok_or_else(|| Refusal::bad(&format!("The property '{name}' has a wrong type.")))
}

/// Everything under one name.
#[derive(Debug, Default)]
pub(super) struct Secret {
    /// In the order in which they were made.
    pub(super) versions: Vec<Version>,
    /// When it was deleted; it can be recovered.
    pub(super) deleted: Option<u64>,
}

/// The vault's content, by name.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    pub(super) by_name: BTreeMap<String, Secret>,
}

impl Secrets {
    /// The versions of a secret that is not deleted.
    pub(super) fn versions(&self, name: &str) -> &[Version] {
        let secret = self.by_name.get(name).filter(|secret| secret.deleted.is_none());
        secret.map_or(&[], |secret| &secret.versions)
    }

    /// A version that is not deleted, or the one most recently created: neither `nbf` nor `exp` matters.
    pub(super) fn find(&mut self, name: &str, version: Option<&str>) -> Option<&mut Version> {
        let secret = self.by_name.get_mut(name).filter(|secret| secret.deleted.is_none())?;
        match version {
            Some(id) => secret.versions.iter_mut().find(|have| have.id == id),
            None => secret.versions.iter_mut().max_by_key(|have| have.created),
        }
    }

    pub(super) fn put(&mut self, name: &str, version: Version) {
        let secret = self.by_name.entry(name.to_owned()).or_default();
        secret.deleted = None;
        secret.versions.push(version);
    }
}
