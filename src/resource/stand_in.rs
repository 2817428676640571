//! Copies of a simulated resource: a stand-by is what its content was at a moment.
use super::{
    CallCtx, Failure, ResourceId,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    world::{Content, World},
};
use async_trait::async_trait;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is there once in the simulated world, under the name that the real one has.
pub struct Place {
    pub id: ResourceId,
    pub world: World,
}

/// A simulated resource that can be copied.
pub trait StandIn: Send + Sync {
    /// How a copy of it is compared: `file by file`.
    const COMPARED: &'static str;
    fn place(&self) -> &Place;
    /// What this content is compared by.
    fn fingerprint_of(&self, content: &Content) -> Fingerprint;
}

impl Place {
    pub fn new(id: &ResourceId, world: &World) -> Self {
        Self { id: id.clone(), world: world.clone() }
    }
    pub fn content(&self) -> Content {
        self.world.content(&self.id)
    }
    pub fn says(&self, call: &CallCtx, text: impl Into<String>) {
        self.world.says(&call.key, &self.id, text);
    }
    pub fn rows(&self, content: &Content) -> BTreeMap<String, u64> {
        self.world.rows(&self.id, content)
    }
    /// What an exchange with this content would set aside, as far as anybody has said what was written.
    fn lost(&self, copy: &Content) -> Vec<Lost> {
        let (live, copy) = (self.content().rows, &copy.rows);
        let count = |rows: &BTreeMap<String, u64>, table: &String| rows.get(table).copied().unwrap_or_default();
        let tables: BTreeSet<&String> = live.keys().chain(copy.keys()).collect();
        let lost = tables.into_iter().map(|table| {
            let (live, copy) = (count(&live, table), count(copy, table));
            let (rows, missing) = (live.saturating_sub(copy), copy.saturating_sub(live));
            Lost { part: table.clone(), rows, changed: 0, missing }
        });
        lost.filter(|lost| lost.rows + lost.missing > 0).collect()
    }
}

/// `, 17000 rows in 2 tables`, where anybody has said how many there are.
fn counted(rows: &BTreeMap<String, u64>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let all = rows.values().fold(0, |all: u64, count| all.saturating_add(*count));
    let [one, table] = [all == 1, rows.len() == 1].map(|one| if one { "" } else { "s" });
    format!(", {all} row{one} in {} table{table}", rows.len())
}

#[async_trait]
impl<T: StandIn> ObserveCopies for T {
    async fn fingerprint(&self, _: &CallCtx) -> Result<Fingerprint, Failure> {
        Ok(self.fingerprint_of(&self.place().content()))
    }
    async fn loss(&self, snapshot: &Snapshot, _: &CallCtx) -> Result<Vec<Lost>, Failure> {
        let Place { id, world } = self.place();
        Ok(world.copied(id, &snapshot.id).map(|copy| self.place().lost(&copy)).unwrap_or_default())
    }
    async fn inspect(&self, _: &Snapshot, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn quiet(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn exchanged(&self, _: &Snapshot, _: &[Value]) -> Result<Exchange, Failure> {
        Ok(Exchange::NotDone)
    }
}

#[async_trait]
impl<T: StandIn> MutateCopies for T {
    async fn take(&self, name: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
        let place = self.place();
        let content = place.world.copy(&place.id, name);
        let rows = counted(&place.rows(&content));
        place.says(call, format!("a stand-by is made and compared, {}{rows}", T::COMPARED));
        Ok(Snapshot {
            id: name.to_owned(),
            place: "simulated".to_owned(),
            method: "stand-by".to_owned(),
            bytes: 0,
            proven: true,
            fingerprint: self.fingerprint_of(&content),
            copied: 0,
            detector: String::new(),
        })
    }
    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        let place = self.place();
        let content = place.world.copy(&place.id, &snapshot.id);
        place.says(call, "its stand-by is brought up to date and compared");
        Ok(Snapshot { fingerprint: self.fingerprint_of(&content), ..snapshot.clone() })
    }
    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
        let place = self.place();
        let copy = place.world.copied(&place.id, &snapshot.id).unwrap_or_default();
        let lost = place.lost(&copy);
        place.world.put_back(&place.id, copy);
        let rows = counted(&lost.iter().map(|lost| (lost.part.clone(), lost.rows)).collect());
        place.says(call, format!("its stand-by becomes live, what was live is kept aside{rows}"));
        Ok(Restored { exchanged: true, aside: None, lost })
    }
    async fn discard(&self, _: &Snapshot, _: &CallCtx) -> Result<u64, Failure> {
        Ok(0)
    }
}
