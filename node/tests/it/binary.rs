//! The binary as a process: commands that end, and servers that are ended with the test.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Far beyond what anything takes here, and less than any lease; a test that gets there has failed.
const FOREVER: Duration = Duration::from_secs(120);

/// A process that does not outlive its test.
pub(crate) struct Server(Child);

impl Server {
    /// Starts `leasehold` with these arguments, to run until it is dropped.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self(command(args).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// The same, with what it says on standard error at the end of this file.
    pub(crate) fn logging(args: &[&str], log: &Path, environment: &[(&str, &str)]) -> Self {
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = command(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.envs(environment.iter().copied()).spawn().unwrap())
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// The exit code, if it has come to its end.
    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.0.try_wait().unwrap().and_then(|status| status.code())
    }

    /// Waits for its end, and gives back the exit code.
    pub(crate) fn end(mut self) -> Option<i32> {
        self.0.wait().unwrap().code()
    }

    /// What it says on standard output up to the line `ready`.
    pub(crate) fn ready(&mut self) -> Vec<String> {
        let out = BufReader::new(self.0.stdout.take().unwrap());
        let lines: Vec<String> =
            out.lines().map_while(Result::ok).take_while(|l| l != "ready").collect();
        assert!(self.0.try_wait().unwrap().is_none(), "it ended instead, after {lines:?}");
        lines
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_leasehold"));
    command.args(args).env_remove("LEASEHOLD_ENDPOINTS").env_remove("RUST_LOG");
    command
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("ended by a signal"));
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }

    /// The one object it printed with `--json`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn token(&self) -> u64 {
        self.json()["token"].as_u64().unwrap_or_else(|| panic!("no token: {self:?}"))
    }
}

/// A cluster as its users see it: through its endpoints.
pub(crate) struct Endpoints(pub(crate) String);

impl Endpoints {
    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Said {
        Said::of(command(&["--endpoints", &self.0]).args(args).output().unwrap())
    }

    /// Runs a command that must exit with `code`, and gives back what it said with `--json`.
    #[track_caller]
    pub(crate) fn expect(&self, code: i32, args: &[&str]) -> Said {
        let said = self.run(&[&["--json"], args].concat());
        assert_eq!(said.code, code, "{args:?} {said:?}");
        said
    }

    /// Runs a command in the background.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = command(&["--endpoints", &self.0]);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Repeats a command until what it says with `--json` is as wanted.
    #[expect(clippy::disallowed_methods, reason = "a test that waits in vain needs an end")]
    #[track_caller]
    pub(crate) fn until(
        &self,
        mut args: impl FnMut(usize) -> Vec<String>,
        wanted: impl Fn(&Said) -> bool,
    ) -> Said {
        let started = Instant::now();
        for look in 0.. {
            let args = args(look);
            let args: Vec<&str> = ["--json"].into_iter().chain(args.iter().map(|a| &**a)).collect();
            let said = self.run(&args);
            if wanted(&said) {
                return said;
            }
            assert!(started.elapsed() < FOREVER, "in vain; at last {said:?}");
        }
        unreachable!("there is always another look")
    }
}

/// Words as arguments.
pub(crate) fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

/// Ports on loopback that nobody has. Each is given once, and they are below those that the system gives to connections and
/// to whoever asks for any: so nobody takes one before it is used.
pub(crate) fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u32 = 16_000;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(97);
    let next = || begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % FIRST + FIRST;
    let ports = std::iter::repeat_with(next).map(|port| u16::try_from(port).unwrap());
    ports.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).take(count).collect()
}

/// Writes a file, and gives back its path.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
