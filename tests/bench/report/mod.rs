//! What came of it: medians and spreads, ratios, and which targets are met.

mod machine;
mod plot;
mod spread;
mod tables;
mod targets;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::contender::Workload;
use crate::figures::Figures;
use crate::{Failure, RunArgs};
use machine::Machine;
use spread::Spread;
use targets::Judged;

/// All that was measured.
pub(crate) struct Results {
    rounds: usize,
    seconds: f64,
    machine: Machine,
    /// In the order in which they were measured first.
    rows: Vec<Row>,
    missing: Vec<Missing>,
}

/// One contender at one workload.
struct Row {
    workload: Workload,
    contender: &'static str,
    /// By round; nothing for those in which it was not measured.
    rounds: Vec<Option<Figures>>,
}

/// What could not be measured.
#[derive(Serialize)]
struct Missing {
    what: String,
    why: String,
}

impl Results {
    pub(crate) fn new(args: &RunArgs) -> Self {
        let (rounds, seconds, machine) = (args.rounds, args.time.as_secs_f64(), Machine::look());
        Self { rounds, seconds, machine, rows: Vec::new(), missing: Vec::new() }
    }

    pub(crate) fn add(&mut self, round: usize, workload: Workload, contender: &'static str, figures: Figures) {
        let is_row = |row: &Row| row.workload == workload && row.contender == contender;
        let at = self.rows.iter().position(is_row).unwrap_or_else(|| {
            self.rows.push(Row { workload, contender, rounds: vec![None; self.rounds] });
            self.rows.len() - 1
        });
        if let Some(place) = self.rows.get_mut(at).and_then(|row| row.rounds.get_mut(round)) {
            *place = Some(figures);
        }
    }

    /// A contender is not to be had here.
    pub(crate) fn is_missing(&mut self, contender: &str, why: &str) {
        eprintln!("{contender} is left out: {why}");
        self.missing.push(Missing { what: contender.to_owned(), why: why.to_owned() });
    }

    pub(crate) fn has_failed(&mut self, round: usize, workload: Workload, contender: &str, why: &str) {
        let what = format!("{contender}, {workload}, round {}", round + 1);
        eprintln!("{what} failed: {why}");
        self.missing.push(Missing { what, why: why.to_owned() });
    }

    fn row(&self, workload: Workload, contender: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.workload == workload && row.contender == contender)
    }
}

impl Row {
    /// A figure in each round in which it was measured.
    fn values(&self, figure: &str) -> impl Iterator<Item = f64> {
        self.rounds.iter().flatten().filter_map(move |figures| figures.get(figure).copied())
    }

    fn in_round(&self, round: usize, figure: &str) -> Option<f64> {
        self.rounds.get(round)?.as_ref()?.get(figure).copied()
    }

    fn spread(&self, figure: &str) -> Option<Spread> {
        Spread::of(self.values(figure))
    }

    fn figures(&self) -> BTreeMap<&'static str, Spread> {
        let names = self.rounds.iter().flatten().flat_map(|figures| figures.keys().copied());
        names.filter_map(|name| Some((name, self.spread(name)?))).collect()
    }
}

/// The result as programs read it.
#[derive(Serialize)]
struct Document<'a> {
    machine: &'a Machine,
    rounds: usize,
    seconds_each: f64,
    measured: Vec<Measurement<'a>>,
    targets: &'a [Judged],
    missing: &'a [Missing],
}

#[derive(Serialize)]
struct Measurement<'a> {
    workload: String,
    contender: &'a str,
    figures: BTreeMap<&'static str, Spread>,
}

/// Prints the tables, and writes all files.
pub(crate) fn write(results: &Results, args: &RunArgs) -> Result<(), Failure> {
    let judged = targets::judge(results, &args.plan);
    let measured = results.rows.iter().map(|row| Measurement {
        workload: row.workload.to_string(),
        contender: row.contender,
        figures: row.figures(),
    });
    let document = Document {
        machine: &results.machine,
        rounds: results.rounds,
        seconds_each: results.seconds,
        measured: measured.collect(),
        targets: &judged,
        missing: &results.missing,
    };
    // A measurement or target a line, so that a difference between two runs can be read.
    let json = serde_json::to_string(&document)?.replace("},{", "},\n{") + "\n";
    let markdown = tables::all(results, &judged);
    let plot = plot::draw(results, &args.plan)?;
    println!("{markdown}");
    std::fs::create_dir_all(&args.out)?;
    for (name, text) in [("result.json", &json), ("report.md", &markdown), ("plot.svg", &plot)] {
        std::fs::write(args.out.join(name), text)?;
    }
    match &args.docs {
        Some(docs) => refresh(docs, &json, &markdown, &plot),
        None => Ok(()),
    }
}

const BEGIN: &str = "<!-- measured: begin -->\n";
const END: &str = "<!-- measured: end -->\n";

/// Puts the tables where the page has its old ones.
fn refresh(docs: &Path, json: &str, markdown: &str, plot: &str) -> Result<(), Failure> {
    let page = docs.join("performance.md");
    let old = std::fs::read_to_string(&page)?;
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.ok_or_else(|| format!("{} has no place for the tables", page.display()))?;
    std::fs::write(&page, format!("{before}{BEGIN}\n{markdown}\n{END}{after}"))?;
    std::fs::write(docs.join("performance.json"), json)?;
    std::fs::write(docs.join("performance.svg"), plot)?;
    Ok(())
}
