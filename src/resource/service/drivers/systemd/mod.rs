//! A unit of systemd, told over D-Bus. systemd starts and keeps it; Backout records what a stop takes along, so that the same
//! comes back, and keeps it down in between.
mod bus;
pub mod facts;
mod hold;
mod jobs;
mod journal;
mod record;
mod unit;

use super::super::{Before, Mark, Mutate, Observe, Status, Systemd};
use super::{
    file_log,
    lines::{Search, Unreadable},
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    process::{Redaction, blocking, bounded, moment},
};
use async_trait::async_trait;
use bus::{Bus, unless_gone};
use hold::Hold;
use jobs::{Ended, Jobs};
use journal::Journal;
use record::{Home, Phase, Record};
use std::{
    collections::{BTreeMap, VecDeque},
    path::Path,
    time::{Duration, Instant},
};
use tokio::time::sleep;
use unit::{Unit, along};

const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Before the gate gives up, so that a job is called off and not left behind.
const MARGIN: Duration = Duration::from_millis(500);
/// So often a stop is done again when something starts it meanwhile.
const ROUNDS: usize = 3;
const LAST_WORDS: usize = 8;
const WORDS_ON_THEIR_WAY: usize = 10;

pub struct Managed {
    section: Systemd,
    home: Home,
    journal: Journal,
    redaction: Redaction,
}

impl Managed {
    pub fn new(name: &str, section: &Systemd, state: &Path) -> Self {
        let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        Self {
            section: section.clone(),
            home: Home::new(&state, name),
            journal: Journal {
                unit: section.unit.clone(),
                manager: section.manager,
                directory: section.journal.clone(),
            },
            redaction: Redaction::new(&BTreeMap::new()),
        }
    }

    fn name(&self) -> &str {
        &self.section.unit
    }

    async fn bus(&self) -> Result<Bus, Failure> {
        Bus::open(&self.section).await
    }

    async fn look(&self) -> Result<Unit, Failure> {
        Unit::existing(&self.bus().await?, self.name()).await
    }

    /// When this call has to be at its end.
    fn until(call: &CallCtx, within: Duration) -> Instant {
        let limit = call.deadline.checked_sub(MARGIN).unwrap_or(call.deadline);
        limit.min(Instant::now() + within)
    }

    /// Nothing is begun that could not come to its end.
    fn in_time(call: &CallCtx) -> Result<(), Failure> {
        if call.remaining().is_zero() { Err(Failure::timed_out("there was no time left for it")) } else { Ok(()) }
    }

    async fn stop_unit(&self, bus: &Bus, jobs: &mut Jobs<'_>, name: &str, until: Instant) -> Result<(), Failure> {
        let ended = match jobs.run("StopUnit", name, "replace", until).await {
            Err(failure) if failure.kind == FailureKind::NotFound => return Ok(()),
            ended => ended?,
        };
        match ended {
            Ended::Done => Ok(()),
            // Somebody has started it; it is looked at again.
            Ended::Otherwise(how) if how == "canceled" => Ok(()),
            Ended::Otherwise(how) => {
                Err(Failure::conflict(format!("the stop of `{name}` was given up by its manager: {how}")))
            }
            Ended::TimeOver => {
                let now = Unit::look(bus, name).await?;
                Err(Failure::timed_out(format!("`{name}` has not ended in time, it is {} ({})", now.active, now.sub)))
            }
        }
    }

    /// Everything that was recorded is down when it returns.
    async fn stop_all(&self, bus: &Bus, record: &Record, until: Instant) -> Result<(), Failure> {
        let mut jobs = Jobs::listen(bus).await?;
        for round in 0.. {
            for name in &record.triggers {
                self.stop_unit(bus, &mut jobs, name, until).await?;
            }
            self.stop_unit(bus, &mut jobs, self.name(), until).await?;
            let all = || record.triggers.iter().chain(&record.followers).map(String::as_str).chain([self.name()]);
            // Whoever goes along may take longer than what it goes with.
            let mut up = None;
            for name in all() {
                loop {
                    let unit = Unit::look(bus, name).await?;
                    if unit.is_down() || unit.load == "not-found" {
                        break;
                    }
                    if unit.is_up() {
                        up = Some(name.to_owned());
                        break;
                    }
                    if Instant::now() > until {
                        return Err(Failure::timed_out(format!("`{name}` has not ended in time")));
                    }
                    sleep(LOOK_AGAIN).await;
                }
            }
            match up {
                None => return Ok(()),
                Some(name) if round + 1 == ROUNDS => {
                    return Err(Failure::conflict(format!("something starts `{name}` again and again")));
                }
                Some(name) if record.followers.contains(&name) => {
                    self.stop_unit(bus, &mut jobs, &name, until).await?;
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// What a stop will take along, recorded, and what keeps it down, tried: all that can be wrong is wrong before the stop.
    async fn prepared(&self, bus: &Bus, unit: &Unit, old: Option<Record>) -> Result<Record, Failure> {
        let now = along(bus, unit).await?;
        let mut record = match old {
            // Somebody has started it by hand since: what was recorded is of another time.
            Some(old) if old.phase == Phase::Stopped && unit.is_up() => old.anew(),
            Some(old) => old,
            None => Record::new(self.name()),
        };
        record.phase = Phase::Stopping;
        record.add(now.triggers, now.followers);
        let known = record.hold.clone();
        record.hold = known.clone().or_else(|| (unit.load != "masked").then_some(Hold::Mask));
        self.home.write(&record)?;
        record.hold = match known {
            Some(Hold::DropIn(file)) => Some(Hold::DropIn(file)),
            ours => hold::choose(bus, unit, ours.is_some()).await?,
        };
        self.home.write(&record)?;
        if let Some(hold) = record.hold.as_ref().filter(|hold| hold.is_early()) {
            hold.put(bus, self.name()).await?;
        }
        Ok(record)
    }

    /// Starts one unit, and waits until it counts as started.
    async fn start_unit(&self, bus: &Bus, jobs: &mut Jobs<'_>, name: &str, until: Instant) -> Result<(), Failure> {
        // Only that: what a target wants was perhaps not up.
        let mode = if name.ends_with(".target") { "ignore-dependencies" } else { "replace" };
        match jobs.run("StartUnit", name, mode, until).await? {
            Ended::Done => Ok(()),
            Ended::Otherwise(how) => Err(Failure::failed(match how.as_str() {
                "failed" | "timeout" => Unit::look(bus, name).await?.end(bus).await,
                "dependency" => "something that it requires did not start".to_owned(),
                _ => format!("its manager says: {how}"),
            })),
            Ended::TimeOver => Err(Failure::timed_out(format!("`{name}` has not started in time"))),
        }
    }

    /// Waits until it has run long enough by one and the same start.
    async fn settled(&self, bus: &Bus, until: Instant) -> Result<(), Failure> {
        let mut by = None;
        loop {
            let unit = Unit::existing(bus, self.name()).await?;
            let start = unit.start_id();
            let other = by.is_some() && start.is_some() && by != start;
            match unit.status(self.section.settle) {
                _ if other => {
                    return Err(Failure::failed(format!("{}, and systemd has started it again", unit.end(bus).await)));
                }
                Status::Running if start.is_some() => return Ok(()),
                Status::Starting if unit.sub != "auto-restart" => {}
                _ => return Err(Failure::failed(unit.end(bus).await)),
            }
            by = by.or(start);
            if Instant::now() > until {
                return Err(Failure::timed_out(format!("`{}` was started, and has not settled yet", unit.name)));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// A failure of a start with what the service itself has said.
    async fn with_words(&self, failure: Failure, since: Option<Mark>) -> Failure {
        let Some(since) = since.filter(|_| failure.kind == FailureKind::Failed) else { return failure };
        let (mut last, redaction) = (VecDeque::new(), self.redaction.clone());
        let mut keep = move |line: &[u8]| {
            let line = redaction.line(line);
            if !line.trim().is_empty() {
                last.truncate(LAST_WORDS - 1);
                last.push_front(bounded(&line, 500));
            }
            last.iter().rev().cloned().collect::<Vec<String>>()
        };
        let words = match &self.section.log {
            // Without them the failure is told all the same.
            Some(path) => {
                let path = path.clone();
                let read = blocking(move || {
                    let mut words = Vec::new();
                    let _ = file_log::lines(&path, &since, |line| {
                        words = keep(line);
                        true
                    });
                    words
                });
                read.await.unwrap_or_default()
            }
            None => {
                let mut words = Vec::new();
                // They may be on their way.
                for _ in 0..WORDS_ON_THEIR_WAY {
                    let see = |line: &[u8]| {
                        words = keep(line);
                        true
                    };
                    let _ = self.journal.lines(since.place.as_deref(), see).await;
                    if !words.is_empty() {
                        break;
                    }
                    sleep(LOOK_AGAIN).await;
                }
                words
            }
        };
        if words.is_empty() {
            return failure;
        }
        Failure { message: format!("{}; its last words: {}", failure.message, words.join(" | ")), ..failure }
    }

    async fn end_of_log(&self) -> Result<Mark, Failure> {
        let Some(path) = &self.section.log else {
            return Ok(Mark { position: 0, place: self.journal.end().await? });
        };
        let path = path.clone();
        let mark = blocking(move || file_log::mark(&path)).await?;
        mark.map_err(|e| Failure::failed(format!("the log cannot be read: {e}")))
    }

    /// A journal says nothing of a unit that writes elsewhere.
    async fn logs_there(&self) -> Result<(), Failure> {
        if self.section.log.is_some() {
            return Ok(());
        }
        let bus = self.bus().await?;
        let unit = Unit::existing(&bus, self.name()).await?;
        let output: String = bus.property(&unit.path, bus::SERVICE, "StandardOutput").await?;
        if output.starts_with("file") || output.starts_with("append") || output.starts_with("truncate") {
            return Err(Failure::invalid("its unit writes its output to a file, not to the journal")
                .hint("say in the site which: `log = \"/var/log/…\"`"));
        }
        Ok(())
    }

    /// Takes away what keeps it down, and has the manager read what has changed of its files.
    async fn release(&self, bus: &Bus, record: &mut Option<Record>) -> Result<Unit, Failure> {
        let unit = Unit::existing(bus, self.name()).await?;
        let hold = record.as_mut().and_then(|record| record.hold.take());
        if let Some(hold) = hold {
            hold.remove(bus, self.name()).await?;
        } else if unit.need_reload {
            bus.reload().await?;
        }
        let unit = Unit::existing(bus, self.name()).await?;
        match unit.load.as_str() {
            "loaded" => Ok(unit),
            "masked" => Err(Failure::conflict(format!("`{}` is masked, and not by Backout", unit.name))
                .hint(format!("look why; `systemctl unmask {}` lifts it", unit.name))),
            load => Err(Failure::failed(format!("its unit file cannot be used ({load}): {}", unit.load_error))),
        }
    }

    /// Starts what was stopped, and nothing else: what listens first, because a socket cannot be opened under a service that runs.
    async fn start_all(&self, bus: &Bus, record: &Record, call: &CallCtx) -> Result<(), Failure> {
        let until = Self::until(call, self.section.start_within);
        let mut jobs = Jobs::listen(bus).await?;
        let (listening, timed): (Vec<&String>, Vec<&String>) =
            record.triggers.iter().partition(|name| name.ends_with(".socket"));
        for name in record.triggers.iter().chain(&record.followers).map(String::as_str).chain([self.name()]) {
            // A limit of starts that was hit would refuse this one.
            unless_gone(bus.ask("ResetFailedUnit", &name).await)?;
        }
        let mut missing = Vec::new();
        for name in listening {
            if let Err(failure) = self.start_unit(bus, &mut jobs, name, until).await {
                missing.push(format!("`{name}`: {}", failure.message));
            }
        }
        self.start_unit(bus, &mut jobs, self.name(), until).await?;
        self.settled(bus, until).await?;
        for name in record.followers.iter().chain(timed) {
            if let Err(failure) = self.start_unit(bus, &mut jobs, name, until).await {
                missing.push(format!("`{name}`: {}", failure.message));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Err(Failure::failed(format!("it runs, but what was stopped with it has not come back: {}", missing.join("; "))))
    }

    async fn started(&self, bus: &Bus, call: &CallCtx) -> Result<(), Failure> {
        let mut record = self.home.read()?;
        let unit = self.release(bus, &mut record).await?;
        if record.is_none() && unit.is_up() && unit.start_id().is_some() {
            return self.settled(bus, Self::until(call, self.section.start_within)).await;
        }
        let mut record = record.unwrap_or_else(|| Record::new(self.name()));
        record.phase = Phase::Starting;
        self.home.write(&record)?;
        let since = self.end_of_log().await.ok();
        if let Err(failure) = self.start_all(bus, &record, call).await {
            return Err(self.with_words(failure, since).await);
        }
        self.home.forget()
    }

    async fn testify(&self, unit: &Unit, what: &str, call: &CallCtx) -> Result<(), Failure> {
        let start = unit.start_id();
        let before = Before { start, what: format!("`{}` was about to be {what} at {}", unit.name, moment()) };
        call.evidence(serde_json::to_value(before).map_err(|e| Failure::failed(e.to_string()))?).await
    }
}

#[async_trait]
impl Observe for Managed {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(self.look().await?.status(self.section.settle))
    }

    async fn start_id(&self) -> Result<Option<String>, Failure> {
        Ok(self.look().await?.start_id())
    }

    async fn search(&self, since: &Mark, texts: &[String]) -> Result<Vec<String>, Failure> {
        self.logs_there().await?;
        let Some(path) = &self.section.log else {
            let mut search = Search::new(texts, &self.redaction);
            self.journal.lines(since.place.as_deref(), |line| search.see(line)).await?;
            return Ok(search.found());
        };
        let (path, since, texts, redaction) = (path.clone(), since.clone(), texts.to_vec(), self.redaction.clone());
        let found = blocking(move || -> Result<Vec<String>, Unreadable> {
            let mut search = Search::new(&texts, &redaction);
            file_log::lines(&path, &since, |line| search.see(line))?;
            Ok(search.found())
        });
        Ok(found.await??)
    }

    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        let bus = self.bus().await?;
        type Processes = Vec<(String, u32, String)>;
        let found: Result<Processes, Failure> = bus.ask("GetUnitProcesses", &self.name()).await;
        match found {
            Ok(found) => Ok(found.into_iter().filter_map(|(_, pid, _)| i32::try_from(pid).ok()).collect()),
            Err(failure) if failure.kind == FailureKind::NotFound => Ok(Vec::new()),
            Err(failure) => Err(failure),
        }
    }

    async fn is_whole(&self) -> Result<bool, Failure> {
        let unit = self.look().await?;
        let record = self.home.read()?;
        Ok(match record {
            _ if unit.is_up() => record.is_none(),
            Some(record) => record.phase == Phase::Stopped,
            None => false,
        })
    }
}

#[async_trait]
impl Mutate for Managed {
    async fn start(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        Self::in_time(call)?;
        call.progress(&format!("starting `{}`", self.name()), 0, 0);
        self.started(&self.bus().await?, call).await
    }

    async fn stop(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        Self::in_time(call)?;
        let bus = self.bus().await?;
        let unit = Unit::existing(&bus, self.name()).await?;
        if unit.transient {
            return Err(Failure::invalid(format!(
                "`{}` is transient: once it is stopped nobody can start it",
                unit.name
            )));
        }
        let until = Self::until(call, self.section.stop_within);
        let old = self.home.read()?;
        let mut record = match self.prepared(&bus, &unit, old.clone()).await {
            Ok(record) => record,
            // Nothing was stopped.
            Err(failure) => {
                match old {
                    Some(old) => self.home.write(&old)?,
                    None => self.home.forget()?,
                }
                return Err(failure);
            }
        };
        call.progress(&format!("waiting for `{}` to end", self.name()), 0, 0);
        for round in 0.. {
            self.stop_all(&bus, &record, until).await?;
            let Some(hold) = record.hold.as_ref().filter(|hold| !hold.is_early()) else { break };
            hold.put(&bus, self.name()).await?;
            if Unit::look(&bus, self.name()).await?.is_down() {
                break;
            }
            // Started between the two. Without its file nobody knows how it is stopped.
            hold.remove(&bus, self.name()).await?;
            if round + 1 == ROUNDS {
                return Err(Failure::conflict(format!("something starts `{}` again and again", self.name())));
            }
        }
        // After a stop it is stopped, however it took that.
        unless_gone(bus.ask("ResetFailedUnit", &self.name()).await)?;
        record.phase = Phase::Stopped;
        self.home.write(&record)
    }

    async fn restart(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        Self::in_time(call)?;
        let bus = self.bus().await?;
        let unit = Unit::existing(&bus, self.name()).await?;
        self.testify(&unit, if unit.start_id().is_some() { "restarted" } else { "started" }, call).await?;
        if self.home.read()?.is_some() || !unit.is_up() {
            return self.started(&bus, call).await;
        }
        self.release(&bus, &mut None).await?;
        unless_gone(bus.ask("ResetFailedUnit", &self.name()).await)?;
        let since = self.end_of_log().await.ok();
        let until = Self::until(call, self.section.stop_within + self.section.start_within);
        let mut jobs = Jobs::listen(&bus).await?;
        let done = match jobs.run("RestartUnit", self.name(), "replace", until).await? {
            Ended::Done => self.settled(&bus, until).await,
            Ended::Otherwise(how) if how == "failed" || how == "timeout" => {
                Err(Failure::failed(Unit::look(&bus, self.name()).await?.end(&bus).await))
            }
            Ended::Otherwise(how) => Err(Failure::failed(format!("the restart came to nothing: {how}"))),
            Ended::TimeOver => Err(Failure::timed_out(format!("`{}` has not restarted in time", self.name()))),
        };
        match done {
            Err(failure) => Err(self.with_words(failure, since).await),
            Ok(()) => Ok(()),
        }
    }

    async fn reload(&self, call: &CallCtx) -> Result<(), Failure> {
        let bus = self.bus().await?;
        let unit = Unit::existing(&bus, self.name()).await?;
        if unit.start_id().is_none() {
            return Err(Failure::conflict("it does not run"));
        }
        if !unit.can_reload {
            return Err(Failure::invalid("its unit does not say how it reads its configuration again (`ExecReload`)"));
        }
        self.testify(&unit, "told to read its configuration again", call).await?;
        let until = Self::until(call, self.section.start_within);
        match Jobs::listen(&bus).await?.run("ReloadUnit", self.name(), "replace", until).await? {
            Ended::Done => Ok(()),
            Ended::Otherwise(how) => Err(Failure::failed(format!("the reload came to nothing: {how}"))),
            Ended::TimeOver => Err(Failure::timed_out("its reload has not ended in time")),
        }
    }

    async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
        self.logs_there().await?;
        self.end_of_log().await
    }
}
