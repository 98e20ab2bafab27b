//! Who is compared, and what with.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::Failure;
use crate::crowd::{self, Crowd, Member};
use crate::figures::{Figures, of_operations};
use crate::locker::{self, Locker};

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Acquire and release of locks that nobody else wants, on one session; of limits, what comes closest to it.
    Pairs { in_flight: usize },
    /// The same as calls of their own, outside a session.
    Unary { in_flight: usize },
    /// One lock that many want.
    HandOver { waiters: usize },
    /// Processes that each want one lock once.
    Processes { count: usize, by: Crowd },
    /// Sessions on connections of their own, with locks.
    Sessions { sessions: usize, locks_each: usize, idle: Duration },
    /// An engine full of holds.
    Holds { count: usize },
    /// A long queue for one lock.
    Queue { waiters: usize },
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pairs { in_flight } => write!(f, "pairs, {in_flight} in flight"),
            Self::Unary { in_flight } => write!(f, "unary pairs, {in_flight} in flight"),
            Self::HandOver { waiters } => write!(f, "hand-over, {waiters} waiters"),
            Self::Processes { count, by } => write!(f, "{count} processes, {by}"),
            Self::Sessions { sessions, locks_each, .. } => {
                write!(f, "{sessions} sessions with {locks_each} locks each")
            }
            Self::Holds { count } => write!(f, "{count} holds"),
            Self::Queue { waiters } => write!(f, "queue of {waiters}"),
        }
    }
}

/// The future of a measurement.
pub(crate) type Measuring<'a> = BoxFuture<'a, Result<Figures, Failure>>;

/// Somebody who is compared: a lock service, or a limit. Its processes end when it is dropped.
pub(crate) trait Contender: Send + Sync {
    /// What it is called.
    fn name(&self) -> &'static str;

    /// Its processes, whose CPU time is counted.
    fn processes(&self) -> Vec<u32>;

    /// Does it; `None` if it has no such thing.
    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>>;
}

/// A lock service that is reached by one kind of client, somewhere on this machine.
pub(crate) struct Service<L> {
    pub(crate) name: &'static str,
    pub(crate) address: String,
    pub(crate) processes: Vec<u32>,
    /// How a process of a crowd is told to reach it.
    pub(crate) member: Member,
    locker: PhantomData<fn() -> L>,
    /// What runs for as long as it is there.
    _keeps: Box<dyn std::any::Any + Send + Sync>,
}

impl<L> Service<L> {
    pub(crate) fn new(
        name: &'static str,
        address: String,
        processes: Vec<u32>,
        member: Member,
        keeps: impl std::any::Any + Send + Sync,
    ) -> Self {
        Self { name, address, processes, member, locker: PhantomData, _keeps: Box::new(keeps) }
    }
}

impl<L: Locker> Contender for Service<L> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn processes(&self) -> Vec<u32> {
        self.processes.clone()
    }

    fn measure(&self, workload: Workload, time: Duration) -> Option<Measuring<'_>> {
        let address = self.address.as_str();
        let operations = |measured: Result<_, Failure>| measured.map(|measured| of_operations(&measured));
        Some(match workload {
            Workload::Pairs { in_flight } => locker::pairs::<L>(address, in_flight, time).map(operations).boxed(),
            Workload::HandOver { waiters } => locker::hand_over::<L>(address, waiters, time).map(operations).boxed(),
            Workload::Processes { count, by: Crowd::Client } => crowd::clients(self.member, address, count).boxed(),
            _ => return None,
        })
    }
}
