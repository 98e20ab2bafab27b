//! What can be wrong with the lock directory, as sentences.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

/// Why a node engine can't start.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The directory can't be used.
    #[error("the lock directory {path} can't be used: {source}; choose another one with --lock-dir")]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Somebody else's folder stands where the engine's own belongs.
    #[error(
        "{path} belongs to another user, who could change the fencing tokens in it; remove it, or choose another \
         directory with --lock-dir"
    )]
    NotOurs {
        /// Which folder.
        path: PathBuf,
    },
    /// The file system keeps no locks.
    #[error(
        "the file system of the lock directory {path} does not support {what} locks ({why}); choose a directory on a \
         local file system with --lock-dir"
    )]
    NoLocks {
        /// The directory.
        path: PathBuf,
        /// Which locks: flock, or OFD.
        what: &'static str,
        /// How that showed.
        why: String,
    },
    /// The system has something against it.
    #[error("the node engine can't start: {0}")]
    System(#[from] io::Error),
}

/// Why a lock file can't be had, for whoever asked for the lock: without its path, which is not theirs to know.
pub(super) fn trouble_with_file(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::ACCESS | Errno::PERM) => "the server has no permission to open the lock file",
        Some(Errno::NOSPC | Errno::DQUOT) => "the lock directory is full: the lock file can't be made",
        Some(Errno::ROFS) => "the lock directory is on a file system that is read-only",
        Some(Errno::LOOP | Errno::XDEV) => "a symbolic link stands in the way of the lock file",
        Some(Errno::ISDIR | Errno::NXIO | Errno::NODEV) => NOT_A_FILE,
        Some(Errno::NOTDIR) => "a file stands where a folder of the lock's name belongs",
        Some(Errno::MFILE | Errno::NFILE) => TOO_MANY_FILES,
        Some(Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => {
            "the file system of the lock directory does not support locks"
        }
        _ => "the lock file can't be opened; the server's log says why",
    }
}

pub(super) const NOT_A_FILE: &str = "something that is no file stands where the lock file belongs";
pub(super) const TOO_MANY_FILES: &str = "the server has too many lock files open";
pub(super) const NO_TOKEN: &str = "the fencing tokens can't be kept in the lock directory; the server's log says why";
