//! Which cluster the client belongs to, and which nodes speak for it.

use std::sync::Arc;
use std::time::Duration;

use leasehold_core::wire::{ClientItem, NodeItem};
use leasehold_core::{ClusterId, Outcome, Peer, Standing};
use tokio::sync::Notify;

use super::server::{CLUSTER, Server, Session};
use super::{connect, done, options};
use crate::{Cause, Client, Error, Lost, OtherCluster, Reason, clock};

const OTHER: ClusterId = ClusterId(3, 4);

fn other_at(server: &Server) -> Error {
    let address = server.address.clone();
    Error::OtherCluster(OtherCluster { address, found: OTHER, expected: CLUSTER })
}

/// A deadline that nothing here waits for.
fn far() -> clock::Instant {
    clock::now().after(super::LONG.into())
}

async fn grant(session: &mut Session, token: u64) {
    let (call, _) = session.request().await;
    session.reply(call, Outcome::Done(done(token))).await;
}

/// A node as it shows itself before it belongs to a cluster.
fn fresh(server: &Server, standing: Standing) -> Vec<Peer> {
    vec![Peer { standing, ..server.peer() }]
}

/// Welcomes whoever connects to this cluster, for ever. No request must come.
async fn say_where(server: &Server, cluster: Option<ClusterId>, members: Vec<Peer>) {
    loop {
        let mut session = server.welcome_to(cluster, members.clone()).await;
        while let Some(item) = session.item().await {
            assert_eq!(item, ClientItem::Beat, "asked for something");
            session.say(NodeItem::Beat).await;
        }
    }
}

/// Does the work, while the node welcomes whoever connects.
async fn beside<T>(work: impl Future<Output = T>, node: impl Future<Output = ()>) -> T {
    tokio::select! {
        done = work => done,
        () = node => unreachable!("a node goes on for ever"),
    }
}

/// A cluster that was founded anew, or an address that leads elsewhere now.
#[tokio::test]
async fn a_node_of_another_cluster_is_not_asked_and_the_error_names_both() {
    let server = Server::new(1).await;
    let client = {
        let work = connect(&server.address, options());
        let (client, session) = tokio::join!(work, server.welcome(vec![server.peer()]));
        drop(session);
        client
    };
    assert_eq!(client.cluster_id(), Some(CLUSTER));
    client.disconnected().await;
    let work = async {
        // At once, and not when the time of the calls is over.
        assert_eq!(client.lock("k").await.map(drop), Err(other_at(&server)));
        assert_eq!(client.read("k").await.map(drop), Err(other_at(&server)));
        assert_eq!(client.read_local("k").await.map(drop), Err(other_at(&server)));
        assert_eq!(client.watch("").await.map(drop), Err(other_at(&server)));
        assert_eq!(client.init().await.map(drop), Err(other_at(&server)));
        let shown = Cause::OtherCluster { found: OTHER, expected: CLUSTER };
        assert_eq!(client.status().await[0].status, Err(shown));
        let words = client.read("k").await.unwrap_err().to_string();
        assert!(words.contains("00000000000000030000000000000004"), "{words}");
        assert!(words.contains("00000000000000010000000000000002"), "{words}");
    };
    beside(work, say_where(&server, Some(OTHER), vec![server.peer()])).await;
}

#[tokio::test]
async fn endpoints_of_two_clusters_are_no_cluster() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let nodes = async {
        tokio::join!(
            say_where(&a, Some(CLUSTER), vec![a.peer()]),
            say_where(&b, Some(OTHER), vec![b.peer()])
        );
    };
    let endpoints = [a.address.clone(), b.address.clone()];
    match beside(Client::connect(endpoints, options()), nodes).await {
        Err(Error::OtherCluster(OtherCluster { found, expected, .. })) => {
            assert!([(CLUSTER, OTHER), (OTHER, CLUSTER)].contains(&(found, expected)));
        }
        other => panic!("{other:?}"),
    }
}

/// A port-forward beside a cluster of one's own.
#[tokio::test]
async fn an_advertised_address_that_leads_to_another_cluster_is_not_used() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    let home = |key: &[u8]| leasehold_core::hash::home(CLUSTER, [a.id, b.id], key);
    let key = (0_u32..).map(|i| format!("k{i}")).find(|k| home(k.as_bytes()) == Some(b.id));
    let key = key.unwrap();
    let at_a = async {
        let mut session = a.welcome(vec![a.peer(), b.peer()]).await;
        grant(&mut session, 7).await;
        grant(&mut session, 8).await;
        session.idle().await;
    };
    let work = async {
        let client = connect(&a.address, options()).await;
        let first = client.lock(key.as_str()).lease().await.unwrap();
        // By then it is known what answers there.
        let cause = client.cluster().reach(Some(b.id), &b.address, far()).await;
        assert_eq!(cause.unwrap_err(), Cause::OtherCluster { found: OTHER, expected: CLUSTER });
        let second = client.lock(key.as_str()).lease().await.unwrap();
        assert_eq!((first.token().0, second.token().0), (7, 8));
    };
    let nodes = async {
        tokio::join!(at_a, say_where(&b, Some(OTHER), vec![b.peer()]));
    };
    beside(work, nodes).await;
}

#[tokio::test]
async fn a_node_that_goes_over_to_another_cluster_is_let_go() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        let (call, _) = session.request().await;
        let topology = session.topology(Some(OTHER), vec![server.peer()]);
        session.say(NodeItem::Topology(topology)).await;
        session.reply(call, Outcome::Found(None)).await;
        say_where(&server, Some(OTHER), vec![server.peer()]).await;
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        assert_eq!(client.read("k").await, Err(other_at(&server)));
    };
    beside(work, script).await;
}

#[tokio::test]
async fn beliefs_of_another_cluster_end_and_a_client_can_be_told_to_forget() {
    let server = Server::new(1).await;
    let founded_anew = Arc::new(Notify::new());
    let script = async {
        let mut session = server.welcome(vec![server.peer()]).await;
        for token in 1..=3 {
            grant(&mut session, token).await;
        }
        founded_anew.notified().await;
        drop(session);
        loop {
            let mut session = server.welcome_to(Some(OTHER), vec![server.peer()]).await;
            while let Some(item) = session.ask().await {
                // Nothing of the old cluster is sent there.
                let ClientItem::Request { call, request } = item else { panic!("{item:?}") };
                assert_eq!(&request.key[..], b"new");
                session.reply(call, Outcome::Done(done(4))).await;
            }
        }
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        let first = client.lock("a").await.unwrap();
        let second = client.lock("b").await.unwrap();
        let mut lease = client.lock("c").lease().await.unwrap();
        founded_anew.notify_one();
        client.disconnected().await;
        let Error::OtherCluster(other) = other_at(&server) else { unreachable!() };
        let extended = first.extend(Duration::from_secs(30)).await;
        assert_eq!(extended, Err(Error::OtherCluster(other.clone())));
        assert_eq!(first.lost().await, Lost::OtherCluster(other));
        assert!(second.is_held() && lease.is_valid());
        client.forget_cluster().await.unwrap();
        assert_eq!(client.cluster_id(), Some(OTHER));
        assert_eq!(second.lost().await, Lost::Forgotten);
        assert!(!lease.is_valid() && lease.remaining().is_zero());
        let forgotten = Error::NotDone(Reason::Forgotten);
        assert_eq!(lease.extend(Duration::from_secs(30)).await, Err(forgotten.clone()));
        assert_eq!(second.release().await, Err(forgotten));
        drop((first, lease));
        assert_eq!(client.lock("new").lease().await.unwrap().token().0, 4);
    };
    beside(work, script).await;
}

/// In the middle of replacing a node.
#[tokio::test]
async fn a_node_without_a_cluster_is_not_asked_where_another_may_answer() {
    let (stranger, member) = (Server::new(1).await, Server::new(2).await);
    let endpoints = [stranger.address.clone(), member.address.clone()];
    let (greeted, heard) = tokio::sync::oneshot::channel();
    let at_stranger = async {
        let mut session = stranger.welcome_to(None, fresh(&stranger, Standing::Fresh)).await;
        greeted.send(()).unwrap();
        while let Some(item) = session.item().await {
            assert_eq!(item, ClientItem::Beat, "asked for something");
            session.say(NodeItem::Beat).await;
        }
    };
    let at_member = async {
        // The stranger is there first.
        heard.await.unwrap();
        let mut session = member.welcome(vec![member.peer()]).await;
        grant(&mut session, 7).await;
        while let Some(item) = session.ask().await {
            let ClientItem::LocalRead { call, .. } = item else { panic!("{item:?}") };
            session.say(NodeItem::LocalRead { call, holder: None }).await;
        }
    };
    let work = async {
        let client = Client::connect(endpoints, options()).await.unwrap();
        assert_eq!(client.lock("k").lease().await.unwrap().token().0, 7);
        assert_eq!(client.read_local("k").await, Ok(None));
    };
    let nodes = async {
        tokio::join!(at_stranger, at_member);
    };
    beside(work, nodes).await;
}

#[tokio::test]
async fn that_there_is_no_cluster_is_said_only_if_every_endpoint_says_so() {
    let (a, b) = (Server::new(1).await, Server::new(2).await);
    for (standing, expected) in
        [(Standing::Fresh, Reason::NotFounded), (Standing::Outside, Reason::Stranger)]
    {
        let endpoints = [a.address.clone(), b.address.clone()];
        let nodes = async {
            tokio::join!(
                say_where(&a, None, fresh(&a, Standing::Fresh)),
                say_where(&b, None, fresh(&b, standing))
            );
        };
        let work = async {
            let client = Client::connect(endpoints, options()).await.unwrap();
            assert_eq!(client.lock("k").await.map(drop), Err(Error::NotDone(expected.clone())));
            assert_eq!(client.watch("").await.map(drop), Err(Error::NotDone(expected.clone())));
        };
        beside(work, nodes).await;
    }
    // One of them is down: nobody can tell.
    let gone = Server::new(3).await.address;
    let work = async {
        let endpoints = [a.address.clone(), gone.clone()];
        let client = Client::connect(endpoints, options()).await.unwrap();
        match client.lock("k").timeout(super::SHORT).await.map(drop) {
            Err(Error::Unreachable(why)) => {
                let of = |address: &str| why.0.iter().find(|(at, _)| at == address).unwrap();
                assert_eq!(of(&a.address).1, Cause::NoMember);
                assert!(matches!(of(&gone).1, Cause::Connect(_)));
            }
            other => panic!("{other:?}"),
        }
    };
    beside(work, say_where(&a, None, fresh(&a, Standing::Fresh))).await;
}

#[tokio::test]
async fn init_asks_a_node_without_a_cluster_and_the_client_belongs_to_what_it_founds() {
    let server = Server::new(1).await;
    let script = async {
        let mut session = server.welcome_to(None, fresh(&server, Standing::Fresh)).await;
        match session.ask().await {
            Some(ClientItem::Init { call, .. }) => {
                let topology = session.topology(Some(CLUSTER), vec![server.peer()]);
                session.say(NodeItem::Topology(topology)).await;
                session.reply(call, Outcome::Founded(CLUSTER)).await;
            }
            other => panic!("{other:?}"),
        }
        grant(&mut session, 7).await;
        session.idle().await;
    };
    let work = async {
        let client = connect(&server.address, options()).await;
        assert_eq!(client.init().await, Ok(CLUSTER));
        assert_eq!(client.lock("k").lease().await.unwrap().token().0, 7);
    };
    tokio::join!(work, script);
}

#[tokio::test]
async fn a_node_that_was_removed_shows_the_way_to_the_members() {
    let (removed, member) = (Server::new(1).await, Server::new(2).await);
    let at_member = async {
        let mut session = member.welcome(vec![member.peer()]).await;
        grant(&mut session, 7).await;
        session.idle().await;
    };
    let work = async {
        let client = connect(&removed.address, options()).await;
        assert_eq!(client.lock("k").lease().await.unwrap().token().0, 7);
    };
    let nodes = async {
        tokio::join!(say_where(&removed, Some(CLUSTER), vec![member.peer()]), at_member);
    };
    beside(work, nodes).await;
}
