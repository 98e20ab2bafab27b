//! No hold is lost without a cause, and whoever lost one was told at once.

use super::story::{Loss, Run, Story};
use super::{Rule, Violation};
use crate::fault::Charge;
use crate::history::{HungOn, Micros};

/// Between a loss and its notice, in a process that runs.
const NOTICED_WITHIN: Micros = 1_000_000;

pub(super) fn check(run: &Run, violations: &mut Vec<Violation>) {
    for story in run.stories.values() {
        let Some(loss) = &story.loss else { continue };
        let mut wrong = |what: String| {
            let (rule, ops) = (Rule::Losses, vec![story.op]);
            let what = format!("{}: {} lost its hold ({}), {what}", story.ask.name, story.op, loss.reason);
            violations.push(Violation { rule, at: loss.since, ops, what });
        };
        if !is_excused(run, story, loss) {
            wrong("and nothing that had happened is a reason".to_owned());
        }
        if is_told_late(run, story, loss) {
            wrong(format!("and was told {} ms later", (loss.noticed - loss.since) / 1_000));
        }
    }
}

/// A single fault must be a reason by itself. Several together can add up to one.
fn is_excused(run: &Run, story: &Story, loss: &Loss) -> bool {
    let client = story.op.process.client;
    if run.stalled_between(loss.since, loss.since) {
        return true;
    }
    let outages = run.outages_between(loss.since, loss.since).filter(|outage| outage.fault.concerns(client));
    match outages.collect::<Vec<_>>()[..] {
        [] => false,
        [only] => {
            let lasted_ms = only.end.min(loss.since).saturating_sub(only.begin) / 1_000;
            let charge = Charge { client, hung_on: story.ask.hung_on, reason: &loss.reason, lasted_ms };
            only.fault.excuses(&run.site, &charge)
        }
        _ => loss.reason != "BROKEN",
    }
}

fn is_told_late(run: &Run, story: &Story, loss: &Loss) -> bool {
    // Nobody tells the holder of a lease; it knows its deadline.
    let is_told = story.ask.hung_on != HungOn::Ttl;
    let late = is_told && loss.noticed.saturating_sub(loss.since) > NOTICED_WITHIN;
    let stops = run.lives.get(&story.op.process).map(|life| &life.stops[..]).unwrap_or_default();
    let stopped = stops.iter().any(|(begin, end)| *begin <= loss.noticed && *end + NOTICED_WITHIN >= loss.since);
    late && !stopped && !run.stalled_between(loss.since, loss.noticed)
}
