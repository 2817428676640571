//! A channel of the simulated world: nobody hears of it, and what would have been said is shown.
use super::super::{Message, Mutate, Observe};
use crate::resource::{Access, CallCtx, Channel, Failure, ResourceId, world::World};
use async_trait::async_trait;
use std::sync::Arc;

struct Simulated {
    id: ResourceId,
    world: World,
}

pub fn simulate(id: &ResourceId, world: &World) -> Access<Channel> {
    let driver = Arc::new(Simulated { id: id.clone(), world: world.clone() });
    Access { observer: driver.clone(), mutator: driver }
}

impl Observe for Simulated {
    fn tells_apart(&self) -> bool {
        true
    }
}

#[async_trait]
impl Mutate for Simulated {
    async fn send(&self, message: &Message, call: &CallCtx) -> Result<(), Failure> {
        self.world.says(&call.key, &self.id, format!("is told: {}", message.title()));
        Ok(())
    }
}
