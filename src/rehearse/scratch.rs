//! The folder of a rehearsal: one at a time on a site, and nothing of an earlier one is left, however that ended.
use super::Error;
use crate::{
    crash,
    journal::RunId,
    resource::{CallCtx, ResourceId, database, process::User, service::drivers::process, tree},
    run::{LockError, Locks},
    site::Site,
};
use std::{
    fs::{self, DirBuilder, Metadata},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub struct Scratch {
    folder: PathBuf,
    lock: Locks,
    /// Databases of which a server may have a copy.
    on_servers: Vec<database::Section>,
}

impl Scratch {
    /// Nobody else rehearses on this site from here on; what one that was cut off has left is cleared away.
    pub async fn claim(site: &Site) -> Result<Self, Error> {
        let mut lock = Locks::take(&site.state, &[ResourceId::new("rehearsal", "scratch")]).map_err(|e| match e {
            LockError::Held { holder, .. } => Error::refused(format!("this site is being rehearsed on by {holder}"))
                .hint("wait for it, or stop it with Ctrl-C"),
            other => Error::failed(other.to_string()),
        })?;
        lock.tell("another rehearsal").map_err(|e| Error::failed(format!("the lock cannot be written: {e}")))?;
        let scratch = Self { folder: site.scratch(), lock, on_servers: Vec::new() };
        scratch.clear().await?;
        for (name, section) in &site.databases {
            // It may have nothing to do with this rehearsal.
            if let Err(error) = database::drivers::clear_rehearsal(section, &call()).await {
                tracing::info!(%error, name, "what an earlier rehearsal may have left on the server stays");
            }
        }
        Ok(scratch)
    }

    /// So that others can be told which run it is.
    pub fn name(&mut self, run: RunId) -> Result<(), Error> {
        self.lock.name(run).map_err(|e| Error::failed(format!("the lock cannot be written: {e}")))
    }

    /// The folders for copies, and for what the rehearsal itself writes down.
    pub fn make(&mut self, site: &Site, copies: &[ResourceId]) -> Result<(), Error> {
        let databases = copies.iter().filter(|id| id.kind == "database");
        self.on_servers = databases.filter_map(|id| site.databases.get(&id.name)).cloned().collect();
        let made = || -> io::Result<()> {
            // A twin may run as another user, whom the state folder lets through or not.
            make(&self.folder, 0o711)?;
            make(&self.folder.join("databases"), 0o711)?;
            make(&self.folder.join("trees"), 0o711)?;
            make(&site.rehearsal().state, 0o700)?;
            for place in copies.iter().filter(|id| id.kind == "database").filter_map(|id| site.scratch_of(id)) {
                place.parent().map_or(Ok(()), |folder| make(folder, 0o700))?;
            }
            Ok(())
        };
        made().map_err(|e| Error::failed(format!("the folder of the rehearsal cannot be made: {e}")))
    }

    /// Twins get through to the copies, whoever they run as.
    pub fn let_in(&self, site: &Site) -> Result<(), Error> {
        let service = |name: &String| site.services.get(name)?.driver.runs()?.user.map(str::to_owned);
        let users = site.twins.iter().filter_map(|(of, twin)| match of.kind.as_str() {
            "service" => Some((&twin.value, service(&twin.value)?)),
            "tool" => Some((&twin.value, site.tools.get(&twin.value)?.user.clone()?)),
            _ => None,
        });
        for (twin, name) in users {
            // What is no user is told by who starts it.
            let Ok(user) = User::named(&name) else { continue };
            let closed = |folder: &&Path| fs::metadata(folder).is_ok_and(|about| !may_enter(&user, &about));
            if let Some(folder) = self.folder.join("trees").ancestors().find(closed) {
                let folder = folder.display();
                let message = format!("the twin {twin} runs as user {name}, who cannot enter {folder}");
                return Err(Error::refused(message).hint(format!("let users through: chmod o+x {folder}")));
            }
        }
        Ok(())
    }

    /// Ends what was started there, and removes it all.
    pub async fn clear(&self) -> Result<(), Error> {
        let call = call();
        let ended = process::end_all(&self.folder.join("state"), &call).await;
        ended.map_err(|failure| Error::failed(format!("a twin cannot be ended: {}", failure.message)))?;
        for section in &self.on_servers {
            let cleared = database::drivers::clear_rehearsal(section, &call).await;
            cleared.map_err(|failure| {
                let message = format!("what the rehearsal has left on a server stays there: {}", failure.message);
                Error::failed(message).hint("the next rehearsal drops it")
            })?;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            crash::point("before a rehearsal is cleared away");
            let folder = self.folder.clone();
            let removed = tokio::task::spawn_blocking(move || tree::drivers::remove(&folder)).await;
            match removed.unwrap_or_else(|e| Err(io::Error::other(e))) {
                Ok(()) => return Ok(()),
                // What a tool has started ends soon after Backout, and may write until then.
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => {
                    let folder = self.folder.display();
                    return Err(Error::failed(format!("what a rehearsal has left in {folder} stays there: {error}")));
                }
            }
        }
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

fn call() -> CallCtx {
    CallCtx::aside("rehearsal/end".to_owned(), PATIENCE)
}

fn make(folder: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().mode(mode).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(mode))
}

fn may_enter(user: &User, about: &Metadata) -> bool {
    let shift = match () {
        () if user.uid == 0 => return true,
        () if about.uid() == user.uid => 6,
        () if about.gid() == user.gid || user.groups.contains(&about.gid()) => 3,
        () => 0,
    };
    about.mode() >> shift & 1 != 0
}
