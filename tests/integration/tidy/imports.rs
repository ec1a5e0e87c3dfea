//! The import graph of a crate, file by file, without its tests.
//!
//! Among the modules of one parent, imports form no circle; a module's file and its own children may import each other.
//! Where a file has an ordered list of its modules, which says "Imports point down this list", no circle at all is
//! allowed there. A re-export (`pub use`) is no import: who imports the name imports the file that defines it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{after, assert_none, code, files, read};

/// What a path into the own crate begins with, besides the names of child modules.
const ROOTS: [&str; 3] = ["crate", "self", "super"];

/// A path from the root of the crate, without `crate`.
type ModulePath = Vec<String>;

#[derive(Default)]
struct Module {
    children: BTreeSet<String>,
    reexports: BTreeMap<String, ModulePath>,
    imports: Vec<ModulePath>,
}

/// The modules of a crate by their paths.
struct Graph(BTreeMap<ModulePath, Module>);

impl Graph {
    fn of(source: &str) -> Self {
        Self::new(files(source, ".rs").into_iter().map(|(file, text)| (file[source.len()..].to_owned(), text)))
    }

    /// From the files' paths below the crate's source folder and their texts.
    fn new(files: impl Iterator<Item = (String, String)>) -> Self {
        let mut modules = BTreeMap::new();
        for (file, text) in files {
            let names: ModulePath = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            let path = if names == ["lib"] { Vec::new() } else { names };
            if path != ["main"] && !path.iter().any(|name| name == "tests") {
                modules.insert(path, parse(&text));
            }
        }
        Self(modules)
    }

    /// The module that defines what a path names, where the path stands in `from`.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> ModulePath {
        let mut at = from.to_vec();
        let mut rest = path.iter().peekable();
        while let Some(root) = rest.next_if(|name| ROOTS.contains(&name.as_str())) {
            match root.as_str() {
                "crate" => at.clear(),
                "super" => drop(at.pop()),
                _ => {}
            }
        }
        for name in rest {
            let Some(module) = self.0.get(&at) else { break };
            if module.children.contains(name) {
                at.push(name.clone());
            } else if let Some(target) = module.reexports.get(name).filter(|_| depth < 8) {
                at = self.resolve(&at.clone(), target, depth + 1);
            } else {
                break;
            }
        }
        at
    }

    /// Which file imports from which.
    fn edges(&self) -> BTreeSet<(ModulePath, ModulePath)> {
        let of = |(from, module): (&ModulePath, &Module)| -> Vec<_> {
            module.imports.iter().map(|path| (from.clone(), self.resolve(from, path, 0))).collect()
        };
        self.0.iter().flat_map(of).filter(|(from, to)| from != to).collect()
    }

    /// The circles among the modules of one parent.
    fn circles(&self) -> Vec<String> {
        let siblings = |(from, to): (ModulePath, ModulePath)| {
            let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
            Some((from.get(..=common)?.to_vec(), to.get(..=common)?.to_vec()))
        };
        circles(&self.edges().into_iter().filter_map(siblings).collect())
    }

    /// What contradicts the ordered list of a module's children, in which the module itself stands too.
    fn against_list(&self, parent: &[&str], list: &[&str]) -> Vec<String> {
        let parent: ModulePath = parent.iter().map(|name| (*name).to_owned()).collect();
        let rank = |path: &ModulePath| {
            let name = path.get(parent.len()).or(parent.last()).cloned().unwrap_or_default();
            list.iter().position(|listed| *listed == name).ok_or(name)
        };
        let inside: BTreeSet<_> = self
            .edges()
            .into_iter()
            .filter(|edge| edge.0.starts_with(&parent) && edge.1.starts_with(&parent))
            .collect();
        let mut findings = circles(&inside);
        for (from, to) in &inside {
            match (rank(from), rank(to)) {
                (Ok(above), Ok(below)) if above <= below => {}
                (Err(name), _) | (_, Err(name)) => {
                    findings.push(format!("add {name} to the list of {}", parent.join("::")))
                }
                _ => {
                    findings.push(format!("{} imports {}, which is higher in the list", from.join("::"), to.join("::")))
                }
            }
        }
        let listed = list.iter().filter(|name| **name != parent[parent.len() - 1]);
        let missing = listed.filter(|name| !self.0[&parent].children.contains(**name));
        findings.extend(
            missing
                .map(|name| format!("remove {name} from the list of {}: there is no such module", parent.join("::"))),
        );
        findings.sort();
        findings.dedup();
        findings
    }
}

/// The shortest circle through each node, each circle once.
fn circles(edges: &BTreeSet<(ModulePath, ModulePath)>) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (start, _) in edges {
        let mut importers: BTreeMap<&ModulePath, &ModulePath> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(at) = queue.pop_front() {
            for (_, target) in edges.iter().filter(|(from, _)| from == at) {
                importers.entry(target).or_insert_with(|| {
                    queue.push_back(target);
                    at
                });
            }
        }
        let mut circle = VecDeque::new();
        let mut at = importers.get(start);
        while let Some(importer) = at {
            circle.push_front(importer.join("::"));
            at = importers.get(*importer).filter(|_| *importer != start);
        }
        let first = circle.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(index, _)| index);
        circle.rotate_left(first);
        found.insert(Vec::from(circle).join(" → "));
    }
    found.remove("");
    found.into_iter().map(|circle| format!("{circle} → … is a circle; move down what both need")).collect()
}

/// The code without comments and without modules and imports of tests.
fn product(text: &str) -> String {
    let code = code(text);
    let mut parts = code.split("#[cfg(test)]");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        // The formatter puts the brace that closes a module of the file at the start of a line.
        let end = if part.find('{') < part.find(';') && part.contains('{') { "\n}" } else { ";" };
        out.push_str(part.split_once(end).map_or("", |(_, rest)| rest));
    }
    out
}

/// Where a word ends that is not part of a longer word or path.
fn ends_of<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> {
    after(code, word).map(|rest| code.len() - rest.len())
}

fn parse(text: &str) -> Module {
    let code = product(text);
    let declared = ends_of(&code, "mod ").filter_map(|at| code[at..].split_once(';'));
    let children =
        declared.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(char::is_whitespace)).collect();
    let mut module = Module { children, ..Module::default() };
    let mut expressions = code.clone();
    for start in ends_of(&code, "use ") {
        let end = code[start..].find(';').map_or(code.len(), |length| start + length);
        let mut found = Vec::new();
        tree(&mut &code[start..end], &[], &mut found);
        found.retain(|(path, _)| ROOTS.contains(&path[0].as_str()) || module.children.contains(&path[0]));
        let line = code[..start].rsplit('\n').next().unwrap_or_default();
        if line.trim_start().starts_with("pub") {
            module.reexports.extend(found.into_iter().map(|(path, name)| (name, path)));
        } else {
            module.imports.extend(found.into_iter().map(|(path, _)| path));
        }
        expressions.replace_range(start..end, &" ".repeat(end - start));
    }
    for root in module.children.iter().map(String::as_str).chain(ROOTS) {
        for mut rest in after(&expressions, &format!("{root}::")) {
            let mut found = Vec::new();
            tree(&mut rest, &[root.to_owned()], &mut found);
            module.imports.extend(found.into_iter().map(|(path, _)| path));
        }
    }
    module
}

/// Reads what follows `use`: the paths, each with the name that it gets.
fn tree(text: &mut &str, prefix: &[String], found: &mut Vec<(ModulePath, String)>) {
    let mut path = prefix.to_vec();
    loop {
        *text = text.trim_start();
        if let Some(group) = text.strip_prefix('{') {
            *text = group;
            while !text.is_empty() && !text.starts_with('}') {
                tree(text, &path, found);
                *text = text.trim_start_matches(|one: char| one.is_whitespace() || one == ',');
            }
            *text = text.get(1..).unwrap_or_default();
            return;
        }
        let length = text.find(|one: char| !one.is_alphanumeric() && one != '_').unwrap_or(text.len());
        let (name, rest) = text.split_at(length);
        // A glob, or the end of a path in an expression.
        if name.is_empty() {
            *text = text.get(text.chars().next().map_or(0, char::len_utf8)..).unwrap_or_default();
            found.push((path, "*".to_owned()));
            return;
        }
        if name != "self" || path.is_empty() {
            path.push(name.to_owned());
        }
        *text = rest;
        if let Some(next) = rest.strip_prefix("::") {
            *text = next;
            continue;
        }
        let mut name = path.last().cloned().unwrap_or_default();
        if let Some(alias) = rest.trim_start().strip_prefix("as ") {
            let length = alias.find(|one: char| !one.is_alphanumeric() && one != '_').unwrap_or(alias.len());
            let (alias, rest) = alias.split_at(length);
            name = alias.to_owned();
            *text = rest;
        }
        found.push((path, name));
        return;
    }
}

fn graph(texts: &[(&str, &str)]) -> Graph {
    Graph::new(texts.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())))
}

#[test]
fn circles_of_imports_are_found() {
    let lib = ("lib.rs", "pub mod a;\nmod b;\npub use a::One;");
    let parent =
        "mod c;\nmod d;\npub use self::c::{Two as Deux, Three};\n#[cfg(test)]\nmod tests {\n    use super::d;\n}";
    let parent = ("b.rs", parent);
    for (texts, expected) in [
        (vec![lib, ("a.rs", "use crate::b::{self, Two};"), ("b.rs", "use std::{a::One, fmt};")], ""),
        (vec![lib, ("a.rs", "use crate::b::Two;"), ("b.rs", "fn f() -> crate::One {}")], "a → b → …"),
        (vec![lib, ("a.rs", "use crate::b::c::X;"), ("b.rs", "mod c;"), ("b/c.rs", "use crate::a::Y;")], "a → b → …"),
        (vec![lib, ("a.rs", ""), parent, ("b/c.rs", "use super::{Own, d::X};"), ("b/d.rs", "")], ""),
        (
            vec![lib, ("a.rs", ""), parent, ("b/c.rs", "use super::d::X;"), ("b/d.rs", "use super::Deux;")],
            "b::c → b::d → …",
        ),
        (vec![lib, ("a.rs", ""), ("b.rs", "mod c;\nuse self::c::X;"), ("b/c.rs", "use super::Y;")], ""),
    ] {
        let circles = graph(&texts).circles().join("\n");
        assert!(circles.starts_with(expected) && circles.is_empty() == expected.is_empty(), "{circles}");
    }
}

#[test]
fn ordered_lists_of_modules_allow_no_circle() {
    for (c, d, list, expected) in [
        ("use super::d::X;", "", ["a", "c", "d"], ""),
        ("use super::Own;", "", ["c", "a", "d"], ""),
        ("use super::Own;", "", ["a", "c", "d"], "a::c imports a, which is higher"),
        ("", "use super::c::X;", ["a", "c", "d"], "a::d imports a::c, which is higher"),
        ("", "use super::c::X;", ["a", "c", "e"], "add d to the list of a"),
        ("", "", ["a", "c", "e"], "remove e from the list of a"),
        ("use super::Own;", "fn f() { super::f() }", ["c", "d", "a"], "a → a::d → …"),
    ] {
        let graph =
            graph(&[("lib.rs", "mod a;"), ("a.rs", "mod c;\nmod d;\nfn f() { d::f() }"), ("a/c.rs", c), ("a/d.rs", d)]);
        let findings = graph.against_list(&["a"], &list).join("\n");
        assert!(findings.contains(expected) && findings.is_empty() == expected.is_empty(), "{findings}");
    }
}

#[test]
fn imports_of_the_host_stand_in_point_down_its_list() {
    let host = read("devkit/src/host.rs");
    let lines = host.split("Imports point down this list:").nth(1).unwrap().lines().skip(2);
    let items = lines.take_while(|line| line.starts_with("//! ")).filter_map(|line| line.split('`').nth(1));
    assert_none(&Graph::of("devkit/src/").against_list(&["host"], &items.collect::<Vec<_>>()));
}

#[test]
fn imports_form_no_circle() {
    assert_none(&[Graph::of("src/").circles(), Graph::of("devkit/src/").circles()].concat());
}
