//! A probe of the simulated world. What a product that nobody has changed yet answers can be asked; all else is assumed.
use super::super::{Observe, Observer, Response, Sample, Unchangeable};
use crate::resource::{Access, CallCtx, Failure, Probe, world::World};
use async_trait::async_trait;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

struct Simulated {
    real: Option<Arc<Observer>>,
    world: World,
}

pub fn simulate(real: Option<Arc<Observer>>, world: &World) -> Access<Probe> {
    Access { observer: Arc::new(Simulated { real, world: world.clone() }), mutator: Arc::new(Unchangeable) }
}

#[async_trait]
impl Observe for Simulated {
    async fn get(&self, path: &str, call: &CallCtx) -> Result<Response, Failure> {
        match &self.real {
            Some(real) if !self.world.is_disturbed() => real.get(path, call).await,
            _ => Ok(Response { status: 200, headers: BTreeMap::new(), body: String::new(), cut: false, millis: 1.0 }),
        }
    }
    /// A plan puts no load on anything.
    async fn load(&self, _: &str, _: u32, time: Duration, _: &CallCtx) -> Result<Sample, Failure> {
        let seconds = time.as_secs_f64();
        Ok(Sample { requests: 1, errors: 0, seconds, p50: 1.0, p90: 1.0, p95: 1.0, p99: 1.0, max: 1.0 })
    }
    async fn connect(&self, call: &CallCtx) -> Result<Duration, Failure> {
        match &self.real {
            Some(real) if !self.world.is_disturbed() => real.connect(call).await,
            _ => Ok(Duration::from_millis(1)),
        }
    }
}
