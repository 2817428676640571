//! The private folder of one service: what a driver has to remember, and whose turn it is. What its messages say may reach a
//! script, so they name no path.
use crate::resource::{CallCtx, Failure, process::blocking};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};
use serde::Serialize;
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

/// How often is looked while waiting for somebody else.
pub const LOOK_AGAIN: Duration = Duration::from_millis(25);

#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Nobody else may look into it.
    pub fn prepare(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        fs::set_permissions(&self.0, fs::Permissions::from_mode(0o700))
    }

    /// Whole or not at all; durable after `sync`.
    pub fn replace(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        let new = self.join(&format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec_pretty(value)?)?;
        file.sync_all()?;
        fs::rename(new, self.join(name))
    }

    pub fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }

    /// The turn of one Backout to start or stop, waited for. The kernel ends the turn of one that was killed.
    pub async fn take_turn(&self, call: &CallCtx) -> Result<File, Failure> {
        loop {
            let folder = self.clone();
            let turn = blocking(move || folder.turn()).await?;
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
        self.prepare()?;
        let file = self.open("turn")?;
        Ok((!refused(flock(&file, FlockOperation::NonBlockingLockExclusive))?).then_some(file))
    }

    /// A file to lock, made if there is none.
    pub fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(self.join(name))
    }
}

/// Whether somebody else has the lock.
pub fn refused(result: Result<(), Errno>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(e) => Err(e.into()),
    }
}
