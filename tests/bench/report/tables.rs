//! The tables, as Markdown.

use std::fmt::Write;

use super::spread::number;
use super::targets::Judged;
use super::{Results, Row};
use crate::contender::Workload;
use crate::figures::{
    BYTES_PER_HOLD, CLIENT_CPU, FULL_NANOS, GAVE_UP, GROWTH, GROWTH_OF_FREE, IDLE_CPU, KIB_PER_SESSION, P50, P99,
    PER_SECOND, SECONDS, SERVER_CPU, SMALL_NANOS,
};

/// A column: its head, and the figure below.
type Column = (&'static str, &'static str);

const OF_OPERATIONS: [Column; 5] = [
    ("a second", PER_SECOND),
    ("p50 µs", P50),
    ("p99 µs", P99),
    ("CPU µs, client", CLIENT_CPU),
    ("CPU µs, server", SERVER_CPU),
];
const OF_CROWDS: [Column; 2] = [("seconds", SECONDS), ("gave up", GAVE_UP)];
const OF_SCALE: [Column; 7] = [
    ("KiB a session", KIB_PER_SESSION),
    ("idle CPU %", IDLE_CPU),
    ("bytes a hold", BYTES_PER_HOLD),
    ("ns when small", SMALL_NANOS),
    ("ns when full", FULL_NANOS),
    ("full to small", GROWTH),
    ("the same, free locks", GROWTH_OF_FREE),
];

/// A table: its title, whether a workload belongs to it, and its columns.
type Section = (&'static str, fn(Workload) -> bool, &'static [Column]);

/// All of them.
pub(super) fn all(results: &Results, judged: &[Judged]) -> String {
    let machine = &results.machine;
    let mut text = String::new();
    let build = if machine.is_release_build { "release" } else { "debug" };
    line(&mut text, &format!("{}, {} cores, Linux {}; {build} build.", machine.cpu, machine.cores, machine.kernel));
    line(&mut text, &format!("{}.", machine.versions.join("; ")));
    let (rounds, seconds) = (results.rounds, number(results.seconds));
    line(&mut text, &format!("Rounds: {rounds}, of {seconds} s for each measurement. Median (smallest to largest)."));
    let (load, cores) = (number(machine.load_before), machine.cores);
    line(&mut text, &format!("Load of the machine in the minute before: {load}, of {cores} cores; 0 is quiet.\n"));
    targets(&mut text, judged);
    let sections: [Section; 5] = [
        ("Acquire and release", |workload| matches!(workload, Workload::Pairs { .. }), &OF_OPERATIONS),
        ("The same by unary calls", |workload| matches!(workload, Workload::Unary { .. }), &OF_OPERATIONS),
        ("Hand-over of one lock", |workload| matches!(workload, Workload::HandOver { .. }), &OF_OPERATIONS),
        ("Processes that want one lock once", |workload| matches!(workload, Workload::Processes { .. }), &OF_CROWDS),
        ("Scale", is_scale, &OF_SCALE),
    ];
    for (title, is_of_section, columns) in sections {
        let rows: Vec<_> = results.rows.iter().filter(|row| is_of_section(row.workload)).collect();
        section(&mut text, title, &rows, columns);
    }
    for missing in &results.missing {
        line(&mut text, &format!("Not measured: {}: {}", missing.what, missing.why));
    }
    text.trim_end().to_owned() + "\n"
}

fn is_scale(workload: Workload) -> bool {
    matches!(workload, Workload::Sessions { .. } | Workload::Holds { .. } | Workload::Queue { .. })
}

fn line(text: &mut String, line: &str) {
    // Writing into a string can't fail.
    _ = writeln!(text, "{line}");
}

fn targets(text: &mut String, judged: &[Judged]) {
    line(text, "### Targets\n");
    line(text, "| | what | target | measured | |");
    line(text, "|---|---|---|---|---|");
    for target in judged {
        let (number, what, bound) = (target.number, &target.what, target.bound.text());
        let (measured, verdict) = (target.measured_text(), target.verdict());
        line(text, &format!("| {number} | {what} | {bound} | {measured} | {verdict} |"));
    }
    line(text, "");
}

fn section(text: &mut String, title: &str, rows: &[&Row], columns: &[Column]) {
    if rows.is_empty() {
        return;
    }
    line(text, &format!("### {title}\n"));
    let heads: Vec<_> = columns.iter().map(|(head, _)| *head).collect();
    line(text, &format!("| | | {} |", heads.join(" | ")));
    line(text, &format!("|---|---|{}", "---:|".repeat(columns.len())));
    for row in rows {
        let cells: Vec<_> = columns.iter().map(|(_, figure)| cell(row, figure)).collect();
        line(text, &format!("| {} | {} | {} |", row.workload, row.contender, cells.join(" | ")));
    }
    line(text, "");
}

/// CPU times have no spread here: it is in the JSON.
fn cell(row: &Row, figure: &str) -> String {
    let Some(spread) = row.spread(figure) else { return String::new() };
    if [P99, CLIENT_CPU, SERVER_CPU].contains(&figure) { number(spread.median) } else { spread.text() }
}
