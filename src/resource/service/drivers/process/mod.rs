//! A process that Backout supervises. A helper keeps it (see `supervisor`), so it goes on when Backout ends; whoever comes back
//! finds out from the helper's lock and record how it is.
mod log;
pub(super) mod record;
pub mod supervisor;

use super::{
    super::{Before, Mark, Mutate, Observe, Process, Status},
    folder::LOOK_AGAIN,
    lines::Search,
};
use crate::resource::{
    CallCtx, Failure,
    process::{
        Helper, Identity, Program, Redaction, all, blocking, boot_id, bounded, descendants, end, marked, moment,
        signal_named, unique,
    },
};
use async_trait::async_trait;
use record::{Home, Record, StopOrder};
use rustix::{
    io::Errno,
    process::{Pid, Signal, test_kill_process},
};
use std::{
    ffi::OsStr,
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use supervisor::{Order, Report};
use tokio::time::{sleep, timeout};

/// The variable by which everything that a service has started is found when its supervisor is gone.
const MARK: &str = "BACKOUT_SERVICE";
/// The variable by which a supervisor is found that holds no lock yet. It names the folder of its service.
const SUPERVISES: &str = "BACKOUT_SUPERVISES";
/// For a supervisor to do what it has been told, beyond the time that the program has.
const MARGIN: Duration = Duration::from_secs(5);
const LAST_WORDS: usize = 8;

pub struct Supervised {
    name: String,
    section: Process,
    home: Home,
    executable: PathBuf,
    redaction: Redaction,
}

/// The service at one moment.
struct Look {
    /// A supervisor lives.
    held: bool,
    record: Option<Record>,
    boot: String,
}

impl Look {
    fn at(home: &Home) -> Result<Self, Failure> {
        let unseen = |e: io::Error| Failure::failed(format!("how it is cannot be seen: {e}"));
        // In this order: a record that is read after the lock was seen free is final.
        let held = home.held().map_err(unseen)?;
        let mut look = Self { held, record: home.record()?, boot: boot_id().map_err(unseen)? };
        if held && look.kept().is_none() && !home.held().map_err(unseen)? {
            // It ended between the two.
            look = Self { held: false, record: home.record()?, ..look };
        }
        Ok(look)
    }

    /// The record of the supervisor that lives; none while a new one has not written it yet.
    fn kept(&self) -> Option<&Record> {
        self.record.as_ref().filter(|r| self.held && r.boot == self.boot && r.supervisor.alive())
    }

    /// The record of a supervisor that was ended before everything was gone.
    fn orphaned(&self) -> Option<&Record> {
        self.record.as_ref().filter(|r| !self.held && r.boot == self.boot && !r.gone)
    }

    fn status(&self, settle: Duration) -> io::Result<Status> {
        if self.held {
            let settled = self.kept().and_then(Record::age).is_some_and(|age| age >= settle);
            return Ok(if settled { Status::Running } else { Status::Starting });
        }
        let Some(record) = &self.record else { return Ok(Status::Stopped) };
        if let Some(orphaned) = self.orphaned()
            && !Leftovers::of(orphaned)?.is_empty()
        {
            return Ok(Status::Failed);
        }
        Ok(match record.ended {
            _ if record.stopped => Status::Stopped,
            Some(ended) if ended.well() => Status::Stopped,
            Some(_) => Status::Failed,
            // The machine went down, and it with it.
            None if record.boot != self.boot => Status::Stopped,
            None => Status::Failed,
        })
    }
}

/// What a supervisor that was killed could not end.
struct Leftovers {
    certain: Vec<Identity>,
    /// In the program's session, by a number that may have been given away since.
    possible: Vec<Identity>,
}

impl Leftovers {
    fn of(record: &Record) -> io::Result<Self> {
        let mut certain = marked(MARK, &record.token)?;
        let mut possible = Vec::new();
        if let Some(program) = record.program {
            let leads = program.alive();
            if leads && !certain.contains(&program) {
                certain.push(program);
            }
            for stat in all()?.into_iter().filter(|s| s.session == program.pid && s.starttime >= program.start) {
                let process = Identity { pid: stat.pid, start: stat.starttime };
                if certain.contains(&process) {
                    continue;
                }
                if leads { &mut certain } else { &mut possible }.push(process);
            }
        }
        Ok(Self { certain, possible })
    }

    fn is_empty(&self) -> bool {
        self.certain.is_empty() && self.possible.is_empty()
    }
}

impl Supervised {
    pub fn new(name: &str, section: &Process, state: &Path, executable: PathBuf) -> Self {
        let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        Self {
            name: name.to_owned(),
            section: section.clone(),
            home: Home::new(state.join("services").join(name)),
            executable,
            redaction: Redaction::new(&section.env),
        }
    }

    async fn look(&self) -> Result<Look, Failure> {
        let home = self.home.clone();
        blocking(move || Look::at(&home)).await?
    }

    /// Starts a supervisor, and returns when it has started the program, or found that there is one already.
    async fn begin(&self) -> Result<(), Failure> {
        let failed = |e: io::Error| Failure::failed(format!("its supervisor cannot be started: {e}"));
        let token = unique().map_err(failed)?;
        let Process { run, dir, env, user, .. } = &self.section;
        let order = Order {
            program: Program::new(run, dir, env, user.as_deref(), (MARK, &token))?,
            token,
            stop_within: self.section.stop_within,
            log_bytes: self.section.log_bytes,
            log_keep: self.section.log_keep,
        };
        // What the supervisor says when it fails itself.
        let last_words = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.home.path().join("supervisor.err"))
            .map_err(failed)?;
        let arguments = [OsStr::new("service"), OsStr::new("--dir"), self.home.path().as_os_str()];
        let output = [Stdio::null(), Stdio::from(last_words)];
        let folder = self.home.path().to_string_lossy();
        let mark = Some((SUPERVISES, &*folder));
        let mut helper = Helper::start(&self.executable, &arguments, mark, &order, output).await.map_err(failed)?;
        match helper.report().await.map_err(failed)? {
            Some(Report::Begun | Report::Held) => Ok(()),
            Some(Report::Failed(why)) => Err(Failure::failed(why)),
            None => Err(Failure::failed("its supervisor ended before it began")),
        }
    }

    /// A supervisor that a killed Backout has started lives, and may take its lock at any moment.
    async fn expected(&self) -> Result<bool, Failure> {
        let folder = self.home.path().to_string_lossy().into_owned();
        let found = blocking(move || marked(SUPERVISES, &folder)).await?;
        Ok(!found.map_err(|e| Failure::failed(format!("its supervisor cannot be seen: {e}")))?.is_empty())
    }

    /// The service at a moment when no supervisor is on its way; in this Backout's turn nobody begins one.
    async fn look_ahead(&self) -> Result<Option<Look>, Failure> {
        let look = self.look().await?;
        Ok(if look.held || !self.expected().await? { Some(look) } else { None })
    }

    /// What runs, unless it was told to end.
    async fn kept(&self) -> Result<Option<Record>, Failure> {
        let look = self.look().await?;
        Ok(look.kept().filter(|record| !record.stopped && record.ended.is_none()).cloned())
    }

    /// Waits until it has run long enough to count as started.
    async fn settled(&self, call: &CallCtx) -> Result<(), Failure> {
        loop {
            let look = self.look().await?;
            if !look.held {
                return Err(self.ended_at_once(look.record.as_ref()).await);
            }
            let age = look.kept().filter(|record| record.ended.is_none()).and_then(Record::age);
            let missing = match age.map(|age| self.section.settle.saturating_sub(age)) {
                Some(Duration::ZERO) => return Ok(()),
                // It has ended, and its supervisor is about to.
                None => LOOK_AGAIN,
                Some(missing) => missing.clamp(Duration::from_millis(1), LOOK_AGAIN),
            };
            if call.remaining().is_zero() {
                return Err(Failure::timed_out(format!("`{}` was started, and has not settled yet", self.name)));
            }
            sleep(missing).await;
        }
    }

    async fn ended_at_once(&self, record: Option<&Record>) -> Failure {
        let how = match record.map(|record| (record.ended, record.stopped)) {
            Some((_, true)) => "it was stopped while it started".to_owned(),
            Some((Some(ended), _)) if ended.well() => {
                "it ended at once with exit status 0 (a service has to stay in the foreground)".to_owned()
            }
            Some((Some(ended), _)) => format!("it ended at once with {ended}"),
            _ => "its supervisor was ended".to_owned(),
        };
        let words = self.last_words(record.map_or(0, |record| record.log_began)).await.unwrap_or_default();
        if words.is_empty() {
            return Failure::failed(format!("{how}, without a word"));
        }
        Failure::failed(format!("{how}; its last words: {}", words.join(" | ")))
    }

    async fn last_words(&self, since: u64) -> Result<Vec<String>, Failure> {
        let mut last = Vec::new();
        let (dir, redaction) = (self.home.log(), self.redaction.clone());
        blocking(move || {
            let _ = log::lines(&dir, since, |line| {
                if last.len() == LAST_WORDS {
                    last.remove(0);
                }
                let line = redaction.line(line);
                if !line.trim().is_empty() {
                    last.push(bounded(&line, 500));
                }
                true
            });
            last
        })
        .await
    }

    /// Ends what has lost its supervisor.
    async fn end_leftovers(&self, look: &Look, call: &CallCtx) -> Result<(), Failure> {
        let Some(record) = look.orphaned().cloned() else { return Ok(()) };
        let failed =
            |e: io::Error| Failure::failed(format!("what its killed supervisor left behind cannot be seen: {e}"));
        let orphans = record.clone();
        let certain = move || Leftovers::of(&orphans).map(|left| left.certain);
        let names = |processes: &[Identity]| processes.iter().map(|p| p.pid.to_string()).collect::<Vec<_>>().join(", ");
        if let Err(left) = end(certain, self.section.stop_within, call.deadline).await.map_err(failed)? {
            return Err(Failure::timed_out(format!("still there: process {}", names(&left))));
        }
        let possible = blocking(move || Leftovers::of(&record)).await?.map_err(failed)?.possible;
        if possible.is_empty() {
            return Ok(());
        }
        Err(Failure::conflict(format!(
            "its supervisor was killed, and process {} may still belong to it: look, and end it",
            names(&possible)
        )))
    }

    async fn testify(&self, before: Before, call: &CallCtx) -> Result<(), Failure> {
        let before = serde_json::to_value(before).map_err(|e| Failure::failed(e.to_string()))?;
        call.evidence(before).await
    }

    /// For a supervisor that does not do what it is told: stopped, or stuck in a disk.
    async fn break_up(&self, supervisor: Identity) -> Result<(), Failure> {
        let family = blocking(move || descendants(supervisor.pid)).await?;
        let family = family.map_err(|e| Failure::failed(format!("its processes cannot be seen: {e}")))?;
        supervisor.signal(Signal::KILL);
        for process in family {
            process.signal(Signal::KILL);
        }
        Ok(())
    }
}

#[async_trait]
impl Observe for Supervised {
    async fn status(&self) -> Result<Status, Failure> {
        let (home, settle) = (self.home.clone(), self.section.settle);
        blocking(move || {
            let unseen = |e: io::Error| Failure::failed(format!("how it is cannot be seen: {e}"));
            Look::at(&home)?.status(settle).map_err(unseen)
        })
        .await?
    }

    async fn start_id(&self) -> Result<Option<String>, Failure> {
        Ok(self.kept().await?.filter(|record| record.program.is_some()).map(|record| record.token))
    }

    async fn search(&self, since: &Mark, texts: &[String]) -> Result<Vec<String>, Failure> {
        let (dir, redaction, since, texts) = (self.home.log(), self.redaction.clone(), since.position, texts.to_vec());
        blocking(move || {
            let mut search = Search::new(&texts, &redaction);
            log::lines(&dir, since, |line| search.see(line))?;
            Ok(search.found())
        })
        .await?
    }

    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        let home = self.home.clone();
        let processes = blocking(move || {
            let look = Look::at(&home)?;
            let found = match (look.kept(), look.orphaned()) {
                (Some(record), _) => descendants(record.supervisor.pid),
                (None, Some(record)) => Leftovers::of(record).map(|left| left.certain),
                (None, None) => Ok(Vec::new()),
            };
            found.map_err(|e| Failure::failed(format!("its processes cannot be seen: {e}")))
        });
        Ok(processes.await??.into_iter().map(|process| process.pid).collect())
    }
}

#[async_trait]
impl Mutate for Supervised {
    async fn start(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        loop {
            let look = match self.look_ahead().await? {
                Some(look) => look,
                None if call.remaining().is_zero() => {
                    return Err(Failure::timed_out("an earlier supervisor of it has not begun"));
                }
                None => {
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
            };
            if !look.held {
                self.end_leftovers(&look, call).await?;
                call.progress(&format!("starting `{}`", self.name), 0, 0);
                self.begin().await?;
                return self.settled(call).await;
            }
            match look.kept() {
                // It runs, or has just been started by somebody who was killed then.
                Some(record) if !record.stopped && record.ended.is_none() => return self.settled(call).await,
                // On its way out, or too new to have a record.
                _ if call.remaining().is_zero() => {
                    return Err(Failure::timed_out("an earlier supervisor of it has not ended"));
                }
                _ => sleep(LOOK_AGAIN).await,
            }
        }
    }

    async fn stop(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        let patience = Instant::now() + self.section.stop_within + MARGIN;
        let look = loop {
            let look = match self.look_ahead().await? {
                Some(look) if look.held => look,
                Some(look) => break look,
                None if call.remaining().is_zero() => {
                    return Err(Failure::timed_out("an earlier supervisor of it has not begun"));
                }
                None => {
                    sleep(LOOK_AGAIN).await;
                    continue;
                }
            };
            match look.kept().and_then(|record| Some((record.supervisor, record.supervisor.open()?))) {
                Some((supervisor, handle)) => {
                    call.progress(&format!("waiting for `{}` to end", self.name), 0, 0);
                    let order = StopOrder { supervisor, within: self.section.stop_within };
                    // Without the order it stops all the same, within the time that it was started with.
                    let _ = self.home.order_stop(&order);
                    if !handle.signal(Signal::TERM) && supervisor.alive() {
                        return Err(Failure::failed("its supervisor belongs to another user"));
                    }
                    match timeout(self.section.stop_within + MARGIN, handle.gone()).await {
                        Ok(gone) => gone.map_err(|e| Failure::failed(format!("its end cannot be seen: {e}")))?,
                        Err(_) => self.break_up(supervisor).await?,
                    }
                }
                None if Instant::now() > patience || call.remaining().is_zero() => {
                    return Err(Failure::conflict("its lock is held by a process that is not its recorded supervisor"));
                }
                None => sleep(LOOK_AGAIN).await,
            }
        };
        self.end_leftovers(&look, call).await?;
        if let Some(mut record) = look.record.filter(|record| !record.stopped || !record.gone) {
            record.stopped = true;
            record.gone = true;
            let home = self.home.clone();
            // It is stopped all the same; on a full disk its status stays `failed`.
            if let Err(error) = blocking(move || home.save(&record)).await? {
                tracing::warn!(service = self.name, %error, "it is stopped, but its record cannot be written");
            }
        }
        Ok(())
    }

    async fn restart(&self, call: &CallCtx) -> Result<(), Failure> {
        let record = self.kept().await?;
        let what = match record.as_ref().and_then(|record| record.program) {
            Some(program) => format!("process {} was about to be stopped at {}", program.pid, moment()),
            None => format!("it did not run, and was about to be started at {}", moment()),
        };
        self.testify(Before { start: record.map(|record| record.token), what }, call).await?;
        self.stop(call).await?;
        self.start(call).await
    }

    async fn reload(&self, call: &CallCtx) -> Result<(), Failure> {
        let Some(name) = &self.section.reload else {
            return Err(Failure::invalid("the site does not say how it reads its configuration again (`reload`)"));
        };
        let signal =
            signal_named(name).ok_or_else(|| Failure::invalid(format!("`{name}` is no signal for a reload")))?;
        let away = || Failure::conflict("it does not run");
        let record = self.kept().await?.ok_or_else(away)?;
        let program = record.program.ok_or_else(away)?;
        let handle = program.open().ok_or_else(away)?;
        if Pid::from_raw(program.pid).is_some_and(|pid| test_kill_process(pid) == Err(Errno::PERM)) {
            return Err(Failure::failed("its process belongs to another user"));
        }
        let what = format!("process {} was about to be sent the signal {name} at {}", program.pid, moment());
        self.testify(Before { start: Some(record.token), what }, call).await?;
        if handle.signal(signal) { Ok(()) } else { Err(away()) }
    }

    async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
        let dir = self.home.log();
        let position = blocking(move || log::end(&dir)).await?;
        position.map(Mark::at).map_err(|e| Failure::failed(format!("the log cannot be read: {e}")))
    }
}

/// Ends all services that were started below this state, whatever is known of them besides; that none is there is fine.
pub async fn end_all(state: &Path, call: &CallCtx) -> Result<(), Failure> {
    let services = match std::fs::read_dir(state.join("services")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        services => services.map_err(|e| Failure::failed(format!("what was started cannot be seen: {e}")))?,
    };
    for service in services.flatten() {
        let section = Process {
            run: Vec::new(),
            dir: PathBuf::from("/"),
            env: std::collections::BTreeMap::new(),
            user: None,
            settle: Duration::ZERO,
            stop_within: Duration::from_secs(10),
            reload: None,
            log_bytes: 0,
            log_keep: 0,
        };
        let name = service.file_name().to_string_lossy().into_owned();
        Supervised::new(&name, &section, state, crate::resource::process::own_executable()).stop(call).await?;
    }
    Ok(())
}
