//! The copies that a rehearsal works on: what they take, how they are made, and how they differ afterwards.
use super::Error;
use crate::{
    report::text,
    resource::{CallCtx, Failure, FailureKind, Pace, ResourceId, copies::Fingerprint, database, room::Need, tree},
    site::Site,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// What a rehearsal will take, of what is there.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Room {
    /// bytes of each
    pub copies: BTreeMap<ResourceId, u64>,
    /// with the copies that the script makes of the copies, and some growth; without what lies on servers
    pub bytes: u64,
    pub files: u64,
    pub free: u64,
}

impl Room {
    /// Looks at what is live. No more than half of what is free may be taken: the product needs room as well.
    pub async fn reckon(site: &Site, ids: &[ResourceId], call: &CallCtx) -> Result<Self, Error> {
        let (mut copies, mut files) = (BTreeMap::new(), 0_u64);
        for id in ids {
            let need = need(site, id, call).await.map_err(|failure| cannot(id, &failure))?;
            copies.insert(id.clone(), need.bytes);
            files = files.saturating_add(need.files);
        }
        // What a server keeps is asked of the server.
        let here = copies.iter().filter(|(id, _)| site.scratch_of(id).is_some());
        let sum = here.fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes));
        let bytes = sum.saturating_mul(2).saturating_add(sum / 10);
        let disk = rustix::fs::statvfs(&site.state).map_err(|e| Error::failed(format!("cannot ask for room: {e}")))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let room = Self { copies, bytes, files: files.saturating_mul(2), free };
        let folder = site.state.display();
        let hint = format!("make room on the file system of {folder}, or put `state` on a larger one");
        if room.bytes > room.free / 2 {
            let message = format!(
                "a rehearsal would take about {}, and may take half of what is free ({})",
                text::bytes(room.bytes),
                text::bytes(room.free)
            );
            return Err(Error::refused(message).hint(hint));
        }
        // Some file systems make them as they need them, and count none.
        if disk.f_files > 0 && room.files > disk.f_favail / 2 {
            let message = format!(
                "a rehearsal would take about {} files and folders, and may take half of what is free ({})",
                room.files, disk.f_favail
            );
            return Err(Error::refused(message).hint(hint));
        }
        Ok(room)
    }
}

fn cannot(id: &ResourceId, failure: &Failure) -> Error {
    let error = Error::refused(format!("{} {} cannot be copied: {}", id.kind, id.name, failure.message));
    match &failure.hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// What a copy of it takes.
pub async fn need(site: &Site, id: &ResourceId, call: &CallCtx) -> Result<Need, Failure> {
    match (site.databases.get(&id.name), site.trees.get(&id.name)) {
        (Some(section), _) if id.kind == "database" => database::drivers::need(&id.name, section, call).await,
        (_, Some(section)) if id.kind == "tree" => tree::drivers::need(&id.name, section, &site.state, call).await,
        _ => Err(Failure::not_found("the site does not name it")),
    }
}

/// Copies each of them, and says what the copies hold. What is live is only read.
pub async fn make(
    site: &Site,
    ids: &[ResourceId],
    pace: &Arc<Pace>,
    call: &CallCtx,
) -> Result<BTreeMap<ResourceId, Fingerprint>, Error> {
    let mut made = BTreeMap::new();
    for id in ids {
        let copied = duplicate(site, id, pace, call).await;
        let fingerprint = copied.map_err(|failure| match call.cancel.is_cancelled() {
            true => Error::cancelled(),
            false => cannot(id, &failure),
        })?;
        made.insert(id.clone(), fingerprint);
    }
    Ok(made)
}

async fn duplicate(site: &Site, id: &ResourceId, pace: &Arc<Pace>, call: &CallCtx) -> Result<Fingerprint, Failure> {
    let gone = || Failure::not_found("the site does not name it");
    let place = site.scratch_of(id);
    if id.kind == "tree" {
        let section = site.trees.get(&id.name).ok_or_else(gone)?;
        let to: (&Path, Arc<Pace>) = (place.as_deref().ok_or_else(gone)?, pace.clone());
        return tree::drivers::duplicate(&id.name, section, &site.state, to, call).await;
    }
    let section = site.databases.get(&id.name).ok_or_else(gone)?;
    database::drivers::duplicate(&id.name, section, (place.as_deref(), pace.clone()), call).await
}

/// How a copy differs from what it held at first, a line a part. What cannot be read any more differs as a whole.
pub async fn differences(rehearsal: &Site, id: &ResourceId, then: &Fingerprint, call: &CallCtx) -> Vec<String> {
    let now = match (rehearsal.databases.get(&id.name), rehearsal.trees.get(&id.name)) {
        (Some(section), _) if id.kind == "database" => {
            database::drivers::open(&id.name, section).observer.fingerprint(call).await
        }
        (_, Some(section)) => tree::drivers::open(&id.name, section, &rehearsal.state).observer.fingerprint(call).await,
        _ => Err(Failure::new(FailureKind::NotFound, "the site does not name it")),
    };
    match now {
        Ok(now) => now.differences(then),
        Err(failure) => vec![format!("it cannot be read any more: {}", failure.message)],
    }
}
