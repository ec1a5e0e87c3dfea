//! How and when a user must authenticate: `acr_values` and `max_age` (OpenID Connect Core 3.1.2.1, RFC 9470).

/// Most values of `acr_values` (contract 21.1).
const VALUES: usize = 10;
/// Most bytes of `acr_values`.
const BYTES: usize = 200;
/// Largest `max_age` in seconds.
const LONGEST: u32 = 86_400;

/// One or more authentication context classes, separated by single spaces, at most 10 values and 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcrValues(String);

impl AcrValues {
    /// `None` for anything else, or if there are more.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::within_bounds(text).filter(|values| values.0 == text)
    }

    /// Leaves out what is beyond the bounds; `None` if nothing is left.
    #[must_use]
    pub fn within_bounds(text: &str) -> Option<Self> {
        let mut kept = String::new();
        let mut count = 0;
        for value in text.split(' ').filter(|value| is_scope_token(value)) {
            let separator = if count == 0 { "" } else { " " };
            if count < VALUES && kept.len() + separator.len() + value.len() <= BYTES {
                kept += separator;
                kept += value;
                count += 1;
            }
        }
        (count > 0).then_some(Self(kept))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    #[must_use]
    pub fn contains(&self, acr: &str) -> bool {
        self.0.split(' ').any(|value| value == acr)
    }
}

/// A scope token of RFC 6749 section 3.3.
fn is_scope_token(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(&byte))
}

/// Seconds, at most 86,400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxAge(u32);

impl MaxAge {
    /// `None` if it is larger.
    #[must_use]
    pub fn new(seconds: u32) -> Option<Self> {
        (seconds <= LONGEST).then_some(Self(seconds))
    }

    /// A number of digits only.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok().and_then(Self::new)
    }

    #[must_use]
    pub const fn seconds(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_parsed_whole_or_not_at_all() {
        let long = "x".repeat(200);
        for good in ["c1", "urn:mace:incommon:iap:silver c2", "!#[]~", &long, "a b c d e f g h i j"] {
            assert_eq!(AcrValues::parse(good).as_ref().map(AcrValues::as_str), Some(good));
        }
        for bad in
            ["", " ", "c1  c2", " c1", "c1 ", "a\"b", "a\\b", "a\tb", "\u{e9}", &(long + "x"), "a b c d e f g h i j k"]
        {
            assert_eq!(AcrValues::parse(bad), None, "{bad}");
        }
        assert!(AcrValues::parse("a b").unwrap().contains("b"));
        assert!(!AcrValues::parse("ab").unwrap().contains("a"));
    }

    #[test]
    fn an_age_is_at_most_a_day() {
        for (text, seconds) in [("0", Some(0)), ("86400", Some(86_400)), ("007", Some(7))] {
            assert_eq!(MaxAge::parse(text).map(MaxAge::seconds), seconds, "{text}");
        }
        for bad in ["", "-1", "+1", "1.0", "1e3", "86401", "99999999999999999999", " 1"] {
            assert_eq!(MaxAge::parse(bad), None, "{bad}");
        }
    }
}
