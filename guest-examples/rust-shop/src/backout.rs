//! Scaffolded, yours to change: one table of steps serves both `plan` and `run`.
#![allow(dead_code)]
wit_bindgen::generate!({ path: "../../wit", world: "script", pub_export_macro: true });
pub use backout::host::{types::*, *};
pub use exports::backout::host::life_cycle::{Risk, Severity};

use exports::backout::host::life_cycle as wit;

pub type Result<T = (), E = Error> = std::result::Result<T, E>;
pub type Action = fn() -> Result;

pub trait Script {
    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }
    fn steps(phase: Phase) -> Vec<Step>;
}

pub struct Step(wit::Step, Action);

/// A step that comes after the one before it in the list, unless it says otherwise.
pub fn step(name: &str, title: &str, estimate: Seconds, action: Action) -> Step {
    let (name, title) = (name.into(), title.into());
    Step(wit::Step { name, title, estimate, roles: vec![], after: None, attempts: 1 }, action)
}

/// Steps that need nothing from each other.
pub fn at_once(steps: Vec<Step>) -> Vec<Step> {
    steps.into_iter().map(|step| step.after(&[])).collect()
}

impl Step {
    pub fn after(mut self, steps: &[&str]) -> Self {
        self.0.after = Some(strings(steps));
        self
    }
    /// People who must be at hand.
    pub fn roles(mut self, roles: &[&str]) -> Self {
        self.0.roles = strings(roles);
        self
    }
    /// How often the step is tried when something is unavailable or takes too long.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }
}

pub fn risk(severity: Severity, subject: &str, detail: impl Into<String>) -> Risk {
    Risk { severity, subject: subject.into(), detail: detail.into() }
}

/// A setting of the manifest as a number; durations come in seconds.
pub fn setting(name: &str) -> u32 {
    context::setting(name).parse().unwrap_or_else(|_| panic!("setting `{name}` is not a number"))
}

pub fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error { kind: Kind::Failed, message: message.into() })
}

pub fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| text.to_string()).collect()
}

impl<T: Script> wit::Guest for T {
    fn assess() -> Result<Vec<Risk>> {
        tell_panics();
        T::assess()
    }
    fn plan(phase: Phase) -> Result<Vec<wit::Step>> {
        tell_panics();
        Ok(T::steps(phase).into_iter().map(|step| step.0).collect())
    }
    fn run(phase: Phase, name: String) -> Result {
        tell_panics();
        match T::steps(phase).into_iter().find(|step| step.0.name == name) {
            Some(step) => step.1(),
            None => fail(format!("no step `{name}`")),
        }
    }
}

/// A panic has nowhere to write to by itself.
fn tell_panics() {
    std::panic::set_hook(Box::new(|panic| log::warn(&panic.to_string())));
}
