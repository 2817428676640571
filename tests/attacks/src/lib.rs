//! What the attacks have in common: a script with one step in `prepare`, in which they do what they try.
wit_bindgen::generate!({
    path: ["../../wit", "wit"],
    world: "attacks:attacks/attack",
    pub_export_macro: true,
    default_bindings_module: "attacks",
    generate_all,
});

pub use backout::host::{types::*, *};
pub use std::hint::black_box;

use exports::backout::host::life_cycle::Guest;
pub use exports::backout::host::life_cycle::{Risk, Severity, Step};

pub type Result<T = ()> = std::result::Result<T, Error>;

/// The step in which an attack takes place.
pub const STEP: &str = "attack";

pub trait Attack {
    /// When it attacks.
    const PHASE: Phase = Phase::Prepare;

    fn assess() -> Result<Vec<Risk>> {
        Ok(vec![])
    }
    fn plan() -> Result<Vec<Step>> {
        Ok(vec![step(STEP, &[])])
    }
    fn run(_step: &str) -> Result {
        Ok(())
    }
    /// In the other phases.
    fn elsewhere(_phase: Phase) -> Result {
        Ok(())
    }
}

impl<T: Attack> Guest for T {
    fn assess() -> Result<Vec<Risk>> {
        T::assess()
    }

    fn plan(phase: Phase) -> Result<Vec<Step>> {
        if phase == T::PHASE { T::plan() } else { Ok(vec![step("nothing", &[])]) }
    }

    fn run(phase: Phase, step: String) -> Result {
        std::panic::set_hook(Box::new(|panic| log::warn(&panic.to_string())));
        if phase == T::PHASE { T::run(&step) } else { T::elsewhere(phase) }
    }
}

pub fn step(name: &str, after: &[&str]) -> Step {
    let after = Some(after.iter().map(|name| name.to_string()).collect());
    Step { name: name.into(), title: "an honest step".into(), estimate: 1, roles: vec![], after, attempts: 1 }
}

pub fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(Error { kind: Kind::Failed, message: message.into() })
}

/// Every call has to fail; what the host says about each goes into the step's error.
pub fn told(calls: Vec<(&str, Result)>) -> Result {
    let mut lines = Vec::new();
    for (what, result) in calls {
        match result {
            Ok(()) => return fail(format!("GOT THROUGH: {what}")),
            Err(error) => lines.push(format!("{what}: {:?}: {}", error.kind, error.message)),
        }
    }
    fail(lines.join(" ¦ "))
}
