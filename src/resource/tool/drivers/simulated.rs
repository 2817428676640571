//! A tool of the simulated world: what it does nobody knows but the site, which says what it may change.
use super::super::{Looked, Mutate, Observe};
use crate::resource::{Access, CallCtx, Failure, ResourceId, Tool, world::World};
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

struct Simulated {
    id: ResourceId,
    uses: Vec<ResourceId>,
    world: World,
}

pub fn simulate(id: &ResourceId, uses: &[ResourceId], world: &World) -> Access<Tool> {
    let driver = Arc::new(Simulated { id: id.clone(), uses: uses.to_vec(), world: world.clone() });
    Access { observer: driver.clone(), mutator: driver }
}

#[async_trait]
impl Observe for Simulated {
    async fn running(&self, _: &str) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn end(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn look(&self, _: &[Value], _: &CallCtx) -> Result<Looked, Failure> {
        Ok(Looked::NotDone)
    }
}

#[async_trait]
impl Mutate for Simulated {
    async fn run(&self, call: &CallCtx) -> Result<String, Failure> {
        self.world.disturb();
        self.uses.iter().for_each(|id| self.world.touch(id, &call.key));
        let changes: Vec<String> = self.uses.iter().map(|id| format!("{} {}", id.kind, id.name)).collect();
        let text = match changes.is_empty() {
            true => "runs".to_owned(),
            false => format!("runs, may change {}", changes.join(", ")),
        };
        self.world.says(&call.key, &self.id, text);
        Ok(String::new())
    }
}
