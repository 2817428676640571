//! What going back to a restore point would come to now: what it would set aside, and whether the copies still are what was
//! proven. Only looks: by the halves of the drivers that cannot change anything,
//! and outside any run, for there is nothing to write down that somebody could need later.
use super::restore_point::Point;
use crate::{
    capability::backup::ops,
    gate::Operation,
    resource::{
        CallCtx, Database, Failure, Kind, Lent, ResourceId, Resources, Tree,
        copies::{Copied, Lost, Snapshot},
    },
};
use serde::Serialize;
use std::{future::Future, marker::PhantomData, time::Duration};

/// One look at one resource, which reads all of it.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Of one resource.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    pub resource: ResourceId,
    /// `false`: nothing has changed it since, or it is restored already, so it is left alone.
    pub exchanged: bool,
    pub lost: Vec<Lost>,
    /// why it cannot be said
    pub unknown: Option<String>,
    /// why the copy is not what it was proven to be
    pub damaged: Option<String>,
}

/// Of every resource that the restore point has a copy of. Whoever asks holds them, so that nobody exchanges or copies what is
/// being read, and no rollback finds them in use.
pub async fn of(resources: &Resources, point: &Point) -> Vec<Loss> {
    let mut losses = Vec::new();
    for (id, snapshot) in point.copies() {
        losses.push(match id.kind.as_str() {
            Tree::NAME => look::<Tree>(&resources.tree, id, snapshot, point).await,
            _ => look::<Database>(&resources.database, id, snapshot, point).await,
        });
    }
    losses
}

async fn look<K: Copied>(lent: &Lent<K>, id: &ResourceId, snapshot: &Snapshot, point: &Point) -> Loss {
    let exchanged = point.restore_point().differs(id);
    let mut loss = Loss { resource: id.clone(), exchanged, lost: Vec::new(), unknown: None, damaged: None };
    let Some(lend) = lent.0.values().find(|lend| lend.id == *id) else {
        loss.unknown = Some("it is not in the site any more".to_owned());
        return loss;
    };
    let (observer, call) = (&lend.access.observer, CallCtx::aside(format!("look/{}/{id}", point.run), PATIENCE));
    let (resource, snapshot) = (id.name.clone(), Some(snapshot.clone()));
    let inspect = ops::Inspect::<K> { resource: resource.clone(), snapshot: snapshot.clone(), kind: PhantomData };
    loss.damaged = bounded(inspect.execute(observer, &call)).await.err().map(|failure| failure.message);
    if exchanged {
        match bounded(ops::Loss::<K> { resource, snapshot, kind: PhantomData }.execute(observer, &call)).await {
            Ok(lost) => loss.lost = lost,
            Err(failure) => loss.unknown = Some(failure.message),
        }
    }
    loss
}

async fn bounded<T>(look: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let looked = tokio::time::timeout(PATIENCE, look).await;
    looked.unwrap_or_else(|_| Err(Failure::timed_out("it takes more than an hour")))
}
