//! What backs a tree. A directory is all there is yet.
mod directory;
pub mod simulated;

use super::{Section, Tree};
use crate::resource::Access;
use std::{path::Path, sync::Arc};

/// `state` is where Backout keeps its own things, which no tree may contain.
pub fn open(name: &str, section: &Section, state: &Path) -> Access<Tree> {
    let driver = Arc::new(directory::Directory::new(name, section, state));
    Access { observer: driver.clone(), mutator: driver }
}
