//! Clocks that jump: a node whose time of day is wrong and changes, a machine that was suspended, a clock that goes back. It is
//! counted and logged, and nobody believes in what is over.
//!
//! Processes run with a small library before the C library's, which shifts their clocks by what files say. The library is
//! made here with the C compiler that links Rust programs.

use std::path::Path;
use std::process::{Command, Stdio};

use super::binary::{Said, words};
use super::raw::until;
use super::secure::wait_for;
use super::trio::{NAMES, Trio, standing};

const DAY: i64 = 86_400;
const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
static long shift(const char *name) {
    const char *path = getenv(name);
    FILE *file = path ? fopen(path, "r") : 0;
    long by = 0;
    if (file) {
        if (fscanf(file, "%ld", &by) != 1) by = 0;
        fclose(file);
    }
    return by;
}
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (result == 0 && id == CLOCK_REALTIME) at->tv_sec += shift("SHIFT_BY");
    if (result == 0 && id == CLOCK_BOOTTIME) at->tv_sec += shift("BOOT_BY");
    return result;
}
"#;

/// The library, if there is a compiler.
#[expect(clippy::print_stderr, reason = "nobody should believe that this was tested")]
fn library(folder: &Path) -> Option<String> {
    let (source, made) = (folder.join("shift.c"), folder.join("shift.so"));
    std::fs::write(&source, SHIFT).unwrap();
    let made_it = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&made)
        .arg(&source)
        .arg("-ldl")
        .status();
    if !made_it.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: there is no C compiler `cc`, so no process's clocks can be shifted");
        return None;
    }
    Some(made.to_str().unwrap().to_owned())
}

/// A counter of a node.
async fn count(trio: &Trio, place: usize, counter: &str) -> f64 {
    let page = trio.web(place, "ops").await.get("/metrics").await.text;
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("leasehold_{counter} ")));
    line.unwrap_or_else(|| panic!("no {counter} in {page}")).parse().unwrap()
}

fn all_vote(trio: &Trio) {
    trio.until("status", |said| {
        NAMES.iter().all(|name| standing(said, name).as_deref() == Some("active"))
    });
}

/// Writes by how many seconds a clock is off; whole at every moment.
fn shift(path: &str, by: i64) {
    let next = format!("{path}.next");
    std::fs::write(&next, by.to_string()).unwrap();
    std::fs::rename(next, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_of_day_that_jumps_is_counted_and_changes_nothing() {
    let trio = Trio::new();
    let Some(library) = library(trio.folder()) else { return };
    let by = trio.path("shift");
    shift(&by, 0);
    let environment = [("LD_PRELOAD", library.as_str()), ("SHIFT_BY", by.as_str())];
    let a = trio.start_in("a", &environment);
    let (_b, c) = (trio.start("b"), trio.start("c"));
    trio.until("init", |said| said.code == 0);
    all_vote(&trio);
    let token = trio.expect(0, "ops", "lock job me --ttl 55s").token();
    let mut web = trio.web(0, "ops").await;
    for (count, seconds) in [(1.0, 3_600), (2.0, -DAY)] {
        shift(&by, seconds);
        until("the jump is counted", async || {
            (self::count(&trio, 0, "wall_clock_jumps_total").await >= count).then_some(())
        })
        .await;
        assert!(trio.log("a").contains("the wall clock jumped by"), "{}", trio.log("a"));
        // Its lease neither ended nor became longer, and it works with the others.
        let got = web.get("/v1/get?key=job").await.json();
        assert_eq!(got["holder"]["token"].as_u64(), Some(token), "{got}");
        assert!(got["holder"]["remaining_ms"].as_u64().unwrap() <= 55_000, "{got}");
        let other = trio.run_at(0, "ops", &format!("lock other/{count} me"));
        assert_eq!(other.code, 0, "{other:?}");
    }
    // A master that starts a day behind has to have its ballots heard all the same, and fencing tokens go on growing.
    a.kill();
    let _a = trio.start_in("a", &environment);
    all_vote(&trio);
    c.kill();
    wait_for("a quorum with it", || {
        trio.run_at(0, "ops", &format!("release job --token {token}")).code == 0
    });
    let next = trio.run_at(0, "ops", "lock job you --ttl 50s");
    assert!(next.code == 0 && next.token() > token, "{next:?} after {token}");
}

/// All of them slept, and none of them noticed but by the clock: what was held is over, for whoever held it, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_suspend_nobody_believes_in_what_ended_meanwhile() {
    let trio = Trio::new();
    let Some(library) = library(trio.folder()) else { return };
    let by = trio.path("shift");
    shift(&by, 0);
    let environment = [("LD_PRELOAD", library.as_str()), ("BOOT_BY", by.as_str())];
    let _servers = NAMES.map(|name| trio.start_in(name, &environment));
    trio.until("init", |said| said.code == 0);
    all_vote(&trio);
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(["--endpoints", &trio.clients().join(",")]).args(trio.who("ops"));
    // It reads from a pipe that nobody writes to.
    command.args(words("exec job --value me --ttl 30s -- cat"));
    command.envs(environment).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut sleeper = command.spawn().unwrap();
    let input = sleeper.stdin.take();
    let token = trio.until("get job", |said| said.code == 0).token();
    shift(&by, 3_600);
    wait_for("the command's end", || sleeper.try_wait().unwrap().is_some());
    let said = Said::of(sleeper.wait_with_output().unwrap());
    assert_eq!(said.code, 76, "{said:?}");
    drop(input);
    for (place, name) in NAMES.iter().enumerate() {
        let words = "this process stood still for";
        wait_for(words, || trio.log(name).contains(words));
        assert!(count(&trio, place, "pauses_total").await >= 1.0);
    }
    let next = trio.until("lock job you --ttl 50s", |said| said.code == 0);
    assert!(next.token() > token, "{next:?} after {token}");
}

/// A clock that goes back is taken to stand still until it has caught up, and that is said once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_back_is_counted_and_takes_no_lease_with_it() {
    let trio = Trio::new();
    let Some(library) = library(trio.folder()) else { return };
    let by = trio.path("shift");
    shift(&by, 0);
    let environment = [("LD_PRELOAD", library.as_str()), ("BOOT_BY", by.as_str())];
    let _servers = [trio.start_in("a", &environment), trio.start("b"), trio.start("c")];
    trio.until("init", |said| said.code == 0);
    all_vote(&trio);
    let token = trio.expect(0, "ops", "lock job me --ttl 55s").token();
    shift(&by, -3);
    let counter = "clock_went_back_total";
    until("it is counted", async || (count(&trio, 0, counter).await >= 1.0).then_some(())).await;
    // The others go on, and so does it when it has caught up.
    assert_eq!(trio.run_at(1, "ops", "lock other me").code, 0);
    all_vote(&trio);
    wait_for("it works again", || trio.run_at(0, "ops", "lock another me").code == 0);
    assert_eq!(trio.run_at(0, "ops", "get job").token(), token);
    assert_eq!(trio.log("a").matches("the monotonic clock went back").count(), 1);
    assert!(count(&trio, 0, counter).await < 2.0);
}
