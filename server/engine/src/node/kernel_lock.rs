//! The kernel's lock on an open file.
//!
//! flock(2) belongs to the open file, not to the process: the kernel lets go when the last descriptor of it is closed,
//! however the process ends. It does not see the locks of fcntl(2), nor do they see it. Of those the engine uses the kind
//! that belongs to the open file too (OFD): the other kind is dropped when the process closes *any* descriptor of the file.

use std::fs::File;
use std::io;

use fs4::{FileExt, TryLockError};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

/// Which of the kernel's locks a server takes, and so which programs it shares files with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LockFamily {
    /// flock(2): flock(1), portalocker, filelock.
    #[default]
    Flock,
    /// flock(2) and fcntl(2): those, and also fasteners, lockf(3) and record locks.
    Both,
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    Exclusive,
    Shared,
}

/// An open file, and the lock that this server has on it.
#[derive(Debug)]
pub(super) struct KernelLock {
    file: File,
    family: LockFamily,
    held: Option<Share>,
}

impl KernelLock {
    pub(super) fn new(file: File, family: LockFamily) -> Self {
        Self { file, family, held: None }
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    /// Takes the lock, or turns the one it has into this, without waiting. False: others hold it, and nothing is held.
    pub(super) fn try_take(&mut self, share: Share) -> io::Result<bool> {
        if self.held == Some(share) {
            return Ok(true);
        }
        // The kernel turns one kind into another by letting go first.
        self.held = None;
        let taken = try_flock(&self.file, share).and_then(|taken| match self.family {
            LockFamily::Both if taken => try_ofd(&self.file, Some(share)),
            _ => Ok(taken),
        });
        if matches!(taken, Ok(true)) {
            self.held = Some(share);
        } else {
            self.let_go();
        }
        taken
    }

    /// Lets go. A failure leaves it to the end of the open file, which comes soon.
    pub(super) fn let_go(&mut self) {
        self.held = None;
        if self.family == LockFamily::Both {
            _ = try_ofd(&self.file, None);
        }
        _ = FileExt::unlock(&self.file);
    }
}

fn try_flock(file: &File, share: Share) -> io::Result<bool> {
    // By the trait's name: `File` has methods of the same names.
    let taken = match share {
        Share::Exclusive => FileExt::try_lock(file),
        Share::Shared => FileExt::try_lock_shared(file),
    };
    match taken {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks the whole file, however long it is; `None` lets go.
fn try_ofd(file: &File, share: Option<Share>) -> io::Result<bool> {
    let kind = match share {
        Some(Share::Exclusive) => libc::F_WRLCK,
        Some(Share::Shared) => libc::F_RDLCK,
        None => libc::F_UNLCK,
    };
    #[expect(clippy::cast_possible_truncation, reason = "the constants are small, and their field is a short")]
    let lock = libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 };
    match fcntl(file, FcntlArg::F_OFD_SETLK(&lock)) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use tempfile::NamedTempFile;

    use super::*;

    fn opened(file: &NamedTempFile, family: LockFamily) -> KernelLock {
        KernelLock::new(file.reopen().unwrap(), family)
    }

    #[test]
    fn both_families_exclude_each_other_through_both_alone() {
        let file = NamedTempFile::new().unwrap();
        for (first, second, exclude) in [
            (LockFamily::Flock, LockFamily::Flock, true),
            (LockFamily::Flock, LockFamily::Both, true),
            (LockFamily::Both, LockFamily::Flock, true),
            (LockFamily::Both, LockFamily::Both, true),
        ] {
            let (mut first, mut second) = (opened(&file, first), opened(&file, second));
            assert!(first.try_take(Share::Exclusive).unwrap());
            assert_eq!(second.try_take(Share::Exclusive).unwrap(), !exclude);
            assert_eq!(second.try_take(Share::Shared).unwrap(), !exclude);
            first.let_go();
            assert!(second.try_take(Share::Exclusive).unwrap());
        }
    }

    #[test]
    fn a_record_lock_is_seen_by_both_alone_and_what_failed_leaves_nothing_behind() {
        let file = NamedTempFile::new().unwrap();
        let record = file.reopen().unwrap();
        assert!(try_ofd(&record, Some(Share::Exclusive)).unwrap());
        assert!(opened(&file, LockFamily::Flock).try_take(Share::Exclusive).unwrap());
        let mut both = opened(&file, LockFamily::Both);
        assert!(!both.try_take(Share::Shared).unwrap());
        assert!(opened(&file, LockFamily::Flock).try_take(Share::Exclusive).unwrap(), "it holds no flock");
        assert!(try_ofd(&record, None).unwrap());
        assert!(both.try_take(Share::Shared).unwrap());
        assert!(!try_ofd(&record, Some(Share::Exclusive)).unwrap());
        assert!(try_ofd(&record, Some(Share::Shared)).unwrap());
    }

    #[test]
    fn shared_with_shared_and_one_turns_into_the_other() {
        let file = NamedTempFile::new().unwrap();
        for family in [LockFamily::Flock, LockFamily::Both] {
            let (mut first, mut second) = (opened(&file, family), opened(&file, family));
            assert!(first.try_take(Share::Shared).unwrap() && second.try_take(Share::Shared).unwrap());
            assert!(!first.try_take(Share::Exclusive).unwrap());
            assert!(!first.is_held());
            assert!(second.try_take(Share::Exclusive).unwrap());
            assert!(second.try_take(Share::Shared).unwrap());
            assert!(first.try_take(Share::Shared).unwrap());
        }
    }
}
