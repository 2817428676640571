//! Who may use a repository at the same time. `rustic_core` holds no locks, so Backout's are its own: a file in the repository, held
//! by the kernel, which lets go of it when a process ends, however it ends.
use super::For;
use crate::resource::{Failure, room};
use rustix::{
    fs::{FlockOperation, Mode, OFlags},
    io::Errno,
};
use std::{
    fs::File,
    io,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

const NAME: &str = "backout.lock";
const WAIT: Duration = Duration::from_secs(10);
/// A restic that lives renews its locks every five minutes.
const STALE: Duration = Duration::from_secs(30 * 60);

pub struct Lock {
    _file: Option<File>,
}

impl Lock {
    pub fn take(repository: &Path, purpose: For) -> Result<Self, Failure> {
        let reads = purpose == For::Reading;
        let path = repository.join(NAME);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => File::from(file),
            // Where nobody here can write, nobody here prunes.
            Err(Errno::ROFS | Errno::ACCESS | Errno::PERM) if reads => return Ok(Self { _file: None }),
            Err(e) => return Err(cannot(e, repository)),
        };
        let operation = match purpose {
            For::Alone => FlockOperation::NonBlockingLockExclusive,
            For::Reading | For::Writing => FlockOperation::NonBlockingLockShared,
        };
        let until = Instant::now() + WAIT;
        loop {
            match rustix::fs::flock(&file, operation) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < until => std::thread::sleep(Duration::from_millis(50)),
                Err(Errno::WOULDBLOCK) => {
                    let who =
                        if purpose == For::Alone { "another run uses it" } else { "another run has it for itself" };
                    return Err(Failure::conflict(who).hint("wait until that has ended, and try again"));
                }
                // A file system that knows no locks.
                Err(Errno::NOLCK | Errno::OPNOTSUPP | Errno::NOSYS) if reads => break,
                Err(e) => return Err(cannot(e, repository)),
            }
        }
        if !reads && held_by_restic(repository) {
            return Err(Failure::conflict("restic is at work in it")
                .hint("wait until it has ended; what a restic that was killed has left, `restic unlock` removes"));
        }
        Ok(Self { _file: Some(file) })
    }
}

fn cannot(error: Errno, repository: &Path) -> Failure {
    let error = io::Error::from(error);
    let failure = match room::is_none(&error) {
        true => Failure::failed("there is no room left"),
        false => Failure::unavailable(format!("it cannot be locked: {error}")),
    };
    failure.hint(format!("look at {}", repository.display()))
}

fn held_by_restic(repository: &Path) -> bool {
    let Ok(locks) = repository.join("locks").read_dir() else { return false };
    let young = |entry: io::Result<std::fs::DirEntry>| {
        let modified = entry.and_then(|entry| entry.metadata()).and_then(|file| file.modified());
        modified.is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() < STALE)
    };
    locks.into_iter().any(young)
}
