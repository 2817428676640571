//! One life cycle in a simulated world, as it goes when certain calls fail.
use super::{
    given::{Given, Later},
    invent,
    otherwise::Otherwise,
};
use crate::{
    gate::{Considered, Events, Fate},
    journal::{Header, Recorded},
    package::Package,
    resource::{
        Clock, Failure, FailureKind, ResourceId, Resources, Right, Sight,
        copies::Lost,
        run::{Approver, Facts, Memory},
        service::Status,
        world::{Change, World},
    },
    run::{
        Hold, Phase, Run, Setup, Simulation,
        life_cycle::{Outcome, Plans},
    },
    session::{Limits, Script},
};
use async_trait::async_trait;
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// Everything that a simulated run begins with.
pub struct Stage {
    pub package: Package,
    pub script: Script,
    pub facts: Facts,
    pub header: Header,
    pub limits: Limits,
    /// What is lent on the site; `None`: there is no site, and the world is invented.
    pub real: Option<Sight>,
    /// The journal that knows how long steps took on this site.
    pub measured: Option<PathBuf>,
    /// What is known of an invented world, and what becomes of it.
    pub given: Given,
    pub later: Vec<Later>,
    /// What the script plans before anything is done, and the calls that it makes for it. Found out once: where none of these
    /// calls fails, it plans the same.
    pub planned: OnceLock<(Plans, Vec<Call>)>,
}

/// A call that does not go well: which of all, counted from 0, and how it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deviation {
    pub call: usize,
    pub kind: FailureKind,
    /// Each later call of the same operation on the same resource fails too.
    pub for_ever: bool,
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
    /// How the last of these calls fails, if it does.
    fn last(&self, calls: &[Call]) -> Option<FailureKind> {
        let (last, earlier) = calls.split_last()?;
        let number = earlier.len();
        match self {
            Self::Numbered(path) => {
                let same = |n: usize| {
                    earlier.get(n).is_some_and(|call| call.operation == last.operation && call.label == last.label)
                };
                let fails = |d: &&Deviation| d.call == number || d.for_ever && same(d.call);
                path.iter().find(fails).map(|deviation| deviation.kind)
            }
            Self::Calls(conditions) => {
                let was = |condition: &Condition| (0..number).any(|n| condition.meets(calls, n));
                let fails = |c: &&Condition| c.meets(calls, number) && !(c.once && was(c));
                conditions.iter().find(fails).map(|condition| condition.kind)
            }
        }
    }
}

/// A call of the script on a resource, as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Call {
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
    /// What the script says in it, of a call that changes something, where somebody wants to know.
    #[serde(skip)]
    pub arguments: Option<Value>,
}

impl Call {
    /// As `CallCtx::key`, and what the world's changes name.
    pub fn key(&self) -> String {
        let again = if self.rolled_back { "rolled-back/" } else { "" };
        format!("1/{again}{}/{}/{}", self.step, self.attempt, self.sequence)
    }
    pub fn phase(&self) -> &str {
        self.step.split('/').next().unwrap_or_default()
    }
    pub fn key_and_title(&self) -> (String, String) {
        (self.key(), self.title())
    }
    /// `files.link app`
    pub fn title(&self) -> String {
        format!("{} {}", self.operation, self.label)
    }
}

/// What came of it.
pub struct Told {
    pub entries: Vec<Recorded>,
    pub calls: Vec<Call>,
    pub changes: Vec<Change>,
    pub plans: Plans,
    pub outcome: Outcome,
    /// Changed, not put back, and not as it was found; with the key of the call that changed it first.
    pub different: BTreeMap<ResourceId, Option<String>>,
    /// What restores have set aside.
    pub aside: BTreeMap<ResourceId, Vec<Lost>>,
    /// Anything that others could notice was done.
    pub disturbed: bool,
    /// Before forgotten fences were lifted.
    pub fenced: BTreeSet<ResourceId>,
    pub services: BTreeMap<ResourceId, Status>,
    /// At the beginning.
    pub services_before: BTreeMap<ResourceId, Status>,
}

/// Noon and midnight of some day would be as good; it only has to be the same each time.
pub const MORNING: u64 = 1_767_258_000_000; // 2026-01-01 09:00 UTC
pub const EVENING: u64 = MORNING + 12 * 3_600_000;

impl Stage {
    /// `at`: what the clock says first, in milliseconds since 1970-01-01 UTC.
    pub async fn play(&self, failing: impl Into<Failing>, at: u64) -> Told {
        self.play_on(failing, at, false, None).await
    }

    /// The same, with what the script says in its calls. `answers`: what calls that look answer instead of what they have seen.
    pub async fn play_in_full(&self, failing: impl Into<Failing>, at: u64, answers: Option<Otherwise>) -> Told {
        self.play_on(failing, at, true, answers).await
    }

    async fn play_on(&self, failing: impl Into<Failing>, at: u64, in_full: bool, answers: Option<Otherwise>) -> Told {
        let world = World::new(Clock::simulated(at));
        let resources = match &self.real {
            Some(real) => invent::over(real, &world),
            None => invent::invent(&self.package, &world),
        };
        self.given.apply(&world);
        let failing = failing.into();
        // The call that fails first: none, or one whose number is known.
        let first = match &failing {
            Failing::Numbered(path) => Some(path.first().map(|deviation| deviation.call)),
            Failing::Calls(_) => None,
        };
        let known = self
            .planned
            .get()
            .filter(|(_, calls)| at == MORNING && answers.is_none() && first.flatten() >= Some(calls.len()));
        let calls = Mutex::new(known.map(|(_, calls)| calls.clone()).unwrap_or_default());
        let course = Arc::new(Course {
            failing,
            calls,
            in_full,
            answers,
            world: world.clone(),
            later: Mutex::new(self.later.clone()),
        });
        let setup = Setup {
            header: self.header.clone(),
            facts: self.facts.clone(),
            memory: Memory::default(),
            hold: Hold::simulated(resources),
            script: Some(self.script.clone()),
            limits: self.limits,
            approver: Arc::new(Agreeing),
            events: Events::default(),
            cancel: CancellationToken::new(),
        };
        let simulation = Simulation {
            clock: world.clock.clone(),
            fate: Some(course.clone()),
            measured: self.measured.clone(),
            plans: known.map_or(0, |_| PHASES.len() as u32),
        };
        let run = Run::simulate(setup, simulation);
        let services_before = left(run.resources()).await.1;
        let planned = match known {
            Some((plans, _)) => Ok(plans.clone()),
            None => run.plans(&PHASES).await,
        };
        if let Ok(plans) = &planned
            && at == MORNING
            && answers.is_none()
            && first == Some(None)
        {
            // Whoever was first has found the same.
            let _ = self.planned.set((plans.clone(), course.calls().clone()));
        }
        let (plans, outcome) = match planned {
            Ok(plans) => (plans.clone(), upgrade(&run, &plans).await),
            Err(halt) => (Plans::default(), run.before_anything(halt)),
        };
        let (fenced, services) = left(run.resources()).await;
        let outcome = run.finish(outcome).await.0;
        let (different, aside, disturbed) = {
            let memory = run.memory();
            let point = &memory.restore_point;
            let different = point.changed.iter().filter(|id| point.differs(id) && !world.content(id).is_original());
            let different = different.map(|id| (id.clone(), world.changed_by(id))).collect();
            let aside = point.aside.iter().map(|(id, restored)| (id.clone(), restored.lost.clone())).collect();
            (different, aside, memory.disturbances > 0)
        };
        let calls = std::mem::take(&mut *course.calls());
        let (entries, changes) = (run.kept(), world.changes());
        Told { entries, calls, changes, plans, outcome, different, aside, disturbed, fenced, services, services_before }
    }
}

const PHASES: [Phase; 4] = [Phase::Prepare, Phase::Upgrade, Phase::Verify, Phase::Rollback];

async fn upgrade(run: &Run, plans: &Plans) -> Outcome {
    match plans.risks.iter().find(|risk| risk.severity == "blocker") {
        Some(risk) => Outcome::Refused(format!("a risk is too high: {} {}", risk.severity, risk.subject)),
        None => run.upgrade(plans).await,
    }
}

/// What a run leaves shut or down.
async fn left(resources: &Resources) -> (BTreeSet<ResourceId>, BTreeMap<ResourceId, Status>) {
    let (mut fenced, mut services) = (BTreeSet::new(), BTreeMap::new());
    for lend in resources.database.0.values() {
        if lend.access.observer.fenced().await.unwrap_or(false) {
            fenced.insert(lend.id.clone());
        }
    }
    for lend in resources.service.0.values() {
        if let Ok(status) = lend.access.observer.status().await {
            services.insert(lend.id.clone(), status);
        }
    }
    (fenced, services)
}

/// People, who say yes.
pub struct Agreeing;
#[async_trait]
impl Approver for Agreeing {
    async fn ask(&self, _: &str, role: &str) -> Result<String, Failure> {
        Ok(role.to_owned())
    }
}

struct Course {
    failing: Failing,
    calls: Mutex<Vec<Call>>,
    /// With what the script says in its calls.
    in_full: bool,
    answers: Option<Otherwise>,
    world: World,
    /// What has not come to pass yet.
    later: Mutex<Vec<Later>>,
}

impl Course {
    fn calls(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// More calls than anybody looks at: a script that makes so many is stopped by a limit.
const MOST: usize = 100_000;

impl Fate for Course {
    fn fails(&self, call: &Considered<'_>) -> Option<Failure> {
        // What the host does by itself is not the script's.
        Phase::named(&call.place.phase).filter(|_| call.right.is_some())?;
        let mut calls = self.calls();
        // Beyond, the last one stands for those that are left out.
        if calls.len() == MOST {
            calls.pop();
        }
        calls.push(Call {
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
            arguments: None,
        });
        let last = calls.len() - 1;
        self.later.lock().unwrap_or_else(PoisonError::into_inner).retain(|later| {
            let is_past = is_past(&later.after, &calls, last);
            if is_past {
                later.apply(&self.world);
            }
            !is_past
        });
        let failed = self.failing.last(&calls);
        if let Some(last) = calls.last_mut() {
            last.failed = failed;
        }
        failed
            .map(|kind| Failure::new(kind, format!("{} on `{}` fails in this simulation", call.operation, call.label)))
    }

    fn says(&self, arguments: &dyn Fn() -> Value) {
        if let Some(last) = self.calls().last_mut().filter(|_| self.in_full) {
            last.arguments = Some(arguments());
        }
    }

    fn answers(&self) -> Option<Otherwise> {
        self.answers
    }

    fn assumed(&self, _: &Considered<'_>) {
        if let Some(call) = self.calls().last_mut() {
            call.assumed = true;
        }
    }
}

/// Why a run stops before its end, when a limit was what stopped it.
pub(super) fn beyond_a_limit(told: &Told) -> Option<&str> {
    match &told.outcome {
        Outcome::Stopped(why) | Outcome::Refused(why) | Outcome::TurnedBack(why)
            if why.contains("went beyond a limit") =>
        {
            Some(why)
        }
        _ => None,
    }
}
