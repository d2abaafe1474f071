//! The servers that are compared: started on loopback at ports that nobody has, with folders of their own, and ended with
//! this process, each by its handle.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use leasehold_client::clock;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

use crate::system::{System, Workload};

/// A server that does not answer after so long will not.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);
const THREE: usize = 3;

/// Servers of one system.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) ports: Vec<u16>,
    children: Vec<Child>,
    /// Kept for as long as they run.
    folder: TempDir,
}

/// Those that run, for the case that this process is told to end.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Ends what runs, and this process, as soon as it is told to.
pub(crate) fn end_when_told() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::spawn(move || {
        runtime.block_on(told());
        for pid in RUNNING.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
                // One that is gone already is as wanted.
                kill_process(pid, Signal::KILL).unwrap_or_default();
            }
        }
        std::process::exit(130);
    });
    Ok(())
}

async fn told() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pids = self.pids();
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|pid| !pids.contains(pid));
        for child in &mut self.children {
            // One that is gone already is as wanted.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Cluster {
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    /// Starts the servers of a system, and waits until they do what they are for.
    pub(crate) fn start(system: System, leasehold: &Path) -> io::Result<Self> {
        let mut cluster = Self { ports: Vec::new(), children: Vec::new(), folder: folder()? };
        match system {
            System::Floor { .. } => cluster.floor()?,
            System::Leasehold => cluster.leasehold(leasehold)?,
            System::Redis { servers } => cluster.redis(servers)?,
            System::ZooKeeper => cluster.zookeeper()?,
            System::Etcd => cluster.etcd()?,
        }
        cluster.wait(system)?;
        Ok(cluster)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn spawn(&mut self, command: &mut Command) -> io::Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let log = fs::File::create(self.path(&format!("log{}", self.children.len())))?;
        let output = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = output.current_dir(self.folder.path()).spawn();
        let missing = |error| io::Error::other(format!("cannot start {program}: {error}"));
        let child = child.map_err(missing)?;
        RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push(child.id());
        self.children.push(child);
        Ok(())
    }

    /// Waits until a worker can acquire and release a key.
    fn wait(&mut self, system: System) -> io::Result<()> {
        let deadline = clock::now().after(PATIENCE.into());
        loop {
            let load = crate::load::Load {
                system,
                workload: Workload::Cycle,
                in_flight: THREE,
                shared: true,
                duration: LOOK,
            };
            let tried = crate::load::run(load, self);
            if tried.as_ref().is_ok_and(|measured| measured.rate > 0.0 && measured.failed == 0) {
                return Ok(());
            }
            if clock::now() >= deadline {
                let log = fs::read_to_string(self.path("log0")).unwrap_or_default();
                let last = log.lines().last().unwrap_or_default().to_owned();
                let name = system.name();
                return Err(io::Error::other(format!(
                    "{name} does not come up ({tried:?}): {last}"
                )));
            }
        }
    }

    fn floor(&mut self) -> io::Result<()> {
        self.ports = free_ports(THREE)?;
        for port in self.ports.clone() {
            let mut command = Command::new(std::env::current_exe()?);
            self.spawn(command.args(["floor-server", &port.to_string()]))?;
        }
        Ok(())
    }

    fn leasehold(&mut self, binary: &Path) -> io::Result<()> {
        self.ports = free_ports(THREE)?;
        let peers = free_ports(THREE)?;
        let masters: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(i, port)| format!("\"n{i}=127.0.0.1:{port}\""))
            .collect();
        for (i, (client, peer)) in self.ports.clone().into_iter().zip(&peers).enumerate() {
            let text = format!(
                "[node]\nname = \"n{i}\"\ndata_dir = \"n{i}\"\n[cluster]\nname = \"bench\"\nmasters = [{}]\n\
                 [listen]\nclient = \"127.0.0.1:{client}\"\npeer = \"127.0.0.1:{peer}\"\n[log]\nlevel = \"warn\"\n",
                masters.join(", ")
            );
            let file = self.path(&format!("n{i}.toml"));
            fs::write(&file, text)?;
            self.spawn(Command::new(binary).arg("node").arg("--config").arg(file))?;
        }
        let endpoints: Vec<String> =
            self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let deadline = clock::now().after(PATIENCE.into());
        loop {
            let mut init = Command::new(binary);
            init.args(["init", "--endpoints", &endpoints.join(",")]);
            let output = init.output()?;
            if output.status.success() {
                return Ok(());
            }
            if clock::now() >= deadline {
                return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()));
            }
        }
    }

    fn redis(&mut self, servers: usize) -> io::Result<()> {
        self.ports = free_ports(servers)?;
        for port in self.ports.clone() {
            let mut command = Command::new("redis-server");
            let fixed = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
            self.spawn(command.args(["--port", &port.to_string()]).args(fixed))?;
        }
        Ok(())
    }

    fn etcd(&mut self) -> io::Result<()> {
        self.ports = free_ports(THREE)?;
        let peers = free_ports(THREE)?;
        let all: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(i, port)| format!("n{i}=http://127.0.0.1:{port}"))
            .collect();
        for (i, (client, peer)) in self.ports.clone().into_iter().zip(&peers).enumerate() {
            let (client, peer) =
                (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
            let mut command = Command::new("etcd");
            command.args(["--name", &format!("n{i}"), "--data-dir", &format!("n{i}")]);
            command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            command.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
            self.spawn(command.args(["--log-level", "error"]))?;
        }
        Ok(())
    }

    fn zookeeper(&mut self) -> io::Result<()> {
        self.ports = free_ports(THREE)?;
        let peers = free_ports(2 * THREE)?;
        let servers: String = peers
            .chunks(2)
            .enumerate()
            .filter_map(|(i, pair)| Some((i + 1, pair.first()?, pair.last()?)))
            .map(|(i, quorum, election)| format!("server.{i}=127.0.0.1:{quorum}:{election}\n"))
            .collect();
        for (i, port) in self.ports.clone().into_iter().enumerate() {
            let data = self.path(&format!("n{i}"));
            fs::create_dir(&data)?;
            fs::write(data.join("myid"), (i + 1).to_string())?;
            let text = format!(
                "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={port}\n\
                 clientPortAddress=127.0.0.1\nmaxClientCnxns=0\nadmin.enableServer=false\n{servers}",
                data.display()
            );
            let file = self.path(&format!("zoo{i}.cfg"));
            fs::write(&file, text)?;
            let mut command = Command::new("java");
            command.args(["-Xmx512m", "-cp", "/etc/zookeeper/conf:/usr/share/java/zookeeper.jar"]);
            command.arg(format!("-Dzookeeper.log.dir={}", data.display()));
            command.args([
                "-Dzookeeper.root.logger=ERROR,CONSOLE",
                "-Dlog4j.rootLogger=ERROR,CONSOLE",
            ]);
            self.spawn(command.arg("org.apache.zookeeper.server.quorum.QuorumPeerMain").arg(file))?;
        }
        Ok(())
    }
}

/// A folder in memory where there is such a thing, so that no disk is measured.
fn folder() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
}

/// Ports on loopback that nobody has at the moment.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let taken: io::Result<Vec<TcpListener>> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    taken?.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
