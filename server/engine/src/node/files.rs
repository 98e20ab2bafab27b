//! Open lock files: taking the kernel's lock on what a path leads to *now*.

use std::collections::BTreeMap;
use std::io;

use lockstead_core::{HoldId, Time};

use super::directory::{Directory, FileId};
use super::kernel_lock::{KernelLock, LockFamily, Share};
use super::note::Holder;
use super::others::Others;
use super::place::Place;
use super::watch::Watches;

/// How often to open a file anew because others keep putting another one in its place.
const REOPENS_MAX: usize = 10;

/// An open lock file.
#[derive(Debug)]
pub(super) struct LockFile {
    lock: KernelLock,
    id: FileId,
    path: String,
    watch: Option<i32>,
    pub(super) others: Others,
    pub(super) holders: BTreeMap<HoldId, Holder>,
    pub(super) note: NoteState,
}

/// What there is to do about a note.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct NoteState {
    /// There is one, which is to be emptied in the end.
    pub(super) is_written: bool,
    /// When it is to be written, if it does not say what it should.
    pub(super) due: Option<Time>,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The server has the lock.
    Yes,
    /// Others have it.
    ByOthers,
    /// The path does not lead to the file any more whose lock the server has, for its holders.
    Lost,
}

/// What is needed to open one.
#[derive(Debug)]
pub(super) struct Opener {
    pub(super) directory: Directory,
    pub(super) watches: Watches,
    pub(super) family: LockFamily,
}

impl Opener {
    pub(super) fn open(&mut self, place: &Place) -> io::Result<LockFile> {
        let path = place.lock_path();
        let or_read = self.family == LockFamily::Flock;
        let (file, id) = match self.directory.open_file(&path, or_read) {
            // The directory itself may be gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.directory.reopen()?;
                self.directory.open_file(&path, or_read)?
            }
            opened => opened?,
        };
        // By its path, which may lead elsewhere by now; that is found out when the lock is taken.
        let watch = self.watches.add(&self.directory.full_path(&path), place);
        Ok(LockFile {
            lock: KernelLock::new(file, self.family),
            id,
            path,
            watch,
            others: Others::default(),
            holders: BTreeMap::new(),
            note: NoteState::default(),
        })
    }

    pub(super) fn close(&mut self, place: &Place, mut file: LockFile) {
        if let Some(watch) = file.watch {
            self.watches.remove(watch, place);
        }
        if file.lock.is_held() {
            file.lock.let_go();
        }
    }

    /// Takes the lock of a file without waiting, and makes sure that the path leads to that file: somebody may have
    /// removed it while they held it, and others would then lock the next.
    pub(super) fn take(&mut self, place: &Place, file: &mut LockFile, share: Share) -> io::Result<Taken> {
        let now = lockstead_clock::time();
        if file.others.come_first(now) {
            return Ok(Taken::ByOthers);
        }
        if file.holders.is_empty() && file.others.have_their_turn(now) {
            file.lock.let_go();
            return Ok(Taken::ByOthers);
        }
        for _ in 0..REOPENS_MAX {
            let had = file.lock.is_held();
            if !file.lock.try_take(share)? {
                file.others.held(now);
            }
            let is_there = self.is_there(file)?;
            if is_there && file.lock.is_held() {
                if !had {
                    file.others.taken(now);
                }
                return Ok(Taken::Yes);
            }
            if is_there {
                return Ok(Taken::ByOthers);
            }
            if !file.holders.is_empty() {
                return Ok(Taken::Lost);
            }
            self.directory.reopen()?;
            let stale = std::mem::replace(file, self.open(place)?);
            file.note = stale.note;
            self.close(place, stale);
        }
        Ok(Taken::ByOthers)
    }

    /// Whether a file is where its path leads.
    pub(super) fn is_there(&self, file: &LockFile) -> io::Result<bool> {
        Ok(self.directory.id_at(&file.path)? == Some(file.id))
    }
}

impl LockFile {
    /// Whether the server has the lock though none of its clients holds it.
    pub(super) fn is_idle(&self) -> bool {
        self.holders.is_empty() && self.lock.is_held()
    }

    /// Whether it is open only to see what others do.
    pub(super) fn is_watched_only(&self) -> bool {
        !self.lock.is_held()
    }

    /// Lets go of the lock but keeps an eye on the file.
    pub(super) fn watch_only(&mut self, now: Time) {
        self.lock.let_go();
        self.others.let_go(now);
    }
}
