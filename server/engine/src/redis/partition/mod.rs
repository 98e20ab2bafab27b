//! The task of one partition: reaches Redis, joins, carries calls, keeps the heartbeat, and hears pushes.

mod answer;
mod inbox;
mod news;

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lockstead_clock::{now, sleep_until, time};
use lockstead_core::{EndReason, Event, Time};
use tokio::sync::mpsc;

use super::call::{AWAY, At, Call, DAMAGED, Then};
use super::record;
use super::status::Status;
use super::table::{Index, State};
use super::wire::{Link, Pace, WireError};
use super::{Shared, lock};
pub(super) use answer::Answer;
pub(super) use inbox::Inbox;
pub(super) use news::{Granted, News, hand_over};

/// Most operations in one call.
pub(super) const BATCH_MAX: usize = 128;
/// After a failure that a new connection would not mend.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(200);
/// What the scripts take before the operations.
#[doc(hidden)]
pub const KEYS: [&str; 14] = [
    "meta",
    "servers",
    "numbers",
    "pushes",
    "due",
    "holds",
    "resources",
    "parties",
    "sessions",
    "attached",
    "session-holds",
    "requests",
    "ended",
    "ended-order",
];

/// Why the partition has to begin anew.
#[derive(Debug)]
pub(super) enum Break {
    /// The way to Redis failed.
    Wire(WireError),
    /// Redis and this server no longer know that they agree.
    Rejoin,
}

impl From<WireError> for Break {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

pub(super) struct Partition {
    pub(super) index: Index,
    pub(super) shared: Arc<Shared>,
    calls: mpsc::UnboundedReceiver<Call>,
    /// Operations that wait for their turn.
    queue: VecDeque<Call>,
    keys: Arc<[String]>,
    /// Of the last call.
    number: u64,
    pub(super) epoch: Vec<u8>,
    /// How many pushes were sent to this server, as far as it knows.
    pub(super) pushes: u64,
    /// The last token and ticket that it has heard of, whatever Redis remembers of them.
    pub(super) last_token: u64,
    pub(super) last_ticket: u64,
    next_beat: Time,
    /// When Redis has something to end or to grant that nobody else may see to.
    next_due: Option<Time>,
    /// When the queues in which this server waits are to be served once more: after a break, or at the end of the window.
    pub(super) serve_queues_at: Option<Time>,
    /// Grants that their waiters are not told of yet.
    pub(super) granted: Vec<Granted>,
    /// What Redis shows and what the table has are no longer the same.
    pub(super) disagrees: bool,
    /// Of joining over a connection that is well.
    pace: Pace,
}

impl Partition {
    pub(super) fn new(index: Index, shared: Arc<Shared>, calls: mpsc::UnboundedReceiver<Call>) -> Self {
        let keys = KEYS.iter().map(|key| format!("lockstead:{{{index}}}:{key}")).collect();
        Self {
            index,
            shared,
            calls,
            queue: VecDeque::new(),
            keys,
            number: 0,
            epoch: Vec::new(),
            pushes: 0,
            last_token: 0,
            last_ticket: 0,
            next_beat: Time::default(),
            next_due: None,
            serve_queues_at: None,
            granted: Vec::new(),
            disagrees: false,
            pace: Pace::default(),
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let Err(broken) = self.attend().await;
            self.note(&broken);
            if matches!(&broken, Break::Wire(WireError::Script(_) | WireError::TooFewAcks)) {
                let pause = time().saturating_add(PAUSE_AFTER_FAILURE);
                self.patiently(sleep_until(pause)).await;
            }
        }
    }

    /// Serves over one connection until it breaks.
    async fn attend(&mut self) -> Result<std::convert::Infallible, Break> {
        let (shared, index) = (self.shared.clone(), self.index);
        if index > 0 {
            let mut agreed = shared.agreed.subscribe();
            _ = self.patiently(agreed.wait_for(|agreed| *agreed)).await;
        }
        let link = self.patiently(shared.wire.link(index)).await?;
        loop {
            match self.join_and_serve(&link).await {
                Err(Break::Rejoin) if link.is_open() => {}
                Err(broken) => return Err(broken),
            }
            tracing::debug!(partition = index, "joins anew");
            // With time left to say what this server has before its lease runs out.
            let pause = self.pace.next_pause(time(), getrandom::u32().unwrap_or_default());
            let pause = pause.min(shared.settings.server_lease / 20);
            self.patiently(sleep_until(time().saturating_add(pause))).await;
        }
    }

    async fn join_and_serve(&mut self, link: &Link) -> Result<std::convert::Infallible, Break> {
        let mut inbox = self.join(link).await?;
        self.serve(link, &mut inbox).await
    }

    /// Hears from now on what other servers' calls have to say.
    pub(super) async fn subscribe(&mut self, link: &Link) -> Result<Inbox, Break> {
        let (sender, inbox) = Inbox::new();
        let subscribing = link.subscribe(format!("{}{}", self.inboxes(), self.shared.server_name()), sender);
        self.patiently(subscribing).await?;
        Ok(inbox)
    }

    fn inboxes(&self) -> String {
        format!("lockstead:{{{}}}:inbox:", self.index)
    }

    /// Tells operators and callers.
    fn note(&mut self, broken: &Break) {
        let Break::Wire(error) = broken else { return };
        if let WireError::Misconfigured(why) = error
            && lock(&self.shared.key).is_none()
        {
            self.shared.misconfigured.send_replace(Some(why.clone()));
        }
        self.set_status(Status::Away(error.to_string()));
    }

    pub(super) fn set_status(&self, status: Status) {
        let mut statuses = lock(&self.shared.statuses);
        let Some(known) = statuses.get_mut(usize::from(self.index)) else { return };
        if *known != status {
            // The server tells of the engine as a whole.
            tracing::debug!(partition = self.index, ?status);
            *known = status;
        }
    }

    /// Waits for something, but not with what time brings.
    pub(super) async fn patiently<T>(&mut self, something: impl Future<Output = T>) -> T {
        let mut something = pin!(something);
        loop {
            self.take_calls();
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                done = &mut something => return done,
                () = lockstead_clock::sleep_until_some(deadline) => self.on_time(),
                Some(call) = self.calls.recv() => self.queue.push_back(call),
            }
        }
    }

    /// The same for what is over soon: until then, nobody's patience with a call that comes meanwhile can end.
    async fn briefly<T>(&mut self, something: impl Future<Output = T>) -> T {
        let mut something = pin!(something);
        loop {
            let deadline = self.next_deadline();
            tokio::select! {
                biased;
                done = &mut something => return done,
                () = lockstead_clock::sleep_until_some(deadline) => self.on_time(),
            }
        }
    }

    fn take_calls(&mut self) {
        while let Ok(call) = self.calls.try_recv() {
            self.queue.push_back(call);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let lease = lock(&self.shared.promises).deadline(self.index);
        let call = self.queue.front().map(|call| call.until);
        lease.into_iter().chain(call).min()
    }

    /// Gives up what time has run out for.
    fn on_time(&mut self) {
        let now = time();
        if lock(&self.shared.promises).deadline(self.index).is_some_and(|deadline| deadline <= now) {
            self.lose_all();
        }
        while self.queue.front().is_some_and(|call| call.until <= now) {
            if let Some(call) = self.queue.pop_front() {
                call.fail(&self.shared, self.index, AWAY);
            }
        }
    }

    /// The lease has run out: soon others may be granted what the sessions of this server hold.
    fn lose_all(&mut self) {
        self.disagrees = true;
        let mut table = self.shared.table();
        let mut events = Vec::new();
        for hold in table.of_partition(self.index) {
            let of_session = table.get(hold).is_some_and(|hold| hold.is_held() && hold.session().is_some());
            if !of_session {
                continue;
            }
            if let Some(ended) = table.remove(hold, Some(EndReason::BackendLost)) {
                let (to, reason) = (ended.session(), EndReason::BackendLost);
                events.push(Event::Ended { to, hold, resource: ended.resource, reason });
            }
        }
        self.shared.tell(&table, events);
        drop(table);
        lock(&self.shared.promises).end(self.index);
    }

    /// Calls the script once. `joined`: under the epoch in which the server has joined.
    pub(super) async fn call<'a>(
        &mut self,
        link: &Link,
        joined: bool,
        operations: impl Iterator<Item = &'a [Vec<u8>]> + Send,
    ) -> Result<Answer, Break> {
        self.number += 1;
        let settings = &self.shared.settings;
        let (server, number) = (self.shared.server_name().into_bytes(), super::figure(self.number));
        let epoch = if joined { self.epoch.clone() } else { Vec::new() };
        let (lease, inboxes) = (super::figure(settings.server_lease.as_millis()), self.inboxes().into_bytes());
        let waiters_max = super::figure(lockstead_core::limits::WAITERS_PER_RESOURCE_MAX);
        let mut args: Vec<&[u8]> = vec![&server, &number, &epoch, &lease, &inboxes, &waiters_max];
        operations.flatten().for_each(|arg| args.push(arg));
        let (keys, script, twice) = (self.keys.clone(), settings.script(), settings.send_twice);
        let sent = now();
        let calling = async {
            let answer = link.call(script, &keys, &args).await;
            if twice {
                link.call(script, &keys, &args).await?;
            }
            answer
        };
        let answer = Answer::read(self.briefly(calling).await?, sent)?;
        self.last_token = self.last_token.max(answer.last_token);
        self.last_ticket = self.last_ticket.max(answer.last_ticket);
        Ok(answer)
    }

    async fn serve(&mut self, link: &Link, inbox: &mut Inbox) -> Result<std::convert::Infallible, Break> {
        // A push counts at once, but with acknowledgements: those are only had for what our own connection writes.
        let counts_at_once = self.shared.settings.min_acks == 0;
        loop {
            if self.disagrees {
                return Err(Break::Rejoin);
            }
            self.take_calls();
            self.ask_to_serve_queues();
            if !self.has_to_call() && inbox.is_empty() {
                let wake = [self.next_due, self.serve_queues_at, self.next_deadline()].into_iter().flatten();
                let wake = wake.fold(self.next_beat, Time::min);
                tokio::select! {
                    Some(call) = self.calls.recv() => self.queue.push_back(call),
                    more = inbox.more() => more?,
                    () = link.closed() => return Err(Break::Rejoin),
                    () = sleep_until(wake) => self.on_time(),
                }
                self.take_calls();
            }
            inbox.take_all()?;
            if counts_at_once {
                self.hear(inbox, u64::MAX)?;
            }
            if self.has_to_call() || !inbox.is_empty() {
                // Whoever else is about to ask for something comes along.
                tokio::task::yield_now().await;
                self.take_calls();
                self.call_for_all(link, inbox).await?;
            }
        }
    }

    fn has_to_call(&self) -> bool {
        let has_calls = !self.queue.is_empty() && self.is_in_service();
        has_calls || self.has_to_beat() || self.next_due.is_some_and(|due| due <= time())
    }

    fn has_to_beat(&self) -> bool {
        time() >= self.next_beat
    }

    /// Carries what has come up, in one call.
    async fn call_for_all(&mut self, link: &Link, inbox: &mut Inbox) -> Result<(), Break> {
        let beats = self.has_to_beat();
        let count = if self.is_in_service() { self.queue.len().min(BATCH_MAX) } else { 0 };
        let calls: Vec<Call> = self.queue.drain(..count).collect();
        let beat = beats.then(|| [b"B".to_vec()]);
        let operations = calls.iter().map(|call| call.args.as_slice()).chain(beat.iter().map(<[_; 1]>::as_slice));
        let answer = match self.call(link, true, operations).await {
            // The lease has run out meanwhile, so nothing that was granted may be told.
            Ok(_) if self.disagrees => Err(Break::Rejoin),
            answer => answer,
        };
        match answer {
            Ok(answer) => {
                // What was pushed before the call came before its answer.
                inbox.take_all()?;
                let heard = self.hear(inbox, answer.pushes);
                let (sent, goes_on) = (answer.sent, answer.epoch == self.epoch && answer.pushes == self.pushes);
                self.on_answer(calls, answer);
                if beats {
                    self.on_heartbeat(sent.time);
                }
                heard?;
                if goes_on { Ok(()) } else { Err(Break::Rejoin) }
            }
            Err(Break::Wire(WireError::Script(why))) => {
                tracing::error!(%why, "a script failed: the keys of its partition are damaged, or it has a defect");
                for call in calls {
                    call.fail(&self.shared, self.index, DAMAGED);
                }
                Err(WireError::Script(why).into())
            }
            Err(broken) => {
                for call in calls.into_iter().rev() {
                    self.queue.push_front(call.repeat());
                }
                Err(broken)
            }
        }
    }

    fn is_in_service(&self) -> bool {
        lock(&self.shared.promises).is_in_service(self.index)
    }

    fn on_answer(&mut self, calls: Vec<Call>, answer: Answer) {
        let shared = self.shared.clone();
        let mut table = shared.table();
        let at = &mut At { shared: &shared, table: &mut table, partition: self.index, sent: answer.sent };
        for (call, result) in calls.into_iter().zip(&answer.results) {
            self.queue.extend(call.settle(at, result));
        }
        for news in answer.news {
            self.on_news(&mut table, news);
        }
        self.tell_of_grants(&mut table);
        drop(table);
        // In the window nothing is ended, however long it has been due.
        self.next_due = answer.due.map(|due| time().saturating_add(due.max(answer.window)));
        self.note_window(answer.window);
    }

    /// From a heartbeat that succeeded.
    pub(super) fn on_heartbeat(&mut self, sent: Time) {
        self.next_beat = sent.saturating_add(self.shared.settings.server_lease / 5);
        let mut promises = lock(&self.shared.promises);
        let end = promises.end_of_lease(sent);
        if !promises.renew(self.index, end) {
            // Soon enough to catch up with what was promised, which others keep moving.
            self.next_beat = time().saturating_add(self.shared.settings.server_lease / 50);
        }
        drop(promises);
        let shared = self.shared.clone();
        self.tell_of_grants(&mut shared.table());
    }

    pub(super) fn note_window(&mut self, window: Duration) {
        if window.is_zero() {
            self.set_status(Status::Serving);
        } else {
            let end = time().saturating_add(window);
            self.set_status(Status::Reclaiming(end));
            self.serve_queues_at = Some(end.saturating_add(Duration::from_millis(1)));
        }
    }

    /// Something that follows from what has happened.
    pub(super) fn follow_up(&mut self, args: Vec<Vec<u8>>, then: Then) {
        let until = time().saturating_add(self.shared.settings.server_lease);
        self.queue.push_back(Call { args, then, until, again: false });
    }

    /// Something that should have been done before all that waits for its turn.
    pub(super) fn catch_up(&mut self, args: Vec<Vec<u8>>) {
        let until = time().saturating_add(self.shared.settings.server_lease);
        self.queue.push_front(Call { args, then: Then::Owed, until, again: true });
    }

    /// What could not be done while Redis was away. Before what came since, which may be about the same.
    pub(super) fn pay_what_is_owed(&mut self) {
        let owed = self.shared.table().take_owed(self.index);
        for args in owed.into_iter().rev() {
            self.catch_up(args);
        }
    }

    /// Queues in which this server waits may have been passed over.
    fn ask_to_serve_queues(&mut self) {
        if self.serve_queues_at.is_none_or(|at| at > time()) {
            return;
        }
        self.serve_queues_at = None;
        let table = self.shared.table();
        let waiting = table.of_partition(self.index).into_iter().filter_map(|hold| {
            table.get(hold).filter(|hold| matches!(hold.state, State::Waiting { .. })).map(|hold| hold.resource.clone())
        });
        let waited_for: HashSet<_> = waiting.collect();
        drop(table);
        for resource in waited_for {
            self.follow_up(vec![b"T".to_vec(), record::resource_bytes(&resource)], Then::Nothing);
        }
        // The window may be over without anything to serve, which the status does not know yet.
        self.next_due = Some(Time::default());
    }
}
