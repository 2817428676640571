//! `[metrics.NAME]`
use super::{Reading, url};
use crate::{
    condition::{RESERVED, UNITS, Unit},
    diagnostic::{
        Mistake,
        reader::{Item, Table},
        shown,
    },
    resource::{ResourceId, metrics},
    site::path,
};
use std::{collections::BTreeMap, path::Path, time::Duration};

impl Reading<'_> {
    pub(super) fn metrics(&self, table: Table<'_>, state: &Path) -> Option<metrics::Section> {
        let drivers = [("host", "host"), ("process", "process"), ("page", "page"), ("prometheus", "prometheus")];
        let driver = match table.required("driver", "\"host\"").and_then(|item| item.word(&drivers))? {
            "process" => {
                let service = table.required("service", "\"…\"").and_then(|item| item.text())?;
                if !self.locations.contains_key(&ResourceId::new("service", &service.value)) {
                    let mistake = Mistake::new(format!("there is no service `{}`", shown(&service.value)));
                    let known = self.locations.keys().filter(|id| id.kind == "service").map(|id| id.name.as_str());
                    table.mistake(mistake.at(&service.location).known(&service.value, known));
                }
                metrics::Driver::Process { service: service.value }
            }
            "page" => {
                let url = table.required("url", "\"http://localhost:8080/metrics\"").and_then(|item| url(&item));
                let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(5));
                let queries = table.named("queries").iter().filter_map(|q| Some((q.key.clone(), query(q)?))).collect();
                metrics::Driver::Page { url: url?, timeout, queries }
            }
            "prometheus" => metrics::Driver::Prometheus(self.prometheus(&table)?),
            _ => {
                let disk = table.get("disk").and_then(|item| item.text());
                let disk = disk.map_or_else(|| state.to_owned(), |at| path::absolute(self.dir, &at.value));
                metrics::Driver::Host { disk }
            }
        };
        table.finish();
        Some(metrics::Section { driver })
    }
}

impl Reading<'_> {
    fn prometheus(&self, table: &Table<'_>) -> Option<metrics::Prometheus> {
        let url = table.required("url", "\"http://localhost:9090\"").and_then(|item| url(&item));
        let headers = self.headers(table);
        let timeout = table.duration("timeout").unwrap_or(Duration::from_secs(5));
        let queries = table.named("queries").iter().filter_map(|q| Some((q.key.clone(), promql(q)?))).collect();
        let alertmanager = table.get("alertmanager").and_then(|item| self.alertmanager(&item));
        let alerts = table.table("alerts").map(|labels| {
            let labels = labels.entries();
            labels.iter().filter_map(|item| Some((item.key.clone(), item.string()?.value))).collect()
        });
        Some(metrics::Prometheus { url: url?, headers, timeout, queries, alertmanager, alerts })
    }

    /// An address, or a table with headers of its own: those of Prometheus are not for somebody else.
    fn alertmanager(&self, item: &Item<'_>) -> Option<metrics::Alertmanager> {
        if !item.is_table() {
            return Some(metrics::Alertmanager { url: url(item)?, headers: BTreeMap::new() });
        }
        let table = item.table()?;
        let url = table.required("url", "\"http://localhost:9093\"").and_then(|item| url(&item));
        let headers = self.headers(&table);
        table.finish();
        Some(metrics::Alertmanager { url: url?, headers })
    }
}

/// A name that a condition can say.
fn sayable(item: &Item<'_>) {
    if RESERVED.contains(&item.key.as_str()) {
        let mistake = Mistake::new(format!("no query can be called `{}`", item.key));
        let location = item.key_location();
        item.mistake_at(mistake.hint("it is a word of conditions: use another name"), &location);
    }
}

/// `'sum(rate(…))'`, or `{ promql = '…', unit = "s" }`. What it says only the server can read.
fn promql(item: &Item<'_>) -> Option<metrics::PromQl> {
    sayable(item);
    let query = |item: &Item<'_>| item.text().map(|text| text.value);
    if !item.is_table() {
        return Some(metrics::PromQl { text: query(item)?, unit: None });
    }
    let table = item.table()?;
    let text = table.required("promql", "'…'").and_then(|item| query(&item));
    let words: Vec<(&str, Unit)> = UNITS.iter().map(|unit| (unit.as_str(), *unit)).collect();
    let unit = table.get("unit").map(|item| item.word(&words));
    table.finish();
    let unit = match unit {
        Some(unit) => Some(unit?),
        None => None,
    };
    Some(metrics::PromQl { text: text?, unit })
}

/// `json:a.b`, `prometheus:name{label="x"}`, `ratio:A / B`. Its name must be one that a condition can say.
fn query(item: &Item<'_>) -> Option<metrics::Query> {
    sayable(item);
    match metrics::Query::parse(&item.text()?.value) {
        Ok(query) => Some(query),
        Err(problem) => {
            item.mistake(Mistake::new(format!("`{}` is no query", item.name)).hint(problem));
            None
        }
    }
}
