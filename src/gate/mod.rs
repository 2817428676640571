//! The one function through which every operation passes: the only place that knows about grants, journals and deadlines.
pub mod class;
mod event;
mod operation;

pub use event::{Event, Events, Work};
pub use operation::{Half, Observer, Operation, Reconciled};

use crate::{
    journal::{self, Entry, Journal, Level, Place, Recorded, Request, RunId},
    resource::{
        CallCtx, Failure, FailureKind, Lend, Lent, Progress, Resources, Witness,
        run::{Mutator, RUN},
    },
};
use class::Class;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Why a step cannot go on. Never an answer to the guest: its instance ends here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Stop {
    #[error("cancelled")]
    Cancelled,
    #[error("{operation} on `{label}` was begun, and nobody can say whether it happened: {look}")]
    InDoubt { operation: String, label: String, look: String },
    #[error("more than {limit} {what}")]
    Limit { what: &'static str, limit: u64 },
    #[error("the journal cannot be written: {0}")]
    Journal(String),
}

/// What `perform` says instead of an output.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Answer(#[from] Failure),
    #[error(transparent)]
    Stop(#[from] Stop),
}

/// What one attempt of one step may use of the gate.
#[derive(Clone, Copy, Debug)]
pub struct Quota {
    pub calls: u32,
    pub log_bytes: u64,
    pub store_bytes: u64,
    /// What its calls and their answers may add to the journal.
    pub journal_bytes: u64,
    /// What all steps of a phase together may add to it; what an upgrade has used up is not missing in its rollback.
    pub journal_bytes_of_phase: u64,
    pub wall: Duration,
}
impl Default for Quota {
    fn default() -> Self {
        Self {
            calls: 100_000,
            log_bytes: 1 << 20,
            store_bytes: 1 << 20,
            journal_bytes: 64 << 20,
            journal_bytes_of_phase: 512 << 20,
            wall: Duration::from_secs(4 * 3600),
        }
    }
}

/// How much of its log one attempt of one step has used.
#[derive(Clone)]
pub struct LogMeter {
    used: Arc<AtomicU64>,
    limit: u64,
}

impl LogMeter {
    /// Every line costs a little more than its text.
    pub fn count(&self, lines: usize, bytes: usize) -> Result<(), Stop> {
        let bytes = (bytes + 16 * lines) as u64;
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > self.limit {
            return Err(Stop::Limit { what: "bytes of log and report in one step", limit: self.limit });
        }
        Ok(())
    }
}

/// The gate of one attempt of one step.
pub struct Gate {
    pub journal: Arc<Journal>,
    pub run: RunId,
    pub place: Place,
    pub events: Events,
    pub cancel: CancellationToken,
    /// For operations that name no time of their own.
    pub usual_deadline: Duration,
    pub quota: Quota,
    /// When the step's wall time is over.
    pub until: Option<Instant>,
    calls: AtomicU32,
    log: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
    /// Bytes of the whole phase, whose gates share it.
    pub written_in_phase: Arc<AtomicU64>,
    last_warning: Mutex<Option<String>>,
    last_hint: Mutex<Option<Failure>>,
}

impl Gate {
    pub fn new(journal: Arc<Journal>, run: RunId, place: Place, events: Events, cancel: CancellationToken) -> Self {
        Self {
            journal,
            run,
            place,
            events,
            cancel,
            usual_deadline: Duration::from_secs(3600),
            quota: Quota::default(),
            until: None,
            calls: AtomicU32::new(0),
            log: Arc::default(),
            written: Arc::default(),
            written_in_phase: Arc::default(),
            last_warning: Mutex::new(None),
            last_hint: Mutex::new(None),
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
        LogMeter { used: self.log.clone(), limit: self.quota.log_bytes }
    }

    /// A step that asks for the same megabyte again and again would fill the disk under the journal.
    fn count_written(&self, bytes: u64) -> Result<(), Stop> {
        if self.written.fetch_add(bytes, Ordering::Relaxed) + bytes > self.quota.journal_bytes {
            return Err(Stop::Limit { what: "bytes in the journal in one step", limit: self.quota.journal_bytes });
        }
        if self.written_in_phase.fetch_add(bytes, Ordering::Relaxed) + bytes > self.quota.journal_bytes_of_phase {
            return Err(Stop::Limit {
                what: "bytes in the journal in one phase",
                limit: self.quota.journal_bytes_of_phase,
            });
        }
        Ok(())
    }

    /// What calls have added to the journal so far: in this attempt, and in the phase.
    fn totals(&self) -> [Arc<AtomicU64>; 2] {
        [self.written.clone(), self.written_in_phase.clone()]
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
        if sequence > self.quota.calls {
            return Err(Stop::Limit { what: "host calls in one step", limit: self.quota.calls.into() }.into());
        }
        self.in_time()?;
        let lend = self.authorise::<O>(resources, &operation)?;
        let size = json_size(&operation);
        if size > MAX_REQUEST {
            return Err(Failure::invalid(format!("a call carries {size} bytes, the limit is {MAX_REQUEST}")).into());
        }
        self.count_written(size)?;
        let request = Request {
            operation: O::NAME.to_owned(),
            class: O::Class::NAME.to_owned(),
            label: operation.label().to_owned(),
            resource: lend.id.to_string(),
            changes: if operation.changes() {
                std::iter::once(&lend.id).chain(&lend.uses).map(ToString::to_string).collect()
            } else {
                Vec::new()
            },
            request: serde_json::to_value(&operation).map_err(|e| Failure::invalid(e.to_string()))?,
        };
        let time = operation.deadline(self.usual_deadline);
        let deadline = Instant::now() + time;
        let deadline = self.until.map_or(deadline, |until| until.min(deadline));
        let testimony = Arc::new(Testimony {
            journal: self.journal.clone(),
            run: self.run,
            place: self.place.clone(),
            sequence,
            totals: self.totals(),
            memory: memory(resources),
            given: AtomicBool::new(false),
        });
        let call = CallCtx {
            key: format!("{}/{}/{}/{}", self.run, self.place.title(), self.place.attempt, sequence),
            deadline,
            cancel: self.cancel.clone(),
            witness: testimony.clone(),
            progress: Arc::new(News { events: self.events.clone(), place: self.place.clone(), operation: O::NAME }),
        };
        let result = if O::Class::CHANGES {
            self.change(resources, lend, &operation, request, call, &testimony).await
        } else {
            self.observe(resources, lend, &operation, request, sequence, call).await
        };
        if matches!(&result, Err(Error::Answer(failure)) if failure.kind == FailureKind::TimedOut) {
            // The time of the whole step may be what was over.
            self.in_time()?;
        }
        result
    }

    pub fn in_time(&self) -> Result<(), Stop> {
        match self.until {
            Some(until) if Instant::now() >= until => {
                Err(Stop::Limit { what: "seconds of wall time in one step", limit: self.quota.wall.as_secs() })
            }
            _ => Ok(()),
        }
    }

    /// Whether a resource that is not granted exists is not told.
    fn authorise<'r, O: Operation>(&self, resources: &'r Resources, operation: &O) -> Result<&'r Lend<O::On>, Error>
    where
        Resources: AsRef<Lent<O::On>>,
    {
        let lent: &Lent<O::On> = resources.as_ref();
        let lend = lent.0.get(operation.label()).filter(|lend| O::RIGHT.is_none_or(|right| lend.rights.allow(right)));
        lend.ok_or_else(|| {
            let right = O::RIGHT.map(|r| r.to_string()).unwrap_or_default();
            let label: String = operation.label().chars().take(128).collect();
            let failure =
                Failure::denied(format!("{} on `{label}` needs the right `{right}`, which is not granted", O::NAME));
            self.journal.note(self.run, &self.place, 0, Entry::Denied { operation: O::NAME.into(), label, right });
            failure.into()
        })
    }

    async fn observe<O: Operation>(
        &self,
        resources: &Resources,
        lend: &Lend<O::On>,
        operation: &O,
        request: Request,
        sequence: u32,
        call: CallCtx,
    ) -> Result<O::Output, Error> {
        let began = Instant::now();
        let half = O::Class::half(&lend.access);
        let result = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Stop::Cancelled.into()),
            result = tokio::time::timeout_at(call.deadline.into(), operation.execute(half, &call)) =>
                result.unwrap_or_else(|_| Err(late::<O>(began))),
        };
        self.remember_hint(&result);
        let recorded = recorded::<O>(&result)?;
        self.count_written(json_size(&recorded))?;
        let entry = Entry::Observed { request, result: recorded, millis: millis(began) };
        let observed = Recorded::now(self.run, &self.place, sequence, entry);
        remember(memory(resources).as_deref(), &observed);
        self.journal.note(self.run, &self.place, sequence, observed.entry);
        Ok(result?)
    }

    async fn change<O: Operation>(
        &self,
        resources: &Resources,
        lend: &Lend<O::On>,
        operation: &O,
        request: Request,
        call: CallCtx,
        testimony: &Testimony,
    ) -> Result<O::Output, Error> {
        let label = request.label.clone();
        self.append(resources, testimony.sequence, Entry::Intent(request)).await.map_err(unwritten)?;
        let run = resources.run.0.get(RUN);
        let disturbs = u32::from(operation.disturbs());
        if let Some(run) = run {
            run.access.mutator.memory().disturbances += disturbs;
        }
        let began = Instant::now();
        let half = O::Class::half(&lend.access);
        let result = match tokio::time::timeout_at(call.deadline.into(), operation.execute(half, &call)).await {
            // Past its point of no return it may have happened all the same.
            Ok(Err(failure)) if O::Class::NAME == class::Once::NAME && testimony.given.load(Ordering::Relaxed) => {
                let looked = self.look(lend, operation, &call, testimony).await;
                match looked.map_err(|look| in_doubt::<O>(&label, &format!("{failure}; {look}")))? {
                    Some(output) => {
                        let text = format!("{} on `{label}` is done all the same: {failure}", O::NAME);
                        let said = Entry::Said { level: Level::Warn, text };
                        self.journal.note(self.run, &self.place, 0, said);
                        Ok(output)
                    }
                    None => Err(failure),
                }
            }
            Ok(result) => result,
            // The future is gone, the effect may not be: only a look at the real state can tell.
            Err(_) => {
                let looked = self.look(lend, operation, &call, testimony).await;
                looked.map_err(|look| in_doubt::<O>(&label, &look))?.ok_or_else(|| late::<O>(began))
            }
        };
        // What a driver denies (a path out of a tree) it has not begun.
        if let (Some(run), Err(Failure { kind: FailureKind::Denied, .. })) = (run, &result) {
            run.access.mutator.memory().disturbances -= disturbs;
        }
        self.remember_hint(&result);
        let recorded = recorded::<O>(&result)?;
        // It has happened, so its outcome is written down and told, however big it is: the next call is one too many.
        let size = json_size(&recorded);
        for total in self.totals() {
            total.fetch_add(size, Ordering::Relaxed);
        }
        let entry = Entry::Outcome { result: recorded, millis: millis(began) };
        if let Err(error) = self.append(resources, testimony.sequence, entry).await {
            if let (journal::Error::Unwritten { .. }, Ok(output)) = (&error, &result) {
                let call = CallCtx { deadline: Instant::now() + self.usual_deadline, ..call };
                operation.unrecorded(half, output, &call).await;
            }
            return Err(unwritten(error).into());
        }
        Ok(result?)
    }

    /// Whether an operation has happened, from the real state and from what it wrote down before; `Err`: what people have to
    /// look at, because nobody else can say.
    async fn look<O: Operation>(
        &self,
        lend: &Lend<O::On>,
        operation: &O,
        call: &CallCtx,
        testimony: &Testimony,
    ) -> Result<Option<O::Output>, String> {
        let evidence = self.journal.evidence(self.run, &self.place, testimony.sequence);
        let evidence = evidence.map_err(|error| format!("what it wrote down before cannot be read: {error}"))?;
        let deadline = Instant::now() + self.usual_deadline.min(Duration::from_secs(60));
        let look = CallCtx { deadline, ..call.clone() };
        match operation.reconcile(&lend.access.observer, &evidence, &look).await {
            Ok(Reconciled::Done(output)) => Ok(Some(output)),
            Ok(Reconciled::NotDone) => Ok(None),
            Ok(Reconciled::Unknown(look)) => Err(look),
            Err(failure) => Err(format!("looking failed too: {failure}")),
        }
    }

    /// On disk first, then remembered.
    async fn append(&self, resources: &Resources, sequence: u32, entry: Entry) -> Result<(), journal::Error> {
        let recorded = Recorded::now(self.run, &self.place, sequence, entry);
        self.journal.write(recorded.clone()).await?;
        remember(memory(resources).as_deref(), &recorded);
        Ok(())
    }
}

fn memory(resources: &Resources) -> Option<Arc<Mutator>> {
    Some(resources.run.0.get(RUN)?.access.mutator.clone())
}

/// What a run knows of its past is what its journal tells, and nothing else.
fn remember(memory: Option<&Mutator>, recorded: &Recorded) {
    if let Some(run) = memory {
        run.memory().apply(recorded, true);
    }
}

fn unwritten(error: journal::Error) -> Stop {
    Stop::Journal(error.to_string())
}

fn in_doubt<O: Operation>(label: &str, look: &str) -> Stop {
    Stop::InDoubt { operation: O::NAME.into(), label: label.to_owned(), look: look.to_owned() }
}

/// Room for a statement or a text of 1 MiB, and what stands around it.
const MAX_REQUEST: u64 = (1 << 20) + (64 << 10);

/// Bytes of a value in the journal, without keeping them.
fn json_size(value: &impl serde::Serialize) -> u64 {
    struct Counter(u64);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len() as u64;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => u64::MAX,
    }
}

fn millis(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn late<O: Operation>(began: Instant) -> Failure {
    Failure::new(FailureKind::TimedOut, format!("{} did not end within {:.0?}", O::NAME, began.elapsed()))
}

fn recorded<O: Operation>(result: &Result<O::Output, Failure>) -> Result<Result<serde_json::Value, Failure>, Failure> {
    Ok(match result {
        Ok(output) => Ok(serde_json::to_value(output).map_err(|e| Failure::failed(format!("{}: {e}", O::NAME)))?),
        Err(failure) => Err(failure.clone()),
    })
}

struct Testimony {
    journal: Arc<Journal>,
    run: RunId,
    place: Place,
    sequence: u32,
    /// of the gate: nothing may keep an operation from leaving evidence, so the next call is one too many
    totals: [Arc<AtomicU64>; 2],
    memory: Option<Arc<Mutator>>,
    /// From the first word on, nobody knows by the end of a call alone whether it has happened.
    given: AtomicBool,
}
impl Witness for Testimony {
    fn evidence(&self, data: serde_json::Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        Box::pin(async move {
            self.given.store(true, Ordering::Relaxed);
            let size = json_size(&data);
            for total in &self.totals {
                total.fetch_add(size, Ordering::Relaxed);
            }
            let recorded = Recorded::now(self.run, &self.place, self.sequence, Entry::Evidence { data });
            let written = self.journal.write(recorded.clone()).await;
            written.map_err(|e| Failure::failed(format!("the journal cannot be written: {e}")))?;
            remember(self.memory.as_deref(), &recorded);
            Ok(())
        })
    }
}

struct News {
    events: Events,
    place: Place,
    operation: &'static str,
}
impl Progress for News {
    fn progress(&self, text: &str, done: u64, total: u64) {
        let (place, operation, text) = (self.place.clone(), self.operation.to_owned(), text.to_owned());
        self.events.send(Event::Progress(Box::new(Work { place, operation, text, done, total })));
    }
}
