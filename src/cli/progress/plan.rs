//! The plan, as people see it before they are asked.
use super::layout::Paper;
use crate::{
    journal::{Risk, Step},
    report::text,
    run::life_cycle::Plans,
};
use console::{measure_text_width, truncate_str};
use std::collections::{BTreeMap, BTreeSet};

/// Risks, steps with their estimates and people, and what happens if it fails.
pub fn plan(plans: &Plans, paper: Paper) -> String {
    let mut text = String::from("\n");
    let width = paper.width.unwrap_or(usize::MAX);
    for (n, risk) in plans.risks.iter().enumerate() {
        let lead = format!("{:<4}  {}", if n == 0 { "risk" } else { "" }, what(risk));
        let begin = measure_text_width(&lead);
        let detail = text::wrapped(&text::line(&risk.detail, 400), width.saturating_sub(begin).max(20));
        text += &format!("{lead}{}\n", detail.join(&format!("\n{}", " ".repeat(begin))));
    }
    if !plans.risks.is_empty() {
        text.push('\n');
    }
    let way_back = !plans.upgrade.is_empty();
    let last = if way_back { &[][..] } else { &plans.rollback };
    let phases =
        [("prepare", &plans.prepare[..]), ("upgrade", &plans.upgrade), ("rollback", last), ("verify", &plans.verify)];
    let rows = rows(&phases);
    let name = rows.iter().map(|r| measure_text_width(&r.name)).max().unwrap_or(0);
    let time = rows.iter().map(|r| measure_text_width(&r.time)).max().unwrap_or(0);
    let longest = rows.iter().map(|r| measure_text_width(&r.title)).max().unwrap_or(0);
    let notes = rows.iter().map(|r| measure_text_width(&r.note)).max().unwrap_or(0);
    let room =
        paper.width.map_or(longest, |width| width.saturating_sub(23 + name + time + notes)).clamp(10, longest.max(10));
    for row in &rows {
        let title = truncate_str(&row.title, room, "…");
        let gap = room - measure_text_width(&title);
        let line = format!(
            "{:<8}  {:>3}  {:<name$}  {title}{}  {:>time$}{}  {}",
            row.phase,
            row.number,
            row.name,
            " ".repeat(gap),
            row.time,
            row.star,
            row.note
        );
        text += line.trim_end();
        text.push('\n');
    }
    let steps: Vec<&Step> = phases.iter().flat_map(|(_, steps)| *steps).collect();
    let total: u64 = phases.iter().map(|(_, steps)| seconds(steps)).sum();
    let mut words = vec![format!("About {} in all.", text::estimate(total))];
    if rows.iter().any(|row| row.star == " *") {
        let most = steps.iter().map(|s| s.measured_runs).max().unwrap_or(0);
        words.push(format!("* measured here, {}.", text::counted(most.into(), "earlier run", "earlier runs")));
    }
    let fallback = if way_back { &plans.rollback[..] } else { &[] };
    let roles: BTreeSet<String> =
        steps.iter().copied().chain(fallback).flat_map(|s| &s.roles).map(|role| text::line(role, 40)).collect();
    if !roles.is_empty() {
        words.push(format!("People: {}.", roles.into_iter().collect::<Vec<_>>().join(", ")));
    }
    let mut told = vec![words.join("   ")];
    if !fallback.is_empty() {
        let names: Vec<String> = fallback.iter().map(|s| text::line(&s.name, 64)).collect();
        told.push(format!("If it fails: {}; back in about {}.", names.join(", "), text::estimate(seconds(fallback))));
    }
    text.push('\n');
    for line in told.iter().flat_map(|line| text::wrapped(line, width)) {
        text += &line;
        text.push('\n');
    }
    text
}

fn what(risk: &Risk) -> String {
    format!("{:<7}  {:<14}  ", text::line(&risk.severity, 16), text::line(&risk.subject, 40))
}

struct Line {
    phase: &'static str,
    number: usize,
    name: String,
    title: String,
    time: String,
    star: &'static str,
    note: String,
}

fn rows(phases: &[(&'static str, &[Step])]) -> Vec<Line> {
    let mut rows = Vec::new();
    for (phase, steps) in phases {
        for (n, step) in steps.iter().enumerate() {
            let beside = n.checked_sub(1).is_some_and(|before| !waits(steps, step, &steps[before].name));
            let roles = step.roles.iter().map(|role| text::line(role, 40)).collect::<Vec<_>>().join(", ");
            let beside = if beside { "in parallel" } else { "" };
            let note =
                [roles.as_str(), beside].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
            rows.push(Line {
                phase: if n == 0 { phase } else { "" },
                number: rows.len() + 1,
                name: text::line(&step.name, 64),
                title: text::line(&step.title, 200),
                time: text::estimate(step.estimate_seconds),
                star: if step.measured_runs > 0 { " *" } else { "  " },
                note,
            });
        }
    }
    rows
}

/// Whether a step waits for another, directly or through others.
fn waits(steps: &[Step], step: &Step, other: &str) -> bool {
    let by_name: BTreeMap<&str, &Step> = steps.iter().map(|s| (s.name.as_str(), s)).collect();
    let mut seen = BTreeSet::new();
    let mut next: Vec<&str> = step.after.iter().map(String::as_str).collect();
    while let Some(name) = next.pop() {
        if name == other {
            return true;
        }
        if seen.insert(name) {
            next.extend(by_name.get(name).iter().flat_map(|s| &s.after).map(String::as_str));
        }
    }
    false
}

/// How long a phase takes when whatever can runs at once.
fn seconds(steps: &[Step]) -> u64 {
    let mut ends: BTreeMap<&str, u64> = BTreeMap::new();
    // Steps may stand before those that they wait for; as many rounds as there are steps settle every order.
    for _ in 0..steps.len() {
        let before = ends.clone();
        for step in steps {
            let begin = step.after.iter().filter_map(|name| ends.get(name.as_str())).max().copied().unwrap_or(0);
            ends.insert(&step.name, begin.saturating_add(step.estimate_seconds));
        }
        if before == ends {
            break;
        }
    }
    ends.values().max().copied().unwrap_or(0)
}
