//! At no time do the clients that believe they hold a name exceed its limit.

use super::story::{Belief, Run};
use super::{Rule, Violation};

pub(super) fn check(run: &Run, violations: &mut Vec<Violation>) {
    for stories in run.by_name().into_values() {
        let mut beliefs: Vec<Belief> = stories.into_iter().filter_map(|story| run.belief(story)).collect();
        beliefs.sort_by_key(|belief| belief.begin);
        let mut current: Vec<Belief> = Vec::new();
        for belief in beliefs {
            current.retain(|other| other.end > belief.begin);
            current.push(belief);
            let permits: u32 = current.iter().map(|belief| belief.story.ask.permits).sum();
            let limit = belief.story.ask.limit;
            if permits > limit {
                violations.push(Violation {
                    rule: Rule::Exclusion,
                    at: belief.begin,
                    ops: current.iter().map(|belief| belief.story.op).collect(),
                    what: format!("{} believed to be held {permits} times of {limit}", belief.story.ask.name),
                });
            }
        }
    }
}
