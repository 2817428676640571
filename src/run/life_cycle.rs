//! What the commands do with the phases, and what each end means for the system.
use super::{Halt, Phase, Run, restore_point::Point};
use crate::{
    capability::backup,
    gate::Stop,
    journal::{self, Ending, Level, Risk, Step},
    resource::{
        Database, Failure, Kind, ResourceId, Tree,
        copies::{Exchange, Lost, Snapshot},
    },
};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, marker::PhantomData, sync::atomic::Ordering};

/// The plans of a run, as people see them before it starts.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Plans {
    pub risks: Vec<Risk>,
    pub prepare: Vec<Step>,
    pub upgrade: Vec<Step>,
    pub verify: Vec<Step>,
    pub rollback: Vec<Step>,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    #[default]
    Assessed,
    Prepared,
    Upgraded,
    /// By itself, because of this; verified.
    TurnedBack(String),
    /// As asked; verified.
    RolledBack,
    Verified,
    /// The product does not pass; nothing was changed.
    Unverified(String),
    Committed,
    Deleted,
    /// What was set aside is to stay.
    Kept,
    /// What was set aside was freed.
    Dropped,
    Unfenced,
    /// Nothing was changed.
    Refused(String),
    /// Half-way.
    Stopped(String),
    /// Half-way, and one operation may or may not have happened.
    InDoubt(String),
}

impl Outcome {
    pub fn ending(&self) -> Ending {
        let (outcome, exit, message) = match self {
            Self::Assessed => ("assessed", 0, ""),
            Self::Prepared => ("prepared", 0, ""),
            Self::Upgraded => ("upgraded", 0, ""),
            Self::TurnedBack(why) => ("rolled-back", 4, why.as_str()),
            Self::RolledBack => ("rolled-back", 0, ""),
            Self::Verified => ("verified", 0, ""),
            Self::Unverified(why) => ("unverified", 10, why.as_str()),
            Self::Committed => ("committed", 0, ""),
            Self::Deleted => ("deleted", 0, ""),
            Self::Kept => ("kept", 0, ""),
            Self::Dropped => ("dropped", 0, ""),
            Self::Unfenced => ("unfenced", 0, ""),
            Self::Refused(why) => ("refused", 3, why.as_str()),
            Self::Stopped(why) => ("stopped", 5, why.as_str()),
            Self::InDoubt(why) => ("in-doubt", 6, why.as_str()),
        };
        Ending { outcome: outcome.to_owned(), exit, message: message.to_owned(), ..Ending::default() }
    }
}

impl Run {
    /// Everything that the script plans, before anything is done.
    pub async fn plans(&self, phases: &[Phase]) -> Result<Plans, Halt> {
        let mut plans = Plans { risks: self.assess().await?, ..Plans::default() };
        for phase in phases {
            let steps = self.plan(*phase, *phase == Phase::Rollback).await?;
            match phase {
                Phase::Prepare => plans.prepare = steps,
                Phase::Upgrade => plans.upgrade = steps,
                Phase::Verify => plans.verify = steps,
                Phase::Rollback => plans.rollback = steps,
            }
        }
        Ok(plans)
    }

    pub async fn prepare(&self, plans: &Plans) -> Outcome {
        match self.carry_out(Phase::Prepare, false, &plans.prepare).await {
            Ok(()) => Outcome::Prepared,
            Err(halt) => self.before_anything(halt),
        }
    }

    /// Prepare, upgrade, verify; and back when one of the latter two fails.
    pub async fn upgrade(&self, plans: &Plans) -> Outcome {
        // What has been decided stays decided, whatever a step would come to now.
        if let Some(because) = self.before().and_then(|before| before.turned_back.clone()) {
            self.tell_turned_back(&because);
            return self.take_back(because).await;
        }
        let prepared = self.prepare(plans).await;
        if prepared != Outcome::Prepared {
            return prepared;
        }
        let upgraded = match self.carry_out(Phase::Upgrade, false, &plans.upgrade).await {
            Ok(()) => self.carry_out(Phase::Verify, false, &plans.verify).await,
            failed => failed,
        };
        let upgraded = match upgraded {
            Ok(()) => self.check_schemas().await,
            failed => failed,
        };
        let because = match upgraded {
            Ok(()) => return Outcome::Upgraded,
            Err(halt @ Halt::Stopped { .. }) => return self.before_anything(halt),
            // There is nothing to take back yet.
            Err(halt) if self.deviated() && self.memory().disturbances == 0 => return self.before_anything(halt),
            Err(halt) => halt.to_string(),
        };
        if let Err(error) = self.turn_back(&because).await {
            return Outcome::Stopped(error.to_string());
        }
        self.take_back(because).await
    }

    fn deviated(&self) -> bool {
        self.0.deviated.load(Ordering::Relaxed)
    }

    async fn take_back(&self, because: String) -> Outcome {
        match self.back(&[], &[]).await {
            Ok(()) => Outcome::TurnedBack(because),
            Err(outcome) => outcome,
        }
    }

    /// `from`: steps before this one are not run again.
    pub async fn roll_back(&self, steps: &[Step], skip: &[String]) -> Outcome {
        match self.back(steps, skip).await {
            Ok(()) => Outcome::RolledBack,
            Err(outcome) => outcome,
        }
    }

    /// Rollback and the verification after it. The plan is asked for again: what was completed decides it.
    async fn back(&self, planned: &[Step], skip: &[String]) -> Result<(), Outcome> {
        let half_way = |halt| match halt {
            Halt::Stopped { stop: Stop::InDoubt { .. }, .. } => Outcome::InDoubt(halt.to_string()),
            halt => Outcome::Stopped(halt.to_string()),
        };
        let mut steps = match planned {
            [] => self.plan(Phase::Rollback, true).await.map_err(half_way)?,
            planned => planned.to_vec(),
        };
        if steps.is_empty() {
            return Err(Outcome::Stopped("the script has no steps for a rollback".to_owned()));
        }
        steps.retain(|step| !skip.contains(&step.name));
        for step in &mut steps {
            step.after.retain(|name| !skip.contains(name));
        }
        let verified = async {
            self.carry_out(Phase::Rollback, true, &steps).await?;
            let steps = self.plan(Phase::Verify, true).await?;
            self.carry_out(Phase::Verify, true, &steps).await
        };
        let verified = verified.await;
        if matches!(verified, Ok(()) | Err(Halt::Failed { .. })) {
            self.count().await;
        }
        verified.map_err(half_way)
    }

    /// What was set aside, where that was left until the product runs again. Nothing depends on it.
    async fn count(&self) {
        let later = |lost: &Lost| *lost == Lost::later();
        let point = self.memory().restore_point.clone();
        for (resource, _) in point.aside.iter().filter(|(_, aside)| aside.lost.iter().any(later)) {
            let snapshot = point.snapshots.get(resource).cloned();
            let Some((label, is_tree)) = self.label(resource).filter(|_| snapshot.is_some()) else { continue };
            let gate = self.host_gate("count");
            let counted = if is_tree {
                let count = backup::ops::Count::<Tree> { resource: label, snapshot, kind: PhantomData };
                gate.perform(self.resources(), count).await
            } else {
                let count = backup::ops::Count::<Database> { resource: label, snapshot, kind: PhantomData };
                gate.perform(self.resources(), count).await
            };
            if let Err(error) = counted {
                tracing::warn!(%error, %resource, "what was set aside cannot be counted");
            }
        }
    }

    pub async fn verify(&self, steps: &[Step], rolled_back: bool) -> Outcome {
        match self.carry_out(Phase::Verify, rolled_back, steps).await {
            Ok(()) => Outcome::Verified,
            Err(halt @ Halt::Failed { .. }) => Outcome::Unverified(halt.to_string()),
            Err(halt) => self.before_anything(halt),
        }
    }

    /// A run that ends before anybody but Backout could notice it has changed nothing.
    pub fn before_anything(&self, halt: Halt) -> Outcome {
        let disturbed = self.memory().disturbances > 0;
        match halt {
            Halt::Stopped { stop: Stop::InDoubt { .. }, .. } => Outcome::InDoubt(halt.to_string()),
            _ if disturbed => Outcome::Stopped(halt.to_string()),
            _ => Outcome::Refused(halt.to_string()),
        }
    }

    /// Frees the copies of restore points. Bytes by resource.
    pub async fn discard(&self, points: &[Point]) -> Result<Vec<(ResourceId, u64)>, crate::gate::Error> {
        let copies = points.iter().flat_map(Point::copies);
        self.free(
            &self.header().command,
            copies.map(|(resource, snapshot)| (resource.name.clone(), resource, snapshot)),
        )
        .await
    }

    /// Has what was set aside of these stay until this moment (milliseconds since 1970-01-01 UTC), or for good.
    pub async fn keep(&self, aside: &[(ResourceId, Snapshot)], until: Option<i64>) -> Result<(), crate::gate::Error> {
        let gate = self.host_gate(&self.header().command);
        for (id, snapshot) in aside {
            let (resource, snapshot) = (id.name.clone(), Some(snapshot.clone()));
            if id.kind == Tree::NAME {
                let keep = backup::ops::Keep::<Tree> { resource, snapshot, until, kind: PhantomData };
                gate.perform(self.resources(), keep).await?;
            } else {
                let keep = backup::ops::Keep::<Database> { resource, snapshot, until, kind: PhantomData };
                gate.perform(self.resources(), keep).await?;
            }
        }
        Ok(())
    }

    /// What cannot be freed keeps nothing else from being freed, and is told at the end.
    async fn free<'c>(
        &self,
        phase: &str,
        copies: impl Iterator<Item = (String, &'c ResourceId, &'c Snapshot)>,
    ) -> Result<Vec<(ResourceId, u64)>, crate::gate::Error> {
        let gate = self.host_gate(phase);
        let (mut freed, mut kept) = (Vec::new(), Vec::new());
        for (label, resource, snapshot) in copies {
            let snapshot = Some(snapshot.clone());
            let bytes = if resource.kind == Tree::NAME {
                let discard = backup::ops::Discard::<Tree> { resource: label, snapshot, kind: PhantomData };
                gate.perform(self.resources(), discard).await
            } else {
                let discard = backup::ops::Discard::<Database> { resource: label, snapshot, kind: PhantomData };
                gate.perform(self.resources(), discard).await
            };
            match bytes {
                Ok(bytes) => freed.push((resource.clone(), bytes)),
                Err(crate::gate::Error::Answer(failure)) => {
                    kept.push(format!("{} {}: {}", resource.kind, resource.name, failure.message));
                }
                Err(stop) => return Err(stop),
            }
        }
        if kept.is_empty() {
            return Ok(freed);
        }
        let of = freed.len() + kept.len();
        let which = kept.join("; ");
        Err(Failure::failed(format!("{} of {of} copies could not be freed: {which}", kept.len())).into())
    }

    /// Looks how exchanges ended that an earlier run began and did not report: exchanging once more would bring back what
    /// was set aside.
    pub async fn settle(&self, unsettled: &BTreeMap<ResourceId, Vec<Value>>) -> Result<(), Halt> {
        if unsettled.is_empty() {
            return Ok(());
        }
        let gate = self.host_gate("settle");
        let step = || "settle".to_owned();
        for (resource, evidence) in unsettled {
            let snapshot = self.memory().restore_point.snapshots.get(resource).cloned();
            let Some((label, is_tree)) = self.label(resource) else { continue };
            let (resource_label, evidence) = (label.clone(), evidence.clone());
            let found = if is_tree {
                let settle =
                    backup::ops::Settle::<Tree> { resource: resource_label, snapshot, evidence, kind: PhantomData };
                gate.perform(self.resources(), settle).await
            } else {
                let settle =
                    backup::ops::Settle::<Database> { resource: resource_label, snapshot, evidence, kind: PhantomData };
                gate.perform(self.resources(), settle).await
            };
            match found {
                Ok(Exchange::Done { .. } | Exchange::NotDone) => {}
                Ok(Exchange::Unclear(look)) => {
                    let stop = Stop::InDoubt { operation: "backup.restore".into(), label, number: 0, look };
                    return Err(Halt::Stopped { step: step(), stop });
                }
                Err(crate::gate::Error::Answer(failure)) => return Err(Halt::Failed { step: step(), failure }),
                Err(crate::gate::Error::Stop(stop)) => return Err(Halt::Stopped { step: step(), stop }),
            }
        }
        Ok(())
    }

    /// Looks, before anything is stopped, at the copies that a rollback would put back: damage is found while the product still
    /// serves. Takes no longer for more data, unless a copy looks as if somebody had touched it.
    pub async fn inspect(&self) -> Result<(), Halt> {
        let gate = self.host_gate("inspect");
        let point = self.memory().restore_point.clone();
        for resource in point.changed.difference(&point.restored) {
            let snapshot = point.snapshots.get(resource).cloned();
            let Some((label, is_tree)) = self.label(resource).filter(|_| snapshot.is_some()) else { continue };
            let whole = if is_tree {
                gate.perform(
                    self.resources(),
                    backup::ops::Inspect::<Tree> { resource: label, snapshot, kind: PhantomData },
                )
                .await
            } else {
                let inspect = backup::ops::Inspect::<Database> { resource: label, snapshot, kind: PhantomData };
                gate.perform(self.resources(), inspect).await
            };
            let step = || format!("the copy of {} {}", resource.kind, resource.name);
            whole.map_err(|error| match error {
                crate::gate::Error::Answer(failure) => Halt::Failed { step: step(), failure },
                crate::gate::Error::Stop(stop) => Halt::Stopped { step: step(), stop },
            })?;
        }
        Ok(())
    }

    /// The package's word for a resource, and whether it is a tree.
    fn label(&self, resource: &ResourceId) -> Option<(String, bool)> {
        let trees = self.resources().tree.0.iter().map(|(label, lend)| (label, &lend.id, true));
        let databases = self.resources().database.0.iter().map(|(label, lend)| (label, &lend.id, false));
        let (label, _, is_tree) = trees.chain(databases).find(|(_, id, _)| *id == resource)?;
        Some((label.clone(), is_tree))
    }

    /// Copies of a run that came to nothing are of no use to anybody.
    async fn drop_own_copies(&self) -> Result<(), crate::gate::Error> {
        let (own, half_made) = {
            let memory = self.memory();
            (memory.restore_point.clone(), memory.half_made())
        };
        if own.run != self.id() {
            return Ok(());
        }
        let copies = own.snapshots.iter().chain(half_made.iter().map(|(resource, copy)| (resource, copy)));
        let labelled = |(resource, snapshot)| Some((self.label(resource)?.0, resource, snapshot));
        self.free("clean-up", copies.filter_map(labelled)).await.map(drop)
    }

    /// Ends the run: what is forgotten is put right, and the last entry is written.
    pub async fn finish(&self, outcome: Outcome) -> (Outcome, Result<(), journal::Error>) {
        let outcome = self.put_right(outcome).await;
        let written = self.end(&outcome.ending()).await;
        (outcome, written)
    }

    /// What is forgotten is put right: how the run ends.
    pub async fn put_right(&self, outcome: Outcome) -> Outcome {
        let outcome = match self.lift_forgotten(&outcome).await.failure() {
            Some(failure) => Outcome::Stopped(failure),
            None => outcome,
        };
        if !matches!(outcome, Outcome::Stopped(_) | Outcome::InDoubt(_) | Outcome::Unfenced) {
            self.tell_of_kept_fences().await;
        }
        if matches!(outcome, Outcome::Refused(_))
            && let Err(error) = self.drop_own_copies().await
        {
            let _ = self.say(Level::Warn, format!("copies of this run could not be freed: {error}")).await;
        }
        outcome
    }
}
