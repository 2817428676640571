use super::{
    Exit, Global, Refused,
    dry::{self, Dry},
    state, ui,
};
use crate::{
    diagnostic::shown,
    dry::{
        Plan, Stage, Step, plan,
        saved::{self, Bound, Saved},
    },
    report::text,
};
use anyhow::Context;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// Show what an upgrade would do, and what would take it back; touches nothing
///
/// Leads the script through its whole life cycle in a simulated world: what is really there is looked at until the script has
/// changed it, and from then on the simulation answers. What only the changed world could say is assumed, and listed. Where
/// anything speaks against it, that is a finding (exit code 10).
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    dry: Dry,
    /// Keep the plan in a file, for approval and `backout upgrade --plan`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

impl Args {
    pub fn execute(self, global: &Global) -> anyhow::Result<Exit> {
        if let Some(file) = &self.save {
            self.refuse_to_save(file)?;
        }
        let stage = self.dry.stage(global)?;
        let (plan, bound) = dry::wait(async { (plan(&stage).await, bound(&stage).await) })?;
        match global.json {
            true => ui::json(&plan)?,
            false => ui::result(&text(&plan)),
        }
        let exit = if plan.findings.is_empty() { Exit::Done } else { Exit::Findings };
        if let Some(file) = &self.save {
            let text = Saved::new(bound, plan).text()?;
            let name = shown(&file.display().to_string());
            state::write_whole(file, &text).with_context(|| format!("write the plan to {name}"))?;
            ui::say(&format!("the plan is saved as {name}"));
        }
        Ok(exit)
    }

    fn refuse_to_save(&self, file: &Path) -> anyhow::Result<()> {
        let message = match (self.dry.offline, &self.dry.from) {
            (true, _) => "a plan in an invented world cannot be saved: there is nothing that it could be bound to",
            (_, Some(_)) => "a plan from a version that is only supposed cannot be saved",
            _ if file.symlink_metadata().is_ok_and(|about| !about.is_file()) => {
                let message = format!("{} is there, and is no file", shown(&file.display().to_string()));
                return Err(Refused::new(message).hint("name another file with `--save`").into());
            }
            _ => return Ok(()),
        };
        Err(Refused::new(message).hint("make it on the site that is to be upgraded, or leave `--save` out").into())
    }
}

async fn bound(stage: &Stage) -> Bound {
    Bound {
        package: stage.facts.package.clone(),
        version: stage.facts.version.clone(),
        digest: stage.package.digest.clone(),
        from_version: stage.facts.from_version.clone(),
        settings: stage.facts.settings.clone(),
        sections: stage.header.sections.clone(),
        services: match &stage.real {
            Some(real) => saved::services(real.service.values().map(|seen| (&seen.id, &*seen.observer))).await,
            None => Default::default(),
        },
    }
}

fn text(plan: &Plan) -> String {
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
        plan.findings.iter().for_each(|found| out.push_str(&dry::finding(found)));
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
