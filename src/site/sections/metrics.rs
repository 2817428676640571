//! `[metrics.NAME]`
use super::{Reading, url};
use crate::{
    condition::RESERVED,
    diagnostic::{
        Mistake,
        reader::{Item, Table},
        shown,
    },
    resource::{ResourceId, metrics},
    site::path,
};
use std::{path::Path, time::Duration};

impl Reading<'_> {
    pub(super) fn metrics(&self, table: Table<'_>, state: &Path) -> Option<metrics::Section> {
        let drivers = [("host", "host"), ("process", "process"), ("page", "page")];
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

/// `json:a.b`, `prometheus:name{label="x"}`, `ratio:A / B`. Its name must be one that a condition can say.
fn query(item: &Item<'_>) -> Option<metrics::Query> {
    if RESERVED.contains(&item.key.as_str()) {
        let mistake = Mistake::new(format!("no query can be called `{}`", item.key));
        let location = item.key_location();
        item.mistake_at(mistake.hint("it is a word of conditions: use another name"), &location);
    }
    match metrics::Query::parse(&item.text()?.value) {
        Ok(query) => Some(query),
        Err(problem) => {
            item.mistake(Mistake::new(format!("`{}` is no query", item.name)).hint(problem));
            None
        }
    }
}
