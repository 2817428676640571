//! All the ways that a script can go, and one of them.
use super::{
    escape::{code, md},
    finding, text,
};
use crate::dry::{Explored, Told};
use std::fmt::Write;

pub fn text(explored: &Explored) -> String {
    let mut out = String::new();
    explored.findings.iter().for_each(|finding| out.push_str(&finding::text(finding)));
    if !explored.findings.is_empty() {
        out.push('\n');
    }
    sums(explored).iter().for_each(|line| out += &format!("{line}\n"));
    out
}

/// What was tried, what was not, and how many findings there are.
fn sums(explored: &Explored) -> Vec<String> {
    let ends: Vec<String> = explored.outcomes.iter().map(|(end, count)| format!("{count} {end}")).collect();
    let paths = text::counted(explored.paths as u64, "path", "paths");
    let mut lines =
        vec![format!("{paths}: {}; {} of {} steps ran", ends.join(", "), explored.reached, explored.planned)];
    if explored.left_out > 0 {
        let left_out = explored.left_out;
        lines.push(format!("left out: {left_out} that were known of, and what follows from them (--paths, --seconds)"));
    }
    lines.push(match explored.findings.len() {
        0 => "nothing speaks against it".to_owned(),
        n => text::counted(n as u64, "finding", "findings"),
    });
    lines
}

/// `package`: name and version.
pub fn markdown(package: &str, explored: &Explored) -> String {
    let mut page = format!("# {}: all ways that it can go\n\n", md(package));
    sums(explored).iter().for_each(|line| page += &format!("- `{}`\n", code(line)));
    if !explored.findings.is_empty() {
        page.push_str("\n## Findings\n\n");
        explored.findings.iter().for_each(|found| page += &finding::markdown(found));
    }
    page
}

/// A path call by call, with what fails.
pub fn path(number: usize, told: &Told) -> String {
    let mut out = format!("path {number}\n");
    let mut step = String::new();
    let mut run = 1;
    for call in &told.calls {
        if call.run != run {
            let _ = writeln!(out, "  cancelled; then `backout rollback`:");
            (run, step) = (call.run, String::new());
        }
        let here = format!(
            "{}{}",
            call.step,
            if call.attempt > 1 { format!(", attempt {}", call.attempt) } else { String::new() }
        );
        if here != step {
            let _ = writeln!(out, "  {here}");
            step = here;
        }
        let how = match (&call.failed, call.assumed) {
            (Some(kind), _) => format!("✗ {} fails ({})", call.title(), kind.as_str()),
            (None, true) => format!("? {}", call.title()),
            (None, false) => format!("✓ {}", call.title()),
        };
        let _ = writeln!(out, "    {how}{}", if call.cancelled { ", cancelled here" } else { "" });
        for change in told.changes.iter().filter(|change| change.call == call.key()) {
            let resource = format!("{} {}", change.resource.kind, change.resource.name);
            let _ = writeln!(out, "        {resource}: {}", text::line(&change.text, 200));
        }
    }
    let ending = told.outcome.ending();
    let why = if ending.message.is_empty() { String::new() } else { format!(": {}", text::line(&ending.message, 400)) };
    let _ = writeln!(out, "  ends {}{why}", ending.outcome);
    for id in told.different.keys() {
        let _ = writeln!(out, "  {} {} is not as it was", id.kind, id.name);
    }
    out
}
