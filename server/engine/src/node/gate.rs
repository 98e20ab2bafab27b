//! The gate of the node engine: a grant is made when the kernel's lock is had.
//!
//! The server has the lock of a file for as long as one of its clients holds it, and from one to the next; see
//! [`super::others`] for when it lets go in between.

mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::Path;
use std::time::Duration;

use lockstead_core::{Claim, Closed, Entrant, Gate, HoldId, Mode, Permits, ResourceKey, Time, Token};

use super::directory::OWN_FOLDER;
use super::error::{NO_TOKEN, TOO_MANY_FILES, trouble_with_file};
use super::files::{LockFile, Opener, Taken};
use super::kernel_lock::Share;
use super::note::Holder;
use super::place::Place;
use super::tokens::Tokens;

/// A hold that lasts longer is noted beside its lock.
const NOTE_AFTER: Duration = Duration::from_millis(20);
/// So many slots of a semaphore are kept open to see when others let go of them. Those beyond are opened for each try.
const SLOTS_WATCHED: u32 = 100;
/// How often trouble is told of.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// The kernel's locks of this server.
#[derive(Debug)]
pub(super) struct KernelGate {
    opener: Opener,
    tokens: Tokens,
    files: BTreeMap<Place, LockFile>,
    files_max: usize,
    /// Places whose lock may have lost its last holder.
    idle: Vec<Place>,
    /// Resources that were last asked for in vain.
    closed: BTreeSet<ResourceKey>,
    /// Holds whose file is not where it was.
    lost: BTreeSet<HoldId>,
    /// Notes to be written, soonest first.
    notes: VecDeque<(Time, Place)>,
    /// The last place that was looked after.
    checked: Option<Place>,
    /// When trouble was last told of.
    warned: Option<Time>,
}

impl KernelGate {
    /// A gate that opens so many files at most.
    pub(super) fn new(opener: Opener, tokens: Tokens, files_max: usize) -> Self {
        Self {
            opener,
            tokens,
            files: BTreeMap::new(),
            files_max,
            idle: Vec::new(),
            closed: BTreeSet::new(),
            lost: BTreeSet::new(),
            notes: VecDeque::new(),
            checked: None,
            warned: None,
        }
    }
}

impl Gate for KernelGate {
    fn admit(&mut self, entrant: &Entrant<'_>, least: Token) -> Result<Token, Closed> {
        let admitted = self.let_in(entrant, least);
        match admitted {
            Ok(_) => self.closed.remove(entrant.resource),
            Err(_) => self.closed.insert(entrant.resource.clone()),
        };
        admitted
    }

    fn leave(&mut self, hold: HoldId, resource: &ResourceKey) {
        for (place, file) in places_of(&mut self.files, resource) {
            if file.holders.remove(&hold).is_none() {
                continue;
            }
            if file.holders.is_empty() {
                self.idle.push(place.clone());
            } else {
                put_on_list(&mut self.notes, place, file);
            }
        }
    }
}

/// The files of a resource.
fn places_of<'a>(
    files: &'a mut BTreeMap<Place, LockFile>,
    resource: &ResourceKey,
) -> impl Iterator<Item = (&'a Place, &'a mut LockFile)> {
    files.range_mut(Place::new(resource, 0)..=Place::new(resource, u32::MAX))
}

fn put_on_list(notes: &mut VecDeque<(Time, Place)>, place: &Place, file: &mut LockFile) {
    if file.note.due.is_none() {
        let due = lockstead_clock::time().saturating_add(NOTE_AFTER);
        file.note.due = Some(due);
        notes.push_back((due, place.clone()));
    }
}

/// Taking locks.
impl KernelGate {
    fn let_in(&mut self, entrant: &Entrant<'_>, least: Token) -> Result<Token, Closed> {
        let (mut places, complete) = match entrant.claim {
            Claim::Lock(mode) => self.take_lock(entrant.resource, mode)?,
            Claim::Semaphore(permits) => self.take_slots(entrant.resource, permits)?,
        };
        // Last, because it makes others wait.
        let token = if complete { self.next_token(least) } else { Err(Closed::ByOthers) };
        match token {
            Ok(token) => {
                for place in &places {
                    self.enter(place, entrant, token);
                }
            }
            Err(_) => self.idle.append(&mut places),
        }
        token
    }

    /// The place of a lock, and whether the server has it now.
    fn take_lock(&mut self, resource: &ResourceKey, mode: Mode) -> Result<(Vec<Place>, bool), Closed> {
        let share = match mode {
            Mode::Exclusive => Share::Exclusive,
            Mode::Shared => Share::Shared,
        };
        let place = Place::new(resource, 0);
        let taken = self.take_place(&place, share)?;
        Ok((vec![place], taken))
    }

    /// The places of slots that the server has now and that nobody holds, and whether they are enough. If not, it must
    /// not keep them: others would wait for what is of no use to anybody.
    fn take_slots(&mut self, resource: &ResourceKey, permits: Permits) -> Result<(Vec<Place>, bool), Closed> {
        let wanted = permits.permits() as usize;
        let mut taken = Vec::with_capacity(wanted);
        for place in self.slots_to_try(resource, permits.limit()) {
            match self.take_place(&place, Share::Exclusive) {
                Ok(true) => taken.push(place),
                Ok(false) => {}
                Err(closed) => {
                    self.idle.append(&mut taken);
                    return Err(closed);
                }
            }
            if taken.len() == wanted {
                break;
            }
        }
        let complete = taken.len() == wanted;
        Ok((taken, complete))
    }

    /// The slots that may be free: first those whose lock the server has from their last holders.
    fn slots_to_try(&mut self, semaphore: &ResourceKey, limit: u32) -> impl Iterator<Item = Place> + use<> {
        let (mut idle, mut held) = (Vec::new(), BTreeSet::new());
        for (place, file) in places_of(&mut self.files, semaphore) {
            if file.is_idle() && place.slot < limit {
                idle.push(place.clone());
            }
            if !file.is_watched_only() {
                held.insert(place.slot);
            }
        }
        let semaphore = semaphore.clone();
        let others = (0..limit).filter(move |slot| !held.contains(slot)).map(move |slot| Place::new(&semaphore, slot));
        idle.into_iter().chain(others)
    }

    fn take_place(&mut self, place: &Place, share: Share) -> Result<bool, Closed> {
        let mut file = match self.files.remove(place) {
            Some(file) => file,
            None if !self.has_room() => return Err(Closed::OutOfOrder(TOO_MANY_FILES)),
            None => self.opener.open(place).map_err(|error| self.trouble(place, &error))?,
        };
        let taken = self.opener.take(place, &mut file, share);
        let is_of_use = match taken {
            Ok(Taken::Yes) => true,
            Ok(Taken::Lost) => {
                self.lost.extend(file.holders.keys());
                true
            }
            Ok(Taken::ByOthers) => place.slot < SLOTS_WATCHED || file.others.come_first(lockstead_clock::time()),
            Err(_) => !file.holders.is_empty(),
        };
        if is_of_use {
            self.files.insert(place.clone(), file);
        } else {
            self.close(place, file);
        }
        taken.map(|taken| taken == Taken::Yes).map_err(|error| self.trouble(place, &error))
    }

    fn has_room(&mut self) -> bool {
        if self.files.len() >= self.files_max {
            self.close_unwanted(true);
        }
        self.files.len() < self.files_max
    }

    fn trouble(&mut self, place: &Place, error: &io::Error) -> Closed {
        let path = self.opener.directory.full_path(&place.lock_path());
        self.warn(&path, error);
        Closed::OutOfOrder(trouble_with_file(error))
    }

    fn next_token(&mut self, least: Token) -> Result<Token, Closed> {
        match self.tokens.next(least.get()) {
            Ok(token) => Ok(Token::from_number(token)),
            Err(error) => {
                let path = self.opener.directory.full_path(OWN_FOLDER);
                self.warn(&path, &error);
                Err(Closed::OutOfOrder(NO_TOKEN))
            }
        }
    }

    /// Tells the log, but not at every try.
    fn warn(&mut self, path: &Path, error: &io::Error) {
        if self.may_warn() {
            tracing::warn!(path = %path.display(), %error, "a node lock can't be granted");
        }
    }

    fn may_warn(&mut self) -> bool {
        let now = lockstead_clock::time();
        let may = self.warned.is_none_or(|warned| now.since(warned) >= WARN_EVERY);
        if may {
            self.warned = Some(now);
        }
        may
    }

    fn enter(&mut self, place: &Place, entrant: &Entrant<'_>, token: Token) {
        if let Some(file) = self.files.get_mut(place) {
            let (owner, claim, since) = (entrant.owner.clone(), entrant.claim, entrant.at);
            file.holders.insert(entrant.hold, Holder { owner, claim, token, since });
            put_on_list(&mut self.notes, place, file);
        }
    }
}
