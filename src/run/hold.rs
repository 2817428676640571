//! What a run has for itself, from before it looks at anything until it ends.
use super::locks::{Error, Locks};
use crate::resource::{FailureKind, ResourceId, Resources};
use std::{collections::BTreeSet, path::Path};

/// Resources that no other run changes meanwhile: what is read under it stays true until somebody has answered a question.
#[derive(Default)]
pub struct Hold {
    pub resources: Resources,
    pub(super) locks: Locks,
    /// Databases that an earlier run left shut, and those of which nobody can say it.
    pub(super) shut: BTreeSet<ResourceId>,
}

impl Hold {
    pub async fn take(state: &Path, resources: Resources) -> Result<Self, Error> {
        let locks = Locks::take(state, &ids(&resources))?;
        let mut shut = BTreeSet::new();
        for lend in resources.database.0.values() {
            match lend.access.observer.hidden().await {
                Ok(false) => {}
                // Nothing is fenced where nothing is.
                Err(failure) if failure.kind == FailureKind::NotFound => {}
                Ok(true) | Err(_) => {
                    shut.insert(lend.id.clone());
                }
            }
        }
        Ok(Self { resources, locks, shut })
    }

    /// What is only simulated nobody else can change. `shut`: databases that an earlier run left so.
    pub fn simulated(resources: Resources, shut: BTreeSet<ResourceId>) -> Self {
        Self { resources, shut, ..Self::default() }
    }

    /// Says who holds them, where it is no run.
    pub fn tell(&mut self, who: &str) -> std::io::Result<()> {
        self.locks.tell(who)
    }

    pub fn holds(&self, id: &ResourceId) -> bool {
        ids(&self.resources).contains(id)
    }
}

/// What only one run at a time may use.
pub fn ids(resources: &Resources) -> Vec<ResourceId> {
    let databases = resources.database.0.values().map(|l| &l.id);
    let trees = resources.tree.0.values().map(|l| &l.id);
    let services = resources.service.0.values().map(|l| &l.id);
    let tools = resources.tool.0.values().map(|l| &l.id);
    databases.chain(trees).chain(services).chain(tools).cloned().collect()
}
