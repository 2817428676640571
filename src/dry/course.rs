//! How a simulated life cycle goes: which calls do not go well, what was called, and what is known already of how it begins.
use super::{given::Later, otherwise::Otherwise};
use crate::{
    gate::{Considered, Fate},
    journal::RunId,
    resource::{
        Failure, FailureKind, Right,
        world::{self, World},
    },
    run::{Part, Phase, Recall},
};
use serde::Serialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// A call that does not go well: which of all, counted from 0, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deviation {
    pub call: usize,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    Fails {
        kind: FailureKind,
        /// Each later call of the same operation on the same resource fails too.
        for_ever: bool,
    },
    /// The operator wants to stop while it is done, and then goes back.
    Cancelled,
}

impl Deviation {
    pub fn fails(call: usize, kind: FailureKind, for_ever: bool) -> Self {
        Self { call, how: How::Fails { kind, for_ever } }
    }
}

/// The calls that fail, in their order; none: all goes well.
pub type Path = Vec<Deviation>;

/// Which calls do not go well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failing {
    Numbered(Path),
    /// The first that fits says how.
    Calls(Vec<Condition>),
}

impl From<Path> for Failing {
    fn from(path: Path) -> Self {
        Self::Numbered(path)
    }
}

/// Calls that do not go well, by what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub operation: String,
    /// `None`: on whatever resource.
    pub label: Option<String>,
    pub kind: FailureKind,
    /// The first of them alone.
    pub once: bool,
    /// Calls of this step.
    pub within: Option<String>,
    /// Calls of other steps, once this one has called something.
    pub after: Option<String>,
    /// where it stands in its file, counted from 1
    pub line: usize,
}

impl Condition {
    /// Whether one of the calls is meant, whatever those before it came to.
    pub fn meets(&self, calls: &[Call], number: usize) -> bool {
        let Some(call) = calls.get(number) else { return false };
        let fits = call.operation == self.operation
            && self.label.as_ref().is_none_or(|label| *label == call.label)
            && self.within.as_ref().is_none_or(|step| *step == call.step);
        fits && self.after.as_ref().is_none_or(|step| is_past(step, calls, number))
    }
    /// `backup.restore orders in rollback/restore`
    pub fn title(&self) -> String {
        let label = self.label.as_ref().map(|label| format!(" {label}")).unwrap_or_default();
        let within = self.within.as_ref().map(|step| format!(" in {step}")).unwrap_or_default();
        let after = self.after.as_ref().map(|step| format!(" after {step}")).unwrap_or_default();
        format!("{}{label}{within}{after}", self.operation)
    }
}

/// Whether a call belongs to another step, and this step had called something before.
pub fn is_past(step: &str, calls: &[Call], number: usize) -> bool {
    calls.get(number).is_some_and(|call| call.step != step)
        && calls.iter().take(number).any(|earlier| earlier.step == step)
}

impl Failing {
    /// How the last of these calls goes, if not well.
    fn last(&self, calls: &[Call]) -> Option<How> {
        let (last, earlier) = calls.split_last()?;
        let number = earlier.len();
        match self {
            Self::Numbered(path) => {
                let same = |n: usize| {
                    earlier.get(n).is_some_and(|call| call.operation == last.operation && call.label == last.label)
                };
                let for_ever = |d: &Deviation| matches!(d.how, How::Fails { for_ever: true, .. });
                let deviates = |d: &&Deviation| d.call == number || for_ever(d) && same(d.call);
                path.iter().find(deviates).map(|deviation| deviation.how)
            }
            Self::Calls(conditions) => {
                let was = |condition: &Condition| (0..number).any(|n| condition.meets(calls, n));
                let fails = |c: &&Condition| c.meets(calls, number) && !(c.once && was(c));
                conditions.iter().find(fails).map(|c| How::Fails { kind: c.kind, for_ever: false })
            }
        }
    }
}

/// A call of the script on a resource, as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
    /// 1, and more where a run was cancelled and its operator went back
    pub run: RunId,
    /// `upgrade/install`
    pub step: String,
    pub rolled_back: bool,
    pub attempt: u32,
    /// of the operation within the attempt
    pub sequence: u32,
    pub operation: String,
    pub label: String,
    pub changes: bool,
    #[serde(skip)]
    pub right: Option<Right>,
    /// What only the changed world could have said.
    pub assumed: bool,
    /// It was made to fail.
    pub failed: Option<FailureKind>,
    /// The operator wanted to stop while it was done.
    pub cancelled: bool,
    /// What the script says in it, of a call that changes something, where somebody wants to know.
    #[serde(skip)]
    pub arguments: Option<Value>,
}

impl Call {
    /// As `CallCtx::key`, and what the world's changes name.
    pub fn key(&self) -> String {
        let again = if self.rolled_back { "rolled-back/" } else { "" };
        format!("{}/{again}{}/{}/{}", self.run, self.step, self.attempt, self.sequence)
    }
    pub fn phase(&self) -> &str {
        self.step.split('/').next().unwrap_or_default()
    }
    /// In the same attempt of the same step.
    pub fn is_beside(&self, other: &Self) -> bool {
        let place = |call: &Self| (call.run, call.rolled_back, call.attempt);
        place(self) == place(other) && self.step == other.step
    }
    pub fn key_and_title(&self) -> (String, String) {
        (self.key(), self.title())
    }
    /// `files.link app`
    pub fn title(&self) -> String {
        format!("{} {}", self.operation, self.label)
    }
}

/// How a path went, part by part, so that another that begins alike can go on from there.
pub struct Recording {
    moments: Vec<Arc<Moment>>,
    calls: Vec<Call>,
}

/// The end of a part.
struct Moment {
    part: Arc<Part>,
    world: world::Kept,
    /// that were made until then
    calls: usize,
}

impl Recording {
    /// Parts that end before this call is made.
    fn before(&self, call: usize) -> usize {
        self.moments.partition_point(|moment| moment.calls <= call)
    }
}

pub struct Course {
    failing: Failing,
    world: World,
    /// Another path that begins with so many parts like this one.
    like: Option<(Arc<Recording>, usize)>,
    /// With what the script says in its calls.
    in_full: bool,
    answers: Option<Otherwise>,
    state: Mutex<State>,
}

struct State {
    calls: Vec<Call>,
    /// What has not come to pass yet.
    later: Vec<Later>,
    /// Parts that were come to.
    parts: usize,
    /// `None`: nobody wants to know.
    moments: Option<Vec<Arc<Moment>>>,
    run: RunId,
    cancel: CancellationToken,
}

impl Course {
    pub fn new(failing: Failing, later: Vec<Later>, world: &World) -> Self {
        let state =
            State { calls: Vec::new(), later, parts: 0, moments: None, run: 0, cancel: CancellationToken::new() };
        let world = world.clone();
        Self { failing, world, like: None, in_full: false, answers: None, state: Mutex::new(state) }
    }

    /// `like`: a path that differs from this one by nothing but the last deviation of this one. `keep`: others will be like this
    /// one.
    pub fn like(mut self, like: Option<Arc<Recording>>, keep: bool) -> Self {
        let differs = match &self.failing {
            Failing::Numbered(path) => path.last().map(|last| last.call),
            Failing::Calls(_) => None,
        };
        self.like = like.zip(differs).map(|(like, call)| {
            let parts = like.before(call);
            (like, parts)
        });
        self.state().moments = keep.then(Vec::new);
        self
    }

    /// With what the script says in its calls, and with other answers than there would be.
    pub fn in_full(self, answers: Option<Otherwise>) -> Self {
        Self { in_full: true, answers, ..self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What cancels this run.
    pub fn begin(&self, run: RunId) -> CancellationToken {
        let mut state = self.state();
        (state.run, state.cancel) = (run, CancellationToken::new());
        state.cancel.clone()
    }

    /// Whether the operator wanted to stop this run.
    pub fn is_cancelled(&self, run: RunId) -> bool {
        self.state().calls.iter().any(|call| call.run == run && call.cancelled)
    }

    pub fn end(&self) -> (Vec<Call>, Option<Arc<Recording>>) {
        let mut state = self.state();
        let calls = std::mem::take(&mut state.calls);
        let recording = state.moments.take().map(|moments| Arc::new(Recording { moments, calls: calls.clone() }));
        (calls, recording)
    }
}

impl Recall for Course {
    fn next(&self) -> Option<(Arc<Part>, bool)> {
        let (like, parts) = self.like.as_ref()?;
        let mut state = self.state();
        let moment = like.moments.get(..*parts)?.get(state.parts)?;
        state.parts += 1;
        // After a part that failed the run may end, or turn back, and looks at what it has come to.
        let goes_on = state.parts == *parts || moment.part.has_failed();
        if goes_on {
            self.world.go_back(&moment.world);
            state.calls.clear();
            state.calls.extend(like.calls.iter().take(moment.calls).cloned());
        }
        if let Some(moments) = &mut state.moments {
            moments.push(moment.clone());
        }
        Some((moment.part.clone(), goes_on))
    }

    fn keeps(&self) -> bool {
        self.state().moments.is_some()
    }

    fn keep(&self, part: Part) {
        let mut state = self.state();
        let moment = Moment { part: Arc::new(part), world: self.world.keep(), calls: state.calls.len() };
        if let Some(moments) = &mut state.moments {
            moments.push(Arc::new(moment));
        }
    }
}

/// More calls than anybody looks at: a script that makes so many is stopped by a limit.
const MOST: usize = 100_000;

impl Fate for Course {
    fn fails(&self, call: &Considered<'_>) -> Option<Failure> {
        // What the host does by itself is not the script's.
        Phase::named(&call.place.phase).filter(|_| call.right.is_some())?;
        let mut state = self.state();
        let State { calls, later, run, cancel, .. } = &mut *state;
        // Beyond, the last one stands for those that are left out.
        if calls.len() == MOST {
            calls.pop();
        }
        let last = calls.len();
        calls.push(Call {
            run: *run,
            step: call.place.title(),
            rolled_back: call.place.rolled_back,
            attempt: call.place.attempt,
            sequence: call.sequence,
            operation: call.operation.to_owned(),
            label: call.label.to_owned(),
            changes: call.changes,
            right: call.right,
            assumed: false,
            failed: None,
            cancelled: false,
            arguments: None,
        });
        later.retain(|later| {
            let is_past = is_past(&later.after, calls, last);
            if is_past {
                later.apply(&self.world);
            }
            !is_past
        });
        let how = self.failing.last(calls)?;
        let call = calls.last_mut()?;
        match how {
            How::Fails { kind, .. } => {
                call.failed = Some(kind);
                let message = format!("{} on `{}` fails in this simulation", call.operation, call.label);
                Some(Failure::new(kind, message))
            }
            How::Cancelled => {
                call.cancelled = true;
                cancel.cancel();
                None
            }
        }
    }

    fn says(&self, arguments: &dyn Fn() -> Value) {
        if let Some(last) = self.state().calls.last_mut().filter(|_| self.in_full) {
            last.arguments = Some(arguments());
        }
    }

    fn answers(&self) -> Option<Otherwise> {
        self.answers
    }

    fn assumed(&self, _: &Considered<'_>) {
        if let Some(call) = self.state().calls.last_mut() {
            call.assumed = true;
        }
    }
}
