//! What happened, line by line: what each client saw itself, and what was done to whom. All processes are on one machine,
//! so all times are on one clock, which also runs while a process is stopped.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fault::Fault;
use crate::plan::Site;

/// The client that tries every name at the end.
pub(crate) const PROBE: usize = 99;

/// Microseconds on the clock of [`lockstead_client::now`].
pub(crate) type Micros = u64;

/// A client's process. One that is started again after its end is another process, and lives its next life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Process {
    pub(crate) client: usize,
    pub(crate) life: usize,
}

/// One acquire and all that comes of it. It is the owner text of the acquire, so that a queue can be read by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Op {
    pub(crate) process: Process,
    pub(crate) worker: usize,
    pub(crate) number: usize,
}

/// What an acquire is about. A lock is seen as a semaphore with so many permits that its readers never run out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) name: String,
    pub(crate) permits: u32,
    pub(crate) limit: u32,
    pub(crate) hung_on: HungOn,
    /// Zero is a try; without it, the acquire waits for ever.
    pub(crate) wait_ms: Option<u64>,
}

/// On what a hold hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HungOn {
    /// A session that keeps its holds when its stream breaks.
    Keep,
    /// A session that ends with its stream.
    Release,
    /// Its own deadline.
    Ttl,
}

/// Why an acquire got nothing, for sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refusal {
    Held,
    WaitOver,
    Deadlock,
    Cancelled,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The run begins; always the first line.
    Run(Site),

    /// A client is about to send an acquire.
    Asked { op: Op, ask: Ask },
    /// It has the hold in its hands.
    Granted { op: Op, token: u64, until: Micros },
    /// It knows that it has got nothing.
    Refused { op: Op, why: Refusal },
    /// It does not wait any longer: the acquire is about to be taken back.
    Dropped { op: Op },
    /// It got an error, so it does not know whether it was granted. `reason` is a word.
    Failed { op: Op, reason: String, message: String },
    /// The deadline of its belief has moved.
    Valid { op: Op, until: Micros },
    /// The hold can't be confirmed now.
    AtRisk { op: Op },
    /// It can again.
    Confirmed { op: Op },
    /// The client has seen that the hold is lost, and since when.
    Lost { op: Op, reason: String, since: Micros },
    /// It is about to give the hold back.
    GivingBack { op: Op },
    /// It was told that the hold is given back; or why not.
    GivenBack { op: Op, failure: Option<String> },

    /// A process is there.
    Started { process: Process },
    /// It is about to be killed.
    Killed { process: Process },
    /// It is about to be stopped.
    Stopped { process: Process },
    /// It is about to be continued.
    Continued { process: Process },
    /// It was told to end and has done so, or it has not in good time.
    Ended { process: Process, in_time: bool },

    /// Something is about to break.
    FaultBegins { number: usize, fault: Fault },
    /// It has been mended.
    FaultEnds { number: usize },
    /// The machine itself stood still, as far as the runner can tell.
    Stalled { for_ms: u64 },

    /// Somebody who looked has been told who waits for a name.
    Queue { name: String, waiting: Vec<Op> },
    /// At the end, when all clients are gone, this is still held or waited for.
    LeftOver { name: String, holders: usize, waiters: usize },
}

/// An event and its time: of what was about to happen, a moment before; of what has happened, a moment after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at: Micros,
    #[serde(flatten)]
    pub(crate) event: Event,
}

impl Line {
    pub(crate) fn now(event: Event) -> Self {
        Self { at: lockstead_client::now().as_micros(), event }
    }
}

impl Event {
    /// The acquire that it is about.
    pub(crate) fn op(&self) -> Option<Op> {
        match self {
            Self::Asked { op, .. }
            | Self::Granted { op, .. }
            | Self::Refused { op, .. }
            | Self::Dropped { op }
            | Self::Failed { op, .. }
            | Self::Valid { op, .. }
            | Self::AtRisk { op }
            | Self::Confirmed { op }
            | Self::Lost { op, .. }
            | Self::GivingBack { op }
            | Self::GivenBack { op, .. } => Some(*op),
            _ => None,
        }
    }
}

impl Ask {
    /// Whether nobody else can hold beside it.
    pub(crate) fn is_exclusive(&self) -> bool {
        self.permits == self.limit
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.client, self.life)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.process, self.worker, self.number)
    }
}

/// The numbers in a text of exactly as many, between dots.
fn numbers<const N: usize>(text: &str) -> Result<[usize; N], String> {
    let numbers: Result<Vec<usize>, _> = text.split('.').map(str::parse).collect();
    numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| format!("`{text}` names nothing"))
}

impl FromStr for Process {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [client, life] = numbers(text)?;
        Ok(Self { client, life })
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let [client, life, worker, number] = numbers(text)?;
        Ok(Self { process: Process { client, life }, worker, number })
    }
}

impl From<Process> for String {
    fn from(process: Process) -> Self {
        process.to_string()
    }
}

impl From<Op> for String {
    fn from(op: Op) -> Self {
        op.to_string()
    }
}

impl TryFrom<String> for Process {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl TryFrom<String> for Op {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
