//! Onlookers: read the queues while the clients fight, because whoever was seen in one must be served before those who
//! came later.

use std::collections::HashSet;
use std::time::Duration;

use lockstead_client::{Client, Demand, Request};
use tokio::task::JoinSet;

use crate::history::{Event, Op};
use crate::journal::Journal;
use crate::workload::{LOCK_LIMIT, NAMES};

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// One onlooker for each name.
pub(crate) fn start(client: &Client, journal: &Journal) -> JoinSet<()> {
    let mut onlookers = JoinSet::new();
    for contended in NAMES {
        let journal = journal.clone();
        if contended.limit == LOCK_LIMIT {
            onlookers.spawn(look(contended.name, client.lock(contended.name), journal));
        } else {
            onlookers.spawn(look(contended.name, client.semaphore(contended.name, contended.limit), journal));
        }
    }
    onlookers
}

async fn look<K: Demand>(name: &str, request: Request<K>, journal: Journal) {
    let mut known = HashSet::new();
    loop {
        // What fails tells nothing.
        if let Ok(resource) = request.clone().get().await {
            let waiting = resource.waiters.into_iter().filter_map(|waiter| waiter.owner.parse::<Op>().ok());
            let waiting: Vec<Op> = waiting.filter(|op| known.insert(*op)).collect();
            if !waiting.is_empty() {
                journal.note(Event::Queue { name: name.to_owned(), waiting });
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
