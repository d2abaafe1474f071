//! From a scenario to text.

use std::fmt::Write;

use leasehold_core::Limits;

use super::check::digits;
use super::{VERSION, Written};
use crate::fault::{Fault, Kind, MAX_NODES, Nodes};
use crate::operator;
use crate::scenario::{Scenario, Weather};
use crate::script::{By, Fate, Operation, Script, What};

/// A scenario as a file that can be read, edited, and read again.
#[must_use]
pub fn show(written: &Written) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _done = write_all(&mut text, written);
    text
}

fn write_all(out: &mut String, written: &Written) -> std::fmt::Result {
    let Written { title, violates, without, scenario: plan } = written;
    writeln!(
        out,
        "# A scenario of leasehold-sim. Replay it with `leasehold-sim replay FILE`; docs/simulation.md says"
    )?;
    writeln!(
        out,
        "# what may stand here. All times are microseconds of true time since the start."
    )?;
    writeln!(out, "version = {VERSION}")?;
    if !title.is_empty() {
        writeln!(out, "title = {}", quoted(title))?;
    }
    if let Some(violates) = violates {
        writeln!(out, "# What goes wrong.")?;
        writeln!(out, "violates = {}", quoted(violates))?;
    }
    if let Some(rule) = without {
        writeln!(out, "# Only without this rule; with it nothing is violated.")?;
        writeln!(out, "without = {}", quoted(rule))?;
    }
    writeln!(out, "\n# What is not written below is still thrown by these dice.")?;
    writeln!(out, "seed = {}", plan.seed)?;
    writeln!(out, "profile = {}", quoted(plan.profile.name()))?;
    numbers(out, plan)?;
    let Some(script) = &plan.script else { return Ok(()) };
    clocks(out, plan, script)?;
    list(out, "# What goes wrong, and when.", "faults", &plan.faults, |fault| fault_text(*fault))?;
    list(out, "# What the operator wants.", "changes", &plan.changes, change_text)?;
    let lane = |lane| lane_name(lane, plan.nodes());
    let about =
        "# Messages that do not simply arrive: the how many-th of its kind on its link, from 1 on.";
    list(out, about, "messages", &script.fates, |fate| fate_text(fate, &lane))?;
    let about = "# What clients do. What one cannot know it does not do: an extension of a lock without an answer is left out.";
    list(out, about, "operations", &script.operations, operation_text)
}

fn numbers(out: &mut String, plan: &Scenario) -> std::fmt::Result {
    writeln!(
        out,
        "\n# Nodes are n0, n1, ...: masters first, then replicas, then nodes that belong to no cluster yet."
    )?;
    writeln!(out, "masters = {}", plan.masters)?;
    for (name, count) in [("replicas", plan.replicas), ("spares", plan.spares)] {
        if count > 0 {
            writeln!(out, "{name} = {count}")?;
        }
    }
    writeln!(out, "# Clients are c0, c1, ...; keys are k0, k1, ...")?;
    writeln!(out, "clients = {}", plan.clients.len())?;
    writeln!(out, "keys = {}", plan.keys)?;
    writeln!(out, "\nfounding = {}", digits(plan.founding))?;
    writeln!(out, "# All faults are over, and clients begin nothing new.")?;
    writeln!(out, "quiet = {}", digits(plan.quiet))?;
    if let Some(end) = plan.script.as_ref().and_then(|script| script.end) {
        writeln!(
            out,
            "# Judged here. Without an end it is judged when everything has worked again and is forgotten."
        )?;
        writeln!(out, "end = {}", digits(end))?;
    }
    if plan.wall_error > 0 {
        writeln!(out, "wall_clock_error = {}", digits(plan.wall_error))?;
    }
    writeln!(out, "disk = {}", digits(plan.disk))?;
    if plan.deaf != Nodes::default() {
        writeln!(out, "# Nodes that never hear of a link.")?;
        writeln!(out, "deaf = {}", node_names(plan.deaf))?;
    }
    if plan.lame != Nodes::default() {
        writeln!(
            out,
            "# Nodes that stay down while it is first judged whether everything works again."
        )?;
        writeln!(out, "lame = {}", node_names(plan.lame))?;
    }
    if plan.room > 0 {
        writeln!(out, "# Messages that fit on a link, and in front of a node that stands still.")?;
        writeln!(out, "room = {}", plan.room)?;
    }
    for (name, on) in [("coalesce", plan.coalesce), ("dead_clocks", plan.dead_clocks)] {
        if on {
            writeln!(out, "{name} = true")?;
        }
    }
    limits(out, plan)?;
    let timing = &plan.settings.timing;
    if plan.drift != u64::from(timing.max_clock_drift.ppm()) {
        writeln!(out, "# How far clocks really drift, in parts per million.")?;
        writeln!(out, "clock_drift = {}", digits(plan.drift))?;
    }
    writeln!(
        out,
        "\ntiming = {{ max_lease = {}, op_timeout = {}, promise_timeout = {}, sync_timeout = {}, max_clock_drift = {} }}",
        digits(timing.max_lease.as_micros()),
        digits(timing.op_timeout.as_micros()),
        digits(timing.promise_timeout.as_micros()),
        digits(timing.sync_timeout.as_micros()),
        digits(u64::from(timing.max_clock_drift.ppm())),
    )?;
    writeln!(out, "# A message takes `base`, and up to `jitter` more.")?;
    writeln!(out, "network = {}", weather_text(&plan.weather))?;
    writeln!(out, "client_network = {}", weather_text(&plan.client_weather))
}

fn limits(out: &mut String, plan: &Scenario) -> std::fmt::Result {
    let (is, usual) = (plan.settings.limits, Limits::default());
    let all = [
        ("records", is.records, usual.records),
        ("waiters_per_key", is.waiters_per_key, usual.waiters_per_key),
        ("waiters", is.waiters, usual.waiters),
        ("operations", is.operations, usual.operations),
        ("snapshot_part", is.snapshot_part, usual.snapshot_part),
    ];
    let odd = all.into_iter().filter(|(_, is, usual)| is != usual);
    let odd: Vec<String> = odd.map(|(name, is, _)| format!("{name} = {is}")).collect();
    if odd.is_empty() { Ok(()) } else { writeln!(out, "limits = {{ {} }}", odd.join(", ")) }
}

fn weather_text(weather: &Weather) -> String {
    let Weather { base, jitter, loss, duplicates, late, latest } = *weather;
    let mut text = format!("{{ base = {}, jitter = {}", digits(base), digits(jitter));
    let odd = [("loss", loss), ("duplicates", duplicates), ("late", late)];
    for (name, parts) in odd.into_iter().filter(|(_, parts)| *parts > 0) {
        text.push_str(&format!(", {name} = {}", digits(parts)));
    }
    if late > 0 {
        text.push_str(&format!(", latest = {}", digits(latest)));
    }
    text + " }"
}

fn clocks(out: &mut String, plan: &Scenario, script: &Script) -> std::fmt::Result {
    let about = "# How fast clocks run, in parts per million beside true time. Any that is not listed wanders.";
    let rates: Vec<(usize, i64)> = script
        .clocks
        .iter()
        .enumerate()
        .filter_map(|(lane, rate)| Some((lane, (*rate)?)))
        .collect();
    list(out, about, "clocks", &rates, |(lane, rate)| {
        format!("of = {}, ppm = {rate}", quoted(&lane_name(*lane, plan.nodes())))
    })
}

fn list<T>(
    out: &mut String,
    about: &str,
    name: &str,
    items: &[T],
    text: impl Fn(&T) -> String,
) -> std::fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{about}\n{name} = [")?;
    for item in items {
        writeln!(out, "  {{ {} }},", text(item))?;
    }
    writeln!(out, "]")
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn lane_name(lane: usize, nodes: usize) -> String {
    if lane < nodes { format!("n{lane}") } else { format!("c{}", lane - nodes) }
}

fn names(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    format!("[{}]", names.join(", "))
}

fn node_names(set: Nodes) -> String {
    let all = (0..MAX_NODES).filter(|node| set.has(*node));
    names(&all.map(|node| format!("n{node}")).collect::<Vec<_>>())
}

fn cut_text(cut: &[Nodes; MAX_NODES]) -> String {
    let mut links = Vec::new();
    for (from, row) in cut.iter().enumerate() {
        for to in (0..MAX_NODES).filter(|to| row.has(*to)) {
            let both = cut[to].has(from);
            if both && from < to {
                links.push(format!("n{from}-n{to}"));
            } else if !both {
                links.push(format!("n{from}>n{to}"));
            }
        }
    }
    names(&links)
}

fn fault_text(fault: Fault) -> String {
    let Fault { from, until, kind, die } = fault;
    let what = match kind {
        Kind::Cut(cut) => format!("cut = {}", cut_text(&cut)),
        Kind::Slow(nodes, by) => format!("slow = {}, by = {}", node_names(nodes), digits(by)),
        Kind::SlowDisk(nodes, by) => {
            format!("slow_disk = {}, by = {}", node_names(nodes), digits(by))
        }
        Kind::FailDisk(nodes) => format!("fail_disk = {}", node_names(nodes)),
        Kind::Pause(nodes) => format!("pause = {}", node_names(nodes)),
        Kind::PauseClient(client) => format!("pause_client = \"c{client}\""),
        Kind::Crash { nodes, drain } => {
            let drain = if drain { ", drain = true" } else { "" };
            format!("crash = {}{drain}, die = {die}", node_names(nodes))
        }
        Kind::Lose(node) => format!("lose = \"n{node}\", die = {die}"),
        Kind::WrongHint { node, peer } => format!("wrong_hint = \"n{node}>n{peer}\""),
        Kind::Vanish { client, noticed } => {
            let noticed = if noticed { ", noticed = true" } else { "" };
            format!("vanish = \"c{client}\"{noticed}")
        }
    };
    format!("from = {}, until = {}, {what}", digits(from), digits(until))
}

fn change_text(change: &operator::Change) -> String {
    let operator::Change { at, kind, until } = change;
    let wish = if let operator::Kind::Exactly(wish) = kind { *wish } else { Default::default() };
    let mut text = format!(
        "at = {}, until = {}, masters = {}",
        digits(*at),
        digits(*until),
        node_names(wish.masters)
    );
    if wish.replicas != Nodes::default() {
        text.push_str(&format!(", replicas = {}", node_names(wish.replicas)));
    }
    text
}

fn fate_text(fate: &Fate, lane: &impl Fn(usize) -> String) -> String {
    let Fate { from, to, kind, number, takes, copy } = fate;
    let mut text = format!(
        "from = {}, to = {}, kind = {}, number = {number}",
        quoted(&lane(*from)),
        quoted(&lane(*to)),
        quoted(kind)
    );
    match takes {
        Some(takes) => text.push_str(&format!(", takes = {}", digits(*takes))),
        None => text.push_str(", lost = true"),
    }
    if let Some(copy) = copy {
        text.push_str(&format!(", copy = {}", digits(*copy)));
    }
    text
}

fn by_text(by: &By) -> String {
    let token = if by.token { "" } else { ", owner_token = false" };
    let value = by.value.as_deref();
    value.map_or_else(String::new, |value| format!(", owner_value = {}", quoted(value))) + token
}

fn operation_text(operation: &Operation) -> String {
    let Operation { at, client, key, what, to, patience, again, cancel, gives_up } = operation;
    let what = match what {
        What::Lock { name, value, lease, delay, wait } => {
            let mut text = format!(
                "lock = {}, key = \"k{key}\", value = {}, lease = {}",
                quoted(name),
                quoted(value),
                digits(*lease)
            );
            for (name, span) in [("delay", delay), ("wait", wait)] {
                if *span > 0 {
                    text.push_str(&format!(", {name} = {}", digits(*span)));
                }
            }
            text
        }
        What::Extend { of, by, lease } => {
            format!("extend = {}, lease = {}{}", quoted(of), digits(*lease), by_text(by))
        }
        What::Update { of, by, value } => {
            format!("update = {}, value = {}{}", quoted(of), quoted(value), by_text(by))
        }
        What::Release { of, by } => format!("release = {}{}", quoted(of), by_text(by)),
        What::Read => format!("read = \"k{key}\""),
        What::WaitHeld => format!("wait_held = \"k{key}\""),
        What::WaitReleased => format!("wait_released = \"k{key}\""),
    };
    let mut text = format!(
        "at = {}, client = \"c{client}\", {what}, to = \"n{to}\", patience = {}",
        digits(*at),
        digits(*patience)
    );
    if !again.is_empty() {
        let again: Vec<String> = again
            .iter()
            .map(|again| {
                let (at, patience) = (digits(again.at), digits(again.patience));
                format!("{{ at = {at}, to = \"n{}\", patience = {patience} }}", again.to)
            })
            .collect();
        text.push_str(&format!(", again = [{}]", again.join(", ")));
    }
    for (name, time) in [("cancel", cancel), ("gives_up", gives_up)] {
        if let Some(time) = time {
            text.push_str(&format!(", {name} = {}", digits(*time)));
        }
    }
    text
}
