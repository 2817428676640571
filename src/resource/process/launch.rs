#![expect(
    clippy::disallowed_methods,
    clippy::exit,
    reason = "here a process becomes the program that it was started for"
)]
use super::{
    helper::{close_inherited, own_executable},
    identity::Identity,
    user::User,
};
use crate::resource::Failure;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, Mode, memfd_create},
    process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal, setsid, umask},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, Seek, Write},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program, ready to be started: nothing of Backout's own environment goes into it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Program {
    run: Vec<String>,
    dir: PathBuf,
    env: BTreeMap<String, String>,
    /// Whom to become; none: stay who Backout is.
    user: Option<User>,
    /// What it finds on its standard input; none: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Launch {
    parent: i32,
    program: Program,
}

impl Program {
    /// `mark` is a variable by which everything that the program starts can be found.
    pub fn new(
        run: &[String],
        dir: &Path,
        env: &BTreeMap<String, String>,
        user: Option<&str>,
        mark: (&str, &str),
    ) -> Result<Self, Failure> {
        if run.is_empty() {
            return Err(Failure::invalid("the site names no program to run"));
        }
        let own = User::own()?;
        let other = user.filter(|name| *name != own.name).map(User::named).transpose()?;
        if let Some(other) = &other
            && !rustix::process::geteuid().is_root()
        {
            return Err(Failure::invalid(format!("only root can run it as user `{}`", other.name)));
        }
        let account = other.as_ref().unwrap_or(&own);
        let usual = [
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", account.home.to_string_lossy().into_owned()),
            ("USER", account.name.clone()),
            ("LOGNAME", account.name.clone()),
        ];
        let mut all: BTreeMap<String, String> =
            usual.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        all.extend(env.clone());
        all.insert(mark.0.to_owned(), mark.1.to_owned());
        Ok(Self { run: run.to_vec(), dir: dir.to_owned(), env: all, user: other, input: None })
    }

    pub fn reading(self, input: Option<&str>) -> Self {
        Self { input: input.map(ToOwned::to_owned), ..self }
    }

    /// Starts it in a session and group of its own. Another process of this executable becomes the program, because what
    /// has to happen between fork and exec is safe only there. It gets everything through a pipe: a loader that heeds the
    /// program's environment must not run before the user is changed. Returns when the program itself runs, or has failed to.
    pub fn spawn(&self, stdout: OwnedFd, stderr: OwnedFd) -> io::Result<Identity> {
        let mut child = Command::new(own_executable())
            .arg0("backout")
            .args(["supervise", "program"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()?;
        let identity = Identity::read(i32::try_from(child.id()).map_err(io::Error::other)?)?;
        if let Some(mut order) = child.stdin.take() {
            let launch = Launch { parent: getpid().as_raw_nonzero().get(), program: self.clone() };
            let mut line = serde_json::to_vec(&launch)?;
            line.push(b'\n');
            // One that ended at once is found out by who waits for it.
            let _ = order.write_all(&line);
            // The other end is closed when the program takes over; one that cannot get so far is waited for no longer.
            let _ = poll(&mut [PollFd::new(&order, PollFlags::empty())], Some(&Timespec { tv_sec: 30, tv_nsec: 0 }));
        }
        Ok(identity)
    }
}

/// The launched process becomes the program. Comes back only if it cannot; what it says then goes where the program's own
/// words would have gone, as a shell does it.
pub fn become_program() -> ! {
    let error = match launch() {
        Ok(never) => match never {},
        Err(error) => error,
    };
    let _ = writeln!(io::stderr(), "backout: the program cannot be started: {error}");
    std::process::exit(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

fn launch() -> io::Result<std::convert::Infallible> {
    close_inherited()?;
    let mut order = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut order)?;
    let Launch { parent, program } = serde_json::from_slice(&order)?;
    setsid()?;
    if let Some(user) = &program.user {
        let (uid, gid) = (rustix::process::Uid::from_raw(user.uid), rustix::process::Gid::from_raw(user.gid));
        // These calls change one thread, which is all of this process.
        set_thread_groups(&user.groups.iter().map(|gid| rustix::process::Gid::from_raw(*gid)).collect::<Vec<_>>())?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    // Only now, because a change of user clears it.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if Pid::as_raw(getppid()) != parent {
        return Err(io::Error::other("whoever started it has ended"));
    }
    umask(Mode::from_raw_mode(0o022));
    std::env::set_current_dir(&program.dir)
        .map_err(|e| io::Error::new(e.kind(), format!("the folder that it runs in: {e}")))?;
    let input = match &program.input {
        Some(text) => {
            // A pipe might have no room for it, and nobody would be left to write the rest.
            let mut file = File::from(memfd_create("input", MemfdFlags::CLOEXEC)?);
            file.write_all(text.as_bytes())?;
            file.rewind()?;
            Stdio::from(file)
        }
        None => Stdio::null(),
    };
    let (name, arguments) = program.run.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Err(Command::new(name).args(arguments).env_clear().envs(&program.env).stdin(input).exec())
}
