//! A database of the row's own, which answers at once: orders without end, all of them moved when somebody says so.
use async_trait::async_trait;
use backout::resource::{
    Access, CallCtx, Failure, Lend, ResourceId, Resources, Rights,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    database::{Executed, Mutate, Observe, Session},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

pub fn lend(resources: &mut Resources) {
    let access = Access { observer: Arc::new(Orders) as Arc<_>, mutator: Arc::new(Orders) as Arc<_> };
    let id = ResourceId::new("database", "orders");
    resources.database.0.insert("orders".into(), Lend { id, rights: Rights::all(), terms: (), uses: vec![], access });
}

struct Orders;

fn unasked<T>() -> Result<T, Failure> {
    Err(Failure::unavailable("the row does not ask for it"))
}

/// The numbers in a statement.
fn numbers(sql: &str) -> Vec<u64> {
    sql.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

#[async_trait]
impl Observe for Orders {
    async fn activity(&self, _: &CallCtx) -> Result<Vec<Session>, Failure> {
        unasked()
    }
    async fn query(&self, sql: &str, _: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
        let after = numbers(sql)[0];
        let row = |id: u64| vec![id.to_string(), "a customer of some name, with an address".into(), "shipped".into()];
        Ok((after + 1..=after + 5).map(row).collect())
    }
    async fn schema(&self) -> Result<String, Failure> {
        unasked()
    }
    async fn fenced(&self) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn hidden(&self) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn shut(&self) -> Result<bool, Failure> {
        Ok(false)
    }
    async fn open(&self) -> Result<bool, Failure> {
        Ok(true)
    }
    async fn executed(&self, _: &[Value], _: &CallCtx) -> Result<Executed, Failure> {
        unasked()
    }
}

#[async_trait]
impl Mutate for Orders {
    async fn fence(&self, _: Duration, _: &CallCtx) -> Result<(), Failure> {
        unasked()
    }
    async fn unfence(&self, _: &CallCtx) -> Result<(), Failure> {
        unasked()
    }
    async fn execute(&self, sql: &str, _: &CallCtx) -> Result<u64, Failure> {
        let numbers = numbers(sql);
        Ok(numbers[1] - numbers[0])
    }
}

#[async_trait]
impl ObserveCopies for Orders {
    async fn fingerprint(&self, _: &CallCtx) -> Result<Fingerprint, Failure> {
        unasked()
    }
    async fn loss(&self, _: &Snapshot, _: &CallCtx) -> Result<Vec<Lost>, Failure> {
        unasked()
    }
    async fn inspect(&self, _: &Snapshot, _: &CallCtx) -> Result<(), Failure> {
        unasked()
    }
    async fn quiet(&self, _: &CallCtx) -> Result<(), Failure> {
        Ok(())
    }
    async fn exchanged(&self, _: &Snapshot, _: &[Value]) -> Result<Exchange, Failure> {
        unasked()
    }
}

#[async_trait]
impl MutateCopies for Orders {
    async fn take(&self, _: &str, _: &CallCtx) -> Result<Snapshot, Failure> {
        unasked()
    }
    async fn refresh(&self, _: &Snapshot, _: &CallCtx) -> Result<Snapshot, Failure> {
        unasked()
    }
    async fn exchange(&self, _: &Snapshot, _: &CallCtx) -> Result<Restored, Failure> {
        unasked()
    }
    async fn discard(&self, _: &Snapshot, _: &CallCtx) -> Result<u64, Failure> {
        unasked()
    }
}
