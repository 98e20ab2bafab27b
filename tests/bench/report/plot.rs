//! The plot: pairs a second, and how long a hand-over takes, both on logarithmic scales.

use plotters::prelude::*;

use super::Results;
use super::spread::{Spread, number};
use crate::Failure;
use crate::contender::Workload;
use crate::figures::{P50, PER_SECOND, count};
use crate::plan::Plan;

const WIDTH: u32 = 960;
const ROW_HEIGHT: i32 = 22;
const HEAD_HEIGHT: i32 = 44;
/// Where bars begin: before that are the names.
const LEFT: i32 = 220;
/// Where the longest ends: after that are the numbers.
const RIGHT: i32 = 800;
const BAR_HEIGHT: i32 = 14;

const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb2);
const LIMIT: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const PEER: RGBColor = RGBColor(0xd9, 0x8e, 0x32);

/// One bar.
struct Bar {
    name: &'static str,
    spread: Spread,
}

/// Bars that belong together.
struct Panel {
    title: String,
    bars: Vec<Bar>,
}

fn colour_of(contender: &str) -> RGBColor {
    match contender {
        "memory" | "redis" | "node" => OURS,
        "etcd" | "etcd without fsync" | "zookeeper" | "direct redis lock" | "portalocker" => PEER,
        _ => LIMIT,
    }
}

/// As SVG.
pub(super) fn draw(results: &Results, plan: &Plan) -> Result<String, Failure> {
    let of_pairs = |&in_flight: &usize| {
        let title = format!("Acquire and release, pairs a second, {in_flight} in flight (of echo: messages)");
        panel(results, title, Workload::Pairs { in_flight }, PER_SECOND)
    };
    let of_hand_over = |&waiters: &usize| {
        let title = format!("Hand-over of one lock, median µs, {waiters} waiters (of echo and publish: round trip)");
        panel(results, title, Workload::HandOver { waiters }, P50)
    };
    let panels = plan.in_flight.iter().filter(|in_flight| **in_flight != 16).map(of_pairs);
    let panels: Vec<_> =
        panels.chain(plan.waiters.iter().map(of_hand_over)).filter(|panel| !panel.bars.is_empty()).collect();
    let rows = panels.iter().map(|panel| i32::try_from(panel.bars.len()).unwrap_or(0)).sum::<i32>();
    let height = rows * ROW_HEIGHT + HEAD_HEIGHT * (i32::try_from(panels.len()).unwrap_or(0) + 1);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, u32::try_from(height)?)).into_drawing_area();
        area.fill(&WHITE)?;
        let mut top = 0;
        for panel in &panels {
            top = panel.draw(&area, top)?;
        }
        let legend = "blue: Lockstead; orange: peers; grey: limits. Logarithmic. Bars are medians, lines go from the smallest to the largest round.";
        area.draw(&Text::new(legend, (LEFT, top + 16), ("sans-serif", 12).into_font()))?;
        area.present()?;
    }
    Ok(svg + "\n")
}

fn panel(results: &Results, title: String, workload: Workload, figure: &str) -> Panel {
    let rows = results.rows.iter().filter(|row| row.workload == workload);
    let bars = rows.filter_map(|row| Some(Bar { name: row.contender, spread: row.spread(figure)? }));
    Panel { title, bars: bars.filter(|bar| bar.spread.min > 0.0).collect() }
}

impl Panel {
    /// Returns where it ends.
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, plotters::coord::Shift>, top: i32) -> Result<i32, Failure>
    where
        B::ErrorType: 'static,
    {
        let smallest = self.bars.iter().map(|bar| bar.spread.min).fold(f64::MAX, f64::min);
        let largest = self.bars.iter().map(|bar| bar.spread.max).fold(0.0, f64::max);
        let (from, to) = (smallest.log10().floor(), largest.log10());
        let place = |value: f64| {
            let share = (value.log10() - from) / (to - from).max(0.1);
            LEFT + pixels(share * f64::from(RIGHT - LEFT))
        };
        area.draw(&Text::new(self.title.clone(), (20, top + 22), ("sans-serif", 15).into_font()))?;
        for (row, bar) in self.bars.iter().enumerate() {
            let y = top + HEAD_HEIGHT + pixels(count(row)) * ROW_HEIGHT;
            let (end, middle) = (place(bar.spread.median), y + BAR_HEIGHT / 2);
            area.draw(&Text::new(bar.name, (20, y + 1), ("sans-serif", 12).into_font()))?;
            area.draw(&Rectangle::new([(LEFT, y), (end, y + BAR_HEIGHT)], colour_of(bar.name).filled()))?;
            let whisker = [(place(bar.spread.min), middle), (place(bar.spread.max), middle)];
            area.draw(&PathElement::new(whisker, BLACK.stroke_width(1)))?;
            let after = place(bar.spread.max) + 8;
            area.draw(&Text::new(number(bar.spread.median), (after, y + 1), ("sans-serif", 12).into_font()))?;
        }
        Ok(top + HEAD_HEIGHT + pixels(count(self.bars.len())) * ROW_HEIGHT)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a picture has a few thousand pixels")]
fn pixels(length: f64) -> i32 {
    length.round() as i32
}
