//! How copies of a database are made, and where they lie.
use crate::resource::repository::Repository;
use std::time::Duration;

/// `method` of `[database.NAME]`.
#[derive(Clone, Debug, Default)]
pub enum Method {
    /// A second database beside it, made while the product serves.
    #[default]
    StandBy,
    /// The same, made of the server's own files while nobody is in the database: under the fence, and not before.
    Clone,
    /// One of the two, whichever fits the server, its disk, and how long the fence may stand for the copy alone.
    Auto { window: Duration },
    /// In a repository, from where it becomes a stand-by when it is needed.
    Archive(Repository),
}

impl Method {
    pub fn repository(&self) -> Option<&Repository> {
        match self {
            Self::Archive(repository) => Some(repository),
            _ => None,
        }
    }
}
