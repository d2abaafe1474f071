//! `leasehold node`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use leasehold_node::Server;
use leasehold_node::config::{Config, Sources};
use tracing::error;

use crate::cli::Global;
use crate::notify::{self, Watchdog};
use crate::signals::{Asked, Signals};
use crate::{exit, logs};

/// What `leasehold node` takes.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Sets one key, over the file and the environment
    #[arg(long, value_name = "SECTION.KEY=VALUE", value_parser = setting)]
    set: Vec<(String, String)>,
    /// Only validates the configuration
    #[arg(long)]
    check: bool,
    /// Only shows the configuration in force, with where each value came from
    #[arg(long)]
    print_config: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write SECTION.KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs the node until it is told to stop.
pub(crate) fn run(global: &Global, args: Args) -> ExitCode {
    let text = match std::fs::read_to_string(&args.config) {
        Ok(text) => text,
        Err(error) => {
            logs::start(global, "info");
            error!("{}: {error}", args.config.display());
            return exit::usage();
        }
    };
    // A variable that is not text cannot set a key.
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let sources = Sources {
        file: Some((args.config, text)),
        environment: environment.collect(),
        flags: args.set,
    };
    let loaded = match Config::load(&sources) {
        Ok(loaded) => loaded,
        Err(faults) => {
            logs::start(global, "info");
            for fault in &faults.0 {
                error!("{fault}");
            }
            return exit::usage();
        }
    };
    logs::start_as(global, &loaded.config.log_level, loaded.config.log_format);
    let ran = if args.print_config {
        io::stdout().lock().write_all(loaded.to_string().as_bytes()).map(|()| exit::DONE)
    } else if args.check {
        return check(&loaded.config);
    } else {
        runtime().and_then(|runtime| runtime.block_on(node(loaded.config)))
    };
    ran.unwrap_or_else(|error| {
        error!("{error}");
        exit::FAILED
    })
}

fn check(config: &Config) -> ExitCode {
    match Server::check(config) {
        Ok(()) => exit::DONE,
        Err(fault) => {
            error!("{fault}");
            exit::usage()
        }
    }
}

/// One thread, which takes turns between the driver and the connections. What arrives while the driver works is its next
/// batch, and handing something from one task to another costs no wake-up of another thread.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

async fn node(config: Config) -> io::Result<ExitCode> {
    let mut signals = Signals::with_reload()?;
    let mut running = match Server::start(config).await {
        Ok(running) => running,
        Err(error) => {
            error!("{error}");
            return Ok(exit::cannot_connect());
        }
    };
    let watchdog = Watchdog::new();
    notify::ready();
    loop {
        tokio::select! {
            biased;
            asked = signals.next() => match asked {
                Asked::Stop => break,
                Asked::Reload => running.reload().await,
            },
            () = watchdog.due() => watchdog.tell(&running).await,
            () = running.ended() => {
                error!("the node has come to an end by itself; this is a defect");
                return Ok(exit::FAILED);
            }
        }
    }
    notify::stopping();
    running.shutdown().await;
    Ok(exit::DONE)
}
