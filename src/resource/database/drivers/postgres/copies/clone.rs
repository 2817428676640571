//! Copies that the server makes of its own files (`CREATE DATABASE … TEMPLATE`). It does so while nobody is in the database, so
//! under the fence alone; before that nothing is made, and it is only looked whether it could be. Once it is made, compared and
//! proven, such a copy is a stand-by like any other.
use super::super::{
    Postgres, activity,
    connection::Use,
    error::{self, FULL, told},
    fence,
};
use super::{
    beside, closed,
    content::Moment,
    detector::{self, Since},
    mark::{self, Is, Mark, Names, literal, quoted},
    standby::{ABREAST, dress, equal, hold, position, snapshot},
    whose,
};
use crate::resource::{
    CallCtx, Failure,
    copies::{CLONE, Fingerprint, Snapshot},
    database::{Host, Method},
    room,
};
use std::path::Path;
use tokio_postgres::{Client, error::SqlState};

/// What the server would have to do, and whether it can.
pub struct Looked {
    pub bytes: u64,
    /// On the server's disk, where anybody can say.
    pub free: Option<u64>,
    /// The copy takes the blocks of what it is a copy of, until one of the two writes.
    pub shares: bool,
    /// Why the server would refuse.
    pub unfit: Option<String>,
}

/// Left to the server, which goes on writing.
const SPARE: u64 = 64 << 20;

impl Looked {
    /// For all of it, whether or not blocks are shared.
    pub fn has_room(&self) -> bool {
        self.free.is_none_or(|free| free >= self.bytes.saturating_add(SPARE))
    }

    fn check(&self) -> Result<(), Failure> {
        if let Some(why) = &self.unfit {
            return Err(Failure::conflict(format!("the server cannot copy its files: {why}"))
                .hint("`method = \"stand-by\"` in the section of the database copies what they hold instead"));
        }
        if !self.has_room() && !self.shares {
            return Err(self.no_room());
        }
        Ok(())
    }

    pub fn no_room(&self) -> Failure {
        let (needed, free) = (room::size(self.bytes.saturating_add(SPARE)), room::size(self.free.unwrap_or(0)));
        room::none(format!("a copy needs {needed} on the server's disk, {free} are free"))
    }

    pub fn words(&self) -> String {
        let shares = if self.shares { ", sharing blocks where the file system does" } else { "" };
        format!("the server copies its files, {}{shares}", room::size(self.bytes))
    }
}

/// Reads nothing of what the database holds.
pub async fn look(postgres: &Postgres, admin: &Client) -> Result<Looked, Failure> {
    const LOOK: &str = "SELECT current_setting('server_version_num')::int, pg_database_size(d.oid), \
            coalesce(nullif(pg_tablespace_location(d.dattablespace), ''), current_setting('data_directory')) \
         FROM pg_database d WHERE d.datname = $1";
    let name = &postgres.server.database;
    let row = admin.query_opt(LOOK, &[name]).await.map_err(told)?;
    let row = row.ok_or_else(|| Failure::not_found("the server has no such database"))?;
    let (version, bytes, folder): (i32, i64, String) = (row.get(0), row.get(1), row.get(2));
    let mut unfit = None;
    if version >= 150_000 {
        const COLLATED: &str = "SELECT coalesce(datcollversion <> pg_database_collation_actual_version(oid), false) \
             FROM pg_database WHERE datname = $1";
        if admin.query_one(COLLATED, &[name]).await.map_err(told)?.get(0) {
            let what = "the database has another version of its collation than the system";
            unfit =
                Some(format!("{what} (ALTER DATABASE {} REFRESH COLLATION VERSION, after a REINDEX)", quoted(name)));
        }
    }
    // Whoever shares a socket with the server shares its disks, as a rule; of another host nobody can say.
    let folder = matches!(postgres.server.host, Host::Socket(_)).then(|| Path::new(&folder));
    let free = folder.map(room::left).filter(|free| *free > 0);
    let shares = version >= 180_000 && folder.is_some_and(shares);
    Ok(Looked { bytes: bytes.unsigned_abs(), free, shares, unfit })
}

/// File systems on which copies take no room of their own.
fn shares(folder: &Path) -> bool {
    const BTRFS: u64 = 0x9123_683E;
    const XFS: u64 = 0x5846_5342;
    const BCACHEFS: u64 = 0xCA45_1A4E;
    let found = rustix::fs::statfs(folder).ok().and_then(|disk| u64::try_from(disk.f_type).ok());
    found.is_some_and(|kind| [BTRFS, XFS, BCACHEFS].contains(&(kind & 0xFFFF_FFFF)))
}

/// Whether the next copy is one, and why, where the site leaves the choice.
pub struct Choice {
    pub clone: bool,
    pub why: Option<String>,
}

pub async fn choose(postgres: &Postgres, admin: &Client, call: &CallCtx) -> Result<(Choice, Looked), Failure> {
    let looked = look(postgres, admin).await?;
    let choice = match postgres.method {
        Method::Clone => {
            looked.check()?;
            Choice { clone: true, why: None }
        }
        Method::Auto { window } => super::auto::choose(postgres, admin, &looked, window, call).await?,
        _ => Choice { clone: false, why: None },
    };
    Ok((choice, looked))
}

/// Says that there will be a copy, and that there is none yet.
pub fn promise(names: &Names, looked: &Looked, why: Option<String>) -> Snapshot {
    Snapshot {
        id: names.id.clone(),
        place: format!("{} (not made yet)", names.standby),
        method: CLONE.to_owned(),
        bytes: 0,
        proven: false,
        fingerprint: Fingerprint::default(),
        copied: 0,
        detector: format!("under the fence {}", looked.words()),
        position: None,
        chosen: why,
    }
}

/// What everybody says of a copy that was promised, and asked for before it was made.
pub fn not_made() -> Failure {
    Failure::unproven("there is no copy: it is made under the fence, by `refresh`")
}

pub async fn shut(postgres: &Postgres, call: &CallCtx) -> Result<(), Failure> {
    if fence::fenced(postgres, call).await? {
        return Ok(());
    }
    Err(Failure::conflict("the server copies its files under the fence alone, and the database is not fenced"))
}

pub async fn make(postgres: &Postgres, admin: &Client, names: &Names, call: &CallCtx) -> Result<Snapshot, Failure> {
    shut(postgres, call).await?;
    detector::forget(admin, names).await;
    let looked = look(postgres, admin).await?;
    looked.check()?;
    let comment = mark::find(admin, &names.live).await?.and_then(|live| live.comment);
    call.progress(&looked.words(), 0, looked.bytes);
    announce(admin, names).await?;
    let how = copy(admin, names, call).await?;
    let (id, of) = (names.id.clone(), names.live.clone());
    let mut mark = Mark { is: Is::Making, id, of, proof: None, comment, pending: false, since: None };
    mark::write(admin, &names.standby, &mark).await?;
    forget(admin, names).await?;
    dress(admin, names).await?;

    let mut inside = closed::enter(postgres, admin, &names.standby, (ABREAST, Use::Looking), call).await?;
    let copied = Moment::by(std::mem::take(&mut inside.sessions)).await?;
    let source = Moment::of(postgres, &names.live, ABREAST, call).await?;
    let position = position(source.first()?).await?;
    let what = "comparing the copy with the database";
    let ((source, expected), (copied, held)) = tokio::try_join!(hold(source, what, call), hold(copied, what, call))?;
    equal(&held, &expected)?;
    if beside::sequences(copied.first()?).await? != beside::sequences(source.first()?).await? {
        return Err(Failure::unproven("a sequence of the copy does not stand where that of the database stands"));
    }
    mark.is = Is::StandBy;
    mark.proof = Some(inside.proof(admin, &held.fingerprint).await?);
    mark.since = Some(Since::Unknown("the copy is one of the server's files".to_owned()));
    mark::write(admin, &names.standby, &mark).await?;
    let rows = held.fingerprint.count();
    let made = snapshot(admin, names, rows, held.fingerprint, format!("{how}, full compare"), CLONE).await?;
    Ok(Snapshot { position: Some(position), ..made })
}

/// Has the server do it; how it did. It ends its own workers in the database, and gives everybody else some seconds.
async fn copy(admin: &Client, names: &Names, call: &CallCtx) -> Result<&'static str, Failure> {
    const TIMES: u32 = 3;
    let create = whose::clone(admin, &names.live, &names.standby).await?;
    // Newer servers may have the file system share blocks. Where it cannot, they are told to write them.
    let mut how = match admin.batch_execute("SET file_copy_method = clone").await {
        Ok(()) => "file copy by the file system",
        Err(_) => "file copy",
    };
    let mut times = 0;
    loop {
        times += 1;
        let Err(error) = admin.batch_execute(&create).await else { return Ok(how) };
        if error::is(&error, &SqlState::OBJECT_IN_USE) {
            let others = activity::others(admin, &names.live).await?;
            if others.is_empty() && times < TIMES && !call.remaining().is_zero() {
                // Our own leave by themselves.
                continue;
            }
            let who = if others.is_empty() { "another operation".to_owned() } else { activity::named(&others) };
            return Err(Failure::conflict(format!("the server copies no database that somebody is in: {who}")));
        }
        let plainly = error.code().is_some_and(|code| matches!(code.code(), "57014" | "53100" | "42501" | "57P01"));
        let failure = told(error);
        if how == "file copy" || plainly || failure.message == FULL {
            return Err(failure);
        }
        how = "file copy";
        admin.batch_execute("SET file_copy_method = copy").await.map_err(told)?;
    }
}

/// In the settings of the live database: the name of the copy that is about to be made of it. Until it has its mark, nothing else
/// tells one that was killed half-way from somebody else's.
const NOTE: &str = "backout.clone";

async fn announce(admin: &Client, names: &Names) -> Result<(), Failure> {
    // Whatever has the name before is not what is announced.
    if mark::find(admin, &names.standby).await?.is_some() {
        return Err(Failure::conflict(format!("a database {} is there that is not Backout's", names.standby)));
    }
    let set = format!("ALTER DATABASE {} SET {NOTE} = {}", quoted(&names.live), literal(&names.standby));
    admin.batch_execute(&set).await.map_err(told)
}

/// Whether a copy of this name was about to be made.
pub async fn announced(admin: &Client, names: &Names) -> Result<bool, Failure> {
    const SAID: &str = "SELECT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, \
         unnest(s.setconfig) setting WHERE d.datname = $1 AND s.setrole = 0 AND setting = $2)";
    let setting = format!("{NOTE}={}", names.standby);
    Ok(admin.query_one(SAID, &[&names.live, &setting]).await.map_err(told)?.get(0))
}

pub async fn forget(admin: &Client, names: &Names) -> Result<(), Failure> {
    if announced(admin, names).await? {
        let reset = format!("ALTER DATABASE {} RESET {NOTE}", quoted(&names.live));
        admin.batch_execute(&reset).await.map_err(told)?;
    }
    Ok(())
}
