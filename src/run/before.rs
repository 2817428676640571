//! What the journal holds of a run that goes on: what was planned, which steps are done, and where it was cut off.
use crate::{
    gate::Past,
    journal::{self, Ending, Entry, Place, Reader, Recorded, Risk, RunId, Step},
    resource::{Failure, run::Memory},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// How far a step came.
#[derive(Clone, Debug)]
pub enum Came {
    Done,
    /// Somebody has said that it shall be taken as done.
    Skipped,
    Failed(Failure),
    /// Cut off; milliseconds since 1970-01-01 UTC when it began.
    Open(i64),
}

#[derive(Clone, Debug)]
pub struct Stood {
    /// The last one.
    pub attempt: u32,
    pub came: Came,
    /// Attempts that count no more: after them the run ended, half-way, and was taken up again.
    pub spent: u32,
}

/// A place that was cut off: its first entry, and what the run remembered before it.
type Cut = (i64, Memory);

pub struct Before {
    run: RunId,
    path: PathBuf,
    pub assessed: Option<Vec<Risk>>,
    planned: BTreeMap<Place, Vec<Step>>,
    steps: BTreeMap<(String, bool, String), Stood>,
    cut: BTreeMap<Place, Cut>,
    /// Plans that came to nothing, so that the run ended: told again, they would come to nothing for ever.
    spent: BTreeSet<Place>,
    /// What the host did by itself, by phase: how often.
    hosts: BTreeMap<String, u32>,
    pub turned_back: Option<String>,
    /// The last time that it ended.
    pub ending: Option<Ending>,
    /// Of everything that stands in the journal.
    pub memory: Memory,
    /// Whether any step was begun.
    pub started: bool,
    /// Channel and thing; and whether what came of telling it is known.
    pub told: BTreeMap<(String, String), bool>,
    /// How often it has ended.
    pub ends: usize,
}

impl Before {
    /// `memory`: of the restore point, as it was before the run began.
    pub fn read(path: &Path, run: RunId, memory: &Memory) -> Result<Self, journal::Error> {
        let mut before = Self {
            run,
            path: path.to_owned(),
            assessed: None,
            planned: BTreeMap::new(),
            steps: BTreeMap::new(),
            cut: BTreeMap::new(),
            spent: BTreeSet::new(),
            hosts: BTreeMap::new(),
            turned_back: None,
            ending: None,
            memory: memory.clone(),
            started: false,
            told: BTreeMap::new(),
            ends: 0,
        };
        let mut first: BTreeMap<Place, i64> = BTreeMap::new();
        for recorded in Reader::open(path)?.stream(run, 0) {
            before.entry(&recorded?, &mut first);
        }
        // Only now is it known where it was cut off. What is remembered there is told again up to that point.
        let mut cuts: BTreeMap<i64, Place> = first.into_iter().map(|(place, first)| (first, place)).collect();
        let mut memory = memory.clone();
        for recorded in Reader::open(path)?.stream(run, 0) {
            let recorded = recorded?;
            if let Some(place) = cuts.remove(&recorded.id) {
                before.cut.insert(place, (recorded.id, memory.clone()));
            }
            if cuts.is_empty() {
                break;
            }
            memory.apply(&recorded, true);
        }
        Ok(before)
    }

    fn entry(&mut self, recorded: &Recorded, open: &mut BTreeMap<Place, i64>) {
        self.memory.apply(recorded, true);
        let place = &recorded.place;
        let step = || (place.phase.clone(), place.rolled_back, place.step.clone());
        match &recorded.entry {
            Entry::Assessed { risks } => {
                self.assessed = Some(risks.clone());
                open.remove(place);
            }
            Entry::Planned { steps } => {
                self.planned.insert(place.clone(), steps.clone());
                open.remove(place);
            }
            Entry::StepStarted => {
                self.started = true;
                open.insert(place.clone(), recorded.id);
                let spent = self.steps.get(&step()).map_or(0, |stood| stood.spent);
                let stood = Stood { attempt: place.attempt, came: Came::Open(recorded.at), spent };
                self.steps.insert(step(), stood);
            }
            Entry::StepEnded { result, .. } => {
                open.remove(place);
                if let Some(stood) = self.steps.get_mut(&step()) {
                    stood.came = match result {
                        Ok(()) => Came::Done,
                        Err(failure) => Came::Failed(failure.clone()),
                    };
                }
            }
            Entry::TurnedBack { because } => self.turned_back = Some(because.clone()),
            Entry::Telling { channel, about, .. } => drop(self.told.insert((channel.clone(), about.clone()), false)),
            Entry::Told { channel, about, .. } => drop(self.told.insert((channel.clone(), about.clone()), true)),
            Entry::RunEnded(ending) => {
                self.ends += 1;
                self.ending = Some(ending.clone());
                let (plans, steps) = std::mem::take(open).into_iter().partition(|(place, _)| place.step.is_empty());
                *open = steps;
                let plans: BTreeMap<Place, i64> = plans;
                self.spent.extend(plans.into_keys());
                for stood in self.steps.values_mut().filter(|stood| matches!(stood.came, Came::Failed(_))) {
                    stood.spent = stood.attempt;
                }
            }
            Entry::RunResumed(resumption) => {
                self.ending = None;
                for skipped in &resumption.skip {
                    self.skip(skipped, open);
                }
            }
            _ if place.step.is_empty() && recorded.seq > 0 => {
                if host_phase(&place.phase) {
                    let times = self.hosts.entry(place.phase.clone()).or_default();
                    *times = (*times).max(place.attempt);
                } else {
                    open.entry(place.clone()).or_insert(recorded.id);
                }
            }
            _ => {}
        }
    }

    /// `title`: `rollback/restore`
    fn skip(&mut self, title: &str, open: &mut BTreeMap<Place, i64>) {
        for ((phase, _, step), stood) in &mut self.steps {
            if format!("{phase}/{step}") == title {
                stood.came = Came::Skipped;
                open.retain(|place, _| place.title() != title);
            }
        }
    }

    /// Whether a plan was asked for here, and the run has ended for want of it.
    pub fn is_spent(&self, place: &Place) -> bool {
        self.spent.contains(place)
    }

    pub fn planned(&self, place: &Place) -> Option<&Vec<Step>> {
        self.planned.get(place)
    }

    pub fn stood(&self, phase: &str, rolled_back: bool, step: &str) -> Option<&Stood> {
        self.steps.get(&(phase.to_owned(), rolled_back, step.to_owned()))
    }

    /// Steps that neither are done nor were left out.
    pub fn unfinished(&self) -> impl Iterator<Item = String> {
        let steps = self.steps.iter().filter(|(_, stood)| matches!(stood.came, Came::Failed(_) | Came::Open(_)));
        steps.map(|((phase, _, step), _)| format!("{phase}/{step}"))
    }

    /// The answers that a place which was cut off has had already.
    pub fn past(&self, place: &Place) -> Result<Option<Past>, journal::Error> {
        let Some((first, memory)) = self.cut.get(place) else { return Ok(None) };
        let lines = Reader::open(&self.path)?.lines(self.run, *first);
        Past::new(self.run, place.clone(), lines, memory.clone()).map(Some)
    }

    /// Whether its steps are those after a rollback.
    pub fn verifies_rollback(&self) -> bool {
        self.planned.keys().chain(self.cut.keys()).any(|place| place.rolled_back)
    }

    /// How often the host has done something by itself.
    pub fn times(&self, phase: &str) -> u32 {
        self.hosts.get(phase).copied().unwrap_or(0)
    }
}

/// What the host does is looked at anew each time, so it is no place that a script comes to again.
fn host_phase(phase: &str) -> bool {
    !matches!(phase, "assess" | "prepare" | "upgrade" | "rollback" | "verify")
}
