//! A leader election: candidates lead one after the other, each with a greater token than the one before.
//!
//! Usage: `leader ENDPOINTS [CANDIDATES]`, with endpoints as `a:p,b:p`.

use std::time::Duration;

use leasehold_client::{Client, Options, Token};
use tokio::sync::mpsc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One reign.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reign {
    pub(crate) leader: String,
    pub(crate) token: Token,
}

/// Stands for election, leads for a moment, and steps down.
async fn candidate(
    endpoints: Vec<String>,
    name: String,
    reigns: mpsc::Sender<Reign>,
) -> Result<(), Failure> {
    let client = Client::connect(endpoints, Options::new()).await?;
    let leadership =
        client.election("example").campaign(name.as_str()).ttl(Duration::from_secs(10)).await?;
    let work = async {
        // Right before what others can see.
        leadership.ensure_leader()?;
        reigns.send(Reign { leader: name, token: leadership.token() }).await?;
        Ok::<(), Failure>(())
    };
    tokio::select! {
        done = work => done?,
        lost = leadership.lost() => return Err(lost.into()),
    }
    leadership.resign().await?;
    Ok(())
}

/// Lets so many candidates lead, and returns the reigns in the order in which they were.
pub(crate) async fn run(endpoints: &[String], candidates: usize) -> Result<Vec<Reign>, Failure> {
    let (sender, mut reigns) = mpsc::channel(candidates.max(1));
    let mut tasks = tokio::task::JoinSet::new();
    for place in 0..candidates {
        tasks.spawn(candidate(endpoints.to_vec(), format!("node-{place}"), sender.clone()));
    }
    drop(sender);
    let mut seen = Vec::new();
    while let Some(reign) = reigns.recv().await {
        seen.push(reign);
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(seen)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it says what came of it")]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let endpoints = words.next().ok_or("usage: leader ENDPOINTS [CANDIDATES]")?;
    let candidates = words.next().map_or(Ok(5), |word| word.parse())?;
    let endpoints: Vec<String> = endpoints.split(',').map(str::to_owned).collect();
    for reign in run(&endpoints, candidates).await? {
        println!("{} led with token {}", reign.leader, reign.token);
    }
    Ok(())
}
