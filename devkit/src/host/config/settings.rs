//! The app settings, which are the environment of the host and of its handler.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::Value;

use crate::os;

pub(crate) type Settings = BTreeMap<String, String>;

/// Adds the `Values` of `local.settings.json` that are not set yet. The file is optional.
pub(crate) fn add_local(mut settings: Settings, root: &Path) -> io::Result<Settings> {
    let Ok(text) = std::fs::read_to_string(root.join("local.settings.json")) else {
        return Ok(settings);
    };
    let file: Value = serde_json::from_str(&text)
        .map_err(|error| io::Error::other(format!("local.settings.json is not valid JSON: {error}")))?;
    for (name, value) in file.get("Values").and_then(Value::as_object).into_iter().flatten() {
        if let Some(value) = value.as_str() {
            settings.entry(name.clone()).or_insert_with(|| value.to_owned());
        }
    }
    Ok(settings)
}

/// The app settings: this process's environment, or only what every process needs of it (its `PATH`), and `extra`.
pub(crate) fn environment(inherit: bool, extra: &Settings) -> Settings {
    let own =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    own.filter(|(name, _)| inherit || os::is_needed(name)).chain(extra.clone()).collect()
}

/// Replaces `%NAME%` by the setting of that name. What is not set stays as it is.
pub(crate) fn expand(text: &str, settings: &Settings) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let found = after.split_once('%').and_then(|(name, tail)| Some((settings.get(name)?.as_str(), tail)));
        let (value, tail) = found.unwrap_or(("%", after));
        out.push_str(value);
        rest = tail;
    }
    out + rest
}

/// Whether a setting is `true` or `1`.
pub(crate) fn is_on(settings: &Settings, name: &str) -> bool {
    settings.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_set_names_are_expanded() {
        let set = settings(&[("A", "1"), ("EMPTY", "")]);
        for (text, expected) in [("x%A%y%EMPTY%z", "x1yz"), ("%B%A%", "%B1"), ("50% of %A", "50% of %A")] {
            assert_eq!(expand(text, &set), expected);
        }
    }

    #[test]
    fn local_settings_fill_gaps_only() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(add_local(Settings::new(), root.path()).unwrap(), Settings::new());
        let text = r#"{"IsEncrypted": false, "Values": {"A": "file", "B": "file", "C": null, "D": 1}}"#;
        std::fs::write(root.path().join("local.settings.json"), text).unwrap();
        let merged = add_local(settings(&[("A", "own")]), root.path()).unwrap();
        assert_eq!(merged, settings(&[("A", "own"), ("B", "file")]));
        std::fs::write(root.path().join("local.settings.json"), "{").unwrap();
        assert!(add_local(Settings::new(), root.path()).is_err());
    }

    #[test]
    fn a_clean_environment_has_only_the_path() {
        let clean = environment(false, &settings(&[("A", "1")]));
        assert_eq!(clean.get("A").map(String::as_str), Some("1"));
        assert!(clean.keys().all(|name| name == "A" || os::is_needed(name)), "{clean:?}");
    }
}
