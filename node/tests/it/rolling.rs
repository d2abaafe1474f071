//! A rolling restart as an operator does it, under the load of `leasehold bench`: one node after the other, the next one only
//! when the last one says that it is ready.

use std::process::Child;

use serde_json::Value;

use super::binary::Said;
use super::raw::until;
use super::secure::signal;
use super::trio::{NAMES, Trio};

/// Keys that are held and extended throughout.
const HELD: u64 = 300;
/// What callers that allow ten seconds may be told: that certainly nothing was done.
const RETRIABLE: [&str; 4] = ["no_quorum", "too_late", "not_done", "unreachable"];

fn load(trio: &Trio, workload: &str) -> Child {
    let more = "--duration 5m --warm-up 0s --timeout 10s --ttl 30s --quiet --json";
    let args = super::binary::words(&format!("bench {workload} {more}"));
    let args = [args, trio.who("ops")].concat();
    trio.endpoints().spawn(&args.iter().map(|arg| &**arg).collect::<Vec<_>>())
}

/// Ends a load, and gives back what it measured.
fn ended(load: Child) -> Value {
    signal(load.id(), "INT");
    let said = Said::of(load.wait_with_output().unwrap());
    assert_eq!(said.code, 0, "{said:?}");
    said.json()
}

fn errors(said: &Value) -> Vec<(&str, u64)> {
    let all = said["errors"].as_object().unwrap().iter();
    all.map(|(why, count)| (why.as_str(), count.as_u64().unwrap())).collect()
}

/// What the cluster has done in all, by what its nodes count, without those that are not there.
async fn done(trio: &Trio, nodes: &[usize], op: &str) -> f64 {
    let wanted = format!("leasehold_requests_total{{op=\"{op}\",outcome=\"done\"}} ");
    let mut sum = 0.0;
    for node in nodes {
        let page = trio.web(*node, "ops").await.get("/metrics").await.text;
        let count = page.lines().find_map(|line| line.strip_prefix(&wanted));
        sum += count.map_or(0.0, |count| count.parse::<f64>().unwrap());
    }
    sum
}

async fn works(trio: &Trio, nodes: &[usize]) {
    for op in ["lock", "extend"] {
        let before = done(trio, nodes, op).await;
        until("some work is done", async || {
            (done(trio, nodes, op).await > before + 50.0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_bench_load_a_rolling_restart_loses_no_lease_and_leaves_nobody_in_doubt() {
    let trio = Trio::new();
    let mut servers: Vec<_> = trio.found().into_iter().map(Some).collect();
    let hold = load(&trio, &format!("hold --prefix hold/ --keys {HELD} --in-flight 20"));
    let cycle = load(&trio, "cycle --prefix cycle/ --in-flight 8 --connections 2 --rate 400");
    until("everything is held", async || {
        let shown = trio.web(0, "ops").await.get("/v1/summary").await.json();
        (shown["leases"].as_u64().unwrap() >= HELD).then_some(())
    })
    .await;
    for (place, name) in NAMES.iter().enumerate() {
        works(&trio, &[0, 1, 2]).await;
        let server = servers[place].take().unwrap();
        signal(server.id(), "TERM");
        assert_eq!(server.end(), Some(0), "{}", trio.log(name));
        let others: Vec<usize> = (0..3).filter(|other| *other != place).collect();
        works(&trio, &others).await;
        servers[place] = Some(trio.start(name));
        until("it is ready", async || {
            // It listens only after a moment.
            tokio::net::TcpStream::connect(&trio.https()[place]).await.ok()?;
            let ready = trio.web(place, "ops").await.get("/readyz").await;
            (ready.status == 200).then_some(())
        })
        .await;
    }
    works(&trio, &[0, 1, 2]).await;
    let (hold, cycle) = (ended(hold), ended(cycle));
    // A lease that was lost would be refused its next extension, and acquired anew.
    assert_eq!(hold["prepared"].as_u64(), Some(HELD), "{hold}");
    assert!(
        hold["latency_us"]["acquire"]["count"].as_u64().is_none_or(|count| count == 0),
        "{hold}"
    );
    for said in [&hold, &cycle] {
        let other: Vec<_> =
            errors(said).into_iter().filter(|(why, _)| !RETRIABLE.contains(why)).collect();
        assert_eq!(other, [], "{said}");
        assert!(said["done"].as_u64().unwrap() > 150, "{said}");
        println!(
            "{}: {} done, {:?} to be tried again, longest {} µs",
            said["workload"],
            said["done"],
            errors(said),
            said["latency_us"]
                .as_object()
                .unwrap()
                .values()
                .map(|kind| kind["max"].as_u64().unwrap())
                .max()
                .unwrap(),
        );
    }
}
