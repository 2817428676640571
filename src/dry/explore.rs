//! All the ways that a life cycle can go: each call as it should, and failing. A script is deterministic, so a path is the list
//! of the calls that fail, and is the same each time it is played.
use super::{
    course::{Call, Deviation, How, Path, Recording},
    invent,
    rules::{self, Finding, Rule},
    stage::{EVENING, Stage, Told},
};
use crate::{
    journal::Entry,
    resource::{FailureKind, ResourceId, world::World},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

/// Where it stops, with a word about what was left out.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub paths: usize,
    pub time: Duration,
    /// Calls that fail on one path.
    pub failures: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { paths: 5_000, time: Duration::from_secs(60), failures: 2 }
    }
}

#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Explored {
    pub paths: usize,
    /// Paths that were known of and not played.
    pub left_out: usize,
    /// How often each end was come to: `upgraded`, `rolled-back`, `stopped`, `refused`.
    pub outcomes: BTreeMap<String, usize>,
    /// Steps that ran on at least one path, of those that were planned.
    pub reached: usize,
    pub planned: usize,
    /// One of each kind and place, with the first path that shows it.
    pub findings: Vec<Finding>,
}

/// How a call can go. A verdict is not met, or there is no data; a resource is away, or says no. What only looks may go on
/// failing, of which nobody should wait for the end. `first`: of its step.
fn ways(call: &Call, first: bool) -> Vec<How> {
    let fails = |kind, for_ever| How::Fails { kind, for_ever };
    let second = if call.assumed { FailureKind::Inconclusive } else { FailureKind::Unavailable };
    let mut ways = vec![fails(FailureKind::Failed, false), fails(second, false)];
    if !call.changes {
        ways.push(fails(second, true));
    }
    // Who cancels a look leaves what who cancels the change before it leaves.
    if call.step.contains('/') && (call.changes || first) {
        ways.push(How::Cancelled);
    }
    ways
}

/// The path, and one call more that does not go well after those.
fn longer(path: &Path, told: &Told, bounds: Bounds) -> Vec<Path> {
    // After a limit, what else could have failed is without end.
    if path.len() == bounds.failures || told.calls.len() > ENDLESS {
        return Vec::new();
    }
    let from = path.last().map_or(0, |last| last.call + 1);
    let mut longer = Vec::new();
    for (number, call) in told.calls.iter().enumerate().skip(from) {
        let before = number.checked_sub(1).and_then(|before| told.calls.get(before));
        let first = before.is_none_or(|before| !before.is_beside(call));
        // What does not go well already goes no other way.
        let ways = if call.failed.is_some() { Vec::new() } else { ways(call, first) };
        let deviations = ways.into_iter().map(|how| Deviation { call: number, how });
        longer.extend(deviations.map(|deviation| path.iter().cloned().chain([deviation]).collect::<Path>()));
    }
    longer
}

/// Calls of one path, beyond which nobody asks what else could fail.
const ENDLESS: usize = 5_000;

/// The paths in the order in which they are numbered: those with fewer failures first.
pub struct Walk<'s> {
    stage: &'s Stage,
    bounds: Bounds,
    /// Each with one that it begins like.
    waiting: VecDeque<(Path, Option<Arc<Recording>>)>,
    played: usize,
    /// Play each path from its beginning.
    whole: bool,
}

impl<'s> Walk<'s> {
    pub fn new(stage: &'s Stage, bounds: Bounds) -> Self {
        Self { stage, bounds, waiting: VecDeque::from([(Path::new(), None)]), played: 0, whole: false }
    }

    /// What others have come to is not relied on.
    pub fn whole(mut self) -> Self {
        self.whole = true;
        self
    }

    pub async fn next(&mut self) -> Option<(Path, Told)> {
        let (path, like) = self.waiting.pop_front()?;
        self.played += 1;
        // Nobody will come to what is longer.
        let keep =
            !self.whole && path.len() < self.bounds.failures && self.played + self.waiting.len() < self.bounds.paths;
        let (told, recording) = self.stage.play_on(path.clone(), like, keep).await;
        self.waiting.extend(longer(&path, &told, self.bounds).into_iter().map(|path| (path, recording.clone())));
        Some((path, told))
    }
}

pub async fn explore(stage: &Stage, bounds: Bounds) -> Explored {
    let began = Instant::now();
    let uses = uses_of(stage);
    let mut explored = Explored::default();
    let mut seen: BTreeSet<(Rule, String)> = BTreeSet::new();
    let mut tolds: Vec<Told> = Vec::new();
    let mut walk = Walk::new(stage, bounds);
    // Every call was seen to fail by itself.
    let mut complete = bounds.failures > 0;
    while let Some((next, _)) = walk.waiting.front() {
        if explored.paths == bounds.paths || began.elapsed() > bounds.time {
            explored.left_out = walk.waiting.len();
            complete &= next.len() > 1;
            break;
        }
        let Some((_, mut told)) = walk.next().await else { break };
        let number = explored.paths;
        explored.paths += 1;
        *explored.outcomes.entry(told.outcome.ending().outcome).or_default() += 1;
        for mut finding in rules::of_path(&told, &uses) {
            if seen.insert((finding.rule, place_of(&finding.text).to_owned())) {
                finding.path = Some(number);
                explored.findings.push(finding);
            }
        }
        thin(&mut told);
        tolds.push(told);
    }
    let all: Vec<&Told> = tolds.iter().collect();
    explored.findings.extend(rules::of_all(&stage.package, &all, complete));
    if let Some(morning) = tolds.first() {
        explored.findings.extend(by_time(stage, morning).await);
    }
    (explored.reached, explored.planned) = coverage(&all);
    explored
}

/// What each service of the stage uses.
pub(super) fn uses_of(stage: &Stage) -> BTreeMap<String, Vec<ResourceId>> {
    match &stage.real {
        Some(real) => rules::uses(&invent::over(real, &World::default())),
        None => rules::uses(&invent::invent(&stage.package, &World::default())),
    }
}

/// The path with a number, played again.
pub async fn path(stage: &Stage, bounds: Bounds, number: usize) -> Option<(Path, Told)> {
    let mut walk = Walk::new(stage, Bounds { paths: usize::MAX, ..bounds });
    for _ in 0..number {
        walk.next().await?;
    }
    walk.next().await
}

/// A finding without the kind of failure that showed it.
fn place_of(text: &str) -> &str {
    text.rsplit_once(" (").map_or(text, |(place, _)| place)
}

/// What the rules over all paths do not look at is not kept for each.
fn thin(told: &mut Told) {
    told.entries.retain(|e| matches!(e.entry, Entry::Planned { .. } | Entry::StepStarted));
    told.changes.clear();
}

/// `morning`: the path on which all goes well.
async fn by_time(stage: &Stage, morning: &Told) -> Option<Finding> {
    let evening = stage.play(Path::new(), EVENING).await;
    let differ = (0..morning.calls.len().max(evening.calls.len()))
        .find(|n| morning.calls.get(*n).map(Call::key_and_title) != evening.calls.get(*n).map(Call::key_and_title))?;
    let said = |call: Option<&Call>| {
        call.map_or("nothing more".to_owned(), |call| format!("{} in {}", call.title(), call.step))
    };
    let text = format!(
        "at 9 in the morning it calls {}, at 9 in the evening {}",
        said(morning.calls.get(differ)),
        said(evening.calls.get(differ))
    );
    let hint = "what is done must not hang on the hour: let a setting say it".to_owned();
    Some(Finding { rule: Rule::DependsOnTime, text, hint, path: None })
}

fn coverage(tolds: &[&Told]) -> (usize, usize) {
    let (mut reached, mut planned) = (BTreeSet::new(), BTreeSet::new());
    for recorded in tolds.iter().flat_map(|told| &told.entries) {
        match &recorded.entry {
            Entry::StepStarted => drop(reached.insert(recorded.place.title())),
            Entry::Planned { steps } => {
                planned.extend(steps.iter().map(|step| format!("{}/{}", recorded.place.phase, step.name)));
            }
            _ => {}
        }
    }
    (reached.len(), planned.len())
}
