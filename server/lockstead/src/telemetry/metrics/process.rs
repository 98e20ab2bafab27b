//! What the kernel tells of this process. The names are those that other servers use, so that one dashboard fits all.

use std::fs;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::text::Text;

/// Adds what is known; on a system without `/proc` that is nothing.
pub(super) fn write(text: &mut Text) {
    #[expect(clippy::cast_precision_loss, reason = "so many ticks and seconds there never are")]
    if let Some(stat) = Stat::read() {
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        let (cpu, name) = (seconds(stat.cpu_ticks), "process_cpu_seconds_total");
        text.single(name, "counter", "Processor time used by the server, in seconds.", cpu);
        let name = "process_resident_memory_bytes";
        let resident = stat.resident_pages * page_size() as u64;
        text.single(name, "gauge", "Memory of the server that is in RAM, in bytes.", resident);
        let name = "process_virtual_memory_bytes";
        text.single(name, "gauge", "Address space of the server, in bytes.", stat.virtual_bytes);
        text.single("process_threads", "gauge", "Threads of the server.", stat.threads);
        if let Some(booted) = boot_time() {
            let (name, help) = ("process_start_time_seconds", "When the server started, in seconds since 1970.");
            text.single(name, "gauge", help, booted as f64 + seconds(stat.start_ticks));
        }
    }
    if let Some(open) = open_descriptors() {
        text.single("process_open_fds", "gauge", "Open file descriptors of the server.", open);
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        text.single("process_max_fds", "gauge", "File descriptors that the server may have open.", limit);
    }
}

/// From `/proc/self/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn read() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/self/stat").ok()?)
    }

    fn parse(line: &str) -> Option<Self> {
        // The second field is the program's name, in parentheses, with whatever is in it.
        let (_, rest) = line.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // As proc(5) numbers them, the first one here is field 3.
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: field(14)? + field(15)?,
            threads: field(20)?,
            start_ticks: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

fn open_descriptors() -> Option<usize> {
    // One of them is that by which they are read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_may_be_called_as_it_likes() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 150 0 0 0 7 5 0 0 20 0 9 0 123 4096 77 18446744073709551615";
        let stat = Stat { cpu_ticks: 12, threads: 9, start_ticks: 123, virtual_bytes: 4096, resident_pages: 77 };
        assert_eq!(Stat::parse(line), Some(stat));
        assert_eq!(Stat::parse("42 (a) S 1"), None);
    }
}
