//! What the kernel tells of lock files: inotify.
//!
//! It tells who opens and closes a file, which is how most programs let go of its lock, and that a path does not lead to
//! it any more. It is a hint that saves looking: everything is found out without it too, only later.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::place::Place;

/// Room for some 250 events, which have no names.
const BUFFER_BYTES: usize = 4096;

/// All files that are watched.
#[derive(Debug)]
pub(super) struct Watches {
    inotify: OwnedFd,
    /// By the kernel's number of a watch. Two places have one if their paths lead to one file.
    places: HashMap<i32, Vec<Place>>,
    warned: bool,
}

/// What happened at a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Another program opened it.
    Opened,
    /// Another program closed it.
    Closed,
    /// It may not be where it was.
    Moved,
}

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// This, there.
    At(Place, Sight),
    /// Too much at once: anything may have happened anywhere.
    Everything,
}

impl Watches {
    pub(super) fn new() -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        Ok(Self { inotify, places: HashMap::new(), warned: false })
    }

    /// Watches the file that is at this path; none if the kernel can't, for example because there are too many.
    pub(super) fn add(&mut self, path: &Path, place: &Place) -> Option<i32> {
        let flags = WatchFlags::OPEN
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::CLOSE_NOWRITE
            | WatchFlags::ATTRIB
            | WatchFlags::MOVE_SELF
            | WatchFlags::DELETE_SELF
            | WatchFlags::DONT_FOLLOW;
        match inotify::add_watch(&self.inotify, path, flags) {
            Ok(watch) => {
                self.places.entry(watch).or_default().push(place.clone());
                Some(watch)
            }
            // Whoever takes the lock finds out that the file is gone.
            Err(Errno::NOENT) => None,
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    tracing::warn!(%error, "a lock file can't be watched (fs.inotify.max_user_watches?); it is polled");
                }
                None
            }
        }
    }

    pub(super) fn remove(&mut self, watch: i32, place: &Place) {
        let Some(places) = self.places.get_mut(&watch) else { return };
        if let Some(index) = places.iter().position(|of| of == place) {
            places.swap_remove(index);
        }
        if places.is_empty() {
            self.places.remove(&watch);
            // The kernel has removed it by itself if the file is gone.
            _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// What has been seen since the last call, in its order. If it is much, only the first of it: whoever opens files
    /// without end must not keep the engine busy with it alone.
    pub(super) fn read(&mut self) -> Vec<Seen> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut seen = Vec::new();
        while let Ok(event) = reader.next() {
            let events = event.events();
            // It is at no place, and so is what was still to be told of a watch that has been removed.
            if events.contains(ReadFlags::QUEUE_OVERFLOW) {
                seen.push(Seen::Everything);
            }
            let sight = if events.contains(ReadFlags::OPEN) {
                Sight::Opened
            } else if events.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE) {
                Sight::Closed
            } else {
                Sight::Moved
            };
            let places = self.places.get(&event.wd()).into_iter().flatten();
            seen.extend(places.map(|place| Seen::At(place.clone(), sight)));
            if reader.is_buffer_empty() {
                break;
            }
        }
        seen
    }
}

impl AsFd for Watches {
    /// Readable when there is something to be seen.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use lockstead_core::{Kind, Name, ResourceKey};

    use super::*;

    fn place(name: &str) -> Place {
        Place::new(&ResourceKey { kind: Kind::Lock, name: Name::parse(name).unwrap() }, 0)
    }

    fn seen(watches: &mut Watches) -> Vec<(Place, Sight)> {
        let at = |seen| match seen {
            Seen::At(place, sight) => (place, sight),
            Seen::Everything => panic!("so much did not happen"),
        };
        watches.read().into_iter().map(at).collect()
    }

    #[test]
    fn it_tells_who_comes_and_goes_and_that_a_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = File::create(&path).unwrap();
        let mut watches = Watches::new().unwrap();
        watches.add(&path, &place("a")).unwrap();
        assert!(seen(&mut watches).is_empty());
        drop(File::open(&path).unwrap());
        assert_eq!(seen(&mut watches), [(place("a"), Sight::Opened), (place("a"), Sight::Closed)]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(seen(&mut watches), [(place("a"), Sight::Moved)], "although it is still open");
        drop(file);
    }

    #[test]
    fn two_places_at_one_file_share_a_watch() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        File::create(&a).unwrap();
        std::fs::hard_link(&a, &b).unwrap();
        let mut watches = Watches::new().unwrap();
        let first = watches.add(&a, &place("a")).unwrap();
        assert_eq!(watches.add(&b, &place("b")), Some(first));
        watches.remove(first, &place("b"));
        drop(File::open(&b).unwrap());
        assert_eq!(seen(&mut watches), [(place("a"), Sight::Opened), (place("a"), Sight::Closed)]);
        watches.remove(first, &place("a"));
        drop(File::open(&b).unwrap());
        assert!(seen(&mut watches).is_empty());
    }

    #[test]
    fn it_tells_of_much_bit_by_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        File::create(&path).unwrap();
        let mut watches = Watches::new().unwrap();
        watches.add(&path, &place("a")).unwrap();
        for _ in 0..1000 {
            drop(File::open(&path).unwrap());
        }
        let (mut parts, mut all) = (0, 0);
        loop {
            let part = seen(&mut watches).len();
            if part == 0 {
                break;
            }
            (parts, all) = (parts + 1, all + part);
        }
        assert!(all == 2000 && parts > 5, "{all} in {parts} parts");
    }

    #[test]
    fn what_is_not_there_is_not_watched() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Watches::new().unwrap().add(&folder.path().join("a"), &place("a")), None);
    }
}
