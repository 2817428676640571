//! The site: what is on this host, and who may do what with it. Text → a site with a place for all that can still turn
//! out wrong; what the host really has is looked at apart (`survey`), because a site must also be readable half-way.
mod agree;
mod allow;
mod answers;
mod approval;
mod approver;
mod around;
mod changes;
mod check;
pub mod first;
mod grant;
mod lend;
mod limits;
mod path;
mod secret;
mod sections;
mod survey;
mod twin;

pub use agree::Foreign;
pub use allow::{Allow, Grant, MaxRisk, Require};
pub use approval::{Approval, Signed};
pub use approver::{Approver, Trusted};
pub use changes::changes;
pub use check::{Findings, Missing, Note};
pub use grant::{Addition, meaning, replace};
pub use limits::Limits;

use crate::{
    diagnostic::{
        Location, Mistake, Mistakes, Source,
        reader::{self, At},
    },
    resource::{ResourceId, channel, database, metrics, probe, repository::Repository, service, tool, tree},
};
use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Kinds of resources that a site can have, in the order of its documentation.
pub const KINDS: &[&str] = &["database", "tree", "service", "metrics", "probe", "tool", "channel"];

#[derive(Clone, Debug)]
pub struct Site {
    pub path: PathBuf,
    /// The folder of the site file, absolute; what the file names is relative to it.
    pub dir: PathBuf,
    /// Journal, copies, kept-aside data.
    pub state: PathBuf,
    /// `sha256:…` of the file as it was read
    pub digest: String,
    pub databases: BTreeMap<String, database::Section>,
    pub trees: BTreeMap<String, tree::Section>,
    pub services: BTreeMap<String, service::Section>,
    pub metrics: BTreeMap<String, metrics::Section>,
    pub probes: BTreeMap<String, probe::Section>,
    pub tools: BTreeMap<String, tool::Section>,
    pub channels: BTreeMap<String, channel::Section>,
    pub product: Option<Product>,
    /// By name of the package.
    pub allow: BTreeMap<String, Allow>,
    pub limits: Limits,
    /// People whose approval of a plan counts, by name.
    pub approvers: BTreeMap<String, Approver>,
    /// Where else than on the terminal people answer.
    pub answering: crate::resource::answers::Section,
    answering_location: Option<Location>,
    /// Where copies are archived, by name.
    pub repositories: BTreeMap<String, Repository>,
    /// Services and tools that may run as root what a package has written.
    pub allow_root: Vec<ResourceId>,
    /// What a rehearsal has in the place of a service, a tool, metrics or a probe: the name of another one.
    pub twins: BTreeMap<ResourceId, At<String>>,
    pub(crate) source: Arc<Source>,
    pub(crate) locations: BTreeMap<ResourceId, Location>,
}

/// `[product.NAME]`
#[derive(Clone, Debug)]
pub struct Product {
    pub name: String,
    /// How to ask which version is installed.
    pub version: Option<VersionOf>,
    pub location: Location,
}

/// A link in a tree whose target's last part is the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionOf {
    pub tree: String,
    pub link: PathBuf,
}

impl Site {
    /// Reads a site file; all its mistakes at once.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        if !path.exists() {
            let path = crate::diagnostic::shown(&path.display().to_string());
            let mistake = Mistake::new(format!("there is no site file {path}"));
            return Err(mistake.hint("`backout init` writes a first one; `--site FILE` names another").into());
        }
        let bytes = reader::read_bounded(path, reader::MAX_FILE, "the site file")?;
        let mode = path.metadata().map_err(|e| Mistake::io("the site file", path, &e))?.permissions().mode();
        if mode & 0o002 != 0 {
            let path = crate::diagnostic::shown(&path.display().to_string());
            let message = format!("everybody may write the site file {path} (mode {:o})", mode & 0o777);
            let hint = format!("it says what Backout runs; read it, then: chmod o-w {path}");
            return Err(Mistake::new(message).hint(hint).into());
        }
        Self::parse(path, bytes)
    }

    /// Reads bytes as if they were the content of the site file.
    pub fn parse(path: &Path, bytes: Vec<u8>) -> Result<Self, Mistakes> {
        Self::named(path.display().to_string(), path, bytes)
    }

    /// This site as it would be with another text in its file.
    pub fn changed(&self, text: &str) -> Result<Self, Mistakes> {
        Self::named(self.name().to_owned(), &self.path, text.as_bytes().to_vec())
    }

    fn named(name: String, path: &Path, bytes: Vec<u8>) -> Result<Self, Mistakes> {
        let path = path.canonicalize().map_err(|e| Mistake::io("the site file", path, &e))?;
        let dir = path.parent().unwrap_or(Path::new("/")).to_owned();
        let source = Source::new(name, bytes);
        let (draft, mistakes) = reader::read(&source, |root| sections::document(root, &dir));
        let mut mistakes = Mistakes(mistakes);
        let Some(draft) = draft else {
            mistakes.none_or()?;
            return Err(Mistake::new("the site file cannot be read").into());
        };
        let site = draft.site(path, dir, source);
        mistakes.0.extend(site.contradictions());
        mistakes.none_or()?;
        Ok(site)
    }

    /// Whether there is a resource of this kind and name.
    pub fn has(&self, id: &ResourceId) -> bool {
        self.locations.contains_key(id)
    }

    /// The names of the resources of a kind.
    pub fn names(&self, kind: &str) -> impl Iterator<Item = &str> {
        self.locations.keys().filter(move |id| id.kind == kind).map(|id| id.name.as_str())
    }

    /// The file, as whoever opened it named it.
    pub fn name(&self) -> &str {
        self.source.name()
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        self.source.text()
    }

    /// Where a resource stands in the file.
    pub fn location(&self, id: &ResourceId) -> Option<&Location> {
        self.locations.get(id)
    }
}
