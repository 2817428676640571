//! Trees on real directories, through the door that capabilities use.
mod archive;
mod copies;
mod exchange;
mod files;
mod inside;
pub mod install;

use backout::resource::{
    Access, CallCtx, Clock, Failure, FailureKind, Progress, Tree, Witness,
    tree::{Mutate, Observe, Section, drivers},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub struct Place {
    /// `tree`, `state` and, once there are copies, `.backout` are in it.
    dir: TempDir,
    section: Section,
    access: Access<Tree>,
    notes: Arc<Notes>,
}

/// A journal that can break, and a display.
#[derive(Default)]
struct Notes {
    evidence: Mutex<Vec<Value>>,
    broken: Mutex<bool>,
    progress: Mutex<Vec<(String, u64, u64)>>,
}
impl Witness for Notes {
    fn evidence(&self, data: Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        self.evidence.lock().unwrap().push(data);
        let broken = *self.broken.lock().unwrap();
        Box::pin(async move { if broken { Err(Failure::failed("the power failed")) } else { Ok(()) } })
    }
}
impl Progress for Notes {
    fn progress(&self, text: &str, done: u64, total: u64) {
        self.progress.lock().unwrap().push((text.to_owned(), done, total));
    }
}

impl Place {
    pub fn new() -> Self {
        Self::excluding(&[])
    }
    fn excluding(exclude: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        fs::create_dir(dir.path().join("state")).unwrap();
        let section = Section {
            path: dir.path().join("tree"),
            exclude: exclude.iter().map(ToString::to_string).collect(),
            keep_aside: Duration::from_secs(3600),
            exclusive: true,
            archive: None,
        };
        let access = drivers::open("app", &section, &dir.path().join("state"));
        Self { dir, section, access, notes: Arc::default() }
    }
    /// The site as another one would say it.
    fn again(&mut self, change: impl FnOnce(&mut Section)) {
        change(&mut self.section);
        self.access = drivers::open("app", &self.section, &self.dir.path().join("state"));
    }
    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }
    pub fn at(&self, path: &str) -> PathBuf {
        self.tree().join(path)
    }
    fn slot(&self) -> PathBuf {
        self.dir.path().join(".backout/tree.app/7-app")
    }
    fn standby(&self) -> PathBuf {
        self.slot().join("standby")
    }
    fn file(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }
    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap()
    }
    fn look(&self) -> &dyn Observe {
        &*self.access.observer
    }
    pub fn change(&self) -> &dyn Mutate {
        &*self.access.mutator
    }
    pub fn call(&self) -> CallCtx {
        CallCtx {
            clock: Clock::Real,
            earlier: None,
            key: "7/upgrade/install/1/1".into(),
            deadline: Instant::now() + Duration::from_secs(60),
            cancel: Default::default(),
            witness: self.notes.clone(),
            progress: self.notes.clone(),
        }
    }
    fn evidence(&self) -> Vec<Value> {
        self.notes.evidence.lock().unwrap().clone()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What `ls` and `cat` would say of everything in a folder: the test's own eyes, not the driver's.
fn picture(folder: &Path) -> BTreeMap<String, String> {
    fn below(folder: &Path, path: &Path, lines: &mut BTreeMap<String, String>) {
        let stat = path.symlink_metadata().unwrap();
        let content = if stat.is_symlink() {
            fs::read_link(path).unwrap().display().to_string()
        } else if stat.is_file() {
            format!(
                "{:?}",
                fs::read(path).unwrap().chunk_by(|a, b| a == b).map(|c| (c[0], c.len())).collect::<Vec<_>>()
            )
        } else {
            String::new()
        };
        let marks = format!("{:o} {}:{} {}.{}", stat.mode(), stat.uid(), stat.gid(), stat.mtime(), stat.mtime_nsec());
        let names = if stat.is_file() { stat.nlink() } else { 0 };
        let name = path.strip_prefix(folder).unwrap().display().to_string();
        lines.insert(name, format!("{marks} {names} {content}"));
        if stat.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                below(folder, &entry.unwrap().path(), lines);
            }
        }
    }
    let mut lines = BTreeMap::new();
    below(folder, folder, &mut lines);
    lines
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Failure>, kind: FailureKind, word: &str) {
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(failure.message.contains(word), "{failure}");
}
