//! One life cycle in a simulated world, as it goes when certain calls fail.
use super::{
    course::{Call, Course, Failing, Path, Recording},
    given::{Given, Later},
    invent,
    otherwise::Otherwise,
};
use crate::{
    gate::Events,
    journal::{Header, Recorded, RunId},
    package::Package,
    resource::{
        Clock, Failure, ResourceId, Resources, Sight,
        copies::Lost,
        run::{Answered, Approver, Facts, Listener, Memory, Question, Way},
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
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

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
}

/// What came of it.
#[derive(Default)]
pub struct Told {
    pub entries: Vec<Arc<Recorded>>,
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
        let world = World::new(Clock::simulated(at));
        let course = Course::new(failing.into(), self.later.clone(), &world);
        self.go(&world, course).await.0
    }

    /// The same, with what the script says in its calls. `answers`: what calls that look answer instead of what they have seen.
    pub async fn play_in_full(&self, failing: impl Into<Failing>, at: u64, answers: Option<Otherwise>) -> Told {
        let world = World::new(Clock::simulated(at));
        let course = Course::new(failing.into(), self.later.clone(), &world).in_full(answers);
        self.go(&world, course).await.0
    }

    /// A path that differs from `like` by nothing but its own last deviation, so that it need not be played from its beginning.
    /// `keep`: others will begin like this one.
    pub async fn play_on(
        &self,
        path: Path,
        like: Option<Arc<Recording>>,
        keep: bool,
    ) -> (Told, Option<Arc<Recording>>) {
        let world = World::new(Clock::simulated(MORNING));
        let course = Course::new(path.into(), self.later.clone(), &world).like(like, keep);
        self.go(&world, course).await
    }

    async fn go(&self, world: &World, course: Course) -> (Told, Option<Arc<Recording>>) {
        self.given.apply(world);
        let course = Arc::new(course);
        let mut told = Told::default();
        let mut memory = Memory::default();
        for number in 1.. {
            let run = self.run(number, memory, told.fenced, world, &course);
            if number == 1 {
                told.services_before = left(run.resources()).await.1;
            }
            let outcome = match number {
                1 => first(&run, &mut told.plans).await,
                _ => back(&run).await,
            };
            (told.fenced, told.services) = left(run.resources()).await;
            told.outcome = run.finish(outcome).await.0;
            told.entries.extend(run.kept());
            told.disturbed |= run.memory().disturbances > 0;
            memory = run.memory().clone();
            // As `backout rollback` begins: what earlier runs have touched is not what the next one has.
            memory.disturbances = 0;
            let goes_back = matches!(told.outcome, Outcome::Stopped(_)) && course.is_cancelled(number);
            if !goes_back || number == MOST_RUNS {
                break;
            }
        }
        let point = &memory.restore_point;
        let different = point.changed.iter().filter(|id| point.differs(id) && !world.content(id).is_original());
        told.different = different.map(|id| (id.clone(), world.changed_by(id))).collect();
        told.aside = point.aside.iter().map(|(id, restored)| (id.clone(), restored.lost.clone())).collect();
        told.changes = world.changes();
        let (calls, recording) = course.end();
        told.calls = calls;
        (told, recording)
    }

    fn run(&self, run: RunId, memory: Memory, shut: BTreeSet<ResourceId>, world: &World, course: &Arc<Course>) -> Run {
        let resources = match &self.real {
            Some(real) => invent::over(real, world),
            None => invent::invent(&self.package, world),
        };
        let setup = Setup {
            header: self.header.clone(),
            facts: self.facts.clone(),
            memory,
            hold: Hold::simulated(resources, shut),
            script: Some(self.script.clone()),
            limits: self.limits,
            approver: Arc::new(Agreeing),
            events: Events::unwatched(),
            cancel: course.begin(run),
        };
        let (fate, recall) = (course.clone(), course.clone());
        let measured = self.measured.clone();
        Run::simulate(
            setup,
            Simulation { run, clock: world.clock.clone(), fate: Some(fate), recall: Some(recall), measured },
        )
    }
}

/// An operator who stops a run, and the way back, has seen enough.
const MOST_RUNS: RunId = 4;

async fn first(run: &Run, plans: &mut Plans) -> Outcome {
    match run.plans(&PHASES).await {
        Ok(planned) => {
            *plans = planned;
            upgrade(run, plans).await
        }
        Err(halt) => run.before_anything(halt),
    }
}

/// `backout rollback`, after a run that was cancelled half-way.
async fn back(run: &Run) -> Outcome {
    let outcome = match run.plan(Phase::Rollback, true).await {
        Ok(steps) => run.roll_back(&steps, &[]).await,
        Err(halt) => run.before_anything(halt),
    };
    match outcome {
        // It has changed nothing, and what the run before it has changed stays.
        Outcome::Refused(why) => Outcome::Stopped(why),
        outcome => outcome,
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
    async fn ask(&self, question: &Question, _: &dyn Listener) -> Result<Answered, Failure> {
        Ok(Answered { yes: true, by: question.role.clone(), way: Way::Beforehand })
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
