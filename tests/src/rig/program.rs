//! Where the binaries are: `leasehold` beside this program, and built anew if it is older than its sources.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// What `leasehold` is built from.
const SOURCES: &[&str] = &["core/src", "client/src", "node/src", "Cargo.lock"];

/// The binary under test: what `LEASEHOLD_BIN` names, or the one of the same build as this program.
///
/// # Errors
///
/// If there is none and it cannot be built.
pub fn leasehold() -> io::Result<PathBuf> {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return Ok(found.clone());
    }
    let found = match env::var_os("LEASEHOLD_BIN") {
        Some(given) => PathBuf::from(given),
        None => of_this_build()?,
    };
    if !found.is_file() {
        return Err(io::Error::other(format!("there is no binary at {}", found.display())));
    }
    Ok(FOUND.get_or_init(|| found).clone())
}

fn of_this_build() -> io::Result<PathBuf> {
    let this = env::current_exe()?;
    let inside = |folder: &&Path| !folder.ends_with("deps");
    let folder = this.ancestors().skip(1).find(inside).unwrap_or(&this);
    let binary = folder.join("leasehold");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let built = fs::metadata(&binary).and_then(|about| about.modified()).ok();
    let changed = SOURCES.iter().filter_map(|source| newest(&root.join(source))).max();
    if built.is_some_and(|built| changed.is_none_or(|changed| changed < built)) {
        return Ok(binary);
    }
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Together with this package, so that what both are built from is the same, and built once.
    cargo.current_dir(&root).args(["build", "--quiet", "--locked"]);
    cargo.args(["-p", "leasehold-tests", "-p", "leasehold-node"]);
    cargo.args(["--bin", "leasehold", "--profile", profile]);
    if let Some(target) = folder.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    if !cargo.status()?.success() {
        return Err(io::Error::other("cargo could not build the binary `leasehold`"));
    }
    Ok(binary)
}

/// When something at or below `path` changed last.
fn newest(path: &Path) -> Option<SystemTime> {
    if path.is_dir() {
        let entries = fs::read_dir(path).ok()?;
        return entries.filter_map(|entry| newest(&entry.ok()?.path())).max();
    }
    fs::metadata(path).and_then(|about| about.modified()).ok()
}
