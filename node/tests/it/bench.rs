//! `leasehold bench` against a development cluster: that it counts what it did, not how fast.

use super::binary::{Endpoints, words};
use super::tour::dev;

/// So few that it is over soon, and a duration that is never reached.
const FEW: [&str; 8] = ["--ops", "40", "--duration", "50s", "--warm-up", "0s", "--in-flight", "4"];

#[test]
fn every_workload_does_as_many_operations_as_it_is_told() {
    let (_server, cluster) = dev();
    for (workload, kinds) in [
        ("cycle", &["acquire", "release"][..]),
        ("update", &["update"]),
        ("extend", &["extend"]),
        ("read", &["read"]),
        ("local-read", &["local_read"]),
        ("queue", &["acquire", "release"]),
        ("contend", &["acquire", "release"]),
    ] {
        let said = cluster.expect(0, &[&["bench", workload], &FEW[..]].concat()).json();
        let count = |kind: &str| said["latency_us"][kind]["count"].as_u64().unwrap_or(0);
        let done: u64 = kinds.iter().map(|kind| count(kind)).sum();
        let refused = said["errors"]["refused"].as_u64().unwrap_or(0);
        assert_eq!((done + refused, said["done"].as_u64()), (40, Some(done)), "{said}");
        assert!(refused == 0 || workload == "contend", "{said}");
        let fairness = said["jain"].as_f64();
        assert_eq!(fairness.is_some(), ["queue", "contend"].contains(&workload), "{said}");
        // The cluster is one process, found by the port at which it listens.
        #[cfg(target_os = "linux")]
        assert_eq!(said["pids"].as_array().unwrap().len(), 1, "{said}");
    }
}

#[test]
fn an_open_loop_begins_at_its_rate_and_leaves_nothing_held() {
    let (_server, cluster) = dev();
    let rate = ["bench", "--rate", "1000", "--keys", "8"];
    let said = cluster.expect(0, &[&rate[..], &FEW].concat()).json();
    assert_eq!((said["done"].as_u64(), said["rate"].as_u64()), (Some(40), Some(1_000)), "{said}");
    // Forty at a thousand a second take as long as that, however fast the cluster is.
    assert!(said["seconds"].as_f64() > Some(0.038), "{said}");
    let hold = ["bench", "hold", "--keys", "240", "--duration", "1s", "--warm-up", "0s"];
    let said =
        cluster.expect(0, &[&hold[..], &["--in-flight", "4", "--ttl", "4m"]].concat()).json();
    assert_eq!((said["prepared"].as_u64(), said["rate"].as_u64()), (Some(240), Some(3)), "{said}");
    // Long before the leases end by themselves; a quorum knows at once, and this node a little later.
    let left = cluster.until(|_| words("list bench/"), |said| said.out.is_empty());
    assert_eq!(left.code, 0, "{left:?}");
}

#[test]
fn a_load_that_makes_no_sense_is_not_put_on_anybody() {
    let (_server, cluster) = dev();
    for wrong in [
        &["--in-flight", "0"][..],
        &["--keys", "3"],
        &["--rate", "0"],
        &["--connections", "65"],
        &["--threads", "2"],
        &["--expire"],
        &["--home", "nobody"],
        &["--distribution", "zipf", "--exponent", "0"],
        &["--pids", "4194305"],
    ] {
        let said = cluster.expect(2, &[&["bench", "cycle"], wrong].concat());
        assert!(said.json()["error"].as_str().is_some_and(|words| !words.is_empty()), "{said:?}");
    }
    let short = ["bench", "read", "--ttl", "5s", "--duration", "10s"];
    assert!(cluster.expect(2, &short).json()["error"].as_str().unwrap().contains("--ttl"));
}

#[test]
fn nobody_to_put_it_on_is_said_so() {
    let said = Endpoints("127.0.0.1:1".to_owned()).expect(6, &["bench"]);
    assert!(said.json()["error"].as_str().unwrap().contains("127.0.0.1:1"), "{said:?}");
}
