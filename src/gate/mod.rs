//! The one function through which every operation passes: the only place that knows about grants, journals and deadlines.
mod again;
mod allowance;
mod carry;
pub mod class;
mod event;
mod fate;
mod fault;
mod operation;
mod past;
mod quota;

pub use again::Divergence;
pub use allowance::Allowance;
pub use event::{Event, Events, Work};
pub use fate::{Considered, Fate};
pub use operation::{Half, Observer, Operation, Reconciled};
pub use past::{Asked, Past, Told};
pub use quota::{LogMeter, Quota, Written};

use crate::{
    journal::{Entry, Journal, Level, Place, Request, RunId},
    resource::{Clock, Failure, FailureKind, Lend, Lent, ResourceId, Resources, copies::Snapshot, run::RUN},
};
use allowance::Lacks;
use class::Class;
use quota::json_size;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Why a step cannot go on. Never an answer to the guest: its instance ends here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stop {
    #[error("cancelled")]
    Cancelled,
    /// `number`: of the journal's entry with which it began
    #[error("{operation} on `{label}` was begun, and nobody can say whether it happened: {look}")]
    InDoubt { operation: String, label: String, number: i64, look: String },
    #[error("more than {limit} {what}")]
    Limit { what: &'static str, limit: u64 },
    #[error("the journal cannot be written: {0}")]
    Journal(String),
    /// What was done before is not known any more.
    #[error("{0}")]
    Unreadable(String),
    #[error("{0}")]
    Diverged(Box<Divergence>),
    /// It has not been done.
    #[error("deviated: the script asks for {operation} `{label}`{said}")]
    Deviated { operation: &'static str, label: String, said: String },
    /// The script did all that is recorded; how it went on, or would have, nobody knows.
    #[error("the journal ends here")]
    PastEnds,
}

/// What `perform` says instead of an output.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Answer(#[from] Failure),
    #[error(transparent)]
    Stop(#[from] Stop),
}

/// The gate of one attempt of one step.
pub struct Gate {
    mode: Mode,
    /// What was done here before.
    past: Option<Arc<Past>>,
    pub run: RunId,
    pub place: Place,
    pub events: Events,
    pub cancel: CancellationToken,
    /// For operations that name no time of their own.
    pub usual_deadline: Duration,
    pub quota: Quota,
    /// When the step's wall time is over.
    pub until: Option<Instant>,
    pub clock: Clock,
    /// Of a world that is simulated, or a part of which is.
    pub fate: Option<Arc<dyn Fate>>,
    /// Of a run that is bound to a plan.
    pub allowance: Option<Allowance>,
    calls: AtomicU32,
    log: Arc<AtomicU64>,
    pub written: Written,
    last_warning: Mutex<Option<String>>,
    last_hint: Mutex<Option<Failure>>,
}

impl Gate {
    pub fn new(journal: Arc<Journal>, run: RunId, place: Place, events: Events, cancel: CancellationToken) -> Self {
        Self::of(Mode::Live(journal), run, place, events, cancel)
    }

    /// Answers what the journal holds, and does nothing.
    pub fn replay(run: RunId, place: Place, past: Arc<Past>) -> Self {
        let gate = Self::of(Mode::Replay, run, place, Events::default(), CancellationToken::new());
        gate.going_on(past)
    }

    /// Answers what the journal holds first, and goes on from there.
    pub fn going_on(mut self, past: Arc<Past>) -> Self {
        self.past = Some(past);
        self
    }

    fn of(mode: Mode, run: RunId, place: Place, events: Events, cancel: CancellationToken) -> Self {
        Self {
            mode,
            past: None,
            run,
            place,
            events,
            cancel,
            usual_deadline: Duration::from_secs(3600),
            quota: Quota::default(),
            until: None,
            clock: Clock::Real,
            fate: None,
            allowance: None,
            calls: AtomicU32::new(0),
            log: Arc::default(),
            written: Written::default(),
            last_warning: Mutex::new(None),
            last_hint: Mutex::new(None),
        }
    }

    /// `None` where nothing is written.
    pub fn journal(&self) -> Option<&Arc<Journal>> {
        match &self.mode {
            Mode::Live(journal) => Some(journal),
            Mode::Replay => None,
        }
    }

    pub fn past(&self) -> Option<&Past> {
        self.past.as_deref()
    }

    /// Becomes durable with what is written next.
    pub fn note(&self, sequence: u32, entry: Entry) {
        if let Mode::Live(journal) = &self.mode {
            journal.note(self.run, &self.place, sequence, entry);
        }
    }

    /// Host calls so far.
    pub fn calls(&self) -> u32 {
        self.calls.load(Ordering::Relaxed)
    }

    /// One line for log or report.
    pub fn count_log(&self, bytes: usize) -> Result<(), Stop> {
        self.log_meter().count(1, bytes)
    }

    /// For what writes into the log beside the gate.
    pub fn log_meter(&self) -> LogMeter {
        LogMeter::new(self.log.clone(), self.quota.log_bytes)
    }

    /// A script that breaks down has often said why just before.
    pub fn warned(&self, message: &str) {
        *self.last_warning.lock().unwrap_or_else(PoisonError::into_inner) = Some(message.chars().take(500).collect());
    }
    /// What a script says failed is often what it was told; then the operator is told what the script was not.
    pub fn hinted(&self, failure: Failure) -> Failure {
        let told = self.last_hint.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match told {
            Some(Failure { message, hint: Some(hint), .. }) if failure.message.contains(&message) => failure.hint(hint),
            _ => failure,
        }
    }
    fn remember_hint<T>(&self, result: &Result<T, Failure>) {
        if let Err(failure @ Failure { hint: Some(_), .. }) = result {
            *self.last_hint.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure.clone());
        }
    }

    pub fn last_warning(&self) -> Option<String> {
        self.last_warning.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub async fn perform<O: Operation>(&self, resources: &Resources, operation: O) -> Result<O::Output, Error>
    where
        Resources: AsRef<Lent<O::On>>,
    {
        if self.cancel.is_cancelled() {
            return Err(Stop::Cancelled.into());
        }
        let sequence = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let deviates = self.deviates(&operation);
        if let Some(told) = self.told(sequence)? {
            return self.again(resources, operation, told).await;
        }
        if sequence > self.quota.calls {
            return Err(Stop::Limit { what: "host calls in one step", limit: self.quota.calls.into() }.into());
        }
        let Mode::Live(journal) = &self.mode else { return Err(self.beyond(&operation, sequence).into()) };
        self.in_time()?;
        if let Some(lacks) = deviates {
            self.deviate(&operation, &lacks)?;
        }
        let lend = self.authorise::<O>(resources, &operation, sequence)?;
        let size = json_size(&operation);
        if size > MAX_REQUEST {
            return Err(Failure::invalid(format!("a call carries {size} bytes, the limit is {MAX_REQUEST}")).into());
        }
        self.written.count(size, &self.quota)?;
        let request = request(&operation, lend)?;
        self.has_way_back(resources, &request, sequence)?;
        let doing = self.doing(journal, resources, lend, &operation, sequence);
        let result =
            if O::Class::CHANGES { self.change(&doing, request).await } else { self.observe(&doing, request).await };
        if matches!(&result, Err(Error::Answer(failure)) if failure.kind == FailureKind::TimedOut) {
            // The time of the whole step may be what was over.
            self.in_time()?;
        }
        result
    }

    pub fn in_time(&self) -> Result<(), Stop> {
        match self.until {
            Some(until) if self.clock.now() >= until => {
                Err(Stop::Limit { what: "seconds of wall time in one step", limit: self.quota.wall.as_secs() })
            }
            _ => Ok(()),
        }
    }

    /// What was done before an interruption counts too. A call on the run itself stands in no plan.
    fn deviates<O: Operation>(&self, operation: &O) -> Option<Lacks> {
        let allowance = self.allowance.as_ref().filter(|_| O::RIGHT.is_some())?;
        let says = || again::says(operation);
        let changing = O::Class::CHANGES.then_some(&says as &dyn Fn() -> serde_json::Value);
        allowance.takes(&self.place, O::NAME, operation.label(), changing).err()
    }

    fn deviate<O: Operation>(&self, operation: &O, lacks: &Lacks) -> Result<(), Stop> {
        let said = match lacks {
            Lacks::Call => ", which the plan that was approved does not contain".to_owned(),
            Lacks::Arguments(planned) => format!(
                " with {}, the plan that was approved has it with {}",
                again::brief(&again::says(operation)),
                again::brief(planned)
            ),
        };
        let stop = Stop::Deviated { operation: O::NAME, label: denied_label(operation), said };
        if self.allowance.as_ref().is_some_and(|allowance| allowance.blocks) {
            return Err(stop);
        }
        self.note(0, Entry::Said { level: Level::Warn, text: format!("{}: {stop}", self.place.title()) });
        Ok(())
    }

    /// What has no copy yet, and is promised one, stays as it is until it has it: the copy would be one of what was changed. On
    /// the way back nothing waits for a copy.
    fn has_way_back(&self, resources: &Resources, request: &Request, sequence: u32) -> Result<(), Failure> {
        if request.changes.is_empty() || self.place.rolled_back {
            return Ok(());
        }
        let Some(run) = resources.run.0.get(RUN) else { return Ok(()) };
        let promised = {
            let memory = run.access.observer.memory();
            let snapshots = &memory.restore_point.snapshots;
            let promised = |id: &&String| {
                let copy = ResourceId::try_from((*id).clone()).ok().and_then(|id| snapshots.get(&id));
                copy.is_some_and(Snapshot::comes_later)
            };
            request.changes.iter().find(promised).cloned()
        };
        let Some(id) = promised else { return Ok(()) };
        let what = id.replacen(':', " ", 1);
        let failure = Failure::unproven(format!("{what} has no copy yet, so {} may not change it", request.operation))
            .hint("its copy is made under the fence: the script has to call `fence` and `refresh` first");
        let refused = Request { changes: Vec::new(), disturbs: false, ..request.clone() };
        self.note(sequence, Entry::Observed { request: refused, result: Err(failure.clone()), millis: 0 });
        self.remember_hint::<()>(&Err(failure.clone()));
        Err(failure)
    }

    /// Whether a resource that is not granted exists is not told.
    fn authorise<'r, O: Operation>(
        &self,
        resources: &'r Resources,
        operation: &O,
        sequence: u32,
    ) -> Result<&'r Lend<O::On>, Error>
    where
        Resources: AsRef<Lent<O::On>>,
    {
        let lent: &Lent<O::On> = resources.as_ref();
        let lend = lent.0.get(operation.label()).filter(|lend| O::RIGHT.is_none_or(|right| lend.rights.allow(right)));
        lend.ok_or_else(|| {
            let (label, right) = (denied_label(operation), right::<O>());
            self.note(sequence, Entry::Denied { operation: O::NAME.into(), label, right });
            denied(operation).into()
        })
    }
}

enum Mode {
    Live(Arc<Journal>),
    /// Nothing is written, and there is nothing that could be done.
    Replay,
}

/// Room for a statement or a text of 1 MiB, and what stands around it.
const MAX_REQUEST: u64 = (1 << 20) + (64 << 10);

fn denied<O: Operation>(operation: &O) -> Failure {
    let (label, right) = (denied_label(operation), right::<O>());
    Failure::denied(format!("{} on `{label}` needs the right `{right}`, which is not granted", O::NAME))
}

fn denied_label(operation: &impl Operation) -> String {
    operation.label().chars().take(128).collect()
}

fn right<O: Operation>() -> String {
    O::RIGHT.map(|right| right.to_string()).unwrap_or_default()
}

fn request<O: Operation>(operation: &O, lend: &Lend<O::On>) -> Result<Request, Failure> {
    Ok(Request {
        operation: O::NAME.to_owned(),
        class: O::Class::NAME.to_owned(),
        label: operation.label().to_owned(),
        resource: lend.id.to_string(),
        changes: if operation.changes() {
            std::iter::once(&lend.id).chain(&lend.uses).map(ToString::to_string).collect()
        } else {
            Vec::new()
        },
        disturbs: operation.disturbs(),
        request: serde_json::to_value(operation).map_err(|e| Failure::invalid(e.to_string()))?,
    })
}
