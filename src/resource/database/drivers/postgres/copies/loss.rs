//! What an exchange would set aside, counted row by row.
use super::super::{Postgres, connection::Use, error::told};
use super::{
    closed,
    content::{Moment, Table},
    mark::{self, Names, Stand},
    merge::merge,
    turn,
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    copies::{Lost, Snapshot},
};
use std::ops::ControlFlow;
use tokio_postgres::Client;

pub async fn loss(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &snapshot.id);
    match mark::stand(&admin, &names, &snapshot.place).await? {
        Stand::By(found) => {
            let goes = match Moment::of(postgres, &names.live, 1, call).await {
                Ok(moment) => moment,
                Err(e) if e.kind == FailureKind::NotFound => return Ok(all(snapshot)),
                Err(e) => return Err(e),
            };
            let visit = closed::visit(postgres, &admin, &found, &snapshot.fingerprint, (1, Use::Looking), call);
            let comes = Moment::by(visit.await?).await?;
            between(&goes, &comes, call).await
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

pub async fn of_what_is_aside(postgres: &Postgres, names: &Names, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    let goes = Moment::of(postgres, &names.aside, 1, call).await?;
    let comes = Moment::of(postgres, &names.live, 1, call).await?;
    between(&goes, &comes, call).await
}

async fn between(goes: &Moment, comes: &Moment, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    let same = |a: &Table, b: &Table| a.schema == b.schema && a.name == b.name;
    let (ours, theirs) = (goes.first()?, comes.first()?);
    let mut lost = Vec::new();
    for table in &goes.tables {
        let part = table.shown();
        call.progress(&format!("comparing {part}"), 0, 0);
        lost.push(match comes.tables.iter().find(|then| same(then, table)) {
            Some(then) => compared(ours, theirs, table, then).await?,
            None => Lost { part, rows: count(ours, table).await?, changed: 0, missing: 0 },
        });
    }
    for table in &comes.tables {
        if !goes.tables.iter().any(|now| same(now, table)) {
            lost.push(Lost { part: table.shown(), rows: 0, changed: 0, missing: count(theirs, table).await? });
        }
    }
    lost.retain(|l| (l.rows, l.changed, l.missing) != (0, 0, 0));
    Ok(lost)
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
