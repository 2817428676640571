//! Which tables may have changed since a copy, from the server's own log of all changes.
//!
//! At a *mark* the position in the log is written down; then every transaction that runs ends; then comes the moment that is
//! copied. So whatever that moment does not show stands in the log behind the mark: a row that was written before the mark and
//! committed after the moment cannot be. The log tells files and blocks. It tells more than has changed, never less; what it
//! cannot tell (unlogged tables, values that are shown by the names of other things) is always looked at, and where the
//! log is not whole, nothing is concluded from it, and all is compared.
mod records;
mod running;
mod summaries;

use super::super::error::told;
use super::{
    blocks::{self, Stretches},
    content::{Sum, Table},
    mark::Names,
};
use crate::resource::{CallCtx, Failure, copies::Part};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tokio_postgres::Client;

/// How the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The server has read its log itself, and keeps what it found (from 17 on).
    Summaries,
    /// The log is held by a slot, and is read record by record.
    Records,
}

impl By {
    pub fn name(self) -> &'static str {
        match self {
            Self::Summaries => "wal summaries",
            Self::Records => "wal records",
        }
    }
}

/// What a copy remembers, so that a refresh finds what has changed since.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Since {
    Known(Known),
    /// Why it is not known.
    Unknown(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    by: By,
    /// From where on the log is read.
    position: String,
    log: Log,
    /// The number of the database.
    database: u32,
    /// In the order of the fingerprint.
    tables: Vec<Kept>,
    /// Of each large one what it holds.
    sums: Vec<Option<Sum>>,
    /// The files from which large objects are told.
    objects: Vec<u32>,
    /// What was written to before `position`, and after the mark.
    written: Written,
}

/// What a table was: its number, its file, the file of its long values, its columns.
type Kept = (u32, u32, u32, String);

fn kept(table: &Table) -> Kept {
    (table.oid, table.file, table.long, table.shape.clone())
}

/// Whose log it is. One that was started again may have logged less in between.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Log {
    system: String,
    timeline: String,
    started: String,
}

/// Files by number, with the blocks that were written to; `None`: so many that they are not told apart.
type Written = BTreeMap<u32, Option<BTreeSet<u32>>>;

/// Why a detector cannot be had; the server's own words are behind it.
type Without<T> = Result<T, String>;

fn why(failure: Failure) -> String {
    failure.message
}

/// From before the moment until the copy is proven.
pub struct Watch(Without<Known>);

impl Watch {
    /// Takes the mark, and waits for those who were at work then. The moment that is copied comes after this.
    pub async fn begin(admin: &Client, names: &Names, anew: bool, call: &CallCtx) -> Self {
        if anew {
            records::forget(admin, names).await;
        }
        Self(marked(admin, names, call).await)
    }

    /// The tables as they are at the moment, which locks them.
    pub async fn look(&mut self, source: &Client, tables: &[Table]) {
        if let Ok(known) = &mut self.0 {
            known.tables = tables.iter().map(kept).collect();
            match objects(source).await {
                Ok(files) => known.objects = files,
                Err(e) => self.0 = Err(why(e)),
            }
        }
    }

    /// What was logged meanwhile is read now, for most of it is of the copy itself, and need not be held any longer.
    /// `sums`: what the tables hold now, where that is known.
    pub async fn end(self, admin: &Client, names: &Names, tables: &[Table], sums: &[Option<Sum>]) -> Since {
        let large = |(table, sum): (&Table, &Option<Sum>)| sum.filter(|_| table.bytes >= blocks::SMALL);
        let sums = tables.iter().zip(sums).map(large).collect();
        let ended = match self.0.map(|known| Known { sums, ..known }) {
            Ok(known) if known.by == By::Records => records::shortened(admin, names, known).await,
            Ok(known) => {
                records::forget(admin, names).await;
                Ok(known)
            }
            Err(because) => Err(because),
        };
        match ended {
            Ok(known) => Since::Known(known),
            Err(because) => {
                records::forget(admin, names).await;
                Since::Unknown(because)
            }
        }
    }
}

async fn marked(admin: &Client, names: &Names, call: &CallCtx) -> Without<Known> {
    let by = means(admin).await?;
    match by {
        By::Records => records::hold(admin, names).await?,
        // What is written before it would be told together with what comes after.
        By::Summaries => admin.batch_execute("CHECKPOINT").await.map_err(|e| why(told(e)))?,
    }
    let database = "SELECT oid FROM pg_database WHERE datname = $1";
    let database = admin.query_opt(database, &[&names.live]).await.map_err(|e| why(told(e)))?;
    let database: u32 = database.ok_or("the database is gone")?.get(0);
    let log = log(admin).await?;
    let position = position(admin).await?;
    running::ended(admin, database, call).await?;
    Ok(Known {
        by,
        position,
        log,
        database,
        tables: Vec::new(),
        sums: Vec::new(),
        objects: Vec::new(),
        written: Written::new(),
    })
}

/// What the server offers, or why it offers nothing.
pub async fn means(admin: &Client) -> Without<By> {
    const MEANS: &str = "SELECT current_setting('server_version_num')::int, current_setting('wal_level'), \
            coalesce(current_setting('summarize_wal', true), 'off'), current_setting('max_slot_wal_keep_size'), \
            EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_walinspect'), \
            (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)";
    let row = admin.query_one(MEANS, &[]).await.map_err(|e| why(told(e)))?;
    let (version, level): (i32, String) = (row.get(0), row.get(1));
    let (summarised, most, inspected, superuser): (String, String, bool, bool) =
        (row.get(2), row.get(3), row.get(4), row.get(5));
    if !superuser {
        return Err("only a superuser may read the server's log".to_owned());
    }
    if level == "minimal" {
        return Err("`wal_level` is minimal, so not every change is logged".to_owned());
    }
    if version >= 170_000 && summarised == "on" {
        return Ok(By::Summaries);
    }
    let or = if version >= 170_000 { "`summarize_wal` is off, and " } else { "" };
    if version < 150_000 {
        return Err("before PostgreSQL 15 a server does not show what it has logged".to_owned());
    }
    if !inspected {
        return Err(format!("{or}the server has no extension pg_walinspect"));
    }
    if most == "-1" {
        return Err(format!("{or}`max_slot_wal_keep_size` is not set, so a slot could fill the server's disk"));
    }
    Ok(By::Records)
}

async fn log(admin: &Client) -> Without<Log> {
    const LOG: &str = "SELECT (SELECT system_identifier::text FROM pg_control_system()), \
        left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), extract(epoch FROM pg_postmaster_start_time())::text";
    let row = admin.query_one(LOG, &[]).await.map_err(|e| why(told(e)))?;
    Ok(Log { system: row.get(0), timeline: row.get(1), started: row.get(2) })
}

/// The end of a record that is written for it, and is on the disk with all that is before it.
async fn position(admin: &Client) -> Without<String> {
    let write = "SELECT pg_logical_emit_message(true, 'backout', '')::text";
    Ok(admin.query_one(write, &[]).await.map_err(|e| why(told(e)))?.get(0))
}

/// Where large objects, what is said of them, and the names of their owners stand.
async fn objects(source: &Client) -> Result<Vec<u32>, Failure> {
    const FILES: &str = "SELECT pg_relation_filenode(c) FROM unnest(ARRAY['pg_largeobject', 'pg_largeobject_metadata', \
        'pg_description', 'pg_authid']::regclass[]) c";
    Ok(source.query(FILES, &[]).await.map_err(told)?.iter().map(|row| row.get(0)).collect())
}

/// What may have changed of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    No,
    /// Here and there.
    Blocks(Stretches),
    All,
}

pub struct Changed {
    pub detector: String,
    /// For each table of the moment.
    pub tables: Vec<Touched>,
    /// What each of them held.
    pub sums: Vec<Option<Sum>>,
    pub objects: bool,
}

/// What may have changed until now. `then`: what the tables held; `source` has the moment with the tables `now`.
pub async fn changed(
    admin: &Client,
    names: &Names,
    since: Option<&Since>,
    (source, now): (&Client, &[Table]),
    then: &[Part],
) -> Changed {
    match found(admin, names, since, (source, now), then).await {
        Ok(changed) => changed,
        Err(because) => Changed {
            detector: format!("full compare ({because})"),
            tables: vec![Touched::All; now.len()],
            sums: vec![None; now.len()],
            objects: true,
        },
    }
}

async fn found(
    admin: &Client,
    names: &Names,
    since: Option<&Since>,
    (source, now): (&Client, &[Table]),
    then: &[Part],
) -> Without<Changed> {
    let known = match since {
        Some(Since::Known(known)) => known,
        Some(Since::Unknown(because)) => return Err(because.clone()),
        None => return Err("the copy does not say where the log stood".to_owned()),
    };
    if log(admin).await? != known.log {
        return Err("the server was started again since".to_owned());
    }
    let database: u32 = admin
        .query_one("SELECT coalesce((SELECT oid FROM pg_database WHERE datname = $1), 0)", &[&names.live])
        .await
        .map_err(|e| why(told(e)))?
        .get(0);
    if database != known.database {
        return Err("another database has its name".to_owned());
    }
    // The moment is there already: all that it shows is before this.
    let until = position(admin).await?;
    let mut written = match known.by {
        By::Records => records::written(admin, names, known, &until).await?,
        By::Summaries => summaries::written(admin, known, &until).await?,
    };
    for (file, blocks) in &known.written {
        add(&mut written, *file, blocks.clone());
    }
    let (mut tables, mut sums) = (Vec::new(), Vec::new());
    for table in now {
        // By its name, for what it held goes by its name: tables may have exchanged theirs.
        let name = table.shown();
        let place = then.iter().position(|part| part.name == name);
        let was = place.and_then(|place| known.tables.get(place));
        let sum = place.and_then(|place| known.sums.get(place)).copied().flatten();
        tables.push(touched(was, sum, &written, table));
        sums.push(sum);
    }
    let objects = self::objects(source).await.map_err(why)?;
    let objects = objects != known.objects || objects.iter().any(|file| written.contains_key(file));
    let looked = tables.iter().filter(|touched| **touched != Touched::No).count();
    let by_blocks = tables.iter().filter(|touched| matches!(touched, Touched::Blocks(_))).count();
    let by_blocks = if by_blocks > 0 { format!(", {by_blocks} by their blocks") } else { String::new() };
    let detector = format!("{}: {looked} of {} tables{by_blocks}", known.by.name(), tables.len());
    Ok(Changed { detector, tables, sums, objects })
}

/// `was`: what was known by its name; `sum`: what it held.
fn touched(was: Option<&Kept>, sum: Option<Sum>, written: &Written, table: &Table) -> Touched {
    if was != Some(&kept(table)) || table.untold || table.file == 0 {
        return Touched::All;
    }
    match (written.get(&table.file), written.contains_key(&table.long)) {
        (None, false) => Touched::No,
        (Some(Some(blocks)), _) if sum.is_some() && blocks::worth(table, blocks.len()) => {
            Touched::Blocks(blocks::stretches(blocks.iter().copied()))
        }
        _ => Touched::All,
    }
}

/// More blocks of one file are not told apart.
const MANY: usize = 200_000;

fn add(written: &mut Written, file: u32, blocks: Option<BTreeSet<u32>>) {
    let here = written.entry(file).or_insert_with(|| Some(BTreeSet::new()));
    *here = match (here.take(), blocks) {
        (Some(mut here), Some(more)) => {
            here.extend(more);
            Some(here).filter(|all| all.len() <= MANY)
        }
        _ => None,
    };
}

/// Nothing is held for the copy any more.
pub async fn forget(admin: &Client, names: &Names) {
    records::forget(admin, names).await;
}
