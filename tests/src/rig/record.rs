//! What a client process writes down, one line of JSON each, before it asks and after it was answered.
//!
//! A line is written with one call of the operating system, so that a client that is killed leaves whole lines, and at most
//! one torn one at the end. Times are readings of the process' own clock.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Asked {
    /// Acquire the key.
    Lock {
        /// What it shall hold.
        value: String,
        /// The owner's description, different for every lock.
        meta: String,
        /// The lock-delay, in microseconds.
        delay: u64,
    },
    /// Keep it longer.
    Extend(By),
    /// Change its value.
    Update {
        /// Who must hold it.
        by: By,
        /// The new value.
        value: String,
    },
    /// Give it up.
    Release(By),
    /// Read it by quorum.
    Read,
}

/// Who must hold a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The expected value.
    pub value: Option<String>,
    /// The expected token.
    pub token: Option<u64>,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// It took effect.
    Done {
        /// The ownership it was about.
        token: u64,
        /// Until when the caller may believe in it now, and how long nobody else may have the key after that; zero if the
        /// call says nothing about that.
        until: u64,
    },
    /// It found the key held.
    Held {
        /// The ownership.
        token: u64,
        /// Its value.
        value: String,
        /// Its owner's description.
        meta: String,
    },
    /// It found the key free, or not held by the owner it named.
    Free,
    /// It certainly changed nothing and says nothing.
    Nothing(String),
    /// Nobody knows.
    Unknown(String),
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// A call begins.
    Call {
        /// Its number in this process.
        call: u64,
        /// The client.
        client: usize,
        /// The key.
        key: String,
        /// The clock before it.
        at: u64,
        /// What it asks for.
        asked: Asked,
    },
    /// A call is over.
    Answer {
        /// Its number.
        call: u64,
        /// The clock after it.
        at: u64,
        /// What it came to.
        said: Said,
    },
    /// The client believes that it owns the key from now on, and until when.
    Belief {
        /// The client.
        client: usize,
        /// The key.
        key: String,
        /// The ownership.
        token: u64,
        /// The clock now.
        from: u64,
        /// The clock at the end of the belief.
        until: u64,
    },
    /// The client gives up what it believes.
    Over {
        /// The client.
        client: usize,
        /// The key.
        key: String,
        /// The ownership.
        token: u64,
        /// The clock now.
        at: u64,
    },
}

/// Where a process writes its lines.
#[derive(Debug)]
pub struct Record(Mutex<File>);

impl Record {
    /// Begins a record.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn begin(path: &Path) -> io::Result<Self> {
        OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(path)
            .map(|file| Self(Mutex::new(file)))
    }

    /// Writes a line.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn write(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.0.lock().map_err(|_| io::Error::other("a writer panicked"))?.write_all(&text)
    }
}

/// Reads a record. The last line may be torn.
///
/// # Errors
///
/// The operating system's, or a line that makes no sense.
pub fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).map_err(io::Error::from)).collect()
}
