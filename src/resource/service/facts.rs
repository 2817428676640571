//! What a service is that somebody else keeps, for whoever checks a site.
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Words that may name a file: command lines, environment.
    pub words: Vec<String>,
    /// Where these are relative to.
    pub dir: PathBuf,
    /// Its own file, and those that add to it: who may write them decides about all the rest.
    pub files: Vec<PathBuf>,
    /// All else is relative to this, for the service.
    pub root: Option<PathBuf>,
    /// It has files of its own but for these: where they are there, and where on this machine. `None`: it sees this machine's.
    pub mounts: Option<Vec<(PathBuf, PathBuf)>>,
    /// As whom it runs.
    pub user: String,
    /// As whom its keeper runs.
    pub owner: String,
    /// What keeps it from being started.
    pub trouble: Option<String>,
}
