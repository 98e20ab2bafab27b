//! Who holds a lock, in a file beside it, for people to read.
//!
//! Nothing depends on it: it is written when a hold has lasted a moment, so that short ones cost nothing, and emptied at
//! the hold's end. A server that is killed leaves its notes behind; its pid, which is in them, is nobody's then. The lock
//! file itself is never written to, and neither is a file in the note's place that is not a note.

use std::fmt::Write as _;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};

use jiff::Timestamp;
use lockstead_core::{Claim, Mode, Owner, Token, WallTime};
use rustix::io::Errno;

use super::directory::Directory;
use super::place::Place;

/// How each note begins, and no other file.
const BEGIN: &str = "Held through Lockstead";
/// Holders that one note names.
const NAMED_MAX: usize = 20;

/// A holder, as its note tells of it.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) owner: Owner,
    pub(super) claim: Claim,
    pub(super) token: Token,
    pub(super) since: WallTime,
}

/// Writes the note of a place.
pub(super) fn write<'a>(
    directory: &Directory,
    place: &Place,
    holders: impl ExactSizeIterator<Item = &'a Holder>,
) -> io::Result<()> {
    let count = holders.len();
    let mut text = first_line();
    for holder in holders.take(NAMED_MAX) {
        describe(holder, &mut text);
    }
    if count > NAMED_MAX {
        // Writing to a string can't fail.
        _ = writeln!(text, "and {} more", count - NAMED_MAX);
    }
    let (file, _) = directory.open_file(&place.note_path(), false)?;
    if is_note(&file, BEGIN)? {
        file.write_all_at(text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
    }
    Ok(())
}

/// Empties the note of a place, if it is this server's: where a lock was lost, it may be of the next holder already.
pub(super) fn clear(directory: &Directory, place: &Place) -> io::Result<()> {
    match directory.open_existing(&place.note_path()) {
        Ok((file, _)) if is_note(&file, &first_line())? => file.set_len(0),
        Err(error) if Errno::from_io_error(&error) != Some(Errno::NOENT) => Err(error),
        _ => Ok(()),
    }
}

fn first_line() -> String {
    format!("{BEGIN} by process {}.\n", std::process::id())
}

fn describe(holder: &Holder, text: &mut String) {
    let how = match holder.claim {
        Claim::Lock(Mode::Exclusive) => "exclusive".to_owned(),
        Claim::Lock(Mode::Shared) => "shared".to_owned(),
        Claim::Semaphore(share) => format!("{} of {} permits", share.permits(), share.limit()),
    };
    let owner = match holder.owner.as_str() {
        "" => "not named",
        owner => owner,
    };
    let token = holder.token.get();
    let micros = i64::try_from(holder.since.as_micros()).unwrap_or(i64::MAX);
    let since = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    // Writing to a string can't fail.
    _ = writeln!(text, "owner: {owner}\n  {how}, fencing token {token}, since {since:.0}");
}

/// Whether a file is a note that begins so, or empty and can become one. One that has another name too is not: it was put
/// there.
fn is_note(file: &std::fs::File, begin: &str) -> io::Result<bool> {
    if file.metadata()?.nlink() != 1 {
        return Ok(false);
    }
    let mut found = vec![0; begin.len()];
    match file.read_exact_at(&mut found, 0) {
        Ok(()) => Ok(found == begin.as_bytes()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(file.metadata()?.len() == 0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use lockstead_core::{Kind, Name, Permits, ResourceKey};

    use super::*;

    fn holder(owner: &str, claim: Claim) -> Holder {
        let (owner, token) = (Owner::parse(owner).unwrap(), Token::from_number(4711));
        Holder { owner, claim, token, since: WallTime::from_micros(1_000_000) }
    }

    #[test]
    fn a_note_comes_and_goes_and_harms_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let place = Place::new(&ResourceKey { kind: Kind::Lock, name: Name::parse("a/b").unwrap() }, 0);
        let path = dir.path().join("a/b.holder");
        clear(&directory, &place).unwrap();
        assert!(!path.exists());

        let long = holder(&"x".repeat(200), Claim::Semaphore(Permits::new(2, 3).unwrap()));
        write(&directory, &place, [&long].into_iter()).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("2 of 3 permits"));
        write(&directory, &place, [&holder("me", Claim::Lock(Mode::Exclusive))].into_iter()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let pid = std::process::id();
        assert_eq!(
            text,
            format!(
                "Held through Lockstead by process {pid}.\nowner: me\n  exclusive, fencing token 4711, since \
                 1970-01-01T00:00:01Z\n"
            )
        );
        clear(&directory, &place).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");

        std::fs::hard_link(&path, dir.path().join("another name")).unwrap();
        write(&directory, &place, [&long].into_iter()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"");

        std::fs::remove_file(dir.path().join("another name")).unwrap();
        let of_another = format!("{BEGIN} by process {pid}0.\n");
        std::fs::write(&path, &of_another).unwrap();
        clear(&directory, &place).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), of_another, "another server's");

        std::fs::write(&path, "data").unwrap();
        write(&directory, &place, [&long].into_iter()).unwrap();
        clear(&directory, &place).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn it_names_some() {
        let dir = tempfile::tempdir().unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let place = Place::new(&ResourceKey { kind: Kind::Lock, name: Name::parse("a").unwrap() }, 0);
        let holders = vec![holder("", Claim::Lock(Mode::Shared)); NAMED_MAX + 3];
        write(&directory, &place, holders.iter()).unwrap();
        let text = std::fs::read_to_string(dir.path().join("a.holder")).unwrap();
        assert_eq!(text.matches("owner: not named\n  shared, ").count(), NAMED_MAX);
        assert!(text.ends_with("and 3 more\n"));
    }
}
