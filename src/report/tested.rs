//! The tests of a package, as they went.
use super::{
    escape::{code, md},
    text,
};
use crate::dry::{Test, Tested};
use std::{fmt::Write, time::Duration};

pub fn text(tested: &Tested) -> String {
    let mut out = String::new();
    let widest = tested.tests.iter().map(|test| test.name.chars().count()).max().unwrap_or_default();
    // Writing into a string cannot fail.
    for test in &tested.tests {
        let came_to = text::line(&test.came_to, 200);
        let _ = writeln!(out, "{} {:<widest$}  {came_to}   {}", mark(test), test.name, took(test.millis));
        let margin = " ".repeat(widest + 4);
        said(test).iter().for_each(|line| out += &format!("{margin}{line}\n"));
    }
    for line in left_out(tested).into_iter().chain([count(tested)]) {
        let _ = writeln!(out, "{line}");
    }
    out
}

fn mark(test: &Test) -> &'static str {
    if test.passed() { "✓" } else { "✗" }
}

/// `2 passed, 0 failed · 2 tests, 45 paths in 40 ms`
fn count(tested: &Tested) -> String {
    format!(
        "{} passed, {} failed · {}, {} in {}",
        tested.passed,
        tested.failed,
        text::counted(tested.tests.len() as u64, "test", "tests"),
        text::counted(tested.paths as u64, "path", "paths"),
        took(tested.tests.iter().map(|test| test.millis).sum())
    )
}

pub(super) fn left_out(tested: &Tested) -> Option<String> {
    let paths = text::counted(tested.left_out as u64, "path", "paths");
    (tested.left_out > 0)
        .then(|| format!("left out: {paths} that were known of, and what follows from them (--paths, --seconds)"))
}

/// What does not hold, and what happened instead, in lines that can be shown anywhere.
pub(super) fn said(test: &Test) -> Vec<String> {
    let mut lines = Vec::new();
    for difference in &test.differences {
        let (expected, is) = (text::line(&difference.expected, 200), text::line(&difference.is, 200));
        lines.extend([format!("expected {expected}"), format!("      is {is}")]);
    }
    lines.extend(test.diff.iter().map(|line| format!("  {}", text::spaced(line, 300))));
    if !test.diff.is_empty() {
        lines.push("  `backout test --accept` accepts the plan as it is".to_owned());
    }
    lines.extend(test.happened.iter().map(|line| format!("  {}", text::line(line, 400))));
    for finding in &test.findings {
        let path = finding.path.map(|path| format!("   (backout explore --offline --path {path})")).unwrap_or_default();
        let (rule, told) = (finding.rule.as_str(), text::line(&finding.text, 400));
        lines.extend([format!("{rule}: {told}{path}"), format!("  {}", text::line(&finding.hint, 400))]);
    }
    lines
}

/// The first thing that does not hold, and how many more there are; `None`: the test has passed.
pub(super) fn first(test: &Test) -> Option<String> {
    let differences = test.differences.iter().map(|d| format!("expected {}, is {}", d.expected, d.is));
    let findings = test.findings.iter().map(|found| format!("{}: {}", found.rule.as_str(), found.text));
    let mut all = differences.chain(findings);
    let first = text::line(&all.next()?, 400);
    Some(match all.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    })
}

fn took(millis: u64) -> String {
    if millis < 1000 { format!("{millis} ms") } else { format!("{:.1} s", Duration::from_millis(millis).as_secs_f64()) }
}

pub fn markdown(tested: &Tested) -> String {
    let mut page = format!("# {} {}: tests\n\n", md(&tested.package), md(&tested.version));
    for line in [count(tested)].into_iter().chain(left_out(tested)) {
        page += &format!("- `{}`\n", code(&line));
    }
    page += "\n| | test | shows | came to | took |\n| --- | --- | --- | --- | --- |\n";
    for test in &tested.tests {
        let cells = [&test.name, &test.about, &test.came_to].map(|cell| md(cell));
        page += &format!("| {} | {} | {} |\n", mark(test), cells.join(" | "), took(test.millis));
    }
    for test in tested.tests.iter().filter(|test| !test.passed()) {
        page += &format!("\n## {}\n\n", md(&test.name));
        said(test).iter().for_each(|line| page += &format!("    {line}\n"));
    }
    page
}
