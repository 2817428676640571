use super::super::folder::{Folder, refused};
use crate::resource::{
    CallCtx, Failure,
    process::{Ended, Identity, blocking, since_boot},
};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

pub const FORMAT: u32 = 1;

/// What is known of the last start. The supervisor writes it while it lives; Backout does when there is none, in its turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub format: u32,
    /// Identities mean nothing after another start of the machine.
    pub boot: String,
    /// Everything that the program starts bears this in its environment.
    pub token: String,
    pub supervisor: Identity,
    /// None until it runs.
    pub program: Option<Identity>,
    /// When it began to run, from the start of the machine.
    pub since: Duration,
    /// Where the log was when it was started.
    pub log_began: u64,
    /// Where it was in the end.
    pub log_ended: Option<u64>,
    /// Somebody asked for an end.
    pub stopped: bool,
    pub ended: Option<Ended>,
    /// Nothing of it is left.
    pub gone: bool,
}

impl Record {
    /// For how long the program has run, as far as its supervisor has noticed.
    pub fn age(&self) -> Option<Duration> {
        self.program.map(|_| since_boot().saturating_sub(self.since))
    }
}

/// How long a stop gives, for the supervisor that it is meant for.
#[derive(Debug, Serialize, Deserialize)]
pub struct StopOrder {
    pub supervisor: Identity,
    pub within: Duration,
}

/// Its folder: lock, record, log.
#[derive(Clone, Debug)]
pub struct Home(Folder);

impl Home {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(Folder::new(dir))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Nobody else may look into it: a log may say anything.
    pub fn prepare(&self) -> io::Result<()> {
        self.0.prepare()?;
        Folder::new(self.log()).prepare()
    }

    pub fn record(&self) -> Result<Option<Record>, Failure> {
        let text = match fs::read(self.0.join("record.json")) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Failure::failed(format!("the record of its supervisor cannot be read: {e}"))),
        };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let damaged = |e| {
            Failure::failed(format!(
                "the record of its supervisor is damaged ({e}): see that nothing of it runs, then remove its record.json"
            ))
        };
        let Version { format } = serde_json::from_slice(&text).map_err(damaged)?;
        if format != FORMAT {
            return Err(Failure::failed(format!("another version of Backout supervises it (record format {format})")));
        }
        serde_json::from_slice(&text).map(Some).map_err(damaged)
    }

    /// Durable when it returns.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        self.0.replace("record.json", record)?;
        self.0.sync()
    }

    pub fn order_stop(&self, order: &StopOrder) -> io::Result<()> {
        self.0.replace("stop.json", order)
    }

    /// What was ordered from this supervisor; nothing when it was told by a bare signal.
    pub fn stop_order(&self, supervisor: Identity) -> Option<StopOrder> {
        self.read("stop.json").filter(|order: &StopOrder| order.supervisor == supervisor)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }

    /// Whether a supervisor lives. Its lock goes with it, whatever ends it; a process id could be somebody else's by now.
    pub fn held(&self) -> io::Result<bool> {
        match self.0.open("lock") {
            // Looking takes a shared lock for a moment, so that those who look do not see each other.
            Ok(file) => refused(flock(&file, FlockOperation::NonBlockingLockShared)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The supervisor's lock; none when there is another supervisor.
    pub fn hold(&self) -> io::Result<Option<File>> {
        let file = self.0.open("lock")?;
        let patience = Instant::now() + Duration::from_secs(5);
        while refused(flock(&file, FlockOperation::NonBlockingLockExclusive))? {
            // Either there is another one, or somebody looks just now.
            if self.held()? || Instant::now() > patience {
                return Ok(None);
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(Some(file))
    }

    /// As `Folder` has it.
    pub async fn take_turn(&self, call: &CallCtx) -> Result<File, Failure> {
        let home = self.clone();
        let prepared = blocking(move || home.prepare()).await?;
        prepared.map_err(|e| Failure::failed(format!("its folder cannot be used: {e}")))?;
        self.0.take_turn(call).await
    }
}
