//! A registry of workers: each registers a name and says what it can; a dispatcher finds them and hands out work.
//!
//! Usage: `workers ENDPOINTS [WORKERS]`, with endpoints as `a:p,b:p`.

use std::time::Duration;

use leasehold_client::{Bytes, Client, Context, Options, Serve, ServerHandle};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Squares numbers.
struct Worker;

impl Serve for Worker {
    async fn call(&mut self, request: Bytes, _context: &Context) -> Bytes {
        let number = std::str::from_utf8(&request).ok().and_then(|text| text.parse::<u64>().ok());
        match number.and_then(|number| number.checked_mul(number)) {
            Some(square) => square.to_string().into(),
            None => "not a number that can be squared".into(),
        }
    }
}

/// Starts a worker with a connection of its own.
async fn worker(endpoints: &[String], place: usize) -> Result<ServerHandle, Failure> {
    let client = Client::connect(endpoints.to_vec(), Options::new()).await?;
    let serving = client.serve(format!("worker/{place}"), Duration::from_secs(10), Worker);
    Ok(serving.value("squares").await?)
}

/// Who can do what, as far as any node knows.
async fn find(client: &Client, skill: &str, expected: usize) -> Result<Vec<Bytes>, Failure> {
    loop {
        let listed = client.list("worker/").all().await?;
        let can = |holder: &leasehold_client::Holder| {
            holder.labels.get("value").is_some_and(|value| value == skill)
        };
        let names: Vec<Bytes> =
            listed.into_iter().filter(|it| can(&it.holder)).map(|it| it.key).collect();
        // A node's own records come a moment after what a quorum has agreed on.
        if names.len() >= expected {
            return Ok(names);
        }
        tokio::task::yield_now().await;
    }
}

/// Lets so many workers square the numbers up to `numbers`, in turn, and returns the squares.
pub(crate) async fn run(
    endpoints: &[String],
    workers: usize,
    numbers: u64,
) -> Result<Vec<String>, Failure> {
    let mut servers = Vec::new();
    for place in 0..workers {
        servers.push(worker(endpoints, place).await?);
    }
    let dispatcher = Client::connect(endpoints.to_vec(), Options::new()).await?;
    let names = find(&dispatcher, "squares", workers).await?;
    let mut squares = Vec::new();
    for (number, name) in (0..numbers).zip(names.iter().cycle()) {
        let answer = dispatcher.call(name.clone(), number.to_string()).await?;
        squares.push(String::from_utf8(answer.to_vec())?);
    }
    for server in servers {
        server.stop().await;
    }
    Ok(squares)
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it says what came of it")]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let endpoints = words.next().ok_or("usage: workers ENDPOINTS [WORKERS]")?;
    let workers = words.next().map_or(Ok(3), |word| word.parse())?;
    let endpoints: Vec<String> = endpoints.split(',').map(str::to_owned).collect();
    println!("{}", run(&endpoints, workers, 12).await?.join(" "));
    Ok(())
}
