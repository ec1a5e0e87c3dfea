//! The command line of the handler.

use std::path::{Path, PathBuf};

use regex_lite::Regex;

use crate::host::config::{Description, Settings, expand};

#[derive(Debug, Eq, PartialEq)]
pub(super) struct CommandLine {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) directory: PathBuf,
}

/// An executable that is not a file of the app is left to `PATH`.
pub(super) fn resolve(description: &Description, root: &Path, settings: &Settings) -> CommandLine {
    let folder =
        |path: &Option<String>| path.as_ref().map_or(root.to_owned(), |path| root.join(expand(path, settings)));
    let executable = PathBuf::from(expand(&description.executable, settings));
    let inside = folder(&description.worker_directory).join(&executable);
    CommandLine {
        program: if inside.is_file() { inside } else { executable },
        arguments: arguments(description, settings),
        directory: folder(&description.working_directory),
    }
}

/// The host joins all arguments without adding quotes, so that a space in one splits it.
fn arguments(description: &Description, settings: &Settings) -> Vec<String> {
    let expanded = |argument: &String| {
        let argument = expand(argument, settings);
        // The host removes what no setting resolved.
        Regex::new("%.+?%").map_or(argument.clone(), |unresolved| unresolved.replace_all(&argument, "").into_owned())
    };
    let worker = description.worker_path.iter().map(|path| format!("\"{path}\""));
    let before = description.arguments.iter().map(expanded);
    let all: Vec<_> = before.chain(worker).chain(description.worker_arguments.iter().map(expanded)).collect();
    split(&all.join(" "))
}

/// Splits as .NET does: blanks separate, double quotes group, backslashes escape only before a quote.
fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let (mut quoted, mut backslashes) = (false, 0_usize);
    let mut chars = line.chars().peekable();
    while let Some(one) = chars.next() {
        if one == '\\' {
            backslashes += 1;
            current.get_or_insert_default().push(one);
            continue;
        }
        let escapes = std::mem::take(&mut backslashes);
        match one {
            ' ' | '\t' if !quoted => arguments.extend(current.take()),
            '"' => {
                let argument = current.get_or_insert_default();
                argument.truncate(argument.len() - escapes.div_ceil(2));
                let escaped = escapes % 2 == 1;
                if escaped || quoted && chars.next_if_eq(&'"').is_some() {
                    argument.push('"');
                } else {
                    quoted = !quoted;
                }
            }
            _ => current.get_or_insert_default().push(one),
        }
    }
    arguments.extend(current);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        [("PORT".to_owned(), "8080".to_owned())].into()
    }

    #[test]
    fn arguments_are_expanded_then_split() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let description = Description {
            arguments: texts(&["--port=%PORT%", "a b", "x%MISSING%y", r#"a\b "c\\" d\"e"#, r#""a""b""#, r#""""#]),
            worker_path: Some("the worker".to_owned()),
            worker_arguments: texts(&["\"c d\""]),
            ..Description::default()
        };
        let expected = ["--port=8080", "a", "b", "xy", r"a\b", r"c\", r#"d"e"#, r#"a"b"#, "", "the worker", "c d"];
        assert_eq!(arguments(&description, &settings()), expected);
        assert!(arguments(&Description::default(), &settings()).is_empty());
    }

    #[test]
    fn only_a_file_of_the_app_is_joined_to_its_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("handler"), "").unwrap();
        let inside = root.path().join("handler");
        for (executable, expected) in [
            ("handler", inside.as_path()),
            ("node", "node".as_ref()),
            ("/bin/sh", "/bin/sh".as_ref()),
            ("h%PORT%", "h8080".as_ref()),
        ] {
            let description = Description { executable: executable.to_owned(), ..Description::default() };
            assert_eq!(resolve(&description, root.path(), &settings()).program, expected);
        }
    }

    #[test]
    fn the_working_directory_is_the_root_by_default() {
        for (directory, expected) in [(None, "/app"), (Some("sub"), "/app/sub"), (Some("/else"), "/else")] {
            let working_directory = directory.map(str::to_owned);
            let description = Description { working_directory, ..Description::default() };
            assert_eq!(resolve(&description, Path::new("/app"), &settings()).directory, Path::new(expected));
        }
    }
}
