//! Fencing tokens that grow whatever becomes of the servers.
//!
//! All servers on one lock directory count together, in the file `last`: who grants locks it, adds one, and lets go. The
//! number is in the kernel's memory from then on, so it outlives any server, but not the machine. For that there is the
//! file `ceiling`, written so that it survives everything: no token at or above it is given before a higher one is
//! written. After a start of the machine the count goes on at the ceiling. It is far ahead, and raised in the background
//! before it is reached, so that no grant waits for the disk.
//!
//! Tokens also start from the wall clock (the machine sees to that), which helps when somebody removes these files.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use fs4::{FileExt, TryLockError};
use lockstead_core::Time;
use lockstead_core::limits::TOKEN_END;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::directory::{Directory, FileId, OWN_FOLDER, PrivateFolder};

/// How far ahead of the last token the ceiling is put. As tokens follow the clock, it is a time: two hours.
const AHEAD: u64 = 2 * 3600 * 1_000_000;
/// Another server has the count for some microseconds at a time; one that is stopped just then must not stop this one.
const COUNT_WITHIN: Duration = Duration::from_millis(20);
/// A ceiling takes as long as the disk does.
const RAISE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_micros(200);
/// How often to try to raise the ceiling before it is reached. There is an hour for it.
const RAISE_EVERY: Duration = Duration::from_secs(1);
/// Digits of a number in a file.
const DIGITS: usize = 16;

/// The count of one lock directory.
#[derive(Debug)]
pub(super) struct Tokens {
    boot: String,
    last: File,
    /// By this server.
    given: u64,
    /// When the ceiling may be raised in the background again.
    next_rise: Time,
    ceiling: Arc<Ceiling>,
}

#[derive(Debug)]
struct Ceiling {
    folder: PrivateFolder,
    /// No higher than what is on the disk.
    value: AtomicU64,
    is_rising: AtomicBool,
}

impl Tokens {
    /// Goes on with the count in `folder`. `boot` names this start of the machine; `least` is the least first token.
    pub(super) fn open(folder: PrivateFolder, boot: &str, least: u64) -> io::Result<Self> {
        let count = open(&folder, "last", OFlags::empty())?;
        let ceiling = Ceiling { folder, value: AtomicU64::new(0), is_rising: AtomicBool::new(false) };
        let tokens = Self {
            boot: boot.to_owned(),
            last: count,
            given: 0,
            next_rise: Time::default(),
            ceiling: Arc::new(ceiling),
        };
        lock_within(&tokens.last, RAISE_WITHIN)?;
        let given = tokens.catch_up(least);
        _ = FileExt::unlock(&tokens.last);
        tokens.ceiling.raise(given?)?;
        Ok(tokens)
    }

    /// Begins anew in another folder, above what this server has given.
    pub(super) fn reopen(&self, folder: PrivateFolder) -> io::Result<Self> {
        let new = Self::open(folder, &self.boot, self.given + 1)?;
        Ok(Self { given: self.given, ..new })
    }

    /// The next token: `least`, or greater than all that were given.
    pub(super) fn next(&mut self, least: u64) -> io::Result<u64> {
        lock_within(&self.last, COUNT_WITHIN)?;
        let token = self.count(least.max(self.given + 1));
        _ = FileExt::unlock(&self.last);
        self.given = token?;
        Ok(self.given)
    }

    /// Whether the count is still where others would look for it.
    pub(super) fn is_in_place(&self, directory: &Directory) -> bool {
        let there = directory.id_at(&format!("{OWN_FOLDER}/last")).ok().flatten();
        there.is_some() && there == FileId::of_file(&self.last).ok()
    }

    fn count(&mut self, least: u64) -> io::Result<u64> {
        let given = read_number(&self.last)?.ok_or_else(|| damaged("last"))?;
        let token = least.max(given + 1);
        if token >= TOKEN_END {
            return Err(io::Error::other("there are no fencing tokens left"));
        }
        let ceiling = self.ceiling.value.load(Ordering::Relaxed);
        if token >= ceiling {
            // Only a clock that was set far ahead leads here.
            self.ceiling.raise(token)?;
        } else if token >= ceiling - AHEAD / 2 {
            self.raise_in_background(token);
        }
        write_number(&self.last, token)?;
        Ok(token)
    }

    fn raise_in_background(&mut self, token: u64) {
        let now = lockstead_clock::time();
        if now >= self.next_rise {
            self.next_rise = now.saturating_add(RAISE_EVERY);
            self.ceiling.raise_in_background(token);
        }
    }

    /// Makes `last` what it should be, for all who count with it: the last token that was given, or more. After a start of
    /// the machine the file may be of any time before it.
    fn catch_up(&self, least: u64) -> io::Result<u64> {
        let counted = read_number(&self.last)?;
        let boot = &self.boot;
        let mut of_boot = vec![0; boot.len()];
        let is_of_boot = self.last.read_exact_at(&mut of_boot, DIGITS as u64 + 1).is_ok() && of_boot == boot.as_bytes();
        let given = match counted {
            Some(given) if is_of_boot => given,
            _ => counted.unwrap_or(0).max(self.ceiling.read()?),
        };
        let given = given.max(least.saturating_sub(1));
        write_number(&self.last, given)?;
        if !is_of_boot {
            self.last.write_all_at(format!("\n{boot}\n").as_bytes(), DIGITS as u64)?;
        }
        Ok(given)
    }
}

impl Ceiling {
    fn read(&self) -> io::Result<u64> {
        let file = open(&self.folder, "ceiling", OFlags::empty())?;
        match read_number(&file)? {
            Some(ceiling) => Ok(ceiling),
            // A new file.
            None if file.metadata()?.len() == 0 => Ok(0),
            None => Err(damaged("ceiling")),
        }
    }

    /// Puts the ceiling well above `token`, or at least leaves it above.
    fn raise(&self, token: u64) -> io::Result<()> {
        // By a descriptor of its own, since a lock on the folder belongs to the open folder.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(rustix::fs::openat(&self.folder.folder, ".", flags, Mode::empty())?);
        lock_within(&folder, RAISE_WITHIN)?;
        let ceiling = self.read()?.max(token.saturating_add(AHEAD));
        let new = open(&self.folder, "ceiling.new", OFlags::TRUNC)?;
        write_number(&new, ceiling)?;
        new.sync_all()?;
        rustix::fs::renameat(&self.folder.folder, "ceiling.new", &self.folder.folder, "ceiling")?;
        folder.sync_all()?;
        self.value.fetch_max(ceiling, Ordering::Relaxed);
        Ok(())
    }

    fn raise_in_background(self: &Arc<Self>, token: u64) {
        if self.is_rising.swap(true, Ordering::Relaxed) {
            return;
        }
        let ceiling = self.clone();
        let rise = move || {
            if let Err(error) = ceiling.raise(token) {
                tracing::warn!(%error, "the fencing tokens of the lock directory could not be reserved further ahead");
            }
            ceiling.is_rising.store(false, Ordering::Relaxed);
        };
        if std::thread::Builder::new().name("lockstead-tokens".to_owned()).spawn(rise).is_err() {
            self.is_rising.store(false, Ordering::Relaxed);
        }
    }
}

fn open(folder: &PrivateFolder, name: &str, more: OFlags) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | more;
    let file: OwnedFd = rustix::fs::openat(&folder.folder, name, flags, folder.file_mode)?;
    let stat = rustix::fs::fstat(&file)?;
    let is_own = stat.st_uid == rustix::process::geteuid().as_raw();
    if is_own && Mode::from_raw_mode(stat.st_mode) != folder.file_mode {
        // Whatever the umask: the servers of others need it, too.
        rustix::fs::fchmod(&file, folder.file_mode)?;
    }
    Ok(file.into())
}

/// Locks without waiting for ever.
fn lock_within(file: &File, patience: Duration) -> io::Result<()> {
    let deadline = lockstead_clock::time().saturating_add(patience);
    loop {
        match FileExt::try_lock(file) {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if lockstead_clock::time() < deadline => std::thread::sleep(LOOK_EVERY),
            Err(TryLockError::WouldBlock) => return Err(Errno::WOULDBLOCK.into()),
        }
    }
}

/// The number at the beginning of a file; none if it begins with something else, or not at all.
fn read_number(file: &File) -> io::Result<Option<u64>> {
    let mut digits = [0; DIGITS];
    match file.read_exact_at(&mut digits, 0) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let number = std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok());
    Ok(number.filter(|number| *number < TOKEN_END))
}

fn damaged(name: &str) -> io::Error {
    let what = format!("`{OWN_FOLDER}/{name}`, which keeps the fencing tokens, is damaged; remove it");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// In one write, always of the same length: a reader finds the old number or the new.
fn write_number(file: &File, number: u64) -> io::Result<()> {
    file.write_all_at(format!("{number:0DIGITS$}").as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lockstead_core::{Kind, Name, ResourceKey};
    use tempfile::TempDir;

    use super::*;
    use crate::node::place::Place;
    use crate::node::watch::{Seen, Sight, Watches};

    fn open_at(dir: &TempDir, boot: &str, least: u64) -> io::Result<Tokens> {
        Tokens::open(Directory::open(dir.path()).unwrap().open_own_folder().unwrap(), boot, least)
    }

    fn write(dir: &TempDir, name: &str, text: &str) {
        std::fs::write(dir.path().join(OWN_FOLDER).join(name), text).unwrap();
    }

    fn ceiling(dir: &TempDir) -> u64 {
        std::fs::read_to_string(dir.path().join(OWN_FOLDER).join("ceiling")).unwrap().parse().unwrap()
    }

    #[test]
    fn they_grow_by_one_or_follow_the_clock() {
        let dir = tempfile::tempdir().unwrap();
        let mut tokens = open_at(&dir, "boot", 10).unwrap();
        let given: Vec<_> = [10, 5, 100, 1].map(|least| tokens.next(least).unwrap()).to_vec();
        assert_eq!(given, [10, 11, 100, 101]);
    }

    #[test]
    fn two_servers_count_together() {
        let dir = tempfile::tempdir().unwrap();
        let (mut first, mut second) = (open_at(&dir, "boot", 1).unwrap(), open_at(&dir, "boot", 1).unwrap());
        let given: Vec<_> = (0..10).flat_map(|_| [first.next(1).unwrap(), second.next(1).unwrap()]).collect();
        assert!(given.is_sorted_by(|a, b| a < b), "{given:?}");
    }

    #[test]
    fn they_go_on_after_a_start_of_the_server_and_far_above_after_one_of_the_machine() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(open_at(&dir, "boot", 1).unwrap().next(1).unwrap(), 1);
        assert_eq!(open_at(&dir, "boot", 1).unwrap().next(1).unwrap(), 2);
        let reserved = ceiling(&dir);
        assert!(reserved > 1_000_000);
        // What was not on the disk yet may be missing or old.
        for lost in ["", "0000000000000001\nboot\n", "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"] {
            write(&dir, "last", lost);
            let reserved = ceiling(&dir);
            assert_eq!(open_at(&dir, "another boot", 1).unwrap().next(1).unwrap(), reserved + 1, "{lost:?}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_not_made_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut tokens = open_at(&dir, "boot", 1).unwrap();
        write(&dir, "last", "nonsense, and more of it");
        assert!(tokens.next(1).is_err());
        write(&dir, "ceiling", "nonsense, and more of it");
        let told = open_at(&dir, "boot", 1).unwrap_err().to_string();
        assert!(told.contains("ceiling") && told.contains("damaged"), "{told}");
        write(&dir, "ceiling", "9999999999999999");
        assert!(open_at(&dir, "boot", 1).is_err(), "beyond all tokens");
    }

    #[test]
    fn the_ceiling_is_above_every_token_and_is_raised_before_it_is_reached() {
        let dir = tempfile::tempdir().unwrap();
        let mut tokens = open_at(&dir, "boot", 1).unwrap();
        let first = ceiling(&dir);
        tokens.next(first - AHEAD / 2 - 1).unwrap();
        assert_eq!(ceiling(&dir), first);
        tokens.next(first - AHEAD / 2).unwrap();
        let deadline = lockstead_clock::time().saturating_add(Duration::from_secs(20));
        while ceiling(&dir) == first {
            assert!(lockstead_clock::time() < deadline, "it is not raised");
            std::thread::yield_now();
        }
        // A clock that jumps.
        let token = tokens.next(first + 10 * AHEAD).unwrap();
        assert!(ceiling(&dir) > token);
    }

    #[test]
    fn the_ceiling_never_falls() {
        let dir = tempfile::tempdir().unwrap();
        let mut ahead = open_at(&dir, "boot", 1).unwrap();
        let behind = open_at(&dir, "boot", 1).unwrap();
        let token = ahead.next(100 * AHEAD).unwrap();
        behind.ceiling.raise(1).unwrap();
        assert!(ceiling(&dir) > token);
    }

    #[test]
    fn a_disk_that_fails_is_not_asked_at_every_grant() {
        let dir = tempfile::tempdir().unwrap();
        let mut tokens = open_at(&dir, "boot", 1).unwrap();
        std::fs::create_dir(dir.path().join(OWN_FOLDER).join("ceiling.new")).unwrap();
        let mut watches = Watches::new().unwrap();
        let resource = ResourceKey { kind: Kind::Lock, name: Name::parse("attempts").unwrap() };
        watches.add(&dir.path().join(OWN_FOLDER), &Place::new(&resource, 0)).unwrap();
        let low = ceiling(&dir) - AHEAD / 2;
        let mut attempts = 0;
        for token in low..low + 200 {
            tokens.next(token).unwrap();
            while tokens.ceiling.is_rising.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            attempts += watches.read().iter().filter(|seen| matches!(seen, Seen::At(_, Sight::Opened))).count();
        }
        assert!((1..20).contains(&attempts), "{attempts} attempts");
    }

    #[test]
    fn a_server_that_is_stopped_in_the_middle_stops_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (stopped, mut other) = (open_at(&dir, "boot", 1).unwrap(), open_at(&dir, "boot", 1).unwrap());
        FileExt::lock(&stopped.last).unwrap();
        assert_eq!(other.next(1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(stopped);
        assert!(other.next(1).is_ok());
    }

    /// A server that starts later has not seen what the first one gave.
    #[test]
    fn where_a_server_begins_anew_others_go_on_above_what_it_gave() {
        let (dir, anew) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut first = open_at(&dir, "boot", 1).unwrap();
        let given = first.next(100 * AHEAD).unwrap();
        let folder = Directory::open(anew.path()).unwrap().open_own_folder().unwrap();
        let _first = first.reopen(folder).unwrap();
        assert_eq!(open_at(&anew, "boot", 1).unwrap().next(1).unwrap(), given + 1);
    }

    #[test]
    fn it_is_noticed_that_the_count_is_not_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let own = dir.path().join(OWN_FOLDER);
        for harm in
            [|own: &Path| std::fs::remove_dir_all(own), |own: &Path| std::fs::rename(own, own.with_extension("old"))]
        {
            let tokens = open_at(&dir, "boot", 1).unwrap();
            assert!(tokens.is_in_place(&directory));
            harm(&own).unwrap();
            assert!(!tokens.is_in_place(&directory));
            open_at(&dir, "boot", 1).unwrap();
            assert!(!tokens.is_in_place(&directory));
        }
    }
}
