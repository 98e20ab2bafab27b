//! One operation on its way to Redis, and what is to be done with its answer.

use lockstead_core::{
    Acquired, Cancelled, EndReason, Event, Grant, HoldId, Kind, Lease, Refusal, Released, ResourceView, SessionId,
    Token, WallTime,
};
use redis::Value;
use std::time::Duration;
use tokio::sync::oneshot;

use super::Shared;
use super::record::{self, Record, number, text};
use super::table::{Index, Repeat, State, Table};
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
        claim: lockstead_core::Claim,
        ttl: Duration,
        reply: Reply<Acquired>,
    },
    Position {
        hold: HoldId,
        reply: Reply<Acquired>,
    },
    ReleaseOwn {
        hold: HoldId,
        reply: Option<Reply<Released>>,
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
    /// Takes back what nobody wants any more.
    GiveBack,
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
        _ => None,
    }
}

impl Call {
    /// Sees to an answer. Returns the operations that follow from it.
    pub(super) fn settle(self, shared: &Shared, partition: Index, value: &Value, sent: Now) -> Vec<Call> {
        let Self { args, then, until, again } = self;
        let follow = |args, then| Call { args, then, until, again: false };
        let mut table = shared.table();
        match then {
            Then::Acquire { hold, kind, claim, ttl, reply } => {
                let mut events = Vec::new();
                let answer = Acquire { table: &mut table, hold, kind, claim, ttl, sent }.settle(value, &mut events);
                let merged = table.merge_waiters(hold, &mut events);
                shared.tell(&table, events);
                _ = reply.send(answer);
                merged.into_iter().map(|waiter| follow(give_back(waiter), Then::GiveBack)).collect()
            }
            Then::Position { hold, reply } => {
                let position = record::array(value).and_then(|values| number(values.first()?)).unwrap_or(0);
                let position = usize::try_from(position).unwrap_or(usize::MAX);
                // It may have been granted meanwhile.
                let granted = table.get(hold).and_then(|known| known.describe(hold)).map(Acquired::Granted);
                _ = reply.send(Ok(granted.unwrap_or(Acquired::Queued { hold, position })));
                Vec::new()
            }
            Then::ReleaseOwn { hold, reply } => {
                let answer = match letter(value) {
                    Some(("N", _)) if !again => Err(Refusal::NotHolder { ended: table.ended.get(hold) }.into()),
                    _ => Ok(Released { entries: 0 }),
                };
                reply.map(|reply| reply.send(answer));
                Vec::new()
            }
            Then::ReleaseAny { hold, reply } => {
                let answer = match letter(value) {
                    Some(("N", _)) if again => Ok(Released { entries: 0 }),
                    Some(("R", _)) => {
                        if table.get(hold).is_some_and(|known| known.session().is_none()) {
                            table.remove(hold, Some(EndReason::Released));
                        }
                        Ok(Released { entries: 0 })
                    }
                    other => Err(refusal(other, &table, hold)),
                };
                _ = reply.send(answer);
                Vec::new()
            }
            Then::Renew { hold, reply } => {
                let answer = match letter(value) {
                    Some(("W", [_, renewed])) => match Record::read(renewed) {
                        Some(renewed) => {
                            table.take_lease(partition, hold, renewed, (sent.time, sent.wall));
                            let grant = table.get(hold).and_then(|known| known.describe(hold));
                            grant.ok_or(EngineError::Unavailable(NOT_UNDERSTOOD))
                        }
                        None => Err(EngineError::Unavailable(NOT_UNDERSTOOD)),
                    },
                    other => Err(refusal(other, &table, hold)),
                };
                _ = reply.send(answer);
                Vec::new()
            }
            Then::Cancel { hold, kind, reply } => {
                let answer = match letter(value) {
                    Some(("K", _)) => Cancelled::Kept,
                    Some(("X", [holders])) => {
                        Cancelled::Withdrawn { holders: record::read_holders(kind, holders).unwrap_or_default() }
                    }
                    Some(("B", _)) => Cancelled::GivenBack,
                    _ if again => Cancelled::Withdrawn { holders: Vec::new() },
                    _ => Cancelled::Unknown,
                };
                if answer != Cancelled::Kept {
                    table.remove(hold, None);
                }
                _ = reply.send(Ok(answer));
                Vec::new()
            }
            Then::End { session, reply } => match letter(value) {
                Some(("D", [more])) if number(more) == Some(1) => vec![follow(args, Then::End { session, reply })],
                _ => {
                    _ = reply.send(Ok(()));
                    Vec::new()
                }
            },
            Then::Move { session, attempt, reply } => {
                let Some(("V", [next, holds])) = letter(value) else {
                    _ = reply.send(Ok(false));
                    return Vec::new();
                };
                table.attend(session, attempt, [partition]);
                for (hold, record) in read_holds(holds) {
                    table.adopt(partition, hold, session, record);
                }
                if text(next) == Some("") {
                    _ = reply.send(Ok(true));
                    return Vec::new();
                }
                let next = record::bytes(next).unwrap_or_default().to_vec();
                vec![follow(move_session(session, attempt, next), Then::Move { session, attempt, reply })]
            }
            Then::Get { reply } => {
                _ = reply.send(record::read_view(value).ok_or(EngineError::Unavailable(NOT_UNDERSTOOD)));
                Vec::new()
            }
            Then::List { reply } => {
                let views = record::array(value).and_then(|views| views.iter().map(record::read_view).collect());
                _ = reply.send(views.ok_or(EngineError::Unavailable(NOT_UNDERSTOOD)));
                Vec::new()
            }
            Then::GiveBack | Then::Nothing => Vec::new(),
        }
    }

    /// Redis was away for too long. What the operation may have done in spite of it is undone, or what it may have missed is
    /// done, when the partition is joined again: the table no longer has what it is about.
    pub(super) fn fail(self, shared: &Shared, why: &'static str) {
        let error = EngineError::Unavailable(why);
        match self.then {
            Then::Acquire { hold, reply, .. } => {
                let removed = shared.table().remove(hold, None);
                if let Some(State::Asked(repeats)) = removed.map(|hold| hold.state) {
                    repeats.into_iter().for_each(|repeat| _ = repeat.reply.send(Err(error.clone())));
                }
                _ = reply.send(Err(error));
            }
            Then::Cancel { hold, reply, .. } => {
                shared.table().remove(hold, None);
                _ = reply.send(Err(error));
            }
            Then::Position { reply, .. } => _ = reply.send(Err(error)),
            Then::ReleaseOwn { reply, .. } => _ = reply.map(|reply| reply.send(Err(error))),
            Then::ReleaseAny { reply, .. } => _ = reply.send(Err(error)),
            Then::Renew { reply, .. } => _ = reply.send(Err(error)),
            Then::End { reply, .. } => _ = reply.send(Err(error)),
            Then::Move { reply, .. } => _ = reply.send(Err(error)),
            Then::Get { reply } => _ = reply.send(Err(error)),
            Then::List { reply } => _ = reply.send(Err(error)),
            Then::GiveBack | Then::Nothing => {}
        }
    }
}

/// The answer to an acquire, with all that it is about.
struct Acquire<'a> {
    table: &'a mut Table,
    hold: HoldId,
    kind: Kind,
    claim: lockstead_core::Claim,
    ttl: Duration,
    sent: Now,
}

impl Acquire<'_> {
    fn settle(self, value: &Value, events: &mut Vec<Event>) -> Result<Acquired> {
        let Self { table, hold, kind, claim, ttl, sent } = self;
        let Some(known) = table.get_mut(hold) else { return Err(EngineError::Unavailable(ENDED)) };
        let session = known.session();
        let repeats = match &mut known.state {
            State::Asked(repeats) => std::mem::take(repeats),
            _ => Vec::new(),
        };
        let answer = match letter(value) {
            Some(("G", [token, since])) => read_token(token)
                .and_then(|token| table.grant(hold, token, record::micros(since)?, (sent.time, sent.wall)))
                .map(Acquired::Granted)
                .ok_or(EngineError::Unavailable(NOT_UNDERSTOOD)),
            Some(("Q", [position, ticket])) => {
                known.state = State::Waiting { ticket: number(ticket).unwrap_or_default() };
                let position = number(position).and_then(|position| usize::try_from(position).ok()).unwrap_or(1);
                Ok(Acquired::Queued { hold, position })
            }
            Some(("O", [earlier, token, since, left])) => earlier_grant(earlier, token, since, left, sent.wall)
                .map(|(earlier, token, acquired_at, expires_at)| {
                    let lease = Some(Lease { ttl, expires_at });
                    Acquired::Granted(Grant { hold: earlier, claim, token, entries: 1, acquired_at, lease })
                })
                .ok_or(EngineError::Unavailable(NOT_UNDERSTOOD)),
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

fn earlier_grant(
    earlier: &Value,
    token: &Value,
    since: &Value,
    left_ms: &Value,
    now: WallTime,
) -> Option<(HoldId, Token, WallTime, WallTime)> {
    let left = Duration::from_millis(number(left_ms).unwrap_or(0));
    Some((record::read_hold_id(earlier)?, read_token(token)?, record::micros(since)?, now.saturating_add(left)))
}

pub(super) fn read_token(value: &Value) -> Option<Token> {
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
