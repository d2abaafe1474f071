//! The table of hazards in section 13 of `docs/protocol.md`, as far as a machine can check it.

use std::path::{Path, PathBuf};
use std::{fs, io};

/// A row of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// What goes wrong without the rule.
    pub hazard: String,
    /// The rule as builds know it that can take it out, where they do: what is quoted last.
    pub rule: Option<String>,
    /// Files that it is in.
    pub files: Vec<PathBuf>,
    /// Transcripts that go red without it.
    pub transcripts: Vec<String>,
}

/// The project's root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The rows of the table.
///
/// # Errors
///
/// The document cannot be read.
pub fn rows() -> io::Result<Vec<Row>> {
    let text = fs::read_to_string(root().join("docs/protocol.md"))?;
    let section = text.split("\n## 13.").nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    // Of the table's lines the first two are its head.
    Ok(section.lines().filter(|line| line.starts_with('|')).skip(2).map(row).collect())
}

fn row(line: &str) -> Row {
    let mut cells = line.trim_matches('|').split('|').map(str::trim);
    let mut cell = || cells.next().unwrap_or_default();
    let (hazard, rule, place, red) = (cell(), cell(), cell(), cell());
    Row {
        hazard: hazard.to_owned(),
        rule: quoted(rule).last().map(str::to_owned),
        files: quoted(place).filter(|name| name.ends_with(".rs")).map(PathBuf::from).collect(),
        transcripts: quoted(red)
            .filter_map(|name| name.strip_suffix(".txt"))
            .map(str::to_owned)
            .collect(),
    }
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_names_its_rule_and_who_notices() {
        let row = row("| two owners | no vote (`joining`) | `sync.rs` | `restart.txt`, `run` |");
        assert_eq!((row.hazard.as_str(), row.rule.as_deref()), ("two owners", Some("joining")));
        assert_eq!(row.files, [PathBuf::from("sync.rs")]);
        assert_eq!(row.transcripts, ["restart"]);
    }
}
