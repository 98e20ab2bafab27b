//! All that a command has started, also what has left its process group, as `timeout` and job control do.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use rustix::process::{Pid, Signal, kill_process};

/// A process, told apart from a later one of the same number by when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pid: Pid,
    /// In ticks since the machine started.
    started: u64,
}

/// One line of the system's list of processes.
struct Entry {
    process: Process,
    parent: i32,
}

impl Process {
    /// The process that has this number now. `None` where the system keeps no `/proc`.
    pub(super) fn of(pid: Pid) -> Option<Self> {
        read_entry(pid).map(|entry| entry.process)
    }

    /// Kills it and all its descendants. One whose parent ended before it is no descendant any more.
    pub(super) fn kill_tree(self) {
        // A process that is stopped starts no other. A few rounds find those that were started meanwhile; a command that
        // outruns them all has its own group to be killed with.
        const ROUNDS: usize = 20;
        let mut stopped = BTreeSet::new();
        for _ in 0..ROUNDS {
            let mut all_known = true;
            for pid in self.tree() {
                if stopped.insert(pid.as_raw_nonzero()) {
                    all_known = false;
                    // It may be gone already, here and below.
                    _ = kill_process(pid, Signal::STOP);
                }
            }
            if all_known {
                break;
            }
        }
        for pid in stopped.into_iter().filter_map(|pid| Pid::from_raw(pid.get())) {
            _ = kill_process(pid, Signal::KILL);
        }
    }

    /// Itself and its descendants; nothing if it has ended.
    fn tree(self) -> Vec<Pid> {
        let mut children: BTreeMap<i32, Vec<Pid>> = BTreeMap::new();
        let mut is_alive = false;
        for entry in all_entries() {
            is_alive |= entry.process == self;
            children.entry(entry.parent).or_default().push(entry.process.pid);
        }
        let mut tree = if is_alive { vec![self.pid] } else { Vec::new() };
        let mut next = 0;
        while let Some(pid) = tree.get(next) {
            tree.extend(children.remove(&pid.as_raw_nonzero().get()).unwrap_or_default());
            next += 1;
        }
        tree
    }
}

impl std::fmt::Display for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.pid.as_raw_nonzero(), self.started)
    }
}

impl FromStr for Process {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, started) = text.split_once(' ').ok_or(())?;
        let pid = Pid::from_raw(pid.parse().map_err(|_| ())?).ok_or(())?;
        Ok(Self { pid, started: started.parse().map_err(|_| ())? })
    }
}

fn all_entries() -> impl Iterator<Item = Entry> {
    let folders = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    folders.filter_map(|folder| read_entry(Pid::from_raw(folder.file_name().to_str()?.parse().ok()?)?))
}

/// Reads `/proc/PID/stat`: number, name in parentheses (with anything in it), state, parent, …, start time as the 22nd.
fn read_entry(pid: Pid) -> Option<Entry> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(17)?.parse().ok()?;
    Some(Entry { process: Process { pid, started }, parent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_and_written() {
        let this = Process::of(rustix::process::getpid()).unwrap();
        assert_eq!(this.to_string().parse(), Ok(this));
        assert!(this.started > 0);
        assert!(this.tree().contains(&this.pid));
        let later = Process { started: this.started + 1, ..this };
        assert!(later.tree().is_empty(), "another process of the same number");
        assert!("1".parse::<Process>().is_err() && "0 5".parse::<Process>().is_err());
    }
}
