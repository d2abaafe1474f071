//! The data directory: the node file in it, and the lock on it.
//!
//! The file is never changed in place: the new one is written beside it, synced, renamed over it, and the directory is
//! synced. A crash at any moment leaves either the old file or the new one. A file that does not decode is never
//! replaced, because a vote may depend on it: that is for the operator to decide.

use std::fmt;
use std::fs::TryLockError;
#[cfg(not(madsim))]
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use leasehold_core::{NodeFile, NodeId, wire};

#[cfg(madsim)]
use crate::disk::{self as fs, File};

/// The node file's name in the data directory.
pub const FILE_NAME: &str = "node";
const NEXT_NAME: &str = "node.next";
const LOCK_NAME: &str = "lock";

/// What keeps a node from its node file.
#[derive(Debug)]
pub enum FileError {
    /// The directory cannot be made, or not be written to.
    Directory(PathBuf, io::Error),
    /// Another process works with this directory.
    Locked(PathBuf),
    /// The file cannot be read or written.
    File(PathBuf, io::Error),
    /// The file is torn, changed, or something else.
    Foreign(PathBuf),
    /// The file belongs to a node of another name.
    Name {
        /// The file.
        path: PathBuf,
        /// The name in the file.
        found: String,
        /// The name in the configuration.
        configured: String,
    },
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, error) => write!(
                f,
                "data directory {}: {error}; the directory above it must exist, and it must be writable",
                path.display()
            ),
            Self::Locked(path) => write!(
                f,
                "data directory {}: another process uses it; every node needs a directory of its own",
                path.display()
            ),
            Self::File(path, error) => write!(f, "node file {}: {error}", path.display()),
            Self::Foreign(path) => write!(
                f,
                "node file {}: not a whole and unchanged node file. Restore the disk, or move the file away: the \
                 node then starts as a stranger that `leasehold members replace` can admit",
                path.display()
            ),
            Self::Name { path, found, configured } => write!(
                f,
                "node file {}: belongs to node `{found}`, but node.name is `{configured}`; give the node its \
                 old name, or its own data directory",
                path.display()
            ),
        }
    }
}

impl std::error::Error for FileError {}

/// A data directory that this process has for itself.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// Holds the lock until it is dropped.
    _lock: File,
}

impl DataDir {
    /// Takes the directory, and makes it if only its last part is missing.
    pub(crate) fn open(path: &Path) -> Result<Self, FileError> {
        let failed = |error| FileError::Directory(path.to_owned(), error);
        match fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error)),
        }
        let lock = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(path.join(LOCK_NAME))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FileError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// The node file; a new one with the incarnation `fresh` if there is none.
    pub(crate) fn load(&self, name: &str, fresh: NodeId) -> Result<NodeFile, FileError> {
        let path = self.path.join(FILE_NAME);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = NodeFile::new(name.to_owned(), fresh);
                self.write(&file).map_err(|error| FileError::File(path, error))?;
                return Ok(file);
            }
            Err(error) => return Err(FileError::File(path, error)),
        };
        match wire::decode_file(&bytes) {
            Ok(file) if file.name == name => Ok(file),
            Ok(file) => {
                Err(FileError::Name { path, found: file.name, configured: name.to_owned() })
            }
            Err(_) => Err(FileError::Foreign(path)),
        }
    }

    /// Replaces the node file. When this returns, the new one is on disk.
    pub(crate) fn write(&self, file: &NodeFile) -> io::Result<()> {
        let next = self.path.join(NEXT_NAME);
        let mut handle = File::create(&next)?;
        handle.write_all(&wire::encode_file(file))?;
        handle.sync_all()?;
        fs::rename(&next, self.path.join(FILE_NAME))?;
        File::open(&self.path)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_gets_a_file_that_is_found_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let dir = DataDir::open(&path).unwrap();
        let mut file = dir.load("a", NodeId(7)).unwrap();
        assert_eq!(file, NodeFile::new("a".into(), NodeId(7)));
        file.ceiling = 99;
        dir.write(&file).unwrap();
        drop(dir);
        let dir = DataDir::open(&path).unwrap();
        assert_eq!(dir.load("a", NodeId(8)).unwrap(), file);
    }

    #[test]
    fn a_directory_has_one_owner() {
        let root = tempfile::tempdir().unwrap();
        let first = DataDir::open(root.path()).unwrap();
        assert!(matches!(DataDir::open(root.path()), Err(FileError::Locked(_))));
        drop(first);
        DataDir::open(root.path()).unwrap();
    }

    #[test]
    fn a_torn_or_foreign_file_is_left_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        dir.load("a", NodeId(7)).unwrap();
        let path = root.path().join(FILE_NAME);
        let whole = fs::read(&path).unwrap();
        for torn in [&whole[..whole.len() - 1], b"", b"something else entirely"] {
            fs::write(&path, torn).unwrap();
            let error = dir.load("a", NodeId(8)).unwrap_err();
            assert!(matches!(error, FileError::Foreign(_)), "{error}");
            assert_eq!(fs::read(&path).unwrap(), torn);
        }
    }

    #[test]
    fn a_file_of_another_name_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = DataDir::open(root.path()).unwrap();
        dir.load("a", NodeId(7)).unwrap();
        let error = dir.load("b", NodeId(8)).unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("`b`"), "{error}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_an_error_with_its_path() {
        let error = DataDir::open(Path::new("/dev/null/x")).unwrap_err().to_string();
        assert!(error.contains("/dev/null/x"), "{error}");
    }
}
