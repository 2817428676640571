use procfs::process::{Process, Stat};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

/// A process that cannot be mistaken for a later one with the same id, within one boot of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// clock ticks from boot to its start
    pub start: u64,
}

impl Identity {
    fn of(stat: &Stat) -> Self {
        Self { pid: stat.pid, start: stat.starttime }
    }

    /// Also of a process that has ended and was not waited for.
    pub fn read(pid: i32) -> io::Result<Self> {
        Ok(Self::of(&Process::new(pid).and_then(|p| p.stat()).map_err(io::Error::other)?))
    }

    pub fn own() -> io::Result<Self> {
        Self::read(rustix::process::getpid().as_raw_nonzero().get())
    }

    pub fn alive(self) -> bool {
        Process::new(self.pid).and_then(|p| p.stat()).is_ok_and(|stat| Self::of(&stat) == self && !has_ended(&stat))
    }

    /// A descriptor stands for the process that had the id when it was opened. The look afterwards shows that this is
    /// the one that is meant: it was there before and is there still, so nobody else had the id in between.
    pub fn open(self) -> Option<Handle> {
        let handle = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        self.alive().then_some(Handle(handle))
    }

    /// Whether it was there to be told.
    pub fn signal(self, signal: Signal) -> bool {
        self.open().is_some_and(|handle| handle.signal(signal))
    }
}

/// A process, held on to.
pub struct Handle(OwnedFd);

impl Handle {
    pub fn signal(&self, signal: Signal) -> bool {
        pidfd_send_signal(&self.0, signal).is_ok()
    }

    /// Returns when the process has ended.
    pub async fn gone(&self) -> io::Result<()> {
        loop {
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&Timespec::default())) {
                Ok(0) | Err(rustix::io::Errno::INTR) => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Ended, and only its entry is left. A process whose first thread has ended looks so too while its other threads go on.
fn has_ended(stat: &Stat) -> bool {
    matches!(stat.state, 'Z' | 'X' | 'x') && stat.num_threads <= 1
}

/// Every process that has not ended. Those that come and go meanwhile may be missing.
pub fn all() -> io::Result<Vec<Stat>> {
    let processes = procfs::process::all_processes().map_err(io::Error::other)?;
    Ok(processes.filter_map(|p| p.ok()?.stat().ok()).filter(|stat| !has_ended(stat)).collect())
}

/// Whatever `root` has started, directly or not, without itself.
pub fn descendants(root: i32) -> io::Result<Vec<Identity>> {
    let mut children: BTreeMap<i32, Vec<Identity>> = BTreeMap::new();
    for stat in all()? {
        children.entry(stat.ppid).or_default().push(Identity::of(&stat));
    }
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let born = children.remove(&parent).unwrap_or_default();
        parents.extend(born.iter().map(|child| child.pid));
        found.extend(born);
    }
    Ok(found)
}

/// The processes that have `name=value` in the environment that they were started with.
pub fn marked(name: &str, value: &str) -> io::Result<Vec<Identity>> {
    let mark = format!("{name}={value}");
    let bears = |pid: i32| {
        fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|b| *b == 0).any(|variable| variable == mark.as_bytes()))
    };
    Ok(all()?.iter().map(Identity::of).filter(|process| bears(process.pid) && process.alive()).collect())
}

/// Ends what `find` finds, until it finds nothing more: asks first, kills after `within`. Whatever is left at `until` is the
/// error.
pub async fn end(
    find: impl Fn() -> io::Result<Vec<Identity>> + Clone + Send + 'static,
    within: Duration,
    until: Instant,
) -> io::Result<Result<(), Vec<Identity>>> {
    let began = Instant::now();
    let mut asked = Vec::new();
    loop {
        let left = tokio::task::spawn_blocking(find.clone()).await.map_err(io::Error::other)??;
        if left.is_empty() {
            return Ok(Ok(()));
        }
        if Instant::now() >= until {
            return Ok(Err(left));
        }
        for process in left {
            if began.elapsed() >= within {
                process.signal(Signal::KILL);
            } else if !asked.contains(&process) {
                process.signal(Signal::TERM);
                process.signal(Signal::CONT);
                asked.push(process);
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Time since the machine was started, on which all its processes agree, whatever happens to the date.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
}

/// Differs after every start of the machine, and so does what process ids mean.
pub fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A word that nobody else has.
pub fn unique() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_alone_is_nobody() {
        let own = Identity::own().unwrap();
        assert!(own.alive());
        let later = Identity { start: own.start + 1, ..own };
        assert!(!later.alive());
        assert!(later.open().is_none());
        assert!(!later.signal(Signal::KILL));
    }

    #[test]
    fn who_has_ended_and_was_not_waited_for_is_gone() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let child_id = Identity::read(pid).unwrap();
        while child_id.alive() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(Identity::read(pid).unwrap(), child_id, "its entry is still there");
        assert!(!descendants(std::process::id() as i32).unwrap().contains(&child_id));
        child.wait().unwrap();
    }
}
