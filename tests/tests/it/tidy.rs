//! What reviewers should not have to say twice.

use std::fs;
use std::path::{Path, PathBuf};

/// Longer files are hard to hold in the head.
const MOST_LINES: usize = 600;
/// Words that say nothing about what a thing is. Split, so that this file does not find itself.
const BANNED: &[&str] = &[concat!("ut", "ils"), concat!("hel", "pers"), concat!("Man", "ager")];
/// Crates of others, whose names are theirs.
const FOREIGN: &str = concat!("todc_ut", "ils");
/// Folders that are not ours, or not source.
const SKIPPED: &[&str] = &["target", ".git"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every file below `folder` with one of these endings, and its text.
fn files(folder: &Path, endings: &[&str], found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if !SKIPPED.contains(&name) {
                files(&path, endings, found);
            }
        } else if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
}

/// What `complaint` has to say about each line of all files with these endings.
fn complaints(endings: &[&str], complaint: impl Fn(&Path, &str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    files(&root(), endings, &mut found);
    assert!(found.len() > 10, "this test looks in the right place");
    let mut complaints = Vec::new();
    for (path, text) in found {
        for (number, line) in text.lines().enumerate() {
            if let Some(complaint) = complaint(&path, line) {
                complaints.push(format!("{}:{}: {complaint}", path.display(), number + 1));
            }
        }
    }
    complaints
}

fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn names_say_what_things_are() {
    assert_none(&complaints(&[".rs"], |_, line| {
        let code = line.split("//").next().unwrap_or(line).replace(FOREIGN, "");
        let word = BANNED.iter().find(|word| code.contains(**word))?;
        Some(format!("{word}: name it after what it is"))
    }));
}

#[test]
fn functions_are_not_called_get() {
    let prefix = concat!("fn ", "get_");
    assert_none(&complaints(&[".rs"], |_, line| {
        let name = line.split_once(prefix)?.1;
        // As the standard library has it, next to its own `get`.
        (!name.starts_with("mut(")).then(|| String::from("leave the prefix out"))
    }));
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    let allow = concat!("[all", "ow(");
    assert_none(&complaints(&[".rs"], |_, line| {
        line.contains(allow).then(|| String::from("use #[expect(.., reason = \"..\")]"))
    }));
}

#[test]
fn paths_are_not_those_of_one_machine() {
    let places =
        [concat!("/ho", "me/"), concat!("/Us", "ers/"), concat!("/wo", "rk/"), concat!("C:", "\\")];
    let endings = [".rs", ".toml", ".md", ".txt", "run"];
    assert_none(&complaints(&endings, |_, line| {
        let place = places.iter().find(|place| line.contains(**place))?;
        Some(format!("{place}: no such place elsewhere"))
    }));
}

#[test]
fn files_are_short() {
    let mut found = Vec::new();
    files(&root(), &[".rs"], &mut found);
    let long = found.iter().filter(|(_, text)| text.lines().count() > MOST_LINES);
    let long: Vec<String> = long.map(|(path, _)| path.display().to_string()).collect();
    assert!(long.is_empty(), "more than {MOST_LINES} lines: {}", long.join(", "));
}

#[test]
fn the_scenarios_of_the_predecessors_are_tested() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let rows = read("docs/conformance.md");
    let rows =
        rows.lines().filter(|row| row.starts_with("| locker") || row.starts_with("| elixir"));
    let mut count = 0;
    for row in rows {
        let test = row.split('|').nth(3).unwrap().trim().trim_matches('`');
        let (module, name) = test.split_once("::").unwrap_or_else(|| panic!("no test: {row}"));
        let folder = if module == "smoke" { "sim/tests" } else { "node/tests/it" };
        let text = read(&format!("{folder}/{module}.rs"));
        let (before, _) = text
            .split_once(&format!("fn {name}("))
            .unwrap_or_else(|| panic!("{module}.rs has no test {name}"));
        let attribute = before.trim_end().trim_end_matches("async").trim_end();
        let attribute = attribute.rsplit('\n').next().unwrap();
        assert!(attribute.starts_with("#[") && attribute.contains("test"), "{test} is no test");
        count += 1;
    }
    // Fourteen of locker's suite and its property test, and those of servers and state machines.
    assert!(count >= 19, "{count} scenarios");
}
