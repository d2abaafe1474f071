//! `leasehold dev`.

use std::io::{self, Write};
use std::process::ExitCode;

use leasehold_node::{Dev, DevError, DevOptions, dev};
use tracing::error;

use crate::cli::Global;
use crate::signals::Signals;
use crate::{exit, logs};

/// What `leasehold dev` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// How many masters to run
    #[arg(long, default_value_t = 3)]
    masters: u16,
    /// How many replicas to run
    #[arg(long, default_value_t = 1)]
    replicas: u16,
    /// Where node 0 listens for clients; node i does at this port plus 10·i, for other nodes one above, and over HTTP
    /// two above; 0 lets the system choose
    #[arg(long, default_value_t = 7400)]
    port: u16,
}

/// Runs the cluster until it is told to stop.
pub(crate) fn run(global: &Global, args: &Args) -> ExitCode {
    logs::start(global, "warn");
    let options = DevOptions { masters: args.masters, replicas: args.replicas, port: args.port };
    let ran = tokio::runtime::Runtime::new().and_then(|runtime| runtime.block_on(cluster(options)));
    ran.unwrap_or_else(|error| {
        error!("{error}");
        exit::FAILED
    })
}

async fn cluster(options: DevOptions) -> io::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let started = tokio::select! {
        biased;
        () = signals.stop() => return Ok(exit::DONE),
        started = dev(options) => started,
    };
    let mut cluster = match started {
        Ok(cluster) => cluster,
        Err(error) => {
            error!("{error}");
            return Ok(match error {
                DevError::Masters(_) | DevError::Ports => exit::usage(),
                DevError::Start(_) | DevError::Init(_) => exit::cannot_connect(),
            });
        }
    };
    announce(&cluster)?;
    tokio::select! {
        biased;
        () = signals.stop() => {}
        () = cluster.ended() => {
            error!("a node has come to an end by itself; this is a defect");
            return Ok(exit::FAILED);
        }
    }
    cluster.shutdown().await;
    Ok(exit::DONE)
}

fn announce(cluster: &Dev) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (i, node) in cluster.nodes().iter().enumerate() {
        write!(out, "n{i}  clients {}  peers {}", node.client_addr(), node.peer_addr())?;
        match node.http_addr() {
            Some(http) => writeln!(out, "  http {http}")?,
            None => writeln!(out)?,
        }
    }
    writeln!(out, "ready")?;
    out.flush()
}
