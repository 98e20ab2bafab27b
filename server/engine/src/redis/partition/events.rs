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

