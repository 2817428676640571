//! Long work on threads of its own: who waits for whom, how it is told to end, what it says meanwhile.
use super::path::RelPath;
use crate::resource::{CallCtx, Failure, Pace, room};
use std::{
    collections::BTreeMap,
    error::Error,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// One set for each tree of this process, however often it is opened. That no other process works on it is the journal's
/// business: one run at a time per resource. Taken in the order in which they stand here.
#[derive(Default)]
pub struct Locks {
    /// Who works on the copies.
    copies: Mutex<()>,
    /// Who changes something inside the tree.
    inside: Mutex<()>,
    /// Held from the last look at whether the operation is still wanted until it has happened. Whoever holds it knows that
    /// nothing which was given up happens later.
    deed: Mutex<()>,
}

impl Locks {
    pub fn of(tree: &Path) -> Arc<Self> {
        static ALL: LazyLock<Mutex<BTreeMap<PathBuf, Weak<Locks>>>> = LazyLock::new(Mutex::default);
        let mut all = lock(&ALL);
        all.retain(|_, locks| locks.strong_count() > 0);
        let known = all.get(tree).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let locks = Arc::new(Self::default());
            all.insert(tree.to_owned(), Arc::downgrade(&locks));
            locks
        })
    }
    /// The locks of a tree hold no data that a panic could have left half-way.
    pub fn copies(&self) -> MutexGuard<'_, ()> {
        lock(&self.copies)
    }
    pub fn inside(&self) -> MutexGuard<'_, ()> {
        lock(&self.inside)
    }
    /// Waits until what was given up has either happened or never will.
    pub fn settled(&self) {
        drop(lock(&self.deed));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An operation as the thread that does it sees it, and those that help it.
#[derive(Clone)]
pub struct Work {
    /// `None`: a short look that nobody follows.
    call: Option<CallCtx>,
    given_up: Arc<AtomicBool>,
    stage: Arc<Mutex<Stage>>,
    /// Looks only, so it may end at any time.
    looks: bool,
    pace: OnceLock<Arc<Pace>>,
}

struct Stage {
    text: &'static str,
    done: u64,
    total: u64,
    told: Instant,
}

/// Sets the flag when the future that waits for the work is dropped, because its time is over.
struct Waiting(Arc<AtomicBool>);
impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Does `work` on a thread that may block. Dropping the future ends it at its next `go_on`.
pub async fn on_a_thread<T: Send + 'static>(
    call: Option<&CallCtx>,
    looks: bool,
    work: impl FnOnce(&Work) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let given_up = Arc::new(AtomicBool::new(false));
    let waiting = Waiting(given_up.clone());
    let stage = Stage { text: "", done: 0, total: 0, told: Instant::now() };
    let mine = Work { call: call.cloned(), given_up, stage: Arc::new(Mutex::new(stage)), looks, pace: OnceLock::new() };
    let result = tokio::task::spawn_blocking(move || {
        mine.go_on()?;
        work(&mine)
    })
    .await;
    drop(waiting);
    result.unwrap_or_else(|e| Err(Failure::failed(format!("it broke off: {e}"))))
}

impl Work {
    /// Whether somebody still waits for it.
    pub fn go_on(&self) -> Result<(), Failure> {
        if self.given_up.load(Ordering::Acquire) {
            return Err(Failure::timed_out("its time was over"));
        }
        if self.looks && self.call.as_ref().is_some_and(|call| call.cancel.is_cancelled()) {
            return Err(Failure::unavailable("cancelled"));
        }
        Ok(())
    }

    /// Does what cannot be taken back, unless it was given up before.
    pub fn deed<T>(&self, locks: &Locks, deed: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let _held = lock(&locks.deed);
        self.go_on()?;
        deed()
    }

    pub fn begin(&self, text: &'static str, total: u64) {
        *lock(&self.stage) = Stage { text, done: 0, total, told: Instant::now() };
    }

    /// From here on no faster than this.
    pub fn keep_pace(&self, pace: Arc<Pace>) {
        let _ = self.pace.set(pace);
    }

    /// Bytes that were done. As an `io::Error`, so that readers and writers can end in the middle.
    pub fn did(&self, bytes: u64) -> io::Result<()> {
        self.go_on().map_err(io::Error::other)?;
        if let Some(pace) = self.pace.get() {
            pace.took(bytes, || self.go_on().is_err());
        }
        let mut stage = lock(&self.stage);
        stage.done += bytes;
        if stage.told.elapsed() > Duration::from_millis(200) {
            stage.told = Instant::now();
            if let Some(call) = &self.call {
                call.progress(stage.text, stage.done, stage.total);
            }
        }
        Ok(())
    }
}

/// What went wrong with which path of the tree.
pub trait At<T> {
    fn at(self, what: &str, path: &RelPath) -> Result<T, Failure>;
    /// Of Backout's own things beside the tree, which scripts do not know.
    fn beside(self, what: &str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> At<T> for Result<T, E> {
    fn at(self, what: &str, path: &RelPath) -> Result<T, Failure> {
        self.map_err(|e| failure(e.into(), &format!("failed to {what} {}", path.brief())))
    }
    fn beside(self, what: &str) -> Result<T, Failure> {
        self.map_err(|e| failure(e.into(), &format!("failed to {what} beside the tree")))
    }
}

fn failure(error: io::Error, what: &str) -> Failure {
    match failure_in(&error) {
        Some(failure) => failure,
        None if room::is_none(&error) => room::none(format!("{what}: there is no room left on the file system")),
        None => Failure::failed(format!("{what}: {error}")),
    }
}

/// The failure that was passed through readers and writers as an `io::Error`, however they wrapped it.
pub fn failure_in(error: &io::Error) -> Option<Failure> {
    let mut next = error.get_ref().map(|e| e as &(dyn Error + 'static));
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return Some(failure.clone());
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|e| e as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}
