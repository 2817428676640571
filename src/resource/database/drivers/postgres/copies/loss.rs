//! What an exchange would set aside, counted row by row.
use super::super::{Postgres, connection::Use, error::told};
use super::{
    clone, closed,
    content::{self, Moment, Table},
    mark::{self, Names, Stand},
    merge::merge,
    salvage::base,
    standby::ABREAST,
    turn,
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    copies::{Fingerprint, Lost, Snapshot},
};
use std::ops::ControlFlow;
use tokio_postgres::Client;

pub async fn loss(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    if snapshot.comes_later() {
        return Err(clone::not_made());
    }
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &snapshot.id);
    match mark::stand(&admin, &names, &snapshot.place).await? {
        Stand::By(found) => {
            let goes = match Moment::of(postgres, &names.live, ABREAST, call).await {
                Ok(moment) => moment,
                Err(e) if e.kind == FailureKind::NotFound => return Ok(all(snapshot)),
                Err(e) => return Err(e),
            };
            // While nobody can have been in it, it holds what it was proven to hold.
            let stands = closed::proven(&admin, &found, &snapshot.fingerprint).await?;
            let visit = closed::visit(postgres, &admin, &found, &snapshot.fingerprint, (ABREAST, Use::Looking), call);
            let comes = Moment::by(visit.await?).await?;
            Ok(between(goes, comes, stands.then_some(&snapshot.fingerprint), call).await?.0)
        }
        // After the exchange: what it has set aside. A report of what has happened; that it cannot be counted does not
        // put it in doubt.
        Stand::Live { aside: Some(_) } => {
            let lost = of_what_is_aside(postgres, &names, call).await;
            Ok(lost.unwrap_or_else(|e| vec![Lost::uncounted(&e.message)]))
        }
        Stand::Live { aside: None } => Ok(Vec::new()),
        Stand::Gone | Stand::Half(_) => Err(Failure::unproven("the copy is gone, or was never finished")),
    }
}

fn all(snapshot: &Snapshot) -> Vec<Lost> {
    let parts = snapshot.fingerprint.parts.iter().filter(|part| part.count > 0);
    parts.map(|part| Lost { part: part.name.clone(), rows: 0, changed: 0, missing: part.count }).collect()
}

async fn of_what_is_aside(postgres: &Postgres, names: &Names, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    let goes = aside(postgres, names, call).await?;
    let comes = Moment::of(postgres, &names.live, ABREAST, call).await?;
    Ok(between(goes, comes, None, call).await?.0)
}

/// What was set aside. What is kept for salvage was never live.
pub async fn aside(postgres: &Postgres, names: &Names, call: &CallCtx) -> Result<Moment, Failure> {
    let mut goes = Moment::of(postgres, &names.aside, ABREAST, call).await?;
    goes.tables.retain(|table| table.schema != base::SCHEMA);
    Ok(goes)
}

/// Tables as a whole first, as fast as they can be read; the rows of those that differ then, by their keys. `known`: what comes
/// holds.
pub async fn between(
    goes: Moment,
    comes: Moment,
    known: Option<&Fingerprint>,
    call: &CallCtx,
) -> Result<(Vec<Lost>, Moment, Moment), Failure> {
    let read = |moment: Moment| content::read(moment, "comparing", call);
    let (goes, ours, comes, theirs) = match known {
        Some(known) => {
            let (goes, ours) = read(goes).await?;
            (goes, ours, comes, known.parts.clone())
        }
        None => {
            let ((goes, ours), (comes, theirs)) = futures_util::try_join!(read(goes), read(comes))?;
            (goes, ours, comes, theirs)
        }
    };
    let same = |a: &Table, b: &Table| a.schema == b.schema && a.name == b.name;
    let (live, then) = (goes.first()?, comes.first()?);
    let mut lost = Vec::new();
    for (table, part) in goes.tables.iter().zip(ours).filter(|(_, part)| !theirs.contains(part)) {
        call.progress(&format!("comparing {}", part.name), 0, 0);
        lost.push(match comes.tables.iter().find(|then| same(then, table)) {
            Some(other) => compared(live, then, table, other).await?,
            None => Lost { part: part.name, rows: part.count, changed: 0, missing: 0 },
        });
    }
    for table in &comes.tables {
        if !goes.tables.iter().any(|now| same(now, table)) {
            lost.push(Lost { part: table.shown(), rows: 0, changed: 0, missing: count(then, table).await? });
        }
    }
    lost.retain(|l| !l.is_nothing());
    Ok((lost, goes, comes))
}

async fn count(session: &Client, table: &Table) -> Result<u64, Failure> {
    let query = format!("SELECT count(*) FROM ONLY {}", table.quoted());
    Ok(session.query_one(&query, &[]).await.map_err(told)?.get::<_, i64>(0).unsigned_abs())
}

async fn compared(ours: &Client, theirs: &Client, live: &Table, then: &Table) -> Result<Lost, Failure> {
    let mut lost = Lost { part: live.shown(), rows: 0, changed: 0, missing: 0 };
    let met = merge((ours, live), (theirs, then), |live, then| {
        match (live, then) {
            (Some(live), Some(then)) => lost.changed += u64::from(!live.is_like(then)),
            (Some(_), None) => lost.rows += 1,
            (None, _) => lost.missing += 1,
        }
        ControlFlow::Continue(())
    });
    met.await?;
    Ok(lost)
}
