//! A service that somebody else keeps: an init script, a supervisor of another make, a vendor's own program. The site says by which
//! command line it is started, stopped and asked. What a command says of itself is not believed: a start and a stop are done when
//! the status says so.
pub mod commander;
mod identity;

use super::{
    super::{Before, Codes, Command, Mark, Mutate, Observe, Status},
    file_log,
    folder::LOOK_AGAIN,
    lines::Search,
    process::record::Home,
};
use crate::resource::{
    CallCtx, Failure,
    process::{Collected, Ended, Helper, Identity, Program, Redaction, blocking, bounded, moment},
};
use async_trait::async_trait;
use commander::{GRACE, Order, Report};
use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::time::{sleep, sleep_until};

/// What its commands find in their environment: the name of the service.
const MARK: &str = "BACKOUT_SERVICE";
/// How much longer than Backout the helper waits before it ends the command by itself.
const MARGIN: Duration = Duration::from_secs(10);
const LAST_LINES: usize = 10;
/// Between two looks at the status: a command may take long, and the first look is often enough.
const LOOKS: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(500)];

pub struct Commanded {
    name: String,
    section: Command,
    home: Home,
    executable: PathBuf,
    redaction: Redaction,
}

/// How a command came to its end.
struct Ran {
    /// None: its helper was killed.
    how: Option<Ended>,
    /// It had to be ended.
    late: bool,
    /// standard output, standard error
    outputs: [Collected; 2],
}

impl Codes {
    fn status(&self, code: i32) -> Option<Status> {
        let Self { running, stopped, failed, starting } = self;
        let all = [
            (running, Status::Running),
            (stopped, Status::Stopped),
            (failed, Status::Failed),
            (starting, Status::Starting),
        ];
        all.into_iter().find(|(codes, _)| codes.contains(&code)).map(|(_, status)| status)
    }
}

/// Looks again after longer and longer times.
struct Pace(Duration);

impl Pace {
    fn new() -> Self {
        Self(LOOKS[0])
    }
    async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 3 / 2).min(LOOKS[1]);
    }
}

impl Commanded {
    pub fn new(name: &str, section: &Command, state: &Path, executable: PathBuf) -> Self {
        let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        Self {
            name: name.to_owned(),
            section: section.clone(),
            // Not where a process of the same name is kept that the site had before.
            home: Home::new(state.join("commands").join(name)),
            executable,
            redaction: Redaction::new(&section.env),
        }
    }

    /// Runs a command line to its end. One that `changes` the service does so under its lock, and what it leaves behind goes on.
    async fn run(&self, verb: &str, line: &[String], changes: bool, until: Instant) -> Result<Ran, Failure> {
        let failed = |e: io::Error| Failure::failed(format!("its `{verb}` cannot be run: {e}"));
        let Command { dir, env, user, .. } = &self.section;
        let program = Program::new(line, dir, env, user.as_deref(), (MARK, &self.name))?;
        let limit = until.saturating_duration_since(Instant::now()) + MARGIN;
        let order = Order { program, limit, leaves: changes };
        let folder = [OsStr::new("command"), OsStr::new("--dir"), self.home.path().as_os_str()];
        let arguments = if changes { &folder[..] } else { &folder[..1] };
        let output = [Stdio::null(), Stdio::null()];
        // From here on a dropped future hangs up, and the helper ends what it has started.
        let mut helper = Helper::start(&self.executable, arguments, None, &order, output).await.map_err(failed)?;
        let mut late = false;
        let report = loop {
            tokio::select! {
                report = helper.report::<Report>() => break report.map_err(failed)?,
                () = sleep_until((until + if late { 2 * GRACE } else { Duration::ZERO }).into()) => {
                    if late {
                        return Err(Failure::timed_out(format!("its `{verb}` did not end in its time, and cannot be ended")));
                    }
                    late = true;
                    helper.hang_up().await;
                }
            }
        };
        match report {
            Some(Report::Ended { how, outputs }) => Ok(Ran { how, late, outputs }),
            Some(Report::Failed(why)) => Err(Failure::failed(format!("its `{verb}` cannot be run: {why}"))),
            Some(Report::Held) => Err(Failure::conflict("another command changes it just now")),
            None => Ok(Ran { how: None, late, outputs: Default::default() }),
        }
    }

    /// What a command came to, with its last words.
    fn words(&self, verb: &str, how: &str, ran: &Ran) -> String {
        let mut text = format!("its `{verb}` {how}");
        for (what, output) in [("standard error", &ran.outputs[1]), ("standard output", &ran.outputs[0])] {
            let lines = output.last_lines(LAST_LINES, &self.redaction);
            if !lines.is_empty() {
                text.push_str(&format!("; the last of its {what}: {}", bounded(&lines.join(" | "), 2000)));
            }
        }
        text
    }

    fn late(&self, verb: &str, within: Duration, ran: &Ran) -> Failure {
        Failure::timed_out(self.words(verb, &format!("did not end within {within:?}, and was ended"), ran))
    }

    async fn ask(&self) -> Result<Status, Failure> {
        let Command { status, status_within, codes, .. } = &self.section;
        let ran = self.run("status", status, false, Instant::now() + *status_within).await?;
        let code = match ran.how {
            _ if ran.late => return Err(self.late("status", *status_within, &ran)),
            Some(Ended::Code(code)) => code,
            Some(ended) => return Err(Failure::failed(self.words("status", &format!("was ended by {ended}"), &ran))),
            None => return Err(Failure::failed("its `status` was ended, because its helper was")),
        };
        codes.status(code).ok_or_else(|| {
            Failure::failed(self.words(
                "status",
                &format!("says with exit status {code} nothing that the site knows"),
                &ran,
            ))
        })
    }

    /// Runs what changes the service. That it ended well says nothing yet; that it did not is an answer.
    async fn change(&self, verb: &str, line: &[String], within: Duration, call: &CallCtx) -> Result<(), Failure> {
        let ran = self.run(verb, line, true, call.deadline.min(Instant::now() + within)).await?;
        match ran.how {
            _ if ran.late => {
                let failure = self.late(verb, within, &ran);
                let hint =
                    if verb == "start" { " (what stays in the foreground is for `driver = \"process\"`)" } else { "" };
                Err(Failure { message: failure.message + hint, ..failure })
            }
            Some(ended) if ended.well() => Ok(()),
            Some(ended) => Err(Failure::failed(self.words(verb, &format!("failed with {ended}"), &ran))),
            None => Err(Failure::failed(format!("its `{verb}` was ended, because its helper was"))),
        }
    }

    /// The command of a Backout that was killed ends soon after it.
    async fn free(&self, call: &CallCtx) -> Result<(), Failure> {
        while self.changing().await? {
            if call.remaining().is_zero() {
                return Err(Failure::timed_out("an earlier command still changes it"));
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    async fn changing(&self) -> Result<bool, Failure> {
        let home = self.home.clone();
        let held = blocking(move || home.held()).await?;
        held.map_err(|e| Failure::failed(format!("how it is cannot be seen: {e}")))
    }

    /// Its main process, as far as the site says how to find it. `Ok(None)`: there is none.
    async fn main(&self) -> Result<Option<Identity>, Failure> {
        if let Some(path) = self.section.pid_file.clone() {
            return blocking(move || identity::of_file(&path)).await?;
        }
        let all = self.all().await?;
        Ok(all.into_iter().min_by_key(|process| process.start))
    }

    /// What the site's `processes` names.
    async fn all(&self) -> Result<Vec<Identity>, Failure> {
        let Command { processes, status_within, .. } = &self.section;
        let Some(line) = processes else {
            return Err(Failure::inconclusive(
                "the site names neither `pid-file` nor `processes`, so nobody can tell which processes are its own",
            ));
        };
        let ran = self.run("processes", line, false, Instant::now() + *status_within).await?;
        let text = ran.outputs[0].text(&self.redaction);
        match ran.how {
            _ if ran.late => Err(self.late("processes", *status_within, &ran)),
            // Where there is none, pgrep ends with 1, and supervisorctl prints 0.
            Some(Ended::Code(0 | 1)) => identity::listed(&text),
            Some(_) if text.trim() == "0" => Ok(Vec::new()),
            Some(ended) => Err(Failure::failed(self.words("processes", &format!("failed with {ended}"), &ran))),
            None => Err(Failure::failed("its `processes` was ended, because its helper was")),
        }
    }

    /// The word for its start, where the site says how to know one.
    async fn known_start(&self) -> Result<Option<String>, Failure> {
        match self.main().await {
            Ok(main) => main.map(identity::word).transpose(),
            Err(failure) if failure.kind == crate::resource::FailureKind::Inconclusive => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Until it runs, and has done so for a while by one and the same start.
    async fn settled(&self, until: Instant) -> Result<(), Failure> {
        let mut pace = Pace::new();
        let mut since: Option<(Instant, Option<String>)> = None;
        let mut starts = 0;
        loop {
            let looked = self.ask().await;
            let mut rest = Duration::MAX;
            if let Ok(Status::Running) = looked {
                let start = self.known_start().await?;
                let began = match &since {
                    Some((at, by)) if *by == start => *at,
                    _ => {
                        starts += 1;
                        let now = Instant::now();
                        since = Some((now, start));
                        now
                    }
                };
                rest = self.section.settle.saturating_sub(began.elapsed());
                if rest.is_zero() {
                    return Ok(());
                }
            } else if let (Ok(status @ (Status::Stopped | Status::Failed)), Some(_)) = (&looked, &since) {
                return Err(Failure::failed(format!(
                    "it came up and ended again: its status says {}",
                    status.as_str()
                )));
            }
            if Instant::now() >= until && rest == Duration::MAX {
                let says = looked?.as_str();
                return Err(Failure::timed_out(format!(
                    "`{}` was started, and its status still says {says}",
                    self.name
                )));
            }
            if Instant::now() >= until && starts > 1 {
                return Err(Failure::failed(format!("`{}` does not stay: it was seen by {starts} starts", self.name)));
            }
            if rest < pace.0 { sleep(rest).await } else { pace.wait().await }
        }
    }

    /// Until it does not run, and the processes that it had are gone.
    async fn gone(&self, had: Option<Identity>, until: Instant) -> Result<(), Failure> {
        let mut pace = Pace::new();
        loop {
            let looked = self.ask().await;
            let left = had.filter(|process| process.alive());
            match (&looked, left) {
                (Ok(Status::Stopped | Status::Failed), None) => return Ok(()),
                (Ok(Status::Stopped | Status::Failed), Some(process)) if Instant::now() >= until => {
                    let pid = process.pid;
                    return Err(Failure::timed_out(format!(
                        "its status says stopped, and its process {pid} is still there"
                    )));
                }
                _ if Instant::now() >= until => {
                    let says = looked?.as_str();
                    return Err(Failure::timed_out(format!(
                        "`{}` was stopped, and its status still says {says}",
                        self.name
                    )));
                }
                _ => pace.wait().await,
            }
        }
    }

    async fn testify(&self, what: String, call: &CallCtx) -> Result<(), Failure> {
        let before = Before { start: self.known_start().await?, what };
        call.evidence(serde_json::to_value(before).map_err(|e| Failure::failed(e.to_string()))?).await
    }

    async fn start_it(&self, call: &CallCtx) -> Result<(), Failure> {
        let Command { start, start_within, .. } = &self.section;
        let until = call.deadline.min(Instant::now() + *start_within);
        if !matches!(self.ask().await?, Status::Running | Status::Starting) {
            call.progress(&format!("starting `{}`", self.name), 0, 0);
            self.change("start", start, *start_within, call).await?;
        }
        self.settled(until).await
    }

    async fn stop_it(&self, call: &CallCtx) -> Result<(), Failure> {
        let Command { stop, stop_within, .. } = &self.section;
        let until = call.deadline.min(Instant::now() + *stop_within);
        if self.ask().await? == Status::Stopped {
            return Ok(());
        }
        let had = self.main().await.ok().flatten();
        call.progress(&format!("waiting for `{}` to end", self.name), 0, 0);
        match self.change("stop", stop, *stop_within, call).await {
            Ok(()) => self.gone(had, until).await,
            // What counts is that it does not run.
            Err(failure) => self.gone(had, Instant::now()).await.map_err(|_| failure),
        }
    }

    fn no_log() -> Failure {
        Failure::invalid("the site does not say where its log is (`log`)")
    }
}

#[async_trait]
impl Observe for Commanded {
    async fn status(&self) -> Result<Status, Failure> {
        // What comes of a command that still works nobody knows yet.
        if self.changing().await? { Ok(Status::Starting) } else { self.ask().await }
    }

    async fn start_id(&self) -> Result<Option<String>, Failure> {
        if self.changing().await? {
            return Ok(None);
        }
        if let Ok(Some(main)) = self.main().await {
            return identity::word(main).map(Some);
        }
        if matches!(self.ask().await?, Status::Stopped | Status::Failed) {
            return Ok(None);
        }
        Err(Failure::inconclusive(
            "nobody can tell by which start it runs (`pid-file` or `processes` of the site would)",
        ))
    }

    async fn search(&self, since: &Mark, texts: &[String]) -> Result<Vec<String>, Failure> {
        let path = self.section.log.clone().ok_or_else(Self::no_log)?;
        let (redaction, since, texts) = (self.redaction.clone(), since.clone(), texts.to_vec());
        blocking(move || {
            let mut search = Search::new(&texts, &redaction);
            file_log::lines(&path, &since, |line| search.see(line))?;
            Ok(search.found())
        })
        .await?
    }

    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        let own = match &self.section.pid_file {
            Some(_) => self.main().await?.into_iter().collect(),
            None => self.all().await?,
        };
        blocking(move || identity::families(own)).await?
    }
}

#[async_trait]
impl Mutate for Commanded {
    async fn start(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        self.free(call).await?;
        self.start_it(call).await
    }

    async fn stop(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        self.free(call).await?;
        self.stop_it(call).await
    }

    async fn restart(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        self.free(call).await?;
        let Command { restart, start_within, stop_within, .. } = &self.section;
        self.testify(format!("it was about to be restarted at {}", moment()), call).await?;
        let Some(line) = restart else {
            self.stop_it(call).await?;
            return self.start_it(call).await;
        };
        let before = self.known_start().await?;
        let within = *start_within + *stop_within;
        let until = call.deadline.min(Instant::now() + within);
        call.progress(&format!("restarting `{}`", self.name), 0, 0);
        self.change("restart", line, within, call).await?;
        self.settled(until).await?;
        if before.is_some() && before == self.known_start().await? {
            return Err(Failure::failed("its `restart` ended well, and it still runs by the same start"));
        }
        Ok(())
    }

    async fn reload(&self, call: &CallCtx) -> Result<(), Failure> {
        let Some(line) = &self.section.reload else {
            return Err(Failure::invalid("the site does not say how it reads its configuration again (`reload`)"));
        };
        let _turn = self.home.take_turn(call).await?;
        self.free(call).await?;
        if self.ask().await? != Status::Running {
            return Err(Failure::conflict("it does not run"));
        }
        self.testify(format!("its `reload` was about to be run at {}", moment()), call).await?;
        self.change("reload", line, self.section.start_within, call).await?;
        match self.ask().await? {
            Status::Running | Status::Starting => Ok(()),
            status => Err(Failure::failed(format!("after its `reload` its status says {}", status.as_str()))),
        }
    }

    async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
        let path = self.section.log.clone().ok_or_else(Self::no_log)?;
        let mark = blocking(move || file_log::mark(&path)).await?;
        mark.map_err(|e| Failure::failed(format!("the log cannot be read: {e}")))
    }
}
