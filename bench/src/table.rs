//! What Leasehold is to reach, measured: `leasehold bench` against three `leasehold node` processes, and the bare round next
//! to it where the goal is a multiple of that.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use leasehold_client::clock::{self, Instant};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::load::{self, Load};
use crate::stage::Cluster;
use crate::system::{System, Workload};
use crate::{note, print};

/// What `leasehold bench hold --expire` waits for after the last lease ended.
const AFTERMATH: Duration = Duration::from_secs(3);
/// How long before the leases end the others are measured, and for how long.
const BEFORE: Duration = Duration::from_secs(2);
const AROUND: &str = "6s";

/// Measures everything and prints the table.
pub(crate) fn table(leasehold: &Path, seconds: u64, expiring: u64, only: &str) -> io::Result<()> {
    let floor = Cluster::start(System::Floor { rounds: 1 }, leasehold)?;
    let cluster = Cluster::start(System::Leasehold, leasehold)?;
    let bench = Bench { leasehold, cluster: &cluster, seconds };
    let mut rows = String::from("| | at least | aim | measured |\n| --- | --- | --- | --- |\n");
    for (what, goals, measure) in ROWS {
        let what = what.replace("{leases}", &expiring.to_string());
        if !what.contains(only) {
            continue;
        }
        let measured = match measure {
            Measure::Rate(args) => rate(&bench.run(args)?),
            Measure::Alone { keys } => bench.alone(&floor, keys)?,
            Measure::Hung => bench.hung()?,
            Measure::Queue => bench.queue()?,
            Measure::Expiring => bench.expiring(expiring)?,
        };
        note(&format!("{what}: {measured}"));
        // Writing to a string does not fail.
        writeln!(rows, "| {what} | {goals} | {measured} |").unwrap_or_default();
    }
    print(&rows)
}

/// How a row is measured.
#[derive(Clone, Copy, Debug)]
enum Measure {
    /// By `leasehold bench` with these words.
    Rate(&'static [&'static str]),
    Alone {
        keys: &'static str,
    },
    Hung,
    Queue,
    Expiring,
}

/// What each row is called, what is to be reached at least and at best, and how it is measured.
const ROWS: [(&str, &str, Measure); 12] = [
    (
        "cycle, 64 in flight",
        "150,000 ops/s, ≤ 0.010 CPU s/1,000 | 320,000, ≤ 0.004",
        Measure::Rate(&["cycle"]),
    ),
    (
        "cycle, 64 in flight, each worker the same key again",
        "| ",
        Measure::Rate(&["cycle", "--keys", "64"]),
    ),
    ("cycle, 256 in flight", "250,000 | 500,000", Measure::Rate(&["cycle", "--in-flight", "256"])),
    ("extend, 64 in flight", "200,000 | 400,000", Measure::Rate(&["extend"])),
    ("update, 64 in flight", "200,000 | 400,000", Measure::Rate(&["update"])),
    ("quorum read, 64 in flight", "200,000 | 400,000", Measure::Rate(&["read"])),
    ("local read, 64 in flight", "400,000 | 800,000", Measure::Rate(&["local-read"])),
    (
        "cycle, 1 in flight, p50 against one bare round",
        "2.5 × | 2 ×",
        Measure::Alone { keys: "100000" },
    ),
    ("cycle, 1 in flight, the same key again", "| ", Measure::Alone { keys: "1" }),
    ("one node hung, keys with another home", "90 % | 100 %", Measure::Hung),
    ("fair blocking lock, 64 clients, one key", "10,000/s, Jain ≥ 0.99 | 30,000", Measure::Queue),
    ("{leases} leases end within one second, others' p99", "20 ms | 5 ms", Measure::Expiring),
];

struct Bench<'a> {
    leasehold: &'a Path,
    cluster: &'a Cluster,
    seconds: u64,
}

impl Bench<'_> {
    fn start(&self, args: &[&str]) -> io::Result<Child> {
        let endpoints: Vec<String> =
            self.cluster.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut command = Command::new(self.leasehold);
        command.args(["--json", "--endpoints", &endpoints.join(","), "bench"]).args(args);
        if !args.contains(&"--duration") {
            command.args(["--duration", &format!("{}s", self.seconds)]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()
    }

    fn run(&self, args: &[&str]) -> io::Result<Value> {
        result(self.start(args)?)
    }

    /// One in flight, in the same run as one bare round, before and after.
    fn alone(&self, floor: &Cluster, keys: &str) -> io::Result<String> {
        let load = Load {
            system: System::Floor { rounds: 1 },
            workload: Workload::Cycle,
            in_flight: 1,
            shared: true,
            duration: Duration::from_secs(self.seconds),
        };
        let before = load::run(load, floor)?.p50;
        let own = self.run(&["cycle", "--in-flight", "1", "--keys", keys])?;
        let after = load::run(load, floor)?.p50;
        let acquire = number(&own, &["latency_us", "acquire", "p50"]);
        let release = number(&own, &["latency_us", "release", "p50"]);
        #[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
        let bare = before.midpoint(after) as f64;
        let mean = f64::midpoint(acquire, release);
        Ok(format!(
            "{:.2} × (acquire {acquire} µs, release {release} µs, bare round {bare} µs)",
            mean / bare.max(1.0)
        ))
    }

    /// The rate for keys of two homes while the third node hangs, against before it did.
    fn hung(&self) -> io::Result<String> {
        let duration = format!("{}s", 2 * self.seconds);
        let warm = Duration::from_secs(2);
        let child = self.start(&["cycle", "--home", "n1,n2", "--duration", &duration])?;
        let middle = clock::now().after((warm + Duration::from_secs(self.seconds)).into());
        pause_until(middle)?;
        let hung =
            self.cluster.pids().first().and_then(|pid| Pid::from_raw(i32::try_from(*pid).ok()?));
        let hung = hung.ok_or_else(|| io::Error::other("no node to hang"))?;
        kill_process(hung, Signal::STOP)?;
        let measured = result(child);
        kill_process(hung, Signal::CONT)?;
        let measured = measured?;
        let done: Vec<f64> = series(&measured, "done");
        let (half, least) = (done.len() / 2, done.iter().copied().fold(f64::INFINITY, f64::min));
        // The second in which it hung belongs to neither side.
        let mean = |part: &[f64]| part.iter().sum::<f64>() / (part.len().max(1) as f64);
        let before = mean(done.get(..half.saturating_sub(1)).unwrap_or_default());
        let after = mean(done.get(half + 1..).unwrap_or_default());
        Ok(format!(
            "{:.0} % ({before:.0} before, {after:.0} after, the worst second {least:.0}; {})",
            100.0 * after / before.max(1.0),
            measured.get("errors").unwrap_or(&Value::Null)
        ))
    }

    /// How often one key changes hands, and how fairly.
    fn queue(&self) -> io::Result<String> {
        let queue = self.run(&["queue"])?;
        let acquired =
            number(&queue, &["latency_us", "acquire", "count"]) / number(&queue, &["seconds"]);
        let errors = queue.get("errors").unwrap_or(&Value::Null);
        Ok(format!("{acquired:.0}/s, Jain {:.4}, errors {errors}", number(&queue, &["jain"])))
    }

    /// The worst second of an open loop while so many leases end.
    fn expiring(&self, leases: u64) -> io::Result<String> {
        let number_of = leases.to_string();
        let args = ["hold", "--expire", "--keys", &number_of, "--in-flight", "256", "--ttl", "90s"];
        let mut holder = self.start(&[&args[..], &["--prefix", "held/"]].concat())?;
        let mut said = String::new();
        let out = holder.stdout.as_mut().ok_or_else(|| io::Error::other("no output"))?;
        BufReader::new(out).read_line(&mut said)?;
        let said: Value = serde_json::from_str(&said)?;
        let over = Duration::from_secs_f64(number(&said, &["over_in_ms"]) / 1_000.0);
        let begin = over.saturating_sub(AFTERMATH + BEFORE + Duration::from_secs(2));
        pause_until(clock::now().after(begin.into()))?;
        let others = self.run(&["cycle", "--rate", "2000", "--duration", AROUND])?;
        holder.wait()?;
        let worst = series(&others, "p99_us").into_iter().fold(0.0, f64::max);
        let best = series(&others, "p99_us").into_iter().fold(f64::INFINITY, f64::min);
        Ok(format!(
            "{:.1} ms in the worst second ({:.1} in the best)",
            worst / 1_000.0,
            best / 1_000.0
        ))
    }
}

fn pause_until(at: Instant) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(clock::sleep_until(at));
    Ok(())
}

/// What `leasehold bench --json` says at its end.
fn result(mut child: Child) -> io::Result<Value> {
    let mut out = String::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_string(&mut out)?;
    }
    child.wait()?;
    let last = out.lines().last().unwrap_or_default();
    let value: Value = serde_json::from_str(last)?;
    match value.get("error") {
        Some(error) => Err(io::Error::other(error.to_string())),
        None => Ok(value),
    }
}

/// The number at the end of this path; zero if there is none.
fn number(value: &Value, path: &[&str]) -> f64 {
    let found = path.iter().try_fold(value, |value, name| value.get(name));
    found.and_then(Value::as_f64).unwrap_or(0.0)
}

fn series(value: &Value, name: &str) -> Vec<f64> {
    let seconds = value.get("series").and_then(Value::as_array);
    seconds.into_iter().flatten().map(|second| number(second, &[name])).collect()
}

fn rate(value: &Value) -> String {
    let cost = number(value, &["server_cpu_per_1000"]);
    let own = number(value, &["own_cpu_per_1000"]);
    let per_second = number(value, &["per_second"]);
    format!("{per_second:.0} ops/s, {cost:.4} CPU s/1,000 (and {own:.4} the client)")
}
