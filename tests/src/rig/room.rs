//! File systems of nodes' own, so small that they can be filled: a disk that is full for the operating system, not only for
//! those who ask the preloaded library.
//!
//! Each is a tmpfs in a mount namespace that a process keeps, which does nothing else and ends with the rig; the file system
//! goes with it, and nobody else ever sees it. This needs root, and the programs `unshare`, `nsenter` and `mount`.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Room for a node file, the next one and the lock, each a page of memory at least.
const SIZE: &str = "size=64k,mode=700";
const FILLER: &str = "filler";

/// One of them.
#[derive(Debug)]
pub struct Room {
    keeper: Child,
    folder: PathBuf,
}

/// Why there can be none here.
#[must_use]
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("a file system of its own needs root".into());
    }
    let tried = tempfile::tempdir().and_then(|folder| {
        let room = Room::new(folder.path())?;
        room.fill()?;
        room.empty()
    });
    tried.err().map(|error| format!("small file systems do not work here: {error}"))
}

impl Room {
    /// A file system at `folder`, for those who are [`Room::inside`].
    ///
    /// # Errors
    ///
    /// What the programs complained about.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let script = "mount -t tmpfs -o \"$1\" rig \"$0\" && echo ready && exec cat";
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "setpriv", "--pdeathsig", "KILL"]);
        command.args(["sh", "-c", script]).arg(folder).arg(SIZE);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut keeper = command.spawn()?;
        let mut said = String::new();
        if let Some(words) = keeper.stdout.take() {
            BufReader::new(words).read_line(&mut said)?;
        }
        let room = Self { keeper, folder: folder.to_owned() };
        if said.trim() == "ready" {
            return Ok(room);
        }
        Err(io::Error::other(room.complaint()))
    }

    fn complaint(mut self) -> String {
        drop(self.keeper.stdin.take());
        let mut words = String::new();
        if let Some(mut stderr) = self.keeper.stderr.take() {
            drop(io::Read::read_to_string(&mut stderr, &mut words));
        }
        format!("`mount -t tmpfs`: {}", words.trim())
    }

    /// The words before a command that make it see the file system.
    #[must_use]
    pub fn inside(&self) -> Vec<String> {
        ["nsenter".into(), format!("--mount=/proc/{}/ns/mnt", self.keeper.id()), "--".into()].into()
    }

    /// The folder as whoever is not inside can reach it.
    fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.folder.strip_prefix("/").unwrap_or(&self.folder))
    }

    /// Whether there is a file of this name in it.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.seen().join(name).is_file()
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    ///
    /// The operating system's, or that it cannot be filled.
    pub fn fill(&self) -> io::Result<()> {
        let mut filler = File::create(self.seen().join(FILLER))?;
        // Many times what there is room for.
        for _ in 0..1_024 {
            match filler.write_all(&[0; 4_096]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("a small file system is not full"))
    }

    /// Takes away what fills it.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn empty(&self) -> io::Result<()> {
        match fs::remove_file(self.seen().join(FILLER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}
