//! A place for tests with real processes: whatever a test has started there is gone when it ends, however it ends.
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub const BACKOUT: &str = env!("CARGO_BIN_EXE_backout");

/// Long enough for a loaded machine; nothing that works waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Bench {
    dir: tempfile::TempDir,
    /// Stands in the environment or on the command line of every process of the test.
    pub tag: String,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("backout-bench-").tempdir().unwrap();
        let tag = dir.path().file_name().unwrap().to_str().unwrap().to_owned();
        Self { dir, tag }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }
    pub fn join(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Those that bear the tag, and those that work in its folder.
    pub fn processes(&self) -> Vec<i32> {
        let own = i32::try_from(std::process::id()).unwrap();
        let works_here = |pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(self.path()));
        living().into_iter().filter(|pid| *pid != own && (bears(*pid, &self.tag) || works_here(*pid))).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = self.processes();
            if left.is_empty() || Instant::now() > until {
                return;
            }
            for pid in left {
                kill(pid, "KILL");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn kill(pid: i32, signal: &str) {
    let signal = match signal {
        "KILL" => rustix::process::Signal::KILL,
        "TERM" => rustix::process::Signal::TERM,
        "INT" => rustix::process::Signal::INT,
        "STOP" => rustix::process::Signal::STOP,
        "CONT" => rustix::process::Signal::CONT,
        "HUP" => rustix::process::Signal::HUP,
        other => panic!("{other}"),
    };
    // It may have ended by itself.
    let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal);
}

/// Field 3 onwards of `/proc/PID/stat`: state, parent, group, session, …, start (the 20th of them).
pub fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.split_whitespace().map(ToOwned::to_owned).collect())
}

pub fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| stat[0] != "Z")
}

fn living() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(|pid| alive(*pid)).collect()
}

fn bears(pid: i32, tag: &str) -> bool {
    ["environ", "cmdline"].iter().any(|file| {
        let content = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&content).contains(tag)
    })
}

/// Waits for what must come, however slow the machine is.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
