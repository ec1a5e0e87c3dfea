//! References to numbered steps: only those of `docs/deploy-functions.md`, section *With az*, are cited.

use super::{assert_none, pages, prose, read};

const PAGE: &str = "docs/deploy-functions.md";
/// How another page names a step.
const LINK: &str = "of [deploy-functions.md](deploy-functions.md#with-az)";

/// The text of each step, in lower case; the first is step 1.
fn steps(page: &str) -> Vec<String> {
    let section = page.split("\n## With az\n").nth(1).and_then(|rest| rest.split("\n## ").next()).unwrap_or_default();
    let items = section.lines().filter_map(|line| line.split_once(". "));
    let numbered = items.filter(|(number, _)| number.parse::<usize>().is_ok());
    numbered.map(|(_, text)| text.to_lowercase()).collect()
}

/// The numbers that a text begins with, as in `3`, `3 and 5` or `4 to 7`, and the rest.
fn numbers(text: &str) -> (Vec<usize>, &str) {
    let number = |text: &str| {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        text.get(..length).and_then(|digits| digits.parse().ok()).map(|number| (number, length))
    };
    let Some((first, length)) = number(text) else { return (vec![], text) };
    let rest = &text[length..];
    for between in [" to ", " and "] {
        if let Some(after) = rest.strip_prefix(between)
            && let Some((last, length)) = number(after)
        {
            return (vec![first, last], &after[length..]);
        }
    }
    (vec![first], rest)
}

/// What is wrong with a reference, which another page must link and whose step it must quote.
fn fault(numbers: &[usize], rest: &str, own: bool, steps: &[String]) -> Option<String> {
    if let Some(number) = numbers.iter().find(|number| !(1..=steps.len()).contains(number)) {
        return Some(format!("there is no step {number} in {PAGE}"));
    }
    let [number] = *numbers else { return (!own && !rest.starts_with(&format!(" {LINK}"))).then(|| link(numbers)) };
    if own {
        return None;
    }
    let Some(quoted) = rest.strip_prefix(&format!(" {LINK} (*")) else { return Some(link(numbers)) };
    let words = quoted.split("*)").next().unwrap_or_default();
    let step = &steps[number - 1];
    (words.is_empty() || !step.starts_with(words)).then(|| format!("step {number} begins with {step:?}, not {words:?}"))
}

fn link(numbers: &[usize]) -> String {
    format!("write step {numbers:?} {LINK}, and after a single step (*its first words*)")
}

fn findings(path: &str, text: &str, steps: &[String]) -> Vec<String> {
    let lines: Vec<&str> = prose(text).flat_map(|(_, line)| line.split_whitespace()).collect();
    let text = lines.join(" ").to_lowercase();
    let parts = text.split("step ").skip(1).chain(text.split("steps ").skip(1)).map(numbers);
    let references = parts.filter(|(numbers, _)| !numbers.is_empty());
    let faults = references.filter_map(|(numbers, rest)| fault(&numbers, rest, path == PAGE, steps));
    faults.map(|fault| format!("{path}: {fault}")).collect()
}

#[test]
fn references_to_steps_that_do_not_exist_or_say_something_else_are_found() {
    let page = "# Page\n\n## With az\n\n1. Sign in, then\n   2. what\n2. Create it.\n\n## Other\n\n1. See step 2.\n";
    let steps = steps(page);
    assert_eq!(steps, ["sign in, then", "create it."]);
    let of = |path: &str, text: &str| findings(path, text, &steps);
    assert_eq!(of(PAGE, page), [""; 0]);
    assert_eq!(
        of(PAGE, "Repeat\nstep 3 and Steps 1 to 2."),
        ["docs/deploy-functions.md: there is no step 3 in docs/deploy-functions.md"]
    );
    let good = format!("Step 2 {LINK} (*create it*), steps 1 and 2\n{LINK}, and the next steps.\n```sh\nstep 9\n```");
    assert_eq!(of("docs/a.md", &good), [""; 0]);
    for bad in [
        "As in step 2:",
        "step 2 of deploy-functions.md",
        &good.replace("(*create", "(*make"),
        &good.replace(" 2\n", " 3\n"),
    ] {
        assert_eq!(of("docs/a.md", bad).len(), 1, "{bad}");
    }
}

#[test]
fn references_to_steps_resolve() {
    let steps = steps(&read(PAGE));
    assert!(steps.len() > 5, "{PAGE} has its steps in the section With az");
    let all: Vec<String> = pages().iter().flat_map(|(path, text)| findings(path, text, &steps)).collect();
    assert_none(&all);
}
