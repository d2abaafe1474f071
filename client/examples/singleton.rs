//! A server that runs once in the whole cluster, and moves when the host that it runs on dies.
//!
//! Usage: `singleton ENDPOINTS`, with endpoints as `a:p,b:p`.

use std::time::Duration;

use leasehold_client::{Bytes, Client, Context, Options, SendError, Serve, Token};
use tokio::runtime::Runtime;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long the name stays taken after its host has died.
const TTL: Duration = Duration::from_secs(2);

/// Says where it runs, and by which right.
struct Singleton {
    host: &'static str,
}

impl Serve for Singleton {
    async fn call(&mut self, _request: Bytes, context: &Context) -> Bytes {
        let token = context.token().unwrap_or(Token(0));
        format!("{} {token}", self.host).into()
    }
}

/// A host of its own: everything on it ends at once, and nothing is released, when its runtime is shut down.
fn host(name: &'static str, endpoints: &[String]) -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build()?;
    let endpoints = endpoints.to_vec();
    runtime.spawn(async move {
        let client = Client::connect(endpoints, Options::new()).await?;
        let serving = client.serve("singleton", TTL, Singleton { host: name });
        let mut server = serving.wait(Duration::from_secs(120)).await?;
        server.stopped().await;
        Ok::<(), Failure>(())
    });
    Ok(runtime)
}

/// Asks it where it runs, until it answers.
async fn ask(client: &Client) -> Result<(String, u64), Failure> {
    loop {
        match client.call("singleton", "where").await {
            Ok(answer) => {
                let answer = String::from_utf8(answer.to_vec())?;
                let (host, token) = answer.split_once(' ').ok_or("not its answer")?;
                return Ok((host.to_owned(), token.parse()?));
            }
            // It has not started yet, or its host has just died.
            Err(SendError::Nobody | SendError::Gone | SendError::Unknown | SendError::NoReply) => {
                tokio::task::yield_now().await;
            }
            Err(other) => return Err(other.into()),
        }
    }
}

/// Kills the host on which it runs, and returns where it ran before and after, with the tokens.
pub(crate) async fn run(endpoints: &[String]) -> Result<[(String, u64); 2], Failure> {
    let options = Options::new().timeout(Duration::from_secs(3));
    let client = Client::connect(endpoints.to_vec(), options).await?;
    let first = host("first", endpoints)?;
    let before = ask(&client).await?;
    let second = host("second", endpoints)?;
    first.shutdown_background();
    let mut after = ask(&client).await?;
    while after.0 == before.0 {
        after = ask(&client).await?;
    }
    second.shutdown_background();
    Ok([before, after])
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it says what came of it")]
async fn main() -> Result<(), Failure> {
    let endpoints = std::env::args().nth(1).ok_or("usage: singleton ENDPOINTS")?;
    let endpoints: Vec<String> = endpoints.split(',').map(str::to_owned).collect();
    for (host, token) in run(&endpoints).await? {
        println!("{host} runs it with token {token}");
    }
    Ok(())
}
