//! When nothing is broken any more, everything works: every call was answered with something that makes sense, nothing
//! is left behind, and every name can be acquired again.

use super::story::{Outcome, Run, Story};
use super::{Rule, Violation};
use crate::history::{HungOn, Micros, PROBE, Refusal};

/// What a call may fail with: that servers or their Redis were away, or a grant that was lost before it was seen.
const FAILURES: [&str; 5] = ["UNAVAILABLE", "DRAINING", "BACKEND_UNAVAILABLE", "LOST", "CLOSED"];

pub(super) fn check(run: &Run, violations: &mut Vec<Violation>) {
    let mut wrong = |at: Micros, ops, what: String| violations.push(Violation { rule: Rule::Progress, at, ops, what });
    for story in run.stories.values() {
        if let Some((at, what)) = unfinished(run, story) {
            wrong(at, vec![story.op], format!("{}: {} {what}", story.ask.name, story.op));
        }
    }
    for (process, life) in &run.lives {
        if let Some((at, false)) = life.ended {
            wrong(at, Vec::new(), format!("client {process} did not end when it was told to"));
        }
    }
    for (at, name) in &run.left_over {
        wrong(*at, Vec::new(), format!("{name} is in use although everybody is gone"));
    }
}

fn unfinished(run: &Run, story: &Story) -> Option<(Micros, String)> {
    let is_probe = story.op.process.client == PROBE;
    let ended_well = run.lives.get(&story.op.process).is_some_and(|life| life.killed.is_none() && life.ended.is_some());
    match &story.outcome {
        Outcome::Granted { at, .. } if is_probe && story.given_back.is_none() => {
            Some((*at, "was never given back".to_owned()))
        }
        Outcome::Open if is_probe || ended_well => Some((run.end, "was never answered".to_owned())),
        Outcome::Unknown { at, reason, message } if is_probe || !may_fail(run, story, *at, reason) => {
            Some((*at, format!("failed: {message}")))
        }
        Outcome::Refused { at, why } if is_probe => Some((*at, format!("can't be had any more: {why:?}"))),
        Outcome::Refused { at, why: Refusal::Deadlock } => {
            Some((*at, "was refused as a deadlock, but nobody waits while it holds".to_owned()))
        }
        _ => None,
    }
}

/// Whether something was broken that can make an acquire fail so.
fn may_fail(run: &Run, story: &Story, at: Micros, reason: &str) -> bool {
    // A lease may have ended before its client, which asks for its deadline, heard that it was granted.
    let ended_unseen = story.ask.hung_on == HungOn::Ttl && reason == "NOT_HOLDER";
    (ended_unseen || FAILURES.contains(&reason)) && run.is_disturbed(story, story.asked, at)
}
