//! The disks of simulated machines (`cargo simnet`, docs/simulation.md), with as much of `std::fs` as the node file needs.
//!
//! A disk outlives the processes of its machine. What was written is on it for certain only once it was synced, and so is a
//! name once its directory was: a crash leaves of the rest all, nothing, or the first part, as the test's dice fall. A
//! simulation is one thread, and so is its set of disks.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use madsim::rand::{Rng, thread_rng};
use madsim::task::NodeId;

thread_local! {
    static DISKS: RefCell<BTreeMap<NodeId, Disk>> = const { RefCell::new(BTreeMap::new()) };
}

/// How often somebody who waits for a disk that stands still looks again.
const LOOK: Duration = Duration::from_millis(10);

/// A machine's disk.
#[derive(Debug, Default)]
pub struct Disk {
    /// By number; names come and go, contents stay.
    contents: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    turn: Range<u64>,
    stands_still: bool,
    works_for: Option<u32>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    written: Vec<u8>,
    synced: Vec<u8>,
}

impl Disk {
    /// Whatever is done takes twice a time in this range, in microseconds: once before and once after.
    pub fn slow(&mut self, turn: Range<u64>) {
        self.turn = turn;
    }

    /// Nothing more is done from now on, or everything that waited is.
    pub const fn stand_still(&mut self, still: bool) {
        self.stands_still = still;
    }

    /// Does so many more operations, and then fails all others; `None`: it works.
    pub const fn fail_after(&mut self, operations: Option<u32>) {
        self.works_for = operations;
    }

    /// The machine crashed. `die` has as many sides as it is asked for, counted from zero.
    pub fn crash(&mut self, mut die: impl FnMut(usize) -> usize) {
        if die(2) == 0 {
            self.names = self.synced_names.clone();
        } else {
            self.synced_names = self.names.clone();
        }
        for content in &mut self.contents {
            if content.written != content.synced {
                match die(3) {
                    0 => content.written.clone_from(&content.synced),
                    1 => {}
                    _ => content.written.truncate(die(content.written.len() + 1)),
                }
                content.synced.clone_from(&content.written);
            }
        }
        *self = Self {
            contents: std::mem::take(&mut self.contents),
            names: std::mem::take(&mut self.names),
            synced_names: std::mem::take(&mut self.synced_names),
            ..Self::default()
        };
    }

    /// Everything on it is gone.
    pub fn lose(&mut self) {
        *self = Self::default();
    }

    fn operation(&mut self) -> io::Result<()> {
        match &mut self.works_for {
            Some(0) => Err(io::Error::other("this disk has failed")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

/// Does something about the disk of a machine.
pub fn of<T>(machine: NodeId, act: impl FnOnce(&mut Disk) -> T) -> T {
    DISKS.with_borrow_mut(|disks| act(disks.entry(machine).or_default()))
}

fn here<T>(act: impl FnOnce(&mut Disk) -> T) -> T {
    of(madsim::plugin::node(), act)
}

/// Waits as long as this machine's disk makes one wait.
pub(crate) async fn turn() {
    let turn = here(|disk| disk.turn.clone());
    if !turn.is_empty() {
        let wait = thread_rng().gen_range(turn);
        tokio::time::sleep(Duration::from_micros(wait)).await;
    }
    while here(|disk| disk.stands_still) {
        tokio::time::sleep(LOOK).await;
    }
}

/// A file, or a directory, that is open.
#[derive(Debug)]
pub(crate) enum File {
    Content(usize),
    /// One directory is all there is.
    Directory,
}

impl File {
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        here(|disk| {
            disk.operation()?;
            disk.contents.push(Content::default());
            disk.names.insert(path.to_owned(), disk.contents.len() - 1);
            Ok(Self::Content(disk.contents.len() - 1))
        })
    }

    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        here(|disk| {
            disk.operation()?;
            Ok(disk.find(path).map_or(Self::Directory, Self::Content))
        })
    }

    /// A machine runs one node at a time.
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "as in std::fs")]
    pub(crate) fn try_lock(&self) -> Result<(), TryLockError> {
        Ok(())
    }

    pub(crate) fn sync_all(&self) -> io::Result<()> {
        here(|disk| {
            disk.operation()?;
            match self {
                Self::Directory => disk.synced_names = disk.names.clone(),
                Self::Content(number) => {
                    if let Some(content) = disk.contents.get_mut(*number) {
                        content.synced.clone_from(&content.written);
                    }
                }
            }
            Ok(())
        })
    }

    pub(crate) const fn options() -> Options {
        Options
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        here(|disk| {
            disk.operation()?;
            if let Self::Content(number) = self
                && let Some(content) = disk.contents.get_mut(*number)
            {
                content.written.extend_from_slice(bytes);
            }
            Ok(bytes.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the file is opened that only serves as a lock.
#[derive(Debug)]
pub(crate) struct Options;

impl Options {
    pub(crate) const fn create(self, _: bool) -> Self {
        self
    }

    pub(crate) const fn write(self, _: bool) -> Self {
        self
    }

    pub(crate) const fn truncate(self, _: bool) -> Self {
        self
    }

    #[expect(clippy::unused_self, clippy::needless_pass_by_value, reason = "as in std::fs")]
    pub(crate) fn open(self, path: PathBuf) -> io::Result<File> {
        File::open(&path)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as in std::fs")]
pub(crate) fn create_dir(_: &Path) -> io::Result<()> {
    Ok(())
}

pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    here(|disk| {
        disk.operation()?;
        let number = disk.find(path)?;
        Ok(disk.contents.get(number).map(|content| content.written.clone()).unwrap_or_default())
    })
}

pub(crate) fn rename(from: &Path, to: PathBuf) -> io::Result<()> {
    here(|disk| {
        disk.operation()?;
        let number = disk.find(from)?;
        disk.names.remove(from);
        disk.names.insert(to, number);
        Ok(())
    })
}
