//! The tokens of a name grow with its grants, whatever happens in between.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::story::{Belief, Outcome, Run, Story};
use super::{Rule, Violation};
use crate::history::Micros;

/// A grant as its client saw it.
#[derive(Clone, Copy)]
struct Grant<'a> {
    story: &'a Story,
    seen: Micros,
    token: u64,
}

pub(super) fn check(run: &Run, violations: &mut Vec<Violation>) {
    for stories in run.by_name().into_values() {
        let grants: Vec<Grant> = stories.iter().filter_map(|story| grant(story)).collect();
        never_repeat(&grants, violations);
        grow_with_time(grants, violations);
        let mut beliefs: Vec<Belief> = stories.iter().filter_map(|story| run.belief(story)).collect();
        beliefs.retain(|belief| belief.story.ask.is_exclusive());
        grow_with_belief(beliefs, violations);
    }
}

fn grant(story: &Story) -> Option<Grant<'_>> {
    let Outcome::Granted { at, token } = story.outcome else { return None };
    Some(Grant { story, seen: at, token })
}

fn never_repeat(grants: &[Grant], violations: &mut Vec<Violation>) {
    let mut first: HashMap<u64, &Story> = HashMap::new();
    for grant in grants {
        if let Some(other) = first.insert(grant.token, grant.story) {
            violations.push(wrong(grant.seen, other, grant.story, &format!("both have the token {}", grant.token)));
        }
    }
}

/// What was granted before another acquire was even sent has the smaller token. (That one hold ended before the other was
/// *seen* to begin says nothing if both fit beside each other: the news of a grant may be late.)
fn grow_with_time(grants: Vec<Grant>, violations: &mut Vec<Violation>) {
    let mut by_asked = grants.clone();
    by_asked.sort_by_key(|grant| grant.story.asked);
    let mut by_seen = grants;
    by_seen.sort_by_key(|grant| Reverse(grant.seen));
    let mut greatest: Option<Grant> = None;
    for later in by_asked {
        while let Some(earlier) = by_seen.pop_if(|grant| grant.seen < later.story.asked) {
            if greatest.is_none_or(|greatest| earlier.token > greatest.token) {
                greatest = Some(earlier);
            }
        }
        if let Some(greatest) = greatest.filter(|greatest| greatest.token > later.token) {
            let what = format!("the token {} was granted before {} was asked for", greatest.token, later.token);
            violations.push(wrong(later.seen, greatest.story, later.story, &what));
        }
    }
}

/// Nobody holds beside an exclusive holder, so late news can't change the order of these.
fn grow_with_belief(mut beliefs: Vec<Belief>, violations: &mut Vec<Violation>) {
    beliefs.sort_by_key(|belief| belief.begin);
    for pair in beliefs.windows(2) {
        let [earlier, later] = pair else { continue };
        if earlier.token > later.token {
            let what = format!("the token {} was held alone before {} was", earlier.token, later.token);
            violations.push(wrong(later.begin, earlier.story, later.story, &what));
        }
    }
}

fn wrong(at: Micros, one: &Story, other: &Story, what: &str) -> Violation {
    Violation { rule: Rule::Tokens, at, ops: vec![one.op, other.op], what: format!("{}: {what}", one.ask.name) }
}
