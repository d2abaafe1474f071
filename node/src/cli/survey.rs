//! `leasehold lag` and `leasehold summary`: the cluster in a few numbers.

use std::process::ExitCode;
use std::time::Duration;

use leasehold_client::{Client, Error, NodeReport, Standing, Status, clock};
use leasehold_core::Lag;
use leasehold_node::http::PROBES;
use serde_json::{Value, json};

use super::meant::{Action, Meant, own_value};
use super::render::{self, Shown};
use super::tables;
use super::typed::{ClientCommand, Global};
use super::words::{self, text, time};
use super::{access, json};

/// A probe that is not released ends soon by itself.
const PROBE: Duration = Duration::from_secs(5);

/// What is to be surveyed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Survey {
    /// How long a lock takes, and how far replicas are behind.
    Lag,
    /// How much there is of everything.
    Summary,
}

impl Survey {
    const fn name(self) -> &'static str {
        match self {
            Self::Lag => "lag",
            Self::Summary => "summary",
        }
    }
}

/// Takes it, and shows what came of it.
pub(crate) fn run(global: &Global, survey: Survey) -> ExitCode {
    let op = survey.name();
    let shown = match Meant::new(global, ClientCommand::Status)
        .and_then(|meant| Ok((meant, access::options(global)?)))
    {
        Ok((meant, options)) => {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    let options = options.timeout(meant.timeout).direct(false);
                    let taken = runtime.block_on(async {
                        let client = Client::connect(meant.endpoints.clone(), options).await?;
                        match survey {
                            Survey::Lag => lag(&client).await,
                            Survey::Summary => summary(&client).await,
                        }
                    });
                    match taken {
                        Ok((object, words)) => {
                            let out = if global.json { format!("{object}\n") } else { words };
                            Shown { out, ..Shown::default() }
                        }
                        Err(error) => failed(op, &error, global),
                    }
                }
                Err(error) => render::broken(op, &format!("cannot start: {error}"), global),
            }
        }
        Err(wrong) => render::misused(op, &wrong, global),
    };
    super::show(&shown);
    ExitCode::from(shown.code)
}

fn failed(op: &str, error: &Error, global: &Global) -> Shown {
    let words = words::error(&Action::Status, error);
    let object = json::error(op, None, error, &words);
    render::complaint(&object, &words, render::error_code(error), global)
}

/// Locks and releases a key of its own, and asks every node how far replicas are behind.
async fn lag(client: &Client) -> Result<(Value, String), Error> {
    let key = format!("{PROBES}{}", own_value());
    let asked = clock::now();
    let lease = client.lock(key).value("probe").ttl(PROBE).await?;
    let locked = clock::now();
    let votes = lease.votes();
    lease.release().await?;
    let released = clock::now();
    let (lock, release): (Duration, Duration) =
        (locked.since(asked).into(), released.since(locked).into());
    let nodes = client.status().await;
    let lags = behind(&nodes);
    let replicas: Vec<Value> = lags
        .iter()
        .map(|(name, lag)| {
            json!({ "node": name, "entries": lag.entries, "lag_ms": lag.time.as_millis() })
        })
        .collect();
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let object = json!({
        "op": "lag", "outcome": "done", "lock_us": micros(lock), "release_us": micros(release),
        "quorum": votes.quorum, "votes": votes.votes, "commits": votes.commits, "replicas": replicas,
    });
    let millis = |span: Duration| format!("{:.2}ms", span.as_secs_f64() * 1e3);
    let mut words = format!(
        "lock {}, release {}; {} masters voted, {} accepted in time, {} were needed\n",
        millis(lock),
        millis(release),
        votes.votes,
        votes.commits,
        votes.quorum
    );
    if lags.is_empty() {
        words.push_str("there is no replica\n");
    } else {
        let mut rows = vec![["REPLICA", "BEHIND", "LAG"].map(str::to_owned).to_vec()];
        rows.extend(lags.iter().map(|(name, lag)| {
            vec![text(name.as_bytes()), lag.entries.to_string(), time(lag.time.into())]
        }));
        tables::align(&mut words, &rows);
    }
    Ok((object, words))
}

/// Each replica, and how far it is behind by the node that says the worst of it.
pub(super) fn behind(nodes: &[NodeReport]) -> Vec<(String, Lag)> {
    let known = || nodes.iter().filter_map(|node| node.status.as_ref().ok());
    let Some(newest) = known().max_by_key(|status| status.epoch) else { return Vec::new() };
    let replicas = newest.members.iter().filter(|peer| !peer.master);
    replicas
        .map(|peer| {
            let said = known().flat_map(|status| &status.lags);
            let of_it = said.filter(|(replica, _)| *replica == peer.member.id);
            let worst = of_it.map(|(_, lag)| *lag).max_by_key(|lag| (lag.time, lag.entries));
            (peer.member.name.clone(), worst.unwrap_or_default())
        })
        .collect()
}

/// Counts what there is.
async fn summary(client: &Client) -> Result<(Value, String), Error> {
    let nodes = client.status().await;
    let known: Vec<&Status> = nodes.iter().filter_map(|node| node.status.as_ref().ok()).collect();
    let Some(newest) = known.iter().max_by_key(|status| status.epoch) else {
        let causes = nodes
            .iter()
            .filter_map(|node| Some((node.address.clone(), node.status.as_ref().err()?.clone())));
        return Err(Error::Unreachable(leasehold_client::Unreachable(causes.collect())));
    };
    let masters = newest.members.iter().filter(|peer| peer.master).count();
    let replicas = newest.members.len() - masters;
    let quorum = masters / 2 + 1;
    let votes =
        |status: &&&Status| matches!(status.standing, Standing::Active | Standing::Draining);
    let voting = known.iter().filter(votes).count();
    let most = |count: fn(&Status) -> u64| known.iter().map(|s| count(s)).max().unwrap_or(0);
    let sum = |count: fn(&Status) -> u64| known.iter().map(|s| count(s)).sum::<u64>();
    let (leases, records) = (most(|s| s.leases), most(|s| s.records));
    let (operations, queued, waiters) =
        (sum(|s| s.operations), sum(|s| s.queued), sum(|s| s.waiters));
    let object = json!({
        "op": "summary", "outcome": "done", "members": newest.members.len(),
        "reached": known.len(), "masters": masters, "voting": voting, "quorum": quorum,
        "replicas": replicas, "epoch": newest.epoch.0, "leases": leases, "records": records,
        "operations": operations, "queued": queued, "waiters": waiters,
    });
    let words = format!(
        "{voting} of {masters} masters vote, {quorum} are needed; {replicas} replicas, {} of {} nodes reached\n\
         {leases} leases in {records} records\n\
         {operations} operations under way, {queued} of them queue; {waiters} waits\n",
        known.len(),
        newest.members.len()
    );
    Ok((object, words))
}
