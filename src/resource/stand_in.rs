//! Copies of a simulated resource: a stand-by is what its content was at a moment.
use super::{
    CallCtx, Failure, ResourceId,
    copies::{ARCHIVE, CLONE, Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
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
    /// The real one, where there is one to be looked at.
    fn copied(&self) -> Option<&dyn ObserveCopies>;
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
        let repository = match self.copied() {
            Some(real) => real.repository().await?,
            None => None,
        };
        let way = match self.copied() {
            Some(real) => real.way(call).await?,
            None => None,
        };
        let later = way.as_ref().is_some_and(|way| way.later) && place.world.fenced(&place.id) != Some(true);
        let (method, how) = match repository {
            Some(name) => (ARCHIVE, format!("an archive is written into repository {name}, read back and compared")),
            None => match &way {
                Some(way) if way.later => (CLONE, "a clone is made and compared".to_owned()),
                _ => ("stand-by", "a stand-by is made and compared".to_owned()),
            },
        };
        let why = way.map(|way| format!("; {}", way.words)).unwrap_or_default();
        if later {
            place.says(call, format!("no copy yet, it is made and proven under the fence{why}"));
        } else {
            place.says(call, format!("{how}, {}{rows}{why}", T::COMPARED));
        }
        Ok(Snapshot {
            id: name.to_owned(),
            place: "simulated".to_owned(),
            method: method.to_owned(),
            bytes: 0,
            proven: !later,
            fingerprint: self.fingerprint_of(&content),
            copied: 0,
            detector: String::new(),
            position: None,
            chosen: None,
        })
    }
    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        let place = self.place();
        let content = place.world.copy(&place.id, &snapshot.id);
        let how = match (snapshot.is_archived(), snapshot.comes_later()) {
            (true, _) => "a new archive is written, read back and compared".to_owned(),
            (_, true) => format!("a clone is made and compared, {}", T::COMPARED),
            (false, false) => {
                // How long it will take hangs on it. One that does not answer is said elsewhere.
                let detector = match self.copied() {
                    Some(real) => real.detector(call).await.ok().flatten(),
                    None => None,
                };
                let detector = detector.map(|words| format!("; {words}")).unwrap_or_default();
                format!("its stand-by is brought up to date and compared{detector}")
            }
        };
        place.says(call, how);
        Ok(Snapshot { fingerprint: self.fingerprint_of(&content), proven: true, ..snapshot.clone() })
    }
    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
        let place = self.place();
        let copy = place.world.copied(&place.id, &snapshot.id).unwrap_or_default();
        let lost = place.lost(&copy);
        place.world.put_back(&place.id, copy);
        let rows = counted(&lost.iter().map(|lost| (lost.part.clone(), lost.rows)).collect());
        let stand_by = if snapshot.is_archived() { "its archive becomes a stand-by, which" } else { "its stand-by" };
        place.says(call, format!("{stand_by} becomes live, what was live is kept aside{rows}"));
        Ok(Restored { exchanged: true, aside: None, lost })
    }
    async fn discard(&self, _: &Snapshot, _: &CallCtx) -> Result<u64, Failure> {
        Ok(0)
    }
}
