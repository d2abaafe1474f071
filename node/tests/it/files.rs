//! What a node finds in its directory: the lock of another, a file that is torn or of somebody else, no way to write. It says
//! which, leaves everything as it was, and does not start.

use std::path::PathBuf;
use std::process::Command;

use super::binary::{Said, Server, words};
use super::secure::wait_for;
use super::trio::{Trio, standing};

const NODE_FILE: &str = "node";

fn folder(trio: &Trio, name: &str) -> PathBuf {
    trio.folder().join(format!("data-{name}"))
}

/// Starts a node that cannot be started, and gives back what it complains of.
#[track_caller]
fn refused(trio: &Trio, name: &str, flags: &[&str]) -> String {
    let config = trio.path(&format!("{name}.toml"));
    let args = [&["node", "--config", &config], flags].concat();
    let log = trio.folder().join("refused.log");
    drop(std::fs::remove_file(&log));
    let mut node = Server::logging(&args, &log, &[]);
    wait_for("it gives up", || node.ended().is_some());
    let why = std::fs::read_to_string(&log).unwrap();
    assert_eq!(node.end(), Some(6), "{why}");
    why
}

#[test]
fn one_directory_serves_one_process_and_one_name() {
    let trio = Trio::new();
    let a = trio.start("a");
    wait_for("the node file", || folder(&trio, "a").join(NODE_FILE).exists());
    let elsewhere = words(
        "--set listen.client=127.0.0.1:0 --set listen.peer=127.0.0.1:0 --set listen.http=127.0.0.1:0",
    );
    let elsewhere: Vec<&str> = elsewhere.iter().map(|word| &**word).collect();
    let why = refused(&trio, "a", &elsewhere);
    assert!(why.contains("data-a") && why.contains("another"), "{why}");
    // The one that has it goes on, and another can have it after that.
    trio.until("status", |said| standing(said, "a").is_some());
    a.kill();
    let theirs = format!("node.data_dir={}", folder(&trio, "a").display());
    let why = refused(&trio, "b", &[&elsewhere[..], &["--set", &theirs]].concat());
    assert!(why.contains("`a`") && why.contains("`b`"), "{why}");
    let _a = trio.start("a");
    trio.until("status", |said| standing(said, "a").is_some());
}

#[test]
fn a_torn_or_foreign_file_is_no_licence_to_vote() {
    let trio = Trio::new();
    let servers = trio.found();
    let token = trio.expect(0, "ops", "lock job me --ttl 55s").token();
    drop(servers);
    let file = folder(&trio, "a").join(NODE_FILE);
    let whole = std::fs::read(&file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    let half = &whole[..whole.len() / 2];
    for found in [half, &[], b"something else entirely", &flipped] {
        std::fs::write(&file, found).unwrap();
        let why = refused(&trio, "a", &[]);
        assert!(why.contains("data-a/node"), "{why}");
        assert_eq!(std::fs::read(&file).unwrap(), found, "it is left for whoever looks into it");
    }
    // As it was, it is the node that it was.
    std::fs::write(&file, &whole).unwrap();
    let _servers = ["a", "b", "c"].map(|name| trio.start(name));
    trio.until("status", |said| standing(said, "a").as_deref() == Some("joining"));
    // All of them were away: nobody votes before what was promised is over.
    let said = trio.expect(3, "ops", "lock job you --timeout 2s");
    assert!(token > 0 && said.json()["outcome"] == "not_done", "{said:?}");
}

#[test]
fn a_directory_that_is_read_only_is_named() {
    let trio = Trio::new();
    drop(trio.found());
    let script = "mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"";
    let data = folder(&trio, "a");
    let inside = |command: &[&str]| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        unshare.arg(&data).args(command).output()
    };
    let Ok(probe) = inside(&["true"]) else { return eprintln!("SKIPPED: there is no unshare") };
    if !probe.status.success() {
        return eprintln!("SKIPPED: no process may have a mount namespace here: {probe:?}");
    }
    let (binary, config) = (env!("CARGO_BIN_EXE_leasehold"), trio.path("a.toml"));
    let said = Said::of(inside(&[binary, "node", "--config", &config]).unwrap());
    assert_eq!(said.code, 6, "{said:?}");
    assert!(
        said.err.contains("data-a") && said.err.to_lowercase().contains("read-only"),
        "{said:?}"
    );
}
