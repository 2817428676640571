//! A database of the simulated world.
use super::super::{Executed, Mutate, Observe, Observer, Session};
use crate::resource::{
    Access, CallCtx, Database, Failure, ResourceId,
    copies::{Copied, Fingerprint, ObserveCopies, Part},
    stand_in::{Place, StandIn},
    world::{Content, World},
};
use async_trait::async_trait;
use serde_json::Value;
use std::{sync::Arc, time::Duration};

struct Simulated {
    place: Place,
    /// Looked at until the world has another state.
    real: Option<Arc<Observer>>,
}

pub fn simulate(id: &ResourceId, real: Option<Arc<Observer>>, world: &World) -> Access<Database> {
    let driver = Arc::new(Simulated { place: Place::new(id, world), real });
    Access { observer: driver.clone(), mutator: driver }
}

impl Simulated {
    fn real(&self) -> Option<&Arc<Observer>> {
        self.real.as_ref().filter(|_| self.place.content().is_original())
    }

    /// How many rows a table has, where that is all that is asked for and somebody has said it.
    fn counted(&self, sql: &str) -> Option<Vec<Vec<String>>> {
        let words: Vec<&str> = sql.trim().trim_end_matches(';').split_whitespace().collect();
        let [select, count, from, table] = words.as_slice() else { return None };
        let asked = [(select, "select"), (count, "count(*)"), (from, "from")];
        let rows = self.place.rows(&self.place.content());
        let is_count = asked.iter().all(|(word, wanted)| word.eq_ignore_ascii_case(wanted));
        rows.get(*table).filter(|_| is_count).map(|count| vec![vec![count.to_string()]])
    }

    async fn set_fence(&self, up: bool, call: &CallCtx) -> Result<(), Failure> {
        if self.fenced().await? != up {
            self.place.says(call, if up { "open → fenced" } else { "fenced → open" });
        }
        self.place.world.fence(&self.place.id, up);
        Ok(())
    }
}

impl StandIn for Simulated {
    const COMPARED: &'static str = "table by table";
    fn place(&self) -> &Place {
        &self.place
    }
    fn copied(&self) -> Option<&dyn ObserveCopies> {
        self.real.as_deref().map(Database::observe)
    }
    fn fingerprint_of(&self, content: &Content) -> Fingerprint {
        let part = |(name, count)| Part { name, count, digest: String::new() };
        Fingerprint { schema: content.word(), parts: self.place.rows(content).into_iter().map(part).collect() }
    }
}

/// As many values as the statement seems to ask for: who looks at the first one finds it.
fn invented(sql: &str) -> Vec<Vec<String>> {
    let lower = sql.to_ascii_lowercase();
    let list = lower.find("select").map_or("", |at| &lower[at + 6..]);
    let (mut depth, mut columns) = (0_u32, 1);
    for (at, c) in list.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => columns += 1,
            'f' if depth == 0 && list[at..].starts_with("from") && list[..at].ends_with(char::is_whitespace) => break,
            _ => {}
        }
    }
    vec![vec!["0".to_owned(); columns.min(100)]]
}

#[async_trait]
impl Observe for Simulated {
    async fn activity(&self, call: &CallCtx) -> Result<Vec<Session>, Failure> {
        match self.real() {
            // Whoever used it is kept out, or was stopped.
            Some(real) if !self.place.world.is_disturbed() => real.activity(call).await,
            _ => Ok(Vec::new()),
        }
    }
    async fn query(&self, sql: &str, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
        match self.real() {
            Some(real) => real.query(sql, call).await,
            None => Ok(self.counted(sql).unwrap_or_else(|| invented(sql))),
        }
    }
    async fn schema(&self) -> Result<String, Failure> {
        match self.real() {
            Some(real) => real.schema().await,
            None => Ok(self.place.content().word()),
        }
    }
    async fn fenced(&self) -> Result<bool, Failure> {
        match (self.place.world.fenced(&self.place.id), &self.real) {
            (Some(fenced), _) => Ok(fenced),
            (None, Some(real)) => real.fenced().await,
            (None, None) => Ok(false),
        }
    }
    async fn hidden(&self) -> Result<bool, Failure> {
        self.fenced().await
    }
    async fn shut(&self) -> Result<bool, Failure> {
        self.fenced().await
    }
    async fn open(&self) -> Result<bool, Failure> {
        Ok(!self.fenced().await?)
    }
    async fn executed(&self, _: &[Value], _: &CallCtx) -> Result<Executed, Failure> {
        Ok(Executed::NotDone)
    }
}

#[async_trait]
impl Mutate for Simulated {
    async fn fence(&self, _: Duration, call: &CallCtx) -> Result<(), Failure> {
        self.set_fence(true, call).await
    }
    async fn unfence(&self, call: &CallCtx) -> Result<(), Failure> {
        self.set_fence(false, call).await
    }
    async fn execute(&self, _: &str, call: &CallCtx) -> Result<u64, Failure> {
        self.place.world.touch(&self.place.id, &call.key);
        self.place.says(call, "statements change it");
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invented_row_has_a_value_for_each_column() {
        for (sql, columns) in [
            ("select count(*) from orders where note <> ''", 1),
            ("SELECT a, coalesce(b, 'x'), c FROM t", 3),
            ("select a_from, b from t", 2),
            ("pragma user_version", 1),
        ] {
            assert_eq!(invented(sql)[0].len(), columns, "{sql}");
        }
    }
}
