//! Parameters of a query or a form, parsed once and in linear time.

pub(super) mod callback;
pub(super) mod login;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use url::form_urlencoded;

/// Decoded parameters by name (WHATWG URL, section 5.1).
pub(super) struct Params(HashMap<String, Value>);

enum Value {
    One(String),
    Several,
}

/// A parameter that must be unique is present more than once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Duplicate;

impl Params {
    pub(super) fn parse(text: &str) -> Self {
        let mut params = HashMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            match params.entry(name.into_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(Value::One(value.into_owned()));
                }
                Entry::Occupied(mut entry) => {
                    entry.insert(Value::Several);
                }
            }
        }
        Self(params)
    }

    /// Takes the value of a parameter out.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Duplicate> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(Value::One(value)) => Ok(Some(value)),
            Some(Value::Several) => Err(Duplicate),
        }
    }

    /// The value of a parameter that counts as absent if it is present more than once.
    pub(super) fn take_single(&mut self, name: &str) -> Option<String> {
        self.take(name).ok().flatten()
    }

    /// Whether any parameter is present more than once.
    fn has_duplicates(&self) -> bool {
        self.0.values().any(|value| matches!(value, Value::Several))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use tokio::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_parameter_is_absent_single_or_duplicate() {
        let mut params = Params::parse("a=1&b=%C3%A9+%26&c=1&c=1&d&e=&&f=1=2");
        assert_eq!(params.take("a"), Ok(Some("1".to_owned())));
        assert_eq!(params.take("b"), Ok(Some("é &".to_owned())));
        assert!(params.has_duplicates());
        assert_eq!(params.take("c"), Err(Duplicate));
        assert!(!params.has_duplicates());
        assert_eq!(params.take("d"), Ok(Some(String::new())));
        assert_eq!(params.take("e"), Ok(Some(String::new())));
        assert_eq!(params.take("f"), Ok(Some("1=2".to_owned())));
        assert_eq!(params.take("g"), Ok(None));
    }

    #[test]
    fn duplicates_are_recognized_by_their_decoded_names() {
        assert_eq!(Params::parse("code=a&%63ode=b").take("code"), Err(Duplicate));
    }

    /// 64 KiB, the largest form, of the shortest distinct names took over a second when each was searched among all.
    #[test]
    fn sixty_four_kibibytes_of_parameters_are_parsed_in_linear_time() {
        let mut text = String::new();
        for number in 0.. {
            if text.len() >= 65_536 {
                break;
            }
            write!(text, "{number:x}&").unwrap();
        }
        let begun = Instant::now();
        let params = Params::parse(&text);
        assert!(params.0.len() > 12_000 && !params.has_duplicates());
        assert!(begun.elapsed() < Duration::from_millis(500), "{:?}", begun.elapsed());
    }
}
