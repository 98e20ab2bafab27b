//! Hold streams: one hold that lives as long as somebody reads the stream. Below, each is a session of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::Either;
use futures::stream::{BoxStream, Stream, StreamExt};
use lockstead_api::v1::LossReason;
use lockstead_api::v1::not_acquired::Reason;
use lockstead_core::{
    AcquireRef, Acquired, Cancel, Cancelled, EndReason, Event, Grant, HoldId, IfGranted, Party, Scope, SessionId, Time,
};
use lockstead_engine::{Engine, Result as EngineResult};
use tokio::sync::mpsc;

use super::engines::new_hold_id;
use super::error::Result;
use super::own_session::OwnSession;
use super::request::{Ask, NotAcquired};
use super::router::loss_reason;
use super::{Caller, Service, random};
use crate::access::{Counted, CountedWait};
use crate::telemetry::metrics::By;
use crate::telemetry::traces;

/// A dead connection is noticed by writing to it, so something is written this often.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(3);

/// The only acquire of the session behind a hold stream.
const REQUEST: u64 = 1;

/// What happens to a hold. The stream ends after `NotAcquired`, `Lost`, `Released` and `Draining`.
#[derive(Clone, Debug)]
pub enum HoldEvent {
    /// It stands in the queue; 1 is next.
    Queued(usize),
    /// It holds.
    Acquired(Grant),
    /// The wait is over.
    NotAcquired(NotAcquired),
    /// Nothing new.
    KeepAlive,
    /// The hold has ended against its holder's will.
    Lost(HoldId, LossReason),
    /// The hold was released with its hold id.
    Released,
    /// The server shuts down, and nothing had been granted.
    Draining,
}

/// The life of one hold. Dropping it ends the hold at once.
pub struct HoldStream {
    events: BoxStream<'static, HoldEvent>,
}

impl Caller {
    /// Asks for a hold that lives as long as the returned stream. What is refused at once is not a stream.
    pub async fn hold(&self, mut ask: Ask) -> Result<std::result::Result<HoldStream, NotAcquired>> {
        self.check_not_draining()?;
        self.may_acquire(&mut ask)?;
        let (counted, place) = (self.count_hold()?, self.count_place(&ask)?);
        let started = lockstead_clock::time();
        traces::note_ask(&ask);
        let engine = self.engines.of(ask.scope)?;
        let session = SessionId::from_bits(random::bits());
        let party = Party::Session { session, request: REQUEST, owner_key: None };
        // From here on a drop ends the session, wherever it happens.
        let (mut own, mailbox) = OwnSession::begin(self, session);
        let answer = match engine.acquire(ask.command(new_hold_id(ask.scope), party)) {
            Either::Left(answer) => answer.into_inner(),
            Either::Right(call) => {
                own.track(call);
                own.answered().await
            }
        };
        let first = match answer? {
            Acquired::Granted(grant) => {
                self.metrics.granted(ask.scope, lockstead_clock::time().since(started));
                traces::note_grant(&grant, "acquired");
                HoldEvent::Acquired(grant)
            }
            Acquired::Queued { position, .. } => {
                traces::note_outcome("queued");
                HoldEvent::Queued(position)
            }
            Acquired::Held { holders } => {
                self.metrics.not_acquired(ask.scope, Reason::Held);
                traces::note_outcome(traces::outcome_of(Reason::Held));
                return Ok(Err(NotAcquired { reason: Reason::Held, holders }));
            }
        };
        let holding = Holding {
            _counted: counted,
            place,
            state: State::of(&first, ask.wait.deadline(started)),
            mailbox,
            scope: ask.scope,
            engine: engine.clone(),
            own,
            service: self.service().clone(),
            started,
            next_keep_alive: started.saturating_add(KEEP_ALIVE_EVERY),
        };
        let rest = futures::stream::unfold(holding, |mut holding| async move {
            let event = holding.next().await?;
            Some((event, holding))
        });
        Ok(Ok(HoldStream { events: futures::stream::once(async { first }).chain(rest).boxed() }))
    }
}

impl Stream for HoldStream {
    type Item = HoldEvent;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<HoldEvent>> {
        self.events.poll_next_unpin(context)
    }
}

/// The state behind a stream after its first event.
struct Holding {
    /// What it counts against its caller's quota, for as long as it lives.
    _counted: Option<Counted>,
    /// The same, while it waits.
    place: Option<CountedWait>,
    state: State,
    mailbox: mpsc::UnboundedReceiver<Box<Event>>,
    scope: Scope,
    engine: Arc<dyn Engine>,
    own: OwnSession<EngineResult<Acquired>>,
    service: Service,
    started: Time,
    next_keep_alive: Time,
}

#[derive(Clone, Copy)]
enum State {
    Waiting { until: Option<Time> },
    Held { hold: HoldId, since: Time },
    Over,
}

impl State {
    fn of(first: &HoldEvent, until: Option<Time>) -> Self {
        match first {
            HoldEvent::Acquired(grant) => Self::held(grant),
            _ => Self::Waiting { until },
        }
    }

    fn held(grant: &Grant) -> Self {
        Self::Held { hold: grant.hold, since: lockstead_clock::time() }
    }
}

impl Holding {
    async fn next(&mut self) -> Option<HoldEvent> {
        let drain = self.service.drain.clone();
        loop {
            let until = match self.state {
                State::Over => return None,
                State::Waiting { until } => until,
                State::Held { .. } => None,
            };
            tokio::select! {
                biased;
                // First, so that what others give back as the server ends is not granted any more.
                () = drain.begun() => return Some(self.on_drain()),
                event = self.mailbox.recv() => return Some(self.on_event(&*event?)),
                () = lockstead_clock::sleep_until_some(until) => {
                    if let Some(over) = self.on_wait_over().await {
                        return Some(over);
                    }
                }
                () = lockstead_clock::sleep_until(self.next_keep_alive) => {
                    self.next_keep_alive = lockstead_clock::time().saturating_add(KEEP_ALIVE_EVERY);
                    return Some(HoldEvent::KeepAlive);
                }
            }
        }
    }

    fn on_event(&mut self, event: &Event) -> HoldEvent {
        match event {
            Event::Granted { grant, .. } => {
                self.place = None;
                self.state = State::held(grant);
                let waited = lockstead_clock::time().since(self.started);
                self.service.metrics.granted_in_turn(self.scope, waited, grant);
                HoldEvent::Acquired(*grant)
            }
            // Nobody has the secret to move it; but if somebody had, it would be over here.
            Event::Ended { reason: EndReason::Released, .. } | Event::Moved { .. } | Event::Withdrawn { .. } => {
                self.end_with(HoldEvent::Released)
            }
            Event::Ended { hold, reason, .. } => self.end_with(HoldEvent::Lost(*hold, loss_reason(*reason))),
        }
    }

    fn on_drain(&mut self) -> HoldEvent {
        match self.state {
            State::Held { hold, .. } => self.end_with(HoldEvent::Lost(hold, LossReason::ServerLost)),
            _ => self.end_with(HoldEvent::Draining),
        }
    }

    async fn on_wait_over(&mut self) -> Option<HoldEvent> {
        let acquire = AcquireRef::Request(self.own.id(), REQUEST);
        let cancel = Cancel { acquire, if_granted: IfGranted::Keep };
        match self.engine.cancel(cancel).await {
            // Granted at the last moment; the news is in the mailbox, or about to be.
            Ok(Cancelled::Kept | Cancelled::GivenBack) => {
                self.state = State::Waiting { until: None };
                None
            }
            Ok(Cancelled::Withdrawn { holders }) => Some(self.end_waiting(holders)),
            // What it may have got all the same ends with its session.
            Ok(Cancelled::Unknown) | Err(_) => Some(self.end_waiting(Vec::new())),
        }
    }

    fn end_waiting(&mut self, holders: Vec<lockstead_core::HolderView>) -> HoldEvent {
        self.end_with(HoldEvent::NotAcquired(NotAcquired { reason: Reason::WaitTimeout, holders }))
    }

    fn end_with(&mut self, event: HoldEvent) -> HoldEvent {
        if let State::Held { since, .. } = std::mem::replace(&mut self.state, State::Over) {
            self.service.metrics.held(self.scope, lockstead_clock::time().since(since));
        }
        let metrics = &self.service.metrics;
        match &event {
            HoldEvent::NotAcquired(not_acquired) => metrics.not_acquired(self.scope, not_acquired.reason),
            HoldEvent::Lost(_, reason) => metrics.lost(self.scope, *reason, 1),
            // A release was counted where it was asked for.
            _ => {}
        }
        event
    }
}

impl Drop for Holding {
    /// Its reader has gone, which is how a hold stream is given back.
    fn drop(&mut self) {
        if let State::Held { since, .. } = self.state {
            self.service.metrics.released(self.scope, By::Stream);
            self.service.metrics.held(self.scope, lockstead_clock::time().since(since));
        }
    }
}
