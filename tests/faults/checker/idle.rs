//! Nobody waits for what nobody holds: a wake-up that is lost would show so.
//!
//! What is known of holds is on the safe side: from when a grant may have been made until the hold must have ended,
//! whatever became of its client. Moments at which a server or Redis was broken, or had been lately, say nothing.

use super::order::waits_until;
use super::story::{MARGIN, Outcome, Run, Story};
use super::{Rule, Violation};
use crate::history::{HungOn, Micros};

/// How long a free name may have waiters.
const IDLE: Micros = 500_000;
/// How long the news of a grant, or of a hold that was dropped, may take.
const NEWS: Micros = 300_000;

pub(super) fn check(run: &Run, violations: &mut Vec<Violation>) {
    for stories in run.by_name().into_values() {
        let mut holds: Vec<(Micros, Micros)> = stories.iter().filter_map(|story| possible_hold(run, story)).collect();
        holds.sort_unstable();
        for (from, to) in gaps(&holds) {
            let mut waiting = stories.iter().filter(|story| {
                let waits = story.asked.max(from)..waits_until(run, story).min(run.end).min(to);
                waits.end.saturating_sub(waits.start) > IDLE && !run.is_disturbed(story, waits.start, waits.end)
            });
            if let Some(story) = waiting.next() {
                let (rule, ops) = (Rule::Progress, vec![story.op]);
                let what = format!("{}: {} waits although nobody holds it", story.ask.name, story.op);
                violations.push(Violation { rule, at: from, ops, what });
            }
        }
    }
}

/// The times between the holds, which are in the order of their beginnings.
fn gaps(holds: &[(Micros, Micros)]) -> Vec<(Micros, Micros)> {
    let mut gaps = Vec::new();
    let mut free_from = 0;
    for (begin, end) in holds {
        if *begin > free_from {
            gaps.push((free_from, *begin));
        }
        free_from = free_from.max(*end);
    }
    gaps.push((free_from, Micros::MAX));
    gaps
}

/// From when until when an acquire may have held; nothing if it did not.
fn possible_hold(run: &Run, story: &Story) -> Option<(Micros, Micros)> {
    match &story.outcome {
        Outcome::Granted { at, .. } => {
            let late = run.is_disturbed(story, story.asked, *at);
            let begin = if late { story.asked } else { at.saturating_sub(NEWS) };
            Some((begin, story.given_back.unwrap_or_else(|| ends_unanswered(run, story, story.until))))
        }
        Outcome::Refused { .. } => None,
        Outcome::Dropped { at } | Outcome::Unknown { at, .. } => {
            Some((*at, ends_unanswered(run, story, *at + run.lease())))
        }
        // It may have been granted when its client was gone.
        Outcome::Open => {
            run.gone_at(story.op.process).map(|gone| (gone, ends_unanswered(run, story, gone + run.lease())))
        }
    }
}

/// When a hold has ended at the latest whose end nobody has confirmed; `deadline` is that of a lease.
fn ends_unanswered(run: &Run, story: &Story, deadline: Micros) -> Micros {
    let gone = run.gone_at(story.op.process).unwrap_or(0);
    let last_word = match story.outcome {
        Outcome::Dropped { at } => Some(at),
        _ => story.giving_back,
    };
    match last_word {
        _ if story.ask.hung_on == HungOn::Ttl => deadline + MARGIN,
        // The session gives it back as soon as it can.
        Some(at) if !run.is_disturbed(story, at, at + NEWS) => at + NEWS,
        _ => deadline.max(gone) + run.lease() + run.longest_session() + MARGIN,
    }
}
