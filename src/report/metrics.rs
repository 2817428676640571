//! Metrics before and after: medians of the baseline beside what later checks saw.
use super::{facts::Metric, news::output};
use crate::{
    condition::{Dimension, Unit, scaled},
    journal::{Place, Request},
    resource::{Verdict, metrics::Baseline},
};
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Default)]
pub struct Metrics(Vec<Metric>);

impl Metrics {
    /// The newest baseline counts.
    pub fn baseline(&mut self, request: &Request, value: &Value) {
        let recorded: BTreeMap<String, Baseline> = output(value).unwrap_or_default();
        let measures: BTreeMap<String, Dimension> =
            request.request.get("measures").and_then(output).unwrap_or_default();
        for (name, Baseline { median, .. }) in recorded {
            let dimension = measures.get(&name).copied().unwrap_or(Dimension::Any);
            let metric = self.metric(&request.resource, &name);
            metric.before = Some(median);
            // Unless a check has spoken of it in another.
            if metric.unit.is_empty() {
                metric.unit = scaled(median, dimension, None).1.to_owned();
            }
        }
    }

    /// A check has looked.
    pub fn seen(&mut self, place: &Place, resource: &str, verdict: &Verdict) {
        for reading in &verdict.readings {
            let value = Unit::parse(&reading.unit).map_or(reading.value, |unit| unit.canonical(reading.value));
            let metric = self.metric(resource, &reading.name);
            metric.unit.clone_from(&reading.unit);
            match (place.phase.as_str(), place.rolled_back) {
                (_, true) => metric.after_rollback = Some(value),
                ("upgrade" | "verify", false) => metric.after_upgrade = Some(value),
                _ => {}
            }
            if !reading.must.is_empty() {
                metric.must.clone_from(&reading.must);
            }
        }
    }

    fn metric(&mut self, resource: &str, name: &str) -> &mut Metric {
        let known = self.0.iter().position(|m| m.resource == resource && m.name == name);
        let position = known.unwrap_or_else(|| {
            self.0.push(Metric {
                resource: resource.to_owned(),
                name: name.to_owned(),
                before: None,
                after_upgrade: None,
                after_rollback: None,
                unit: String::new(),
                must: String::new(),
            });
            self.0.len() - 1
        });
        &mut self.0[position]
    }

    /// By resource and name.
    pub fn list(mut self) -> Vec<Metric> {
        self.0.sort_by(|a, b| (&a.resource, &a.name).cmp(&(&b.resource, &b.name)));
        self.0
    }
}
