//! The answer to an acquire.

use lockstead_core::{Acquired, Event, HoldId, Kind, Now};
use redis::Value;

use super::read::{letter, read_granted, read_made, refusal};
use super::{ELSEWHERE, ENDED, NOT_UNDERSTOOD, NOT_YET};
use crate::redis::record::{self, number};
use crate::redis::table::{Repeat, State, Table};
use crate::{EngineError, Result};

/// The answer to an acquire, with all that it is about.
pub(super) struct Acquire<'a> {
    pub(super) table: &'a mut Table,
    pub(super) hold: HoldId,
    pub(super) kind: Kind,
    pub(super) sent: Now,
}

impl Acquire<'_> {
    pub(super) fn settle(self, value: &Value, events: &mut Vec<Event>) -> Result<Acquired> {
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
pub(super) fn answer_repeats(repeats: Vec<Repeat>, answer: &Result<Acquired>) {
    for Repeat { may_queue, reply } in repeats {
        _ = reply.send(match answer {
            Ok(Acquired::Queued { .. }) if !may_queue => Ok(Acquired::Held { holders: Vec::new() }),
            answer => answer.clone(),
        });
    }
}
