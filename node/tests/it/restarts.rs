//! Nodes that go and come back, with and without their files.

use leasehold_core::{Outcome, Span, Standing};
use leasehold_node::config::Address;
use leasehold_node::{
    Config, FILE_NAME, FileError, InitAnswer, Listeners, Running, Server, StartError,
};
use tempfile::TempDir;

use crate::raw::{Raw, config, lock, sees, status_until, until};

/// Three nodes with files, and what is needed to start each again.
struct Three {
    nodes: Vec<Option<Running>>,
    configs: Vec<Config>,
    _root: TempDir,
}

impl Three {
    async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut bound = Vec::new();
        for name in ["a", "b", "c"] {
            bound.push((name, Listeners::bind("127.0.0.1:0", "127.0.0.1:0").await.unwrap()));
        }
        let address = |(name, on): &(&str, Listeners)| Address {
            name: (*name).into(),
            peer: on.peer_addr().to_string(),
        };
        let masters: Vec<Address> = bound.iter().map(address).collect();
        let (mut nodes, mut configs) = (Vec::new(), Vec::new());
        for (name, on) in bound {
            let mut config = config(name, &[]);
            config.masters.clone_from(&masters);
            config.data_dir = Some(root.path().join(name));
            config.listen.client = on.client_addr().to_string();
            config.listen.peer = on.peer_addr().to_string();
            configs.push(config.clone());
            nodes.push(Some(Server::start_on(config, on).unwrap()));
        }
        let three = Self { nodes, configs, _root: root };
        let founded = three.node(0).init().await.unwrap();
        assert!(matches!(founded, InitAnswer::Outcome(Outcome::Founded(_))), "{founded:?}");
        for i in 0..3 {
            let active = |status: &leasehold_core::Status| status.standing == Standing::Active;
            status_until(three.node(i), "all are active", active).await;
        }
        three
    }

    fn node(&self, i: usize) -> &Running {
        self.nodes[i].as_ref().unwrap()
    }

    async fn stop(&mut self, i: usize) {
        self.nodes[i].take().unwrap().shutdown().await;
    }

    async fn end(self) {
        for node in self.nodes.into_iter().flatten() {
            node.shutdown().await;
        }
    }
}

#[tokio::test]
async fn two_of_three_answer_and_the_third_is_linked_again() {
    let mut three = Three::start().await;
    three.stop(2).await;
    status_until(three.node(0), "c is down", |status| !sees(status, "c")).await;
    status_until(three.node(1), "c is down", |status| !sees(status, "c")).await;
    for (i, chain) in [(0, 1), (1, 2)] {
        let (mut client, _) = Raw::client(three.node(i).client_addr()).await;
        let outcome = client.call(1, &format!("job{i}"), lock(chain, "me", Span::ZERO)).await;
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
    let again = Server::start(three.configs[2].clone()).await.unwrap();
    status_until(&again, "a is up", |status| sees(status, "a") && sees(status, "b")).await;
    let joining = status_until(three.node(0), "c is up", |status| sees(status, "c")).await;
    assert_eq!(joining.cluster, again.status().await.unwrap().cluster);
    assert_eq!(again.status().await.unwrap().standing, Standing::Joining);
    three.nodes[2] = Some(again);
    three.end().await;
}

#[tokio::test]
async fn a_node_without_its_file_is_a_stranger() {
    let mut three = Three::start().await;
    three.stop(2).await;
    let file = three.configs[2].data_dir.as_ref().unwrap().join(FILE_NAME);
    std::fs::remove_file(file).unwrap();
    let before = three.node(0).counters().handshakes_refused.count();
    let stranger = Server::start(three.configs[2].clone()).await.unwrap();
    until("it is refused", async || {
        (three.node(0).counters().handshakes_refused.count() > before).then_some(())
    })
    .await;
    assert!(!sees(&stranger.status().await.unwrap(), "a"));
    stranger.shutdown().await;
    three.end().await;
}

#[tokio::test]
async fn a_second_init_is_refused_and_founds_nothing() {
    let three = Three::start().await;
    let cluster = three.node(0).status().await.unwrap().cluster;
    let answer = three.node(1).init().await.unwrap();
    assert!(matches!(answer, InitAnswer::Outcome(Outcome::Refused(_))), "{answer:?}");
    assert_eq!(three.node(1).status().await.unwrap().cluster, cluster);
    three.end().await;
}

#[tokio::test]
async fn one_directory_serves_one_node_of_one_name() {
    let root = tempfile::tempdir().unwrap();
    let mut own = config("a", &[]);
    own.data_dir = Some(root.path().into());
    let node = Server::start(own.clone()).await.unwrap();
    let second = Server::start(own.clone()).await;
    assert!(matches!(second, Err(StartError::File(FileError::Locked(_)))), "{second:?}");
    node.shutdown().await;
    let mut other = own;
    other.name = "b".into();
    let renamed = Server::start(other).await;
    assert!(matches!(renamed, Err(StartError::File(FileError::Name { .. }))), "{renamed:?}");
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_the_key() {
    let node = Server::start(config("a", &[])).await.unwrap();
    let mut second = config("b", &[]);
    second.listen.peer = node.peer_addr().to_string();
    let error = Server::start(second).await.unwrap_err().to_string();
    assert!(error.contains("listen.peer"), "{error}");
    node.shutdown().await;
}
