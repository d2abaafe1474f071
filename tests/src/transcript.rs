//! Transcript files: blocks of commands, a line of dashes, and what the cluster said.
//!
//! A block ends at the first empty line after its dashes. Everything before the dashes is kept as it is: commands,
//! and comments, which start with `#`. What follows them is compared with what the cluster says now, or, with
//! `LEASEHOLD_REWRITE` set, replaced by it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use crate::stage::Stage;

const DASHES: &str = "----";

/// Where the transcripts are.
#[must_use]
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts")
}

/// All transcripts.
///
/// # Errors
///
/// Their folder cannot be read.
pub fn all() -> io::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder()]);
    while let Some(folder) = folders.pop() {
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}

/// What a transcript is called: its path in the folder, without an ending.
#[must_use]
pub fn name(path: &Path) -> String {
    path.strip_prefix(folder()).unwrap_or(path).with_extension("").display().to_string()
}

/// Commands with their comments, and what the cluster said about them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    input: String,
    output: Option<String>,
}

/// Plays a file, and compares what is said with what it says, or rewrites it.
///
/// # Errors
///
/// The first difference, or the command that makes no sense, in words.
pub fn play(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    let (mut stage, mut rewritten) = (Stage::default(), String::new());
    let mut difference = None;
    for block in parse(&text) {
        rewritten.push_str(&block.input);
        let Some(expected) = block.output else { continue };
        let mut output = String::new();
        for line in block.input.lines() {
            let said = stage.play(line).map_err(|error| format!("{shown}: {line}: {error}"))?;
            output.push_str(&said);
        }
        if output.is_empty() {
            output.push_str("ok\n");
        }
        if output != expected {
            let (input, wanted) = (block.input.trim(), expected.trim_end());
            let got = output.trim_end();
            difference.get_or_insert_with(|| {
                format!("{shown}:\n\n{input}\n\nused to say\n\n{wanted}\n\nbut now\n\n{got}\n")
            });
        }
        _ = write!(rewritten, "{DASHES}\n{output}\n");
    }
    if env::var_os("LEASEHOLD_REWRITE").is_some() {
        let rewritten = format!("{}\n", rewritten.trim_end());
        return fs::write(path, rewritten).map_err(|error| format!("{shown}: {error}"));
    }
    difference.map_or(Ok(()), Err)
}

/// The blocks of a file; the last one may be nothing but a comment.
fn parse(text: &str) -> Vec<Block> {
    let mut blocks = vec![];
    let mut block = Block::default();
    for line in text.lines() {
        match &mut block.output {
            None if line == DASHES => block.output = Some(String::new()),
            None => _ = writeln!(block.input, "{line}"),
            Some(_) if line.is_empty() => blocks.push(std::mem::take(&mut block)),
            Some(output) => _ = writeln!(output, "{line}"),
        }
    }
    blocks.push(block);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_comments_commands_and_what_was_said() {
        let blocks = parse("# One.\n\ncluster a\n----\nok\n\n# Two.\nadvance 1s\n----\nx\ny\n");
        assert_eq!(blocks.len(), 2);
        assert_eq!(blocks[0].input, "# One.\n\ncluster a\n");
        assert_eq!(blocks[1].output.as_deref(), Some("x\ny\n"));
    }

    #[test]
    fn what_is_not_said_any_more_is_a_difference() {
        let path = env::temp_dir().join(format!("leasehold-transcript-{}", std::process::id()));
        fs::write(&path, "cluster a founded\n----\nok\n\nstatus a\n----\na: asleep\n").unwrap();
        let played = play(&path);
        fs::remove_file(&path).unwrap();
        // With the variable set the file was rewritten instead.
        assert!(played.is_err() || env::var_os("LEASEHOLD_REWRITE").is_some());
    }
}
