//! What a person reads of a run: the numbers, and around each violation what happened then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write;

use crate::checker::Violation;
use crate::history::{Ask, Event, Line, Micros, Op};

/// What is shown before and after a violation.
const AROUND: Micros = 1_500_000;
/// Most lines of a timeline before the violation, and after.
const LINES_BEFORE: usize = 60;
const LINES_AFTER: usize = 20;
/// Most violations that are shown with their timeline.
pub(crate) const SHOWN: usize = 5;

/// What a run was made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    asked: usize,
    granted: usize,
    /// Granted after standing in the queue.
    waited: usize,
    refused: usize,
    /// Failed, so that nobody knows whether they were granted.
    unknown: usize,
    longest_wait: Micros,
    faults: BTreeMap<&'static str, usize>,
    losses: BTreeMap<String, usize>,
    stalls: usize,
}

impl Summary {
    pub(crate) fn of(lines: &[Line]) -> Self {
        let mut summary = Self::default();
        let mut asked: HashMap<Op, Micros> = HashMap::new();
        let mut queued: HashSet<Op> = HashSet::new();
        let mut granted: Vec<(Op, Micros)> = Vec::new();
        for Line { at, event } in lines {
            match event {
                Event::Asked { op, .. } => _ = asked.insert(*op, *at),
                Event::Granted { op, .. } => granted.push((*op, *at)),
                Event::Queue { waiting, .. } => queued.extend(waiting),
                Event::Refused { .. } | Event::Dropped { .. } => summary.refused += 1,
                Event::Failed { .. } => summary.unknown += 1,
                Event::Lost { reason, .. } => *summary.losses.entry(reason.clone()).or_default() += 1,
                Event::FaultBegins { fault, .. } => *summary.faults.entry(fault.kind()).or_default() += 1,
                Event::Stalled { .. } => summary.stalls += 1,
                _ => {}
            }
        }
        summary.asked = asked.len();
        summary.granted = granted.len();
        summary.waited = granted.iter().filter(|(op, _)| queued.contains(op)).count();
        let waits = granted.iter().filter_map(|(op, at)| Some(at.saturating_sub(*asked.get(op)?)));
        summary.longest_wait = waits.max().unwrap_or(0);
        summary
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "{} acquires: {} granted ({} after a wait, {} ms at most), {} not, {} unknown",
            self.asked,
            self.granted,
            self.waited,
            self.longest_wait / 1_000,
            self.refused,
            self.unknown
        )?;
        writeln!(f, "faults: {}", counts(self.faults.iter().map(|(kind, count)| (*kind, *count))))?;
        write!(f, "losses: {}", counts(self.losses.iter().map(|(reason, count)| (reason.as_str(), *count))))?;
        if self.stalls > 0 {
            write!(f, "\nthe machine stood still {} times; little can be said about those moments", self.stalls)?;
        }
        Ok(())
    }
}

fn counts<'a>(counts: impl Iterator<Item = (&'a str, usize)>) -> String {
    let counts: Vec<_> = counts.map(|(what, count)| format!("{count} {what}")).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// What happened around a violation, to its acquires, its name and everything that broke. Times are in milliseconds since
/// the beginning of the history.
pub(crate) fn timeline(lines: &[Line], violation: &Violation) -> String {
    let mut lines: Vec<&Line> = lines.iter().collect();
    lines.sort_by_key(|line| line.at);
    let begin = lines.first().map_or(0, |line| line.at);
    let asks = lines.iter().filter_map(|line| match &line.event {
        Event::Asked { op, ask } => Some((*op, ask)),
        _ => None,
    });
    let asks: HashMap<Op, _> = asks.collect();
    let names: HashSet<&str> =
        violation.ops.iter().filter_map(|op| asks.get(op)).map(|ask| ask.name.as_str()).collect();
    let (from, to) = (violation.at.saturating_sub(AROUND), violation.at + AROUND);
    let concerns = |line: &&&Line| match (&line.event, line.event.op()) {
        (_, Some(op)) if violation.ops.contains(&op) => true,
        (Event::Queue { name, .. }, _) => names.contains(name.as_str()) && (from..=to).contains(&line.at),
        (_, Some(op)) => {
            (from..=to).contains(&line.at) && asks.get(&op).is_some_and(|ask| names.contains(ask.name.as_str()))
        }
        (Event::Run(_), _) => false,
        (Event::FaultBegins { .. } | Event::FaultEnds { .. }, _) => (from - AROUND.min(from)..=to).contains(&line.at),
        _ => (from..=to).contains(&line.at),
    };
    let shown: Vec<&&Line> = lines.iter().filter(concerns).collect();
    let middle = shown.partition_point(|line| line.at <= violation.at);
    let (first, last) = (middle.saturating_sub(LINES_BEFORE), shown.len().min(middle + LINES_AFTER));
    let mut text = String::new();
    if shown.len() > last - first {
        _ = writeln!(text, "  ({} of {} lines; all are in the history)", last - first, shown.len());
    }
    for line in &shown[first..last] {
        let mark = if line.event.op().is_some_and(|op| violation.ops.contains(&op)) { '>' } else { ' ' };
        let at = line.at.saturating_sub(begin);
        _ = writeln!(text, "{mark} {:>6}.{:03}  {}", at / 1_000, at % 1_000, describe(&line.event, begin));
    }
    text
}

fn describe(event: &Event, begin: Micros) -> String {
    let after = |at: &Micros| format!("{} ms", at.saturating_sub(begin) / 1_000);
    match event {
        Event::Run(_) => "the run begins".to_owned(),
        Event::Asked { op, ask } => {
            let wait = ask.wait_ms.map_or("for ever".to_owned(), |wait| format!("for {wait} ms"));
            let Ask { name, permits, limit, hung_on, .. } = ask;
            format!("{op} asks for {permits}/{limit} of {name} ({hung_on:?}), waits {wait}")
        }
        Event::Granted { op, token, until } => format!("{op} granted: token {token}, good until {}", after(until)),
        Event::Refused { op, why } => format!("{op} refused: {why:?}"),
        Event::Dropped { op } => format!("{op} takes its acquire back"),
        Event::Failed { op, message, .. } => format!("{op} failed: {message}"),
        Event::Valid { op, until } => format!("{op} good until {}", after(until)),
        Event::AtRisk { op } => format!("{op} at risk"),
        Event::Confirmed { op } => format!("{op} confirmed"),
        Event::Lost { op, reason, since } => format!("{op} lost: {reason}, since {}", after(since)),
        Event::GivingBack { op } => format!("{op} gives back"),
        Event::GivenBack { op, failure: None } => format!("{op} has given back"),
        Event::GivenBack { op, failure: Some(failure) } => format!("{op} has given back? {failure}"),
        Event::Started { process } => format!("client {process} starts"),
        Event::Killed { process } => format!("client {process} is killed"),
        Event::Stopped { process } => format!("client {process} is stopped"),
        Event::Continued { process } => format!("client {process} goes on"),
        Event::Ended { process, in_time } => format!("client {process} ended, in time: {in_time}"),
        Event::FaultBegins { number, fault } => format!("fault {number}: {fault}"),
        Event::FaultEnds { number } => format!("fault {number} is mended"),
        Event::Stalled { for_ms } => format!("the machine stood still for {for_ms} ms"),
        Event::Queue { name, waiting } => {
            let waiting: Vec<_> = waiting.iter().map(Op::to_string).collect();
            format!("seen in the queue of {name}: {}", waiting.join(" "))
        }
        Event::LeftOver { name, holders, waiters } => format!("{name} still has {holders} holders, {waiters} waiters"),
    }
}
