//! Doing what is meant.

use std::time::Duration;

use leasehold_client::{
    Amended, Client, ClusterId, Error, Extended, Holder, Listed, NodeReport, Options, Reason,
    Released, Token, Updated, Votes, WaitingReport, clock,
};

use super::meant::{Action, Meant};

/// What came of it.
#[derive(Debug)]
pub(super) enum Report {
    Founded(ClusterId),
    Locked { token: Token, valid_for: Duration, votes: Votes },
    Extended { token: Token, valid_for: Duration, votes: Votes },
    Updated(Updated),
    Released(Released),
    Read(Option<Holder>),
    Held(Holder),
    Free,
    Listed(Vec<Listed>),
    Waiting(Vec<WaitingReport>),
    Current(Holder),
    Nodes(Vec<NodeReport>),
    Members(Vec<NodeReport>),
    Amended(Amended),
}

/// Connects and does it.
pub(super) async fn perform(meant: &Meant, options: Options) -> Result<Report, Error> {
    let options = options.timeout(meant.timeout).direct(false);
    let client = Client::connect(meant.endpoints.iter().cloned(), options).await?;
    Ok(match &meant.action {
        Action::Init => Report::Founded(client.init().await?),
        Action::Lock { key, value, ttl, wait, delay, labels } => {
            let mut lock = client.lock(key.as_str()).value(value.as_str()).ttl(*ttl).delay(*delay);
            if let Some(wait) = wait {
                lock = lock.wait(*wait);
            }
            for (name, text) in labels {
                lock = lock.label(name, text);
            }
            let lease = lock.lease().await?;
            let (token, votes) = (lease.token(), lease.votes());
            Report::Locked { token, valid_for: lease.remaining(), votes }
        }
        Action::Extend { key, owner, ttl } => {
            let Extended { token, valid_until, votes } =
                client.extend(key.as_str(), owner.clone(), *ttl).await?;
            let valid_for = valid_until.since(clock::now()).into();
            Report::Extended { token, valid_for, votes }
        }
        Action::Update { key, owner, value } => {
            Report::Updated(client.update(key.as_str(), owner.clone(), value.as_str()).await?)
        }
        Action::Release { key, owner } => {
            Report::Released(client.release(key.as_str(), owner.clone()).await?)
        }
        Action::Get { key, local: false } => Report::Read(client.read(key.as_str()).await?),
        Action::Get { key, local: true } => Report::Read(client.read_local(key.as_str()).await?),
        Action::Wait { key, released: false } => {
            Report::Held(client.wait_held(key.as_str(), meant.timeout).await?)
        }
        Action::Wait { key, released: true } => {
            client.wait_released(key.as_str(), meant.timeout).await?;
            Report::Free
        }
        Action::List { prefix } => Report::Listed(list(&client, prefix).await?),
        Action::Waiters { key } => Report::Waiting(client.waiters(key.as_str()).await),
        Action::FenceCheck { key, token } => {
            Report::Current(client.check_token(key.as_str(), *token).await?)
        }
        Action::Members => Report::Members(client.status().await),
        Action::Amend(amendment) => Report::Amended(client.amend(amendment.clone()).await?),
        Action::Status => Report::Nodes(client.status().await),
    })
}

/// How often a listing is tried that cannot be brought to its end.
const LISTINGS: usize = 3;

/// What is held, in the order of the keys.
pub(super) async fn list(client: &Client, prefix: &str) -> Result<Vec<Listed>, Error> {
    let mut tries = 1;
    let mut listed = loop {
        match client.list(prefix).all().await {
            Err(Error::NotDone(Reason::RecordsReplaced)) if tries < LISTINGS => tries += 1,
            result => break result?,
        }
    };
    listed.sort_by(|a, b| a.key.cmp(&b.key));
    // One that was given up and acquired again meanwhile may be there twice.
    listed.dedup_by(|a, b| a.key == b.key);
    Ok(listed)
}
