//! How the answers of the scripts are read.

use std::time::Duration;

use lockstead_core::{EndReason, HoldId, Refusal, Token};
use redis::Value;

use super::{NOT_KNOWN_YET, NOT_UNDERSTOOD};
use crate::EngineError;
use crate::redis::record::{self, Record, number, text};
use crate::redis::table::{Left, Made, Table};

/// An answer of Redis: its letter and the rest.
pub(super) fn letter(value: &Value) -> Option<(&str, &[Value])> {
    let (first, rest) = record::array(value)?.split_first()?;
    Some((text(first)?, rest))
}

/// How the scripts write down how a hold ended.
pub(in crate::redis) fn read_reason(code: &str) -> Option<EndReason> {
    match code {
        "R" => Some(EndReason::Released),
        "E" => Some(EndReason::Expired),
        "B" => Some(EndReason::BackendLost),
        _ => None,
    }
}

/// Reads a hold that was granted before, and what of it is left.
pub(super) fn read_granted(granted: &[Value]) -> Option<(HoldId, Made)> {
    let [hold, token, since, left, ttl] = granted else { return None };
    let millis = |value| number(value).map(Duration::from_millis);
    let left = Left { left: millis(left).unwrap_or_default(), ttl: millis(ttl)? };
    Some((record::read_hold_id(hold)?, read_made(token, since, Some(left))?))
}

/// Reads what a grant is made of.
pub(in crate::redis) fn read_made(token: &Value, since: &Value, left: Option<Left>) -> Option<Made> {
    Some(Made { token: read_token(token)?, since: record::micros(since)?, left })
}

fn read_token(value: &Value) -> Option<Token> {
    number(value).map(Token::from_number)
}

/// Reads pairs of a hold and its record.
pub(in crate::redis) fn read_holds(value: &Value) -> Vec<(HoldId, Record)> {
    let read = |pair: &Value| match record::array(pair)? {
        [hold, record] => Some((record::read_hold_id(hold)?, Record::read(record)?)),
        _ => None,
    };
    record::array(value).unwrap_or_default().iter().filter_map(read).collect()
}

/// Why the scripts did not do what they were asked.
pub(super) fn refusal(answer: Option<(&str, &[Value])>, table: &Table, hold: HoldId) -> EngineError {
    let refusal = match answer {
        Some(("U", _)) => return EngineError::Unavailable(NOT_KNOWN_YET),
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
