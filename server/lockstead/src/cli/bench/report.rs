//! The table.

use comfy_table::{CellAlignment, Table, TableStyle};
use serde::Serialize;

use super::load::Measured;

/// An acquire and a release are two messages each way.
const MESSAGES_OF_A_PAIR: f64 = 2.0;

/// All that was measured.
#[derive(Default, Serialize)]
pub(super) struct Report {
    rows: Vec<Row>,
}

/// One measurement.
#[derive(Serialize)]
pub(super) struct Row {
    what: &'static str,
    in_flight: usize,
    per_second: f64,
    p50_micros: u64,
    p99_micros: u64,
    p999_micros: u64,
    /// How much of the echo's throughput it reaches, counted in messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    of_echo: Option<f64>,
    /// How many times the echo's median latency it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_to_echo: Option<f64>,
}

impl Row {
    /// Acquire and release, beside the echo.
    pub(super) fn pairs(what: &'static str, in_flight: usize, measured: &Measured, echo: &Measured) -> Self {
        let of_echo = measured.per_second() * MESSAGES_OF_A_PAIR / echo.per_second();
        Self { of_echo: Some(of_echo), ..Self::new(what, in_flight, measured) }
    }

    /// A hand-over, whose latency is what matters.
    pub(super) fn hand_over(what: &'static str, in_flight: usize, measured: &Measured, echo: &Measured) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "microseconds of a benchmark are far below 2^52")]
        let ratio = measured.micros_at(0.5) as f64 / echo.micros_at(0.5).max(1) as f64;
        Self { p50_to_echo: Some(ratio), ..Self::new(what, in_flight, measured) }
    }

    /// By itself.
    pub(super) fn new(what: &'static str, in_flight: usize, measured: &Measured) -> Self {
        Self {
            what,
            in_flight,
            per_second: measured.per_second().round(),
            p50_micros: measured.micros_at(0.5),
            p99_micros: measured.micros_at(0.99),
            p999_micros: measured.micros_at(0.999),
            of_echo: None,
            p50_to_echo: None,
        }
    }

    fn ratio(&self) -> String {
        match (self.of_echo, self.p50_to_echo) {
            (Some(ratio), _) => format!("{ratio:.2} of its messages/s"),
            (_, Some(ratio)) => format!("{ratio:.2} times its p50"),
            _ => String::new(),
        }
    }
}

impl Report {
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub(super) fn print(&self, json: bool) {
        if json {
            // A struct of numbers always serializes.
            println!("{}", serde_json::to_string_pretty(self).unwrap_or_default());
            return;
        }
        let mut table = Table::new();
        table.load_style(TableStyle::new());
        table.set_header(["measured", "in flight", "ops/s", "p50 µs", "p99 µs", "p99.9 µs", "beside the echo"]);
        for row in &self.rows {
            table.add_row([
                row.what.to_owned(),
                row.in_flight.to_string(),
                format!("{:.0}", row.per_second),
                row.p50_micros.to_string(),
                row.p99_micros.to_string(),
                row.p999_micros.to_string(),
                row.ratio(),
            ]);
        }
        for number in 1..=5 {
            if let Some(column) = table.column_mut(number) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        println!("{table}");
    }
}
