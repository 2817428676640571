//! What was set aside, what came back and what is live now, compared row by row, as statements in the schema that is live. Reads
//! only, at one moment of all three, and holds few rows of them at a time.
pub mod base;
mod check;
mod rows;
mod say;
mod tables;

use super::super::{
    MariaDb,
    connection::{Use, literal, quoted},
    own::{self, Phase},
};
use super::content;
use crate::{
    plain::shown,
    resource::{
        CallCtx, Failure,
        copies::Snapshot,
        database::salvage::{Salvaged, Sheets, parents_first, words, work::Writing},
    },
};
use base::{Base, Kept};
use check::{Asking, Asks};
use rows::{Reader, Work, comparable, rows_of};
use say::Say;
use std::path::Path;
use tables::{Rules, Subject, Table, tables};

pub async fn salvage(maria: &MariaDb, snapshot: &Snapshot, folder: &Path, call: &CallCtx) -> Result<Salvaged, Failure> {
    let live = &maria.server.database;
    let mut session = maria.connect(Use::Looking, call).await?;
    let gone = || Failure::not_found("nothing is set aside any more");
    let copy = own::copy(&mut session, live, &snapshot.id).await?.ok_or_else(gone)?;
    if copy.phase != Phase::Exchanged {
        return Err(Failure::conflict("nobody has gone back to its copy, so nothing is set aside"));
    }
    let there =
        format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = {}", literal(&copy.aside));
    if session.number(there).await? == 0 {
        return Err(gone());
    }
    let most = session.number("SELECT @@GLOBAL.max_allowed_packet").await?;
    let mut lookup = maria.connect(Use::Looking, call).await?;
    lookup.run(say::MODE).await?;
    let mut asks = Asks {
        lookup,
        trial: maria.connect(Use::Writing, call).await?,
        live: live.clone(),
        aside: copy.aside.clone(),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        tries: true,
    };
    let mut compared = Compared {
        rules: Rules::of(&mut session, live).await?,
        live: tables(&mut session, live).await?,
        aside: tables(&mut session, &copy.aside).await?,
        standby: tables(&mut session, &copy.standby).await?,
        kept: copy.base,
        reader: Reader { session, live: live.clone(), aside: copy.aside, standby: copy.standby },
    };
    content::moment(&mut compared.reader.session).await?;
    asks.lookup.run("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY").await?;
    let salvaged = compared.compare(&mut asks, folder, call).await?;
    for session in [compared.reader.session, asks.lookup, asks.trial] {
        session.close().await;
    }
    Ok(salvaged)
}

struct Compared {
    rules: Rules,
    live: Vec<Table>,
    aside: Vec<Table>,
    standby: Vec<Table>,
    kept: Option<Kept>,
    reader: Reader,
}

impl Compared {
    async fn compare(&mut self, asks: &mut Asks, folder: &Path, call: &CallCtx) -> Result<Salvaged, Failure> {
        let base_known = self.kept.is_some();
        let mut salvaged = Salvaged { base_known, apply: say::APPLY, ..Salvaged::default() };
        let subjects = self.subjects(asks, &mut salvaged).await?;
        let columns = subjects.iter().flat_map(|subject| &subject.columns);
        let mut writing = Writing::new(Sheets::new(folder, say::begin(columns), say::END), folder)?;
        for subject in &subjects {
            let name = &subject.live.name;
            call.progress(&format!("salvaging {}", shown(name)), 0, 0);
            let incoming = self.rules.references.iter().filter(|r| r.parent == *name && r.schema == asks.live);
            let say = Say { subject, incoming: incoming.collect() };
            let of_itself = say.incoming.iter().any(|reference| reference.child == *name);
            let mut table = Asking { asks: &mut *asks, rules: &self.rules, say, subjects: &subjects };
            table.make_trial().await?;
            let mut work = Work::new(table, shown(name), subject.columns.len(), of_itself, &mut writing);
            if subject.key.is_empty() {
                if !self.reader.keyless(&mut work).await? {
                    salvaged.unmapped.push(words::too_many(name));
                }
            } else {
                let base = Base::of(self.kept.as_ref(), &self.standby, subject);
                if base_known && matches!(base, Base::Unknown) {
                    salvaged.notes.push(words::base_unknown_of(name));
                }
                self.reader.keyed(&mut work, &base).await?;
            }
            work.flush().await?;
            work.table.drop_trial().await?;
            let changed = work.end().await?;
            migrated(asks, subject, &changed, &mut salvaged).await?;
        }
        writing.finish(&mut salvaged)?;
        if !self.rules.triggered.is_empty() {
            salvaged.notes.push(words::triggers(&self.rules.triggered));
        }
        if !base_known {
            salvaged.notes.push(words::BASE_UNKNOWN.to_owned());
        }
        Ok(salvaged)
    }

    /// Tables that can be compared, parents before their children; of the others it is told.
    async fn subjects(&self, asks: &mut Asks, salvaged: &mut Salvaged) -> Result<Vec<Subject>, Failure> {
        let mut subjects = Vec::new();
        for live in &self.live {
            match self.aside.iter().find(|table| table.name == live.name) {
                None => salvaged.unmapped.push(words::removed(&live.name)),
                Some(aside) => subjects.extend(subject(asks, live, aside, salvaged).await?),
            }
        }
        for table in &self.aside {
            if !self.live.iter().any(|live| live.name == table.name) {
                let rows = rows_of(&mut asks.lookup, &table.within(&asks.aside)).await?;
                salvaged.unmapped.push(words::fresh(&table.name, rows));
            }
        }
        let inside = self.rules.references.iter().filter(|reference| reference.schema == asks.live);
        let pairs: Vec<(&str, &str)> = inside.map(|r| (r.child.as_str(), r.parent.as_str())).collect();
        Ok(parents_first(subjects, |subject| &subject.live.name, &pairs))
    }
}

/// `None`: it cannot be compared, which is told.
async fn subject(
    asks: &mut Asks,
    live: &Table,
    aside: &Table,
    salvaged: &mut Salvaged,
) -> Result<Option<Subject>, Failure> {
    let (name, theirs) = (&live.name, aside.within(&asks.aside));
    for column in aside.columns.iter().filter(|column| live.column(&column.name).is_none()) {
        let values = format!("SELECT COUNT({}) FROM {theirs}", quoted(&column.name));
        let values = asks.lookup.number(values).await?;
        salvaged.unmapped.push(words::fresh_column(&column.name, name, values));
    }
    for column in live.columns.iter().filter(|column| aside.column(&column.name).is_none()) {
        salvaged.unmapped.push(words::removed_column(&column.name, name));
    }
    let subject = Subject::new(live.clone(), aside.clone());
    if subject.columns.is_empty() {
        salvaged.unmapped.push(words::too_different(name, 0));
        return Ok(None);
    }
    if !comparable(&subject) {
        let rows = rows_of(&mut asks.lookup, &theirs).await?;
        salvaged.unmapped.push(words::other_key(name, rows));
        return Ok(None);
    }
    if live.key.is_empty() {
        salvaged.unmapped.push(words::no_key(name));
    }
    Ok(Some(subject))
}

/// Columns that the new version has changed in most rows, as a migration does: they may mean something else there.
async fn migrated(asks: &mut Asks, subject: &Subject, changed: &[u64], salvaged: &mut Salvaged) -> Result<(), Failure> {
    if changed.iter().all(|changed| *changed == 0) {
        return Ok(());
    }
    let rows = rows_of(&mut asks.lookup, &subject.live.within(&asks.live)).await?;
    let most = changed.iter().zip(&subject.columns).filter(|(changed, _)| **changed > rows / 2);
    let notes = most.map(|(changed, column)| words::migrated(&column.name, &subject.live.name, *changed, rows));
    salvaged.notes.extend(notes);
    Ok(())
}
