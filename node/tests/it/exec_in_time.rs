//! The promise of `exec`, measured: its command is gone before anybody elsewhere can have the key.
//!
//! The cluster is stopped while commands run that ignore TERM and have forked. Each of their processes writes the time, from the
//! clock that this test reads as well, over and over. The cluster goes on after their leases, and rivals that
//! have queued all the while acquire the keys. No time that was written may be after an acquisition: this compares the order
//! of two events, and holds however slow the machine is, unless the command really outlived its lease.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use leasehold_client::{Client, Error, Options, clock};
use leasehold_core::Span;
use tokio::task::JoinSet;

use super::binary::{Endpoints, Said};
use super::raw::until;
use super::secure::signal;
use super::tour::dev;

/// So many commands have to have run on without the cluster, in so many rounds at most: on a slow machine one may lose its lease
/// before the cluster is stopped, and that tells nothing.
const ENOUGH: u64 = 12;
const ROUNDS: u64 = 40;
const KEYS: u64 = 4;
const GRACE: &str = "100ms";
const PATIENCE: Duration = Duration::from_secs(60);
/// Two processes of one group that pay no heed to TERM.
const SCRIPT: &str = "trap '' TERM HUP INT; exec 3<&0; \
    beat() { while :; do echo $EPOCHREALTIME; read -t 0.003 <&3; done; }; beat & beat";

/// Microseconds of the clock that `bash` shows.
#[expect(
    clippy::disallowed_methods,
    reason = "what another process wrote is compared with this clock"
)]
fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

fn beats(said: &Said) -> Vec<u64> {
    // The last line may have been cut short by the end of its writer.
    let whole = said.out.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    whole.map(|line| line.replace(['.', ','], "").parse().unwrap()).collect()
}

fn ttl(round: u64, place: u64) -> u64 {
    800 + (round % 5 * KEYS + place) * 20
}

fn start(cluster: &Endpoints, key: &str, ttl: u64) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(["--endpoints", &cluster.0, "exec", key, "--grace", GRACE]);
    command.args(["--ttl", &format!("{ttl}ms"), "--", "bash", "-c", SCRIPT]);
    // `read` waits at this end of a pipe to which nobody writes.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Acquires a key as soon as that can be, and tells when that was known.
async fn rival(client: Client, key: String) -> u64 {
    loop {
        match client.lock(key.as_str()).value("rival").wait(PATIENCE).await {
            Ok(_guard) => return wall(),
            // A node that was stopped may say no at first.
            Err(Error::NotDone(_) | Error::Unknown(_)) => {
                clock::sleep_until(clock::now().after(Span::from_millis(5))).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_is_gone_before_anybody_elsewhere_has_the_key() {
    let (server, cluster) = dev();
    let client =
        Client::connect(cluster.0.split(','), Options::new().timeout(PATIENCE)).await.unwrap();
    let mut ran_on = 0;
    for round in 0..ROUNDS {
        if ran_on >= ENOUGH {
            break;
        }
        let keys: Vec<String> = (0..KEYS).map(|place| format!("job-{round}-{place}")).collect();
        let started =
            keys.iter().zip(0..).map(|(key, place)| start(&cluster, key, ttl(round, place)));
        let mut said = JoinSet::new();
        let mut silence = Vec::new();
        for (key, mut exec) in keys.iter().cloned().zip(started) {
            silence.push(exec.stdin.take());
            said.spawn_blocking(move || (key, Said::of(exec.wait_with_output().unwrap())));
        }
        for key in &keys {
            until("it is held", async || client.read(key.as_str()).await.unwrap()).await;
        }
        let rivals: JoinSet<(String, u64)> = keys
            .iter()
            .map(|key| {
                let (key, rival) = (key.clone(), rival(client.clone(), key.clone()));
                async move { (key, rival.await) }
            })
            .collect();
        // Somewhere between two extensions.
        clock::sleep_until(clock::now().after(Duration::from_millis(37 * (round % 5)).into()))
            .await;
        signal(server.id(), "STOP");
        let stopped = wall();
        // As soon as the shortest of the leases may have ended, so that most have some time left that nobody can extend.
        let shortest = Duration::from_millis(ttl(round, 0));
        clock::sleep_until(clock::now().after(shortest.into())).await;
        signal(server.id(), "CONT");
        let said = said.join_all().await;
        let taken = rivals.join_all().await;
        for (key, said) in &said {
            let (_, taken) = taken.iter().find(|(of, _)| of == key).unwrap();
            let Some(last) = beats(said).into_iter().max() else {
                // It was too late before it had begun.
                assert!(matches!(said.code, 75 | 76), "{key}: {}", said.err);
                continue;
            };
            assert_eq!(said.code, 76, "{key}: {}", said.err);
            ran_on += u64::from(last > stopped);
            assert!(
                last < *taken,
                "{key}: alive {} µs after it was acquired elsewhere",
                last - taken
            );
        }
    }
    assert!(ran_on >= ENOUGH, "{ran_on} ran on without the cluster");
}
