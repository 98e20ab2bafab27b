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
            versions: programs.iter().filter_map(|(program, flag)| version(program, flag)).collect(),
        }
    }
}

/// The first line of what a program says of itself.
fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().map(|line| line.chars().take(60).collect())
}
