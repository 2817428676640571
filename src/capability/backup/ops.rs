//! The operations are generic over the kinds that can be copied: databases and trees.
use crate::{
    gate::{Operation, Reconciled, class},
    resource::{
        CallCtx, Database, Failure, FailureKind, Right,
        copies::{Copied, Exchange, Lost, Restored, Snapshot},
        database::Observer,
    },
};
use serde::Serialize;
use serde_json::Value;
use std::marker::PhantomData;

/// The restore point may hold nothing of a resource; that is an answer, given after the grant was looked at.
fn known(snapshot: &Option<Snapshot>) -> Result<&Snapshot, Failure> {
    snapshot.as_ref().ok_or_else(|| Failure::conflict("the restore point holds no copy of it"))
}

/// A copy that is not what it was proven to be is found before anything is exchanged.
fn still_live(failure: Failure) -> Failure {
    match failure.kind {
        FailureKind::Unproven => failure.hint(
            "it is not exchanged, what is live stays; `backout restore-points` lists what else one can go back to",
        ),
        _ => failure,
    }
}

/// What makes or frees copies starts over, as soon as nobody else works on them.
async fn again<K: Copied, T>(half: &K::Observer, call: &CallCtx) -> Reconciled<T> {
    if let Err(error) = K::observe(half).quiet(call).await {
        // Who starts over waits for the same.
        tracing::warn!(%error, "an earlier operation on the copies has not ended");
    }
    Reconciled::NotDone
}

#[derive(Serialize)]
pub struct Take<K> {
    pub resource: String,
    /// names what the driver leaves behind
    pub id: String,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Take<K> {
    const NAME: &'static str = "backup.take";
    const GIVEN: &'static [&'static str] = &["id"];
    const RIGHT: Option<Right> = Some(Right::Backup);
    type On = K;
    type Class = class::Idempotent;
    type Output = Snapshot;
    fn label(&self) -> &str {
        &self.resource
    }
    fn changes(&self) -> bool {
        false
    }
    fn disturbs(&self) -> bool {
        false
    }
    async fn execute(&self, half: &K::Mutator, call: &CallCtx) -> Result<Snapshot, Failure> {
        K::mutate(half).take(&self.id, call).await
    }
    async fn reconcile(
        &self,
        half: &K::Observer,
        _: &[Value],
        call: &CallCtx,
    ) -> Result<Reconciled<Snapshot>, Failure> {
        Ok(again::<K, _>(half, call).await)
    }
    async fn unrecorded(&self, half: &K::Mutator, snapshot: &Snapshot, call: &CallCtx) {
        if let Err(error) = K::mutate(half).discard(snapshot, call).await {
            tracing::error!(%error, place = snapshot.place, "a copy that is in no journal stays");
        }
    }
}

/// Whether no application gets in, so that copies can be of one moment.
#[derive(Serialize)]
pub struct IsFenced {
    pub resource: String,
}
impl Operation for IsFenced {
    const NAME: &'static str = "backup.is-fenced";
    const RIGHT: Option<Right> = Some(Right::Backup);
    type On = Database;
    type Class = class::Observe;
    type Output = bool;
    fn label(&self) -> &str {
        &self.resource
    }
    async fn execute(&self, database: &Observer, _: &CallCtx) -> Result<bool, Failure> {
        database.fenced().await
    }
}

#[derive(Serialize)]
pub struct Refresh<K> {
    pub resource: String,
    pub snapshot: Option<Snapshot>,
    /// The same in all operations of one call, and in no other of the step.
    pub cut: u32,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Refresh<K> {
    const NAME: &'static str = "backup.refresh";
    const GIVEN: &'static [&'static str] = &["snapshot", "cut"];
    const RIGHT: Option<Right> = Some(Right::Backup);
    type On = K;
    type Class = class::Idempotent;
    type Output = Snapshot;
    fn label(&self) -> &str {
        &self.resource
    }
    fn changes(&self) -> bool {
        false
    }
    fn disturbs(&self) -> bool {
        false
    }
    async fn execute(&self, half: &K::Mutator, call: &CallCtx) -> Result<Snapshot, Failure> {
        K::mutate(half).refresh(known(&self.snapshot)?, call).await
    }
    async fn reconcile(
        &self,
        half: &K::Observer,
        _: &[Value],
        call: &CallCtx,
    ) -> Result<Reconciled<Snapshot>, Failure> {
        Ok(again::<K, _>(half, call).await)
    }
}

#[derive(Serialize)]
pub struct Restore<K> {
    pub resource: String,
    pub snapshot: Option<Snapshot>,
    /// Whether anything has changed it since; if not, nothing is done.
    pub changed: bool,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Restore<K> {
    const NAME: &'static str = "backup.restore";
    const GIVEN: &'static [&'static str] = &["snapshot", "changed"];
    const RIGHT: Option<Right> = Some(Right::Restore);
    type On = K;
    type Class = class::Once;
    type Output = Restored;
    fn label(&self) -> &str {
        &self.resource
    }
    /// What is left alone is no change.
    fn changes(&self) -> bool {
        self.changed
    }
    async fn execute(&self, half: &K::Mutator, call: &CallCtx) -> Result<Restored, Failure> {
        let snapshot = known(&self.snapshot)?;
        if !self.changed {
            return Ok(Restored { exchanged: false, aside: None, lost: Vec::new() });
        }
        if !snapshot.proven {
            return Err(Failure::unproven("the copy was never proven"));
        }
        K::mutate(half).exchange(snapshot, call).await.map_err(still_live)
    }
    fn presumed(&self) -> Result<Restored, Failure> {
        let lost = vec![Lost::uncounted("somebody said that it was done")];
        Ok(Restored { exchanged: true, aside: None, lost })
    }
    async fn reconcile(
        &self,
        half: &K::Observer,
        evidence: &[Value],
        call: &CallCtx,
    ) -> Result<Reconciled<Restored>, Failure> {
        let observer = K::observe(half);
        // Nothing was to be exchanged.
        let Some(snapshot) = self.snapshot.as_ref().filter(|_| self.changed) else { return Ok(Reconciled::NotDone) };
        Ok(match observer.exchanged(snapshot, evidence).await? {
            Exchange::NotDone => Reconciled::NotDone,
            Exchange::Done { aside } => {
                // A report of what has happened; that it cannot be counted does not put it in doubt.
                let lost = observer.loss(snapshot, call).await;
                let lost = lost.unwrap_or_else(|failure| vec![Lost::uncounted(&failure.message)]);
                Reconciled::Done(Restored { exchanged: true, aside: Some(aside), lost })
            }
            Exchange::Unclear(look) => Reconciled::Unknown(look),
        })
    }
}

#[derive(Serialize)]
pub struct Loss<K> {
    pub resource: String,
    pub snapshot: Option<Snapshot>,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Loss<K> {
    const NAME: &'static str = "backup.loss";
    const GIVEN: &'static [&'static str] = &["snapshot"];
    const RIGHT: Option<Right> = Some(Right::Backup);
    type On = K;
    type Class = class::Observe;
    type Output = Vec<Lost>;
    fn label(&self) -> &str {
        &self.resource
    }
    async fn execute(&self, half: &K::Observer, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
        K::observe(half).loss(known(&self.snapshot)?, call).await
    }
}

/// Counts what an exchange of this run has set aside, once the product runs again. No script can say this: after a rollback the
/// host does.
#[derive(Serialize)]
pub struct Count<K> {
    pub resource: String,
    pub snapshot: Option<Snapshot>,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Count<K> {
    const NAME: &'static str = "backup.count";
    const GIVEN: &'static [&'static str] = &["snapshot"];
    const RIGHT: Option<Right> = Some(Right::Restore);
    type On = K;
    type Class = class::Idempotent;
    type Output = Vec<Lost>;
    fn label(&self) -> &str {
        &self.resource
    }
    fn changes(&self) -> bool {
        false
    }
    fn disturbs(&self) -> bool {
        false
    }
    async fn execute(&self, half: &K::Mutator, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
        let lost = K::mutate(half).counted(known(&self.snapshot)?, call).await;
        // A report of what has happened; that it cannot be counted does not put it in doubt.
        Ok(lost.unwrap_or_else(|failure| vec![Lost::uncounted(&failure.message)]))
    }
}

/// Whether the copy is still what it was proven to be. No script can say this: before a rollback the host does.
#[derive(Serialize)]
pub struct Inspect<K> {
    pub resource: String,
    pub snapshot: Option<Snapshot>,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Inspect<K> {
    const NAME: &'static str = "backup.inspect";
    const RIGHT: Option<Right> = Some(Right::Restore);
    type On = K;
    type Class = class::Observe;
    type Output = ();
    fn label(&self) -> &str {
        &self.resource
    }
    async fn execute(&self, half: &K::Observer, call: &CallCtx) -> Result<(), Failure> {
        K::observe(half).inspect(known(&self.snapshot)?, call).await.map_err(still_live)
    }
}

/// Finds out how an exchange ended whose run was cut off, from what it wrote down before. No script can say this.
#[derive(Serialize)]
pub struct Settle<K> {
    pub resource: String,
    pub snapshot: Option<Snapshot>,
    pub evidence: Vec<Value>,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Settle<K> {
    const NAME: &'static str = "backup.settle";
    const RIGHT: Option<Right> = Some(Right::Restore);
    type On = K;
    type Class = class::Observe;
    type Output = Exchange;
    fn label(&self) -> &str {
        &self.resource
    }
    async fn execute(&self, half: &K::Observer, _: &CallCtx) -> Result<Exchange, Failure> {
        K::observe(half).exchanged(known(&self.snapshot)?, &self.evidence).await
    }
}

/// Frees what a snapshot and its exchange left. No script can say this: `commit` does.
#[derive(Serialize)]
pub struct Discard<K> {
    pub resource: String,
    pub snapshot: Option<Snapshot>,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Discard<K> {
    const NAME: &'static str = "backup.discard";
    const RIGHT: Option<Right> = Some(Right::Restore);
    type On = K;
    type Class = class::Idempotent;
    /// bytes that became free
    type Output = u64;
    fn label(&self) -> &str {
        &self.resource
    }
    fn changes(&self) -> bool {
        false
    }
    fn disturbs(&self) -> bool {
        false
    }
    async fn execute(&self, half: &K::Mutator, call: &CallCtx) -> Result<u64, Failure> {
        K::mutate(half).discard(known(&self.snapshot)?, call).await
    }
    async fn reconcile(&self, half: &K::Observer, _: &[Value], call: &CallCtx) -> Result<Reconciled<u64>, Failure> {
        Ok(again::<K, _>(half, call).await)
    }
}

/// Writes down that what an exchange has set aside is to stay. No script can say this: `aside keep` does.
#[derive(Serialize)]
pub struct Keep<K> {
    pub resource: String,
    pub snapshot: Option<Snapshot>,
    /// milliseconds since 1970-01-01 UTC; `None`: for good
    pub until: Option<i64>,
    #[serde(skip)]
    pub kind: PhantomData<fn() -> K>,
}
impl<K: Copied> Operation for Keep<K> {
    const NAME: &'static str = "backup.keep";
    const RIGHT: Option<Right> = Some(Right::Restore);
    type On = K;
    type Class = class::Idempotent;
    type Output = ();
    fn label(&self) -> &str {
        &self.resource
    }
    fn changes(&self) -> bool {
        false
    }
    fn disturbs(&self) -> bool {
        false
    }
    /// The journal is all that there is to it.
    async fn execute(&self, _: &K::Mutator, _: &CallCtx) -> Result<(), Failure> {
        known(&self.snapshot).map(drop)
    }
}
