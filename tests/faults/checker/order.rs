//! Whoever was known to stand in the queue before another asked is served first.
//!
//! A fault can cost a place in the queue: a server that is away is passed over, and a broken stream takes its waiters
//! along. So pairs are left out between whose first question and last grant something was broken, or was mended no
//! longer ago than a server's lease and a session's timeout.

use super::story::{Outcome, Run, Story};
use super::{Rule, Violation};
use crate::history::{Micros, Refusal};

/// How long the news of a grant may be on its way; whoever goes away meanwhile was not passed over.
const NEWS_WITHIN: Micros = 250_000;

/// Returns how many pairs said something.
pub(super) fn check(run: &Run, violations: &mut Vec<Violation>) -> usize {
    let mut pairs = 0;
    for mut stories in run.by_name().into_values() {
        stories.sort_by_key(|story| story.asked);
        // Those that were known to wait when the next one asked.
        let mut waiting: Vec<&Story> = Vec::new();
        let mut known: Vec<&Story> = stories.iter().copied().filter(|story| story.queued.is_some()).collect();
        known.sort_by_key(|story| std::cmp::Reverse(story.queued));
        for later in stories {
            while let Some(story) = known.pop_if(|story| story.queued < Some(later.asked)) {
                waiting.push(story);
            }
            waiting.retain(|story| waits_until(run, story) > later.asked);
            let Outcome::Granted { at, token } = later.outcome else { continue };
            for earlier in &waiting {
                if [earlier, &later].into_iter().any(|story| run.is_disturbed(story, earlier.asked, at)) {
                    continue;
                }
                pairs += 1;
                if let Some(what) = overtaken(run, earlier, at, token) {
                    violations.push(Violation {
                        rule: Rule::Order,
                        at,
                        ops: vec![earlier.op, later.op],
                        what: format!(
                            "{}: {} waited before {} asked, but {what}",
                            later.ask.name, earlier.op, later.op
                        ),
                    });
                }
            }
        }
    }
    pairs
}

/// How the later one was served first, if it was.
fn overtaken(run: &Run, earlier: &Story, granted: Micros, token: u64) -> Option<String> {
    match earlier.outcome {
        Outcome::Granted { token: own, .. } => {
            (own > token).then(|| format!("its token {own} is greater than the other's {token}"))
        }
        _ => (waits_until(run, earlier) > granted).then(|| "still waited when that was granted".to_owned()),
    }
}

/// Until when it waited for sure. A grant ends the wait when it is seen, which is late enough.
pub(super) fn waits_until(run: &Run, story: &Story) -> Micros {
    match &story.outcome {
        Outcome::Granted { at, .. } => *at,
        Outcome::Dropped { at } => at.saturating_sub(NEWS_WITHIN),
        // The server may have told it long after.
        Outcome::Refused { why: Refusal::WaitOver, .. } => {
            (story.asked + story.ask.wait_ms.unwrap_or(0) * 1_000).saturating_sub(NEWS_WITHIN)
        }
        Outcome::Refused { .. } | Outcome::Unknown { .. } => story.asked,
        Outcome::Open => run.gone_at(story.op.process).unwrap_or(Micros::MAX),
    }
}
