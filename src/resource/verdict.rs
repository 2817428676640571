use crate::{
    condition::{Dimension, Evaluation, Judged, Outcome, scaled},
    failure::Failure,
};
use serde::{Deserialize, Serialize};

/// What a check is about; decides where a report shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    Functional,
    Performance,
    Security,
    Data,
}

/// "No data" is a result of its own, never a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ruling {
    Passed,
    Failed,
    Inconclusive,
    TimedOut,
}

/// A number that a verdict rests on, as people read it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub name: String,
    pub value: f64,
    /// `%`, `ms`, `MiB`, `/s`; empty for a plain number
    #[serde(default)]
    pub unit: String,
    /// the comparison it had to meet, `"< 1%"`; empty when it is shown for information
    pub must: String,
}

/// The outcome of every `check`, `watch` and `until`. The journal keeps it whole; the guest gets `ok` or an error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub area: Area,
    /// what was checked, in one line
    pub title: String,
    pub result: Ruling,
    /// why, when it did not pass; what was seen, when it did
    pub detail: String,
    pub readings: Vec<Reading>,
}

impl Reading {
    /// The numbers that a condition looked at.
    pub fn of(evaluation: &Evaluation) -> Vec<Self> {
        let number = |judged: &Judged| {
            let (value, unit) = judged.shown?;
            Some(Self { name: judged.name.clone(), value, unit: unit.to_owned(), must: judged.must.clone() })
        };
        evaluation.comparisons.iter().filter_map(number).collect()
    }

    /// A canonical number that is shown for information.
    pub fn shown(name: &str, canonical: f64, dimension: Dimension) -> Self {
        let (value, unit) = scaled(canonical, dimension, None);
        Self { name: name.to_owned(), value, unit: unit.to_owned(), must: String::new() }
    }
}

impl From<Outcome> for Ruling {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Held => Self::Passed,
            Outcome::Failed => Self::Failed,
            Outcome::NoData => Self::Inconclusive,
        }
    }
}

impl Verdict {
    /// Of a simulated world: what a script wants to hold is taken to hold.
    pub fn assumed(area: Area, title: String) -> Self {
        Self { area, title, result: Ruling::Passed, detail: "assumed".to_owned(), readings: Vec::new() }
    }

    /// What the guest is told. A verdict that is forgotten in a script must not be a pass.
    pub fn answer(self) -> Result<(), Failure> {
        match self.result {
            Ruling::Passed => Ok(()),
            Ruling::Failed => Err(Failure::failed(self.detail)),
            Ruling::Inconclusive => Err(Failure::inconclusive(self.detail)),
            Ruling::TimedOut => Err(Failure::timed_out(self.detail)),
        }
    }
}
