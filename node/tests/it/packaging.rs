//! What runs a node elsewhere: unit, image, manifests, alerts and dashboard, as far as they can be checked here.
//! `packaging/lint` has the linters for the rest.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use leasehold_node::{DevOptions, dev};
use serde_json::Value;

use super::binary::{free_ports, write};
use super::web::Web;

fn read(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of metrics in a text, without what a histogram adds.
fn metrics(text: &str) -> BTreeSet<String> {
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    let names = text.split(word).filter(|word| word.starts_with("leasehold_"));
    let base = |name: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let end = ends.iter().find_map(|end| name.strip_suffix(end));
        end.unwrap_or(name).to_owned()
    };
    names.map(base).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_and_dashboard_use_metrics_that_exist() {
    let cluster = dev(DevOptions { masters: 1, replicas: 1, port: 0 }).await.unwrap();
    let page =
        Web::connect(cluster.nodes()[0].http_addr().unwrap()).await.get("/metrics").await.text;
    // What is said of a family, also of one without samples; counters are asked for with their ending.
    let family = |line: &str| {
        let mut words = line.strip_prefix("# TYPE ")?.split(' ');
        let (name, kind) = (words.next()?, words.next()?);
        Some(if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
    };
    let exist: BTreeSet<String> = page.lines().filter_map(family).collect();
    for name in ["packaging/monitoring/alerts.yaml", "packaging/monitoring/dashboard.json"] {
        let used = metrics(&read(name));
        assert!(used.len() > 5, "{name}: {used:?}");
        let unknown: Vec<_> = used.difference(&exist).collect();
        assert!(unknown.is_empty(), "{name} uses {unknown:?}");
    }
    cluster.shutdown().await;
}

#[test]
fn the_dashboard_is_whole_and_every_alert_is_explained() {
    let dashboard: Value =
        serde_json::from_str(&read("packaging/monitoring/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{panel}");
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{panel}");
    }
    let (alerts, operations) =
        (read("packaging/monitoring/alerts.yaml"), read("docs/operations.md"));
    let named: BTreeSet<&str> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let told: BTreeSet<&str> =
        operations.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    assert_eq!(named, told);
    assert!(named.contains("LeaseholdClockRate"));
}

#[test]
fn the_configuration_of_the_manifests_is_one() {
    let manifests = read("packaging/kubernetes/leasehold.yaml");
    let start = manifests.split_once("  node.toml: |\n").unwrap().1;
    let lines = start.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let text: String = lines.map(|line| format!("{}\n", line.trim_start())).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "node.toml", &text);
    let shown = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["node", "--config", &path, "--print-config"])
        .env("LEASEHOLD__NODE__NAME", "leasehold-0")
        .env("LEASEHOLD__ADVERTISE__CLIENT", "leasehold-0.leasehold-peers:7400")
        .env("LEASEHOLD__ADVERTISE__PEER", "leasehold-0.leasehold-peers:7401")
        .env("LEASEHOLD__ADVERTISE__HTTP", "leasehold-0.leasehold-peers:7402")
        .output()
        .unwrap();
    assert!(shown.status.success(), "{shown:?}");
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("format = \"json\"") && shown.contains("leasehold-2.leasehold-peers:7401")
    );
    for needed in [
        "publishNotReadyAddresses: true",
        "podManagementPolicy: Parallel",
        "maxUnavailable: 1",
        "path: /readyz",
        "path: /livez",
        "preStop:",
    ] {
        assert!(manifests.contains(needed), "{needed}");
    }
}

/// As systemd would: a socket that is told, and a watchdog that wants to hear.
#[test]
fn the_service_manager_is_told_that_the_node_runs_works_and_stops() {
    let unit = read("packaging/systemd/leasehold.service");
    assert!(unit.contains("Type=notify") && unit.contains("WatchdogSec="));
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let told = UnixDatagram::bind(&socket).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let ports = free_ports(2);
    let config = format!(
        "[node]\nname = 'a'\ndata_dir = '{0}'\n[cluster]\nmasters = ['a=127.0.0.1:{2}']\n\
         [listen]\nclient = '127.0.0.1:{1}'\npeer = '127.0.0.1:{2}'\n[log]\nformat = 'json'\n",
        folder.path().join("data").display(),
        ports[0],
        ports[1],
    );
    fs::create_dir(folder.path().join("data")).unwrap();
    let path = write(folder.path(), "node.toml", &config);
    let mut child = Command::new(env!("CARGO_BIN_EXE_leasehold"))
        .args(["node", "--config", &path])
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "200000")
        .env_remove("WATCHDOG_PID")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let next = || {
        let mut bytes = [0; 256];
        let length = told.recv(&mut bytes).expect("a word in time");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    assert_eq!(next().trim(), "READY=1");
    assert_eq!(next().trim(), "WATCHDOG=1");
    assert_eq!(next().trim(), "WATCHDOG=1");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let last = std::iter::repeat_with(next).find(|word| word.trim() != "WATCHDOG=1").unwrap();
    assert_eq!(last.trim(), "STOPPING=1");
    let output = child.stderr.take().unwrap();
    assert!(child.wait().unwrap().success());
    let lines = std::io::read_to_string(output).unwrap();
    // One object a line, and nothing else.
    let starting = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let starting: Vec<Value> = starting.filter(|line| line["message"] == "starting").collect();
    assert_eq!((starting.len(), &starting[0]["level"]), (1, &Value::from("INFO")), "{lines}");
}
