//! The node engine: the kernel's file locks, for programs on one machine, whether they know of Lockstead or not.
//!
//! The state machine decides among the clients of this server, as in the memory engine, and the kernel's locks decide
//! between this server and everybody else: a hold is granted when the server has the lock of its file, and as long as it
//! lasts the server has it. So the end of the server frees everything, and any other program that locks the same files
//! excludes and is excluded.
//!
//! [`docs/node-locks.md`](https://github.com/lockstead/lockstead/blob/main/docs/node-locks.md) describes the files.

mod directory;
mod error;
mod files;
mod gate;
mod kernel_lock;
mod note;
mod others;
mod place;
mod probe;
#[cfg(test)]
mod tests;
mod tokens;
mod watch;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use futures::FutureExt;
use futures::future::Either;
use lockstead_core::limits::NODE_SEMAPHORE_LIMIT_MAX;
use lockstead_core::{
    Acquire, Acquired, Cancel, Cancelled, Census, Claim, Command, EndSession, Field, Get, Grant, HoldId, Invalid, List,
    Refusal, Release, Released, Renew, ResourceView, ResumeSession, Time,
};
use tokio::sync::oneshot;

pub use error::NodeError;
pub use kernel_lock::LockFamily;

use crate::{Answer, Capabilities, Engine, EngineError, Listener, Readiness, Result, SharedKey, at_hand};
use directory::{Directory, OWN_FOLDER};
use files::Opener;
use gate::KernelGate;
use tokens::Tokens;
use watch::Watches;
use worker::{Job, Status, Worker};

/// The share of a server's descriptors that lock files may take: one in so many. Connections need some, too.
const FILES_SHARE: usize = 2;
/// Changes with each start of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
const STOPPED: EngineError = EngineError::Unavailable("the node engine has stopped");

/// Where a node engine keeps its locks, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// The lock directory. It is made if there is none, for its owner alone.
    pub directory: PathBuf,
    /// Which kernel locks it takes.
    pub family: LockFamily,
}

/// Keeps locks in the kernel, on files.
#[derive(Debug)]
pub struct NodeEngine {
    jobs: Option<Sender<Job>>,
    status: Arc<Status>,
    key: SharedKey,
}

impl NodeEngine {
    /// Starts an engine, with a thread of its own that ends when the engine is dropped.
    ///
    /// `key` is what it answers to [`Engine::shared_key`]: no other server has its holds.
    pub fn start(
        settings: &NodeSettings,
        key: SharedKey,
        listener: impl Listener,
    ) -> std::result::Result<Self, NodeError> {
        let gate = open_gate(settings)?;
        let (jobs, received) = channel();
        let status = Arc::new(Status::new()?);
        let worker = Worker::new(gate, received, status.clone(), Box::new(listener));
        std::thread::Builder::new().name("lockstead-node".to_owned()).spawn(|| worker.run())?;
        Ok(Self { jobs: Some(jobs), status, key })
    }

    fn ask<T: Send + 'static>(&self, job: impl FnOnce(&mut Worker) -> Result<T> + Send + 'static) -> Answer<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |worker| {
            // Whoever asked may have gone; it is done all the same.
            _ = answer.send(job(worker));
        });
        if self.jobs.as_ref().is_none_or(|jobs| jobs.send(job).is_err()) {
            return at_hand(Err(STOPPED));
        }
        self.status.ring();
        Either::Right(answered.map(|answer| answer.unwrap_or(Err(STOPPED))).boxed())
    }

    fn apply<C: Command<Outcome: Send> + Send + 'static>(&self, command: C) -> Answer<C::Outcome> {
        self.ask(|worker| Ok(worker.apply(command)))
    }

    fn answer<T, C>(&self, command: C) -> Answer<T>
    where
        T: Send + 'static,
        C: Command<Outcome = std::result::Result<T, Refusal>> + Send + 'static,
    {
        self.ask(|worker| Ok(worker.apply(command)?))
    }
}

impl Drop for NodeEngine {
    fn drop(&mut self) {
        self.jobs = None;
        self.status.ring();
    }
}

fn open_gate(settings: &NodeSettings) -> std::result::Result<KernelGate, NodeError> {
    let unusable = |source| NodeError::Directory { path: settings.directory.clone(), source };
    let directory = Directory::open(&settings.directory).map_err(unusable)?;
    let folder = directory.open_own_folder().map_err(unusable)?;
    if !folder.is_ours {
        return Err(NodeError::NotOurs { path: directory.full_path(OWN_FOLDER) });
    }
    probe::probe(directory.path(), &folder, settings.family)?;
    let boot = std::fs::read_to_string(BOOT_ID)?;
    let tokens = Tokens::open(folder, boot.trim(), lockstead_clock::wall_time().as_micros()).map_err(unusable)?;
    let opener = Opener { directory, watches: Watches::new()?, family: settings.family };
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files_max = descriptors.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)) / FILES_SHARE;
    Ok(KernelGate::new(opener, tokens, files_max))
}

impl Engine for NodeEngine {
    fn name(&self) -> &'static str {
        "node"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { outlives_server: false }
    }

    fn acquire(&self, acquire: Acquire) -> Answer<Acquired> {
        match acquire.claim {
            Claim::Semaphore(permits) if permits.limit() > NODE_SEMAPHORE_LIMIT_MAX => {
                let message = format!(
                    "in the node scope a semaphore has {NODE_SEMAPHORE_LIMIT_MAX} permits at most: each is a file"
                );
                at_hand(Err(Invalid::new(Field::Limit, message).into()))
            }
            _ => self.answer(acquire),
        }
    }

    fn renew(&self, renew: Renew) -> Answer<Grant> {
        self.answer(renew)
    }

    fn release(&self, release: Release) -> Answer<Released> {
        self.answer(release)
    }

    fn cancel(&self, cancel: Cancel) -> Answer<Cancelled> {
        self.apply(cancel)
    }

    fn end_session(&self, end: EndSession) -> Answer<usize> {
        self.apply(end)
    }

    fn resume_session(&self, resume: ResumeSession) -> Answer<Vec<HoldId>> {
        self.apply(resume)
    }

    fn get(&self, get: Get) -> Answer<ResourceView> {
        self.apply(get)
    }

    fn list(&self, list: List) -> Answer<Vec<ResourceView>> {
        self.apply(list)
    }

    fn census(&self) -> Census {
        self.status.census()
    }

    fn valid_until(&self) -> Option<Time> {
        None
    }

    fn readiness(&self) -> Readiness {
        self.status.readiness()
    }

    fn shared_key(&self) -> Option<SharedKey> {
        Some(self.key)
    }
}
