//! What there is to do at a gate between the commands of its machine.

use std::io;
use std::ops::Bound;
use std::os::fd::{AsFd, BorrowedFd};

use lockstead_core::{HoldId, ResourceKey, Time};
use rustix::fs::Access;

use super::{KernelGate, places_of};
use crate::node::directory::OWN_FOLDER;
use crate::node::files::{LockFile, NoteState};
use crate::node::note;
use crate::node::place::Place;
use crate::node::watch::{Seen, Sight};

/// How many files are looked after at a time.
const CHECKED_AT_A_TIME: usize = 1000;

impl KernelGate {
    /// Lets go of what nobody holds any more. To be called after every command, when all are served.
    pub(in crate::node) fn settle(&mut self) {
        for place in std::mem::take(&mut self.idle) {
            if self.files.get(&place).is_some_and(LockFile::is_idle) {
                self.retire(&place);
            }
        }
    }

    /// Lets go of a file that no client wants now. One that others have open stays in sight for a while: if a client comes
    /// back at once, it is known that they wait.
    fn retire(&mut self, place: &Place) {
        let Some(mut file) = self.files.remove(place) else { return };
        if file.others.have_it_open() {
            self.clear_note(place, &mut file);
            file.watch_only(lockstead_clock::time());
            self.files.insert(place.clone(), file);
        } else {
            self.close(place, file);
        }
    }

    pub(super) fn close(&mut self, place: &Place, mut file: LockFile) {
        self.clear_note(place, &mut file);
        self.opener.close(place, file);
    }

    fn clear_note(&mut self, place: &Place, file: &mut LockFile) {
        if std::mem::take(&mut file.note).is_written
            && let Err(error) = note::clear(&self.opener.directory, place)
        {
            tracing::debug!(%error, "the note of a lock could not be emptied");
        }
    }

    /// Closes the files that are open only to see what others do, though nobody waits for them: all, or those that need not
    /// stay in sight.
    pub(super) fn close_unwanted(&mut self, all: bool) {
        let now = lockstead_clock::time();
        let is_unwanted = |place: &Place, file: &LockFile| {
            let is_waited_for = self.closed.contains(&place.resource);
            file.is_watched_only() && !is_waited_for && (all || !file.others.have_a_chance(now))
        };
        let unwanted = self.files.iter().filter(|(place, file)| is_unwanted(place, file));
        let unwanted: Vec<_> = unwanted.map(|(place, _)| place.clone()).collect();
        for place in unwanted {
            if let Some(file) = self.files.remove(&place) {
                self.close(&place, file);
            }
        }
    }

    /// The holds that rest on nothing any more, once.
    pub(in crate::node) fn take_lost(&mut self) -> Vec<HoldId> {
        std::mem::take(&mut self.lost).into_iter().collect()
    }

    /// The resources that were asked for in vain.
    pub(in crate::node) fn closed(&self) -> Vec<ResourceKey> {
        self.closed.iter().cloned().collect()
    }

    /// Whether there are any.
    pub(in crate::node) fn is_any_closed(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Nobody waits for others to let go of this any more.
    pub(in crate::node) fn forget(&mut self, resource: &ResourceKey) {
        self.closed.remove(resource);
        let watched = places_of(&mut self.files, resource).filter(|(_, file)| file.is_watched_only());
        let watched: Vec<_> = watched.map(|(place, _)| place.clone()).collect();
        for place in watched {
            self.retire(&place);
        }
    }

    /// What the kernel tells of files; to be read when this is readable.
    pub(in crate::node) fn watches(&self) -> BorrowedFd<'_> {
        self.opener.watches.as_fd()
    }

    /// Takes note of what the kernel tells. Returns the resources that may be free now.
    pub(in crate::node) fn look(&mut self) -> Vec<ResourceKey> {
        let mut free = Vec::new();
        for seen in self.opener.watches.read() {
            match seen {
                Seen::At(place, sight) => {
                    self.see(&place, sight);
                    if sight != Sight::Opened && self.closed.contains(&place.resource) {
                        free.push(place.resource);
                    }
                }
                Seen::Everything => {
                    self.check_all();
                    free.extend(self.closed());
                }
            }
        }
        free.dedup();
        free
    }

    fn see(&mut self, place: &Place, sight: Sight) {
        let Some(file) = self.files.get_mut(place) else { return };
        match sight {
            Sight::Opened => file.others.opened(lockstead_clock::time()),
            Sight::Closed => file.others.closed(),
            Sight::Moved => self.check_place(place),
        }
    }

    /// Looks after some of the files, in turn: the kernel does not tell of everything that can happen to a path.
    pub(in crate::node) fn check_some(&mut self) {
        self.close_unwanted(false);
        let from = self.checked.take().map_or(Bound::Unbounded, Bound::Excluded);
        let places = self.files.range((from, Bound::Unbounded)).map(|(place, _)| place.clone());
        let places: Vec<_> = places.take(CHECKED_AT_A_TIME).collect();
        self.check_places(&places);
        self.checked = if places.len() == CHECKED_AT_A_TIME { places.last().cloned() } else { None };
    }

    fn check_all(&mut self) {
        let all: Vec<_> = self.files.keys().cloned().collect();
        self.check_places(&all);
    }

    fn check_places(&mut self, places: &[Place]) {
        for place in places {
            self.check_place(place);
        }
    }

    fn check_place(&mut self, place: &Place) {
        let Some(file) = self.files.get(place).filter(|file| !file.holders.is_empty()) else { return };
        let path = || self.opener.directory.full_path(&place.lock_path());
        match self.opener.is_there(file) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(path = %path().display(), "a lock file was removed or replaced; its holders lose the lock");
                self.lost.extend(file.holders.keys());
            }
            Err(error) => {
                let path = path();
                if self.may_warn() {
                    tracing::warn!(path = %path.display(), %error, "a lock file can't be looked after");
                }
            }
        }
    }

    /// When the next note is to be written.
    pub(in crate::node) fn next_note(&mut self) -> Option<Time> {
        while let Some((due, place)) = self.notes.front() {
            // Most are of holds that are over: the file was closed, and perhaps opened again.
            if self.files.get(place).is_some_and(|file| file.note.due == Some(*due)) {
                return Some(*due);
            }
            self.notes.pop_front();
        }
        None
    }

    /// Writes the notes that are due.
    pub(in crate::node) fn write_notes(&mut self) {
        let now = lockstead_clock::time();
        while self.next_note().is_some_and(|due| due <= now) {
            let Some((_, place)) = self.notes.pop_front() else { return };
            let Some(file) = self.files.get_mut(&place) else { continue };
            file.note = NoteState { is_written: true, due: None };
            if let Err(error) = note::write(&self.opener.directory, &place, file.holders.values()) {
                tracing::debug!(%error, "the note of a lock could not be written");
            }
        }
    }

    /// Makes sure that the directory is there and that the count of tokens is what others would count with. The error is
    /// a sentence for an operator.
    pub(in crate::node) fn check_directory(&mut self) -> Result<(), String> {
        let checked = self.try_check_directory();
        let path = self.opener.directory.path().display();
        checked.map_err(|error| format!("the lock directory {path} can't be used: {error}"))
    }

    fn try_check_directory(&mut self) -> io::Result<()> {
        if !self.opener.directory.is_in_place() || !self.tokens.is_in_place(&self.opener.directory) {
            self.opener.directory.reopen()?;
            self.check_all();
            let folder = self.opener.directory.open_own_folder()?;
            if !folder.is_ours {
                return Err(io::Error::other(format!("`{OWN_FOLDER}` in it belongs to another user; remove it")));
            }
            self.tokens = self.tokens.reopen(folder)?;
            let path = self.opener.directory.path().display();
            tracing::warn!(%path, "the lock directory was emptied or replaced; its fencing tokens are counted anew");
        }
        rustix::fs::access(self.opener.directory.path(), Access::WRITE_OK | Access::EXEC_OK)?;
        Ok(())
    }

    /// Lets go of everything.
    pub(in crate::node) fn close_all(&mut self) {
        for (place, file) in std::mem::take(&mut self.files) {
            self.close(&place, file);
        }
    }
}
