//! The command line of the handler.

use std::path::{Path, PathBuf};

use super::{
    host_json::Description,
    settings::{Settings, expand},
};

/// What to execute, and where.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct CommandLine {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) directory: PathBuf,
}

/// Resolves a description. An executable that is no file of the app is left to `PATH`.
pub(super) fn resolve(description: &Description, root: &Path, settings: &Settings) -> CommandLine {
    let expanded = |text: &String| PathBuf::from(expand(text, settings));
    let base = description.worker_directory.as_ref().map_or(root.to_owned(), |path| root.join(expanded(path)));
    let executable = expanded(&description.executable);
    let inside = base.join(&executable);
    CommandLine {
        program: if inside.is_file() { inside } else { executable },
        arguments: split(&argument_line(description, settings)),
        directory: description.working_directory.as_ref().map_or(root.to_owned(), |path| root.join(expanded(path))),
    }
}

/// All arguments in one text, as the host hands them to .NET: it adds no quotes, so that a space in one splits it.
fn argument_line(description: &Description, settings: &Settings) -> String {
    let mut line = String::new();
    for argument in &description.arguments {
        line += &format!(" {}", without_unresolved(&expand(argument, settings)));
    }
    if let Some(path) = &description.worker_path {
        line += &format!(" \"{path}\"");
    }
    for argument in &description.worker_arguments {
        line += &format!(" {}", without_unresolved(&expand(argument, settings)));
    }
    line
}

/// Removes every `%NAME%` that no setting resolved.
fn without_unresolved(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        match after.split_once('%') {
            Some((name, tail)) if !name.is_empty() => {
                out.push_str(before);
                rest = tail;
            }
            _ => break,
        }
    }
    out + rest
}

/// Splits as .NET does on Unix: blanks separate, double quotes group, backslashes escape only before a quote.
fn split(line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut rest = line.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        let (argument, tail) = next_argument(rest);
        arguments.push(argument);
        rest = tail.trim_start_matches([' ', '\t']);
    }
    arguments
}

fn next_argument(line: &str) -> (String, &str) {
    let mut argument = String::new();
    let mut quoted = false;
    let mut rest = line;
    loop {
        let unescaped = rest.trim_start_matches('\\');
        let backslashes = rest.len() - unescaped.len();
        let before_quote = unescaped.starts_with('"');
        argument.push_str(&"\\".repeat(if before_quote { backslashes / 2 } else { backslashes }));
        let mut chars = unescaped.chars();
        match chars.next() {
            None => return (argument, ""),
            Some('"') if backslashes % 2 == 1 => argument.push('"'),
            Some('"') if quoted && chars.as_str().starts_with('"') => {
                argument.push('"');
                chars.next();
            }
            Some('"') => quoted = !quoted,
            Some(' ' | '\t') if !quoted => return (argument, chars.as_str()),
            Some(other) => argument.push(other),
        }
        rest = chars.as_str();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        [("PORT".to_owned(), "8080".to_owned())].into()
    }

    #[test]
    fn arguments_are_expanded_then_split() {
        let description = Description {
            arguments: vec!["--port=%PORT%".to_owned(), "a b".to_owned(), "x%MISSING%y".to_owned()],
            worker_path: Some("the worker".to_owned()),
            worker_arguments: vec!["\"c d\"".to_owned()],
            ..Description::default()
        };
        let line = argument_line(&description, &settings());
        assert_eq!(split(&line), ["--port=8080", "a", "b", "xy", "the worker", "c d"]);
    }

    #[test]
    fn quotes_and_backslashes_follow_net() {
        for (line, expected) in [
            (r#"a "b c" d"#, vec!["a", "b c", "d"]),
            (r#"a\b "c\\" d\"e"#, vec![r"a\b", r"c\", r#"d"e"#]),
            (r#""a""b""#, vec![r#"a"b"#]),
            (r#""""#, vec![""]),
            ("", vec![]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }

    #[test]
    fn only_a_file_of_the_app_is_joined_to_its_root() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("handler"), "").unwrap();
        let program = |executable: &str| {
            let description = Description { executable: executable.to_owned(), ..Description::default() };
            resolve(&description, root.path(), &settings()).program
        };
        assert_eq!(program("handler"), root.path().join("handler"));
        assert_eq!(program("node"), Path::new("node"));
        assert_eq!(program("/bin/sh"), Path::new("/bin/sh"));
        assert_eq!(program("h%PORT%"), Path::new("h8080"));
    }

    #[test]
    fn the_working_directory_is_the_root_by_default() {
        let resolved = |directory: Option<&str>| {
            let working_directory = directory.map(str::to_owned);
            let description = Description { working_directory, ..Description::default() };
            resolve(&description, Path::new("/app"), &settings()).directory
        };
        assert_eq!(resolved(None), Path::new("/app"));
        assert_eq!(resolved(Some("sub")), Path::new("/app/sub"));
        assert_eq!(resolved(Some("/else")), Path::new("/else"));
    }
}
