//! One run at a time per resource. The kernel drops a lock with the process that holds it, however that ends.
use crate::{journal::RunId, resource::ResourceId};
use rustix::fs::{FlockOperation, flock};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{resource} is held by {holder}")]
    Held { resource: ResourceId, holder: String },
    #[error("the lock {path} cannot be taken: {source}")]
    Io { path: PathBuf, source: io::Error },
}

const STARTING: &str = "a run that is just starting";

/// Held until it is dropped.
#[derive(Default)]
pub struct Locks(Vec<File>);

impl Locks {
    pub fn take(state: &Path, resources: &[ResourceId]) -> Result<Self, Error> {
        let folder = state.join("locks");
        fs::create_dir_all(&folder).map_err(|source| Error::Io { path: folder.clone(), source })?;
        // In one order, so that two runs never wait for each other.
        let mut resources = resources.to_vec();
        resources.sort();
        resources.dedup();
        let mut held = Self(Vec::new());
        for resource in resources {
            let path = folder.join(format!("{}-{}.lock", resource.kind, resource.name));
            let io = |source| Error::Io { path: path.clone(), source };
            let mut file =
                File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
            match lock(&file) {
                Ok(()) => {
                    // Who held it before holds it no longer. It also makes room for the name, before a run begins.
                    say(&mut file, STARTING).map_err(io)?;
                    held.0.push(file);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut holder = String::new();
                    let _ = Read::by_ref(&mut file).take(200).read_to_string(&mut holder);
                    let holder = if holder.is_empty() { STARTING.to_owned() } else { holder };
                    return Err(Error::Held { resource, holder });
                }
                Err(error) => return Err(io(error.into())),
            }
        }
        Ok(held)
    }

    /// The runs that hold something now.
    pub fn held(state: &Path) -> Result<BTreeSet<RunId>, Error> {
        let folder = state.join("locks");
        let io = |path: &Path, source| Error::Io { path: path.to_owned(), source };
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
            Err(error) => return Err(io(&folder, error)),
        };
        let mut runs = BTreeSet::new();
        for entry in entries {
            let path = entry.map_err(|e| io(&folder, e))?.path();
            let mut file = File::open(&path).map_err(|e| io(&path, e))?;
            // Let go at once; who takes the lock at this very moment tries again.
            if flock(&file, FlockOperation::NonBlockingLockShared) != Err(rustix::io::Errno::WOULDBLOCK) {
                unlock(&file);
                continue;
            }
            let mut holder = String::new();
            let _ = Read::by_ref(&mut file).take(200).read_to_string(&mut holder);
            runs.extend(holder.strip_prefix("run ").and_then(|rest| rest.split(' ').next()?.parse::<RunId>().ok()));
        }
        Ok(runs)
    }

    /// So that a second run can be told who holds it.
    pub fn name(&mut self, run: RunId) -> io::Result<()> {
        self.tell(&format!("run {run}"))
    }

    /// The same of somebody who is no run.
    pub fn tell(&mut self, who: &str) -> io::Result<()> {
        let name = format!("{who} (process {})", std::process::id());
        self.0.iter_mut().try_for_each(|file| say(file, &name))
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        self.0.iter().for_each(unlock);
    }
}

fn say(file: &mut File, holder: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(holder.as_bytes())?;
    file.set_len(holder.len() as u64)
}

/// A child on its way into another program still has the file open, and would keep the lock until it gets there.
fn unlock(file: &File) {
    // Where this fails, closing the file does it.
    let _ = flock(file, FlockOperation::Unlock);
}

/// Not waited for; but somebody who only looks holds it for a blink.
fn lock(file: &File) -> rustix::io::Result<()> {
    let taken = flock(file, FlockOperation::NonBlockingLockExclusive);
    if taken != Err(rustix::io::Errno::WOULDBLOCK) {
        return taken;
    }
    std::thread::sleep(Duration::from_millis(20));
    flock(file, FlockOperation::NonBlockingLockExclusive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_it() {
        let state = tempfile::tempdir().unwrap();
        let orders = ResourceId::new("database", "orders");
        let mut first = Locks::take(state.path(), std::slice::from_ref(&orders)).unwrap();
        first.name(12).unwrap();
        let error = Locks::take(state.path(), &[ResourceId::new("tree", "app"), orders.clone()]).err().unwrap();
        assert!(error.to_string().starts_with("database:orders is held by run 12 (process "), "{error}");
        assert_eq!(Locks::held(state.path()).unwrap(), BTreeSet::from([12]));
        drop(first);
        assert_eq!(Locks::held(state.path()).unwrap(), BTreeSet::new());
        Locks::take(state.path(), &[orders]).unwrap();
    }
}
