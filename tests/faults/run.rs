//! A run, from the first process to the last line of its history.

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::time::Duration;

use lockstead_client::{Client, List, OnDisconnect, Time};

use crate::fault::Fault;
use crate::history::{Ask, Event, HungOn, Line, Op, PROBE, Process};
use crate::journal::Journal;
use crate::observer;
use crate::plan::{Plan, Planned, Site};
use crate::stage::{Breakable, Clients, Redis, Servers};
use crate::workload::{CONNECT_TIMEOUT, NAMES, Wanted, failure, request};

/// How long a run may take to get going, or a name to be free after the last client has gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// Of peace, after the last fault and two leases.
const SETTLE: Duration = Duration::from_secs(3);

/// Numbers faults, and says what is broken.
struct Herald<'a> {
    journal: &'a Journal,
    begin: Time,
    faults: Cell<usize>,
}

/// Carries out a plan. History and logs go to the folder.
pub(crate) async fn run(plan: Plan, program: &Path, folder: &Path) -> io::Result<Vec<Line>> {
    let Plan { site, servers: server_faults, redis: redis_faults, clients: client_faults } = plan;
    let (journal, record) = Journal::begin(&folder.join("history.jsonl"))?;
    journal.note(Event::Run(site.clone()));
    let mut redis = Redis::start(&site).await;
    let mut servers = Servers::start(&site, program, &redis, folder).await;
    let addresses = servers.addresses();
    let urls = addresses.iter().map(|address| format!("http://{address}")).collect::<Vec<_>>().join(",");
    let onlooker = ready_client(&urls).await?;
    let mut clients = Clients::start(&site, &addresses, &journal).await;
    let mut onlookers = observer::start(&onlooker, &journal);
    onlookers.spawn(journal.clone().watch_the_machine());

    let herald = Herald { journal: &journal, begin: lockstead_client::now(), faults: Cell::new(0) };
    let end = herald.begin.saturating_add(Duration::from_secs(site.seconds));
    tokio::join!(
        herald.strike(&mut servers, server_faults, end),
        herald.strike(&mut redis, redis_faults, end),
        herald.strike(&mut clients, client_faults, end),
        lockstead_clock::sleep_until(end),
    );
    println!("{:>6.1} s  no more faults", herald.elapsed());
    tokio::time::sleep(Duration::from_millis(2 * site.server_lease_ms) + SETTLE).await;
    clients.end().await;
    onlookers.shutdown().await;
    let probe = ready_client(&urls).await?;
    try_every_name(&site, &probe, &journal).await;
    note_what_is_left(&probe, &journal).await;
    drop((probe, onlooker, servers, redis, journal));
    record.lines().await
}

impl Herald<'_> {
    /// Lets something suffer what is planned for it, one fault after the other.
    async fn strike<B: Breakable>(&self, what: &mut B, planned: Vec<Planned<B::Fault>>, end: Time) {
        for Planned { at_ms, fault } in planned {
            lockstead_clock::sleep_until(self.begin.saturating_add(Duration::from_millis(at_ms))).await;
            // The faults before may have taken longer than planned.
            if lockstead_client::now() >= end {
                return;
            }
            let number = self.faults.get();
            self.faults.set(number + 1);
            let general: Fault = fault.clone().into();
            println!("{:>6.1} s  {general}", self.elapsed());
            self.journal.note(Event::FaultBegins { number, fault: general });
            what.suffer(&fault).await;
            self.journal.note(Event::FaultEnds { number });
        }
    }

    fn elapsed(&self) -> f64 {
        lockstead_client::now().since(self.begin).as_secs_f64()
    }
}

/// A client of servers that can serve.
async fn ready_client(urls: &str) -> io::Result<Client> {
    let builder = Client::builder().server(urls).on_disconnect(OnDisconnect::Keep).connect_timeout(CONNECT_TIMEOUT);
    let mut failure = String::new();
    let ready = async {
        loop {
            match try_out(builder.clone()).await {
                Ok(client) => return client,
                Err(error) => failure = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let ready = tokio::time::timeout(PATIENCE, ready).await;
    ready.map_err(|_| io::Error::other(format!("the servers do not get ready: {failure}")))
}

async fn try_out(builder: lockstead_client::Builder) -> lockstead_client::Result<Client> {
    let client = builder.connect().await?;
    client.lock("ready").wait(CONNECT_TIMEOUT).acquire().await?.release().await?;
    Ok(client)
}

/// When nothing is broken any more and nobody is there any more, every name can be had, and given back.
async fn try_every_name(site: &Site, probe: &Client, journal: &Journal) {
    for (number, contended) in NAMES.iter().enumerate() {
        let op = Op { process: Process { client: PROBE, life: 1 }, worker: 0, number };
        let wait = Duration::from_millis(2 * site.server_lease_ms) + PATIENCE;
        let ask = Ask {
            name: contended.name.to_owned(),
            permits: contended.limit,
            limit: contended.limit,
            hung_on: HungOn::Keep,
            wait_ms: u64::try_from(wait.as_millis()).ok(),
        };
        journal.note(Event::Asked { op, ask: ask.clone() });
        let answer = match request(probe, op, &ask) {
            Wanted::Lock(lock) => lock.acquire().await,
            Wanted::Semaphore(semaphore) => semaphore.acquire().await,
        };
        match answer {
            Ok(guard) => {
                journal.note(Event::Granted { op, token: guard.token(), until: guard.valid_until().as_micros() });
                journal.note(Event::GivingBack { op });
                if guard.release().await.is_ok() {
                    journal.note(Event::GivenBack { op, failure: None });
                }
            }
            Err(error) => journal.note(failure(op, &error)),
        }
    }
}

/// What is still in use then. A lease that was dropped may have some time left.
async fn note_what_is_left(probe: &Client, journal: &Journal) {
    let begin = lockstead_client::now();
    loop {
        let lists = [probe.list_locks("faults/"), probe.list_semaphores("faults/")];
        let used: Vec<_> =
            futures::future::join_all(lists.map(List::all)).await.into_iter().flatten().flatten().collect();
        if used.is_empty() {
            return;
        }
        if lockstead_client::now().since(begin) > PATIENCE {
            for resource in used {
                let (holders, waiters) = (resource.holders.len(), resource.waiters.len());
                journal.note(Event::LeftOver { name: resource.name, holders, waiters });
            }
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
