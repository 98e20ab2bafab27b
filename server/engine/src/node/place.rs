//! Where the locks of a resource are: names of files within the lock directory.
//!
//! | resource | lock file | note |
//! |---|---|---|
//! | lock `a/b` | `a/b.lock` | `a/b.holder` |
//! | semaphore `a/b` | `a/b.00.lock`, `a/b.01.lock`, … | `a/b.00.holder`, … |
//!
//! A name stays as it is, but for what would stand for something else: `%25` is a `%`, and `%2E` a dot at the beginning
//! of a level or a piece of it, before `lock` or `holder` at the end of a folder, and before what looks like a slot at
//! the end of a lock. A level too long for a file name goes on in a folder: every piece but the last ends with a `%`
//! alone. So no two names share a file, and a file tells its name.

use std::fmt::Write;

use lockstead_core::{Kind, ResourceKey};

/// Longest piece of a level. With a `%`, or with the longest ending, it is still a file name, which has 255 bytes at most.
const PIECE_MAX_BYTES: usize = 240;

/// One lock file: that of a lock, or of a slot of a semaphore.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) resource: ResourceKey,
    /// 0 for a lock.
    pub(super) slot: u32,
}

impl Place {
    pub(super) fn new(resource: &ResourceKey, slot: u32) -> Self {
        Self { resource: resource.clone(), slot }
    }

    /// The lock file, relative to the lock directory.
    pub(super) fn lock_path(&self) -> String {
        self.path("lock")
    }

    /// The file beside it that says who holds it.
    pub(super) fn note_path(&self) -> String {
        self.path("holder")
    }

    fn path(&self, ending: &str) -> String {
        let is_lock = self.resource.kind == Kind::Lock;
        let mut path = String::new();
        let mut levels = self.resource.name.as_str().split('/').peekable();
        while let Some(level) = levels.next() {
            if levels.peek().is_some() {
                escape(level, folder_ending(level), &mut path);
                path.push('/');
            } else {
                escape(level, if is_lock { slot_ending(level) } else { None }, &mut path);
            }
        }
        // Writing to a string can't fail.
        _ = if is_lock { write!(path, ".{ending}") } else { write!(path, ".{:02}.{ending}", self.slot) };
        path
    }
}

/// Writes a level; `dot` is where a dot stands that must not be one.
fn escape(level: &str, dot: Option<usize>, path: &mut String) {
    let mut piece = 0;
    for (at, letter) in level.char_indices() {
        // As if it were escaped.
        if piece + letter.len_utf8().max("%2E".len()) > PIECE_MAX_BYTES {
            path.push_str("%/");
            piece = 0;
        }
        let begin = path.len();
        match letter {
            '%' => path.push_str("%25"),
            '.' if piece == 0 || Some(at) == dot => path.push_str("%2E"),
            _ => path.push(letter),
        }
        piece += path.len() - begin;
    }
}

/// Where the ending of a lock file or a note begins in the name of a folder.
fn folder_ending(level: &str) -> Option<usize> {
    [".lock", ".holder"].iter().find_map(|ending| level.strip_suffix(ending)).map(str::len)
}

/// Where the ending of a slot begins in the name of a lock: a dot and a number as a slot would have it.
fn slot_ending(level: &str) -> Option<usize> {
    let (before, number) = level.rsplit_once('.')?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let is_slot = is_number && (number.len() == 2 || (number.len() > 2 && !number.starts_with('0')));
    is_slot.then_some(before.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lockstead_core::Name;
    use proptest::prelude::*;

    use super::*;

    fn place(kind: Kind, name: &str, slot: u32) -> Place {
        Place { resource: ResourceKey { kind, name: Name::parse(name).unwrap() }, slot }
    }

    /// The place that a path stands for, worked out from the description above.
    fn read(path: &str) -> Place {
        let path = path.strip_suffix(".lock").unwrap();
        let (folders, file) = path.rsplit_once('/').map_or((None, path), |(folders, file)| (Some(folders), file));
        let slot = slot_ending(file);
        let stem = slot.map_or(file, |at| &file[..at]);
        let whole = folders.map_or(stem.to_owned(), |folders| format!("{folders}/{stem}"));
        let name = whole.replace("%/", "").replace("%2E", ".").replace("%25", "%");
        match slot {
            Some(at) => place(Kind::Semaphore, &name, file[at + 1..].parse().unwrap()),
            None => place(Kind::Lock, &name, 0),
        }
    }

    #[test]
    fn names_are_readable() {
        for (kind, name, slot, path) in [
            (Kind::Lock, "nightly", 0, "nightly.lock"),
            (Kind::Lock, "jobs/nightly", 0, "jobs/nightly.lock"),
            (Kind::Semaphore, "gpu", 0, "gpu.00.lock"),
            (Kind::Semaphore, "jobs/gpu", 7, "jobs/gpu.07.lock"),
            (Kind::Semaphore, "gpu", 123, "gpu.123.lock"),
            (Kind::Lock, "Zürich 🔒 1:2?*", 0, "Zürich 🔒 1:2?*.lock"),
            (Kind::Lock, "release-1.2", 0, "release-1.2.lock"),
            (Kind::Lock, "a.lock", 0, "a.lock.lock"),
            (Kind::Lock, "100%", 0, "100%25.lock"),
            (Kind::Lock, ".hidden/...", 0, "%2Ehidden/%2E...lock"),
            (Kind::Lock, "a.lock/b.holder/c", 0, "a%2Elock/b%2Eholder/c.lock"),
            (Kind::Lock, "gpu.00", 0, "gpu%2E00.lock"),
            (Kind::Lock, "gpu.123", 0, "gpu%2E123.lock"),
            (Kind::Lock, "gpu.012", 0, "gpu.012.lock"),
            (Kind::Semaphore, "gpu.00", 1, "gpu.00.01.lock"),
            (Kind::Lock, ".12", 0, "%2E12.lock"),
        ] {
            assert_eq!(place(kind, name, slot).lock_path(), path);
        }
        assert_eq!(place(Kind::Lock, "a/b", 0).note_path(), "a/b.holder");
        assert_eq!(place(Kind::Semaphore, "a/b", 3).note_path(), "a/b.03.holder");
    }

    #[test]
    fn a_long_level_goes_on_in_a_folder() {
        let long = "%".repeat(255);
        let path = place(Kind::Lock, &long, 0).lock_path();
        let piece = "%25".repeat(80);
        assert_eq!(path, format!("{piece}%/{piece}%/{piece}%/{}.lock", "%25".repeat(15)));
        let path = place(Kind::Lock, &"x".repeat(255), 0).lock_path();
        assert_eq!(path, format!("{}%/{}.lock", "x".repeat(238), "x".repeat(17)));
        let path = place(Kind::Lock, &format!("{}./a", "x".repeat(238)), 0).lock_path();
        assert_eq!(path, format!("{}%/%2E/a.lock", "x".repeat(238)));
    }

    /// From few letters, so that they meet.
    fn names() -> impl Strategy<Value = String> {
        let letters = prop_oneof![
            4 => Just(".".to_owned()), 4 => Just("/".to_owned()), 2 => Just("%".to_owned()), 2 => Just("0".to_owned()),
            1 => Just("1".to_owned()), 1 => Just("a".to_owned()), 1 => Just("ü".to_owned()), 1 => Just("2E".to_owned()),
            1 => Just("25".to_owned()), 2 => Just(".lock".to_owned()), 1 => Just(".holder".to_owned()),
            1 => Just("%/".to_owned()), 1 => Just("x".repeat(120)), 1 => any::<char>().prop_map(String::from),
        ];
        proptest::collection::vec(letters, 1..12)
            .prop_map(|letters| letters.concat())
            .prop_filter("a name", |name| Name::parse(name).is_ok())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_file_tells_its_name(name in names(), semaphore in any::<bool>(), slot in 0..1200_u32) {
            let place = if semaphore { place(Kind::Semaphore, &name, slot) } else { place(Kind::Lock, &name, 0) };
            prop_assert_eq!(&read(&place.lock_path()), &place, "{}", place.lock_path());
        }

        /// Neither two files of one path, nor a file where another name has a folder.
        #[test]
        fn names_do_not_meet(names in proptest::collection::vec(names(), 2..20)) {
            let mut taken = BTreeMap::new();
            for name in &names {
                for place in [place(Kind::Lock, name, 0), place(Kind::Semaphore, name, 0), place(Kind::Semaphore, name, 11)] {
                    for path in [place.lock_path(), place.note_path()] {
                        for (at, _) in path.match_indices('/') {
                            let other = taken.insert(path[..at].to_owned(), None);
                            prop_assert!(other.flatten().is_none(), "{} is a file and a folder", &path[..at]);
                        }
                        for level in path.split('/') {
                            prop_assert!(level.len() <= 255 && !level.is_empty() && level != "." && level != "..");
                        }
                        prop_assert!(!path.starts_with('.') && !path.starts_with('/') && !path.contains("/../"));
                        let other = taken.insert(path.clone(), Some(place.clone()));
                        prop_assert!(other.is_none_or(|other| other.as_ref() == Some(&place)), "{path} stands for two");
                    }
                }
            }
        }
    }
}
