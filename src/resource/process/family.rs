use super::{
    identity::{self, Identity},
    launch::Program,
};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process_group, set_child_subreaper, wait};
use serde::{Deserialize, Serialize};
use std::{fmt, io, os::fd::OwnedFd, time::Duration};
use tokio::{
    signal::unix::{Signal as Signals, SignalKind, signal},
    time::{Instant, sleep_until},
};

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

impl Ended {
    pub fn well(self) -> bool {
        self == Self::Code(0)
    }
    fn of(status: WaitStatus) -> Option<Self> {
        status.exit_status().map(Self::Code).or_else(|| status.terminating_signal().map(Self::Signal))
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(9) => f.write_str("signal 9 (KILL)"),
            Self::Signal(15) => f.write_str("signal 15 (TERM)"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// A program and all that it has started. This process is their reaper: whoever loses its parent becomes its child, so when
/// it has no child left, nobody is left, whatever sessions and groups they have made for themselves.
pub struct Family {
    leader: Option<Identity>,
    ended: Option<Ended>,
    children: Signals,
}

/// Between asking and looking again whether a kill was enough.
const KILL_AGAIN: Duration = Duration::from_millis(20);

impl Family {
    /// In the main thread of a process that does nothing else: the leader dies with the thread that started it.
    pub fn new() -> io::Result<Self> {
        set_child_subreaper(Some(getpid()))?;
        // What is handled here is back at its default in the program, also if Backout was started with it ignored.
        let children = signal(SignalKind::child())?;
        let _ = signal(SignalKind::hangup())?;
        Ok(Self { leader: None, ended: None, children })
    }

    pub fn start(&mut self, program: &Program, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Identity> {
        let leader = program.spawn(stdout, stderr)?;
        self.leader = Some(leader);
        Ok(leader)
    }

    /// Takes leave of those that have ended. Whether anybody is left.
    fn reap(&mut self) -> io::Result<bool> {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if self.leader.is_some_and(|leader| leader.pid == pid.as_raw_nonzero().get())
                        && self.ended.is_none()
                    {
                        self.ended = Ended::of(status);
                    }
                }
                Ok(None) => return Ok(true),
                Err(rustix::io::Errno::CHILD) => return Ok(false),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub fn members() -> io::Result<Vec<Identity>> {
        identity::descendants(getpid().as_raw_nonzero().get())
    }

    /// Asks the leader's group while there is a leader, and everybody who is left afterwards.
    fn ask_to_end(&self) -> io::Result<()> {
        for ask in [Signal::TERM, Signal::CONT] {
            match self.leader.filter(|_| self.ended.is_none()).and_then(|leader| Pid::from_raw(leader.pid)) {
                // Its id is its own until `reap` has waited for it. Before it has made its group, it is alone.
                Some(leader) => {
                    if kill_process_group(leader, ask).is_err() {
                        let _ = rustix::process::kill_process(leader, ask);
                    }
                }
                None => {
                    for member in Self::members()? {
                        member.signal(ask);
                    }
                }
            }
        }
        Ok(())
    }

    /// Until the leader has ended. Whoever it leaves behind goes on, or is ended too within `usual`. When an end is `asked` for
    /// before that, with the time that is given for it, nobody is left.
    pub async fn lead(
        &mut self,
        asked: impl Future<Output = Duration>,
        usual: Option<Duration>,
    ) -> io::Result<Option<Ended>> {
        let mut asked = std::pin::pin!(asked);
        while self.reap()? && self.ended.is_none() {
            tokio::select! {
                _ = self.children.recv() => {}
                within = &mut asked => return self.end_all(within).await,
            }
        }
        match usual {
            Some(usual) => self.end_all(usual).await,
            None => Ok(self.ended),
        }
    }

    async fn end_all(&mut self, within: Duration) -> io::Result<Option<Ended>> {
        let mut once = Some(within);
        let asked = async || match once.take() {
            Some(within) => within,
            None => std::future::pending().await,
        };
        self.outlive(within, asked, |_, _| ()).await
    }

    /// Until nobody is left, whoever ends them.
    pub async fn mourn(&mut self) -> io::Result<()> {
        while self.reap()? {
            self.children.recv().await;
        }
        Ok(())
    }

    /// Until nobody is left. `asked` returns when an end is wanted, with the time that is given for it; it may do so again.
    /// When the leader has ended, `on_end` hears of it, and those that it left behind are ended within `usual`.
    pub async fn outlive(
        &mut self,
        usual: Duration,
        mut asked: impl AsyncFnMut() -> Duration,
        mut on_end: impl FnMut(Ended, usize),
    ) -> io::Result<Option<Ended>> {
        let mut deadline: Option<Instant> = None;
        let mut told = false;
        while self.reap()? {
            if let Some(ended) = self.ended
                && !told
            {
                told = true;
                on_end(ended, Self::members()?.len());
                self.ask_to_end()?;
                deadline.get_or_insert(Instant::now() + usual);
            }
            let now = Instant::now();
            let wake = match deadline {
                // Long enough to be never.
                None => now + Duration::from_secs(86_400),
                Some(at) if at > now => at,
                Some(_) => {
                    for member in Self::members()? {
                        member.signal(Signal::KILL);
                    }
                    now + KILL_AGAIN
                }
            };
            tokio::select! {
                _ = self.children.recv() => {}
                within = asked() => {
                    let at = Instant::now() + within;
                    deadline = Some(deadline.map_or(at, |earlier| earlier.min(at)));
                    self.ask_to_end()?;
                }
                () = sleep_until(wake) => {}
            }
        }
        if let Some(ended) = self.ended
            && !told
        {
            on_end(ended, 0);
        }
        Ok(self.ended)
    }
}
