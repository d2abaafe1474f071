//! Small programs that use a client and end, each in its own way: `endings ENDPOINTS PREFIX RUNTIME ENDING`.
//!
//! The test `endings` of `--test rig` runs them by the hundred, wants each to end, and looks at what became of the keys.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::let_underscore_must_use,
    reason = "these programs end badly on purpose"
)]

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use leasehold_client::{Client, Guard, Options};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinSet;

/// No lease ends by itself while a program runs.
const TTL: Duration = Duration::from_secs(60);

static CLIENT: OnceLock<Client> = OnceLock::new();

#[derive(Clone)]
struct Program {
    endpoints: Vec<String>,
    prefix: String,
    threads: bool,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [endpoints, prefix, runtime, ending] = words.as_slice() else {
        panic!("usage: endings ENDPOINTS PREFIX RUNTIME ENDING");
    };
    let endpoints = endpoints.split(',').map(str::to_owned).collect();
    let program = Program { endpoints, prefix: prefix.clone(), threads: runtime == "threads" };
    match ending.as_str() {
        "vanished" => program.vanished(),
        "static" => program.in_a_static(),
        "beside" => program.beside(),
        ending => program.runtime().block_on(program.end(ending)),
    }
}

impl Program {
    fn runtime(&self) -> Runtime {
        let mut builder =
            if self.threads { Builder::new_multi_thread() } else { Builder::new_current_thread() };
        builder.enable_all().build().unwrap()
    }

    async fn client(&self) -> Client {
        let options = Options::new().timeout(Duration::from_secs(8));
        Client::connect(self.endpoints.clone(), options).await.unwrap()
    }

    fn key(&self, name: impl std::fmt::Display) -> String {
        format!("{}/{name}", self.prefix)
    }

    async fn guards(&self, client: &Client, count: usize) -> Vec<Guard> {
        let mut guards = Vec::new();
        for number in 0..count {
            guards.push(client.lock(self.key(number)).value("me").ttl(TTL).await.unwrap());
        }
        guards
    }

    /// Tasks that never come to an end by themselves.
    fn work(&self, client: &Client) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for number in 0..8 {
            let (client, key) = (client.clone(), self.key(format!("busy/{number}")));
            tasks.spawn(async move {
                loop {
                    let guard = client.lock(key.clone()).ttl(TTL).await;
                    drop(client.read(key.clone()).await);
                    drop(guard);
                }
            });
        }
        tasks
    }

    async fn end(&self, ending: &str) {
        let client = self.client().await;
        match ending {
            "return" => {
                let _guards = self.guards(&client, 3).await;
            }
            "client-first" => {
                let guards = self.guards(&client, 3).await;
                drop(client);
                drop(guards);
            }
            "guards-first" => {
                drop(self.guards(&client, 3).await);
                drop(client);
            }
            "busy" => {
                let mut tasks = self.work(&client);
                let _guards = self.guards(&client, 2).await;
                tasks.detach_all();
            }
            "waiting" => {
                let _guard = self.guards(&client, 1).await;
                for _ in 0..50 {
                    let lock = client.lock(self.key(0)).ttl(TTL).wait(TTL);
                    tokio::spawn(async move { drop(lock.await) });
                }
                drop(client.read(self.key(0)).await);
            }
            "panic" => {
                let _guards = self.guards(&client, 2).await;
                panic!("as told");
            }
            "task-panics" => {
                let guards = self.guards(&client, 2).await;
                let task = tokio::spawn(async move {
                    let _guards = guards;
                    panic!("as told");
                });
                let _ = task.await;
            }
            "exit" => {
                let _guards = self.guards(&client, 2).await;
                std::process::exit(0);
            }
            "blocking" => {
                let (handle, key) = (Handle::current(), self.key(0));
                let (begun, begins) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || {
                    let _ = begun.send(());
                    while handle.block_on(client.read(key.clone())).is_ok() {}
                });
                begins.await.unwrap();
            }
            "close" => {
                let _guards = self.guards(&client, 3).await;
                let _leads = client.election(self.key("leader")).campaign("me").await.unwrap();
                let _name = client.register(self.key("name")).await.unwrap();
                drop(client.lock(self.key("dropped")).ttl(TTL).await.unwrap());
                client.close().await.unwrap();
            }
            "close-busy" => {
                let mut tasks = self.work(&client);
                let _guards = self.guards(&client, 3).await;
                client.close().await.unwrap();
                tasks.detach_all();
            }
            other => panic!("{other} is no ending"),
        }
    }

    /// A client and a guard that outlive the runtime in which they began.
    fn vanished(&self) {
        let (client, mut guards, mut mailbox) = self.runtime().block_on(async {
            let client = self.client().await;
            let guards = self.guards(&client, 2).await;
            let mailbox = client.mailbox(1).await.unwrap();
            (client, guards, mailbox)
        });
        self.runtime().block_on(async {
            assert!(mailbox.recv().await.is_none());
            drop(client.read(self.key("x")).await.unwrap());
            guards.pop().unwrap().release().await.unwrap();
            drop(guards);
            drop(client.lock(self.key("again")).ttl(TTL).await.unwrap());
            client.close().await.unwrap();
        });
    }

    fn shared(&self) -> impl Future<Output = Client> + use<> {
        let program = self.clone();
        async move {
            if let Some(client) = CLIENT.get() {
                return client.clone();
            }
            let client = program.client().await;
            CLIENT.get_or_init(|| client).clone()
        }
    }

    /// As tests do: one client, and a runtime for each use.
    fn in_a_static(&self) {
        for round in 0..4 {
            self.runtime().block_on(async {
                let client = self.shared().await;
                let guard = client.lock(self.key(round)).ttl(TTL).await.unwrap();
                assert!(guard.is_held());
                drop(client.read(self.key(round)).await.unwrap());
                guard.release().await.unwrap();
            });
        }
        self.runtime().block_on(async { self.shared().await.close().await.unwrap() });
    }

    /// The same at the same time: the end of one runtime is none of the others' business.
    fn beside(&self) {
        self.runtime().block_on(async { drop(self.shared().await) });
        std::thread::scope(|scope| {
            for number in 0..4 {
                scope.spawn(move || {
                    self.runtime().block_on(async {
                        let client = self.shared().await;
                        let guard = client.lock(self.key(number)).ttl(TTL).await.unwrap();
                        for _ in 0..number * 5 {
                            drop(client.read(self.key(number)).await.unwrap());
                            assert!(guard.is_held());
                        }
                        guard.release().await.unwrap();
                    });
                });
            }
        });
        self.runtime().block_on(async { self.shared().await.close().await.unwrap() });
    }
}
