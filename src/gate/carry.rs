//! Doing it: intent, effect under a deadline, a look at the real state when the end is not clear, outcome.
use super::{
    Error, Gate, Stop,
    class::{self, Class},
    event::{Event, Events, Work},
    fate, fault,
    operation::{Half, Operation, Reconciled},
    quota::{Written, json_size},
};
use crate::{
    crash,
    journal::{self, Entry, Journal, Level, Place, Recorded, Request, RunId},
    resource::{
        CallCtx, Earlier, Failure, FailureKind, Kind, Lend, Progress, Resources, Witness,
        run::{Mutator, RUN},
    },
};
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// An operation that is being done.
pub(super) struct Doing<'a, O: Operation> {
    pub operation: &'a O,
    pub lend: &'a Lend<O::On>,
    pub call: CallCtx,
    journal: &'a Journal,
    resources: &'a Resources,
    sequence: u32,
    testimony: Arc<Testimony>,
}

impl<O: Operation> Doing<'_, O> {
    /// After an earlier process, of which nobody knows how far it came.
    pub fn after(mut self, earlier: Earlier) -> Self {
        self.testimony.given.store(!earlier.evidence.is_empty(), Ordering::Relaxed);
        self.call.earlier = Some(Arc::new(earlier));
        self
    }
}

impl Gate {
    pub(super) fn doing<'a, O: Operation>(
        &self,
        journal: &'a Arc<Journal>,
        resources: &'a Resources,
        lend: &'a Lend<O::On>,
        operation: &'a O,
        sequence: u32,
    ) -> Doing<'a, O> {
        let deadline = Instant::now() + operation.deadline(self.usual_deadline);
        // In a simulated world the time of a step is not that of the machine.
        let until = self.until.filter(|_| !self.clock.is_simulated());
        let deadline = until.map_or(deadline, |until| until.min(deadline));
        let testimony = Arc::new(Testimony {
            journal: journal.clone(),
            run: self.run,
            place: self.place.clone(),
            sequence,
            written: self.written.clone(),
            memory: memory(resources),
            given: AtomicBool::new(false),
        });
        let own_clock = self.fate.as_deref().and_then(|fate| fate.clock(O::On::NAME, operation.label()));
        let call = CallCtx {
            key: format!("{}/{}/{sequence}", self.run, self.place.key()),
            deadline,
            clock: own_clock.unwrap_or_else(|| self.clock.clone()),
            cancel: self.cancel.clone(),
            earlier: None,
            witness: testimony.clone(),
            progress: Arc::new(News { events: self.events.clone(), place: self.place.clone(), operation: O::NAME }),
        };
        Doing { operation, lend, call, journal, resources, sequence, testimony }
    }

    pub(super) async fn observe<O: Operation>(
        &self,
        doing: &Doing<'_, O>,
        request: Request,
    ) -> Result<O::Output, Error> {
        if O::LASTS && doing.call.earlier.is_none() {
            self.append(doing, Entry::Intent(request.clone())).await?;
        }
        let began = Instant::now();
        let half = O::Class::half(&doing.lend.access);
        let result = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Err(Stop::Cancelled.into()),
            result = tokio::time::timeout_at(doing.call.deadline.into(), self.effect(doing, half)) =>
                result.unwrap_or_else(|_| Err(late::<O>(began))),
        };
        let result = fate::seen::<O>(self.fate.as_deref(), result);
        // A look that was broken off is none.
        if self.cancel.is_cancelled() && O::LASTS {
            return Err(Stop::Cancelled.into());
        }
        self.remember_hint(&result);
        let recorded = recorded::<O>(&result)?;
        self.written.count(json_size(&recorded), &self.quota)?;
        let entry = match O::LASTS {
            true => Entry::Outcome { result: recorded, millis: millis(began) },
            false => Entry::Observed { request, result: recorded, millis: millis(began) },
        };
        let observed = Recorded::now(self.run, &self.place, doing.sequence, entry);
        remember(memory(doing.resources).as_deref(), &observed);
        self.note(doing.sequence, observed.entry);
        Ok(result?)
    }

    pub(super) async fn change<O: Operation>(
        &self,
        doing: &Doing<'_, O>,
        request: Request,
    ) -> Result<O::Output, Error> {
        self.append(doing, Entry::Intent(request)).await?;
        self.carry_out(doing).await
    }

    async fn effect<O: Operation>(&self, doing: &Doing<'_, O>, half: &Half<O>) -> Result<O::Output, Failure> {
        let fate = self.fate.as_deref();
        let decided = fate.and_then(|f| fate::decided(f, &self.place, doing.sequence, doing.operation, half));
        match decided {
            Some(answer) => answer,
            None => fault::execute(doing.operation, half, &doing.call).await,
        }
    }

    /// Its intent stands in the journal.
    pub(super) async fn carry_out<O: Operation>(&self, doing: &Doing<'_, O>) -> Result<O::Output, Error> {
        let Doing { operation, lend, call, testimony, .. } = doing;
        let began = Instant::now();
        let half = O::Class::half(&lend.access);
        let moment = |when: &str| crash::point(&format!("{when} {} on {}", O::NAME, operation.label()));
        moment("before");
        let result = match tokio::time::timeout_at(call.deadline.into(), self.effect(doing, half)).await {
            // Past its point of no return it may have happened all the same.
            Ok(Err(failure))
                if O::Class::NAME == class::Once::NAME
                    && testimony.given.load(Ordering::Relaxed)
                    && !operation.is_final(&failure) =>
            {
                match self.look(doing, &format!("{failure}; ")).await? {
                    Some(Ok(output)) => {
                        let text = format!("{} on `{}` is done all the same: {failure}", O::NAME, operation.label());
                        self.note(0, Entry::Said { level: Level::Warn, text });
                        Ok(output)
                    }
                    Some(Err(unknown)) => Err(unknown),
                    None => Err(failure),
                }
            }
            Ok(result) => result,
            // The future is gone, the effect may not be: only a look at the real state can tell.
            Err(_) => self.look(doing, "").await?.unwrap_or_else(|| Err(late::<O>(began))),
        };
        moment("after");
        self.conclude(doing, result, began).await
    }

    /// Writes down how it ended.
    pub(super) async fn conclude<O: Operation>(
        &self,
        doing: &Doing<'_, O>,
        result: Result<O::Output, Failure>,
        began: Instant,
    ) -> Result<O::Output, Error> {
        self.remember_hint(&result);
        let recorded = recorded::<O>(&result)?;
        // It has happened, so its outcome is written down and told, however big it is: the next call is one too many.
        self.written.add(json_size(&recorded));
        let entry = Entry::Outcome { result: recorded, millis: millis(began) };
        if let Err(error) = self.write(doing, entry).await {
            if let (journal::Error::Unwritten { .. }, Ok(output)) = (&error, &result) {
                let call = CallCtx { deadline: Instant::now() + self.usual_deadline, ..doing.call.clone() };
                doing.operation.unrecorded(O::Class::half(&doing.lend.access), output, &call).await;
            }
            return Err(unwritten(&error).into());
        }
        Ok(result?)
    }

    /// Whether it has happened, from the real state and from what it wrote down before. Where that cannot tell, a person may;
    /// where nobody is, it stays in doubt. `so_far`: what is known already. What it came to may not be known where it has happened.
    pub(super) async fn look<O: Operation>(
        &self,
        doing: &Doing<'_, O>,
        so_far: &str,
    ) -> Result<Option<Result<O::Output, Failure>>, Error> {
        let begun = doing.journal.begun(self.run, &self.place, doing.sequence);
        let (number, evidence) = begun.map_err(|error| Stop::Unreadable(error.unreadable(doing.journal.path())))?;
        let deadline = Instant::now() + self.usual_deadline.min(Duration::from_secs(60));
        let call = CallCtx { deadline, ..doing.call.clone() };
        let look = match doing.operation.reconcile(&doing.lend.access.observer, &evidence, &call).await {
            Ok(Reconciled::Done(output)) => return Ok(Some(Ok(output))),
            Ok(Reconciled::NotDone) => return Ok(None),
            Ok(Reconciled::Unknown(look)) => look,
            Err(failure) => format!("looking failed too: {failure}"),
        };
        let (operation, label) = (O::NAME.to_owned(), doing.operation.label().to_owned());
        let doubt = Stop::InDoubt { operation, label, number, look: format!("{so_far}{look}") };
        let Some(run) = doing.resources.run.0.get(RUN) else { return Err(doubt.into()) };
        let Some((done, by)) = run.access.observer.approver.decide(number, &doubt.to_string()).await else {
            return Err(doubt.into());
        };
        self.append(doing, Entry::Decided { done, by }).await?;
        Ok(done.then(|| doing.operation.presumed()))
    }

    async fn append<O: Operation>(&self, doing: &Doing<'_, O>, entry: Entry) -> Result<(), Stop> {
        self.write(doing, entry).await.map_err(|error| unwritten(&error))
    }

    /// On disk first, then remembered.
    async fn write<O: Operation>(&self, doing: &Doing<'_, O>, entry: Entry) -> Result<(), journal::Error> {
        let recorded = Recorded::now(self.run, &self.place, doing.sequence, entry);
        doing.journal.write(recorded.clone()).await?;
        remember(memory(doing.resources).as_deref(), &recorded);
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

fn unwritten(error: &journal::Error) -> Stop {
    Stop::Journal(error.to_string())
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
    /// of the gate: nothing may keep an operation from leaving evidence
    written: Written,
    memory: Option<Arc<Mutator>>,
    /// From the first word on, nobody knows by the end of a call alone whether it has happened.
    given: AtomicBool,
}

impl Witness for Testimony {
    fn evidence(&self, data: serde_json::Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        Box::pin(async move {
            self.given.store(true, Ordering::Relaxed);
            self.written.add(json_size(&data));
            let recorded = Recorded::now(self.run, &self.place, self.sequence, Entry::Evidence { data });
            let written = self.journal.write(recorded.clone()).await;
            written.map_err(|e| Failure::failed(format!("the journal cannot be written: {e}")))?;
            remember(self.memory.as_deref(), &recorded);
            crash::point("after evidence");
            Ok(())
        })
    }

    fn note(&self, data: serde_json::Value) {
        self.written.add(json_size(&data));
        self.journal.note(self.run, &self.place, self.sequence, Entry::Evidence { data });
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
