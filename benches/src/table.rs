//! What was measured, as a table in Markdown.

use std::io::{self, Write};

use crate::{
    error::{Error, system},
    rounds::Figures,
};

const COLUMNS: usize = 8;

/// What a row is to reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// At most so many times the raw layer.
    AtMost(f64),
    /// At least so many times the raw layer.
    AtLeast(f64),
    /// Shown for comparison.
    None,
}

impl Goal {
    fn words(self, ratio: f64) -> (String, &'static str) {
        let verdict = |met: bool| if met { "met" } else { "missed" };
        match self {
            Self::AtMost(limit) => (format!("≤ {limit:.2}"), verdict(ratio <= limit)),
            Self::AtLeast(limit) => (format!("≥ {limit:.2}"), verdict(ratio >= limit)),
            Self::None => ("–".to_owned(), "–"),
        }
    }
}

/// The rows so far.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<[String; COLUMNS]>,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new() -> Self {
        let head = ["work", "here", "raw, or the limit", "ratio", "from–to", "rounds", "goal", ""];
        Self { rows: vec![head.map(str::to_owned)] }
    }

    /// Adds what was measured beside the raw layer: the ratio of each round, whose middle one counts.
    pub(crate) fn row(&mut self, work: &str, here: String, raw: String, ratios: &Figures, goal: Goal) {
        let ratio = ratios.median();
        let (goal, verdict) = goal.words(ratio);
        let spread = format!("{:.2}–{:.2}", ratios.least(), ratios.most());
        let rounds = ratios.count().to_string();
        let row = [work.to_owned(), here, raw, format!("{ratio:.2}"), spread, rounds, goal, verdict.to_owned()];
        progress(&row.join("  "));
        self.rows.push(row);
    }

    /// Prints it on standard output.
    pub(crate) fn print(&self) -> Result<(), Error> {
        let widths: Vec<usize> = (0..COLUMNS)
            .map(|column| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default().max(3))
            .collect();
        let mut text = String::new();
        for (index, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            text += &format!("| {} |\n", cells.join(" | "));
            if index == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                text += &format!("| {} |\n", rule.join(" | "));
            }
        }
        io::stdout().write_all(text.as_bytes()).map_err(system("print the table"))
    }
}

/// Says on standard error how far it is.
pub(crate) fn progress(line: &str) {
    // Nobody may be there to read it.
    let _ = writeln!(io::stderr(), "{line}");
}

/// Says on standard error what went wrong.
pub(crate) fn complain(error: &Error) {
    progress(&format!("aigis-bench: {error}"));
}

/// A time in microseconds.
pub(crate) fn microseconds(seconds: f64) -> String {
    format!("{:.0} µs", seconds * 1e6)
}

/// A time in milliseconds.
pub(crate) fn milliseconds(seconds: f64) -> String {
    format!("{:.1} ms", seconds * 1e3)
}

/// A count in thousands.
pub(crate) fn thousands(count: f64) -> String {
    format!("{:.1}k", count / 1e3)
}
