//! Processes that each want one lock once, for 10 ms.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::Failure;
use crate::clock::nanos;
use crate::figures::{Figures, GAVE_UP, SECONDS, count as number, real};
use crate::locker::Locker;
use crate::lockstead::Session;
use crate::peers::{direct_redis, etcd, zookeeper};

const LOCK: &str = "compare/crowd";
const HOLD_FOR: Duration = Duration::from_millis(10);
/// Who has nothing by then has given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// By what the processes reach the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crowd {
    /// A client of its own language.
    Client,
    /// `curl` on `…/hold`.
    Curl,
    /// A client with the default of how long it waits.
    Impatient,
}

impl fmt::Display for Crowd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "its client",
            Self::Curl => "curl",
            Self::Impatient => "its client's default timeout",
        })
    }
}

/// Which client a process of the crowd has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Member {
    Lockstead,
    Etcd,
    Zookeeper,
    DirectRedis,
}

impl Member {
    fn word(self) -> &'static str {
        match self {
            Self::Lockstead => "lockstead",
            Self::Etcd => "etcd",
            Self::Zookeeper => "zookeeper",
            Self::DirectRedis => "direct-redis",
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct OnceArgs {
    member: Member,
    address: String,
}

/// What a process of the crowd does.
pub(crate) async fn once(args: OnceArgs) -> Result<(), Failure> {
    let address = args.address.as_str();
    let taking = async {
        match args.member {
            Member::Lockstead => take_once::<Session>(address).await,
            Member::Etcd => take_once::<etcd::EtcdLocker>(address).await,
            Member::Zookeeper => take_once::<zookeeper::ZookeeperLocker>(address).await,
            Member::DirectRedis => take_once::<direct_redis::RedisLocker>(address).await,
        }
    };
    tokio::time::timeout(PATIENCE, taking).await?
}

async fn take_once<L: Locker>(address: &str) -> Result<(), Failure> {
    let mut locker = L::open(address, 1).await?.pop().ok_or("no locker")?;
    let held = locker.acquire(LOCK).await?;
    // The thread sleeps, not the task: tokio's timer has steps of a millisecond.
    std::thread::sleep(HOLD_FOR);
    locker.release(held).await
}

/// By processes of this program. The time counts from before the first is started until the last has ended.
pub(crate) async fn clients(member: Member, address: &str, count: usize) -> Result<Figures, Failure> {
    let address = address.to_owned();
    let crowd = move || {
        let program = lockstead_tests::program("lockstead-compare");
        let start = nanos();
        let mut children = Vec::new();
        for _ in 0..count {
            let mut command = Command::new(&program);
            command.args(["once", member.word(), &address]).stdin(Stdio::null()).stderr(Stdio::null());
            children.push(command.spawn()?);
        }
        let mut gave_up = 0;
        for mut child in children {
            gave_up += usize::from(!child.wait()?.success());
        }
        Ok(of_crowd(start, gave_up))
    };
    tokio::task::spawn_blocking(crowd).await?
}

/// By `curl`, which holds for as long as it runs: each is killed 10 ms after it has said that it holds.
pub(crate) async fn curls(address: &str, count: usize) -> Result<Figures, Failure> {
    let url = format!("{address}/v1/locks/{}/hold?wait=forever", LOCK.replace('/', "%2F"));
    let crowd = move || {
        let start = nanos();
        let mut holders: Vec<JoinHandle<Result<bool, std::io::Error>>> = Vec::new();
        for _ in 0..count {
            let mut command = Command::new("curl");
            let patience = PATIENCE.as_secs().to_string();
            command.args(["--silent", "--no-buffer", "--max-time", &patience, "--request", "POST"]);
            command.args(["--header", "Accept: application/x-ndjson", &url]);
            let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
            holders.push(std::thread::spawn(|| hold_by(child)));
        }
        let mut gave_up = 0;
        for holder in holders {
            gave_up += usize::from(!holder.join().map_err(|_| "a holder failed")??);
        }
        Ok(of_crowd(start, gave_up))
    };
    tokio::task::spawn_blocking(crowd).await?
}

/// Whether it got the lock.
fn hold_by(mut child: Child) -> Result<bool, std::io::Error> {
    let Some(output) = child.stdout.take() else { return Ok(false) };
    let mut lines = BufReader::new(output).lines();
    let is_held = lines.any(|line| line.is_ok_and(|line| line.contains("\"acquired\"")));
    if is_held {
        std::thread::sleep(HOLD_FOR);
    }
    child.kill()?;
    child.wait()?;
    Ok(is_held)
}

/// By other programs, which say a line when they have started, and then wait for one to begin. Their start does not count: an
/// interpreter's would be most of it.
pub(crate) async fn programs(mut command: Command, count: usize) -> Result<Figures, Failure> {
    let crowd = move || {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut children = (0..count).map(|_| command.spawn()).collect::<Result<Vec<_>, _>>()?;
        for child in &mut children {
            let output = child.stdout.as_mut().ok_or("no output")?;
            BufReader::new(output).read_line(&mut String::new())?;
        }
        let start = nanos();
        for child in &mut children {
            child.stdin.as_mut().ok_or("no input")?.write_all(b"go\n")?;
        }
        let mut gave_up = 0;
        for mut child in children {
            gave_up += usize::from(!child.wait()?.success());
        }
        Ok(of_crowd(start, gave_up))
    };
    tokio::task::spawn_blocking(crowd).await?
}

fn of_crowd(start: u64, gave_up: usize) -> Figures {
    Figures::from([(SECONDS, real(nanos() - start) / 1e9), (GAVE_UP, number(gave_up))])
}
