//! Which processes are the service's, by a word of somebody else: never enough to send a signal by.
use crate::resource::{
    Failure,
    process::{Identity, boot_id, descendants},
};
use rustix::fs::{Mode, OFlags, open};
use std::{collections::BTreeSet, fs::File, io::Read, path::Path};

/// A service has no more processes that are worth counting.
const MAX_LISTED: usize = 10_000;

/// The process that a file names; none when there is no such file or process.
pub fn of_file(path: &Path) -> Result<Option<Identity>, Failure> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut text = String::new();
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(Failure::failed(format!("its `pid-file` cannot be read: {error}"))),
    };
    let no_id = || Failure::failed("its `pid-file` holds no process id");
    if !file.metadata().is_ok_and(|about| about.is_file()) {
        return Err(no_id());
    }
    file.take(64).read_to_string(&mut text).map_err(|_| no_id())?;
    let pid = text.split_whitespace().next().map(pid).unwrap_or(None);
    match pid {
        Some(pid) => Ok(alive(pid)),
        // It is just being written.
        None if text.trim().is_empty() => Ok(None),
        None => Err(no_id()),
    }
}

/// The processes that a command names, those that are there.
pub fn listed(text: &str) -> Result<Vec<Identity>, Failure> {
    let mut found = BTreeSet::new();
    for word in text.split_whitespace().filter(|word| *word != "0").take(MAX_LISTED) {
        let pid = pid(word).ok_or_else(|| Failure::failed("its `processes` prints something that is no process id"))?;
        found.extend(alive(pid));
    }
    Ok(found.into_iter().collect())
}

fn pid(word: &str) -> Option<i32> {
    // The first process of a machine is no service of a product.
    word.parse().ok().filter(|pid| *pid > 1)
}

fn alive(pid: i32) -> Option<Identity> {
    Identity::read(pid).ok().filter(|process| process.alive())
}

/// With all that they have started.
pub fn families(of: Vec<Identity>) -> Result<Vec<i32>, Failure> {
    let mut all: BTreeSet<i32> = BTreeSet::new();
    for process in of {
        all.insert(process.pid);
        let born = descendants(process.pid);
        let born = born.map_err(|e| Failure::failed(format!("its processes cannot be seen: {e}")))?;
        all.extend(born.into_iter().map(|child| child.pid));
    }
    Ok(all.into_iter().collect())
}

/// A start of the service, also after the machine was started again.
pub fn word(process: Identity) -> Result<String, Failure> {
    let boot = boot_id().map_err(|e| Failure::failed(format!("its processes cannot be seen: {e}")))?;
    Ok(format!("{boot}/{}/{}", process.pid, process.start))
}
