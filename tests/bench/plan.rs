//! What is measured, and how large it is.

use std::time::Duration;

use lockstead_core::duration;

use crate::contender::Workload;
use crate::crowd::Crowd;

/// How large everything is. The targets are about what it is by itself.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Plan {
    /// Operations in flight, for acquire and release
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    pub(crate) in_flight: Vec<usize>,
    /// The same for unary calls
    #[arg(long, value_delimiter = ',', default_value = "1,64,256")]
    pub(crate) unary_in_flight: Vec<usize>,
    /// Waiters on one lock
    #[arg(long, value_delimiter = ',', default_value = "2,16,64")]
    pub(crate) waiters: Vec<usize>,
    /// Processes that each want one lock once
    #[arg(long, default_value_t = 50)]
    pub(crate) processes: usize,
    /// Sessions on connections of their own
    #[arg(long, default_value_t = 10_000)]
    pub(crate) sessions: usize,
    /// Locks that each of them holds
    #[arg(long, default_value_t = 10)]
    pub(crate) locks_each: usize,
    /// How long they are watched while they are idle
    #[arg(long, default_value = "20s", value_parser = duration::parse)]
    pub(crate) idle: Duration,
    /// Holds in a full engine
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) holds: usize,
    /// Waiters in a long queue
    #[arg(long, default_value_t = 100_000)]
    pub(crate) queue: usize,
}

impl Plan {
    /// All workloads, in the order in which they are measured.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        let pairs = self.in_flight.iter().map(|&in_flight| Workload::Pairs { in_flight });
        let unary = self.unary_in_flight.iter().map(|&in_flight| Workload::Unary { in_flight });
        let hand_over = self.waiters.iter().map(|&waiters| Workload::HandOver { waiters });
        let crowds = [Crowd::Client, Crowd::Curl, Crowd::Impatient];
        let crowds = crowds.map(|by| Workload::Processes { count: self.processes, by });
        let scale = [
            Workload::Sessions { sessions: self.sessions, locks_each: self.locks_each, idle: self.idle },
            Workload::Holds { count: self.holds },
            Workload::Queue { waiters: self.queue },
        ];
        pairs.chain(unary).chain(hand_over).chain(crowds).chain(scale).collect()
    }
}
