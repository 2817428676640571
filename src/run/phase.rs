//! One phase: the script's plan, and its steps, as many at once as their order allows.
use super::{Came, Run, graph};
use crate::{
    capability::types,
    gate::Stop,
    journal::{self, Entry, Place, Recorded},
    resource::{Failure, FailureKind},
    session::{Ended, Script, Severity, Work},
};
use std::{
    collections::BTreeSet,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Prepare,
    Upgrade,
    Rollback,
    Verify,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Upgrade => "upgrade",
            Self::Rollback => "rollback",
            Self::Verify => "verify",
        }
    }
    pub fn named(name: &str) -> Option<Self> {
        [Self::Prepare, Self::Upgrade, Self::Rollback, Self::Verify].into_iter().find(|phase| phase.as_str() == name)
    }
    pub(super) fn wit(self) -> types::Phase {
        match self {
            Self::Prepare => types::Phase::Prepare,
            Self::Upgrade => types::Phase::Upgrade,
            Self::Rollback => types::Phase::Rollback,
            Self::Verify => types::Phase::Verify,
        }
    }
}

/// Why a phase did not come to its end.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Halt {
    /// `phase/step`, and why
    #[error("{step}: {failure}{}", .failure.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Failed { step: String, failure: Failure },
    #[error("{step}: {stop}")]
    Stopped { step: String, stop: Stop },
}

/// What a script may say in a risk or an error; more is cut off.
const MAX_TEXT: usize = 4_000;

/// Attempts of a step that are left.
#[derive(Clone, Copy)]
struct Attempts {
    first: u32,
    /// When the first of them began, in milliseconds since 1970-01-01 UTC, if it was cut off.
    open: Option<i64>,
    last: u32,
}

enum Stands {
    Done,
    Failed(Halt),
    Begins(Attempts),
    /// It had begun before, so that it comes to its end also where another step has failed.
    GoesOn(Attempts),
}

impl Run {
    pub async fn assess(&self) -> Result<Vec<journal::Risk>, Halt> {
        self.part(self.assess_now()).await
    }

    async fn assess_now(&self) -> Result<Vec<journal::Risk>, Halt> {
        if let Some(risks) = self.before().and_then(|before| before.assessed.clone()) {
            return Ok(risks);
        }
        let place = Place::new("assess", false, "", 1);
        let answer = self.script()?.assess(self.work_at(&place, self.0.journal.began())?).await;
        let risks = self.answered(&place, answer)?;
        if risks.len() > 100 {
            return Err(self.failed(&place, Failure::invalid(format!("{} risks, the limit is 100", risks.len()))));
        }
        let risks = self::risks(risks);
        self.append(&place, Entry::Assessed { risks: risks.clone() }).await?;
        Ok(risks)
    }

    /// The steps of a phase, with estimates from earlier runs on this site where there are any.
    pub async fn plan(&self, phase: Phase, rolled_back: bool) -> Result<Vec<journal::Step>, Halt> {
        self.part(self.plan_now(phase, rolled_back)).await
    }

    async fn plan_now(&self, phase: Phase, rolled_back: bool) -> Result<Vec<journal::Step>, Halt> {
        let place = loop {
            let attempt = self.0.plans.fetch_add(1, Ordering::Relaxed) + 1;
            let place = Place::new(phase.as_str(), rolled_back, "", attempt);
            if self.before().is_none_or(|before| !before.is_spent(&place)) {
                break place;
            }
        };
        if let Some(steps) = self.before().and_then(|before| before.planned(&place)) {
            return Ok(steps.clone());
        }
        let answer = self.script()?.plan(self.work_at(&place, self.0.journal.began())?, phase.wit()).await;
        let steps = self.answered(&place, answer)?;
        let mut steps = graph::resolve(steps, self.0.limits.steps).map_err(|mistakes| {
            self.failed(&place, Failure::invalid(format!("the plan is wrong: {}", mistakes.join("; "))))
        })?;
        for step in &mut steps {
            let mut earlier = self.durations(phase, &step.name).map_err(|why| self.unreadable(&place, why))?;
            earlier.sort_unstable();
            if let Some(median) = earlier.get(earlier.len() / 2) {
                step.estimate_seconds = median.div_ceil(1000);
                step.measured_runs = u32::try_from(earlier.len()).unwrap_or(u32::MAX);
            }
        }
        self.append(&place, Entry::Planned { steps: steps.clone() }).await?;
        Ok(steps)
    }

    /// Runs the steps, a bounded number at a time. `skip` are those that an earlier run has done. Steps of `verify` all get their turn, unless one that
    /// they wait for has failed; elsewhere the first failure lets those that run finish and starts no other.
    pub async fn carry_out(&self, phase: Phase, rolled_back: bool, steps: &[journal::Step]) -> Result<(), Halt> {
        let mut waiting: Vec<(&journal::Step, Attempts, bool)> = Vec::new();
        let mut done: BTreeSet<String> = BTreeSet::new();
        let mut halts: Vec<Halt> = Vec::new();
        // What is known already counts before anything new begins.
        for step in steps {
            match self.stands(phase, rolled_back, step) {
                Stands::Done => drop(done.insert(step.name.clone())),
                Stands::Failed(halt) => halts.push(halt),
                Stands::Begins(attempts) => waiting.push((step, attempts, true)),
                Stands::GoesOn(attempts) => waiting.push((step, attempts, false)),
            }
        }
        let mut running = JoinSet::new();
        loop {
            let failed = halts.iter().any(|_| phase != Phase::Verify);
            let stopped = halts.iter().any(|halt| matches!(halt, Halt::Stopped { .. }));
            waiting.retain(|(step, attempts, begins)| {
                let room = running.len() < self.0.limits.steps_at_once;
                let held_back = stopped || failed && *begins;
                if held_back || !room || !step.after.iter().all(|after| done.contains(after)) {
                    return true;
                }
                let (run, step, attempts) = (self.clone(), (*step).clone(), *attempts);
                running.spawn(async move {
                    let result = run.part(run.step(phase, rolled_back, &step, attempts)).await;
                    (step.name, result)
                });
                false
            });
            match running.join_next().await {
                None => break,
                Some(Ok((name, Ok(())))) => {
                    done.insert(name);
                }
                Some(Ok((_, Err(halt)))) => halts.push(halt),
                Some(Err(panic)) => {
                    let failure = Failure::failed(format!("Backout itself broke down: {panic}"));
                    halts.push(Halt::Failed { step: phase.as_str().into(), failure });
                }
            }
        }
        // What cannot go on weighs more than what failed.
        let weight = |halt: &Halt| match halt {
            Halt::Stopped { stop: Stop::InDoubt { .. } | Stop::Journal(_) | Stop::Unreadable(_), .. } => 0,
            Halt::Stopped { .. } => 1,
            Halt::Failed { .. } => 2,
        };
        halts.sort_by_key(weight);
        halts.into_iter().next().map_or(Ok(()), Err)
    }

    /// How a step of a run that goes on is to be taken.
    fn stands(&self, phase: Phase, rolled_back: bool, step: &journal::Step) -> Stands {
        let Some(stood) = self.before().and_then(|b| b.stood(phase.as_str(), rolled_back, &step.name)) else {
            return Stands::Begins(Attempts { first: 1, open: None, last: step.attempts });
        };
        let last = (stood.spent + step.attempts).max(stood.attempt);
        match &stood.came {
            Came::Done | Came::Skipped => Stands::Done,
            Came::Open(started) => Stands::GoesOn(Attempts { first: stood.attempt, open: Some(*started), last }),
            Came::Failed(failure) if stood.spent == stood.attempt || stood.attempt < last && worth_another(failure) => {
                Stands::GoesOn(Attempts { first: stood.attempt + 1, open: None, last })
            }
            Came::Failed(failure) => {
                let place = Place::new(phase.as_str(), rolled_back, &step.name, stood.attempt);
                Stands::Failed(self.failed(&place, failure.clone()))
            }
        }
    }

    async fn step(
        &self,
        phase: Phase,
        rolled_back: bool,
        step: &journal::Step,
        attempts: Attempts,
    ) -> Result<(), Halt> {
        let Attempts { first, mut open, last } = attempts;
        for attempt in first..=last {
            let place = Place::new(phase.as_str(), rolled_back, &step.name, attempt);
            let started = match open.take() {
                Some(started) => started,
                None => self.append(&place, Entry::StepStarted).await?,
            };
            let began = Instant::now();
            let answer = self.script()?.run(self.work_at(&place, started)?, phase.wit(), &step.name).await;
            // Whoever runs it again without the plan comes past this point.
            let limit = matches!(answer, Err(Ended::Limit(_) | Ended::Deviated(_)));
            let result = self.answered(&place, answer);
            let written = match &result {
                Ok(()) => Ok(()),
                Err(Halt::Failed { failure, .. }) => Err(failure.clone()),
                // Without its last entry the step stays open: it can be gone on with where it was cut off.
                Err(Halt::Stopped { .. }) => return result,
            };
            let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.append(&place, Entry::StepEnded { result: written, millis, limit }).await?;
            if limit {
                // An exchange that an earlier life had begun was not come to again: once more would bring back what was set aside.
                let unsettled = self.memory().unsettled_at(&place);
                self.settle(&unsettled).await?;
            }
            match result {
                Err(Halt::Failed { failure, .. }) if attempt < last && worth_another(&failure) => {
                    let wait = Duration::from_secs(1 << (attempt - first).min(6));
                    tokio::select! {
                        biased;
                        () = self.0.cancel.cancelled() => {
                            return Err(Halt::Stopped { step: place.title(), stop: Stop::Cancelled });
                        }
                        () = self.0.clock.sleep(wait) => {}
                    }
                }
                result => return result,
            }
        }
        Ok(())
    }

    fn work_at(&self, place: &Place, started: i64) -> Result<Work, Halt> {
        let work = self.work(place.clone(), started);
        work.map_err(|error| self.unreadable(place, error.unreadable(self.0.journal.path())))
    }

    fn script(&self) -> Result<&Script, Halt> {
        self.0.script.as_ref().ok_or_else(|| Halt::Failed {
            step: self.0.header.command.clone(),
            failure: Failure::failed("this run has no script"),
        })
    }

    /// The script's own answer, with what it says bounded; or why it came to none.
    fn answered<T>(&self, place: &Place, answer: Result<Result<T, Failure>, Ended>) -> Result<T, Halt> {
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failure)) => {
                let message = cut(&failure.message);
                Err(self.failed(place, Failure { message, ..failure }))
            }
            Err(Ended::Diverged { divergence, .. }) => {
                Err(Halt::Stopped { step: place.title(), stop: Stop::Diverged(divergence) })
            }
            Err(Ended::Stopped(stop)) => Err(Halt::Stopped { step: place.title(), stop }),
            Err(ended @ Ended::Deviated(_)) => {
                self.0.deviated.store(true, Ordering::Relaxed);
                Err(self.failed(place, Failure::failed(ended.to_string())))
            }
            Err(ended) => Err(self.failed(place, Failure::failed(ended.to_string()))),
        }
    }

    fn failed(&self, place: &Place, failure: Failure) -> Halt {
        Halt::Failed { step: place.title(), failure }
    }

    fn unreadable(&self, place: &Place, why: String) -> Halt {
        Halt::Stopped { step: place.title(), stop: Stop::Unreadable(why) }
    }

    fn unwritable(&self, place: &Place, error: &journal::Error) -> Halt {
        Halt::Stopped { step: place.title(), stop: Stop::Journal(error.to_string()) }
    }

    /// On disk first, then remembered. The moment that stands in it.
    async fn append(&self, place: &Place, entry: Entry) -> Result<i64, Halt> {
        let recorded = Recorded::now(self.0.id, place, 0, entry);
        let appended = self.0.journal.write(recorded.clone()).await;
        appended.map_err(|e| self.unwritable(place, &e))?;
        self.memory().apply(&recorded, true);
        Ok(recorded.at)
    }
}

fn worth_another(failure: &Failure) -> bool {
    matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut)
}

/// As they are recorded.
pub(super) fn risks(risks: Vec<crate::session::Risk>) -> Vec<journal::Risk> {
    let recorded = |risk: crate::session::Risk| journal::Risk {
        severity: match risk.severity {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Blocker => "blocker",
        }
        .to_owned(),
        subject: shortened(&risk.subject, 64),
        detail: cut(&risk.detail),
    };
    risks.into_iter().map(recorded).collect()
}

/// What a script says, as it is recorded.
pub(super) fn cut(text: &str) -> String {
    shortened(text, MAX_TEXT)
}

fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
