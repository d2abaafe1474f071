//! Wall clocks that jump: a node whose time of day is wrong, and changes, is counted and logged, and nobody loses anything.
//!
//! The node runs with a small library before the C library's, which shifts its time of day by what a file says. The
//! library is made here with the C compiler that links Rust programs.

use std::path::Path;
use std::process::Command;

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
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    const char *path = getenv("SHIFT_BY");
    if (result == 0 && id == CLOCK_REALTIME && path) {
        FILE *file = fopen(path, "r");
        long by = 0;
        if (file) {
            if (fscanf(file, "%ld", &by) == 1) at->tv_sec += by;
            fclose(file);
        }
    }
    return result;
}
"#;

/// The library, if there is a compiler.
fn library(folder: &Path) -> Option<String> {
    let (source, made) = (folder.join("shift.c"), folder.join("shift.so"));
    std::fs::write(&source, SHIFT).unwrap();
    let made_it = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&made)
        .arg(&source)
        .arg("-ldl")
        .status();
    made_it.is_ok_and(|status| status.success()).then(|| made.to_str().unwrap().to_owned())
}

/// Writes by how many seconds the time of day is off; whole at every moment.
fn shift(path: &str, by: i64) {
    let next = format!("{path}.next");
    std::fs::write(&next, by.to_string()).unwrap();
    std::fs::rename(next, path).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_of_day_that_jumps_is_counted_and_changes_nothing() {
    let trio = Trio::new();
    let Some(library) = library(trio.folder()) else {
        eprintln!("SKIPPED: there is no C compiler `cc`, so no node's time of day can be shifted");
        return;
    };
    let by = trio.path("shift");
    shift(&by, 0);
    let environment = [("LD_PRELOAD", library.as_str()), ("SHIFT_BY", by.as_str())];
    let a = trio.start_in("a", &environment);
    let (_b, c) = (trio.start("b"), trio.start("c"));
    trio.until("init", |said| said.code == 0);
    let all_vote = || {
        trio.until("status", |said| {
            NAMES.iter().all(|name| standing(said, name).as_deref() == Some("active"))
        })
    };
    all_vote();
    let token = trio.expect(0, "ops", "lock job me --ttl 55s").token();
    let mut web = trio.web(0, "ops").await;
    for (count, seconds) in [(1.0, 3_600), (2.0, -DAY)] {
        shift(&by, seconds);
        until("the jump is counted", async || {
            let page = web.get("/metrics").await.text;
            let line = page
                .lines()
                .find_map(|line| line.strip_prefix("leasehold_wall_clock_jumps_total "));
            (line.unwrap().parse::<f64>().unwrap() >= count).then_some(())
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
    all_vote();
    c.kill();
    wait_for("a quorum with it", || {
        trio.run_at(0, "ops", &format!("release job --token {token}")).code == 0
    });
    let next = trio.run_at(0, "ops", "lock job you --ttl 50s");
    assert!(next.code == 0 && next.token() > token, "{next:?} after {token}");
}
