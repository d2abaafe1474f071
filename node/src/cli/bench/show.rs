//! What is shown of a load.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use leasehold_client::clock::Instant;
use leasehold_core::Span;
use serde_json::{Value, json};

use super::Measured;
use super::plan::Plan;
use super::tally::{Latencies, Second, Tally, jain};
use super::typed::Workload;
use super::worker::Load;
use crate::cli::typed::Global;

/// The shares that are shown, and what they are called.
const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999)];

/// All there is to show.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) load: Arc<Load>,
    pub(super) tally: Tally,
    pub(super) measured: Measured,
}

impl Report {
    fn per_second(&self) -> f64 {
        per(self.tally.done, seconds(self.measured.span))
    }

    /// Seconds of processor time per thousand operations.
    #[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
    fn per_thousand(&self, used: Option<Duration>) -> Option<f64> {
        let done = self.tally.done as f64;
        used.filter(|_| done > 0.0).map(|used| used.as_secs_f64() * 1_000.0 / done)
    }

    /// How evenly the keys went round, for those that others want.
    fn fairness(&self) -> Option<f64> {
        let plan = &self.load.plan;
        if !matches!(plan.workload, Workload::Queue | Workload::Contend) {
            return None;
        }
        let count = |worker| self.tally.acquired.get(&worker).copied().unwrap_or(0);
        jain(&(0..plan.in_flight).map(count).collect::<Vec<_>>())
    }
}

fn seconds(span: Span) -> f64 {
    Duration::from(span).as_secs_f64()
}

#[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
fn per(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Prints results.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody is left to tell when this fails.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

/// Says why there are none.
pub(super) fn complain(words: &str, code: u8, global: &Global) {
    if global.json {
        print(&format!("{}\n", json!({ "op": "bench", "error": words, "code": code })));
    }
    if !(global.json && global.quiet) {
        drop(writeln!(std::io::stderr(), "leasehold: {words}; see `leasehold bench --help`"));
    }
}

/// What `--expire` says once all leases are held.
pub(super) fn prepared(load: &Load, over_in: Span) -> String {
    let held = load.course.prepared.load(Ordering::Relaxed);
    let object = json!({ "op": "bench", "held": held, "over_in_ms": over_in.as_millis() });
    format!("{object}\n")
}

/// What the progress says in the middle of it.
pub(super) fn progress(plan: &Plan, begin: Instant, now: Instant, latest: &Second) -> String {
    let (gone, all) = (now.since(begin), plan.duration);
    let (p50, p99) = (latest.latencies.quantile(0.5), latest.latencies.quantile(0.99));
    format!(
        "{}: {:.0}s of {:.0}s, {} operations/s, p50 {}, p99 {}",
        plan.workload.name(),
        seconds(gone),
        seconds(all),
        grouped(latest.done),
        time(p50),
        time(p99)
    )
}

/// The results, for people or for programs.
pub(super) fn report(report: &Report, as_json: bool) -> String {
    if as_json { format!("{}\n", object(report)) } else { text(report) }
}

fn text(report: &Report) -> String {
    let plan = &report.load.plan;
    let mut text = String::new();
    let loops = plan
        .rate
        .map_or("closed loop".to_owned(), |rate| format!("{} begun a second", grouped(rate)));
    let Measured { set_up, span, late, servers, own, pids, .. } = &report.measured;
    let mut line = |words: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        text.write_fmt(words).unwrap_or_default();
        text.push('\n');
    };
    line(format_args!(
        "{}: {} in flight, {} clients on {} threads, {} keys, values of {} bytes, {loops}",
        plan.workload.name(),
        plan.in_flight,
        plan.connections,
        plan.threads,
        grouped(plan.keys.number),
        plan.value_size,
    ));
    let prepared = report.load.course.prepared.load(Ordering::Relaxed);
    if prepared > 0 {
        line(format_args!("{} leases acquired in {:.2}s", grouped(prepared), seconds(*set_up)));
    }
    line(format_args!(
        "{} operations/s ({} in {:.2}s)",
        grouped_rate(report.per_second()),
        grouped(report.tally.done),
        seconds(*span)
    ));
    if let Some(cost) = report.per_thousand(*servers) {
        line(format_args!(
            "servers: {cost:.4} CPU seconds per 1,000 operations (processes {pids:?})"
        ));
    }
    if let Some(cost) = report.per_thousand(*own) {
        line(format_args!("this process: {cost:.4} CPU seconds per 1,000 operations"));
    }
    if let Some(late) = late.filter(|late| *late > 0) {
        line(format_args!(
            "{} operations were due and not begun: too few in flight for this rate",
            grouped(late)
        ));
    }
    line(format_args!(
        "{:12}{:>12}{:>10}{:>10}{:>10}{:>10}{:>10}",
        "", "count", "p50", "p90", "p99", "p99.9", "max"
    ));
    for (kind, latencies) in &report.tally.kinds {
        let [p50, p90, p99, p999] = QUANTILES.map(|(_, share)| time(latencies.quantile(share)));
        let (count, max) = (grouped(latencies.0.len()), time(latencies.0.max()));
        line(format_args!(
            "{:12}{count:>12}{p50:>10}{p90:>10}{p99:>10}{p999:>10}{max:>10}",
            kind.name()
        ));
    }
    for (why, count) in &report.tally.errors {
        line(format_args!("{why}: {}", grouped(*count)));
    }
    if let Some(jain) = report.fairness() {
        line(format_args!("fairness (Jain's index over {} workers): {jain:.4}", plan.in_flight));
    }
    text
}

fn object(report: &Report) -> Value {
    let plan = &report.load.plan;
    let Measured { set_up, span, series, late, servers, own, pids } = &report.measured;
    let kinds = report.tally.kinds.iter();
    let latencies: serde_json::Map<String, Value> =
        kinds.map(|(kind, latencies)| (kind.name().to_owned(), quantiles(latencies))).collect();
    let series = series.iter().map(|second| {
        let (p50, p99) = (second.latencies.quantile(0.5), second.latencies.quantile(0.99));
        json!({ "done": second.done, "p50_us": p50, "p99_us": p99, "max_us": second.latencies.0.max() })
    });
    json!({
        "op": "bench",
        "workload": plan.workload.name(),
        "in_flight": plan.in_flight,
        "connections": plan.connections,
        "threads": plan.threads,
        "rate": plan.rate,
        "keys": plan.keys.number,
        "value_size": plan.value_size,
        "prepared": report.load.course.prepared.load(Ordering::Relaxed),
        "set_up_seconds": seconds(*set_up),
        "seconds": seconds(*span),
        "done": report.tally.done,
        "per_second": report.per_second(),
        "server_cpu_per_1000": report.per_thousand(*servers),
        "own_cpu_per_1000": report.per_thousand(*own),
        "pids": pids,
        "latency_us": latencies,
        "errors": report.tally.errors,
        "not_begun": late,
        "jain": report.fairness(),
        "series": series.collect::<Vec<_>>(),
    })
}

fn quantiles(latencies: &Latencies) -> Value {
    let named = QUANTILES
        .iter()
        .map(|(name, share)| ((*name).to_owned(), latencies.quantile(*share).into()));
    let mut object: serde_json::Map<String, Value> = named.collect();
    object.insert("count".to_owned(), latencies.0.len().into());
    object.insert("mean".to_owned(), latencies.0.mean().into());
    object.insert("max".to_owned(), latencies.0.max().into());
    object.into()
}

/// Microseconds, in a unit that keeps them short.
fn time(micros: u64) -> String {
    let (whole, tenths) = (micros / 1_000, micros % 1_000 / 100);
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..100_000 => format!("{whole}.{tenths}ms"),
        100_000..10_000_000 => format!("{whole}ms"),
        _ => format!("{}s", micros / 1_000_000),
    }
}

/// A number in groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::new();
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shown without fractions"
)]
fn grouped_rate(rate: f64) -> String {
    grouped(rate as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(time(999), "999us");
        assert_eq!(time(1_250), "1.2ms");
        assert_eq!(time(250_000), "250ms");
        assert_eq!(time(12_000_000), "12s");
    }
}
