//! Whether a directory's file system keeps locks: tried, since no file system tells.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};

use super::directory::PrivateFolder;
use super::error::NodeError;
use super::kernel_lock::{KernelLock, LockFamily, Share};

/// File systems that live on another machine: their locks may work, but inotify tells nothing, and servers on several
/// machines share them.
const NETWORK: [(u32, &str); 7] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "SMB"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "Ceph"),
    (0x5346_414f, "AFS"),
    (0x6573_5546, "FUSE"),
];

/// Tries out both kinds of locks that are needed, on a file of its own in the engine's folder.
pub(super) fn probe(directory: &Path, folder: &PrivateFolder, family: LockFamily) -> Result<(), NodeError> {
    if let Some(what) = network(folder)? {
        tracing::warn!(
            path = %directory.display(), file_system = what,
            "the lock directory is not on a local file system; see docs/node-locks.md for what to expect of it"
        );
    }
    let (what, why) = match open_probe(folder).and_then(|files| try_locks(files, family)) {
        Ok(None) => return Ok(()),
        Ok(Some(why)) => why,
        Err(error) => ("flock", error.to_string()),
    };
    Err(NodeError::NoLocks { path: directory.to_owned(), what, why })
}

/// A new file, opened three times. It has no name any more, so that nothing of it stays behind, whatever happens.
fn open_probe(folder: &PrivateFolder) -> io::Result<[File; 3]> {
    let name = format!("probe-{}-{}", std::process::id(), lockstead_clock::time().as_micros());
    let open = || -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&folder.folder, &name, flags, Mode::RUSR | Mode::WUSR)?.into())
    };
    let opened = open().and_then(|first| Ok([first, open()?, open()?]));
    _ = rustix::fs::unlinkat(&folder.folder, &name, AtFlags::empty());
    opened
}

/// What is wrong with the locks, if anything is. Two open files of one process exclude each other like those of two.
fn try_locks(files: [File; 3], family: LockFamily) -> io::Result<Option<(&'static str, String)>> {
    let [first, second, third] = files;
    let [mut first, mut second] = [first, second].map(|file| KernelLock::new(file, LockFamily::Flock));
    if !first.try_take(Share::Exclusive)? {
        return Ok(Some(("flock", "a new file is locked already".to_owned())));
    }
    if second.try_take(Share::Exclusive)? || second.try_take(Share::Shared)? {
        return Ok(Some(("flock", "two can lock one file".to_owned())));
    }
    first.let_go();
    if !second.try_take(Share::Shared)? || !first.try_take(Share::Shared)? {
        return Ok(Some(("flock", "a file stays locked".to_owned())));
    }
    if family == LockFamily::Both {
        let mut both = KernelLock::new(third, LockFamily::Both);
        return Ok(match both.try_take(Share::Shared) {
            Ok(true) => None,
            Ok(false) => Some(("OFD", "they are the same as flock there, so that nobody can hold both".to_owned())),
            Err(error) => Some(("OFD", error.to_string())),
        });
    }
    Ok(None)
}

fn network(folder: &PrivateFolder) -> io::Result<Option<&'static str>> {
    let kind = rustix::fs::fstatfs(&folder.folder)?.f_type;
    let is = |(magic, _): &&(u32, _)| kind == i64::from(*magic);
    Ok(NETWORK.iter().find(is).map(|(_, name)| *name))
}
