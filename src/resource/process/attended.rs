#![expect(clippy::disallowed_methods, reason = "here programs are started that end with whoever waits for them")]
use super::Collected;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{collections::BTreeMap, io, path::Path, process::Stdio, time::Instant};
use tokio::{io::AsyncReadExt, process::Child};

/// A program that changes nothing on this machine and is of use only while somebody waits for it: it is killed, with all
/// that it has started, when nobody does any more. What it prints on both outputs is one text.
pub struct Attended {
    child: Child,
    group: Option<Pid>,
}

const MOST: usize = 64 << 10;

impl Attended {
    pub fn start(program: &Path, arguments: &[String], env: &BTreeMap<String, String>) -> io::Result<Self> {
        Self::between(program, arguments, env, (Stdio::null(), Stdio::piped()))
    }

    /// What it reads, and where it writes to.
    pub fn between(
        program: &Path,
        arguments: &[String],
        env: &BTreeMap<String, String>,
        (input, output): (Stdio, Stdio),
    ) -> io::Result<Self> {
        // A group of its own: a Ctrl-C is meant for Backout, which then decides.
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .env_clear()
            .envs(env)
            .current_dir("/")
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Ok(Self { child, group })
    }

    /// Whether it ended well; `None`: it was killed, because its time was over.
    pub async fn ended(mut self, deadline: Instant) -> io::Result<(Option<bool>, Collected)> {
        let mut said = Collected::new(MOST);
        let (mut out, mut err) = (self.child.stdout.take(), self.child.stderr.take());
        let work = async {
            let (mut a, mut b) = (vec![0; 8 << 10], vec![0; 8 << 10]);
            while out.is_some() || err.is_some() {
                tokio::select! {
                    n = async { match &mut out { Some(s) => s.read(&mut a).await, None => std::future::pending().await } } => {
                        match n? { 0 => out = None, n => said.push(a.get(..n).unwrap_or_default()) }
                    }
                    n = async { match &mut err { Some(s) => s.read(&mut b).await, None => std::future::pending().await } } => {
                        match n? { 0 => err = None, n => said.push(b.get(..n).unwrap_or_default()) }
                    }
                }
            }
            self.child.wait().await
        };
        let ended = tokio::time::timeout_at(deadline.into(), work).await;
        let well = match ended {
            Ok(status) => {
                // It was waited for: its number may be another's by now.
                self.group = None;
                Some(status?.success())
            }
            Err(_) => None,
        };
        Ok((well, said))
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
