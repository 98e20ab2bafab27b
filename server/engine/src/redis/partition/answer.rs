//! What a call brought back.

use std::time::Duration;

use lockstead_core::Now;
use redis::Value;

use super::Break;
use super::news::News;
use crate::redis::record::{self, number, text};
use crate::redis::wire::WireError;

/// What a call brought back.
pub(in crate::redis) struct Answer {
    pub(in crate::redis) epoch: Vec<u8>,
    /// What is left of the reclaim window.
    pub(in crate::redis) window: Duration,
    pub(super) due: Option<Duration>,
    pub(in crate::redis) results: Vec<Value>,
    pub(in crate::redis) news: Vec<News>,
    pub(super) last_token: u64,
    pub(super) last_ticket: u64,
    /// How many pushes were sent to this server before the call.
    pub(in crate::redis) pushes: u64,
    pub(in crate::redis) sent: Now,
}

impl Answer {
    pub(super) fn read(value: Value, sent: Now) -> Result<Self, Break> {
        let Value::Array(parts) = value else { return Err(unreadable()) };
        if let Some("stale" | "join") = parts.first().and_then(text) {
            return Err(Break::Rejoin);
        }
        Self::read_parts(parts, sent).ok_or_else(unreadable)
    }

    fn read_parts(parts: Vec<Value>, sent: Now) -> Option<Self> {
        let parts: [Value; 9] = parts.try_into().ok()?;
        let [status, epoch, window, due, Value::Array(results), Value::Array(events), token, ticket, pushes] = parts
        else {
            return None;
        };
        (text(&status)? == "ok").then_some(())?;
        Some(Self {
            epoch: record::bytes(&epoch)?.to_vec(),
            window: Duration::from_millis(number(&window)?),
            due: number(&due).map(Duration::from_millis),
            results,
            news: events.iter().map(News::read).collect::<Option<_>>()?,
            last_token: number(&token)?,
            last_ticket: number(&ticket)?,
            pushes: number(&pushes)?,
            sent,
        })
    }
}

fn unreadable() -> Break {
    WireError::Script("its answer can't be read".to_owned()).into()
}
