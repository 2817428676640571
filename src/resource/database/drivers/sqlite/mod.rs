//! SQLite: one file, no server. Everything that a server would do for us (keep applications out, tell who is connected, rename
//! a database) is done with the file system here.
mod archive;
mod base;
mod connection;
mod duplicate;
mod exchange;
mod fence;
mod files;
mod fingerprint;
mod held;
mod loss;
mod mark;
mod pages;
mod places;
mod proof;
mod query;
mod salvage;
mod standby;

use super::archives::known;
use crate::resource::{
    CallCtx, Failure, Pace,
    copies::{Exchange, Fingerprint, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    database::{Executed, Mutate, Observe, Section, Session, salvage::Salvaged},
    room::{self, Need},
};
use archive::Shelf;
use async_trait::async_trait;
use places::Places;
use proof::Stand;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedMutexGuard, OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock},
};

pub struct Sqlite {
    name: String,
    path: PathBuf,
    exclusive: bool,
    /// Where copies are archived; else they stand by.
    shelf: Option<Shelf>,
}

/// Within this process, by path. SQLite's locks belong to the process and vanish when it closes any descriptor of the file, so
/// what works on the file as a file has it alone. Work that goes on after its caller was dropped keeps its guard: who looks
/// at the real state afterwards waits for its end.
static TURNS: LazyLock<Mutex<BTreeMap<PathBuf, Turns>>> = LazyLock::new(Mutex::default);

#[derive(Clone, Default)]
struct Turns {
    file: Arc<RwLock<()>>,
    /// Who makes a copy, and who has statements that write: one of each at a time.
    copies: Arc<tokio::sync::Mutex<()>>,
    statements: Arc<tokio::sync::Mutex<()>>,
}

/// All but `Alone` work through SQLite's connections only.
enum Turn {
    Shared,
    Copying,
    Writing,
    Alone,
}

enum Guard {
    Shared { _own: Option<OwnedMutexGuard<()>>, _file: OwnedRwLockReadGuard<()> },
    Alone { _file: OwnedRwLockWriteGuard<()> },
}

impl Turns {
    async fn wait(self, turn: Turn) -> Guard {
        let own = match turn {
            Turn::Shared => None,
            Turn::Copying => Some(self.copies.lock_owned().await),
            Turn::Writing => Some(self.statements.lock_owned().await),
            Turn::Alone => return Guard::Alone { _file: self.file.write_owned().await },
        };
        Guard::Shared { _own: own, _file: self.file.read_owned().await }
    }
}

impl Sqlite {
    pub fn new(name: &str, path: &Path, section: &Section) -> Self {
        let repository = section.method.repository();
        let shelf = repository.map(|repository| Shelf { repository: repository.clone(), name: name.to_owned() });
        Self { name: name.to_owned(), path: path.to_owned(), exclusive: section.exclusive, shelf }
    }

    /// What a copy elsewhere would take.
    pub async fn need(&self, call: &CallCtx) -> Result<Need, Failure> {
        self.call(Turn::Shared, call, |places, _| duplicate::need(places)).await
    }

    /// A copy elsewhere, where nothing is yet; the database itself is only read.
    pub async fn duplicate(&self, to: &Path, pace: Arc<Pace>, call: &CallCtx) -> Result<Fingerprint, Failure> {
        let to = to.to_owned();
        self.call(Turn::Copying, call, move |places, call| duplicate::duplicate(places, &to, &pace, call)).await
    }

    async fn work<T: Send + 'static>(
        &self,
        turn: Turn,
        deadline: Instant,
        work: impl FnOnce(&Places) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (name, path) = (self.name.clone(), self.path.clone());
        let at = path.clone();
        let places = blocking(move || Places::find(&name, &path)).await?;
        let turns = {
            let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(places.path()).or_default().clone()
        };
        let guard = tokio::time::timeout_at(deadline.into(), turns.wait(turn))
            .await
            .map_err(|_| Failure::timed_out("another operation on the database has not ended"))?;
        blocking(move || {
            // The turn may have come when the time was over already.
            let result =
                if Instant::now() < deadline { work(&places) } else { Err(Failure::timed_out("its time is over")) };
            drop(guard);
            result.map_err(|failure| room::place(failure, at.parent().unwrap_or(&at)))
        })
        .await
    }

    async fn call<T: Send + 'static>(
        &self,
        turn: Turn,
        call: &CallCtx,
        work: impl FnOnce(&Places, &CallCtx) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let call = call.clone();
        self.work(turn, call.deadline, move |places| work(places, &call)).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|e| Err(Failure::failed(format!("the work on the database broke off: {e}"))))
}

/// Calls without a deadline of their own only look at names.
fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[async_trait]
impl ObserveCopies for Sqlite {
    async fn fingerprint(&self, call: &CallCtx) -> Result<Fingerprint, Failure> {
        self.call(Turn::Shared, call, |places, call| {
            let connection = connection::looking(&places.live()?.path, call).map_err(connection::told)?;
            connection.execute_batch("BEGIN").map_err(connection::told)?;
            fingerprint::fingerprint(&connection, "reading the database", call).map_err(connection::told)
        })
        .await
    }

    async fn loss(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
        let (snapshot, shelf) = (snapshot.clone(), self.shelf.clone());
        // An archive is looked at in a file, which one call at a time may have.
        let turn = if snapshot.is_archived() { Turn::Copying } else { Turn::Shared };
        self.call(turn, call, move |places, call| {
            if archive::is_away(places, &snapshot)? {
                return archive::loss(places, &snapshot, known(shelf.as_ref())?, call);
            }
            let live = places.live()?;
            // A report of what has happened; that it cannot be counted does not put it in doubt.
            let mut done = false;
            let (goes, comes, parameters) = match proof::stand(&places.copy_of(&snapshot)?, Some(&live))? {
                Stand::By(copy) => (live.path, copy, connection::STILL),
                // After the exchange: what it has set aside.
                Stand::Live { aside: Some(aside) } => {
                    done = true;
                    (aside, live.path, "mode=ro")
                }
                Stand::Live { aside: None } => return Ok(Vec::new()),
                Stand::Gone => return Err(Failure::unproven("the copy is gone")),
            };
            let connection = connection::looking(&goes, call);
            let lost = connection.and_then(|connection| loss::between(&connection, &comes, parameters, call));
            lost.map_err(connection::told).or_else(|e| if done { Ok(exchange::uncounted(&e.message)) } else { Err(e) })
        })
        .await
    }

    async fn inspect(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure> {
        let (snapshot, shelf) = (snapshot.clone(), self.shelf.clone());
        self.call(Turn::Shared, call, move |places, call| {
            if archive::is_away(places, &snapshot)? {
                return archive::inspect(&snapshot, known(shelf.as_ref())?, call);
            }
            let copy = places.copy_of(&snapshot)?;
            match proof::stand(&copy, places.live().ok().as_ref())? {
                Stand::By(standby) => proof::check(&copy, &standby, &snapshot.fingerprint, call).map(|_| ()),
                Stand::Live { .. } => Err(Failure::conflict("the copy was exchanged, and is live")),
                Stand::Gone => Err(Failure::unproven("the copy is gone")),
            }
        })
        .await
    }

    async fn quiet(&self, call: &CallCtx) -> Result<(), Failure> {
        self.call(Turn::Copying, call, |_, _| Ok(())).await
    }

    async fn repository(&self) -> Result<Option<String>, Failure> {
        let Some(Shelf { repository, .. }) = self.shelf.clone() else { return Ok(None) };
        blocking(move || repository.is_there().map(|()| Some(repository.name.clone()))).await
    }

    async fn aside_bytes(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Option<u64>, Failure> {
        let snapshot = snapshot.clone();
        self.call(Turn::Shared, call, move |places, _| {
            let copy = places.copy_of(&snapshot)?;
            let aside = matches!(proof::stand(&copy, places.live().ok().as_ref())?, Stand::Live { aside: Some(_) });
            Ok(aside.then(|| copy.bytes()))
        })
        .await
    }

    async fn exchanged(&self, snapshot: &Snapshot, evidence: &[Value]) -> Result<Exchange, Failure> {
        let (snapshot, evidence) = (snapshot.clone(), evidence.to_vec());
        self.work(Turn::Shared, soon(), move |places| exchange::exchanged(places, &snapshot, &evidence)).await
    }
}

#[async_trait]
impl MutateCopies for Sqlite {
    async fn take(&self, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
        let (id, exclusive, shelf) = (id.to_owned(), self.exclusive, self.shelf.clone());
        self.call(Turn::Copying, call, move |places, call| match &shelf {
            Some(shelf) => archive::take(places, &id, exclusive, shelf, call),
            None => standby::take(places, &id, exclusive, call),
        })
        .await
    }

    async fn refresh(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
        let (snapshot, exclusive, shelf) = (snapshot.clone(), self.exclusive, self.shelf.clone());
        if snapshot.is_archived() {
            return self
                .call(Turn::Copying, call, move |places, call| {
                    archive::refresh(places, &snapshot, exclusive, known(shelf.as_ref())?, call)
                })
                .await;
        }
        self.call(Turn::Alone, call, move |places, call| standby::refresh(places, &snapshot, exclusive, call)).await
    }

    async fn exchange(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
        if !self.exclusive {
            return Err(Failure::denied(
                "the site does not say that the database belongs to this product alone (`exclusive`)",
            ));
        }
        let snapshot = snapshot.clone();
        if snapshot.is_archived() {
            let (snapshot, shelf) = (snapshot.clone(), self.shelf.clone());
            // Where it is not away, nobody asks for the repository.
            self.call(Turn::Copying, call, move |places, call| match archive::is_away(places, &snapshot)? {
                true => archive::stage(places, &snapshot, known(shelf.as_ref())?, call),
                false => Ok(()),
            })
            .await?;
        }
        let runtime = Handle::current();
        self.call(Turn::Alone, call, move |places, call| {
            exchange::exchange(places, &snapshot, call, |evidence| runtime.block_on(call.evidence(evidence)))
        })
        .await
    }

    async fn discard(&self, snapshot: &Snapshot, call: &CallCtx) -> Result<u64, Failure> {
        let (snapshot, shelf) = (snapshot.clone(), self.shelf.clone());
        self.call(Turn::Alone, call, move |places, _| {
            archive::discard(places, &snapshot, &shelf)?;
            standby::discard(places, &snapshot)
        })
        .await
    }
}

#[async_trait]
impl Observe for Sqlite {
    async fn activity(&self, call: &CallCtx) -> Result<Vec<Session>, Failure> {
        self.call(Turn::Shared, call, |places, _| query::activity(places)).await
    }

    async fn query(&self, sql: &str, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
        let sql = sql.to_owned();
        self.call(Turn::Shared, call, move |places, call| query::query(places, &sql, call)).await
    }

    async fn schema(&self) -> Result<String, Failure> {
        let deadline = soon();
        self.work(Turn::Shared, deadline, move |places| {
            let connection = connection::reading_until(&places.live()?.path, deadline).map_err(connection::told)?;
            connection.execute_batch("BEGIN").map_err(connection::told)?;
            fingerprint::schema(&connection).map_err(connection::told)
        })
        .await
    }

    async fn fenced(&self) -> Result<bool, Failure> {
        self.work(Turn::Shared, soon(), fence::fenced).await
    }

    async fn hidden(&self) -> Result<bool, Failure> {
        self.work(Turn::Shared, soon(), fence::hidden).await
    }

    async fn shut(&self) -> Result<bool, Failure> {
        self.work(Turn::Shared, soon(), fence::shut).await
    }

    async fn open(&self) -> Result<bool, Failure> {
        self.work(Turn::Shared, soon(), fence::open).await
    }

    async fn salvage(&self, snapshot: &Snapshot, folder: &Path, call: &CallCtx) -> Result<Salvaged, Failure> {
        let (snapshot, folder) = (snapshot.clone(), folder.to_owned());
        self.call(Turn::Shared, call, move |places, call| salvage::salvage(places, &snapshot, &folder, call)).await
    }

    async fn executed(&self, evidence: &[Value], call: &CallCtx) -> Result<Executed, Failure> {
        let evidence = evidence.to_vec();
        self.call(Turn::Writing, call, move |places, call| mark::executed(places, &evidence, call)).await
    }
}

#[async_trait]
impl Mutate for Sqlite {
    async fn fence(&self, within: Duration, call: &CallCtx) -> Result<(), Failure> {
        self.call(Turn::Alone, call, move |places, call| fence::raise(places, within, call)).await
    }

    async fn unfence(&self, call: &CallCtx) -> Result<(), Failure> {
        self.call(Turn::Alone, call, fence::lift).await
    }

    async fn execute(&self, sql: &str, call: &CallCtx) -> Result<u64, Failure> {
        let sql = sql.to_owned();
        let runtime = Handle::current();
        self.call(Turn::Writing, call, move |places, call| {
            query::execute(places, &sql, call, |evidence| runtime.block_on(call.evidence(evidence)))
        })
        .await
    }
}
