use crate::failure::Failure;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// The version of this format. A journal of another version is refused, never guessed at.
pub const FORMAT: i64 = 1;

pub type RunId = u64;

/// Where in a run an entry belongs. Sequence numbers count within it, so parallel steps never disturb each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// `assess`, a phase, or the command of a run without a script (`commit`, `delete`, `keep`, `drop`, `unfence`)
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
    /// `upgrade/install/1`, and `rolled-back/verify/check/1`: no two places of a run have the same.
    pub fn key(&self) -> String {
        format!("{}{}/{}", if self.rolled_back { "rolled-back/" } else { "" }, self.title(), self.attempt)
    }
}

/// One thing that happened. `Intent`, `Evidence` and `Outcome` belong to an operation (a place and a sequence number).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    RunStarted(Header),
    RunEnded(Ending),
    /// It goes on: after it was interrupted, or after it ended half-way.
    RunResumed(Resumption),
    /// What was begun is taken back from here on, because of this.
    TurnedBack {
        because: String,
    },
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
        /// The script was ended by a limit, of which some depend on the machine.
        #[serde(default, skip_serializing_if = "is_false")]
        limit: bool,
    },
    /// Something is about to change, or to be tried. Durable before it begins.
    Intent(Request),
    /// What makes it decidable, durable before its point of no return.
    Evidence {
        data: Value,
    },
    /// What a person says of an operation that nobody else could tell: whether it has happened.
    Decided {
        done: bool,
        by: String,
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
    /// People are about to be told of something that has happened to the run.
    Telling {
        /// the site's word
        channel: String,
        /// what it counts as there: `failed`
        event: String,
        /// which thing it is, of all that happens to the run
        about: String,
    },
    /// What came of it.
    Told {
        channel: String,
        event: String,
        about: String,
        result: Result<(), Failure>,
        millis: u64,
    },
    /// What the host itself says or decides: why a rollback begins, that a fence was lifted.
    Said {
        level: Level,
        text: String,
    },
}

/// The kinds that fill a long journal, as they stand there.
#[derive(Deserialize)]
struct Observed {
    #[serde(rename = "entry")]
    _entry: IgnoredAny,
    operation: String,
    class: String,
    label: String,
    resource: String,
    changes: Vec<String>,
    #[serde(default)]
    disturbs: bool,
    request: Value,
    result: Result<Value, Failure>,
    millis: u64,
}
#[derive(Deserialize)]
struct Intent {
    #[serde(rename = "entry")]
    _entry: IgnoredAny,
    operation: String,
    class: String,
    label: String,
    resource: String,
    changes: Vec<String>,
    #[serde(default)]
    disturbs: bool,
    request: Value,
}
#[derive(Deserialize)]
struct Outcome {
    #[serde(rename = "entry")]
    _entry: IgnoredAny,
    result: Result<Value, Failure>,
    millis: u64,
}

impl Entry {
    /// From its text. To find out its kind first costs several times as much as the rest, so the kinds that there are most of
    /// are tried at once; what then does not fit is read as any other, and has its error.
    pub fn read(body: &str) -> serde_json::Result<Self> {
        let is = |kind: &str| {
            let rest = body.strip_prefix("{\"entry\":\"").and_then(|rest| rest.strip_prefix(kind));
            rest.is_some_and(|rest| rest.starts_with("\","))
        };
        let quick = if is("observed") {
            serde_json::from_str(body).ok().map(|read| {
                let Observed { operation, class, label, resource, changes, disturbs, request, result, millis, .. } =
                    read;
                let request = Request { operation, class, label, resource, changes, disturbs, request };
                Self::Observed { request, result, millis }
            })
        } else if is("intent") {
            serde_json::from_str(body).ok().map(|read| {
                let Intent { operation, class, label, resource, changes, disturbs, request, .. } = read;
                Self::Intent(Request { operation, class, label, resource, changes, disturbs, request })
            })
        } else if is("outcome") {
            serde_json::from_str(body).ok().map(|Outcome { result, millis, .. }| Self::Outcome { result, millis })
        } else {
            None
        };
        quick.map_or_else(|| serde_json::from_str(body), Ok)
    }
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
    /// whether anybody but Backout could notice it
    #[serde(default, skip_serializing_if = "is_false")]
    pub disturbs: bool,
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
    /// the resource that each of the package's labels (`database.orders`) stands for
    #[serde(default)]
    pub bound: BTreeMap<String, String>,
    /// `sha256:…` of each section of the site, by its name (`database.orders`)
    #[serde(default)]
    pub sections: BTreeMap<String, String>,
    /// the step that a rollback begins with, those before it being taken as done; empty: the first
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub first_step: String,
    /// what people have approved; without it nobody has bound the run to a plan
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved: Option<Box<Approved>>,
    pub limits: Box<Limits>,
}

/// A plan that was approved: what a run may ask of resources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    pub steps: Vec<ApprovedStep>,
    /// those whose word counted on this site
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovedBy>,
}

/// Who has approved a plan, and as what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedBy {
    pub name: String,
    pub role: String,
    /// milliseconds since 1970-01-01 UTC, by the clock of the one who approved
    pub at: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedStep {
    pub phase: String,
    pub rolled_back: bool,
    pub name: String,
    pub after: Vec<String>,
    pub operations: Vec<ApprovedOperation>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovedOperation {
    /// `backup.take`
    pub operation: String,
    /// the package's word for the resource
    pub label: String,
    /// what the script says in a call that changes something; without it, it may say what it likes
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
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

impl Ending {
    /// Whether there is something left to go on with, or to take back.
    pub fn is_half_way(&self) -> bool {
        matches!(self.outcome.as_str(), "stopped" | "in-doubt")
    }
}

/// With what a run goes on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Resumption {
    /// `sha256:…` of the package, which may be another one than before if that makes no difference so far
    pub digest: String,
    /// `sha256:…` of the site file as it is now
    pub site: String,
    pub backout: String,
    /// Steps (`rollback/restore`) that are taken as done without being run, as somebody has said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<String>,
}

fn is_false(value: &bool) -> bool {
    !value
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ending {
    /// `upgraded`, `rolled-back`, `prepared`, `verified`, `committed`, `deleted`, `kept`, `dropped`, `unfenced`, `assessed`, `rehearsed`, `refused`, `stopped`, `in-doubt`, `failed`
    pub outcome: String,
    pub exit: u8,
    pub message: String,
    /// what a rehearsal came to, whose own journal is gone with its copies
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Box<Rehearsal>>,
}

/// An upgrade and its rollback on copies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rehearsal {
    /// what did not hold, a line each; none: all did
    pub findings: Vec<String>,
    /// `service:shop`: what was neither a copy nor a twin
    pub simulated: Vec<String>,
    /// with how long they took, in the order in which they ended
    pub steps: Vec<RehearsedStep>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RehearsedStep {
    pub phase: String,
    pub name: String,
    pub millis: u64,
    /// of verifications after a rollback
    #[serde(default, skip_serializing_if = "is_false")]
    pub rolled_back: bool,
    /// a part of it was simulated, so the time says nothing
    #[serde(default, skip_serializing_if = "is_false")]
    pub simulated: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Also of what no Backout has written.
    #[test]
    fn the_quick_way_to_read_an_entry_reads_what_the_other_reads() {
        let request = r#""operation":"tool.run","class":"once","label":"t","resource":"tool:t","changes":["tree:app"]"#;
        let asked = format!(r#"{request},"disturbs":true,"request":{{"n":[1,2.5,-3,18446744073709551615],"n":null}}"#);
        let failure = serde_json::to_string(&Failure::denied("no").hint("ask")).unwrap();
        let mut read = 0;
        for kind in ["observed", "intent", "outcome", "denied", "observe"] {
            for rest in [
                asked.clone(),
                format!(r#"{asked},"result":{{"Ok":{{"a":"ü\n"}}}},"millis":7"#),
                format!(r#"{asked},"result":{{"Err":{failure}}},"millis":0,"more":1"#),
                format!(r#"{asked},"result":{{"Ok":1}},"millis":7,"entry":"intent""#),
                format!(r#"{asked},"result":{{"Ok":1}},"millis":-7"#),
                format!(r#"{asked},"result":{{"Ok":1}},"millis":7,"millis":8"#),
                format!(r#"{request},"request":null,"result":{{"Ok":null}},"millis":7"#),
                r#""result":{"Ok":null},"millis":7"#.to_owned(),
                r#""result":{},"millis":7"#.to_owned(),
            ] {
                let body = format!(r#"{{"entry":"{kind}",{rest}}}"#);
                let [quick, other] =
                    [Entry::read(&body), serde_json::from_str(&body)].map(|read| read.map_err(|e| e.to_string()));
                assert_eq!(quick, other, "{body}");
                read += usize::from(quick.is_ok());
            }
        }
        assert!(read > 10, "{read}");
    }
}
