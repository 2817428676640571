//! What was set aside, what came back and what is live now, compared row by row, as statements in the schema that is live. Reads
//! only, each side at one moment, and holds few rows of each at a time.
pub mod base;
mod check;
mod rows;
mod say;
mod stream;
mod tables;

use super::super::{
    Postgres,
    connection::{Session, Use},
    error::told,
};
use super::{
    content::{self, Moment},
    mark::{self, Names, Stand, quoted},
    turn,
};
use crate::resource::{
    CallCtx, Failure,
    copies::Snapshot,
    database::salvage::{Salvaged, Sheets, parents_first, words, work::Writing},
};
use check::Asking;
use rows::Work;
use say::Say;
use std::path::Path;
use tables::{Rules, Subject, Table};
use tokio_postgres::Client;

/// Connections to both databases: as many as there are rows read and things looked up at once.
pub struct Sides {
    live: Moment,
    aside: Moment,
    /// Where values are tried; nothing that it does stays.
    trial: Session,
    coding: String,
    rules: Rules,
    live_tables: Vec<Table>,
}

impl Sides {
    fn live(&self) -> &Client {
        &self.live.sessions[0]
    }
    fn lookup(&self) -> &Client {
        &self.live.sessions[1]
    }
    fn aside(&self) -> &Client {
        &self.aside.sessions[0]
    }
    fn base(&self) -> &Client {
        &self.aside.sessions[1]
    }
    fn lookup_aside(&self) -> &Client {
        &self.aside.sessions[2]
    }
}

pub async fn salvage(
    postgres: &Postgres,
    snapshot: &Snapshot,
    folder: &Path,
    call: &CallCtx,
) -> Result<Salvaged, Failure> {
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &snapshot.id);
    let aside = match mark::stand(&admin, &names, &snapshot.place).await? {
        Stand::Live { aside: Some(aside) } => aside.name,
        Stand::By(_) | Stand::Half(_) => {
            return Err(Failure::conflict("nobody has gone back to its copy, so nothing is set aside"));
        }
        Stand::Live { aside: None } | Stand::Gone => {
            return Err(Failure::not_found("nothing is set aside any more"));
        }
    };
    let aside = Moment::of(postgres, &aside, 3, call).await?;
    let live = Moment::of(postgres, &names.live, 2, call).await?;
    let trial = content::comparing(postgres, &names.live, Use::Writing, call).await?;
    trial.batch_execute("BEGIN; SET LOCAL search_path = \"$user\", public").await.map_err(told)?;
    let coding = content::coding(live.first()?).await?;
    let sides = Sides {
        // What is no text in any coding is carried over as it is.
        coding: if coding == "SQL_ASCII" { coding } else { "UTF8".to_owned() },
        rules: Rules::of(live.first()?).await?,
        live_tables: tables::tables(live.first()?).await?,
        live,
        aside,
        trial,
    };
    compare(&sides, folder, call).await
}

async fn compare(sides: &Sides, folder: &Path, call: &CallCtx) -> Result<Salvaged, Failure> {
    let base_known = base::known(sides.base()).await?;
    let mut salvaged = Salvaged { base_known, apply: say::APPLY, ..Salvaged::default() };
    let subjects = subjects(sides, &mut salvaged).await?;
    let columns = subjects.iter().flat_map(|subject| &subject.columns);
    let sheets = Sheets::new(folder, say::begin(&sides.coding, columns), say::END);
    let mut writing = Writing::new(sheets, folder)?;
    for subject in &subjects {
        let live = &subject.live;
        call.progress(&format!("salvaging {}", crate::plain::shown(&live.shown())), 0, 0);
        let references = &sides.rules.references;
        let child = |oid: u32| sides.live_tables.iter().find(|table| table.oid == oid);
        let incoming = references.iter().filter(|r| r.parent == live.oid);
        let itself = |r: &&tables::Reference| r.child == live.oid && r.parent == live.oid;
        let say = Say { subject, incoming: incoming.filter_map(|r| Some((r, child(r.child)?))).collect() };
        let table = Asking { sides, say, subjects: &subjects };
        let of_itself = references.iter().any(|r| itself(&r));
        let shown = crate::plain::shown(&live.shown());
        let mut work = Work::new(table, shown, subject.columns.len(), of_itself, &mut writing);
        if references.iter().any(|r| itself(&r) && !r.deferrable) && !live.late_key {
            work.together = Some(Vec::new());
        }
        let base = base::of(sides.base(), base_known, subject).await?;
        sides.make_trial(subject).await?;
        if subject.key.is_empty() {
            rows::keyless(&mut work, sides).await?;
        } else {
            if base_known && matches!(base, base::Base::Unknown) {
                salvaged.notes.push(words::base_unknown_of(&live.shown()));
            }
            rows::keyed(&mut work, sides, &base).await?;
        }
        work.flush().await?;
        rows::together(&mut work)?;
        let changed = work.end().await?;
        sides.drop_trial(subject).await?;
        migrated(sides, subject, &changed, &mut salvaged).await?;
    }
    writing.finish(&mut salvaged)?;
    let triggered = sides.live_tables.iter().filter(|table| sides.rules.triggered.contains(&table.oid));
    let triggered: Vec<String> = triggered.map(Table::shown).collect();
    if !triggered.is_empty() {
        salvaged.notes.push(words::triggers(&triggered));
    }
    if !base_known {
        salvaged.notes.push(words::BASE_UNKNOWN.to_owned());
    }
    Ok(salvaged)
}

/// Tables that can be compared, parents before their children; of the others it is told.
async fn subjects(sides: &Sides, salvaged: &mut Salvaged) -> Result<Vec<Subject>, Failure> {
    let theirs = tables::tables(sides.aside.first()?).await?;
    let mut subjects = Vec::new();
    for live in &sides.live_tables {
        match theirs.iter().find(|table| table.is(live)) {
            None => salvaged.unmapped.push(words::removed(&live.shown())),
            Some(aside) => subjects.extend(subject(sides, live, aside, salvaged).await?),
        }
    }
    for table in &theirs {
        if !sides.live_tables.iter().any(|live| live.is(table)) {
            salvaged.unmapped.push(words::fresh(&table.shown(), rows_of(sides.aside(), table).await?));
        }
    }
    let names: Vec<(String, String)> =
        sides.rules.references.iter().map(|r| (r.child.to_string(), r.parent.to_string())).collect();
    let pairs: Vec<(&str, &str)> = names.iter().map(|(child, parent)| (child.as_str(), parent.as_str())).collect();
    let named: Vec<(String, Subject)> = subjects.into_iter().map(|s: Subject| (s.live.oid.to_string(), s)).collect();
    Ok(parents_first(named, |(name, _)| name, &pairs).into_iter().map(|(_, subject)| subject).collect())
}

async fn rows_of(session: &Client, table: &Table) -> Result<u64, Failure> {
    number(session, &format!("SELECT count(*) FROM {}", table.rows())).await
}

async fn number(session: &Client, query: &str) -> Result<u64, Failure> {
    Ok(session.query_one(query, &[]).await.map_err(told)?.get::<_, i64>(0).unsigned_abs())
}

/// `None`: it cannot be compared, which is told.
async fn subject(
    sides: &Sides,
    live: &Table,
    aside: &Table,
    salvaged: &mut Salvaged,
) -> Result<Option<Subject>, Failure> {
    let name = live.shown();
    for column in aside.columns.iter().filter(|column| live.column(&column.name).is_none()) {
        let query = format!("SELECT count({}) FROM {}", quoted(&column.name), aside.rows());
        let values = number(sides.aside(), &query).await?;
        salvaged.unmapped.push(words::fresh_column(&column.name, &name, values));
    }
    for column in live.columns.iter().filter(|column| aside.column(&column.name).is_none()) {
        salvaged.unmapped.push(words::removed_column(&column.name, &name));
    }
    let subject = Subject::new(live.clone(), aside.clone());
    if subject.columns.is_empty() {
        salvaged.unmapped.push(words::too_different(&name, 0));
        return Ok(None);
    }
    if live.key != aside.key || subject.key.len() != live.key.len() {
        salvaged.unmapped.push(words::other_key(&name, rows_of(sides.aside(), aside).await?));
        return Ok(None);
    }
    if live.key.is_empty() {
        salvaged.unmapped.push(words::no_key(&name));
    }
    Ok(Some(subject))
}

/// Columns that the new version has changed in most rows, as a migration does: they may mean something else there.
async fn migrated(sides: &Sides, subject: &Subject, changed: &[u64], salvaged: &mut Salvaged) -> Result<(), Failure> {
    if changed.iter().all(|changed| *changed == 0) {
        return Ok(());
    }
    let rows = rows_of(sides.live(), &subject.live).await?;
    let most = changed.iter().zip(&subject.columns).filter(|(changed, _)| **changed > rows / 2);
    let notes = most.map(|(changed, column)| words::migrated(&column.name, &subject.live.shown(), *changed, rows));
    salvaged.notes.extend(notes);
    Ok(())
}
