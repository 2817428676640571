//! Metrics of the simulated world: what a scenario gives, or those of the real one as long as it is as it was.
use super::super::{Alert, HostMetrics, Numbers, Observe, Observer, Past, Unchangeable};
use crate::{
    condition::Dimension,
    resource::{Access, CallCtx, Failure, Metrics, ResourceId, world::World},
};
use async_trait::async_trait;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

struct Simulated {
    id: ResourceId,
    names: Vec<String>,
    real: Option<Arc<Observer>>,
    world: World,
}

/// `names`: those that the need lists, for where there is no real one to ask.
pub fn simulate(id: &ResourceId, names: &[String], real: Option<Arc<Observer>>, world: &World) -> Access<Metrics> {
    let driver = Simulated { id: id.clone(), names: names.to_vec(), real, world: world.clone() };
    Access { observer: Arc::new(driver), mutator: Arc::new(Unchangeable) }
}

impl Simulated {
    fn real(&self) -> Option<&Arc<Observer>> {
        self.real.as_ref().filter(|_| !self.world.is_disturbed())
    }
}

#[async_trait]
impl Observe for Simulated {
    fn names(&self) -> Vec<String> {
        self.real.as_ref().map_or_else(|| self.names.clone(), |real| real.names())
    }
    fn dimension(&self, name: &str) -> Dimension {
        self.real.as_ref().map_or(Dimension::Any, |real| real.dimension(name))
    }
    fn given(&self, name: &str) -> Option<f64> {
        self.world.number(&self.id, name)
    }
    async fn read(&self, names: &[String], call: &CallCtx) -> Result<Numbers, Failure> {
        match self.real() {
            Some(real) => real.read(names, call).await,
            // What is said about a number that nobody gave is assumed, whatever stands here.
            None => {
                let number = |name: &String| (name.clone(), Some(self.given(name).unwrap_or(0.0)));
                Ok(names.iter().map(number).collect::<BTreeMap<_, _>>().into())
            }
        }
    }
    async fn past(&self, names: &[String], window: Duration, call: &CallCtx) -> Result<Option<Past>, Failure> {
        match self.real() {
            Some(real) => real.past(names, window, call).await,
            None => Ok(None),
        }
    }
    /// A number for which nobody can have a word.
    async fn promql(&self, query: &str, call: &CallCtx) -> Result<Option<f64>, Failure> {
        match self.real() {
            Some(real) => real.promql(query, call).await,
            None => Ok(Some(0.0)),
        }
    }
    /// What people would be told of a changed world nobody knows: it is taken to be well.
    async fn alerts(&self, call: &CallCtx) -> Result<Vec<Alert>, Failure> {
        match self.real() {
            Some(real) => real.alerts(call).await,
            None => Ok(Vec::new()),
        }
    }
    async fn host(&self, call: &CallCtx) -> Result<HostMetrics, Failure> {
        match self.real() {
            Some(real) => real.host(call).await,
            None => Ok(HostMetrics {
                cpu: 0.1,
                memory_used: 1 << 30,
                memory_total: 8 << 30,
                disk_free: 100 << 30,
                disk_total: 200 << 30,
                network_received: 0.0,
                network_sent: 0.0,
            }),
        }
    }
}
