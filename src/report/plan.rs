//! What an upgrade would do, and what would take it back.
use super::{
    escape::{coded, md},
    finding, text,
};
use crate::dry::{Plan, Step};
use std::fmt::Write;

pub fn text(plan: &Plan) -> String {
    let mut out = title(plan);
    let world = if plan.offline { "   in an invented world" } else { "" };
    // Writing into a string cannot fail.
    let _ = writeln!(out, "{world}   nothing was touched\n");
    for risk in &plan.risks {
        let (severity, subject) = (text::line(&risk.severity, 16), text::line(&risk.subject, 40));
        let _ = writeln!(out, "risk  {severity:<7}  {subject:<14}  {}", text::line(&risk.detail, 400));
    }
    if !plan.risks.is_empty() {
        out.push('\n');
    }
    steps(&mut out, &plan.steps, 1);
    if let Some(down) = &plan.down {
        let (from, to) = (text::line(&down.from, 64), text::line(&down.to, 64));
        let _ = writeln!(out, "\nDown from {from} to {to}: about {}.", text::estimate(down.estimate_seconds));
    }
    if !plan.if_it_fails.is_empty() {
        let _ = writeln!(out, "\nIf the last call of the upgrade fails; back in about {}:\n", back_in(plan));
        steps(&mut out, &plan.if_it_fails, 1);
    }
    if !plan.people.is_empty() {
        let people: Vec<String> = plan.people.iter().map(|role| text::line(role, 40)).collect();
        let _ = writeln!(out, "\nPeople: {}.", people.join(", "));
    }
    if !plan.assumed.is_empty() {
        let _ = writeln!(
            out,
            "\nAssumed (?), because only the changed world could say it; `backout explore` tries it otherwise:"
        );
        for assumed in &plan.assumed {
            let _ = writeln!(out, "  {}", text::line(assumed, 200));
        }
    }
    if !plan.findings.is_empty() {
        out.push('\n');
        plan.findings.iter().for_each(|found| out.push_str(&finding::text(found)));
    }
    out
}

fn steps(out: &mut String, steps: &[Step], first: usize) {
    let name = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    let title = steps.iter().map(|step| text::line(&step.title, 200).chars().count()).max().unwrap_or(0);
    let mut phase = "";
    for (n, step) in steps.iter().enumerate() {
        let shown = if step.phase == phase { "" } else { step.phase.as_str() };
        phase = &step.phase;
        let star = if step.measured_runs > 0 { " *" } else { "" };
        let roles: Vec<String> = step.roles.iter().map(|role| text::line(role, 40)).collect();
        let beside = beside(steps, n).map(|other| format!("  at once with {}", text::line(&other.name, 64)));
        let line = format!(
            "{shown:<8}  {:>2}  {:<name$}  {:<title$}  {}{star}  {}{}",
            n + first,
            step.name,
            text::line(&step.title, 200),
            text::estimate(step.estimate_seconds),
            roles.join(", "),
            beside.unwrap_or_default()
        );
        let _ = writeln!(out, "{}", line.trim_end());
        for operation in &step.operations {
            for effect in &operation.effects {
                let _ = writeln!(out, "{:>16}{}: {}", "~ ", effect.resource, text::line(&effect.text, 200));
            }
            if operation.assumed {
                let _ = writeln!(out, "{:>16}{} {}", "? ", operation.operation, operation.label);
            }
        }
    }
}

/// The first of the steps that wait for the same ones as this one, and so run at once with it.
fn beside(steps: &[Step], n: usize) -> Option<&Step> {
    let step = steps.get(n)?;
    let same = |other: &&Step| other.phase == step.phase && other.after == step.after;
    steps.iter().take(n).find(same)
}

/// `acme/shop 1.4.2 → 2.0.0`
fn title(plan: &Plan) -> String {
    let from = if plan.from_version.is_empty() { String::new() } else { format!("{} → ", plan.from_version) };
    format!("{} {from}{}", plan.package, plan.version)
}

fn back_in(plan: &Plan) -> String {
    text::estimate(plan.if_it_fails.iter().filter(|s| s.phase == "rollback").map(|s| s.estimate_seconds).sum())
}

/// In the order of `text`.
pub fn markdown(plan: &Plan) -> String {
    let mut page = format!("# {}\n\n", md(&title(plan)));
    let world = if plan.offline { "in an invented world" } else { "on a site" };
    let _ = writeln!(page, "A plan {world}; nothing was touched. The package is {}.", coded(&plan.digest));
    if !plan.risks.is_empty() {
        page.push_str("\n## Risks\n\n| severity | at stake | detail |\n| --- | --- | --- |\n");
        for risk in &plan.risks {
            let cells = [&risk.severity, &risk.subject, &risk.detail].map(|cell| md(cell));
            let _ = writeln!(page, "| {} |", cells.join(" | "));
        }
    }
    page.push_str("\n## Steps\n");
    phases(&mut page, &plan.steps);
    if let Some(down) = &plan.down {
        let (from, to) = (md(&down.from), md(&down.to));
        let _ = writeln!(page, "\nDown from **{from}** to **{to}**: about {}.", text::estimate(down.estimate_seconds));
    }
    if !plan.if_it_fails.is_empty() {
        let _ = writeln!(page, "\n## If the last call of the upgrade fails\n\nBack in about {}.", back_in(plan));
        phases(&mut page, &plan.if_it_fails);
    }
    let people: Vec<String> = plan.people.iter().map(|role| md(role)).collect();
    if !people.is_empty() {
        let _ = writeln!(page, "\n## People\n\n{}", people.join(", "));
    }
    if !plan.assumed.is_empty() {
        page.push_str("\n## Assumed\n\nOnly the changed world could say it; `backout explore` tries it otherwise.\n\n");
        plan.assumed.iter().for_each(|assumed| page += &format!("- {}\n", md(assumed)));
    }
    if !plan.findings.is_empty() {
        page.push_str("\n## Findings\n\n");
        plan.findings.iter().for_each(|found| page += &finding::markdown(found));
    }
    page
}

fn phases(page: &mut String, steps: &[Step]) {
    let mut phase = "";
    for (n, step) in steps.iter().enumerate() {
        if step.phase != phase {
            phase = &step.phase;
            let _ = writeln!(page, "\n### {}\n", md(phase));
        }
        let star = if step.measured_runs > 0 { " \\*" } else { "" };
        let mut roles = step.roles.iter().map(|role| format!(", {}", md(role))).collect::<String>();
        if let Some(other) = beside(steps, n) {
            roles += &format!(", at once with {}", md(&other.name));
        }
        let estimate = text::estimate(step.estimate_seconds);
        let _ = writeln!(page, "{}. **{}**: {} ({estimate}{star}{roles})", n + 1, md(&step.name), md(&step.title));
        for operation in &step.operations {
            for effect in &operation.effects {
                let _ = writeln!(page, "    - {}: {}", md(&effect.resource), md(&effect.text));
            }
            if operation.assumed {
                let _ = writeln!(page, "    - assumed: {} {}", md(&operation.operation), md(&operation.label));
            }
        }
    }
}
