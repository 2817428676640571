//! A recorded run, told to its script once more: nothing is written, and there is nothing that could be done.
use super::{Phase, graph, phase::cut, seed};
use crate::{
    gate::{Divergence, Gate, Past, Stop},
    journal::{self, Entry, Header, Line, Lines, Place, Recorded, RunId, Step},
    resource::{
        Access, Database, Failure, Kind, Lend, ResourceId, Resources, Rights, Tree,
        run::{Answered, Approver, Facts, Listener, Memory, Mutator, Observer, Question, RUN},
    },
    session::{Ended, Limits, Processor, Script, Work},
};
use serde::Serialize;
use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a replay begins with.
pub struct Setup<'a> {
    pub run: RunId,
    pub header: Header,
    pub facts: Facts,
    /// of the restore point, as it was before the run began
    pub memory: Memory,
    pub script: Script,
    /// The run's entries from one on; asked for once for the whole run, and once for each place of the script in it.
    pub entries: &'a (dyn Fn(i64) -> Result<Lines, journal::Error> + Sync),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replayed {
    /// Calls into the script: plans, and attempts of steps.
    pub calls: u64,
    pub operations: u64,
    pub differences: Vec<Difference>,
}

/// Where the script does something else than it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "difference", rename_all = "kebab-case")]
pub enum Difference {
    /// It asks for something else.
    Operation {
        #[serde(flatten)]
        divergence: Divergence,
        /// of the guest, innermost first
        stack: Vec<String>,
    },
    /// It asks for the same, and comes to another end.
    End { place: String, attempt: u32, expected: String, got: String },
    /// It needs more than the run allowed, so nothing can be said from there on.
    Limit { place: String, attempt: u32, limit: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation { divergence, stack } if stack.is_empty() => write!(f, "{divergence}"),
            Self::Operation { divergence, stack } => write!(f, "{divergence}, at {}", stack.join(" ← ")),
            Self::End { place, expected, got, .. } => {
                write!(f, "{place}: it ended with {expected}, the script now ends with {got}")
            }
            Self::Limit { place, limit, .. } => write!(f, "{place}: cannot be told, the script {limit}"),
        }
    }
}

/// How much slower than the machine on which it was recorded this one may be.
const SLOWER: u32 = 4;

/// Processor time that is left for all calls of a replay together: as much as one step may take, and what those that were told
/// took when they were recorded. A script that only loops would otherwise take the time of one step for each of them.
struct Allowance {
    left: Duration,
    /// of one call
    most: Duration,
}

impl Allowance {
    fn new(cpu: Duration) -> Self {
        let most = cpu.saturating_mul(SLOWER);
        Self { left: most, most }
    }

    fn of_call(&self) -> Duration {
        self.left.min(self.most)
    }

    /// `recorded`: how long the call took then; it cannot have been longer on a processor.
    fn spend(&mut self, used: Duration, recorded: Duration) {
        let earned = recorded.saturating_mul(SLOWER).min(self.most);
        self.left = self.left.saturating_add(earned).saturating_sub(used);
    }
}

pub async fn replay(setup: Setup<'_>) -> Result<Replayed, journal::Error> {
    let Setup { run, header, facts, mut memory, script, entries } = setup;
    let resources = resources(&header, facts, &memory);
    let limits = Limits::of(&header.limits);
    let allowance = Allowance::new(limits.cpu);
    let (resources, found) = (Arc::new(resources), Replayed::default());
    let mut told = Teller { run, header, script, resources, limits, allowance, began: 0, found };
    let mut seen: BTreeSet<Place> = BTreeSet::new();
    let mut reading = entries(0)?;
    while let Some(recorded) = reading.next().transpose()?.map(Line::whole).transpose()? {
        if let Entry::RunStarted(_) = recorded.entry {
            told.began = recorded.at;
        }
        if is_of_script(&recorded) && seen.insert(recorded.place.clone()) {
            if told.allowance.left.is_zero() {
                told.break_off(&recorded.place);
                break;
            }
            let past = Past::new(run, recorded.place.clone(), entries(recorded.id)?, memory.clone())?;
            // What stood in the midst of it alone need not be read once more.
            if let Some((last, remembered)) = told.place(&recorded, past).await? {
                (reading, memory) = (entries(last.saturating_add(1))?, remembered);
                continue;
            }
        }
        memory.apply(&recorded, true);
    }
    Ok(told.found)
}

fn is_of_script(recorded: &Recorded) -> bool {
    let place = &recorded.place;
    match &recorded.entry {
        Entry::StepStarted | Entry::Planned { .. } | Entry::Assessed { .. } => true,
        Entry::Intent(_) | Entry::Observed { .. } | Entry::Denied { .. } => {
            place.phase == "assess" || Phase::named(&place.phase).is_some()
        }
        _ => false,
    }
}

/// The run itself, and labels without anything behind them.
fn resources(header: &Header, facts: Facts, memory: &Memory) -> Resources {
    let memory = Arc::new(Mutex::new(memory.clone()));
    let observer = Observer { seed: header.seed, run: 0, facts, memory: memory.clone(), approver: Arc::new(Nobody) };
    let access = Access { observer: Arc::new(observer), mutator: Arc::new(Mutator(memory)) };
    let lend = Lend { id: ResourceId::new("run", ""), rights: Rights::default(), terms: (), uses: Vec::new(), access };
    let bound = header.bound.iter();
    // One label may stand for a database and for a service; who asks for these means what can be copied.
    let label = |label: &str| match label.split_once('.') {
        Some((Database::NAME | Tree::NAME, label)) => Some(label.to_owned()),
        _ => None,
    };
    let told = bound.filter_map(|(bound, id)| Some((label(bound)?, ResourceId::try_from(id.clone()).ok()?))).collect();
    let mut resources = Resources { told, ..Resources::default() };
    resources.run.0.insert(RUN.to_owned(), lend);
    resources
}

struct Nobody;
#[async_trait::async_trait]
impl Approver for Nobody {
    async fn ask(&self, _: &Question, _: &dyn Listener) -> Result<Answered, Failure> {
        Err(Failure::unavailable("nobody is asked"))
    }
}

struct Teller {
    run: RunId,
    header: Header,
    script: Script,
    resources: Arc<Resources>,
    limits: Limits,
    allowance: Allowance,
    began: i64,
    found: Replayed,
}

impl Teller {
    /// As `Past::behind`.
    async fn place(&mut self, first: &Recorded, past: Past) -> Result<Option<(i64, Memory)>, journal::Error> {
        let place = first.place.clone();
        self.found.calls += 1;
        let past = Arc::new(past);
        let mut gate = Gate::replay(self.run, place.clone(), past.clone());
        gate.quota = self.limits.quota;
        let started = if place.step.is_empty() { self.began } else { first.at };
        let work = Work {
            gate,
            resources: self.resources.clone(),
            limits: Limits { cpu: self.allowance.of_call(), ..self.limits },
            seed: seed(self.header.seed, &place),
            started: Duration::from_millis(u64::try_from(started).unwrap_or(0)),
        };
        let processor = Processor::default();
        let answer = processor.counting(self.call(work, &place)).await;
        self.found.operations += past.told();
        if let Some(error) = past.take_unreadable() {
            return Err(error);
        }
        // A machine that is slower comes less far before the limit that ended it there.
        let end = if matches!(answer, Err(Ended::Limit(_))) { past.leave()? } else { past.end() };
        let recorded = match &end {
            Some(Entry::StepEnded { millis, .. }) => Duration::from_millis(*millis),
            _ => Duration::ZERO,
        };
        self.allowance.spend(processor.used(), recorded);
        self.found.differences.extend(difference(&place, answer, end));
        Ok(past.behind())
    }

    async fn call(&self, work: Work, place: &Place) -> Result<Result<Got, Failure>, Ended> {
        match Phase::named(&place.phase) {
            None => {
                self.script.assess(work).await.map(|answer| answer.map(|risks| Got::Risks(super::phase::risks(risks))))
            }
            Some(phase) if place.step.is_empty() => {
                let planned = self.script.plan(work, phase.wit()).await;
                planned.map(|answer| answer.map(|steps| Got::Steps(graph::resolve(steps, self.limits.steps))))
            }
            Some(phase) => {
                self.script.run(work, phase.wit(), &place.step).await.map(|answer| answer.map(|()| Got::Done))
            }
        }
    }

    /// From this call on nothing is told.
    fn break_off(&mut self, place: &Place) {
        let limit =
            "has used up the processor time that a replay of this run may take in all, so the rest was not told"
                .to_owned();
        self.found.differences.push(Difference::Limit { place: place.title(), attempt: place.attempt, limit });
    }
}

/// What a call came to.
enum Got {
    Done,
    Risks(Vec<journal::Risk>),
    Steps(Result<Vec<Step>, Vec<String>>),
}

fn difference(place: &Place, answer: Result<Result<Got, Failure>, Ended>, end: Option<Entry>) -> Option<Difference> {
    let (title, attempt) = (place.title(), place.attempt);
    let other = |expected: String, got: String| {
        // What stands in a journal may be of any length.
        let (expected, got) = (cut(&expected), cut(&got));
        Some(Difference::End { place: title.clone(), attempt, expected, got })
    };
    let limited = matches!(end, Some(Entry::StepEnded { limit: true, .. }));
    match (answer, end) {
        (Err(Ended::Diverged { divergence, frames }), _) => {
            Some(Difference::Operation { divergence: *divergence, stack: frames })
        }
        (Err(Ended::Stopped(Stop::PastEnds)), _) => None,
        (Err(Ended::Limit(_)), _) if limited => None,
        (Err(Ended::Limit(limit)), _) => {
            Some(Difference::Limit { place: title, attempt, limit: format!("went beyond a limit: {limit}") })
        }
        // It was cut off before its end was written down.
        (_, None) => None,
        (Ok(Ok(got)), Some(end)) => match (got, end) {
            (Got::Done, Entry::StepEnded { result: Err(failure), .. }) => other(failure.to_string(), "success".into()),
            (Got::Risks(got), Entry::Assessed { risks }) if got != risks => {
                other(format!("{} risks", risks.len()), format!("{} others", got.len()))
            }
            (Got::Steps(Ok(got)), Entry::Planned { steps }) => {
                unlike(&steps, &got).and_then(|(was, is)| other(was, is))
            }
            (Got::Steps(Err(mistakes)), _) => other("a plan".into(), format!("a wrong one: {}", mistakes.join("; "))),
            _ => None,
        },
        (answer, Some(end)) => {
            let (got, broke) = match answer {
                Ok(Err(failure)) => (Failure { message: cut(&failure.message), ..failure }.to_string(), false),
                Err(ended) => (ended.to_string(), true),
                Ok(Ok(_)) => return None,
            };
            match end {
                Entry::StepEnded { result: Err(failure), .. } if failure.to_string() == got => None,
                // Where in its code it was differs from build to build.
                Entry::StepEnded { result: Err(failure), .. } if broke && reason(&got) == reason(&failure.message) => {
                    None
                }
                Entry::StepEnded { result: Err(failure), .. } => other(failure.to_string(), got),
                Entry::StepEnded { result: Ok(()), .. } => other("success".into(), got),
                _ => other("an answer".into(), got),
            }
        }
    }
}

fn reason(broke: &str) -> &str {
    broke.split(", at ").next().unwrap_or(broke)
}

/// The first step that differs in what the script says of it; an estimate may have been measured.
fn unlike(was: &[Step], is: &[Step]) -> Option<(String, String)> {
    let plain = |step: &Step| Step { estimate_seconds: 0, measured_runs: 0, ..step.clone() };
    let said = |step: Option<&Step>| match step {
        None => "no more steps".to_owned(),
        Some(step) => format!("step `{}` ({}), after [{}]", step.name, step.title, step.after.join(", ")),
    };
    let differ = |n: &usize| was.get(*n).map(plain) != is.get(*n).map(plain);
    let n = (0..was.len().max(is.len())).find(differ)?;
    Some((said(was.get(n)), said(is.get(n))))
}
