//! Other ways to lock, as their users have them.

pub(crate) mod direct_redis;
pub(crate) mod etcd;
pub(crate) mod portalocker;
pub(crate) mod zookeeper;
mod zookeeper_wire;

use std::path::{Path, PathBuf};

use crate::Failure;

/// The installed program of this name.
pub(crate) fn installed(program: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|program| program.is_file());
    found.ok_or_else(|| format!("{program} is not installed; tests/bench/setup does that where it can").into())
}

/// That file, if it is there.
pub(crate) fn there(path: &Path) -> Result<&Path, Failure> {
    let missing = || format!("{} is not there; tests/bench/setup installs it where it can", path.display()).into();
    path.exists().then_some(path).ok_or_else(missing)
}
