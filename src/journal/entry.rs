use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// The version of this format. A journal of another version is refused, never guessed at.
pub const FORMAT: i64 = 1;

pub type RunId = u64;

/// Where in a run an entry belongs. Sequence numbers count within it, so parallel steps never disturb each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// `assess`, a phase, or the command of a run without a script (`commit`, `unfence`)
    pub phase: String,
    /// `verify` runs after the upgrade and again after a rollback
    pub rolled_back: bool,
    /// empty while the script plans
    pub step: String,
    pub attempt: u32,
}

impl Place {
    pub fn new(phase: impl Into<String>, rolled_back: bool, step: impl Into<String>, attempt: u32) -> Self {
        Self { phase: phase.into(), rolled_back, step: step.into(), attempt }
    }
    /// `upgrade/install`; the phase alone while it is planned.
    pub fn title(&self) -> String {
        if self.step.is_empty() { self.phase.clone() } else { format!("{}/{}", self.phase, self.step) }
    }
}

/// One thing that happened. `Intent`, `Evidence` and `Outcome` belong to an operation (a place and a sequence number).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    RunStarted(Header),
    RunEnded(Ending),
    /// What the script says may go wrong.
    Assessed {
        risks: Vec<Risk>,
    },
    /// The steps of a phase, as they will run.
    Planned {
        steps: Vec<Step>,
    },
    StepStarted,
    StepEnded {
        result: Result<(), Failure>,
        millis: u64,
    },
    /// Something is about to change, or to be tried. Durable before it begins.
    Intent(Request),
    /// What makes it decidable, durable before its point of no return.
    Evidence {
        data: Value,
    },
    /// How it ended. Durable before the script learns it.
    Outcome {
        result: Result<Value, Failure>,
        millis: u64,
    },
    /// An operation that changes nothing: intent and outcome in one.
    Observed {
        #[serde(flatten)]
        request: Request,
        result: Result<Value, Failure>,
        millis: u64,
    },
    /// The script asked for what it was not granted.
    Denied {
        operation: String,
        label: String,
        right: String,
    },
    /// What the script has printed: its words, and nobody else's.
    Printed {
        text: String,
    },
    /// What the host itself says or decides: why a rollback begins, that a fence was lifted.
    Said {
        level: Level,
        text: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    Info,
    Warn,
    Error,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// `backup.take`
    pub operation: String,
    /// `observe`, `idempotent`, `once`
    pub class: String,
    /// the package's word for the resource; empty for the run itself
    pub label: String,
    /// the site's: `database:orders`
    pub resource: String,
    /// resources whose live content this may change
    pub changes: Vec<String>,
    /// the operation as data
    pub request: Value,
}

/// What a run is, once and for all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// `upgrade`, `rollback`, `prepare`, …
    pub command: String,
    pub package: String,
    pub version: String,
    /// `sha256:…` of the package
    pub digest: String,
    pub from_version: String,
    pub to_version: String,
    /// `sha256:…` of the site file as it was read
    pub site: String,
    pub host: String,
    /// of everything random that the script sees; each attempt of a step has a seed of its own, which follows from this one
    pub seed: u64,
    pub backout: String,
    /// The run whose restore point this one uses or makes; 0: none yet.
    pub restore_point: RunId,
    /// resources that the run holds
    pub holds: Vec<String>,
    pub limits: Limits,
}

/// What each attempt of a step may use. With it, the journal, the component and the payload are enough to run it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: u64,
    pub table_elements: u64,
    pub instances: u64,
    pub cpu_millis: u64,
    pub time_millis: u64,
    pub call_bytes: u64,
    pub handles: u64,
    pub steps: u64,
    pub steps_at_once: u64,
    pub host_calls: u64,
    pub log_bytes: u64,
    pub store_bytes: u64,
    pub journal_bytes: u64,
    /// of all steps of a phase together
    pub journal_bytes_of_phase: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ending {
    /// `upgraded`, `rolled-back`, `prepared`, `verified`, `committed`, `unfenced`, `assessed`, `refused`, `stopped`, `in-doubt`, `failed`
    pub outcome: String,
    pub exit: u8,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// `low`, `medium`, `high`, `blocker`
    pub severity: String,
    pub subject: String,
    pub detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub name: String,
    pub title: String,
    pub estimate_seconds: u64,
    /// earlier runs that the estimate rests on; 0: the script's own reckoning
    pub measured_runs: u32,
    pub roles: Vec<String>,
    /// resolved: the names of the steps that must be done first
    pub after: Vec<String>,
    pub attempts: u32,
}

/// An entry as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    pub id: i64,
    pub run: RunId,
    /// milliseconds since 1970-01-01 UTC
    pub at: i64,
    pub place: Place,
    /// the number of the operation within its place; 0: not an operation
    pub seq: u32,
    pub entry: Entry,
}

impl Recorded {
    /// As it is about to be written: it has no number yet.
    pub fn now(run: RunId, place: &Place, seq: u32, entry: Entry) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { id: 0, run, at: i64::try_from(now.as_millis()).unwrap_or(i64::MAX), place: place.clone(), seq, entry }
    }
}
