//! Simulated runs that begin alike: what one of them has come to, another need not do again.
use super::{Halt, Run};
use crate::{gate::Written, journal::Recorded, resource::run::Memory};
use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    sync::{Arc, PoisonError, atomic::Ordering},
};

/// A part of a run: an assessment, a plan, or a step with all its attempts. What it came to, and all that the run knew then.
pub struct Part {
    answer: Box<dyn Any + Send + Sync>,
    failed: bool,
    memory: Memory,
    entries: Vec<Arc<Recorded>>,
    written: BTreeMap<(String, bool), u64>,
    hosts: BTreeMap<String, u32>,
    plans: u32,
}

impl Part {
    pub fn has_failed(&self) -> bool {
        self.failed
    }
}

/// Who knows with which parts a simulated run begins.
pub trait Recall: Send + Sync {
    /// The next part, if it is known. `true`: the run goes on as it was after it.
    fn next(&self) -> Option<(Arc<Part>, bool)>;
    /// Whether the parts that are not known shall be remembered.
    fn keeps(&self) -> bool;
    fn keep(&self, part: Part);
}

impl Run {
    /// Does it, unless it is known what it comes to.
    pub(super) async fn part<T: Clone + Send + Sync + 'static>(
        &self,
        work: impl Future<Output = Result<T, Halt>>,
    ) -> Result<T, Halt> {
        let Some(recall) = &self.0.recall else { return work.await };
        if let Some((part, goes_on)) = recall.next()
            && let Some(answer) = part.answer.downcast_ref::<Result<T, Halt>>()
        {
            if goes_on {
                self.go_on_after(&part);
            }
            return answer.clone();
        }
        let answer = work.await;
        if recall.keeps() {
            recall.keep(self.part_of(answer.clone()));
        }
        answer
    }

    fn part_of<T: Send + Sync + 'static>(&self, answer: Result<T, Halt>) -> Part {
        let written = self.0.written.lock().unwrap_or_else(PoisonError::into_inner);
        Part {
            failed: answer.is_err(),
            answer: Box::new(answer),
            memory: self.memory().clone(),
            entries: self.kept(),
            written: written.iter().map(|(phase, written)| (phase.clone(), written.in_phase())).collect(),
            hosts: self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            plans: self.0.plans.load(Ordering::Relaxed),
        }
    }

    fn go_on_after(&self, part: &Part) {
        self.memory().clone_from(&part.memory);
        self.0.journal.go_back(part.entries.clone());
        let written = part.written.iter().map(|(phase, bytes)| (phase.clone(), Written::of_phase(*bytes)));
        *self.0.written.lock().unwrap_or_else(PoisonError::into_inner) = written.collect();
        self.0.hosts.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&part.hosts);
        self.0.plans.store(part.plans, Ordering::Relaxed);
    }
}
