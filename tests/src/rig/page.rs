//! The page of numbers that `shim.c` reads: how a process' clocks run, and how its disk is.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use leasehold_client::clock;

use super::skew::Skew;

const BYTES: u64 = 1 << 16;
const FAILING: u64 = 0;
const SLOW: u64 = 1;
const WALL: u64 = 2;
const COUNT: u64 = 3;
const BENDS: u64 = 8;
/// Bends that fit into a page.
const MOST: usize = 2_500;
/// A bend begins so much later than it is written, in microseconds: nobody has read the clock beyond it by then.
const AHEAD: u64 = 20_000;

/// What one process believes of its clocks and its disk.
#[derive(Debug)]
pub struct Page {
    path: PathBuf,
    file: File,
    skew: Skew,
}

impl Page {
    /// A page on which everything is right.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn new(path: PathBuf) -> io::Result<Self> {
        let file = File::options().create_new(true).write(true).open(&path)?;
        file.set_len(BYTES)?;
        Ok(Self { path, file, skew: Skew::default() })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the clock ran so far.
    #[must_use]
    pub const fn skew(&self) -> &Skew {
        &self.skew
    }

    /// Lets the monotonic clock jump ahead by `jump` microseconds, and run `ppm` parts per million fast from then on.
    ///
    /// # Errors
    ///
    /// The operating system's, or that the clock was read beyond the bend before it was written.
    pub fn bend(&mut self, jump: u64, ppm: i64) -> io::Result<()> {
        let place = self.skew.bends().len();
        if place >= MOST {
            return Err(io::Error::other("a clock was bent too often"));
        }
        let from = clock::now().as_micros().saturating_add(AHEAD);
        let bend = self.skew.bend(from, i64::try_from(jump).unwrap_or(i64::MAX), ppm);
        let at = BENDS + 3 * u64::try_from(place).unwrap_or(0);
        for (word, value) in [(at, bend.from), (at + 1, bend.shows), (at + 2, bend.ppm)] {
            self.write(word, value)?;
        }
        self.write(COUNT, i64::try_from(place + 1).unwrap_or(0))?;
        if clock::now().as_micros() >= from {
            return Err(io::Error::other("this machine is too slow to bend a clock in time"));
        }
        Ok(())
    }

    /// Lets the wall clock be ahead by so many microseconds.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn set_wall(&self, ahead: i64) -> io::Result<()> {
        self.write(WALL, ahead)
    }

    /// Lets writes fail with this error, or succeed with zero.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn fail_disk(&self, errno: i32) -> io::Result<()> {
        self.write(FAILING, errno.into())
    }

    /// Lets every sync take so many microseconds longer.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn slow_disk(&self, by: u32) -> io::Result<()> {
        self.write(SLOW, by.into())
    }

    fn write(&self, word: u64, value: i64) -> io::Result<()> {
        self.file.write_all_at(&value.to_ne_bytes(), word * 8)
    }
}

/// The library to preload, built once, or why there is none.
///
/// # Errors
///
/// That there is no C compiler, or what it complained about.
pub fn shim() -> Result<PathBuf, String> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    BUILT.get_or_init(build).clone()
}

fn build() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let folder = this.parent().unwrap_or(Path::new("."));
    // Others may build it at the same time; a rename is all or nothing.
    let (next, built) =
        (folder.join(format!("rig-shim-{}.so", std::process::id())), folder.join("librig-shim.so"));
    let source = folder.join(format!("rig-shim-{}.c", std::process::id()));
    fs::write(&source, include_str!("shim.c")).map_err(|error| error.to_string())?;
    let mut compiler = Command::new("cc");
    compiler.args(["-O2", "-Wall", "-shared", "-fPIC", "-o"]).arg(&next).arg(&source).arg("-ldl");
    let output = compiler.stdin(Stdio::null()).output();
    drop(fs::remove_file(&source));
    let output = output.map_err(|error| format!("there is no C compiler (`cc`: {error})"))?;
    if !output.status.success() {
        return Err(format!("`cc` failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    fs::rename(&next, &built).map_err(|error| error.to_string())?;
    Ok(built)
}

/// Puts back what would be left in `data` after a power cut: what was synced under names that were synced.
///
/// # Errors
///
/// The operating system's.
pub fn cut_power(data: &Path, shadow: &Path) -> io::Result<()> {
    for entry in fs::read_dir(data)? {
        fs::remove_file(entry?.path())?;
    }
    let names = fs::read_to_string(shadow.join("names")).unwrap_or_default();
    for (number, name) in names.lines().filter_map(|line| line.split_once(' ')) {
        // A file that was never synced is there and empty.
        let bytes = fs::read(shadow.join(number)).unwrap_or_default();
        fs::write(data.join(name), bytes)?;
    }
    // The new files have other numbers, and all of them are on disk.
    let mut names = String::new();
    for kept in fs::read_dir(shadow)? {
        fs::remove_file(kept?.path())?;
    }
    for entry in fs::read_dir(data)? {
        let entry = entry?;
        let number = std::os::unix::fs::DirEntryExt::ino(&entry);
        fs::copy(entry.path(), shadow.join(number.to_string()))?;
        names.push_str(&format!("{number} {}\n", entry.file_name().to_string_lossy()));
    }
    fs::write(shadow.join("names"), names)
}
