//! Changes of the masters, of any set to any other: whoever is asked afterwards can work.

use std::collections::BTreeSet;
use std::time::Duration;

use leasehold_client::{Amendment, Candidate, Client, Error, Options, Refusal};
use leasehold_core::Standing;
use leasehold_node::{Dev, DevOptions, dev};

use crate::raw::until;

async fn cluster(masters: u16, others: u16) -> (Dev, Vec<Client>) {
    let cluster = dev(DevOptions { masters, replicas: others, port: 0 }).await.unwrap();
    let mut clients = Vec::new();
    for node in cluster.nodes() {
        let options = Options::new().timeout(Duration::from_secs(20));
        clients.push(Client::connect([node.client_addr().to_string()], options).await.unwrap());
    }
    (cluster, clients)
}

fn set(nodes: &[usize]) -> Amendment {
    let candidate = |node: &usize| Candidate { name: format!("n{node}"), peer: None };
    Amendment::Set { masters: nodes.iter().map(candidate).collect(), replicas: Vec::new() }
}

/// The clients of these nodes lock, and a lock from before is still there.
async fn all_work(clients: &[Client], nodes: &BTreeSet<usize>, round: usize) {
    let before = clients[*nodes.first().unwrap()]
        .read("before")
        .await
        .unwrap()
        .expect("it is held for a minute");
    assert_eq!(&*before.value, b"me");
    for &node in nodes {
        let client = &clients[node];
        let mut tries = 0;
        until(&format!("a lock in round {round} at n{node}"), async || {
            tries += 1;
            let lock = client.lock(format!("k{round}/{node}/{tries}")).ttl(Duration::from_secs(9));
            match lock.lease().await {
                Ok(lease) => Some(lease.token()),
                // It began at a master that heard of the change meanwhile.
                Err(Error::NotDone(_) | Error::Unknown(_)) => None,
                Err(error) => panic!("round {round}, at n{node}: {error}"),
            }
        })
        .await;
    }
}

#[tokio::test]
async fn any_set_of_masters_follows_any_other() {
    for (masters, others, sets) in [
        (3, 3, vec![vec![0, 3, 4], vec![1, 2, 5], vec![0, 1, 2, 3, 4], vec![4, 5], vec![0]]),
        (1, 4, vec![vec![1, 2, 3, 4], vec![0, 1, 2, 3, 4], vec![2, 3], vec![0, 1, 4]]),
        (5, 1, vec![vec![4, 5], vec![0, 1, 2]]),
    ] {
        let (cluster, clients) = cluster(masters, others).await;
        let lease = clients[0].lock("before").value("me").ttl(Duration::from_secs(60)).lease();
        let token = lease.await.unwrap().token();
        for (round, nodes) in sets.iter().enumerate() {
            // Whoever is asked: the first that votes.
            let asked = sets.get(round.wrapping_sub(1)).map_or(0, |before| before[0]);
            let amended =
                until("a change", async || match clients[asked].amend_by_force(set(nodes)).await {
                    Ok(amended) => Some(amended),
                    Err(Error::NotDone(_) | Error::Refused(Refusal::Declined(_))) => None,
                    Err(error) => panic!("{nodes:?}: {error}"),
                });
            assert!(amended.await.complete, "{masters} masters, then {nodes:?}");
            // The members, and those that were members until now.
            let first: Vec<usize> = (0..usize::from(masters)).collect();
            let before = round.checked_sub(1).map_or(first, |round| sets[round].clone());
            let both: BTreeSet<usize> = nodes.iter().copied().chain(before).collect();
            all_work(&clients, &both, round).await;
            // A removed master has heard of it.
            for (number, node) in cluster.nodes().iter().enumerate() {
                let wanted =
                    if nodes.contains(&number) { Standing::Active } else { Standing::Outside };
                until("its standing", async || {
                    node.status().await.filter(|status| status.standing == wanted)
                })
                .await;
            }
        }
        let held = clients[sets[sets.len() - 1][0]].read("before").await.unwrap();
        assert_eq!(held.map(|held| held.token), Some(token));
        cluster.shutdown().await;
    }
}

#[tokio::test]
async fn few_masters_need_force() {
    let (cluster, clients) = cluster(3, 1).await;
    match clients[0].amend(set(&[0, 3])).await {
        Err(Error::Refused(Refusal::Declined(why))) => assert!(why.contains("2 masters"), "{why}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
    assert!(clients[0].amend_by_force(set(&[0, 3])).await.unwrap().complete);
    cluster.shutdown().await;
}
