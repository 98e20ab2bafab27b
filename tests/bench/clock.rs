//! Clocks for measuring: finer than those that the service needs.

use rustix::time::{ClockId, clock_gettime};

use crate::Failure;

/// Nanoseconds since some moment in the past.
pub(crate) fn nanos() -> u64 {
    nanos_of(ClockId::Monotonic)
}

/// CPU time that this process has used, in nanoseconds.
pub(crate) fn own_cpu_nanos() -> u64 {
    nanos_of(ClockId::ProcessCPUTime)
}

fn nanos_of(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    // Both are below 10^9 or count up from zero.
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// CPU time that a process has used, in nanoseconds: that of its threads which still run, from the scheduler's own
/// count. (That in /proc/PID/stat has steps of 10 ms.)
pub(crate) fn cpu_nanos_of(process: u32) -> Result<u64, Failure> {
    let mut sum = 0;
    for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
        // One that has ended meanwhile is left out.
        let Ok(line) = std::fs::read_to_string(thread?.path().join("schedstat")) else { continue };
        sum += line.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}

/// Memory of a process that is in RAM, in KiB.
pub(crate) fn resident_kib_of(process: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = resident.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    kib.ok_or_else(|| "the system does not say how much memory a process has".into())
}
