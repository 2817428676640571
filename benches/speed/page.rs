//! The results, for the terminal and for the docs.
use crate::{
    machine,
    rows::{MET, MISSED, Row},
    sample::{Pairs, Spread},
};

pub struct Measured {
    pub row: &'static Row,
    baseline: String,
    ours: String,
    result: String,
    spread: String,
    samples: usize,
    note: String,
}

impl Measured {
    pub fn new(row: &'static Row, pairs: &Pairs) -> Self {
        let result = pairs.result(row.aim);
        let quantity = |samples: &[f64]| {
            let median = Spread::of(samples.to_vec()).median;
            if row.name == "memory" { format!("{:.1} MB", median / 1e6) } else { time(median) }
        };
        Self {
            row,
            baseline: if row.baseline.is_empty() { String::new() } else { quantity(&pairs.baseline) },
            ours: quantity(&pairs.ours),
            result: row.aim.shown(result.median),
            spread: format!("{} to {}", row.aim.shown(result.low), row.aim.shown(result.high)),
            samples: pairs.ours.len(),
            note: pairs.note.as_ref().map(|note| format!(" {note}")).unwrap_or_default(),
        }
    }

    pub fn met(&self) -> bool {
        self.row.aim.met(&self.result).unwrap()
    }

    fn verdict(&self) -> &'static str {
        if self.met() { MET } else { MISSED }
    }

    pub fn lines(&self) -> String {
        let Row { name, what, baseline, aim, .. } = self.row;
        let against =
            if baseline.is_empty() { String::new() } else { format!("\n  {:>10}  {baseline}", self.baseline) };
        let note = if self.note.is_empty() { String::new() } else { format!("\n  {:>10} {}", "", self.note) };
        format!(
            "{name}: {what}\n  {:>10}  ours{against}\n  {:>10}  {} of {} samples between the quarters, aim {}: {}{note}",
            self.ours,
            self.result,
            self.spread,
            self.samples,
            aim.text(),
            self.verdict().trim_matches('*')
        )
    }

    /// What the page has of it, as the test reads it.
    fn table_row(&self) -> String {
        let Row { what, baseline, aim, .. } = self.row;
        let cells =
            [*what, &self.ours, baseline, &self.baseline, &self.result, &self.spread, &aim.text(), self.verdict()];
        format!("| {} |\n", cells.join(" | "))
    }
}

pub fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-4 => format!("{:.2} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

pub fn page(measured: &[Measured], seconds: u64) -> String {
    let mut page = String::from(
        "# Benchmarks\n\nWritten by `cargo bench --profile dev -- --save`. Baseline and Backout are measured in turn, pair by pair, \
         in one run; the result is the median over the pairs, beside it where the middle half of them lies.\n\n",
    );
    page += "| what | Backout | baseline | | result | middle half | aim | |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    page.extend(measured.iter().map(Measured::table_row));
    page += "\n## What each row measures\n\n";
    for Measured { row, samples, note, .. } in measured {
        let of = if row.baseline.is_empty() { "samples" } else { "pairs" };
        page += &format!("- **{}** (`{}`, {samples} {of}). {}{note}\n", row.what, row.name, row.how);
    }
    let missed: Vec<&Measured> = measured.iter().filter(|row| !row.met()).collect();
    if !missed.is_empty() {
        page += "\n## What is missed, and why\n\n";
        for Measured { row, .. } in missed {
            page += &format!("- **{}**: {}\n", row.what, row.why_missed.unwrap_or("nobody has said why yet."));
        }
    }
    page += &format!("\n## Where\n\nMeasured {}, in {seconds} s.\n\n| | |\n| --- | --- |\n", machine::today());
    for (what, value) in machine::facts() {
        page += &format!("| {what} | {value} |\n");
    }
    page
}
