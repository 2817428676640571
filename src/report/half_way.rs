//! What people need who are called to a run that came to a halt between the old state and the new one.
use super::{
    facts::{HalfWay, Progress, Report, State, Todo},
    text,
};

/// Operations that leave the product alone: Backout's own copies and memory.
const UNNOTICED: &[&str] =
    &["backup.take", "backup.refresh", "backup.discard", "backup.keep", "store.set", "logs.mark"];

impl Report {
    /// Whether anything but Backout's own copies may have been touched.
    pub fn touched(&self) -> bool {
        let deeds = self.phases.iter().flat_map(|phase| {
            let attempts = phase.steps.iter().flat_map(|s| &s.attempts).flat_map(|a| &a.deeds);
            attempts.chain(&phase.deeds)
        });
        let mut touching = deeds.filter(|deed| !UNNOTICED.contains(&deed.operation.as_str()));
        touching.next().is_some()
    }

    pub fn outcome(&self) -> Option<&str> {
        self.ending.as_ref().map(|ending| ending.outcome.as_str())
    }
}

pub fn of(report: &Report) -> Option<HalfWay> {
    let halted = match report.outcome() {
        Some("stopped" | "in-doubt") => true,
        // Interrupted, or still at it.
        None => report.touched(),
        Some(_) => false,
    };
    halted.then(|| HalfWay { done: done(report), not_done: not_done(report), safe: safe(report), next: next(report) })
}

fn done(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for standing in report.standing.iter().filter(|s| s.by_this_run) {
        let state = match standing.state {
            State::Started => "started",
            State::Stopped => "stopped",
            State::Fenced => "fenced",
            State::Unfenced => "open to applications",
            State::Unknown => continue,
        };
        lines.push(format!("{} {state}", text::resource(&standing.resource)));
    }
    for restored in report.restored.iter().filter(|r| r.exchanged) {
        lines.push(format!("{} restored", text::resource(&restored.resource)));
    }
    for phase in report.phases.iter().filter(|p| p.started.is_some()) {
        let steps: Vec<&str> =
            phase.steps.iter().filter(|s| s.progress == Progress::Done).map(|s| s.name.as_str()).collect();
        if !steps.is_empty() {
            let name = text::line(&phase.name, 80);
            let steps = text::line(&steps.join(", "), 300);
            lines.push(format!("{name}: {steps} ({} of {} steps)", steps.split(", ").count(), phase.steps.len()));
        }
    }
    lines
}

/// How data and services stand that are not as they were.
pub fn left_standing(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for copy in report.copies.iter().filter(|c| c.changed && !c.freed && !c.restored) {
        lines.push(format!("{}: not restored, may be as the upgrade left it", text::resource(&copy.resource)));
    }
    for standing in &report.standing {
        let resource = text::resource(&standing.resource);
        match standing.state {
            State::Stopped => lines.push(format!("{resource}: down")),
            State::Fenced => lines.push(format!("{resource}: fenced, no application gets in")),
            State::Unknown => lines.push(format!("{resource}: not known how it stands")),
            State::Started | State::Unfenced => {}
        }
    }
    lines
}

fn not_done(report: &Report) -> Vec<String> {
    let mut lines = left_standing(report);
    for deed in &report.unclear {
        let resource = text::resource(&deed.resource);
        lines.push(format!(
            "{}: {} on {resource} was begun, its end is not recorded",
            text::place(&deed.place),
            deed.operation
        ));
    }
    // Once there was a rollback, nobody cares for the rest of the upgrade.
    if let Some(phase) = report.phases.iter().rfind(|p| p.started.is_some() && !p.steps.is_empty()) {
        for step in &phase.steps {
            let title = text::line(&format!("{}/{}", phase.name, step.name), 140);
            match (step.progress, step.attempts.last().and_then(|a| a.failure.as_ref())) {
                (Progress::Failed, Some(failure)) => {
                    lines.push(format!("{title} failed: {}", text::line(&failure.message, 300)));
                }
                (Progress::Failed, None) | (Progress::Done, _) => {}
                (Progress::Begun, _) => lines.push(format!("{title}: begun, not ended")),
                (Progress::NotBegun, _) => lines.push(format!("{title}: not begun")),
            }
        }
    }
    let begun = |name: &str| report.phases.iter().any(|p| p.name == name && p.started.is_some());
    if begun("upgrade") && !begun("rollback") {
        lines.push("rollback: not begun".to_owned());
    }
    if begun("rollback") && !report.phases.iter().any(|p| p.name == "verify" && p.rolled_back && p.started.is_some()) {
        lines.push("verify after the rollback: not begun".to_owned());
    }
    lines
}

fn safe(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for copy in report.copies.iter().filter(|c| c.proven && !c.freed && !c.restored) {
        let at = copy.refreshed.unwrap_or(copy.taken);
        let resource = text::resource(&copy.resource);
        lines.push(format!("proven copy of {resource} of {}, {}", text::moment(at), text::bytes(copy.bytes)));
    }
    for restored in &report.restored {
        if let Some(aside) = &restored.aside {
            lines.push(format!("what was live in {}: {}", text::resource(&restored.resource), text::line(aside, 400)));
        }
    }
    let exchanging = report.unclear.iter().any(|deed| deed.operation == "backup.restore");
    if !report.copies.is_empty() && !exchanging {
        lines.push("nothing is half-exchanged".to_owned());
    }
    lines
}

fn next(report: &Report) -> Vec<Todo> {
    let mut todos = Vec::new();
    let mut todo = |text: String, command: Option<&str>| {
        todos.push(Todo { text, command: command.map(str::to_owned) });
    };
    match &report.ending {
        None => todo("make sure that it does not go on; while it does, its resources are held".into(), None),
        Some(ending) if ending.outcome == "in-doubt" => {
            todo(format!("find out what nobody could say: {}", text::line(&ending.message, 600)), None);
        }
        // Whoever stopped it knows why.
        Some(ending) if ending.message.ends_with(": cancelled") => {}
        Some(ending) => todo(format!("remove the cause: {}", text::line(&ending.message, 600)), None),
    }
    let number = report.run;
    if matches!(report.header.command.as_str(), "upgrade" | "prepare" | "rollback") {
        let doubts: Vec<String> =
            report.unclear.iter().map(|deed| format!("--decide {}=done|not-done", deed.number)).collect();
        let in_doubt = report.outcome() == Some("in-doubt") && !doubts.is_empty();
        let command = match in_doubt {
            true => format!("backout resume {number} {}", doubts.join(" ")),
            false => format!("backout resume {number}"),
        };
        let what =
            if report.header.command == "rollback" { "go on with the rollback" } else { "go on where it stopped" };
        todo(format!("{what}; what is done is not done again"), Some(&command));
    }
    if report.copies.iter().any(|c| c.changed && !c.freed && !c.restored)
        || report.touched() && !report.copies.is_empty()
    {
        todo("go back to the restore point; what is restored already is left alone".into(), Some("backout rollback"));
    } else if report.copies.iter().any(|c| !c.freed && !c.restored) {
        todo("nothing was touched: free the copies when the upgrade is called off".into(), Some("backout commit"));
    }
    if report.header.command == "unfence" {
        todo("let applications in; what is open already is left alone".into(), Some("backout unfence"));
    } else if report.standing.iter().any(|s| s.state == State::Fenced) {
        todo("only if nothing is to be restored: let applications in again".into(), Some("backout unfence"));
    }
    todos
}
