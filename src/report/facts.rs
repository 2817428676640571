//! What a report says, as data. The JSON form is this.
use crate::{
    journal::{Ending, Header, Place, Risk, RunId},
    resource::{
        Area, Failure, Reading, Ruling,
        copies::{CLONE, Fingerprint, Lost},
    },
};
use jiff::Timestamp;
use serde::Serialize;

/// The version of the JSON form. Fields may be added to it; what a field means does not change.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    pub format: u32,
    pub run: RunId,
    pub header: Header,
    pub started: Timestamp,
    /// of the last entry, while the run has not ended
    pub until: Timestamp,
    /// `null`: it goes on, or was interrupted
    pub ending: Option<Ending>,
    pub risks: Vec<Risk>,
    /// in the order in which they began; what was planned and never begun comes last
    pub phases: Vec<Phase>,
    pub checks: Vec<Check>,
    pub metrics: Vec<Metric>,
    /// the restore point of this run: the newest copy of each resource
    pub copies: Vec<Copy>,
    /// whether all copies are of one moment, taken under a fence
    pub one_cut: bool,
    pub restored: Vec<Restored>,
    pub freed: Vec<Freed>,
    pub down: Vec<Down>,
    /// what services and databases were told last
    pub standing: Vec<Standing>,
    /// begun, and no outcome is recorded
    pub unclear: Vec<Deed>,
    pub denied: Vec<Denied>,
    pub said: Vec<Line>,
    pub log: Vec<Line>,
    pub notes: Vec<Line>,
    pub approvals: Vec<Approval>,
    /// what is left for people to do, in this order
    pub left: Vec<Todo>,
    /// only when people are needed because things are half-way
    pub half_way: Option<HalfWay>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Phase {
    pub name: String,
    pub rolled_back: bool,
    /// `null`: planned, never begun
    pub started: Option<Timestamp>,
    pub millis: u64,
    pub steps: Vec<Step>,
    /// what Backout did by itself, outside any step
    pub deeds: Vec<Deed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Progress {
    NotBegun,
    /// its end is not recorded
    Begun,
    Done,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    pub name: String,
    pub title: String,
    pub progress: Progress,
    pub estimate_seconds: u64,
    /// earlier runs that the estimate rests on; 0: the script's own reckoning
    pub measured_runs: u32,
    pub roles: Vec<String>,
    pub after: Vec<String>,
    pub attempts_allowed: u32,
    pub attempts: Vec<Attempt>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    pub attempt: u32,
    pub started: Timestamp,
    pub millis: Option<u64>,
    pub failure: Option<Failure>,
    /// what is worth knowing of it, in a line
    pub news: String,
    /// what it changed or tried to
    pub deeds: Vec<Deed>,
    /// questions that got an error for an answer; checks are not among them
    pub failed_looks: Vec<Deed>,
}

/// One operation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Deed {
    pub at: Timestamp,
    /// of the journal's entry with which it began
    pub number: i64,
    #[serde(flatten)]
    pub place: Place,
    pub operation: String,
    pub class: String,
    pub label: String,
    pub resource: String,
    /// the plain values of the request, shortened
    pub detail: String,
    pub millis: Option<u64>,
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Check {
    pub at: Timestamp,
    #[serde(flatten)]
    pub place: Place,
    pub operation: String,
    pub resource: String,
    pub title: String,
    /// `null` when there is no verdict
    pub area: Option<Area>,
    /// `null`: it could not be made; `detail` says why
    pub result: Option<Ruling>,
    pub detail: String,
    pub readings: Vec<Reading>,
    pub millis: u64,
}

/// One metric through the run: the median before, and the last number that a check saw. Numbers are parts of one,
/// seconds, bytes, and things per second.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metric {
    pub resource: String,
    pub name: String,
    pub before: Option<f64>,
    pub after_upgrade: Option<f64>,
    pub after_rollback: Option<f64>,
    /// the unit in which people read it
    pub unit: String,
    pub must: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Copy {
    pub resource: String,
    pub id: String,
    pub method: String,
    pub bytes: u64,
    pub proven: bool,
    pub detector: String,
    /// in the log of its server, when it was last brought up to date, such as an LSN
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
    /// why it is this method, where the site leaves the choice
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chosen: Option<String>,
    pub taken: Timestamp,
    pub refreshed: Option<Timestamp>,
    /// rows or files that the last refresh brought up to date
    pub brought_up_to_date: Option<u64>,
    /// Whether an operation may have changed the resource since.
    pub changed: bool,
    pub restored: bool,
    pub freed: bool,
    pub fingerprint: Fingerprint,
}

impl Copy {
    /// There is none yet.
    pub fn comes_later(&self) -> bool {
        self.method == CLONE && !self.proven
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Restored {
    pub at: Timestamp,
    #[serde(flatten)]
    pub place: Place,
    pub resource: String,
    /// `false`: nothing had been changed, so nothing was done
    pub exchanged: bool,
    /// where what was live is kept
    pub aside: Option<String>,
    pub lost: Vec<Lost>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Freed {
    pub resource: String,
    pub id: String,
    pub bytes: u64,
}

/// A service is down from the call that stops it until it is started again and answers: until the first `probe.until` of
/// the same step that holds, or, when the step asks for none, until the start has returned.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Down {
    pub resource: String,
    pub from: Timestamp,
    /// `null`: it was still down at the end
    pub until: Option<Timestamp>,
    pub millis: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Started,
    Stopped,
    Fenced,
    Unfenced,
    /// the call that should bring it about failed or has no outcome
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    pub resource: String,
    pub state: State,
    /// `false`: an earlier run left it so
    pub by_this_run: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Denied {
    pub at: Timestamp,
    #[serde(flatten)]
    pub place: Place,
    pub operation: String,
    pub label: String,
    pub right: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    pub at: Timestamp,
    #[serde(flatten)]
    pub place: Place,
    /// `debug`, `info`, `warn`, `error`
    pub level: String,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Approval {
    pub at: Timestamp,
    #[serde(flatten)]
    pub place: Place,
    pub question: String,
    pub role: String,
    /// who approved, or why nobody did
    pub answer: Result<String, Failure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Todo {
    pub text: String,
    /// a command line that does it
    pub command: Option<String>,
}

/// What people need who are called to a run that came to a halt between the old state and the new one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct HalfWay {
    pub done: Vec<String>,
    pub not_done: Vec<String>,
    pub safe: Vec<String>,
    pub next: Vec<Todo>,
}
