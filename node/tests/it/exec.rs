//! `leasehold exec` and `leasehold elect`: what becomes of a command, its signals and its key.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout};

use super::binary::{Endpoints, Said};
use super::secure::{signal, wait_for};
use super::tour::dev;

/// Terms that leave a slow machine time to extend.
const LONG: [&str; 4] = ["--ttl", "20s", "--grace", "1s"];
const SHORT: [&str; 4] = ["--ttl", "1s", "--grace", "300ms"];

/// An `exec` or `elect` in the background, whose command is ended with the test.
struct Started {
    child: Option<Child>,
    out: BufReader<ChildStdout>,
}

impl Started {
    fn new(cluster: &Endpoints, args: &[&str]) -> Self {
        let mut child = cluster.spawn(args);
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child: Some(child), out }
    }

    /// Runs a script for `sh` under `job`.
    fn script(cluster: &Endpoints, terms: &[&str], script: &str) -> Self {
        Self::new(
            cluster,
            &[&["exec", "job", "--value", "me"], terms, &["--", "sh", "-c", script]].concat(),
        )
    }

    fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The next line of its standard output.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// How it ended.
    fn said(mut self) -> Said {
        let mut out = String::new();
        while self.out.read_line(&mut out).unwrap() > 0 {}
        let mut said = Said::of(self.child.take().unwrap().wait_with_output().unwrap());
        said.out = out;
        said
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Whether a process has ended, even if nobody has asked how.
fn gone(process: &str) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return true };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, Some('Z' | 'X'))
}

#[test]
fn a_command_runs_with_the_key_and_its_code_is_passed_on() {
    let (_server, cluster) = dev();
    let exec = |command: &[&str]| {
        cluster.run(&[&["exec", "job", "--value", "me"], &LONG[..], &["--"], command].concat())
    };
    let echo = "echo $LEASEHOLD_KEY $LEASEHOLD_VALUE $LEASEHOLD_TTL_MS; exit 7";
    let said = exec(&["sh", "-c", echo]);
    assert_eq!((said.code, said.out.as_str(), said.err.as_str()), (7, "job me 20000\n", ""));
    // The token that it is given is the one that a quorum knows, for as long as it runs.
    let check = "\"$0\" --endpoints \"$1\" fence check job $LEASEHOLD_TOKEN";
    let binary = env!("CARGO_BIN_EXE_leasehold");
    let said = exec(&["sh", "-c", check, binary, &cluster.0]);
    assert_eq!(said.code, 0, "{said:?}");
    cluster.expect(1, &["get", "job"]);

    assert_eq!(exec(&["sh", "-c", "kill -USR2 $$"]).code, 128 + 12);
    let missing = exec(&["no-such-command-anywhere"]);
    assert_eq!(missing.code, 127, "{missing:?}");
    assert!(missing.err.contains("no-such-command-anywhere"), "{missing:?}");
    assert_eq!(exec(&["/"]).code, 126);
    cluster.expect(1, &["get", "job"]);
}

#[test]
fn without_the_key_nothing_runs() {
    let (_server, cluster) = dev();
    for terms in [["--ttl", "10s", "--grace", "5s"], ["--ttl", "9s", "--grace", "20s"]] {
        let args = [&["exec", "job"], &terms[..], &["--", "echo", "ran"]].concat();
        let said = cluster.run(&args);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
        assert!(said.err.contains("less than half"), "{said:?}");
    }
    cluster.expect(0, &["lock", "job", "you", "--ttl", "2m"]);
    for wait in [&[][..], &["--wait", "100ms"]] {
        let said = cluster.run(&[&["exec", "job"], wait, &["--", "echo", "ran"]].concat());
        assert_eq!((said.code, said.out.as_str()), (75, ""), "{said:?}");
    }
    let nowhere = Endpoints("127.0.0.1:1".into());
    let said = nowhere.run(&["--timeout", "200ms", "exec", "job", "--", "echo", "ran"]);
    assert_eq!((said.code, said.out.as_str()), (75, ""), "{said:?}");
    // Told to end while it waits, it does.
    let waiting = Started::new(&cluster, &["exec", "job", "--wait", "5m", "--", "echo", "ran"]);
    cluster.until(
        |_| ["waiters", "job"].map(String::from).into(),
        |said| said.out.lines().any(|line| line.contains("\"all\":1")),
    );
    signal(waiting.id(), "TERM");
    let said = waiting.said();
    assert_eq!((said.code, said.out.as_str()), (128 + 15, ""), "{said:?}");
}

#[test]
fn signals_are_passed_on() {
    let (_server, cluster) = dev();
    let script = "trap 'echo usr1' USR1; trap 'echo hup' HUP; trap 'echo term; exit 3' TERM; \
                  echo ready; while :; do sleep 0.05; done";
    let mut exec = Started::script(&cluster, &LONG, script);
    assert_eq!(exec.line(), "ready");
    for name in ["USR1", "HUP"] {
        signal(exec.id(), name);
        assert_eq!(exec.line(), name.to_lowercase());
    }
    signal(exec.id(), "TERM");
    assert_eq!(exec.line(), "term");
    assert_eq!(exec.said().code, 3);
    cluster.expect(1, &["get", "job"]);
}

#[test]
fn a_command_dies_with_its_parent() {
    let (_server, cluster) = dev();
    let mut exec = Started::script(&cluster, &LONG, "trap '' TERM; echo $$; exec sleep 100");
    let command = exec.line();
    assert!(!gone(&command));
    signal(exec.id(), "KILL");
    wait_for("the command is gone", || gone(&command));
}

#[test]
fn what_a_command_leaves_behind_goes_with_its_key() {
    let (_server, cluster) = dev();
    let mut exec = Started::script(&cluster, &LONG, "sleep 100 >/dev/null & echo $!");
    let left = exec.line();
    let said = exec.said();
    assert_eq!((said.code, said.err.as_str()), (0, ""), "{said:?}");
    wait_for("what it left is gone", || gone(&left));
    cluster.expect(1, &["get", "job"]);
}

#[test]
fn a_command_is_told_to_end_when_the_cluster_is_silent() {
    let (server, cluster) = dev();
    let script = "trap 'echo told; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let mut exec = Started::script(&cluster, &SHORT, script);
    assert_eq!(exec.line(), "ready");
    signal(server.id(), "STOP");
    let said = exec.said();
    assert_eq!((said.code, said.out.as_str()), (76, "told\n"), "{said:?}");
    assert!(said.err.contains("lost job") && said.err.contains("was ended"), "{said:?}");
    signal(server.id(), "CONT");
}

#[test]
fn a_key_that_is_taken_away_takes_the_command_with_it() {
    let (_server, cluster) = dev();
    let mut exec = Started::script(&cluster, &SHORT, "trap '' TERM; echo $$; sleep 100");
    let command = exec.line();
    cluster.expect(0, &["release", "job", "--force"]);
    let said = exec.said();
    assert_eq!(said.code, 76, "{said:?}");
    assert!(said.err.contains("held elsewhere"), "{said:?}");
    assert!(gone(&command));
}

#[test]
fn a_parent_that_was_stopped_past_the_lease_kills_at_once_and_says_so() {
    let (_server, cluster) = dev();
    let mut exec = Started::script(&cluster, &SHORT, "trap '' TERM; echo $$; sleep 100 & wait");
    let command = exec.line();
    signal(exec.id(), "STOP");
    // Somebody else has the key, and nobody could do anything about it.
    cluster.expect(0, &["lock", "job", "you", "--ttl", "2m", "--wait", "1m"]);
    signal(exec.id(), "CONT");
    let said = exec.said();
    assert_eq!(said.code, 76, "{said:?}");
    assert!(said.err.contains("may have been held elsewhere"), "{said:?}");
    assert!(gone(&command));
    // And what is not its own it does not release.
    let holder = cluster.expect(0, &["get", "job"]);
    assert_eq!(holder.json()["value"], "you");
}

#[test]
fn leadership_passes_from_candidate_to_candidate() {
    let (_server, cluster) = dev();
    let mut one = Started::new(&cluster, &["elect", "boss", "one"]);
    let line = one.line();
    assert!(line.starts_with("token ") && line.ends_with("value one, leading"), "{line}");
    assert_eq!(cluster.expect(0, &["get", "boss"]).json()["value"], "one");
    let hasty = cluster.run(&["elect", "boss", "three", "--wait", "100ms", "--", "echo", "ran"]);
    assert_eq!((hasty.code, hasty.out.as_str()), (75, ""), "{hasty:?}");
    let script = "echo $LEASEHOLD_KEY $LEASEHOLD_VALUE; exit 5";
    let mut two = Started::new(&cluster, &["elect", "boss", "two", "--", "sh", "-c", script]);
    cluster.until(
        |_| ["waiters", "boss"].map(String::from).into(),
        |said| said.out.lines().any(|line| line.contains("\"all\":1")),
    );
    signal(one.id(), "TERM");
    assert_eq!(one.said().code, 0);
    assert_eq!(two.line(), "boss two");
    assert_eq!(two.said().code, 5);
    cluster.expect(1, &["get", "boss"]);
}

#[test]
fn a_leader_of_a_silent_cluster_says_that_it_leads_no_more() {
    let (server, cluster) = dev();
    let mut leader = Started::new(&cluster, &[&["elect", "boss", "one"], &SHORT[..]].concat());
    assert!(leader.line().ends_with("leading"));
    signal(server.id(), "STOP");
    let said = leader.said();
    assert_eq!(said.code, 76, "{said:?}");
    assert!(said.err.contains("lost boss"), "{said:?}");
    signal(server.id(), "CONT");
}
