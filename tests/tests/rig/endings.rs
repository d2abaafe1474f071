//! Programs end, whatever a client in them was doing; and a client that was closed has left no key behind.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use leasehold_client::{Client, Options, clock};
use leasehold_node::{DevOptions, dev};
use tokio::process::Command;
use tokio::task::JoinSet;

/// Whoever has not ended by then hangs.
const BOUND: Duration = Duration::from_secs(20);
/// A node has heard by then of what was released: much sooner than a program's leases end.
const SETTLED: Duration = Duration::from_secs(15);
/// How many programs run at the same time.
const TOGETHER: usize = 4;
/// How often each ending is tried on each runtime, unless `LEASEHOLD_ENDINGS` says how many runs there are in all.
const USUAL: usize = 4;

/// How a program ends, and whether it has left no key then.
const ENDINGS: [(&str, bool); 14] = [
    ("return", false),
    ("client-first", false),
    ("guards-first", false),
    ("busy", false),
    ("waiting", false),
    ("panic", false),
    ("task-panics", false),
    ("exit", false),
    ("blocking", false),
    ("vanished", true),
    ("static", true),
    ("beside", true),
    ("close", true),
    ("close-busy", true),
];

struct Run {
    ending: &'static str,
    threads: bool,
    millis: u64,
    left: usize,
    trouble: Option<String>,
}

async fn run(client: Client, endpoints: String, number: usize) -> Run {
    let (ending, frees) = *ENDINGS.get(number % ENDINGS.len()).unwrap();
    let threads = number / ENDINGS.len() % 2 == 1;
    let prefix = format!("endings/{number}");
    let begun = clock::now();
    let child = Command::new(env!("CARGO_BIN_EXE_endings"))
        .args([endpoints.as_str(), &prefix, if threads { "threads" } else { "one" }, ending])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let ended = tokio::time::timeout(BOUND, child.wait_with_output()).await;
    let millis = clock::now().since(begun).as_micros() / 1_000;
    let left = left(&client, &prefix, frees).await;
    let trouble = match ended {
        Err(_) => Some("it did not end and was killed".to_owned()),
        Ok(output) => {
            let output = output.unwrap();
            let expected = if ending == "panic" { 101 } else { 0 };
            if output.status.code() != Some(expected) {
                let words = String::from_utf8_lossy(&output.stderr).into_owned();
                Some(format!("it ended with {}: {words}", output.status))
            } else if frees && left > 0 {
                Some(format!("{left} keys are held although the client was closed"))
            } else {
                None
            }
        }
    };
    Run { ending, threads, millis, left, trouble }
}

/// How many keys are held. One node says so, which may hear of a release later than the one that answered it.
async fn left(client: &Client, prefix: &str, frees: bool) -> usize {
    let deadline = clock::now().after(SETTLED.into());
    loop {
        let left = client.list(format!("{prefix}/")).all().await.unwrap().len();
        if left == 0 || !frees || clock::now() >= deadline {
            return left;
        }
        clock::sleep_until(clock::now().after(Duration::from_millis(50).into())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_end_however_they_do_and_a_closed_client_leaves_no_key() {
    let runs = std::env::var("LEASEHOLD_ENDINGS").ok().map(|runs| runs.parse().unwrap());
    let runs: usize = runs.unwrap_or(USUAL * ENDINGS.len() * 2);
    let cluster = dev(DevOptions { masters: 3, replicas: 0, port: 0 }).await.unwrap();
    let endpoints: Vec<String> =
        cluster.nodes().iter().map(|node| node.client_addr().to_string()).collect();
    let options = Options::new().timeout(Duration::from_secs(20));
    let client = Client::connect(endpoints.clone(), options).await.unwrap();
    let endpoints = endpoints.join(",");
    let (mut under_way, mut told) = (JoinSet::new(), BTreeMap::new());
    let mut troubles = Vec::new();
    let mut next = 0;
    while next < runs || !under_way.is_empty() {
        if next < runs && under_way.len() < TOGETHER {
            under_way.spawn(run(client.clone(), endpoints.clone(), next));
            next += 1;
            continue;
        }
        let run = under_way.join_next().await.unwrap().unwrap();
        let row: &mut (usize, u64, usize) = told.entry((run.ending, run.threads)).or_default();
        (row.0, row.1, row.2) = (row.0 + 1, row.1.max(run.millis), row.2 + run.left);
        if let Some(trouble) = run.trouble {
            let threads = if run.threads { "several threads" } else { "one thread" };
            troubles.push(format!("{} on {threads}: {trouble}", run.ending));
        }
    }
    for ((ending, threads), (count, longest, left)) in told {
        let threads = if threads { "threads" } else { "one" };
        println!("{ending:13} {threads:8} {count:4} runs, longest {longest} ms, {left} keys left");
    }
    assert!(troubles.is_empty(), "{} of {runs}:\n{}", troubles.len(), troubles.join("\n"));
    client.close().await.unwrap();
}
