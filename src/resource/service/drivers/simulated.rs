//! A service of the simulated world.
use super::super::{Mark, Mutate, Observe, Observer, Status};
use crate::resource::{Access, CallCtx, Failure, ResourceId, Service, world::World};
use async_trait::async_trait;
use std::sync::Arc;

pub struct Simulated {
    id: ResourceId,
    /// Starting it may change these.
    uses: Vec<ResourceId>,
    world: World,
    /// Looked at until the world has another state.
    real: Option<Arc<Observer>>,
}

pub fn simulate(id: &ResourceId, uses: &[ResourceId], real: Option<Arc<Observer>>, world: &World) -> Access<Service> {
    let (id, uses, world) = (id.clone(), uses.to_vec(), world.clone());
    let driver = Arc::new(Simulated { id, uses, world, real });
    Access { observer: driver.clone(), mutator: driver }
}

impl Simulated {
    async fn becomes(&self, status: Status, call: &CallCtx) -> Result<(), Failure> {
        let before = self.status().await?;
        self.world.becomes(&self.id, status);
        if before != status {
            self.world.says(&call.key, &self.id, format!("{} → {}", before.as_str(), status.as_str()));
        }
        Ok(())
    }

    /// A new version may write at once; an old one that comes back is what was there before.
    fn may_change(&self, call: &CallCtx) {
        if call.key.contains("/upgrade/") {
            self.uses.iter().for_each(|id| self.world.touch(id, &call.key));
        }
    }
}

#[async_trait]
impl Observe for Simulated {
    async fn status(&self) -> Result<Status, Failure> {
        match (self.world.service(&self.id), &self.real) {
            (Some(status), _) => Ok(status),
            (None, Some(real)) => real.status().await,
            // Before an upgrade a product runs.
            (None, None) => Ok(Status::Running),
        }
    }
    async fn start_id(&self) -> Result<Option<String>, Failure> {
        Ok((self.status().await? == Status::Running).then(|| "simulated".to_owned()))
    }
    async fn search(&self, _: &Mark, _: &[String]) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }
    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        Ok(Vec::new())
    }
}

#[async_trait]
impl Mutate for Simulated {
    async fn start(&self, call: &CallCtx) -> Result<(), Failure> {
        self.becomes(Status::Running, call).await?;
        self.may_change(call);
        Ok(())
    }
    async fn stop(&self, call: &CallCtx) -> Result<(), Failure> {
        self.becomes(Status::Stopped, call).await
    }
    async fn restart(&self, call: &CallCtx) -> Result<(), Failure> {
        self.world.says(&call.key, &self.id, "is restarted");
        self.becomes(Status::Running, call).await?;
        self.may_change(call);
        Ok(())
    }
    async fn reload(&self, call: &CallCtx) -> Result<(), Failure> {
        self.world.disturb();
        self.world.says(&call.key, &self.id, "reads its configuration again");
        Ok(())
    }
    async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
        Ok(Mark::at(0))
    }
}
