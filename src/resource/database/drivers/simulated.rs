//! A database of the simulated world.
use super::super::{Executed, Mutate, Observe, Observer, Session};
use crate::resource::{
    Access, CallCtx, Database, Failure, ResourceId,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    world::{Content, World},
};
use async_trait::async_trait;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

struct Simulated {
    id: ResourceId,
    world: World,
    /// Looked at until the world has another state.
    real: Option<Arc<Observer>>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None`: as the real one is.
    fenced: Option<bool>,
    copies: BTreeMap<String, Content>,
}

pub fn simulate(id: &ResourceId, real: Option<Arc<Observer>>, world: &World) -> Access<Database> {
    let driver = Arc::new(Simulated { id: id.clone(), world: world.clone(), real, state: Mutex::default() });
    Access { observer: driver.clone(), mutator: driver }
}

impl Simulated {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn real(&self) -> Option<&Arc<Observer>> {
        self.real.as_ref().filter(|_| self.world.content(&self.id).is_original())
    }

    async fn set_fence(&self, up: bool, call: &CallCtx) -> Result<(), Failure> {
        if self.fenced().await? != up {
            self.world.says(&call.key, &self.id, if up { "open → fenced" } else { "fenced → open" });
        }
        self.state().fenced = Some(up);
        Ok(())
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
            Some(real) if self.world.changes().is_empty() => real.activity(call).await,
            _ => Ok(Vec::new()),
        }
    }
    async fn query(&self, sql: &str, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
        match self.real() {
            Some(real) => real.query(sql, call).await,
            None => Ok(invented(sql)),
        }
    }
    async fn fenced(&self) -> Result<bool, Failure> {
        let known = self.state().fenced;
        match (known, &self.real) {
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
impl ObserveCopies for Simulated {
    async fn fingerprint(&self, _: &CallCtx) -> Result<Fingerprint, Failure> {
        Ok(Fingerprint { schema: self.world.content(&self.id).word(), parts: Vec::new() })
    }
    async fn loss(&self, _: &Snapshot, _: &CallCtx) -> Result<Vec<Lost>, Failure> {
        Ok(Vec::new())
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
impl MutateCopies for Simulated {
    async fn take(&self, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
        let content = self.world.content(&self.id);
        let schema = content.word();
        self.state().copies.insert(id.to_owned(), content);
        self.world.says(&call.key, &self.id, "a stand-by is made and compared, table by table");
        Ok(Snapshot {
            id: id.to_owned(),
            place: "simulated".to_owned(),
            method: "stand-by".to_owned(),
            bytes: 0,
            proven: true,
            fingerprint: Fingerprint { schema, parts: Vec::new() },
            copied: 0,
            detector: String::new(),
        })
    }
    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        let content = self.world.content(&self.id);
        let fingerprint = Fingerprint { schema: content.word(), parts: Vec::new() };
        self.state().copies.insert(snapshot.id.clone(), content);
        self.world.says(&call.key, &self.id, "its stand-by is brought up to date and compared");
        Ok(Snapshot { fingerprint, ..snapshot.clone() })
    }
    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
        let copy = self.state().copies.get(&snapshot.id).cloned();
        self.world.put_back(&self.id, copy.unwrap_or_default());
        self.world.says(&call.key, &self.id, "its stand-by becomes live, what was live is kept aside");
        Ok(Restored { exchanged: true, aside: None, lost: Vec::new() })
    }
    async fn discard(&self, _: &Snapshot, _: &CallCtx) -> Result<u64, Failure> {
        Ok(0)
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
        self.world.touch(&self.id, &call.key);
        self.world.says(&call.key, &self.id, "statements change it");
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
