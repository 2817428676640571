//! PostgreSQL: a server keeps the data, so it also keeps applications out, says who is connected, and gives a database another
//! name. Nothing here lies in a file of this host.
mod activity;
mod connection;
mod copies;
mod error;
mod execute;
mod fence;
mod privileges;
mod query;
mod statements;
mod stream;
mod tls;

use crate::resource::{
    CallCtx, Failure,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    database::{Executed, Mutate, Observe, Server, Session},
};
use async_trait::async_trait;
use connection::{in_time, soon, while_wanted};
pub use privileges::{Lacking, lacking};
use serde_json::Value;
use std::time::Duration;

pub struct Postgres {
    server: Server,
    exclusive: bool,
}

impl Postgres {
    pub fn new(server: &Server, exclusive: bool) -> Self {
        Self { server: server.clone(), exclusive }
    }
}

#[async_trait]
impl ObserveCopies for Postgres {
    async fn fingerprint(&self, call: &CallCtx) -> Result<Fingerprint, Failure> {
        while_wanted(call, Box::pin(copies::fingerprint(self, call))).await
    }

    async fn loss(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
        while_wanted(call, Box::pin(copies::loss(self, snapshot, call))).await
    }

    async fn inspect(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure> {
        while_wanted(call, Box::pin(copies::inspect(self, snapshot, call))).await
    }

    async fn quiet(&self, call: &CallCtx) -> Result<(), Failure> {
        in_time(call, copies::quiet(self, call)).await
    }

    async fn exchanged(&self, snapshot: &Snapshot, evidence: &[Value]) -> Result<Exchange, Failure> {
        let call = soon();
        in_time(&call, copies::exchanged(self, snapshot, evidence, &call)).await
    }
}

#[async_trait]
impl MutateCopies for Postgres {
    async fn take(&self, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
        in_time(call, Box::pin(copies::take(self, id, call))).await
    }

    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        in_time(call, Box::pin(copies::refresh(self, snapshot, call))).await
    }

    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
        if !self.exclusive {
            return Err(Failure::denied(
                "the site does not say that the database belongs to this product alone (`exclusive`)",
            ));
        }
        in_time(call, Box::pin(copies::exchange(self, snapshot, call))).await
    }

    async fn discard(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<u64, Failure> {
        in_time(call, Box::pin(copies::discard(self, snapshot, call))).await
    }
}

#[async_trait]
impl Observe for Postgres {
    async fn activity(&self, call: &CallCtx) -> Result<Vec<Session>, Failure> {
        while_wanted(call, activity::activity(self, call)).await
    }

    async fn query(&self, sql: &str, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
        while_wanted(call, query::query(self, sql, call)).await
    }

    async fn schema(&self) -> Result<String, Failure> {
        let call = soon();
        in_time(&call, copies::schema(self, &call)).await
    }

    async fn fenced(&self) -> Result<bool, Failure> {
        let call = soon();
        in_time(&call, fence::fenced(self, &call)).await
    }

    async fn hidden(&self) -> Result<bool, Failure> {
        let call = soon();
        in_time(&call, fence::hidden(self, &call)).await
    }

    async fn shut(&self) -> Result<bool, Failure> {
        let call = soon();
        in_time(&call, fence::shut(self, &call)).await
    }

    async fn open(&self) -> Result<bool, Failure> {
        let call = soon();
        in_time(&call, fence::open(self, &call)).await
    }

    async fn executed(&self, evidence: &[Value], call: &CallCtx) -> Result<Executed, Failure> {
        in_time(call, execute::executed(self, evidence, call)).await
    }
}

#[async_trait]
impl Mutate for Postgres {
    async fn fence(&self, within: Duration, call: &CallCtx) -> Result<(), Failure> {
        in_time(call, fence::raise(self, within, call)).await
    }

    async fn unfence(&self, call: &CallCtx) -> Result<(), Failure> {
        in_time(call, fence::lift(self, call)).await
    }

    async fn execute(&self, sql: &str, call: &CallCtx) -> Result<u64, Failure> {
        in_time(call, execute::execute(self, sql, call)).await
    }
}
