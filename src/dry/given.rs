//! What a scenario says of its world beyond what is invented: numbers, rows, and what becomes of them later.
use crate::{
    diagnostic::{
        Mistake,
        reader::{Item, Table},
    },
    package::{Manifest, Need},
    resource::{Database, Kind, Metrics, ResourceId, world::World},
};
use std::collections::BTreeMap;

/// By the resource, which has the package's own name for it: there is no site.
type ByName<T> = BTreeMap<ResourceId, BTreeMap<String, T>>;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    /// What is installed; `None`: nobody knows.
    pub version: Option<String>,
    /// in canonical units
    metrics: ByName<f64>,
    /// of each table
    rows: ByName<u64>,
}

/// What becomes of the world by itself, once a step is over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Later {
    /// `upgrade/start-new`
    pub after: String,
    /// where that stands in its file, counted from 1
    pub line: usize,
    metrics: ByName<f64>,
    /// of each table, in addition to those that are there
    written: ByName<u64>,
}

impl Given {
    pub fn apply(&self, world: &World) {
        self.metrics.iter().for_each(|(id, numbers)| world.measure(id, numbers));
        self.rows.iter().for_each(|(id, rows)| world.holds(id, rows));
    }

    pub fn read(table: Table<'_>, manifest: &Manifest) -> Self {
        let version = table.string("version").map(|version| {
            if !manifest.upgrades(&version.value) {
                let shown = crate::diagnostic::shown(&version.value);
                let mistake = Mistake::new(format!("the package does not upgrade from `{shown}`"));
                table.mistake(
                    mistake.at(&version.location).hint("`from` in the manifest says which versions it upgrades"),
                );
            }
            version.value
        });
        let given = Self { version, metrics: metrics(&table, manifest), rows: rows(&table, "rows", manifest) };
        table.finish();
        given
    }
}

impl Later {
    pub fn apply(&self, world: &World) {
        self.metrics.iter().for_each(|(id, numbers)| world.measure(id, numbers));
        self.written.iter().for_each(|(id, rows)| world.write_rows(id, rows));
    }

    /// `metrics shop, database orders after upgrade/start-new`
    pub fn title(&self) -> String {
        let ids = self.metrics.keys().chain(self.written.keys());
        let names: Vec<String> = ids.map(|id| format!("{} {}", id.kind, id.name)).collect();
        format!("{} after {}", names.join(", "), self.after)
    }

    /// The keys of a `[[when]]` that say what becomes, not what fails.
    pub fn is_meant(table: &Table<'_>) -> bool {
        let [metrics, database] = [Metrics::NAME, Database::NAME].map(|kind| table.get(kind).is_some());
        metrics || database
    }

    /// `after`: as it was read.
    pub fn read(table: &Table<'_>, after: String, manifest: &Manifest) -> Self {
        let line = table.location().line_and_column().0;
        Self { after, line, metrics: metrics(table, manifest), written: rows(table, "written", manifest) }
    }
}

/// The entries of the table of a kind, each with the need that its label stands for. Where there is none, which is a mistake,
/// the value is there to be read all the same.
pub fn labelled<'d, 'm>(
    table: &Table<'d>,
    key: &str,
    kind: &str,
    manifest: &'m Manifest,
) -> Vec<(Item<'d>, Option<&'m Need>)> {
    let known = |item: Item<'d>| {
        let need = manifest.need(kind, &item.key);
        if need.is_none() {
            let labels = manifest.needs.iter().filter(|need| need.kind == kind).map(|need| need.label.as_str());
            let mistake = Mistake::new(format!("the package needs no {kind} `{}`", item.key));
            item.mistake_at(mistake.known(&item.key, labels), &item.key_location());
        }
        (item, need)
    };
    table.named(key).into_iter().map(known).collect()
}

/// `{ orders = 3 }`: a number for each table of a database.
pub fn tables(item: &Item<'_>) -> BTreeMap<String, u64> {
    let entries = item.table().map(|table| table.entries()).unwrap_or_default();
    let count = |item: Item<'_>| Some((item.key.clone(), u64::try_from(item.integer(0..=i64::MAX)?).ok()?));
    entries.into_iter().filter_map(count).collect()
}

fn rows(table: &Table<'_>, key: &str, manifest: &Manifest) -> ByName<u64> {
    let mut rows = ByName::new();
    for (item, _) in labelled(table, Database::NAME, Database::NAME, manifest) {
        let Some(table) = item.table() else { continue };
        if let Some(counts) = table.required(key, "{ orders = 5 }") {
            rows.insert(ResourceId::new(Database::NAME, item.key.as_str()), tables(&counts));
        }
        table.finish();
    }
    rows
}

fn metrics(table: &Table<'_>, manifest: &Manifest) -> ByName<f64> {
    let mut metrics = ByName::new();
    for (item, need) in labelled(table, Metrics::NAME, Metrics::NAME, manifest) {
        let mut numbers = BTreeMap::new();
        for number in item.table().map(|table| table.entries()).unwrap_or_default() {
            if let Some(need) = need
                && !need.queries.iter().any(|query| query.value == number.key)
            {
                let mistake = Mistake::new(format!("the need {} lists no query `{}`", need.label, number.key));
                let known = need.queries.iter().map(|query| query.value.as_str());
                number.mistake_at(mistake.known(&number.key, known), &number.key_location());
            }
            numbers.extend(number.number().map(|value| (number.key.clone(), value)));
        }
        metrics.insert(ResourceId::new(Metrics::NAME, item.key.as_str()), numbers);
    }
    metrics
}
