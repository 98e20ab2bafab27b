//! Whether a history keeps Lockstead's promises. Works on the lines alone, so that a kept history can be checked again.

mod exclusion;
mod idle;
mod losses;
mod order;
mod progress;
mod story;
#[cfg(test)]
mod tests;
mod tokens;

use std::fmt;

use crate::history::{Line, Micros, Op};
use story::Run;

/// What can be violated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// No more holders at a time than the limit.
    Exclusion,
    /// Tokens grow.
    Tokens,
    /// First come, first served.
    Order,
    /// Losses have a cause and are told.
    Losses,
    /// Everything works in the end.
    Progress,
    /// The history itself makes sense.
    History,
}

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) rule: Rule,
    pub(crate) at: Micros,
    /// The acquires concerned.
    pub(crate) ops: Vec<Op>,
    pub(crate) what: String,
}

/// What a history says.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// By rule, and those of each rule in the order of time.
    pub(crate) violations: Vec<Violation>,
    /// How many pairs of waiters the rule of order was applied to.
    pub(crate) ordered_pairs: usize,
}

/// Applies all rules.
pub(crate) fn check(lines: &[Line]) -> Findings {
    let run = match Run::read(lines) {
        Ok(run) => run,
        Err(violation) => return Findings { violations: vec![violation], ..Findings::default() },
    };
    let mut violations = Vec::new();
    exclusion::check(&run, &mut violations);
    tokens::check(&run, &mut violations);
    let ordered_pairs = order::check(&run, &mut violations);
    losses::check(&run, &mut violations);
    progress::check(&run, &mut violations);
    idle::check(&run, &mut violations);
    violations.sort_by_key(|violation| (violation.rule, violation.at));
    Findings { violations, ordered_pairs }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exclusion => "exclusion",
            Self::Tokens => "token order",
            Self::Order => "order of service",
            Self::Losses => "losses",
            Self::Progress => "progress",
            Self::History => "history",
        })
    }
}
