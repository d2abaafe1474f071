//! `leasehold lag` and `leasehold summary`: the cluster in a few numbers.

use std::process::ExitCode;
use std::time::Duration;

use leasehold_client::{Behind, Client, Error, Lags, Summary};
use serde_json::{Value, json};

use super::meant::{Action, Meant};
use super::render::{self, Shown};
use super::tables;
use super::typed::{ClientCommand, Global};
use super::words::{self, text, time};
use super::{access, json};

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
    let Lags { lock, release, votes, replicas } = client.lag().await?;
    let each = |Behind { name, lag, .. }: &Behind| json!({ "node": name, "entries": lag.entries, "lag_ms": lag.time.as_millis() });
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
    let object = json!({
        "op": "lag", "outcome": "done", "lock_us": micros(lock), "release_us": micros(release),
        "quorum": votes.quorum, "votes": votes.votes, "commits": votes.commits,
        "replicas": replicas.iter().map(each).collect::<Vec<_>>(),
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
    if replicas.is_empty() {
        words.push_str("there is no replica\n");
    } else {
        let mut rows = vec![["REPLICA", "BEHIND", "LAG"].map(str::to_owned).to_vec()];
        rows.extend(replicas.iter().map(|Behind { name, lag, .. }| {
            vec![text(name.as_bytes()), lag.entries.to_string(), time(lag.time.into())]
        }));
        tables::align(&mut words, &rows);
    }
    Ok((object, words))
}

/// Counts what there is.
async fn summary(client: &Client) -> Result<(Value, String), Error> {
    let all = client.summary().await?;
    let Summary { members, reached, masters, voting, quorum, replicas, epoch, .. } = all;
    let Summary { leases, records, operations, queued, waiters, .. } = all;
    let object = json!({
        "op": "summary", "outcome": "done", "members": members, "reached": reached,
        "masters": masters, "voting": voting, "quorum": quorum, "replicas": replicas,
        "epoch": epoch.0, "leases": leases, "records": records, "operations": operations,
        "queued": queued, "waiters": waiters,
    });
    let words = format!(
        "{voting} of {masters} masters vote, {quorum} are needed; {replicas} replicas, {reached} of {members} nodes reached\n\
         {leases} leases in {records} records\n\
         {operations} operations under way, {queued} of them queue; {waiters} waits\n"
    );
    Ok((object, words))
}
