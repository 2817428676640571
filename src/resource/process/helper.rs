#![expect(
    clippy::disallowed_methods,
    reason = "here helpers are started, and leave the folder that they are started in"
)]
use rustix::process::{getpgid, getpgrp, getpid, getppid, setpgid, setsid};
use serde::{Serialize, de::DeserializeOwned};
use std::{
    ffi::OsStr,
    fs, io,
    io::Write as _,
    net::Shutdown,
    os::{
        fd::{AsFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

/// This program, also when its file has been replaced since.
pub fn own_executable() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Orders and reports are lines of JSON.
const MAX_LINE: u64 = 16 << 20;

/// A helper, seen from Backout. The wire to it is a socket: the order, which may hold secrets, goes over it, the reports come
/// back, and when it is closed the helper knows that nobody listens any more.
pub struct Helper {
    pub process: tokio::process::Child,
    wire: BufReader<tokio::net::UnixStream>,
    /// Outlives a `report` that was not waited for to its end.
    line: Vec<u8>,
}

impl Helper {
    pub async fn start(
        executable: &Path,
        arguments: &[&OsStr],
        mark: Option<(&str, &str)>,
        order: &impl Serialize,
        output: [Stdio; 2],
    ) -> io::Result<Self> {
        let (here, there) = UnixStream::pair()?;
        here.set_nonblocking(true)?;
        let [stdout, stderr] = output;
        // A group of its own from the first moment: a Ctrl-C is meant for Backout, not for what it has begun.
        let process = tokio::process::Command::new(executable)
            .arg0("backout")
            .arg("supervise")
            .args(arguments)
            .env_clear()
            .envs(mark)
            .stdin(Stdio::from(OwnedFd::from(there)))
            .stdout(stdout)
            .stderr(stderr)
            .process_group(0)
            .spawn()?;
        let mut wire = BufReader::new(tokio::net::UnixStream::from_std(here)?);
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        // A helper that ended at once is found out by its missing report.
        let _ = wire.write_all(&line).await;
        Ok(Self { process, wire, line: Vec::new() })
    }

    /// The next thing that it says; none when it has ended, or wants to say nothing more.
    pub async fn report<T: DeserializeOwned>(&mut self) -> io::Result<Option<T>> {
        let room = MAX_LINE.saturating_sub(self.line.len() as u64);
        match (&mut self.wire).take(room).read_until(b'\n', &mut self.line).await {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(e) => return Err(e),
        }
        let line = std::mem::take(&mut self.line);
        Ok(if line.ends_with(b"\n") { Some(serde_json::from_slice(&line)?) } else { None })
    }

    /// Tells it that its work is not wanted any more. Its reports still arrive.
    pub async fn hang_up(&mut self) {
        // One that has ended needs not be told.
        let _ = self.wire.shutdown().await;
    }
}

/// The other end: what a helper finds as its standard input.
pub struct Wire(UnixStream);

impl Wire {
    /// Makes this process a helper: on its own in the system, and with nothing that it inherited by accident.
    pub fn answer() -> io::Result<Self> {
        close_inherited()?;
        detach()?;
        // A working directory would keep a tree from being exchanged.
        std::env::set_current_dir("/")?;
        Ok(Self(UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?)))
    }

    /// The order. `UnexpectedEof` when whoever wanted to give it has ended.
    pub fn order<T: DeserializeOwned>(&mut self) -> io::Result<T> {
        use io::{BufRead, Read};
        let mut line = Vec::new();
        // One order is all that comes, so nothing behind it gets lost in the buffer.
        io::BufReader::new((&self.0).take(MAX_LINE)).read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(serde_json::from_slice(&line)?)
    }

    pub fn report(&mut self, report: &impl Serialize) {
        let Ok(mut line) = serde_json::to_vec(report) else { return };
        line.push(b'\n');
        // A listener, which is the same socket, does not block; a long report must, or a part of it would be lost.
        let _ = self.0.set_nonblocking(false);
        // Backout may have ended; the work goes on, or ends, without that.
        let _ = self.0.write_all(&line);
    }

    /// Nothing more will be said.
    pub fn close(self) {
        // Standard input is this socket too, so dropping one descriptor would not tell the other end.
        let _ = self.0.shutdown(Shutdown::Both);
    }

    /// For waiting until the other end hangs up.
    pub fn listener(&self) -> io::Result<tokio::net::UnixStream> {
        let stream = self.0.try_clone()?;
        stream.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(stream)
    }
}

/// A session of its own: no terminal, and no signal that is meant for Backout. The leader of a group cannot make one, so for a
/// moment it goes back to the group that it comes from.
fn detach() -> io::Result<()> {
    if getpid() == getpgrp()
        && let Some(parent) = getppid()
    {
        setpgid(None, Some(getpgid(Some(parent))?))?;
    }
    setsid()?;
    Ok(())
}

/// Closes whatever descriptors came from whoever started Backout, and were not meant for a service that outlives it: a pipe
/// of a CI job would stay open until the service ends.
#[expect(unsafe_code, reason = "descriptors that nothing in this process owns can be closed by their numbers only")]
pub fn close_inherited() -> io::Result<()> {
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The listing's own descriptor is among them, and closed by now.
        if fs::read_link(format!("/proc/self/fd/{fd}")).is_ok() {
            // SAFETY: called first thing by a process that has opened nothing yet, so no owner of `fd` exists.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
    Ok(())
}
