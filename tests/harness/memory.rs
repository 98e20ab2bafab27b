//! How much memory a process uses.

/// Of a process, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// In use now.
    pub now: usize,
    /// The most that it ever used.
    pub peak: usize,
}

impl Memory {
    /// Asks the kernel.
    ///
    /// # Panics
    /// If there is no such process.
    pub fn of(process: u32) -> Self {
        let path = format!("/proc/{process}/status");
        let status = std::fs::read_to_string(path).expect("the process is there");
        let of_field = |field: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the kernel tells");
            line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number of kB") << 10
        };
        Self { now: of_field("VmRSS:"), peak: of_field("VmHWM:") }
    }
}
