//! The lock directory: what is opened here is in it, or is not opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// The engine's own folder. No name of a resource begins with a dot there.
pub(super) const OWN_FOLDER: &str = ".lockstead";
/// How often to begin again because somebody changed the folders at the same moment.
const ATTEMPTS: usize = 10;
/// For a directory that does not exist yet: its owner's alone.
const NEW_DIRECTORY_MODE: u32 = 0o700;

/// An open lock directory. Its permissions are those of whatever is made in it: who may enter it may use the locks.
#[derive(Debug)]
pub(super) struct Directory {
    /// Absolute, without symbolic links.
    path: PathBuf,
    root: OwnedFd,
    mode: Mode,
}

/// Tells whether two descriptors or paths lead to the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(stat: &Stat) -> Self {
        Self { device: stat.st_dev, inode: stat.st_ino }
    }

    /// Of an open file.
    pub(super) fn of_file(file: &File) -> io::Result<Self> {
        Ok(Self::of(&rustix::fs::fstat(file)?))
    }
}

impl Directory {
    /// Opens it, and makes it if there is none.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        make(&path)?;
        let path = path.canonicalize()?;
        let (root, mode) = open_root(&path)?;
        Ok(Self { path, root, mode })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether its path leads to it.
    pub(super) fn is_in_place(&self) -> bool {
        let there = rustix::fs::stat(&self.path).map(|stat| FileId::of(&stat));
        there.is_ok() && there == rustix::fs::fstat(&self.root).map(|stat| FileId::of(&stat))
    }

    /// Finds it again, in case another one has taken its place.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        make(&self.path)?;
        (self.root, self.mode) = open_root(&self.path)?;
        Ok(())
    }

    /// Opens a lock file and the way to it, making what is missing. It is never truncated, and never followed out of the
    /// directory. Read-only is as good as nothing to some kinds of locks, but flock works on it: with `or_read`, a file
    /// of another user that can only be read is opened for that.
    pub(super) fn open_file(&self, relative: &str, or_read: bool) -> io::Result<(File, FileId)> {
        for _ in 0..ATTEMPTS {
            let opened = match self.open_beneath(relative, OFlags::RDWR, Mode::empty()) {
                Err(Errno::NOENT) => self.create(relative),
                Err(Errno::ACCESS) if or_read => self.open_beneath(relative, OFlags::RDONLY, Mode::empty()),
                other => other,
            };
            match opened {
                Ok(file) => return check_regular(file),
                // Made or removed by somebody else in between.
                Err(Errno::EXIST | Errno::NOENT | Errno::AGAIN) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::NOENT.into())
    }

    /// Opens a file that is there.
    pub(super) fn open_existing(&self, relative: &str) -> io::Result<(File, FileId)> {
        check_regular(self.open_beneath(relative, OFlags::RDWR, Mode::empty())?)
    }

    /// Which file the path leads to now; none if there is none, or only one behind a symbolic link.
    pub(super) fn id_at(&self, relative: &str) -> io::Result<Option<FileId>> {
        match rustix::fs::statat(CWD, self.full_path(relative), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileId::of(&stat))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The whole path of a file.
    pub(super) fn full_path(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    /// Opens the engine's own folder, which only those may enter who own or share the directory, whoever else uses it.
    pub(super) fn open_own_folder(&self) -> io::Result<PrivateFolder> {
        let mode = self.folder_mode() - Mode::RWXO - Mode::SVTX;
        let folder = open_folder(&self.root, OWN_FOLDER, mode)?;
        let owner = rustix::fs::fstat(&folder)?.st_uid;
        let trusted = [0, rustix::process::geteuid().as_raw(), rustix::fs::fstat(&self.root)?.st_uid];
        Ok(PrivateFolder { is_ours: trusted.contains(&owner), folder, file_mode: self.file_mode() - Mode::RWXO })
    }

    fn open_beneath(&self, relative: &str, flags: OFlags, mode: Mode) -> rustix::io::Result<OwnedFd> {
        // Nothing waits at a FIFO, and nothing gets a terminal.
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        rustix::fs::openat2(&self.root, relative, flags, mode, BENEATH)
    }

    fn create(&self, relative: &str) -> rustix::io::Result<OwnedFd> {
        let create =
            || self.open_beneath(relative, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR);
        let file = match create() {
            Err(Errno::NOENT) => {
                self.make_folders(relative)?;
                create()?
            }
            other => other?,
        };
        // Whatever the umask.
        rustix::fs::fchmod(&file, self.file_mode())?;
        Ok(file)
    }

    fn make_folders(&self, relative: &str) -> rustix::io::Result<()> {
        let Some((folders, _)) = relative.rsplit_once('/') else { return Ok(()) };
        let mut parent = None;
        for folder in folders.split('/') {
            let within = parent.as_ref().unwrap_or(&self.root);
            parent = Some(open_folder(within, folder, self.folder_mode())?);
        }
        Ok(())
    }

    fn file_mode(&self) -> Mode {
        (self.mode & Mode::from_raw_mode(0o666)) | Mode::RUSR | Mode::WUSR
    }

    fn folder_mode(&self) -> Mode {
        self.mode | Mode::RWXU
    }
}

/// A folder for what belongs to the engine itself.
#[derive(Debug)]
pub(super) struct PrivateFolder {
    pub(super) folder: OwnedFd,
    /// For its files.
    pub(super) file_mode: Mode,
    /// It is of a user who may change what is in it.
    pub(super) is_ours: bool,
}

const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

fn make(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().recursive(true).mode(NEW_DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Errno::NOTDIR.into()),
        other => other,
    }
}

fn open_root(path: &Path) -> io::Result<(OwnedFd, Mode)> {
    let root = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&root)?.st_mode);
    Ok((root, mode))
}

fn check_regular(file: OwnedFd) -> io::Result<(File, FileId)> {
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::NXIO.into());
    }
    Ok((File::from(file), FileId::of(&stat)))
}

/// Opens a folder, and makes it if there is none.
fn open_folder(parent: impl AsFd, name: &str, mode: Mode) -> rustix::io::Result<OwnedFd> {
    let is_new = match rustix::fs::mkdirat(&parent, name, mode) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(error),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::openat2(&parent, name, flags, Mode::empty(), BENEATH)?;
    if is_new {
        // Whatever the umask.
        rustix::fs::fchmod(&folder, mode)?;
    }
    Ok(folder)
}
