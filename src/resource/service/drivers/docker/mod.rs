//! A container that the Docker daemon keeps. It is started, stopped and asked by the daemon's API; the daemon goes on when Backout
//! ends, so after a crash the container itself says what has happened.
mod daemon;
pub mod facts;
mod image;
mod log;
mod mounts;
mod same;
mod switch;

use super::{
    super::{Before, Container, Mark, Mutate, Observe, Status},
    folder::Folder,
    lines::Search,
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    process::{Redaction, blocking, bounded, moment, signal_named},
};
use async_trait::async_trait;
use bollard::{
    models::{ContainerInspectResponse, ContainerStateStatusEnum as State, HealthStatusEnum as Health},
    query_parameters::{KillContainerOptionsBuilder, StopContainerOptionsBuilder},
};
use daemon::{Daemon, within};
use log::Place;
use serde_json::json;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use switch::{Chosen, Next};
use tokio::time::sleep;

/// How often is looked while waiting.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// For the daemon, beyond the time that the container has.
const MARGIN: Duration = Duration::from_secs(30);

pub struct Contained {
    name: String,
    section: Container,
    daemon: Daemon,
    home: Folder,
}

/// The container at one moment.
struct Look {
    id: String,
    status: Status,
    state: Option<State>,
    health: Option<Health>,
    code: i64,
    pid: Option<i32>,
    /// By which start it runs.
    start: Option<String>,
    told: Box<ContainerInspectResponse>,
}

impl Look {
    fn of(told: Box<ContainerInspectResponse>, healthy: bool) -> Self {
        let state = told.state.clone().unwrap_or_default();
        let health = state.health.as_ref().and_then(|health| health.status);
        let id = told.id.clone().unwrap_or_default();
        let runs = state.running.unwrap_or(false) && !state.restarting.unwrap_or(false);
        let code = state.exit_code.unwrap_or(0);
        let status = match (state.status, health) {
            (Some(State::RUNNING), Some(Health::STARTING)) if healthy => Status::Starting,
            (Some(State::RUNNING), Some(Health::UNHEALTHY)) if healthy => Status::Failed,
            (Some(State::RUNNING), _) => Status::Running,
            (Some(State::RESTARTING | State::STOPPING), _) => Status::Starting,
            (Some(State::CREATED), _) => Status::Stopped,
            // By itself, or by the signals that ask for an end.
            (Some(State::EXITED), _) if matches!(code, 0 | 130 | 143) => Status::Stopped,
            _ => Status::Failed,
        };
        let start = runs.then(|| format!("{id}/{}", state.started_at.clone().unwrap_or_default()));
        let pid = state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| runs && *pid > 0);
        Self { id, status, state: state.status, health, code, pid, start, told }
    }

    fn runs(&self) -> bool {
        self.start.is_some()
    }

    /// Whether it is still there when it has ended.
    fn stays(&self) -> Result<(), Failure> {
        match self.told.host_config.as_ref().and_then(|host| host.auto_remove) {
            Some(true) => Err(Failure::invalid(
                "its container is removed when it ends (`--rm`): once it is stopped nobody can start it",
            )),
            _ => Ok(()),
        }
    }

    /// What its variables say may be a secret.
    fn redaction(&self) -> Redaction {
        let env = self.told.config.iter().filter_map(|config| config.env.as_ref()).flatten();
        Redaction::new(
            &env.filter_map(|line| line.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
        )
    }
}

impl Contained {
    pub fn new(name: &str, section: &Container, state: &Path) -> Self {
        let state = std::path::absolute(state).unwrap_or_else(|_| state.to_owned());
        Self {
            name: name.to_owned(),
            section: section.clone(),
            daemon: Daemon::new(&section.socket),
            home: Folder::new(state.join("containers").join(name)),
        }
    }

    async fn look(&self) -> Result<Look, Failure> {
        let Container { container, healthy, .. } = &self.section;
        match self.daemon.inspect(container).await {
            Ok(told) => Ok(Look::of(told, *healthy)),
            Err(failure) if failure.kind == FailureKind::NotFound => self.between().await?.ok_or_else(|| {
                Failure::new(FailureKind::NotFound, format!("the Docker daemon has no container `{container}`"))
            }),
            Err(failure) => Err(failure),
        }
    }

    /// A running container goes on seeing a tree that was exchanged as it was before.
    async fn is_fresh(&self, look: &Look) -> Result<bool, Failure> {
        let Some(pid) = look.pid else { return Ok(true) };
        let mounts = look.told.mounts.clone().unwrap_or_default();
        Ok(!blocking(move || mounts::stale(pid, &mounts)).await?)
    }

    /// Whether it may go on as it runs; otherwise it needs a new start.
    async fn is_right(&self, look: &Look) -> Result<bool, Failure> {
        Ok(self.is_fresh(look).await? && self.is_of_its_image(look).await)
    }

    /// Until it runs, is as healthy as the site wants it, and has been so for a while by one and the same start.
    async fn settled(&self, until: Instant) -> Result<(), Failure> {
        let mut since: Option<(Instant, Option<String>)> = None;
        loop {
            let look = self.look().await?;
            let mut rest = LOOK_AGAIN;
            match look.status {
                Status::Running => {
                    let began = match &since {
                        Some((at, start)) if *start == look.start => *at,
                        _ => {
                            since = Some((Instant::now(), look.start.clone()));
                            Instant::now()
                        }
                    };
                    let missing = self.section.settle.saturating_sub(began.elapsed());
                    if missing.is_zero() {
                        return Ok(());
                    }
                    rest = missing.min(LOOK_AGAIN);
                }
                Status::Stopped | Status::Failed if !look.runs() => return Err(self.ended_at_once(&look).await),
                // One that is unhealthy may recover in its time.
                _ => since = None,
            }
            if Instant::now() >= until {
                let how = match look.health {
                    Some(Health::UNHEALTHY) => "is unhealthy",
                    Some(Health::STARTING) => "is not healthy yet",
                    _ => "has not settled yet",
                };
                return Err(Failure::timed_out(format!("`{}` was started, and {how}", self.name)));
            }
            sleep(rest).await;
        }
    }

    async fn ended_at_once(&self, look: &Look) -> Failure {
        let (mut words, redaction) = (Vec::new(), look.redaction());
        let said =
            log::last_words(&self.daemon, &look.id, |line| words.push(bounded(&redaction.line(line), 500))).await;
        let how = format!("it ended at once with exit status {}", look.code);
        match said {
            Ok(()) if !words.is_empty() => Failure::failed(format!("{how}; its last words: {}", words.join(" | "))),
            _ => Failure::failed(how),
        }
    }

    async fn start_it(&self, call: &CallCtx, chosen: Chosen) -> Result<(), Failure> {
        let until = call.deadline.min(Instant::now() + self.section.start_within);
        let Chosen { mut look, next } = chosen;
        if look.state == Some(State::PAUSED) {
            return Err(Failure::conflict("it is paused: somebody has to let it go on"));
        }
        if look.runs() && (next.is_some() || !self.is_fresh(&look).await?) {
            self.stop_it(call).await?;
            look = self.look().await?;
        }
        let mut id = look.id.clone();
        if let Some(next) = next {
            self.switch(&look, &next).await?;
            id = next.id;
        } else if look.runs() {
            return self.settled(until).await;
        }
        call.progress(&format!("starting `{}`", self.name), 0, 0);
        let start = self.daemon.client().await?.start_container(&id, None);
        within(self.section.start_within.min(call.remaining()), start).await?;
        self.settled(until).await
    }

    async fn stop_it(&self, call: &CallCtx) -> Result<(), Failure> {
        let look = self.look().await?;
        if matches!(look.state, Some(State::EXITED | State::CREATED | State::DEAD)) {
            return Ok(());
        }
        look.stays()?;
        call.progress(&format!("waiting for `{}` to end", self.name), 0, 0);
        // By its id: another one that takes its name meanwhile is not meant.
        self.end(&look, (self.section.stop_within + MARGIN).min(call.remaining())).await?;
        let after = self.look().await?;
        if after.id != look.id {
            return Err(Failure::conflict("the container was made again by somebody while it was stopped"));
        }
        if after.runs() {
            return Err(Failure::failed("it was stopped, and runs again: somebody starts it"));
        }
        Ok(())
    }

    async fn end(&self, look: &Look, time: Duration) -> Result<(), Failure> {
        let seconds = i32::try_from(self.section.stop_within.as_secs()).unwrap_or(i32::MAX).max(1);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        within(time, self.daemon.client().await?.stop_container(&look.id, Some(options))).await
    }

    /// Before it is stopped for another start.
    async fn testify(&self, chosen: &Chosen, what: &str, call: &CallCtx) -> Result<(), Failure> {
        let Chosen { look, next } = chosen;
        let what = match next {
            Some(Next { id, image, .. }) => {
                format!("container {:.12} was about to be replaced by {id:.12} from the image {image}", look.id)
            }
            None => format!("container {:.12} was about to be {what}", look.id),
        };
        let before = Before { start: look.start.clone(), what: format!("{what} at {}", moment()) };
        let mut evidence = serde_json::to_value(before).map_err(|e| Failure::failed(e.to_string()))?;
        evidence["container"] = json!(look.id);
        if let Some(next) = next {
            evidence["replaced-by"] = json!(next.id);
        }
        call.evidence(evidence).await
    }

    async fn restart_it(&self, call: &CallCtx) -> Result<(), Failure> {
        let chosen = self.chosen(call).await?;
        self.testify(&chosen, "restarted", call).await?;
        self.stop_it(call).await?;
        // Switched or not, it is stopped now.
        let look = self.look().await?;
        self.start_it(call, Chosen { look, ..chosen }).await
    }
}

#[async_trait]
impl Observe for Contained {
    async fn status(&self) -> Result<Status, Failure> {
        Ok(self.look().await?.status)
    }

    async fn start_id(&self) -> Result<Option<String>, Failure> {
        Ok(self.look().await?.start)
    }

    async fn search(&self, since: &Mark, texts: &[String]) -> Result<Vec<String>, Failure> {
        let place = since.place.as_deref().and_then(Place::parse);
        let place = place.ok_or_else(|| Failure::inconclusive("the mark was set while another driver kept the log"))?;
        let look = self.look().await?;
        let redaction = look.redaction();
        let mut search = Search::new(texts, &redaction);
        match self.set_aside(&look).await?.filter(|aside| place.container == aside.id) {
            // What the other one has said since, and all that this one has said after its end.
            Some(aside) => {
                let mut more = true;
                let see = |line: &[u8]| {
                    more = search.see(line);
                    more
                };
                log::lines(&self.daemon, &aside.id, &place, see).await?;
                let ended = aside.told.state.and_then(|state| state.finished_at?.parse().ok());
                if more {
                    log::lines_from(&self.daemon, &look.id, ended, |line| search.see(line)).await?;
                }
            }
            None => log::lines(&self.daemon, &look.id, &place, |line| search.see(line)).await?,
        }
        Ok(search.found())
    }

    async fn processes(&self) -> Result<Vec<i32>, Failure> {
        let look = self.look().await?;
        if !look.runs() {
            return Ok(Vec::new());
        }
        let top = match within(MARGIN, self.daemon.client().await?.top_processes(&look.id, None)).await {
            Ok(top) => top,
            // It has ended meanwhile.
            Err(_) if !self.look().await?.runs() => return Ok(Vec::new()),
            Err(failure) => return Err(failure),
        };
        let column = top.titles.unwrap_or_default().iter().position(|title| title == "PID");
        let column = column.ok_or_else(|| Failure::failed("the Docker daemon tells no process ids"))?;
        let ids = top.processes.unwrap_or_default().into_iter();
        Ok(ids.filter_map(|process| process.get(column)?.parse().ok()).collect())
    }

    async fn is_whole(&self) -> Result<bool, Failure> {
        let look = self.look().await?;
        Ok(!look.runs() || self.is_right(&look).await?)
    }
}

#[async_trait]
impl Mutate for Contained {
    async fn start(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        let chosen = self.chosen(call).await?;
        if chosen.next.is_some() {
            self.testify(&chosen, "started", call).await?;
        }
        self.start_it(call, chosen).await
    }

    async fn stop(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        if self.section.image.is_some() {
            self.mend().await?;
        }
        self.stop_it(call).await
    }

    async fn restart(&self, call: &CallCtx) -> Result<(), Failure> {
        let _turn = self.home.take_turn(call).await?;
        self.restart_it(call).await
    }

    async fn reload(&self, call: &CallCtx) -> Result<(), Failure> {
        let Some(name) = &self.section.reload else {
            return Err(Failure::invalid("the site does not say how it reads its configuration again (`reload`)"));
        };
        if signal_named(name).is_none() {
            return Err(Failure::invalid(format!("`{name}` is no signal for a reload")));
        }
        let _turn = self.home.take_turn(call).await?;
        let look = self.look().await?;
        if !look.runs() {
            return Err(Failure::conflict("it does not run"));
        }
        // As it runs, it cannot see what it is to read.
        if !self.is_right(&look).await? {
            return self.restart_it(call).await;
        }
        let id = look.id.clone();
        self.testify(&Chosen { look, next: None }, &format!("sent the signal {name}"), call).await?;
        let options = KillContainerOptionsBuilder::default().signal(name).build();
        within(MARGIN, self.daemon.client().await?.kill_container(&id, Some(options))).await
    }

    async fn mark(&self, _: &CallCtx) -> Result<Mark, Failure> {
        let look = self.look().await?;
        let place = log::mark(&self.daemon, &look.id).await?;
        Ok(Mark { position: 0, place: Some(place.word()) })
    }
}
