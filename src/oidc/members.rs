//! The members of a JSON object that the provider wrote: strict where they are required, lenient where nothing depends
//! on them (contract 7.4a).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use url::Url;

use crate::secret::SecretString;

/// A JSON object. Each member is taken out once.
#[derive(Default)]
pub struct Members(BTreeMap<String, Member>);

enum Member {
    One(Value),
    /// The name is there more than once, so that readers may disagree about the value.
    Several,
}

/// A required member is missing, or it has not the form that the specification requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: missing or malformed", self.0)
    }
}

impl From<Malformed> for String {
    fn from(malformed: Malformed) -> Self {
        malformed.to_string()
    }
}

impl Members {
    /// A member that the gateway cannot do without. An empty string and null count as absent.
    ///
    /// # Errors
    /// It is absent, there more than once, or `read` returns `None` for its value.
    pub fn required<T>(&mut self, name: &'static str, read: impl FnOnce(Value) -> Option<T>) -> Result<T, Malformed> {
        self.strict(name, read)?.ok_or(Malformed(name))
    }

    /// A member that may be absent, but must not be malformed.
    ///
    /// # Errors
    /// It is there more than once, or `read` returns `None` for its value.
    pub fn strict<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Member::One(value)) if is_absent(&value) => Ok(None),
            Some(Member::One(value)) => read(value).map(Some).ok_or(Malformed(name)),
            Some(Member::Several) => Err(Malformed(name)),
        }
    }

    /// A member that nothing depends on: if it is malformed, it counts as absent, and one warning names it.
    pub fn optional<T>(&mut self, name: &'static str, read: impl FnOnce(Value) -> Option<T>) -> Option<T> {
        self.strict(name, read).unwrap_or_else(|Malformed(name)| {
            warn_once(name);
            None
        })
    }

    /// The names and texts of all members whose value is a text.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().filter_map(|(name, member)| match member {
            Member::One(Value::String(text)) => Some((name.as_str(), text.as_str())),
            Member::One(_) | Member::Several => None,
        })
    }
}

fn is_absent(value: &Value) -> bool {
    matches!(value, Value::Null) || value.as_str() == Some("")
}

/// Once per process and name: metadata is read every hour, and a token response at every refresh.
fn warn_once(name: &'static str) {
    static WARNED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
    if WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(name) {
        tracing::warn!(
            member = name,
            "a member of the provider's metadata, token response or ID token is ignored: its value has another type \
             than specified"
        );
    }
}

/// A text.
pub(super) fn text(value: Value) -> Option<String> {
    if let Value::String(text) = value { Some(text) } else { None }
}

/// A text that is sent as a token: one or more visible ASCII characters (RFC 6749 appendix A.12 and A.17). The inner
/// `None` is a text with other characters.
pub(super) fn token(value: Value) -> Option<Option<SecretString>> {
    let text = text(value)?;
    Some(text.bytes().all(|byte| byte.is_ascii_graphic()).then(|| text.into()))
}

/// An absolute URL.
pub(super) fn url(value: &Value) -> Option<Url> {
    Url::parse(value.as_str()?).ok().filter(Url::has_host)
}

/// One text or a list of texts. Other elements of a list are left out.
pub(super) fn texts(value: Value) -> Option<Vec<String>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => Some(several.into_iter().filter_map(text).filter(|one| !one.is_empty()).collect()),
        _ => None,
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Object)
    }
}

struct Object;

impl<'de> Visitor<'de> for Object {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            let member = if members.contains_key(&name) { Member::Several } else { Member::One(value) };
            members.insert(name, member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(json: &str) -> Members {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn empty_and_null_count_as_absent_and_required_members_are_then_missing() {
        let json = r#"{"a":"","b":null,"c":"x"}"#;
        for name in ["a", "b", "d"] {
            assert_eq!(members(json).strict(name, text), Ok(None), "{name}");
            assert_eq!(members(json).required(name, text), Err(Malformed(name)));
        }
        assert_eq!(members(json).required("c", text), Ok("x".to_owned()));
    }

    #[test]
    fn a_member_of_an_unexpected_type_or_twice_is_malformed_if_required_and_ignored_if_optional() {
        let json = r#"{"a":7,"b":"x","b":"x"}"#;
        for name in ["a", "b"] {
            assert_eq!(members(json).required(name, text), Err(Malformed(name)));
            assert_eq!(members(json).optional(name, text), None);
        }
    }

    #[test]
    fn a_token_is_visible_ascii() {
        let read = |text: &str| token(text.into()).unwrap().is_some();
        assert!(read("a.B-_~+/="));
        for bad in ["a b", "a\r\nX: 1", "a\t", "\u{e9}", "\u{7f}"] {
            assert!(!read(bad), "{bad:?}");
        }
    }
}
