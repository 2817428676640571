use crate::{
    gate::{Operation, Reconciled, class},
    resource::{
        Area, CallCtx, Database, Failure, Resources, Right, Ruling, Verdict,
        copies::Fingerprint,
        database::{Executed, Mutator, Observer, Session, live_revision},
        run::RUN,
    },
};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

#[derive(Serialize)]
pub struct Fence {
    pub database: String,
    /// seconds
    pub within: u32,
}
impl Operation for Fence {
    const NAME: &'static str = "database.fence";
    const RIGHT: Option<Right> = Some(Right::Fence);
    type On = Database;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.database
    }
    fn changes(&self) -> bool {
        false
    }
    fn deadline(&self, usual: Duration) -> Duration {
        usual.max(Duration::from_secs(self.within.into()) + Duration::from_secs(60))
    }
    async fn execute(&self, database: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        database.fence(Duration::from_secs(self.within.into()), call).await
    }
    async fn reconcile(&self, database: &Observer, _: &[Value], _: &CallCtx) -> Result<Reconciled<()>, Failure> {
        Ok(Reconciled::of_idempotent(database.shut().await))
    }
}

#[derive(Serialize)]
pub struct Unfence {
    pub database: String,
}
impl Operation for Unfence {
    const NAME: &'static str = "database.unfence";
    const RIGHT: Option<Right> = Some(Right::Fence);
    type On = Database;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.database
    }
    fn changes(&self) -> bool {
        false
    }
    async fn execute(&self, database: &Mutator, call: &CallCtx) -> Result<(), Failure> {
        database.unfence(call).await
    }
    async fn reconcile(&self, database: &Observer, _: &[Value], _: &CallCtx) -> Result<Reconciled<()>, Failure> {
        Ok(Reconciled::of_idempotent(database.open().await))
    }
}

#[derive(Serialize)]
pub struct Activity {
    pub database: String,
}
impl Operation for Activity {
    const NAME: &'static str = "database.activity";
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Database;
    type Class = class::Observe;
    type Output = Vec<Session>;
    fn label(&self) -> &str {
        &self.database
    }
    async fn execute(&self, database: &Observer, call: &CallCtx) -> Result<Vec<Session>, Failure> {
        database.activity(call).await
    }
}

/// The fingerprint that the run's restore point has of a database, if there is one.
pub fn restore_point_of(resources: &Resources, label: &str) -> Option<Fingerprint> {
    let id = &resources.database.0.get(label)?.id;
    let run = resources.run.0.get(RUN)?;
    Some(run.access.observer.memory().restore_point.snapshots.get(id)?.fingerprint.clone())
}

#[derive(Serialize)]
pub struct CheckUnchanged {
    pub database: String,
    pub then: Option<Fingerprint>,
}
impl Operation for CheckUnchanged {
    const NAME: &'static str = "database.check-unchanged";
    const GIVEN: &'static [&'static str] = &["then"];
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Database;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.database
    }
    async fn execute(&self, database: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        let verdict = |result, detail| Verdict {
            area: Area::Data,
            title: format!("{} is as at the restore point", self.database),
            result,
            detail,
            readings: Vec::new(),
        };
        let Some(then) = &self.then else {
            return Ok(verdict(Ruling::Inconclusive, "there is no restore point to compare with".to_owned()));
        };
        let differences = database.fingerprint(call).await?.differences(then);
        Ok(if differences.is_empty() {
            verdict(
                Ruling::Passed,
                format!("{} tables, {} rows and the schema are equal", then.parts.len(), then.count()),
            )
        } else {
            verdict(Ruling::Failed, differences.join(", "))
        })
    }
}

#[derive(Serialize)]
pub struct Query {
    pub database: String,
    pub sql: String,
}
impl Operation for Query {
    const NAME: &'static str = "database.query";
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Database;
    type Class = class::Observe;
    type Output = Vec<Vec<String>>;
    fn label(&self) -> &str {
        &self.database
    }
    async fn execute(&self, database: &Observer, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
        database.query(&self.sql, call).await
    }
}

#[derive(Serialize)]
pub struct Execute {
    pub database: String,
    pub sql: String,
}
impl Operation for Execute {
    const NAME: &'static str = "database.execute";
    const RIGHT: Option<Right> = Some(Right::Write);
    type On = Database;
    type Class = class::Once;
    type Output = u64;
    fn label(&self) -> &str {
        &self.database
    }
    async fn execute(&self, database: &Mutator, call: &CallCtx) -> Result<u64, Failure> {
        database.execute(&self.sql, call).await
    }
    async fn reconcile(
        &self,
        database: &Observer,
        evidence: &[Value],
        call: &CallCtx,
    ) -> Result<Reconciled<u64>, Failure> {
        Ok(match database.executed(evidence, call).await? {
            Executed::NotDone => Reconciled::NotDone,
            Executed::Done { rows } => Reconciled::Done(rows),
            Executed::Unclear(look) => Reconciled::Unknown(look),
        })
    }
}

/// Whether an upgrade has brought the schema where its package says. No script can say this: at the end the host does.
#[derive(Serialize)]
pub struct CheckRevision {
    pub database: String,
    /// The query that tells the revision; `None`: it is the schema's fingerprint.
    pub revision: Option<String>,
    pub to: String,
}
impl Operation for CheckRevision {
    const NAME: &'static str = "database.check-revision";
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Database;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.database
    }
    fn deadline(&self, usual: Duration) -> Duration {
        usual.min(Duration::from_secs(60))
    }
    async fn execute(&self, database: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        let live = live_revision(database, self.revision.as_deref(), call).await?;
        let reached = live == self.to;
        Ok(Verdict {
            area: Area::Data,
            title: format!("the schema of {} is at {}", self.database, self.to),
            result: if reached { Ruling::Passed } else { Ruling::Failed },
            detail: if reached { live } else { format!("it is at {live}, the upgrade goes to {}", self.to) },
            readings: Vec::new(),
        })
    }
}
