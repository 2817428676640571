//! Which metrics a need names and what the baselines are is put into the operation: a replay must see what the run saw.
use super::{ops, promql::MAX_QUERY};
use crate::{
    capability::{AsCall, Call, bounded},
    condition::{self, Dimension},
    gate::Error,
    resource::{
        Lend, Metrics,
        metrics::{Alert, AlertState, Baseline, HostMetrics},
        run::RUN,
    },
};
use std::collections::BTreeMap;
use wasmtime::component::Linker;

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        interfaces: "import backout:host/metrics@0.1.0;",
        imports: { default: async | trappable },
        with: { "backout:host/types": crate::capability::types },
        trappable_error_type: { "backout:host/types.error" => crate::gate::Error },
    });
}
/// The interface as a trait, so that it can be called without a component.
pub use bindings::backout::host::metrics as wit;

/// Bytes of a metric's name.
const MAX_NAME: usize = 128;

impl wit::Host for Call<'_> {
    async fn query(&mut self, metrics: String, name: String) -> Result<f64, Error> {
        let (name, allowed) = (bounded("name", name, MAX_NAME)?, self.queries(&metrics));
        self.perform(ops::Query { metrics, name, allowed }).await
    }
    async fn promql(&mut self, metrics: String, query: String) -> Result<f64, Error> {
        let query = bounded("query", query, MAX_QUERY)?;
        self.perform(ops::Promql { metrics, query }).await
    }
    async fn baseline(&mut self, metrics: String, window: u32) -> Result<(), Error> {
        let measures = self.measures(&metrics);
        self.perform(ops::Baseline { metrics, window, measures }).await?;
        Ok(())
    }
    async fn check(&mut self, metrics: String, that: String) -> Result<(), Error> {
        let that = bounded("condition", that, condition::MAX_LENGTH)?;
        let (allowed, baselines) = (self.queries(&metrics), self.baselines(&metrics));
        Ok(self.perform(ops::Check { metrics, that, allowed, baselines }).await?.answer()?)
    }
    async fn watch(&mut self, metrics: String, that: String, time: u32) -> Result<(), Error> {
        let that = bounded("condition", that, condition::MAX_LENGTH)?;
        let (allowed, baselines) = (self.queries(&metrics), self.baselines(&metrics));
        Ok(self.perform(ops::Watch { metrics, that, time, allowed, baselines }).await?.answer()?)
    }
    async fn compare(&mut self, metrics: String, that: String, time: u32) -> Result<(), Error> {
        let that = bounded("condition", that, condition::MAX_LENGTH)?;
        let (allowed, recorded) = (self.queries(&metrics), self.recorded(&metrics));
        Ok(self.perform(ops::Compare { metrics, that, time, allowed, recorded }).await?.answer()?)
    }
    async fn alerts(&mut self, metrics: String) -> Result<Vec<wit::Alert>, Error> {
        Ok(self.perform(ops::Alerts { metrics }).await?.into_iter().map(Into::into).collect())
    }
    async fn host(&mut self, metrics: String) -> Result<wit::HostMetrics, Error> {
        Ok(self.perform(ops::Host { metrics }).await?.into())
    }
}

impl Call<'_> {
    fn lent_metrics(&self, label: &str) -> Option<&Lend<Metrics>> {
        self.resources.metrics.0.get(label)
    }

    fn queries(&self, label: &str) -> Vec<String> {
        self.lent_metrics(label).map(|lend| lend.terms.queries.clone()).unwrap_or_default()
    }

    fn measures(&self, label: &str) -> BTreeMap<String, Dimension> {
        let Some(lend) = self.lent_metrics(label) else { return BTreeMap::new() };
        let measured = |name: &String| (name.clone(), lend.access.observer.dimension(name));
        lend.terms.queries.iter().map(measured).collect()
    }

    /// The baselines of the metrics that the need lists.
    fn recorded(&self, label: &str) -> BTreeMap<String, Baseline> {
        let (Some(lend), Some(run)) = (self.lent_metrics(label), self.resources.run.0.get(RUN)) else {
            return BTreeMap::new();
        };
        let memory = run.access.observer.memory();
        let known = memory.restore_point.baselines.get(&lend.id.name);
        let listed = known.into_iter().flatten().filter(|(name, _)| lend.terms.queries.contains(name));
        listed.map(|(name, baseline)| (name.clone(), baseline.clone())).collect()
    }

    /// Their medians.
    fn baselines(&self, label: &str) -> BTreeMap<String, f64> {
        self.recorded(label).into_iter().map(|(name, baseline)| (name, baseline.median)).collect()
    }
}

pub fn link<T: AsCall>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, Call<'static>>(linker, T::call)
}

impl From<Alert> for wit::Alert {
    fn from(Alert { name, severity, state, since, labels }: Alert) -> Self {
        let state = match state {
            AlertState::Pending => wit::AlertState::Pending,
            AlertState::Firing => wit::AlertState::Firing,
        };
        let labels = labels.into_iter().map(|(name, value)| wit::AlertLabel { name, value }).collect();
        Self { name, severity, state, since, labels }
    }
}

impl From<HostMetrics> for wit::HostMetrics {
    fn from(host: HostMetrics) -> Self {
        let HostMetrics { cpu, memory_used, memory_total, disk_free, disk_total, network_received, network_sent } =
            host;
        Self { cpu, memory_used, memory_total, disk_free, disk_total, network_received, network_sent }
    }
}
