use crate::resource::{
    CallCtx, Failure,
    process::{Ended, Identity, blocking, since_boot},
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

pub const FORMAT: u32 = 1;
/// How often is looked while waiting for somebody else.
pub const LOOK_AGAIN: Duration = Duration::from_millis(25);

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

/// The private folder of one service: lock, record, log. What its messages say may reach a script, so they name no path.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self(dir.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
    pub fn log(&self) -> PathBuf {
        self.0.join("log")
    }

    /// Nobody else may look into it: a log may say anything.
    pub fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(self.log())?;
        for folder in [self.0.clone(), self.log()] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        }
        Ok(())
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
        self.replace("record.json", record)?;
        File::open(&self.0)?.sync_all()
    }

    pub fn order_stop(&self, order: &StopOrder) -> io::Result<()> {
        self.replace("stop.json", order)
    }

    /// What was ordered from this supervisor; nothing when it was told by a bare signal.
    pub fn stop_order(&self, supervisor: Identity) -> Option<StopOrder> {
        self.read("stop.json").filter(|order: &StopOrder| order.supervisor == supervisor)
    }

    fn read<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&fs::read(self.0.join(name)).ok()?).ok()
    }

    fn replace(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let new = self.0.join(format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        file.sync_all()?;
        fs::rename(new, self.0.join(name))
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(self.0.join(name))
    }

    /// Whether a supervisor lives. Its lock goes with it, whatever ends it; a process id could be somebody else's by now.
    pub fn held(&self) -> io::Result<bool> {
        match self.open("lock") {
            // Looking takes a shared lock for a moment, so that those who look do not see each other.
            Ok(file) => refused(flock(&file, FlockOperation::NonBlockingLockShared)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The supervisor's lock; none when there is another supervisor.
    pub fn hold(&self) -> io::Result<Option<File>> {
        let file = self.open("lock")?;
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

    /// The turn of one Backout to start or stop, waited for. The kernel ends the turn of one that was killed.
    pub async fn take_turn(&self, call: &CallCtx) -> Result<File, Failure> {
        loop {
            let home = self.clone();
            let turn = blocking(move || home.prepare().and_then(|()| home.turn())).await?;
            match turn.map_err(|e| Failure::failed(format!("its folder cannot be used: {e}")))? {
                Some(turn) => return Ok(turn),
                None if call.remaining().is_zero() => {
                    return Err(Failure::conflict("another Backout is starting or stopping it"));
                }
                None => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// None while another one is at it.
    fn turn(&self) -> io::Result<Option<File>> {
        let file = self.open("turn")?;
        Ok((!refused(flock(&file, FlockOperation::NonBlockingLockExclusive))?).then_some(file))
    }
}

fn refused(result: Result<(), Errno>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(e.into()),
    }
}
