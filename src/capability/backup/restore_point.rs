//! A script names a label; which snapshot that means is the restore point's to say.
use super::ops;
use crate::{
    capability::Call,
    gate::Error,
    resource::{
        Database, Failure, Kind, ResourceId, Tree,
        copies::{Lost, Restored, Snapshot},
        run::{RUN, RestorePoint},
    },
};
use std::{collections::BTreeMap, marker::PhantomData};

/// Performs an operation on the kind that a label belongs to. A manifest cannot use one label for both.
macro_rules! on_its_kind {
    ($call:ident, $label:expr, $op:ident { $($field:ident : $value:expr),* $(,)? }) => {
        if $call.resources.tree.0.contains_key(&$label) {
            $call.perform(ops::$op::<Tree> { resource: $label, $($field: $value,)* kind: PhantomData }).await
        } else {
            $call.perform(ops::$op::<Database> { resource: $label, $($field: $value,)* kind: PhantomData }).await
        }
    };
}

impl Call<'_> {
    pub(super) async fn backup_take(&mut self, label: String) -> Result<Snapshot, Error> {
        let id = format!(
            "{}-{}",
            self.restore_point(|p| p.run),
            self.resource(&label).map_or_else(|| "none".into(), |r| r.name)
        );
        on_its_kind!(self, label, Take { id: id })
    }

    /// One cut needs every database shut to applications before the first copy is brought up to date.
    pub(super) async fn backup_refresh(&mut self) -> Result<Vec<Snapshot>, Error> {
        let snapshots = self.restore_point(|p| p.snapshots.clone());
        if snapshots.is_empty() {
            return Err(Failure::conflict("there is no copy to refresh: nothing was taken in `prepare`").into());
        }
        for (label, resource) in self.lent_snapshots(&snapshots) {
            if resource.kind == Database::NAME && !self.perform(ops::IsFenced { resource: label.clone() }).await? {
                return Err(Failure::conflict(format!(
                    "database `{label}` is not fenced, so copies would not be one cut"
                ))
                .into());
            }
        }
        let cut = self.gate.calls();
        let mut refreshed = Vec::new();
        for (label, resource) in self.lent_snapshots(&snapshots) {
            let snapshot = snapshots.get(&resource).cloned();
            refreshed.push(on_its_kind!(self, label, Refresh { cut: cut, snapshot: snapshot })?);
        }
        Ok(refreshed)
    }

    pub(super) async fn backup_restore(&mut self, label: String) -> Result<Restored, Error> {
        let (snapshot, changed) = self.snapshot(&label);
        on_its_kind!(self, label, Restore { snapshot: snapshot, changed: changed })
    }

    pub(super) async fn backup_loss(&mut self, label: String) -> Result<Vec<Lost>, Error> {
        let (snapshot, _) = self.snapshot(&label);
        on_its_kind!(self, label, Loss { snapshot: snapshot })
    }
}

impl Call<'_> {
    fn resource(&self, label: &str) -> Option<ResourceId> {
        let tree = self.resources.tree.0.get(label).map(|l| &l.id);
        tree.or_else(|| self.resources.database.0.get(label).map(|l| &l.id)).cloned()
    }

    fn restore_point<T>(&self, look: impl Fn(&RestorePoint) -> T) -> T {
        // What is done again is done with what was known then.
        if let Some(found) = self.gate.past().and_then(|past| past.remembered(|memory| look(&memory.restore_point))) {
            return found;
        }
        match self.resources.run.0.get(RUN) {
            Some(run) => look(&run.access.observer.memory().restore_point),
            None => look(&RestorePoint::default()),
        }
    }

    fn snapshot(&self, label: &str) -> (Option<Snapshot>, bool) {
        let Some(resource) = self.resource(label) else { return (None, false) };
        self.restore_point(|p| (p.snapshots.get(&resource).cloned(), p.differs(&resource)))
    }

    /// The labels under which the package knows what is in the restore point, databases first.
    fn lent_snapshots(&self, snapshots: &BTreeMap<ResourceId, Snapshot>) -> Vec<(String, ResourceId)> {
        let databases = self.resources.database.0.iter().map(|(label, lend)| (label, &lend.id));
        let trees = self.resources.tree.0.iter().map(|(label, lend)| (label, &lend.id));
        let told = |kind| self.resources.told.iter().filter(move |(_, id)| id.kind == kind);
        databases
            .chain(told(Database::NAME))
            .chain(trees)
            .chain(told(Tree::NAME))
            .filter(|(_, id)| snapshots.contains_key(id))
            .map(|(label, id)| (label.clone(), id.clone()))
            .collect()
    }
}
