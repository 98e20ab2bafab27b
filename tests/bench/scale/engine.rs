//! The memory engine without a server around it: what a hold takes in memory, and how the cost of an operation grows with
//! the number of holds, and that of a grant with the length of the queue.

use lockstead_core::{
    Acquire, Acquired, Claim, Event, HoldId, Metadata, Mode, Name, Owner, Party, Release, Releaser, SessionId,
};
use lockstead_engine::{Engine, Listener, MemoryEngine, SharedKey};
use tokio::process::Command;

use crate::Failure;
use crate::clock::{nanos, resident_kib_of};
use crate::figures::{BYTES_PER_HOLD, FULL_NANOS, Figures, GROWTH, GROWTH_OF_FREE, SMALL_NANOS, count, real};

/// Holds of a session; a full session may have twice as many.
const OF_SESSION: usize = 100_000;
/// How many operations are timed.
const TIMED: usize = 100_000;
/// What is small is smaller than this by so much.
const SMALLER: usize = 1_000;
const SMALLER_QUEUE: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct EngineArgs {
    what: What,
    count: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    Holds,
    Queue,
}

/// Measures in this process, and says the figures as JSON.
pub(crate) async fn measure(args: EngineArgs) -> Result<(), Failure> {
    let figures = match args.what {
        What::Holds => measure_holds(args.count).await?,
        What::Queue => measure_queue(args.count).await?,
    };
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// So many holds, in a process of its own, whose memory is that of the engine alone.
pub(crate) async fn holds(count: usize) -> Result<Figures, Failure> {
    in_a_process("holds", count, &[BYTES_PER_HOLD, FULL_NANOS, SMALL_NANOS, GROWTH, GROWTH_OF_FREE]).await
}

/// So many waiters for one lock.
pub(crate) async fn queue(waiters: usize) -> Result<Figures, Failure> {
    in_a_process("queue", waiters, &[FULL_NANOS, SMALL_NANOS, GROWTH]).await
}

async fn in_a_process(what: &str, count: usize, expected: &[&'static str]) -> Result<Figures, Failure> {
    let mut command = Command::new(lockstead_tests::program("lockstead-compare"));
    let output = command.args(["engine", what, &count.to_string()]).kill_on_drop(true).output().await?;
    let said: std::collections::HashMap<String, f64> = serde_json::from_slice(&output.stdout)
        .map_err(|_| format!("the engine failed: {}", String::from_utf8_lossy(&output.stderr)))?;
    expected
        .iter()
        .map(|&figure| Ok((figure, *said.get(figure).ok_or_else(|| format!("no figure {figure}"))?)))
        .collect()
}

/// Nobody listens.
struct Deaf;

impl Listener for Deaf {
    fn on_events(&self, _: Vec<Event>) {}
}

/// An engine, and what is asked of it.
struct Bench {
    engine: MemoryEngine,
    requests: u64,
}

impl Bench {
    fn start() -> Self {
        Self { engine: MemoryEngine::start(SharedKey::from_bytes([7; 32]), Deaf), requests: 0 }
    }

    async fn acquire(&mut self, lock: &str, session: SessionId) -> Result<(HoldId, Acquired), Failure> {
        self.requests += 1;
        let party = Party::Session { session, request: self.requests, owner_key: None };
        let (hold, claim) = (HoldId::from_bits(fastrand::u128(..)), Claim::Lock(Mode::Exclusive));
        let name = Name::parse(lock).map_err(|invalid| invalid.message)?;
        let (owner, metadata) = (Owner::default(), Metadata::default());
        let acquired = self.engine.acquire(Acquire { hold, name, claim, party, owner, metadata, queue: true }).await;
        Ok((hold, acquired.map_err(|error| format!("{error:?}"))?))
    }

    async fn release(&self, hold: HoldId, session: SessionId) -> Result<(), Failure> {
        let released = self.engine.release(Release { hold, by: Releaser::Session(session) }).await;
        released.map(|_| ()).map_err(|error| format!("{error:?}").into())
    }

    /// Gives back and takes again holds at random: what is cold when there are many. Nanoseconds for the two.
    async fn turn_over(&mut self, holds: &mut [HoldId]) -> Result<f64, Failure> {
        let start = nanos();
        for _ in 0..TIMED {
            let at = fastrand::usize(..holds.len());
            self.release(holds[at], session_of(at)).await?;
            holds[at] = self.acquire(&lock_of(at), session_of(at)).await?.0;
        }
        Ok(real(nanos() - start) / count(TIMED))
    }

    /// Takes and gives back locks that nobody holds, each another one. Nanoseconds for the two.
    async fn take_free(&mut self) -> Result<f64, Failure> {
        let start = nanos();
        for at in 0..TIMED {
            let (hold, _) = self.acquire(&format!("compare/free/{at:07}"), session_of(0)).await?;
            self.release(hold, session_of(0)).await?;
        }
        Ok(real(nanos() - start) / count(TIMED))
    }
}

fn session_of(at: usize) -> SessionId {
    SessionId::from_bits(u128::try_from(1 + at / OF_SESSION).unwrap_or(1))
}

fn lock_of(at: usize) -> String {
    format!("compare/holds/{at:07}")
}

async fn measure_holds(holds_max: usize) -> Result<Figures, Failure> {
    let mut bench = Bench::start();
    let process = std::process::id();
    let mut holds = Vec::with_capacity(holds_max);
    let small = (holds_max / SMALLER).max(1);
    for at in 0..small {
        holds.push(bench.acquire(&lock_of(at), session_of(at)).await?.0);
    }
    let (small_nanos, small_free) = (bench.turn_over(&mut holds).await?, bench.take_free().await?);
    let before = resident_kib_of(process)?;
    for at in small..holds_max {
        holds.push(bench.acquire(&lock_of(at), session_of(at)).await?.0);
    }
    // The ids that are kept here are none of the engine's memory.
    let own_bytes = count((holds_max - small) * size_of::<HoldId>());
    let grown = real(resident_kib_of(process)?.saturating_sub(before)) * 1024.0 - own_bytes;
    let (full_nanos, full_free) = (bench.turn_over(&mut holds).await?, bench.take_free().await?);
    Ok(Figures::from([
        (BYTES_PER_HOLD, grown / count(holds_max - small)),
        (SMALL_NANOS, small_nanos),
        (FULL_NANOS, full_nanos),
        (GROWTH, full_nanos / small_nanos),
        (GROWTH_OF_FREE, full_free / small_free),
    ]))
}

async fn measure_queue(waiters: usize) -> Result<Figures, Failure> {
    let small = (waiters / SMALLER_QUEUE).max(1);
    let mut small_nanos = f64::MAX;
    // The small one is over soon: the best of a few is not that of a moment when something else ran.
    for _ in 0..10 {
        small_nanos = small_nanos.min(grant_all(small).await?);
    }
    let full_nanos = grant_all(waiters).await?;
    Ok(Figures::from([(SMALL_NANOS, small_nanos), (FULL_NANOS, full_nanos), (GROWTH, full_nanos / small_nanos)]))
}

/// Queues so many, and then releases until all have had their turn. Nanoseconds for a grant.
async fn grant_all(waiters: usize) -> Result<f64, Failure> {
    let mut bench = Bench::start();
    let mut holds = Vec::with_capacity(waiters);
    for at in 0..waiters {
        holds.push(bench.acquire("compare/queue", session_of(at)).await?.0);
    }
    let start = nanos();
    for (at, hold) in holds.iter().enumerate() {
        bench.release(*hold, session_of(at)).await?;
    }
    let taken = real(nanos() - start) / count(waiters);
    Ok(taken)
}
