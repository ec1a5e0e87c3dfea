//! The app settings, which are at once the environment of the host and of its handler.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

use super::HostError;

/// Names and values of the app settings.
pub(super) type Settings = BTreeMap<String, String>;

/// Adds the `Values` of `local.settings.json` that are not set yet. A project without that file is none the worse.
pub(super) fn add_local(mut settings: Settings, root: &Path) -> Result<Settings, HostError> {
    let path = root.join("local.settings.json");
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(settings);
    };
    let file: Value = serde_json::from_str(&text)
        .map_err(|error| HostError::Configuration(format!("local.settings.json is no JSON: {error}")))?;
    let values = file.get("Values").and_then(Value::as_object);
    for (name, value) in values.into_iter().flatten() {
        if let Some(value) = value.as_str() {
            settings.entry(name.clone()).or_insert_with(|| value.to_owned());
        }
    }
    Ok(settings)
}

/// The environment of a host that inherits this process's, or of one that starts clean but for `PATH`.
pub(super) fn environment(inherit: bool, extra: &Settings) -> Settings {
    let own =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut settings: Settings = own.filter(|(name, _)| inherit || name == "PATH").collect();
    settings.extend(extra.clone());
    settings
}

/// Replaces `%NAME%` by the setting of that name. What is not set stays as it is.
pub(super) fn expand(text: &str, settings: &Settings) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let known = after.split_once('%').and_then(|(name, tail)| Some((settings.get(name)?, tail)));
        rest = match known {
            Some((value, tail)) => {
                out.push_str(value);
                tail
            }
            None => {
                out.push('%');
                after
            }
        };
    }
    out + rest
}

/// Whether a setting is `true` or `1`.
pub(super) fn is_on(settings: &Settings, name: &str) -> bool {
    settings.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_known_names_are_expanded() {
        let known = settings(&[("A", "1"), ("EMPTY", "")]);
        assert_eq!(expand("x%A%y%EMPTY%z", &known), "x1yz");
        assert_eq!(expand("%B%A%", &known), "%B1");
        assert_eq!(expand("50% of %A", &known), "50% of %A");
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
        let names: Vec<_> = clean.keys().map(String::as_str).collect();
        assert_eq!(names, ["A", "PATH"]);
    }
}
