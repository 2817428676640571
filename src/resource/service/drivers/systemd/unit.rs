//! A unit as its manager knows it at one moment.
use super::{
    super::super::Status,
    bus::{Bus, JOB, SERVICE, UNIT},
};
use crate::resource::{Failure, FailureKind};
use rustix::time::{ClockId, clock_gettime};
use std::{path::PathBuf, time::Duration};
use zbus::OwnedObjectPath;

pub struct Unit {
    pub name: String,
    /// Its main name.
    pub id: String,
    /// of its object on the bus
    pub path: String,
    pub load: String,
    pub load_error: String,
    pub active: String,
    pub sub: String,
    /// Of its last start, in hexadecimal digits.
    pub invocation: Option<String>,
    /// Kind of the job that is queued for it: `start`, `stop`, `restart`.
    pub job: Option<String>,
    /// How long it has been active.
    pub age: Duration,
    pub need_reload: bool,
    pub can_reload: bool,
    pub transient: bool,
    /// Its file, and those that add to it.
    pub fragment: Option<PathBuf>,
    pub drop_ins: Vec<String>,
    /// Sockets, timers and paths that start it.
    pub triggers: Vec<String>,
    /// Whoever is stopped when it is.
    pub followers: Vec<String>,
}

impl Unit {
    pub async fn look(bus: &Bus, name: &str) -> Result<Self, Failure> {
        let path = bus.load(name).await?;
        let mut said = bus.properties(&path, UNIT).await?;
        let invocation: Vec<u8> = said.take("InvocationID")?;
        let invocation: String = invocation.iter().map(|byte| format!("{byte:02x}")).collect();
        let (job, at): (u32, OwnedObjectPath) = said.take("Job")?;
        let job = match job {
            0 => None,
            _ => bus.property(at.as_str(), JOB, "JobType").await.ok(),
        };
        let since = Duration::from_micros(said.take("ActiveEnterTimestampMonotonic")?);
        let fragment: String = said.take("FragmentPath")?;
        let mut followers = Vec::new();
        for how in ["RequiredBy", "RequisiteOf", "BoundBy", "ConsistsOf", "PropagatesStopTo"] {
            followers.extend(said.list(how));
        }
        let (_, load_error): (String, String) = said.take("LoadError")?;
        Ok(Self {
            name: name.to_owned(),
            id: said.take("Id")?,
            path,
            load: said.take("LoadState")?,
            load_error,
            active: said.take("ActiveState")?,
            sub: said.take("SubState")?,
            invocation: Some(invocation).filter(|id| !id.is_empty()),
            job,
            age: now().saturating_sub(since),
            need_reload: said.take("NeedDaemonReload")?,
            can_reload: said.take("CanReload")?,
            transient: said.take("Transient")?,
            fragment: Some(fragment).filter(|path| !path.is_empty()).map(PathBuf::from),
            drop_ins: said.list("DropInPaths"),
            triggers: said.list("TriggeredBy"),
            followers,
        })
    }

    /// The same; one that does not exist is a failure.
    pub async fn existing(bus: &Bus, name: &str) -> Result<Self, Failure> {
        let unit = Self::look(bus, name).await?;
        if unit.load == "not-found" {
            return Err(Failure::not_found(format!("its manager knows no unit `{name}`"))
                .hint("`systemctl list-unit-files` shows which there are"));
        }
        // A mask of another name keeps nothing down.
        if unit.id != name {
            let why = format!("`{name}` is only another name of `{}`", unit.id);
            return Err(Failure::invalid(why).hint(format!("write `unit = \"{}\"` in the site", unit.id)));
        }
        Ok(unit)
    }

    /// It does something, or is about to.
    pub fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing" | "activating")
    }

    /// Nothing of it is left.
    pub fn is_down(&self) -> bool {
        matches!(self.active.as_str(), "inactive" | "failed")
    }

    pub fn status(&self, settle: Duration) -> Status {
        match self.active.as_str() {
            "active" | "reloading" | "refreshing" if self.age >= settle => Status::Running,
            // Also one that has ended and is about to be started again.
            "active" | "reloading" | "refreshing" | "activating" => Status::Starting,
            "deactivating" => Status::Running,
            _ if matches!(self.job.as_deref(), Some("start" | "restart")) => Status::Starting,
            "failed" => Status::Failed,
            _ => Status::Stopped,
        }
    }

    pub fn start_id(&self) -> Option<String> {
        let told_to_end = matches!(self.job.as_deref(), Some("stop" | "restart"));
        let runs = match self.active.as_str() {
            "active" | "reloading" | "refreshing" => true,
            "activating" => self.sub != "auto-restart",
            _ => false,
        };
        self.invocation.clone().filter(|_| runs && !told_to_end)
    }

    /// How its main process ended, for people.
    pub async fn end(&self, bus: &Bus) -> String {
        let number = async |name| bus.property::<i32>(&self.path, SERVICE, name).await.unwrap_or(0);
        let result: String = bus.property(&self.path, SERVICE, "Result").await.unwrap_or_default();
        let (code, status) = (number("ExecMainCode").await, number("ExecMainStatus").await);
        match (result.as_str(), code) {
            ("start-limit-hit", _) => "it was started too often, so systemd starts it no more".to_owned(),
            ("timeout", _) => "systemd waited for it in vain (its `TimeoutStartSec`)".to_owned(),
            ("oom-kill", _) => "the kernel killed it for want of memory".to_owned(),
            // What systemd itself says when it cannot even begin: 200 and above.
            (_, 1) if status == 203 => "its program cannot be started (exit status 203)".to_owned(),
            (_, 1) if status == 217 => "the user that it shall run as is not there (exit status 217)".to_owned(),
            ("success", 1) if status == 0 => {
                "it ended at once with exit status 0 (a service has to stay in the foreground)".to_owned()
            }
            (_, 1) => format!("it ended at once with exit status {status}"),
            (_, 2 | 3) => format!("it ended at once with signal {status}"),
            (result, _) => format!("it is {} ({}), result {result}", self.active, self.sub),
        }
    }
}

/// The clock of `…TimestampMonotonic`.
fn now() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

/// What a stop of a unit takes along, and what would start any of it again: only what is up now.
#[derive(Debug, Default, PartialEq)]
pub struct Along {
    pub triggers: Vec<String>,
    pub followers: Vec<String>,
}

/// A chain of units longer than this is no product.
const MOST: usize = 1000;

pub async fn along(bus: &Bus, main: &Unit) -> Result<Along, Failure> {
    let mut found = Along::default();
    let mut seen = vec![main.name.clone()];
    let mut queue = vec![(main.triggers.clone(), main.followers.clone())];
    while let Some((triggers, followers)) = queue.pop() {
        let triggers = triggers.into_iter().map(|name| (name, true));
        for (name, is_trigger) in triggers.chain(followers.into_iter().map(|name| (name, false))) {
            if seen.contains(&name) {
                continue;
            }
            if seen.len() == MOST {
                return Err(Failure::failed(format!("more than {MOST} units would be stopped with it")));
            }
            seen.push(name.clone());
            let unit = match Unit::look(bus, &name).await {
                Ok(unit) if unit.is_up() => unit,
                Ok(_) => continue,
                Err(failure) if failure.kind == FailureKind::NotFound => continue,
                Err(failure) => return Err(failure),
            };
            queue.push((unit.triggers, unit.followers));
            let triggers = is_trigger || [".socket", ".timer", ".path"].iter().any(|kind| name.ends_with(kind));
            if triggers { &mut found.triggers } else { &mut found.followers }.push(name);
        }
    }
    Ok(found)
}
