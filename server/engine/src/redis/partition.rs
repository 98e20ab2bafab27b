//! The task of one partition: reaches Redis, joins, carries calls, keeps the heartbeat, and hears pushes.

use std::collections::{HashSet, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lockstead_clock::{now, sleep_until, time};
use lockstead_core::{EndReason, Event, Now, Time};
use redis::Value;
use tokio::sync::mpsc;

use super::call::{AWAY, At, Call, Then, read_made, read_reason};
use super::record::{self, number, text};
use super::table::{Index, State, Table};
use super::wire::{Link, WireError};
use super::{Shared, Status, lock};
use crate::Readiness;

/// Most operations in one call.
pub(super) const BATCH_MAX: usize = 128;
/// After a failure that a new connection would not mend.
const PAUSE_AFTER_DEFECT: Duration = Duration::from_millis(200);
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
    /// The holds of this server have ended without Redis knowing it.
    lost: bool,
}

/// What a call brought back.
pub(super) struct Answer {
    pub(super) epoch: Vec<u8>,
    pub(super) window: Duration,
    due: Option<Duration>,
    pub(super) results: Vec<Value>,
    pub(super) events: Vec<Value>,
    last_token: u64,
    last_ticket: u64,
    pub(super) sent: Now,
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
            lost: false,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let Err(broken) = self.attend().await;
            self.note(&broken);
            if matches!(&broken, Break::Wire(WireError::Script(_) | WireError::TooFewAcks)) {
                let pause = time().saturating_add(PAUSE_AFTER_DEFECT);
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
        let (sender, mut pushes) = mpsc::unbounded_channel();
        let subscribing = link.subscribe(format!("{}{}", self.inboxes(), shared.server_name()), sender);
        self.patiently(subscribing).await?;
        self.join(&link).await?;
        self.serve(&link, &mut pushes).await
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
        self.lost = true;
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
    pub(super) async fn call(
        &mut self,
        link: &Link,
        joined: bool,
        operations: &[Vec<Vec<u8>>],
    ) -> Result<Answer, Break> {
        self.number += 1;
        let settings = &self.shared.settings;
        let mut args = vec![
            self.shared.server_name().into_bytes(),
            super::figure(self.number),
            if joined { self.epoch.clone() } else { Vec::new() },
            super::figure(settings.server_lease.as_millis()),
            self.inboxes().into_bytes(),
            super::figure(lockstead_core::limits::WAITERS_PER_RESOURCE_MAX),
        ];
        args.extend(operations.iter().flatten().cloned());
        let (keys, script, twice) = (self.keys.clone(), settings.script(), settings.send_twice);
        let sent = now();
        let calling = async {
            let copy = twice.then(|| args.clone());
            let answer = link.call(script, &keys, args).await;
            if let Some(copy) = copy {
                link.call(script, &keys, copy).await?;
            }
            answer
        };
        let answer = Answer::read(self.patiently(calling).await?, sent)?;
        self.last_token = self.last_token.max(answer.last_token);
        self.last_ticket = self.last_ticket.max(answer.last_ticket);
        Ok(answer)
    }

    async fn serve(
        &mut self,
        link: &Link,
        pushes: &mut mpsc::UnboundedReceiver<Vec<u8>>,
    ) -> Result<std::convert::Infallible, Break> {
        let mut unconfirmed = Vec::new();
        loop {
            if std::mem::take(&mut self.lost) {
                return Err(Break::Rejoin);
            }
            self.take_calls();
            self.ask_to_serve_queues();
            let beats = time() >= self.next_beat;
            let is_due = self.next_due.is_some_and(|due| due <= time());
            let can_call = !self.queue.is_empty() && self.is_in_service();
            if !can_call && !beats && !is_due && unconfirmed.is_empty() {
                let wake = [self.next_due, self.serve_queues_at, self.next_deadline()].into_iter().flatten();
                let wake = wake.fold(self.next_beat, Time::min);
                tokio::select! {
                    Some(call) = self.calls.recv() => self.queue.push_back(call),
                    push = pushes.recv() => unconfirmed.push(push.ok_or(Break::Rejoin)?),
                    () = link.closed() => return Err(Break::Rejoin),
                    () = sleep_until(wake) => self.on_time(),
                }
            }
            // A push counts at once, but with acknowledgements: those are only had for what our own connection writes.
            if self.shared.settings.min_acks == 0 {
                self.hear(&mut unconfirmed)?;
            }
            let has_calls = !self.queue.is_empty() && self.is_in_service();
            if has_calls || beats || is_due || !unconfirmed.is_empty() {
                self.call_for_all(link, beats).await?;
            }
            self.hear(&mut unconfirmed)?;
            while let Ok(push) = pushes.try_recv() {
                unconfirmed.push(push);
            }
        }
    }

    /// Carries what has come up, in one call.
    async fn call_for_all(&mut self, link: &Link, beats: bool) -> Result<(), Break> {
        let count = if self.is_in_service() { self.queue.len().min(BATCH_MAX) } else { 0 };
        let calls: Vec<Call> = self.queue.drain(..count).collect();
        let mut operations: Vec<_> = calls.iter().map(|call| call.args.clone()).collect();
        if beats {
            operations.push(vec![b"B".to_vec()]);
        }
        match self.call(link, true, &operations).await {
            Ok(answer) => {
                let (sent, epoch_goes_on) = (answer.sent, answer.epoch == self.epoch);
                self.on_answer(calls, &answer);
                if beats {
                    self.on_heartbeat(sent.time);
                }
                if epoch_goes_on { Ok(()) } else { Err(Break::Rejoin) }
            }
            Err(Break::Wire(WireError::Script(why))) => {
                tracing::error!(%why, "a script failed, which is a defect");
                for call in calls {
                    call.fail(&self.shared, self.index, AWAY);
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

    fn on_answer(&mut self, calls: Vec<Call>, answer: &Answer) {
        let shared = self.shared.clone();
        let mut table = shared.table();
        let at = &mut At { shared: &shared, table: &mut table, partition: self.index, sent: answer.sent };
        for (call, result) in calls.into_iter().zip(&answer.results) {
            self.queue.extend(call.settle(at, result));
        }
        for event in &answer.events {
            self.on_event(&shared, &mut table, event, answer.sent);
        }
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

    /// What could not be done while Redis was away.
    pub(super) fn pay_what_is_owed(&mut self) {
        let until = time().saturating_add(self.shared.settings.server_lease);
        let owed = self.shared.table().take_owed(self.index);
        self.queue.extend(owed.into_iter().map(|args| Call { args, then: Then::Owed, until, again: true }));
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
        let until = time().saturating_add(self.shared.settings.server_lease);
        for resource in waiting.collect::<HashSet<_>>() {
            let args = vec![b"T".to_vec(), record::resource_bytes(&resource)];
            self.queue.push_back(Call { args, then: Then::Nothing, until, again: false });
        }
        // The window may be over without anything to serve, which the status does not know yet.
        self.next_due = Some(Time::default());
    }

    fn hear(&mut self, pushes: &mut Vec<Vec<u8>>) -> Result<(), Break> {
        let shared = self.shared.clone();
        for push in pushes.drain(..) {
            let Some((count, event)) = read_push(&push) else { return Err(Break::Rejoin) };
            self.on_event(&shared, &mut shared.table(), &event, now());
            if count > self.pushes + 1 {
                // One in between is missing.
                return Err(Break::Rejoin);
            }
            self.pushes = self.pushes.max(count);
        }
        Ok(())
    }

    pub(super) fn on_event(&mut self, shared: &Shared, table: &mut Table, event: &Value, at: Now) {
        let mut events = Vec::new();
        let merged = match_event(table, event, at, &mut events).unwrap_or_default();
        shared.tell(table, events);
        let until = time().saturating_add(shared.settings.server_lease);
        for waiter in merged {
            let args = super::call::give_back(waiter);
            self.queue.push_back(Call { args, then: Then::Owed, until, again: false });
        }
    }
}

/// Takes note of an event. Returns the waiters that have become entries of a hold, and are to leave their queue.
fn match_event(
    table: &mut Table,
    event: &Value,
    at: Now,
    events: &mut Vec<Event>,
) -> Option<Vec<lockstead_core::HoldId>> {
    let (kind, rest) = record::array(event)?.split_first()?;
    match (text(kind)?, rest) {
        ("g", [hold, token, since]) => {
            let hold = record::read_hold_id(hold)?;
            let session = table.get(hold).filter(|known| matches!(known.state, State::Waiting { .. }))?.party.clone();
            let grant = table.grant(hold, read_made(token, since, None)?, at)?;
            let to = match session {
                lockstead_core::Party::Session { session, request, .. } => Some((session, request)),
                lockstead_core::Party::Lease { .. } => None,
            };
            events.push(Event::Granted { to, grant });
            Some(table.merge_waiters(hold, events))
        }
        ("e", [hold, reason]) => {
            let (hold, reason) = (record::read_hold_id(hold)?, read_reason(text(reason)?)?);
            let ended = table.remove(hold, Some(reason))?;
            let to = ended.session();
            if to.is_some() || reason == EndReason::Expired {
                events.push(Event::Ended { to, hold, resource: ended.resource, reason });
            }
            None
        }
        ("x", [hold]) => {
            table.remove(record::read_hold_id(hold)?, Some(EndReason::Released));
            None
        }
        ("m", [session, attempt]) => {
            let session = record::read_session_id(record::bytes(session)?)?;
            // Unless it has come back since.
            if table.knows_session(session) && u64::from(table.attempt(session)) < number(attempt)? {
                table.remove_session(session, None);
                events.push(Event::Moved { session });
            }
            None
        }
        _ => None,
    }
}

impl Answer {
    fn read(value: Value, sent: Now) -> Result<Self, Break> {
        let Value::Array(parts) = value else { return Err(unreadable()) };
        match &parts[..] {
            [status, ..] if matches!(text(status), Some("stale" | "join")) => Err(Break::Rejoin),
            [status, epoch, window, due, Value::Array(results), Value::Array(events), token, ticket]
                if text(status) == Some("ok") =>
            {
                Ok(Self {
                    epoch: record::bytes(epoch).ok_or_else(unreadable)?.to_vec(),
                    window: Duration::from_millis(number(window).ok_or_else(unreadable)?),
                    due: number(due).map(Duration::from_millis),
                    results: results.clone(),
                    events: events.clone(),
                    last_token: number(token).ok_or_else(unreadable)?,
                    last_ticket: number(ticket).ok_or_else(unreadable)?,
                    sent,
                })
            }
            _ => Err(unreadable()),
        }
    }
}

fn unreadable() -> Break {
    WireError::Script("its answer can't be read".to_owned()).into()
}

/// Reads a push: its count and its event.
fn read_push(push: &[u8]) -> Option<(u64, Value)> {
    let push: Pushed = rmp_serde::from_slice(push).ok()?;
    Some((push.0, push.1.into_value()))
}

/// What `cmsgpack` wrote.
#[derive(serde::Deserialize)]
struct Pushed(u64, Packed);

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Packed {
    Number(u64),
    Array(Vec<Packed>),
    Bytes(serde_bytes::ByteBuf),
}

impl Packed {
    fn into_value(self) -> Value {
        match self {
            Self::Number(number) => Value::Int(i64::try_from(number).unwrap_or(i64::MAX)),
            Self::Array(values) => Value::Array(values.into_iter().map(Self::into_value).collect()),
            Self::Bytes(bytes) => Value::BulkString(bytes.into_vec()),
        }
    }
}

/// What the statuses of all partitions mean for an operator.
pub(super) fn readiness(statuses: &[Status]) -> Readiness {
    let away: Vec<&str> = statuses
        .iter()
        .filter_map(|status| match status {
            Status::Away(why) => Some(why.as_str()),
            _ => None,
        })
        .collect();
    if let Some(why) = away.first() {
        let (count, all) = (away.len(), statuses.len());
        let share = if count == all { String::new() } else { format!(" for {count} of {all} partitions") };
        return Readiness::NotReady(format!("Redis can't be used{share}: {why}"));
    }
    let reclaiming = statuses.iter().any(|status| matches!(status, Status::Reclaiming(_)));
    if reclaiming {
        let why = "Redis has just started, failed over, or lost its data: for one server lease nothing new is granted, so that \
                   those who hold something can say so. This ends by itself";
        return Readiness::NotReady(why.to_owned());
    }
    Readiness::Ready
}
