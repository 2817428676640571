//! What backs a tree. A directory is all there is yet.
mod directory;
pub mod simulated;

use super::{Section, Tree};
use crate::resource::{Access, CallCtx, Failure, Pace, copies::Fingerprint, room::Need};
use std::{io, path::Path, sync::Arc};

/// `state` is where Backout keeps its own things, which no tree may contain.
pub fn open(name: &str, section: &Section, state: &Path) -> Access<Tree> {
    let driver = Arc::new(directory::Directory::new(name, section, state));
    Access { observer: driver.clone(), mutator: driver }
}

/// What a copy of it elsewhere would take.
pub async fn need(name: &str, section: &Section, state: &Path, call: &CallCtx) -> Result<Need, Failure> {
    directory::Directory::new(name, section, state).need(call).await
}

/// Makes a copy of it where nothing is yet; what is live is only read. What the copy holds.
pub async fn duplicate(
    name: &str,
    section: &Section,
    state: &Path,
    (to, pace): (&Path, Arc<Pace>),
    call: &CallCtx,
) -> Result<Fingerprint, Failure> {
    directory::Directory::new(name, section, state).duplicate(to, pace, call).await
}

/// Removes a folder with all that is in it, whatever its permissions say. Links are never followed.
pub fn remove(folder: &Path) -> io::Result<()> {
    directory::remove(folder)
}
