//! The binary's own side: configuration files and exit codes.

use std::path::Path;
use std::process::{Command, Output};

fn leasehold(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(args).envs(environment.iter().copied()).output().unwrap()
}

fn file(dir: &Path, text: &str) -> String {
    let path = dir.join("node.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

const FINE: &str = "[node]\nname = 'a'\ndata_dir = '/nowhere/at/all'\n";

#[test]
fn print_config_says_where_each_value_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), FINE);
    let flags = ["node", "--config", &path, "--print-config", "--set", "timing.max_lease=1m"];
    let output = leasehold(&flags, &[("LEASEHOLD__LIMITS__RECORDS", "5")]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(line("data_dir").ends_with(&format!("# file {path}")), "{text}");
    assert!(line("records").ends_with("# environment LEASEHOLD__LIMITS__RECORDS"), "{text}");
    assert!(line("max_lease = \"1m\"").ends_with("# flag"), "{text}");
    assert!(line("op_timeout").ends_with("# default"), "{text}");
}

#[test]
fn check_only_validates() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), FINE);
    let output = leasehold(&["node", "--config", &path, "--check"], &[]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{output:?}");
    let path = file(dir.path(), "[node]\nname = 'a'\ndata_dirr = 'x'\n");
    let output = leasehold(&["node", "--config", &path, "--check"], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("did you mean node.data_dir?"), "{text}");
}

#[test]
fn what_cannot_start_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), FINE);
    let ports = ["--set", "listen.client=127.0.0.1:0", "--set", "listen.peer=127.0.0.1:0"];
    let output = leasehold(&[&["node", "--config", &path], &ports[..]].concat(), &[]);
    assert_eq!(output.status.code(), Some(6), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().contains("/nowhere/at/all"));
    let output = leasehold(&["node", "--config", "/no/such/file"], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = leasehold(&["dev", "--masters", "0"], &[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
