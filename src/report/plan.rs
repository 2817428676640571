//! What an upgrade would do, and what would take it back.
use super::{finding, text};
use crate::dry::{Plan, Step};
use std::fmt::Write;

pub fn text(plan: &Plan) -> String {
    let mut out = format!("{} ", plan.package);
    let world = if plan.offline { "   in an invented world" } else { "" };
    let from = if plan.from_version.is_empty() { String::new() } else { format!("{} → ", plan.from_version) };
    // Writing into a string cannot fail.
    let _ = writeln!(out, "{from}{}{world}   nothing was touched\n", plan.version);
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
        let seconds = plan.if_it_fails.iter().filter(|step| step.phase == "rollback").map(|s| s.estimate_seconds).sum();
        let _ = writeln!(out, "\nIf the last call of the upgrade fails; back in about {}:\n", text::estimate(seconds));
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
        let line = format!(
            "{shown:<8}  {:>2}  {:<name$}  {:<title$}  {}{star}  {}",
            n + first,
            step.name,
            text::line(&step.title, 200),
            text::estimate(step.estimate_seconds),
            roles.join(", ")
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
