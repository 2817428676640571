//! What goes on while it goes on, a line for each piece of news.
use super::{Refused, ui};
use crate::{
    gate::{Event, Events},
    journal::{Entry, Header, Level, RunId, Step},
    report::text,
    run::life_cycle::Plans,
};
use std::thread;
use tokio::sync::broadcast::error::RecvError;

#[derive(Clone)]
pub struct Display;

impl Display {
    pub fn start(events: &Events, verbose: u8) -> Self {
        let mut receiver = events.subscribe();
        thread::spawn(move || {
            loop {
                match receiver.blocking_recv() {
                    Ok(event) => lines(&event, verbose).iter().for_each(|line| ui::say(line)),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Self
    }

    pub fn plan(&self, header: &Header, run: RunId, plans: &Plans) {
        let versions = format!("{} {} → {}", header.package, header.from_version, header.to_version);
        ui::say(&format!("run {run}: {} {}", header.command, text::line(&versions, 120)));
        for risk in &plans.risks {
            ui::say(&format!(
                "risk  {:<8} {}: {}",
                risk.severity,
                text::line(&risk.subject, 40),
                text::line(&risk.detail, 300)
            ));
        }
        for (phase, steps) in [
            ("prepare", &plans.prepare),
            ("upgrade", &plans.upgrade),
            ("verify", &plans.verify),
            ("rollback", &plans.rollback),
        ] {
            for step in steps {
                ui::say(&format!("{phase:<9} {}", planned(step)));
            }
        }
    }

    pub fn confirm(&self, question: &str) -> anyhow::Result<bool> {
        nobody_to_ask()?;
        Ok(ui::confirm(question))
    }

    /// Who approves; `None` when nobody does.
    pub fn approval(&self, question: &str, role: &str) -> anyhow::Result<Option<String>> {
        let question =
            format!("{} (as {})  your name, or nothing for no: ", text::line(question, 400), text::line(role, 64));
        nobody_to_ask()?;
        let name = ui::ask(&question);
        Ok((!name.is_empty()).then_some(name))
    }

    pub fn finish(&self) {}
}

fn nobody_to_ask() -> anyhow::Result<()> {
    if ui::interactive() {
        return Ok(());
    }
    Err(Refused::new("there is no terminal to ask on").hint("decide beforehand, with `--yes` or `--approve`").into())
}

fn planned(step: &Step) -> String {
    let measured = if step.measured_runs > 0 { " *" } else { "" };
    let estimate = text::duration(step.estimate_seconds * 1000);
    format!("{:<14} {:<50} {estimate}{measured}  {}", step.name, text::line(&step.title, 60), step.roles.join(", "))
}

fn lines(event: &Event, verbose: u8) -> Vec<String> {
    let Event::Recorded(recorded) = event else { return Vec::new() };
    let step = recorded.place.title();
    match &recorded.entry {
        Entry::StepStarted => vec![format!("… {step}")],
        Entry::StepEnded { result: Ok(()), millis } => vec![format!("✓ {step}  {}", text::duration(*millis))],
        Entry::StepEnded { result: Err(failure), millis } => {
            vec![format!("✗ {step}  {}  {}", text::line(&failure.message, 400), text::duration(*millis))]
        }
        Entry::Said { level, text: said } if *level != Level::Info || verbose > 0 => {
            vec![format!("  backout: {}", text::line(said, 400))]
        }
        _ => Vec::new(),
    }
}
