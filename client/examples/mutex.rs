//! A mutex around a shared file, with fenced writes.
//!
//! The lock keeps workers out of each other's way. The token keeps the file whole even if one of them was stopped so long
//! that it lost the lock without knowing: the store remembers the greatest token that it has seen and takes no write with a
//! lesser one.
//!
//! Usage: `mutex ENDPOINTS FILE`, with endpoints as `a:p,b:p`.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use leasehold_client::{Client, Options, Token};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Stands for a file server: whatever keeps the data must compare the token and write in one step.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    greatest: Mutex<Token>,
}

impl Store {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), greatest: Mutex::new(Token(0)) }
    }

    pub(crate) fn read(&self) -> Result<u64, Failure> {
        Ok(std::fs::read_to_string(&self.path)?.trim().parse()?)
    }

    pub(crate) fn write(&self, count: u64, token: Token) -> Result<(), Failure> {
        let mut greatest = self.greatest.lock().unwrap_or_else(PoisonError::into_inner);
        if token < *greatest {
            return Err(format!("token {token} is older than {greatest}: the lock was lost").into());
        }
        *greatest = token;
        Ok(std::fs::write(&self.path, count.to_string())?)
    }
}

/// Counts one up, alone.
async fn count_up(client: &Client, store: &Store) -> Result<Token, Failure> {
    let lock = client.lock("mutex/file").ttl(Duration::from_secs(10));
    let guard = lock.wait(Duration::from_secs(60)).await?;
    let count = store.read()?;
    // Whoever reads now would read the same: this is where a mutex is needed.
    tokio::task::yield_now().await;
    guard.ensure_held()?;
    store.write(count + 1, guard.token())?;
    let token = guard.token();
    guard.release().await?;
    Ok(token)
}

/// Lets `workers`, each with a connection of its own, count up so many times. Returns the file's last word, and the
/// greatest token.
pub(crate) async fn run(
    endpoints: &[String],
    store: Arc<Store>,
    workers: usize,
    times: usize,
) -> Result<(u64, Token), Failure> {
    store.write(0, Token(0))?;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers {
        let (endpoints, store) = (endpoints.to_vec(), Arc::clone(&store));
        tasks.spawn(async move {
            let client = Client::connect(endpoints, Options::new()).await?;
            let mut last = Token(0);
            for _ in 0..times {
                last = count_up(&client, &store).await?;
            }
            Ok::<Token, Failure>(last)
        });
    }
    let mut greatest = Token(0);
    while let Some(last) = tasks.join_next().await {
        greatest = greatest.max(last??);
    }
    Ok((store.read()?, greatest))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "it says what came of it")]
async fn main() -> Result<(), Failure> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: mutex ENDPOINTS FILE";
    let (endpoints, file) = (words.next().ok_or(usage)?, words.next().ok_or(usage)?);
    let endpoints: Vec<String> = endpoints.split(',').map(str::to_owned).collect();
    let store = Arc::new(Store::new(Path::new(&file)));
    let (count, token) = run(&endpoints, store, 4, 10).await?;
    println!("4 workers counted 10 each: {count}, last token {token}");
    Ok(())
}
