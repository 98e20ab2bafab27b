//! One operation on its way to Redis, and what is to be done with its answer.

use lockstead_core::{
    Acquired, Cancelled, EndReason, Event, Grant, HoldId, Kind, Party, Refusal, Released, ResourceView, SessionId,
    Token,
};
use redis::Value;
use std::time::Duration;
use tokio::sync::oneshot;

use super::Shared;
use super::record::{self, Record, number, text};
use super::table::{Hold, Index, Left, Made, Repeat, State, Table};
use crate::{EngineError, Result};
use lockstead_core::{Now, Time};

/// What callers hear while Redis is away.
pub(super) const AWAY: &str =
    "the store that keeps the truth can't be reached just now; try again, or see this server's /readyz";
/// What callers hear who want something at once, while nothing can be granted.
const NOT_YET: &str = "the store that keeps the truth has restarted, and holders come first: nothing is granted for a moment; try again, or wait";
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

/// An answer of Redis: its letter and the rest.
fn letter(value: &Value) -> Option<(&str, &[Value])> {
    let (first, rest) = record::array(value)?.split_first()?;
    Some((text(first)?, rest))
}

/// How the scripts write down how a hold ended.
pub(super) fn read_reason(code: &str) -> Option<EndReason> {
    match code {
        "R" => Some(EndReason::Released),
        "E" => Some(EndReason::Expired),
        "D" => Some(EndReason::Disconnected),
        "B" => Some(EndReason::BackendLost),
        _ => None,
    }
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
            Then::Move { session, attempt, reply } => match at.adopt(session, value) {
                Some(next) if !next.is_empty() => {
                    return vec![follow(move_session(session, attempt, next), Then::Move { session, attempt, reply })];
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
            Some(("W", [_, renewed])) => Record::read(renewed).ok_or(EngineError::Unavailable(NOT_UNDERSTOOD))?,
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
    fn adopt(&mut self, session: SessionId, value: &Value) -> Option<Vec<u8>> {
        let Some(("V", [next, holds])) = letter(value) else { return None };
        if !self.table.expects(session, self.partition) {
            // It was here already, and Redis has taken note of the attempt.
            return Some(Vec::new());
        }
        for (hold, record) in read_holds(holds) {
            self.table.adopt(self.partition, hold, session, record);
        }
        let next = record::bytes(next).unwrap_or_default().to_vec();
        if next.is_empty() {
            self.table.has_arrived(session, self.partition);
        }
        Some(next)
    }
}

/// The answer to an acquire, with all that it is about.
struct Acquire<'a> {
    table: &'a mut Table,
    hold: HoldId,
    kind: Kind,
    sent: Now,
}

impl Acquire<'_> {
    fn settle(self, value: &Value, events: &mut Vec<Event>) -> Result<Acquired> {
        let Self { table, hold, kind, sent } = self;
        let Some(known) = table.get_mut(hold) else { return Err(EngineError::Unavailable(ENDED)) };
        let session = known.session();
        let repeats = match &mut known.state {
            State::Asked(repeats) => std::mem::take(repeats),
            _ => Vec::new(),
        };
        let answer = match letter(value) {
            Some(("G", [token, since])) => read_made(token, since, None)
                .and_then(|made| table.grant(hold, made, sent))
                .map(Acquired::Granted)
                .ok_or(EngineError::Unavailable(NOT_UNDERSTOOD)),
            Some(("O", granted)) => read_granted(granted)
                .and_then(|(known, made)| {
                    if known != hold {
                        table.rename(hold, known);
                    }
                    table.grant(known, made, sent)
                })
                .map(Acquired::Granted)
                .ok_or(EngineError::Unavailable(NOT_UNDERSTOOD)),
            Some(("Q", [position, ticket])) => {
                known.state = State::Waiting { ticket: number(ticket).unwrap_or_default() };
                let position = number(position).and_then(|position| usize::try_from(position).ok()).unwrap_or(1);
                Ok(Acquired::Queued { hold, position })
            }
            Some(("H", [holders])) => {
                Ok(Acquired::Held { holders: record::read_holders(kind, holders).unwrap_or_default() })
            }
            Some(("U", _)) => Err(EngineError::Unavailable(NOT_YET)),
            Some(("M", _)) => {
                if let Some(session) = session
                    && table.remove_session(session, None).is_some()
                {
                    events.push(Event::Moved { session });
                }
                Err(EngineError::Unavailable(ELSEWHERE))
            }
            other => Err(refusal(other, table, hold)),
        };
        let still_here = matches!(&answer, Ok(Acquired::Granted(grant)) if grant.hold == hold)
            || matches!(&answer, Ok(Acquired::Queued { .. }));
        if !still_here {
            table.remove(hold, None);
        }
        answer_repeats(repeats, &answer);
        answer
    }
}

/// Others who asked for the same meanwhile hear the same, as far as they want to wait.
fn answer_repeats(repeats: Vec<Repeat>, answer: &Result<Acquired>) {
    for Repeat { may_queue, reply } in repeats {
        _ = reply.send(match answer {
            Ok(Acquired::Queued { .. }) if !may_queue => Ok(Acquired::Held { holders: Vec::new() }),
            answer => answer.clone(),
        });
    }
}

/// Reads a hold that was granted before, and what of it is left.
fn read_granted(granted: &[Value]) -> Option<(HoldId, Made)> {
    let [hold, token, since, left, ttl] = granted else { return None };
    let millis = |value| number(value).map(Duration::from_millis);
    let left = Left { left: millis(left).unwrap_or_default(), ttl: millis(ttl)? };
    Some((record::read_hold_id(hold)?, read_made(token, since, Some(left))?))
}

/// Reads what a grant is made of.
pub(super) fn read_made(token: &Value, since: &Value, left: Option<Left>) -> Option<Made> {
    Some(Made { token: read_token(token)?, since: record::micros(since)?, left })
}

fn read_token(value: &Value) -> Option<Token> {
    number(value).map(Token::from_number)
}

/// Reads pairs of a hold and its record.
pub(super) fn read_holds(value: &Value) -> Vec<(HoldId, Record)> {
    let read = |pair: &Value| match record::array(pair)? {
        [hold, record] => Some((record::read_hold_id(hold)?, Record::read(record)?)),
        _ => None,
    };
    record::array(value).unwrap_or_default().iter().filter_map(read).collect()
}

/// Why the scripts did not do what they were asked.
fn refusal(answer: Option<(&str, &[Value])>, table: &Table, hold: HoldId) -> EngineError {
    let refusal = match answer {
        Some(("N", [reason, others])) => {
            let ended = text(reason).and_then(read_reason).or_else(|| table.ended.get(hold));
            match (ended, number(others)) {
                (None, Some(1)) => Refusal::NotHolder { ended: None },
                (None, _) => Refusal::HoldNotFound,
                (ended, _) => Refusal::NotHolder { ended },
            }
        }
        Some(("E", [what, figure])) => match (text(what), number(figure)) {
            (Some("reused"), _) => Refusal::RequestIdReused,
            (Some("full"), _) => Refusal::QueueFull,
            (Some("lease"), _) => Refusal::NotALease,
            (Some("limit"), Some(in_use)) => {
                Refusal::LimitMismatch { in_use: u32::try_from(in_use).unwrap_or(u32::MAX) }
            }
            (Some("ended"), Some(code)) => {
                let code = u8::try_from(code).map(char::from).map(String::from).unwrap_or_default();
                Refusal::NotHolder { ended: read_reason(&code) }
            }
            _ => return EngineError::Unavailable(NOT_UNDERSTOOD),
        },
        _ => return EngineError::Unavailable(NOT_UNDERSTOOD),
    };
    refusal.into()
}

/// The operation that takes an acquire back, whatever has become of it.
pub(super) fn give_back(hold: HoldId) -> Vec<Vec<u8>> {
    vec![b"C".to_vec(), record::hold_bytes(hold), b"1".to_vec()]
}

/// The operation that makes another server's session this one's, beginning after one of its holds.
pub(super) fn move_session(session: SessionId, attempt: u32, after: Vec<u8>) -> Vec<Vec<u8>> {
    vec![b"V".to_vec(), record::session_bytes(session), attempt.to_string().into_bytes(), after]
}
