//! The thread that does all the work of a node engine: it alone has the machine and the files, so that whatever waits for
//! the disk makes nobody else wait, and nothing is decided twice at a time.

use std::os::fd::OwnedFd;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lockstead_core::{Census, Command, Expire, Knock, Lose, Machine, Time};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

use super::gate::KernelGate;
use crate::{Listener, Readiness};

/// How long to carry out jobs before looking after everything else: there may be no end of them.
const JOBS_FOR: Duration = Duration::from_millis(5);
/// How often to look whether others have let go, where the kernel does not tell.
const POLL_EVERY: Duration = Duration::from_millis(10);
/// The share of its time that the thread spends with looking: one in so many.
const POLL_SHARE: u32 = 20;
/// How often to make sure that files are where they were. Also the longest that the thread sleeps.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A piece of work that takes longer means that the disk does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Something to be done by the worker.
pub(super) type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// What others may know of a worker without asking it.
#[derive(Debug)]
pub(super) struct Status {
    /// Rung when there is a job.
    bell: OwnedFd,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    census: Census,
    /// Since when it has been at work without a break.
    busy_since: Option<Time>,
    /// What is wrong with the directory.
    trouble: Option<String>,
    has_ended: bool,
}

impl Status {
    pub(super) fn new() -> std::io::Result<Self> {
        let bell = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { bell, known: Mutex::default() })
    }

    /// Wakes the worker.
    pub(super) fn ring(&self) {
        // It fails only if it has been rung 2^64 times without being heard.
        _ = rustix::io::write(&self.bell, &1_u64.to_ne_bytes());
    }

    pub(super) fn census(&self) -> Census {
        self.known().census
    }

    pub(super) fn readiness(&self) -> Readiness {
        let known = self.known();
        let is_stuck = |since| lockstead_clock::time().since(since) > ANSWERS_WITHIN;
        if known.has_ended {
            Readiness::NotReady("the node engine has stopped; restart the server".to_owned())
        } else if known.busy_since.is_some_and(is_stuck) {
            Readiness::NotReady("the file system of the lock directory does not answer".to_owned())
        } else {
            known.trouble.clone().map_or(Readiness::Ready, Readiness::NotReady)
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// See the module.
pub(super) struct Worker {
    machine: Machine<KernelGate>,
    jobs: Receiver<Job>,
    status: Arc<Status>,
    listener: Box<dyn Listener>,
    next_poll: Time,
    next_check: Time,
}

impl Worker {
    pub(super) fn new(gate: KernelGate, jobs: Receiver<Job>, status: Arc<Status>, listener: Box<dyn Listener>) -> Self {
        let machine = Machine::behind(gate);
        let (next_poll, next_check) = (Time::default(), lockstead_clock::time().saturating_add(CHECK_EVERY));
        Self { machine, jobs, status, listener, next_poll, next_check }
    }

    /// Works until nobody can send jobs any more.
    pub(super) fn run(mut self) {
        loop {
            self.sleep();
            self.status.known().busy_since = Some(lockstead_clock::time());
            // A panic is a defect, but one that must not take every lock with it.
            let goes_on = std::panic::catch_unwind(AssertUnwindSafe(|| self.work())).unwrap_or_else(|_| {
                tracing::error!("the node engine panicked, and goes on");
                // With the jobs that were behind it.
                self.status.ring();
                true
            });
            self.status.known().busy_since = None;
            if !goes_on {
                break;
            }
        }
        self.machine.gate().close_all();
    }

    /// Carries out a command with all that follows from it.
    pub(super) fn apply<C: Command>(&mut self, command: C) -> C::Outcome {
        let outcome = self.step(command);
        self.settle();
        outcome
    }

    /// Ends what has been lost, and lets go of what nobody holds.
    fn settle(&mut self) {
        loop {
            let lost = self.machine.gate().take_lost();
            if lost.is_empty() {
                break;
            }
            self.step(Lose(lost));
        }
        self.machine.gate().settle();
        self.status.known().census = self.machine.census();
    }

    fn step<C: Command>(&mut self, command: C) -> C::Outcome {
        let applied = self.machine.apply(lockstead_clock::now(), command);
        if !applied.events.is_empty() {
            self.listener.on_events(applied.events);
        }
        applied.outcome
    }

    /// Returns when there is something to do.
    fn sleep(&mut self) {
        let gate_waits = self.machine.gate().is_any_closed();
        let deadlines = [
            Some(self.next_check),
            gate_waits.then_some(self.next_poll),
            self.machine.gate().next_note(),
            self.machine.next_deadline(),
        ];
        let now = lockstead_clock::time();
        let left = deadlines.into_iter().flatten().min().map_or(CHECK_EVERY, |next| next.since(now)).min(CHECK_EVERY);
        let left = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let watches = self.machine.gate().watches();
        let mut wakers = [PollFd::new(&self.status.bell, PollFlags::IN), PollFd::new(&watches, PollFlags::IN)];
        // An error is an interruption; there is just nothing to do then.
        _ = rustix::event::poll(&mut wakers, Some(&left));
        _ = rustix::io::read(&self.status.bell, &mut [0; 8]);
    }

    /// Does what there is to do. False when there is no more to come.
    fn work(&mut self) -> bool {
        let free = self.machine.gate().look();
        self.settle();
        for resource in free {
            self.apply(Knock(resource));
        }
        if !self.do_jobs() {
            return false;
        }
        let now = lockstead_clock::time();
        if self.machine.next_deadline().is_some_and(|due| due <= now) {
            self.apply(Expire);
        }
        if now >= self.next_poll && self.machine.gate().is_any_closed() {
            self.poll();
        }
        if now >= self.next_check {
            self.check();
        }
        self.machine.gate().write_notes();
        true
    }

    /// Carries out jobs for a while. False when there are no more to come.
    fn do_jobs(&mut self) -> bool {
        let until = lockstead_clock::time().saturating_add(JOBS_FOR);
        while lockstead_clock::time() < until {
            match self.jobs.try_recv() {
                Ok(job) => job(self),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
        // There may be more, which must not wait until there is something else to do.
        self.status.ring();
        true
    }

    /// Asks again for whatever is waited for. One attempt for each resource, however many wait for it; and if there are
    /// many resources, less often.
    fn poll(&mut self) {
        let began = lockstead_clock::time();
        for resource in self.machine.gate().closed() {
            if self.machine.is_closed(&resource) {
                self.apply(Knock(resource));
            } else {
                self.machine.gate().forget(&resource);
            }
        }
        let ended = lockstead_clock::time();
        self.next_poll = ended.saturating_add(POLL_EVERY.max(ended.since(began) * POLL_SHARE));
    }

    fn check(&mut self) {
        let trouble = self.machine.gate().check_directory().err();
        self.machine.gate().check_some();
        self.settle();
        self.status.known().trouble = trouble;
        self.next_check = lockstead_clock::time().saturating_add(CHECK_EVERY);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.status.known().has_ended = true;
    }
}
