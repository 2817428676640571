//! MariaDB: a server keeps the data, says who is connected and locks accounts; but nothing gives a database another name, and
//! a declaration is part of no transaction.
mod activity;
mod connection;
mod copies;
mod error;
mod fence;
mod own;
mod privileges;
mod query;
mod statements;

pub use privileges::lacking;

use super::{
    archives::known,
    servers::{in_time, soon, while_wanted},
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    database::{Executed, Mutate, Observe, Server, Session, salvage::Salvaged},
    process::blocking,
    repository::Repository,
};
use async_trait::async_trait;
use copies::archive;
use serde_json::Value;
use std::{path::Path, time::Duration};

pub struct MariaDb {
    server: Server,
    exclusive: bool,
    /// Where copies are archived; else they stand by.
    repository: Option<Repository>,
}

impl MariaDb {
    pub fn new(server: &Server, exclusive: bool) -> Self {
        Self { server: server.clone(), exclusive, repository: None }
    }

    pub fn archived(self, repository: Option<&Repository>) -> Self {
        Self { repository: repository.cloned(), ..self }
    }

    /// Whether a copy is nowhere but in a repository.
    async fn is_away(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<bool, Failure> {
        Ok(snapshot.is_archived() && archive::is_away(self, snapshot, call).await?)
    }
}

#[async_trait]
impl ObserveCopies for MariaDb {
    async fn fingerprint(&self, call: &CallCtx) -> Result<Fingerprint, Failure> {
        while_wanted(call, copies::fingerprint(self, call)).await
    }

    async fn loss(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
        if while_wanted(call, self.is_away(snapshot, call)).await? {
            return while_wanted(call, archive::loss(self, snapshot, call)).await;
        }
        while_wanted(call, copies::loss(self, snapshot, call)).await
    }

    async fn inspect(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure> {
        if while_wanted(call, self.is_away(snapshot, call)).await? {
            let repository = known(self.repository.as_ref())?;
            return while_wanted(call, archive::inspect(self, snapshot, repository)).await;
        }
        while_wanted(call, copies::inspect(self, snapshot, call)).await
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

    async fn exchanged(&self, snapshot: &Snapshot, evidence: &[Value]) -> Result<Exchange, Failure> {
        let call = soon();
        in_time(&call, copies::exchanged(self, snapshot, evidence, &call)).await
    }
}

#[async_trait]
impl MutateCopies for MariaDb {
    async fn take(&self, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
        if let Some(repository) = &self.repository {
            return in_time(call, Box::pin(archive::take(self, id, false, repository, call))).await;
        }
        in_time(call, copies::take(self, id, call)).await
    }

    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        if snapshot.is_archived() {
            let repository = known(self.repository.as_ref())?;
            return in_time(call, Box::pin(archive::take(self, &snapshot.id, true, repository, call))).await;
        }
        in_time(call, copies::refresh(self, snapshot, call)).await
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
        in_time(call, copies::exchange(self, snapshot, call)).await
    }

    async fn discard(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<u64, Failure> {
        in_time(call, archive::discard(self, snapshot, self.repository.as_ref(), call)).await?;
        in_time(call, copies::discard(self, snapshot, call)).await
    }
}

#[async_trait]
impl Observe for MariaDb {
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

    /// Who is kept out hears that, and finds no empty database.
    async fn hidden(&self) -> Result<bool, Failure> {
        self.fenced().await
    }

    async fn shut(&self) -> Result<bool, Failure> {
        let call = soon();
        in_time(&call, fence::shut(self, &call)).await
    }

    async fn open(&self) -> Result<bool, Failure> {
        Ok(!self.fenced().await?)
    }

    async fn salvage(&self, snapshot: &Snapshot, folder: &Path, call: &CallCtx) -> Result<Salvaged, Failure> {
        while_wanted(call, Box::pin(copies::salvage(self, snapshot, folder, call))).await
    }

    async fn executed(&self, evidence: &[Value], call: &CallCtx) -> Result<Executed, Failure> {
        in_time(call, query::executed(self, evidence, call)).await
    }
}

#[async_trait]
impl Mutate for MariaDb {
    async fn fence(&self, within: Duration, call: &CallCtx) -> Result<(), Failure> {
        in_time(call, fence::raise(self, within, call)).await
    }

    async fn unfence(&self, call: &CallCtx) -> Result<(), Failure> {
        in_time(call, fence::lift(self, call)).await
    }

    async fn execute(&self, sql: &str, call: &CallCtx) -> Result<u64, Failure> {
        in_time(call, query::execute(self, sql, call)).await
    }
}
