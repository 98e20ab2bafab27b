//! Where it was measured.

use std::process::Command;

use serde::Serialize;

/// The machine and the versions of what ran on it.
#[derive(Serialize)]
pub(super) struct Machine {
    pub(super) cpu: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) is_release_build: bool,
    /// How many threads wanted a core in the minute before anything was measured: noise, where it is not near zero.
    pub(super) load_before: f64,
    pub(super) versions: Vec<String>,
}

impl Machine {
    pub(super) fn look() -> Self {
        let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let programs =
            [("redis-server", "--version"), ("etcd", "--version"), ("curl", "--version"), ("java", "-version")];
        Self {
            cpu: cpu.map(|(_, name)| name.to_owned()).unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel.trim().to_owned(),
            is_release_build: !cfg!(debug_assertions),
            load_before: load(),
            versions: programs.iter().filter_map(|(program, flag)| version(program, flag)).collect(),
        }
    }
}

fn load() -> f64 {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().and_then(|minute| minute.parse().ok()).unwrap_or(f64::NAN)
}

/// The first line of what a program says of itself.
fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().map(|line| line.chars().take(60).collect())
}
