//! A tree that is a directory of this host. Its copies lie beside it, in `.backout`, so that an exchange is a rename; or in a
//! repository, from which they come there when they are needed.
mod archive;
mod content;
mod copy;
mod duplicate;
mod exchange;
mod inside;
mod install;
mod listing;
mod path;
mod place;
mod proof;
mod scan;
mod standby;
mod unpack;
mod work;

use crate::resource::{
    CallCtx, Failure, Pace,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    room::{self, Need},
    tree::{Archive, Entry, Mutate, Observe, Section, exclude::Excludes},
};
use async_trait::async_trait;
use exchange::Ready;
use place::{ASIDE, Live, Slot};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use work::{Work, on_a_thread};

/// A tree as the site names it.
struct Configured {
    name: String,
    section: Section,
    /// Backout's own state.
    state: PathBuf,
}

impl Configured {
    fn excludes(&self) -> Result<Excludes, Failure> {
        Excludes::parse(&self.section.exclude).map_err(|e| Failure::invalid(format!("`exclude` of the tree: {e}")))
    }

    /// A copy belongs to the place that it was made beside.
    fn same_place(&self, live: &Live, snapshot: &Snapshot) -> Result<(), Failure> {
        if snapshot.is_half_made()
            || snapshot.is_archived()
            || Slot::path(live, &self.name, &snapshot.id)?.display().to_string() == snapshot.place
        {
            return Ok(());
        }
        Err(Failure::conflict("the site says another place for the tree than when the copy was made"))
    }

    fn restored(&self, slot: &Slot, lost: Vec<Lost>) -> Result<Restored, Failure> {
        Ok(Restored { exchanged: true, aside: Some(slot.path.join(ASIDE).display().to_string()), lost })
    }
}

pub struct Directory {
    tree: Arc<Configured>,
}

impl Directory {
    pub fn new(name: &str, section: &Section, state: &Path) -> Self {
        let tree = Configured { name: name.to_owned(), section: section.clone(), state: state.to_owned() };
        Self { tree: Arc::new(tree) }
    }

    /// What a copy elsewhere would take.
    pub async fn need(&self, call: &CallCtx) -> Result<Need, Failure> {
        self.look(Some(call), duplicate::need).await
    }

    /// A copy elsewhere, where nothing is yet; the tree itself is only read.
    pub async fn duplicate(&self, to: &Path, pace: Arc<Pace>, call: &CallCtx) -> Result<Fingerprint, Failure> {
        let to = to.to_owned();
        self.look(Some(call), move |tree, work| {
            work.keep_pace(pace);
            duplicate::duplicate(tree, &to, work)
        })
        .await
    }

    async fn look<T: Send + 'static>(
        &self,
        call: Option<&CallCtx>,
        look: impl FnOnce(&Configured, &Work) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let tree = self.tree.clone();
        let looked = on_a_thread(call, true, move |work| look(&tree, work)).await;
        looked.map_err(|failure| room::place(failure, &self.tree.section.path))
    }

    async fn change<T: Send + 'static>(
        &self,
        call: &CallCtx,
        change: impl FnOnce(&Configured, &Work) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let tree = self.tree.clone();
        let changed = on_a_thread(Some(call), false, move |work| change(&tree, work)).await;
        changed.map_err(|failure| room::place(failure, &self.tree.section.path))
    }
}

#[async_trait]
impl ObserveCopies for Directory {
    async fn fingerprint(&self, call: &CallCtx) -> Result<Fingerprint, Failure> {
        self.look(Some(call), standby::fingerprint).await
    }
    async fn loss(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
        let snapshot = snapshot.clone();
        self.look(Some(call), move |tree, work| {
            if snapshot.is_archived() && !archive::is_staged(tree, &snapshot)? {
                return archive::loss(tree, &snapshot, work);
            }
            standby::loss(tree, &snapshot, work)
        })
        .await
    }
    async fn inspect(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure> {
        let snapshot = snapshot.clone();
        self.look(Some(call), move |tree, work| {
            if snapshot.is_archived() && !archive::is_staged(tree, &snapshot)? {
                return archive::inspect(tree, &snapshot, work);
            }
            standby::inspect(tree, &snapshot, work)
        })
        .await
    }
    async fn quiet(&self, call: &CallCtx) -> Result<(), Failure> {
        self.look(Some(call), standby::quiet).await
    }
    async fn repository(&self) -> Result<Option<String>, Failure> {
        self.look(None, |tree, _| match &tree.section.archive {
            Some(repository) => repository.is_there().map(|()| Some(repository.name.clone())),
            None => Ok(None),
        })
        .await
    }
    async fn exchanged(&self, snapshot: &Snapshot, evidence: &[serde_json::Value]) -> Result<Exchange, Failure> {
        let (snapshot, evidence) = (snapshot.clone(), evidence.to_vec());
        self.look(None, move |tree, work| exchange::exchanged(tree, &snapshot, &evidence, work)).await
    }
}

#[async_trait]
impl MutateCopies for Directory {
    async fn take(&self, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
        let id = id.to_owned();
        self.change(call, move |tree, work| match tree.section.archive {
            Some(_) => archive::take(tree, &id, work),
            None => standby::take(tree, &id, work),
        })
        .await
    }
    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        let snapshot = snapshot.clone();
        self.change(call, move |tree, work| match snapshot.is_archived() {
            true => archive::refresh(tree, &snapshot, work),
            false => standby::refresh(tree, &snapshot, work),
        })
        .await
    }
    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
        if snapshot.is_archived() {
            let known = snapshot.clone();
            self.change(call, move |tree, work| archive::stage(tree, &known, work)).await?;
        }
        let known = snapshot.clone();
        let ready = self.change(call, move |tree, work| exchange::prepare(tree, &known, work)).await?;
        let (evidence, lost) = match ready {
            Ready::ToExchange { evidence, lost } => (evidence, lost),
            Ready::Done(restored) => return Ok(restored),
        };
        let data = serde_json::to_value(&evidence).map_err(|e| Failure::failed(format!("evidence: {e}")))?;
        call.evidence(data).await?;
        let snapshot = snapshot.clone();
        self.change(call, move |tree, work| exchange::perform(tree, &snapshot, &evidence, lost, work)).await
    }
    async fn discard(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<u64, Failure> {
        let snapshot = snapshot.clone();
        self.change(call, move |tree, work| {
            archive::discard(tree, &snapshot, work)?;
            exchange::discard(tree, &snapshot, work)
        })
        .await
    }
}

#[async_trait]
impl Observe for Directory {
    async fn read(&self, path: &str) -> Result<Vec<u8>, Failure> {
        let path = path.to_owned();
        self.look(None, move |tree, _| inside::read(tree, &path)).await
    }
    async fn list(&self, path: &str) -> Result<Vec<Entry>, Failure> {
        let path = path.to_owned();
        self.look(None, move |tree, _| inside::list(tree, &path)).await
    }
    async fn written(&self, path: &str, content: &[u8]) -> Result<bool, Failure> {
        let (path, content) = (path.to_owned(), content.to_vec());
        self.look(None, move |tree, _| inside::written(tree, &path, &content)).await
    }
    async fn installed(&self, path: &str, archive: &Archive) -> Result<bool, Failure> {
        let (path, archive) = (path.to_owned(), archive.clone());
        self.look(None, move |tree, work| install::installed(tree, &path, &archive, work)).await
    }
    async fn linked(&self, path: &str, target: &str) -> Result<bool, Failure> {
        let (path, target) = (path.to_owned(), target.to_owned());
        self.look(None, move |tree, _| inside::linked(tree, &path, &target)).await
    }
}

#[async_trait]
impl Mutate for Directory {
    async fn write(&self, path: &str, content: &[u8], call: &CallCtx) -> Result<(), Failure> {
        let (path, content) = (path.to_owned(), content.to_vec());
        self.change(call, move |tree, work| inside::write(tree, &path, &content, work)).await
    }
    async fn install(&self, path: &str, archive: &Archive, call: &CallCtx) -> Result<(), Failure> {
        let (path, archive) = (path.to_owned(), archive.clone());
        self.change(call, move |tree, work| install::install(tree, &path, &archive, work)).await
    }
    async fn link(&self, path: &str, target: &str, call: &CallCtx) -> Result<(), Failure> {
        let (path, target) = (path.to_owned(), target.to_owned());
        self.change(call, move |tree, work| inside::link(tree, &path, &target, work)).await
    }
}

/// Nothing there is fine.
pub fn remove(folder: &Path) -> std::io::Result<()> {
    let (Some(parent), Some(name)) = (folder.parent(), folder.file_name()) else { return Ok(()) };
    let parent = match scan::open(rustix::fs::CWD, parent, rustix::fs::OFlags::DIRECTORY) {
        Err(rustix::io::Errno::NOENT) => return Ok(()),
        parent => parent?,
    };
    place::remove_all(std::os::fd::AsFd::as_fd(&parent), name).map(drop)
}
