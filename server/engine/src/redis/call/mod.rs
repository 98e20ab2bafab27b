//! One operation on its way to Redis, and what is to be done with its answer.

mod acquired;
mod read;

use lockstead_core::{
    Acquired, Cancelled, EndReason, Event, Grant, HoldId, Kind, Now, Party, Released, ResourceView, SessionId, Time,
};
use redis::Value;
use tokio::sync::oneshot;

use super::record::{self, Record, number};
use super::table::{Hold, Index, State, Table};
use super::{Shared, figure};
use crate::{EngineError, Result};
use acquired::{Acquire, answer_repeats};
use read::{letter, read_granted, refusal};
pub(super) use read::{read_holds, read_made, read_reason};

/// What callers hear while Redis is away.
pub(super) const AWAY: &str =
    "the store that keeps the truth can't be reached just now; try again, or see this server's /readyz";
/// What callers hear after a script failed.
pub(super) const DAMAGED: &str =
    "the store that keeps the truth does not make sense just now; try again, or see this server's /readyz";
/// What callers hear who want something at once, while nothing can be granted.
const NOT_YET: &str = "the store that keeps the truth has restarted, and holders come first: nothing is granted for a moment; try again, or wait";
/// What those hear who name a hold that its server has yet to say again.
const NOT_KNOWN_YET: &str =
    "the store that keeps the truth has restarted, and has yet to hear whether this hold goes on; try again";
const ELSEWHERE: &str = "the session has moved to another server";
const ENDED: &str = "the session has ended";
const NOT_UNDERSTOOD: &str = "the store that keeps the truth gave an answer that can't be read";

type Reply<T> = oneshot::Sender<Result<T>>;

/// An operation that waits for its turn.
pub(super) struct Call {
    /// The operation's letter and its arguments.
    pub(super) args: Vec<Vec<u8>>,
    pub(super) then: Then,
    /// If Redis is still away then, the caller hears of it.
    pub(super) until: Time,
    /// It was sent before, and may have happened.
    pub(super) again: bool,
}

/// What is to be done with an answer.
pub(super) enum Then {
    Acquire {
        hold: HoldId,
        kind: Kind,
        reply: Reply<Acquired>,
    },
    Position {
        hold: HoldId,
        reply: Reply<Acquired>,
    },
    ReleaseOwn {
        reply: Reply<Released>,
    },
    ReleaseAny {
        hold: HoldId,
        reply: Reply<Released>,
    },
    Renew {
        hold: HoldId,
        reply: Reply<Grant>,
    },
    Cancel {
        hold: HoldId,
        kind: Kind,
        reply: Reply<Cancelled>,
    },
    /// A lease was granted out of the queue: how much of it is left?
    Granted {
        hold: HoldId,
    },
    /// A session that another server has taken in is not this one's any more.
    HandOver {
        session: SessionId,
    },
    /// Nobody waits for it, but it has to be done.
    Owed,
    End {
        session: SessionId,
        reply: Reply<()>,
    },
    Move {
        session: SessionId,
        attempt: u32,
        /// It has been said what of it is here.
        has_begun: bool,
        reply: Reply<bool>,
    },
    Get {
        reply: Reply<ResourceView>,
    },
    List {
        reply: Reply<Vec<ResourceView>>,
    },
    Nothing,
}

/// Where an answer belongs.
pub(super) struct At<'a> {
    pub(super) shared: &'a Shared,
    /// Locked until all that came with one call has been seen to, so that nobody sees a part of it.
    pub(super) table: &'a mut Table,
    pub(super) partition: Index,
    /// When the call was sent.
    pub(super) sent: Now,
}

impl Call {
    /// Sees to an answer. Returns the operations that follow from it.
    pub(super) fn settle(self, at: &mut At<'_>, value: &Value) -> Vec<Call> {
        let Self { args, then, until, again } = self;
        let follow = |args, then| Call { args, then, until, again: false };
        match then {
            Then::Acquire { hold, kind, reply } => {
                let mut events = Vec::new();
                let acquire = Acquire { table: at.table, hold, kind, sent: at.sent };
                let answer = acquire.settle(value, &mut events);
                let merged = at.table.merge_waiters(hold, &mut events);
                at.shared.tell(at.table, events);
                _ = reply.send(answer);
                return merged.into_iter().map(|waiter| follow(give_back(waiter), Then::Owed)).collect();
            }
            Then::End { session, reply } => match letter(value) {
                Some(("D", [more])) if number(more) == Some(1) => {
                    return vec![follow(args, Then::End { session, reply })];
                }
                _ => _ = reply.send(Ok(())),
            },
            Then::Move { session, attempt, has_begun, reply } => match at.adopt(session, value, has_begun, again) {
                Some(next) if !next.is_empty() => {
                    let then = Then::Move { session, attempt, has_begun: true, reply };
                    return vec![follow(move_session(session, attempt, next), then)];
                }
                moved => _ = reply.send(Ok(moved.is_some())),
            },
            Then::Position { hold, reply } => _ = reply.send(Ok(at.position(hold, value))),
            // If Redis does not know it, joining has given it back already: the table had it until this release.
            Then::ReleaseOwn { reply } => _ = reply.send(Ok(Released { entries: 0 })),
            Then::ReleaseAny { hold, reply } => _ = reply.send(at.release_any(hold, value, again)),
            Then::Renew { hold, reply } => _ = reply.send(at.renew(hold, value)),
            Then::Cancel { hold, kind, reply } => _ = reply.send(Ok(at.cancel(hold, kind, value, again))),
            Then::Get { reply } => {
                _ = reply.send(record::read_view(value).ok_or(EngineError::Unavailable(NOT_UNDERSTOOD)));
            }
            Then::List { reply } => {
                let views = record::array(value).and_then(|views| views.iter().map(record::read_view).collect());
                _ = reply.send(views.ok_or(EngineError::Unavailable(NOT_UNDERSTOOD)));
            }
            Then::Granted { hold } => {
                // If it is over by now, that is news of its own.
                if let Some(("O", granted)) = letter(value) {
                    at.tell_of_lease(hold, granted);
                }
            }
            Then::HandOver { session } => at.table.has_left(session, at.partition),
            Then::Owed | Then::Nothing => {}
        }
        Vec::new()
    }

    /// It is sent again, since nobody knows what became of it.
    pub(super) fn repeat(mut self) -> Self {
        self.again = true;
        if let (Then::Acquire { .. }, Some(letter)) = (&self.then, self.args.first_mut()) {
            *letter = b"a".to_vec();
        }
        self
    }

    /// Redis was away for too long. What the operation may have done in spite of it is undone, or what it may have missed is
    /// done, when the partition is joined again: either because the table no longer has what it is about, or because it
    /// is owed.
    pub(super) fn fail(self, shared: &Shared, partition: Index, why: &'static str) {
        let error = EngineError::Unavailable(why);
        let mut table = shared.table();
        match self.then {
            Then::Acquire { hold, reply, .. } => {
                if self.again {
                    table.owe(partition, give_back(hold));
                }
                let removed = table.remove(hold, None);
                if let Some(State::Asked(repeats)) = removed.map(|hold| hold.state) {
                    answer_repeats(repeats, &Err(error.clone()));
                }
                _ = reply.send(Err(error));
            }
            Then::Cancel { hold, reply, .. } => {
                table.remove(hold, None);
                table.owe(partition, give_back(hold));
                _ = reply.send(Err(error));
            }
            Then::ReleaseOwn { reply, .. } | Then::ReleaseAny { reply, .. } => {
                table.owe(partition, self.args);
                _ = reply.send(Err(error));
            }
            Then::End { reply, .. } => {
                table.owe(partition, self.args);
                _ = reply.send(Err(error));
            }
            Then::Owed => table.owe(partition, self.args),
            Then::Position { reply, .. } => _ = reply.send(Err(error)),
            Then::Renew { reply, .. } => _ = reply.send(Err(error)),
            Then::Move { reply, .. } => _ = reply.send(Err(error)),
            Then::Get { reply } => _ = reply.send(Err(error)),
            Then::List { reply } => _ = reply.send(Err(error)),
            // Joining finds out about both.
            Then::Granted { .. } | Then::HandOver { .. } | Then::Nothing => {}
        }
    }
}

impl At<'_> {
    fn position(&self, hold: HoldId, value: &Value) -> Acquired {
        let position = record::array(value).and_then(|values| number(values.first()?)).unwrap_or(0);
        let position = usize::try_from(position).unwrap_or(usize::MAX);
        // It may have been granted meanwhile.
        let granted = self.table.get(hold).and_then(|known| known.describe(hold)).map(Acquired::Granted);
        granted.unwrap_or(Acquired::Queued { hold, position })
    }

    /// Whoever waits for it has it, if it is a lease; a session hears of its grants by themselves.
    fn tell_of_lease(&mut self, hold: HoldId, granted: &[Value]) {
        let waits = |known: &Hold| matches!((&known.party, &known.state), (Party::Lease { .. }, State::Waiting { .. }));
        let waits = self.table.get(hold).is_some_and(waits);
        let Some((_, made)) = read_granted(granted).filter(|_| waits) else { return };
        if let Some(grant) = self.table.grant(hold, made, self.sent) {
            self.shared.tell(self.table, vec![Event::Granted { to: None, grant }]);
        }
    }

    fn release_any(&mut self, hold: HoldId, value: &Value, again: bool) -> Result<Released> {
        match letter(value) {
            Some(("N", _)) if again => Ok(Released { entries: 0 }),
            Some(("R", _)) => {
                if self.table.get(hold).is_some_and(|known| known.session().is_none()) {
                    self.table.remove(hold, Some(EndReason::Released));
                }
                Ok(Released { entries: 0 })
            }
            other => Err(refusal(other, self.table, hold)),
        }
    }

    fn renew(&mut self, hold: HoldId, value: &Value) -> Result<Grant> {
        let renewed = match letter(value) {
            Some(("W", [renewed])) => Record::read(renewed).ok_or(EngineError::Unavailable(NOT_UNDERSTOOD))?,
            other => return Err(refusal(other, self.table, hold)),
        };
        self.table.take_lease(self.partition, hold, renewed, self.sent);
        let grant = self.table.get(hold).and_then(|known| known.describe(hold));
        grant.ok_or(EngineError::Unavailable(NOT_UNDERSTOOD))
    }

    fn cancel(&mut self, hold: HoldId, kind: Kind, value: &Value, again: bool) -> Cancelled {
        let answer = match letter(value) {
            Some(("K", granted)) => {
                self.tell_of_lease(hold, granted);
                return Cancelled::Kept;
            }
            Some(("X", [holders])) => {
                Cancelled::Withdrawn { holders: record::read_holders(kind, holders).unwrap_or_default() }
            }
            Some(("B", _)) => Cancelled::GivenBack,
            _ if again => Cancelled::Withdrawn { holders: Vec::new() },
            _ => Cancelled::Unknown,
        };
        self.table.remove(hold, None);
        answer
    }

    /// Takes note of what another server had of a session. Returns where to go on, empty at the end; `None` if a later attempt
    /// has the session.
    fn adopt(&mut self, session: SessionId, value: &Value, has_begun: bool, again: bool) -> Option<Vec<u8>> {
        let Some(("V", [was_elsewhere, next, holds])) = letter(value) else { return None };
        // An answer that was lost may have said so.
        let was_elsewhere = number(was_elsewhere) == Some(1) || again;
        if was_elsewhere && !has_begun {
            // It may have been here before that, and what it had then is not what it has now.
            self.table.forget_in(session, self.partition);
        }
        if was_elsewhere || has_begun {
            for (hold, record) in read_holds(holds) {
                self.table.adopt(self.partition, hold, session, record);
            }
        }
        let next = record::bytes(next).unwrap_or_default().to_vec();
        if next.is_empty() {
            self.table.has_arrived(session, self.partition);
        }
        Some(next)
    }
}

/// The operation that takes an acquire back, whatever has become of it.
pub(super) fn give_back(hold: HoldId) -> Vec<Vec<u8>> {
    vec![b"C".to_vec(), record::hold_bytes(hold), b"1".to_vec()]
}

/// The operation that makes another server's session this one's, beginning after one of its holds.
pub(super) fn move_session(session: SessionId, attempt: u32, after: Vec<u8>) -> Vec<Vec<u8>> {
    vec![b"V".to_vec(), record::session_bytes(session), figure(attempt), after]
}

/// The operation that ends a session, unless another server has it by the same or a later attempt.
pub(super) fn end_session(session: Vec<u8>, attempt: u32) -> Vec<Vec<u8>> {
    vec![b"D".to_vec(), session, figure(attempt)]
}
