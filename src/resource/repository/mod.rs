//! A repository of backups: deduplicated, encrypted, in the format of restic, in a folder that may be mounted from elsewhere. What is
//! archived there is written, read back and found again by `Opened`; who writes what is a driver's business.
mod backend;
pub mod file;
mod lock;
mod told;

pub use told::panics;

use super::{Failure, FailureKind};
use backend::Backend;
use lock::Lock;
use rustic_core::{
    BackupOptions, CheckOptions, ConfigOptions, Credentials, ErrorKind, FileType, Id, IndexedFullStatus, KeyOptions,
    OpenStatus, ParentOptions, PruneOptions, ReadBackend, ReadSource, RepositoryBackends, RepositoryOptions,
    RusticError,
    repofile::{MasterKey, Node, SnapshotFile, SnapshotId},
};
use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

/// `[repository.NAME]` of the site.
#[derive(Clone)]
pub struct Repository {
    pub name: String,
    pub path: PathBuf,
    password: String,
    /// What the password opens. Finding it out takes a good part of a second, on purpose.
    key: Arc<Mutex<Option<MasterKey>>>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("name", &self.name).field("path", &self.path).finish_non_exhaustive()
    }
}

/// What it is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    Reading,
    Writing,
    /// Nobody else uses it meanwhile.
    Alone,
}

/// Marks every archive that Backout writes.
const OWN: &str = "backout";
/// Marks those that were read back and compared.
const PROVEN: &str = "proven";

/// What is written down with an archive.
pub struct About<'a> {
    /// `tree.shop-app`
    pub resource: &'a str,
    /// Of the copy: `12-shop-app`.
    pub id: &'a str,
    /// The same for all archives of one copy, and for no other.
    pub mark: &'a str,
    /// What is archived, as its host knows it.
    pub path: &'a Path,
    /// Anything that going back has to know.
    pub note: String,
}

impl Repository {
    pub fn new(name: &str, path: &Path, password: String) -> Self {
        Self { name: name.to_owned(), path: path.to_owned(), password, key: Arc::default() }
    }

    /// Makes it, where nothing is yet. Never done by itself: an empty folder may be one in which nothing is mounted just now.
    pub fn create(&self) -> Result<(), Failure> {
        let there = self.path.read_dir().map(|mut entries| entries.next().is_some());
        match there {
            Ok(true) => {
                let there = self.path.join("config").exists();
                let what = if there { "there is a repository already" } else { "something else is in its folder" };
                return Err(Failure::conflict(what).hint("name an empty folder, or one that is not there yet"));
            }
            Ok(false) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let made = std::fs::DirBuilder::new().recursive(true).create(&self.path);
                made.map_err(|e| self.cannot("made", e))?;
            }
            Err(e) => return Err(self.cannot("looked into", e)),
        }
        let _lock = Lock::take(&self.path, For::Alone)?;
        let (raw, backend) = self.raw()?;
        let credentials = Credentials::Password(self.password.clone());
        // What is written is read back all the same.
        let config = ConfigOptions::default().set_extra_verify(false);
        let made = raw.init(&credentials, &KeyOptions::default(), &config);
        made.map_err(|e| self.told("make it", &e, &backend))?;
        backend.settle_folders().map_err(|e| self.cannot("made durable", e))
    }

    fn cannot(&self, what: &str, error: io::Error) -> Failure {
        let failure = Failure::unavailable(format!("repository `{}` cannot be {what}: {error}", self.name));
        failure.hint(format!("it is in {}", self.path.display()))
    }

    /// Whether there is one, without opening it.
    pub fn is_there(&self) -> Result<(), Failure> {
        match self.path.join("config").metadata() {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let failure = Failure::unavailable(format!("there is no repository `{}`", self.name));
                Err(failure.hint(format!(
                    "{} holds none: mount what belongs there, or make a new one with `backout repository create {}`",
                    self.path.display(),
                    self.name
                )))
            }
            Err(e) => Err(self.cannot("looked into", e)),
        }
    }

    fn raw(&self) -> Result<(rustic_core::Repository<()>, Arc<Backend>), Failure> {
        let backend = Arc::new(Backend::new(&self.path).map_err(|e| self.plain("open it", &e))?);
        let backends = RepositoryBackends::new(backend.clone(), None);
        let raw = rustic_core::Repository::new(&RepositoryOptions::default().no_cache(true), &backends);
        Ok((raw.map_err(|e| self.plain("open it", &e))?, backend))
    }

    pub fn open(&self, purpose: For) -> Result<Opened, Failure> {
        self.is_there()?;
        let lock = Lock::take(&self.path, purpose).map_err(|failure| Failure {
            message: format!("repository `{}`: {}", self.name, failure.message),
            ..failure
        })?;
        let (raw, backend) = self.raw()?;
        let known = self.key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let by_key = known.and_then(|key| raw.clone().open(&Credentials::Masterkey(key)).ok());
        let open = match by_key {
            Some(open) => open,
            None => {
                let open = raw.clone().open(&Credentials::Password(self.password.clone()));
                let open = open.map_err(|e| self.told("open it", &e, &backend))?;
                *self.key.lock().unwrap_or_else(PoisonError::into_inner) = Some(open.key());
                open
            }
        };
        Ok(Opened { of: self.clone(), raw, open, backend, _lock: lock })
    }

    /// `PATH:ID`, for people; it may be mounted elsewhere by now.
    pub fn place(&self, archive: &Archive) -> String {
        format!("{}:{}", self.path.display(), archive.id)
    }

    /// Removes all archives of a copy. What only they needed is freed by a prune, now or later. `id`: of one that is known by its name
    /// alone; empty: there is none.
    pub fn free(&self, mark: Option<&str>, id: &str) -> Result<(), Failure> {
        // Alone, when nobody else is there; if somebody is, a later one frees the room.
        let alone = self.open(For::Alone);
        let opened = match &alone {
            Ok(opened) => opened,
            Err(failure) if failure.kind == FailureKind::Conflict => &self.open(For::Writing)?,
            Err(failure) => return Err(failure.clone()),
        };
        let mut archives = match mark {
            Some(mark) => opened.all_of(mark)?,
            None => Vec::new(),
        };
        if !archives.iter().any(|archive| archive.id == id) {
            // Where it was taken nothing may be left of it, or it is gone already.
            archives.extend(opened.get(id).ok());
        }
        opened.forget(&archives)?;
        if alone.is_ok()
            && let Err(error) = opened.prune()
        {
            tracing::warn!(%error, "what no archive needs any more was not freed");
        }
        Ok(())
    }

    fn plain(&self, what: &str, error: &RusticError) -> Failure {
        told::told(self, what, error, None)
    }

    fn told(&self, what: &str, error: &RusticError, backend: &Backend) -> Failure {
        told::told(self, what, error, backend.trouble().as_deref())
    }
}

pub struct Opened {
    of: Repository,
    raw: rustic_core::Repository<()>,
    open: rustic_core::Repository<OpenStatus>,
    backend: Arc<Backend>,
    _lock: Lock,
}

/// One archive: a snapshot of restic.
#[derive(Clone)]
pub struct Archive {
    /// 64 hexadecimal digits
    pub id: String,
    pub note: String,
    snapshot: SnapshotFile,
}

impl Archive {
    fn new(snapshot: SnapshotFile) -> Self {
        let id = snapshot.id.to_hex().to_string();
        Self { id, note: snapshot.description.clone().unwrap_or_default(), snapshot }
    }
    /// Pieces of files that were not there before it was written.
    pub fn added(&self) -> u64 {
        self.snapshot.summary.as_ref().map_or(0, |summary| summary.data_blobs)
    }
    fn is_of(&self, mark: &str) -> bool {
        self.snapshot.tags.contains(mark)
    }
    fn is_proven(&self) -> bool {
        self.snapshot.tags.contains(PROVEN)
    }
}

impl Opened {
    fn told(&self, what: &str, error: &RusticError) -> Failure {
        self.of.told(what, error, &self.backend)
    }

    /// An index belongs to what it is read for.
    fn again(&self) -> Result<rustic_core::Repository<OpenStatus>, Failure> {
        let key = Credentials::Masterkey(self.open.key());
        self.raw.clone().open(&key).map_err(|e| self.told("open it", &e))
    }

    /// Reads everything that `source` has, and writes what is not there yet. The archive counts for nothing until it is proven, and
    /// it may lack what could not be read: whoever compares it finds that.
    pub fn write<S>(&self, source: &S, about: &About<'_>) -> Result<Archive, Failure>
    where
        S: ReadSource + 'static,
        S::Open: Send,
        S::Iter: Send,
    {
        let mut snapshot = SnapshotFile {
            program_version: concat!("backout ", env!("CARGO_PKG_VERSION")).to_owned(),
            hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            label: about.resource.to_owned(),
            description: Some(about.note.clone()),
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            ..SnapshotFile::default()
        };
        for tag in [OWN, about.resource, about.id, about.mark] {
            snapshot.tags.add(tag.to_owned());
        }
        // What another snapshot says of a file is not believed: everything is read.
        let options = BackupOptions::default().parent_opts(ParentOptions::default().force(true)).no_scan(true);
        let indexed = self.again()?.to_indexed_ids().map_err(|e| self.told("read its index", &e))?;
        self.backend.forget_trouble();
        let written = panics("writing an archive", || {
            indexed
                .archive(&options, source, snapshot, &[about.path.to_owned()])
                .map_err(|e| self.told("write into it", &e))
        })?;
        // What failed for one file alone is only logged there.
        if let Some(error) = self.backend.trouble() {
            let failure = told::trouble(&self.of, "write into it", &error);
            return Err(self.forget(&[Archive::new(written)]).err().unwrap_or(failure));
        }
        Ok(Archive::new(written))
    }

    /// What was archived, to be read.
    pub fn contents(&self) -> Result<Contents, Failure> {
        let indexed = panics("reading the repository", || {
            self.again()?.to_indexed().map_err(|e| self.told("read its index", &e))
        })?;
        Ok(Contents { of: self.of.clone(), backend: self.backend.clone(), indexed })
    }

    /// It has been read back and compared. It gets another name by that.
    pub fn proven(&self, archive: &Archive) -> Result<Archive, Failure> {
        self.proven_with(archive, archive.note.clone())
    }

    /// With another note, of what is known only now.
    pub fn proven_with(&self, archive: &Archive, note: String) -> Result<Archive, Failure> {
        let mut proven = archive.snapshot.clone();
        proven.description = Some(note);
        proven.original = Some(proven.id);
        proven.tags.add(PROVEN.to_owned());
        let before = archive.snapshot.id;
        self.open.save_snapshots(vec![proven]).map_err(|e| self.told("write into it", &e))?;
        // One that has no other name is told as its own original.
        let proven = self.find(|a| a.is_proven() && a.snapshot.original == Some(before))?.pop();
        let proven = proven.ok_or_else(|| Failure::failed("the archive that was written is not there"))?;
        self.forget(std::slice::from_ref(archive))?;
        Ok(proven)
    }

    fn find(&self, which: impl Fn(&Archive) -> bool) -> Result<Vec<Archive>, Failure> {
        let own = |snapshot: &SnapshotFile| snapshot.tags.contains(OWN);
        let found = panics("reading the repository", || {
            self.open.get_matching_snapshots(own).map_err(|e| self.told("list its archives", &e))
        })?;
        Ok(found.into_iter().map(Archive::new).filter(which).collect())
    }

    pub fn get(&self, id: &str) -> Result<Archive, Failure> {
        let gone = || {
            let hint =
                format!("it was looked for in {}; `restic snapshots` lists what is there", self.of.path.display());
            let failure = Failure::unproven(format!("archive {} is not in repository `{}`", short(id), self.of.name));
            failure.hint(hint)
        };
        let parsed: SnapshotId = id.parse().map_err(|_| gone())?;
        let there = self.backend.list(FileType::Snapshot).map_err(|e| self.told("list its archives", &e))?;
        if !there.contains(&parsed) {
            return Err(gone());
        }
        let read = panics("reading the repository", || {
            self.open.get_snapshots(&[id]).map_err(|e| self.told("read an archive", &e))
        })?;
        read.into_iter().next().map(Archive::new).ok_or_else(gone)
    }

    /// Archives of a copy that were never proven: a process was killed over them.
    pub fn unproven(&self, mark: &str) -> Result<Vec<Archive>, Failure> {
        self.find(|archive| archive.is_of(mark) && !archive.is_proven())
    }

    pub fn all_of(&self, mark: &str) -> Result<Vec<Archive>, Failure> {
        self.find(|archive| archive.is_of(mark))
    }

    /// They are gone then; what only they needed takes its room until it is pruned.
    pub fn forget(&self, archives: &[Archive]) -> Result<(), Failure> {
        let ids: Vec<SnapshotId> = archives.iter().map(|archive| archive.snapshot.id).collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.open.delete_snapshots(&ids).map_err(|e| self.told("remove an archive", &e))
    }

    /// Frees what no archive needs. In two steps, a day apart: what another program may be writing an archive of just now is only
    /// marked, and removed by a later call.
    pub fn prune(&self) -> Result<(), Failure> {
        let options = PruneOptions::default();
        panics("pruning the repository", || {
            let plan = self.open.prune_plan(&options).map_err(|e| self.told("look for what nobody needs", &e))?;
            self.open.prune(&options, plan).map_err(|e| self.told("free what nobody needs", &e))
        })
    }

    /// Reads all that is in it; the first things that are wrong, in words.
    pub fn check(&self) -> Result<Vec<String>, Failure> {
        let options = CheckOptions::default().read_data(true);
        let found =
            panics("checking the repository", || self.open.check(options).map_err(|e| self.told("read it", &e)))?;
        // What is there and nobody needs is nothing wrong.
        if found.is_ok().is_ok() {
            return Ok(Vec::new());
        }
        Ok(found.0.iter().map(|(_, error)| error.to_string()).collect())
    }
}

/// Of the archive that is at this place.
pub fn id_of(place: &str) -> &str {
    place.rsplit_once(':').map_or("", |(_, id)| id)
}

/// The first digits, by which people know it.
pub fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

pub struct Contents {
    of: Repository,
    backend: Arc<Backend>,
    indexed: rustic_core::Repository<IndexedFullStatus>,
}

impl Contents {
    pub fn top(&self, archive: &Archive) -> Result<Vec<Node>, Failure> {
        self.nodes(archive.snapshot.tree)
    }

    pub fn below(&self, folder: &Node) -> Result<Vec<Node>, Failure> {
        match folder.subtree {
            Some(tree) => self.nodes(tree),
            None => Err(Failure::unproven("a folder in the archive has no content, not even an empty one")),
        }
    }

    fn nodes(&self, tree: rustic_core::TreeId) -> Result<Vec<Node>, Failure> {
        let read = self.indexed.get_tree(&tree).map_err(|e| self.damaged(&e))?;
        Ok(read.nodes)
    }

    /// What fails in `out` comes back as it was.
    pub fn read(&self, file: &Node, out: &mut dyn io::Write) -> Result<(), Failure> {
        let mut out = Caught { out, failed: None };
        let read = self.indexed.dump(file, &mut out);
        match (read, out.failed) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(failed)) => Err(failed),
            (Err(e), None) => Err(self.damaged(&e)),
        }
    }

    fn damaged(&self, error: &RusticError) -> Failure {
        let failure = self.of.told("read an archive", error, &self.backend);
        Failure { kind: FailureKind::Unproven, ..failure }
    }
}

struct Caught<'a> {
    out: &'a mut dyn io::Write,
    failed: Option<Failure>,
}
impl io::Write for Caught<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        if let Err(e) = &written
            && e.kind() != io::ErrorKind::Interrupted
        {
            let inner = e.get_ref().and_then(|inner| inner.downcast_ref::<Failure>());
            self.failed = Some(inner.cloned().unwrap_or_else(|| told::written(e)));
        }
        written
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// For an error of a source, which `rustic_core` wants in its own form.
pub fn unreadable(error: io::Error) -> Box<RusticError> {
    RusticError::with_source(ErrorKind::InputOutput, "a file cannot be read", error)
}

/// A word that nothing else has.
pub fn fresh_mark() -> String {
    Id::random().to_hex()[..32].to_owned()
}
