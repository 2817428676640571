//! Letting applications in again: when a run ends, and when somebody asks for it.
use super::{Run, life_cycle::Outcome};
use crate::{
    capability::database,
    gate::Error,
    journal::Level,
    resource::{Database, FailureKind, Lend, Right},
};

/// What came of it. One database that cannot be helped is no reason to leave the others shut.
#[derive(Debug, Default)]
pub struct Lifted {
    /// Databases that were shut and are open now.
    pub open: Vec<String>,
    /// Those of which that cannot be said, each with the reason.
    pub failed: Vec<String>,
}

impl Lifted {
    pub fn failure(&self) -> Option<String> {
        (!self.failed.is_empty()).then(|| format!("a fence could not be lifted: {}", self.failed.join("; ")))
    }
}

impl Run {
    /// Lifts every fence that there is.
    pub async fn unfence_all(&self) -> Lifted {
        self.lift(|_| true).await
    }

    /// Lifts what a script forgot. Nobody should work on what is neither old nor new, so a run that stops half-way keeps its
    /// fences, and one that has not brought the product to a good end keeps those that were up before it.
    pub(super) async fn lift_forgotten(&self, outcome: &Outcome) -> Lifted {
        let lifted = match outcome {
            Outcome::Stopped(_) | Outcome::InDoubt(_) => return Lifted::default(),
            Outcome::Upgraded | Outcome::TurnedBack(_) | Outcome::RolledBack => self.lift(|_| true).await,
            _ => self.lift(|lend| !self.0.shut.contains(&lend.id)).await,
        };
        if !lifted.open.is_empty() {
            let text = format!("lifted the fence of {}, which had been left", lifted.open.join(", "));
            let _ = self.say(Level::Warn, text).await;
        }
        lifted
    }

    /// Says of what an earlier run left shut that it still is.
    pub(super) async fn tell_of_kept_fences(&self) {
        for lend in self.resources().database.0.values().filter(|lend| self.0.shut.contains(&lend.id)) {
            let text = match lend.access.observer.hidden().await {
                Ok(false) => continue,
                Ok(true) => format!(
                    "database {} is fenced, as an earlier run left it: `backout rollback` finishes, `backout unfence` lets \
                     applications in",
                    lend.id.name
                ),
                Err(failure) => format!("database {}: {failure}", lend.id.name),
            };
            let _ = self.say(Level::Warn, text).await;
        }
    }

    async fn lift(&self, wanted: impl Fn(&Lend<Database>) -> bool) -> Lifted {
        let gate = self.host_gate("unfence");
        let mut lifted = Lifted::default();
        for (label, lend) in &self.resources().database.0 {
            if !lend.rights.allow(Right::Fence) || !wanted(lend) {
                continue;
            }
            let done = match lend.access.observer.hidden().await {
                Ok(false) => continue,
                Ok(true) => gate.perform(self.resources(), database::ops::Unfence { database: label.clone() }).await,
                // Nothing is fenced where nothing is.
                Err(failure) if failure.kind == FailureKind::NotFound => continue,
                Err(failure) => Err(Error::Answer(failure)),
            };
            match done {
                Ok(()) => lifted.open.push(lend.id.name.clone()),
                Err(error) => lifted.failed.push(format!("database {}: {error}", lend.id.name)),
            }
        }
        lifted
    }
}
