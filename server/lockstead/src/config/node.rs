//! Settings of the node scope.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What the lock directory is called within the runtime directory.
const FOLDER: &str = "lockstead";
/// The runtime directory of those who have none of their own.
const RUNTIME_DIRECTORY: &str = "/run";

/// Which of the kernel's locks are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LockFamily {
    /// Those of flock(2).
    #[default]
    Flock,
    /// Those of flock(2) and of fcntl(2).
    Both,
}

/// Where the locks of the node scope are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The folder of the lock files.
    pub directory: PathBuf,
    /// Which locks are taken on them.
    pub family: LockFamily,
    /// Whether the folder was named. If not, a server that can't use it does without the node scope.
    pub is_asked_for: bool,
}

impl Node {
    /// Puts the settings together.
    pub(super) fn new(directory: Option<PathBuf>, family: Option<LockFamily>) -> Self {
        let is_asked_for = directory.is_some() || family.is_some();
        Self {
            directory: directory.unwrap_or_else(default_directory),
            family: family.unwrap_or_default(),
            is_asked_for,
        }
    }
}

fn default_directory() -> PathBuf {
    let of_user = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|directory| directory.is_absolute());
    of_user.as_deref().unwrap_or(Path::new(RUNTIME_DIRECTORY)).join(FOLDER)
}
