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

use super::archives::known;
use crate::resource::{
    CallCtx, Failure,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot, Way},
    database::{Executed, Method, Mutate, Observe, Server, Session, salvage::Salvaged},
    process::blocking,
    repository::Repository,
    room::Need,
};
use async_trait::async_trait;
use connection::{in_time, soon, while_wanted};
use copies::archive;
pub use copies::rehearsal_name;
pub use privileges::lacking;
use serde_json::Value;
use std::{path::Path, time::Duration};

pub struct Postgres {
    server: Server,
    exclusive: bool,
    /// Where copies are archived; else they stand by.
    repository: Option<Repository>,
    method: Method,
    /// Of the last exchange.
    left: copies::Left,
}

impl Postgres {
    pub fn new(server: &Server, exclusive: bool) -> Self {
        let (method, left) = (Method::default(), copies::Left::default());
        Self { server: server.clone(), exclusive, repository: None, method, left }
    }

    pub fn archived(self, repository: Option<&Repository>) -> Self {
        Self { repository: repository.cloned(), ..self }
    }

    pub fn by(self, method: &Method) -> Self {
        Self { method: method.clone(), ..self }
    }

    /// Whether a copy is nowhere but in a repository.
    async fn is_away(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<bool, Failure> {
        Ok(snapshot.is_archived() && archive::is_away(self, snapshot, call).await?)
    }

    /// What the copy that a rehearsal works on takes.
    pub async fn need(&self, call: &CallCtx) -> Result<Need, Failure> {
        let bytes = while_wanted(call, copies::need(self, call)).await?;
        Ok(Need { bytes, files: 0 })
    }

    pub async fn duplicate(&self, call: &CallCtx) -> Result<Fingerprint, Failure> {
        while_wanted(call, Box::pin(copies::duplicate(self, call))).await
    }

    pub async fn clear_rehearsal(&self, call: &CallCtx) -> Result<(), Failure> {
        in_time(call, copies::clear(self, call)).await
    }
}

#[async_trait]
impl ObserveCopies for Postgres {
    async fn fingerprint(&self, call: &CallCtx) -> Result<Fingerprint, Failure> {
        while_wanted(call, Box::pin(copies::fingerprint(self, call))).await
    }

    async fn loss(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
        if while_wanted(call, self.is_away(snapshot, call)).await? {
            return while_wanted(call, Box::pin(archive::loss(self, snapshot, call))).await;
        }
        while_wanted(call, Box::pin(copies::loss(self, snapshot, call))).await
    }

    async fn inspect(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure> {
        if while_wanted(call, self.is_away(snapshot, call)).await? {
            let repository = known(self.repository.as_ref())?;
            return while_wanted(call, archive::inspect(self, snapshot, repository)).await;
        }
        while_wanted(call, Box::pin(copies::inspect(self, snapshot, call))).await
    }

    async fn repository(&self) -> Result<Option<String>, Failure> {
        let Some(repository) = self.repository.clone() else { return Ok(None) };
        blocking(move || repository.is_there().map(|()| Some(repository.name.clone()))).await?
    }

    async fn quiet(&self, call: &CallCtx) -> Result<(), Failure> {
        in_time(call, copies::quiet(self, call)).await
    }

    async fn detector(&self, call: &CallCtx) -> Result<Option<String>, Failure> {
        while_wanted(call, copies::detector(self, call)).await.map(Some)
    }

    async fn way(&self, call: &CallCtx) -> Result<Option<Way>, Failure> {
        while_wanted(call, Box::pin(copies::way(self, call))).await
    }

    async fn exchanged(&self, snapshot: &Snapshot, evidence: &[Value]) -> Result<Exchange, Failure> {
        let call = soon();
        in_time(&call, copies::exchanged(self, snapshot, evidence, &call)).await
    }
}

#[async_trait]
impl MutateCopies for Postgres {
    async fn take(&self, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
        if let Some(repository) = &self.repository {
            return in_time(call, Box::pin(archive::take(self, id, false, repository, call))).await;
        }
        in_time(call, Box::pin(copies::take(self, id, call))).await
    }

    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        if snapshot.is_archived() {
            let repository = known(self.repository.as_ref())?;
            let taken = archive::take(self, &snapshot.id, true, repository, call);
            return in_time(call, Box::pin(taken)).await;
        }
        in_time(call, Box::pin(copies::refresh(self, snapshot, call))).await
    }

    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
        if !self.exclusive {
            return Err(Failure::denied(
                "the site does not say that the database belongs to this product alone (`exclusive`)",
            ));
        }
        if snapshot.is_archived() {
            in_time(call, Box::pin(archive::stage(self, snapshot, self.repository.as_ref(), call))).await?;
        }
        in_time(call, Box::pin(copies::exchange(self, snapshot, call))).await
    }

    async fn counted(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
        in_time(call, Box::pin(copies::counted(self, snapshot, call))).await
    }

    async fn discard(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<u64, Failure> {
        in_time(call, archive::discard(self, snapshot, self.repository.as_ref(), call)).await?;
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

    async fn salvage(&self, snapshot: &Snapshot, folder: &Path, call: &CallCtx) -> Result<Salvaged, Failure> {
        while_wanted(call, Box::pin(copies::salvage(self, snapshot, folder, call))).await
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
