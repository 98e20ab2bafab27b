//! What a server hears of what others have done, and what follows from it.

use lockstead_core::{EndReason, Event, HoldId, Party, SessionId};
use redis::Value;

use super::{Inbox, Partition};
use crate::redis::call::{Then, give_back, read_made, read_reason};
use crate::redis::figure;
use crate::redis::partition::Break;
use crate::redis::record::{self, number, text};
use crate::redis::table::{Made, Move, State, Table};

/// Something that has happened to what this server has.
#[derive(Debug)]
pub(in crate::redis) enum News {
    Granted(Granted),
    /// A hold has ended.
    Ended {
        hold: HoldId,
        reason: EndReason,
    },
    /// Another server answers for a lease, or for one that waits, from now on.
    Elsewhere {
        hold: HoldId,
    },
    /// Another server has taken a session in.
    Moved {
        session: SessionId,
        to: Move,
    },
}

/// Redis has made a waiter of this server a holder.
#[derive(Clone, Copy, Debug)]
pub(in crate::redis) struct Granted {
    pub(in crate::redis) hold: HoldId,
    pub(in crate::redis) made: Made,
}

impl News {
    pub(super) fn read(event: &Value) -> Option<Self> {
        let (kind, rest) = record::array(event)?.split_first()?;
        match (text(kind)?, rest) {
            ("g", [hold, token, since]) => {
                let made = read_made(token, since, None)?;
                Some(Self::Granted(Granted { hold: record::read_hold_id(hold)?, made }))
            }
            ("e", [hold, reason]) => {
                Some(Self::Ended { hold: record::read_hold_id(hold)?, reason: read_reason(text(reason)?)? })
            }
            ("x", [hold]) => Some(Self::Elsewhere { hold: record::read_hold_id(hold)? }),
            ("m", [session, attempt, server]) => {
                let session = record::read_session_id(record::bytes(session)?)?;
                let to =
                    Move { attempt: u32::try_from(number(attempt)?).ok()?, server: record::bytes(server)?.to_vec() };
                Some(Self::Moved { session, to })
            }
            _ => None,
        }
    }
}

impl Partition {
    /// Takes note of the pushes up to this one.
    pub(super) fn hear(&mut self, inbox: &mut Inbox, up_to: u64) -> Result<(), Break> {
        let shared = self.shared.clone();
        while let Some(push) = inbox.next(up_to) {
            self.on_news(&mut shared.table(), push.news);
            if push.count > self.pushes + 1 {
                // One in between is missing.
                return Err(Break::Rejoin);
            }
            self.pushes = self.pushes.max(push.count);
        }
        self.tell_of_grants(&mut shared.table());
        Ok(())
    }

    pub(in crate::redis) fn on_news(&mut self, table: &mut Table, news: News) {
        let shared = self.shared.clone();
        match news {
            News::Granted(granted) => self.granted.push(granted),
            News::Ended { hold, reason } => {
                if table.get(hold).is_some_and(|known| !known.is_held()) {
                    // What has ended is a grant that nobody was told of. Joining puts the waiter back into its queue.
                    self.disagrees = true;
                    return;
                }
                let Some(ended) = table.remove(hold, Some(reason)) else { return };
                let to = ended.session();
                if to.is_some() || reason == EndReason::Expired {
                    shared.tell(table, vec![Event::Ended { to, hold, resource: ended.resource, reason }]);
                }
            }
            News::Elsewhere { hold } => {
                let Some(gone) = table.remove(hold, None) else { return };
                if !gone.is_held() {
                    shared.tell(table, vec![Event::Withdrawn { hold }]);
                }
            }
            News::Moved { session, to } => {
                // Unless it is on its way back: then the answer to that, which comes after this, says what it has.
                if !table.knows_session(session) || table.attempt(session) >= to.attempt {
                    return;
                }
                for partition in table.session_leaves(session, &to, self.index) {
                    let then = Then::HandOver { session };
                    shared.send(partition, hand_over(session, &to), then);
                }
                shared.tell(table, vec![Event::Moved { session }]);
            }
        }
    }

    /// Makes waiters holders of whose grants Redis has told, if that can be relied on: not before this partition's lease
    /// reaches as far as what clients believe of all their holds.
    pub(in crate::redis) fn tell_of_grants(&mut self, table: &mut Table) {
        if self.granted.is_empty() || !self.is_in_service() {
            return;
        }
        let shared = self.shared.clone();
        for Granted { hold, made } in std::mem::take(&mut self.granted) {
            let Some(known) = table.get(hold).filter(|known| matches!(known.state, State::Waiting { .. })) else {
                continue;
            };
            let Party::Session { session, request, .. } = known.party else {
                // Its deadline counts from the grant, and that may have been a while ago.
                let args = vec![b"O".to_vec(), record::hold_bytes(hold)];
                self.follow_up(args, Then::Granted { hold });
                continue;
            };
            let Some(grant) = table.grant(hold, made, lockstead_clock::now()) else { continue };
            let mut events = vec![Event::Granted { to: Some((session, request)), grant }];
            let merged = table.merge_waiters(hold, &mut events);
            shared.tell(table, events);
            for waiter in merged {
                self.follow_up(give_back(waiter), Then::Owed);
            }
        }
    }
}

/// The operation that gives what is left here of a session to the server that has taken it in.
pub(in crate::redis) fn hand_over(session: SessionId, to: &Move) -> Vec<Vec<u8>> {
    vec![b"F".to_vec(), record::session_bytes(session), figure(to.attempt), to.server.clone()]
}
