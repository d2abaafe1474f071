//! What is many rows.

use leasehold_client::{Behind, Listed, NodeReport, Status, WaitingReport, Wants};
use leasehold_node::names;

use super::words::{text, time};

/// What is held; nothing at all if nothing is.
pub(super) fn listed(all: &[Listed]) -> String {
    let mut rows = vec![["KEY", "TOKEN", "REMAINING", "AGE", "VALUE"].map(str::to_owned).to_vec()];
    rows.extend(all.iter().map(|Listed { key, holder }| {
        let remaining = match holder.remaining {
            over if over.is_zero() => "in delay".to_owned(),
            remaining => time(remaining),
        };
        let (token, age) = (holder.token.to_string(), time(holder.age));
        vec![text(key), token, remaining, age, text(&holder.value)]
    }));
    full(&rows)
}

/// Who waits, and where.
pub(super) fn waiting(nodes: &[WaitingReport]) -> String {
    let mut rows = vec![["NODE", "WANTS", "AGE", "LEFT", "VALUE"].map(str::to_owned).to_vec()];
    for node in nodes {
        let name = node.name.as_deref().unwrap_or(&node.address);
        for waiter in node.waiting.iter().flat_map(|waiting| &waiting.first) {
            rows.push(vec![
                text(name.as_bytes()),
                names::of_wants(waiter.wants).to_owned(),
                time(waiter.age),
                time(waiter.left),
                if waiter.wants == Wants::Lock { text(&waiter.value) } else { String::new() },
            ]);
        }
    }
    full(&rows)
}

/// A table that has more than its head.
fn full(rows: &[Vec<String>]) -> String {
    let mut out = String::new();
    if rows.len() > 1 {
        align(&mut out, rows);
    }
    out
}

/// The cluster at a glance.
pub(super) fn nodes(nodes: &[NodeReport]) -> String {
    let known = || nodes.iter().filter_map(|node| node.status.as_ref().ok());
    let is_master = |node: &NodeReport| {
        let peers = known().flat_map(|status| &status.members);
        peers.into_iter().find(|peer| Some(peer.member.id) == node.id).map(|peer| peer.master)
    };
    let mut out = String::new();
    if let Some(status) = known().max_by_key(|status| status.epoch) {
        let masters = status.members.iter().filter(|peer| peer.master).count();
        let cluster = status.cluster.map_or("none yet".to_owned(), names::of_cluster);
        let epoch = status.epoch.0;
        let quorum = masters / 2 + 1;
        out = format!("cluster {cluster}, epoch {epoch}, {masters} masters, quorum {quorum}\n\n");
    }
    let mut rows = vec![
        [
            "NODE",
            "ADDRESS",
            "ROLE",
            "EPOCH",
            "LEASES",
            "RECORDS",
            "OPERATIONS",
            "WAITERS",
            "LAG",
            "CLOCK",
            "STATE",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let lags = Behind::all(nodes);
    for node in nodes {
        let role = is_master(node).map_or("-", |master| if master { "master" } else { "replica" });
        let name = node.name.as_deref().unwrap_or("-");
        let mut row = vec![text(name.as_bytes()), text(node.address.as_bytes()), role.to_owned()];
        match &node.status {
            Ok(status) => {
                let Status { leases, records, operations, waiters, .. } = status;
                let counts = [status.epoch.0, *leases, *records, *operations, *waiters];
                row.extend(counts.map(|count| count.to_string()));
                row.extend([lag_of(&lags, node), clock_of(nodes, node)]);
                row.push(state(status));
            }
            Err(cause) => {
                row.extend(["-"; 7].map(str::to_owned));
                row.push(format!("unreachable: {}", text(cause.to_string().as_bytes())));
            }
        }
        rows.push(row);
    }
    align(&mut out, &rows);
    troubles(&mut out, nodes);
    out
}

/// How far a replica is behind; nothing for a master.
fn lag_of(lags: &[Behind], node: &NodeReport) -> String {
    let behind = lags.iter().find(|behind| Some(behind.id) == node.id);
    behind.map_or_else(|| "-".to_owned(), |behind| time(behind.lag.time.into()))
}

/// How its clock runs, by the node that finds it furthest off; unknown for the first minute.
fn clock_of(nodes: &[NodeReport], node: &NodeReport) -> String {
    let heard = nodes.iter().filter_map(|other| other.status.as_ref().ok());
    let heard = heard.flat_map(|status| &status.heard);
    let of_it = heard.filter(|(peer, _)| Some(*peer) == node.id);
    let rate = of_it.filter_map(|(_, heard)| heard.clock_ppm).max_by_key(|ppm| ppm.unsigned_abs());
    rate.map_or_else(|| "-".to_owned(), |ppm| format!("{ppm:+}ppm"))
}

/// What went wrong lately, node by node.
fn troubles(out: &mut String, nodes: &[NodeReport]) {
    for node in nodes {
        let Ok(status) = &node.status else { continue };
        if status.troubles.is_empty() {
            continue;
        }
        let name = text(node.name.as_deref().unwrap_or(&node.address).as_bytes());
        out.push_str(&format!("\nlately at {name}\n"));
        for trouble in &status.troubles {
            let (ago, words) = (time(trouble.ago.into()), text(trouble.words.as_bytes()));
            out.push_str(&format!("  {ago} ago: {words}\n"));
        }
    }
}

fn state(status: &Status) -> String {
    let standing = names::of_standing(status.standing);
    match status.active_in {
        Some(left) => format!("{standing}, votes in {}", time(left.into())),
        None => standing.to_owned(),
    }
}

/// Appends rows in columns; the last one is as long as it is.
pub(super) fn align(out: &mut String, rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = width(column).unwrap_or(0);
            line.push_str(&format!("{cell:<width$}  "));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
