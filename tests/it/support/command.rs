//! The program as people call it, and what it costs, seen from outside.
use super::bench;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    /// both outputs: what people see
    pub text: String,
    pub took: Duration,
    pub used: Used,
}

/// What a process has used in all its life, by the kernel's own count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// on all processors, in its own code and in the kernel's, with the children that it has waited for
    pub cpu: Duration,
    /// the most memory that it ever had at once, bytes; with the children of that moment
    pub memory: u64,
}

/// Runs `backout`; nobody is at the terminal. A command that has not ended by then is killed, and the test fails.
pub fn backout(folder: &Path, arguments: &[&str], within: Duration) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backout"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("BACKOUT_SITE")
        .env_remove("GITHUB_ACTIONS")
        .env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    let outputs = [read(child.stderr.take().unwrap()), read(child.stdout.take().unwrap())];
    let (status, used) = wait(&mut child, began + within);
    let took = began.elapsed();
    let text: String = outputs.map(|output| output.join().unwrap()).concat();
    let status = status.unwrap_or_else(|| panic!("backout {arguments:?} did not end within {within:?}\n{text}"));
    Ended { code: status.code(), text, took, used }
}

/// A process that has ended keeps its times until it is waited for. Its memory it does not keep, so that is looked at while it
/// runs; each look tells of the most that there has been so far.
fn wait(child: &mut Child, until: Instant) -> (Option<ExitStatus>, Used) {
    let pid = i32::try_from(child.id()).unwrap();
    let mut used = Used::default();
    let over = || {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_raw(pid).unwrap()), look).unwrap().is_some()
    };
    while !over() {
        used.memory = used.memory.max(memory(pid));
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            return (None, used);
        }
        thread::sleep(Duration::from_millis(5));
    }
    // utime, stime, cutime, cstime: fields 14 to 17.
    let ticks: u64 = bench::stat(pid).unwrap()[11..15].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    used.cpu = Duration::from_millis(ticks * 1000 / procfs::ticks_per_second());
    (Some(child.wait().unwrap()), used)
}

/// Of a process and of those that it has started.
fn memory(pid: i32) -> u64 {
    // For a moment, until it has become another program, it has the memory of this one.
    if fs::read_link(format!("/proc/{pid}/exe")).ok() == std::env::current_exe().ok() {
        return 0;
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = threads.flat_map(|thread| {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()
    });
    peak.unwrap_or(0) * 1024 + children.map(memory).sum::<u64>()
}

/// In a thread of its own, so that a full pipe stops nobody.
fn read(mut pipe: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
