//! The way back: stand-by and live database change names in one transaction.
//!
//! ```text
//!            live   backout_…   backout_…_aside
//! before      O         S              –
//! done        S         –              O
//! ```
//!
//! Which is which, their numbers tell: a database keeps its own under any name.
use super::super::{
    Postgres, activity,
    connection::Use,
    error::{self, told},
    fence,
};
use super::{
    around, beside, closed, content, detector, later,
    mark::{self, Found, Is, Mark, Names, Stand, comment, quoted},
    standby, turn, whose,
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Exchange, Lost, Restored, Snapshot},
    database::COUNTING,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Instant;
use tokio_postgres::{Client, error::SqlState};

#[derive(Serialize, Deserialize)]
struct Evidence {
    exchange: Sides,
}
#[derive(Serialize, Deserialize)]
struct Sides {
    database: String,
    /// Numbers of databases. `None`: there was none under the name.
    live: Option<u32>,
    standby: u32,
    /// The transaction that gives them their new names.
    transaction: String,
    /// What its session is called.
    session: String,
}

/// Refuses what an exchange would leave behind with what goes aside, unless the site says by name that it may.
pub async fn possible(postgres: &Postgres, admin: &Client, names: &Names, exclusive: bool) -> Result<(), Failure> {
    let superuser = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user";
    if !admin.query_one(superuser, &[]).await.map_err(told)?.get::<_, bool>(0) {
        return Err(Failure::denied("only a superuser can make copies of a database of PostgreSQL").hint(
            "nobody else can copy all that belongs to it and keep everybody out of the copy: name a superuser in the `url`, \
             or ALTER ROLE … SUPERUSER",
        ));
    }
    let subscriptions = "SELECT subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid WHERE d.datname = $1 AND subname <> ALL($2) ORDER BY 1";
    let subscriptions = listed(admin, subscriptions, (postgres, names)).await?;
    if !subscriptions.is_empty() {
        return Err(Failure::conflict(format!(
            "the database subscribes to others, and a copy would not go on where it stands: {subscriptions}"
        ))
        .hint(LEAVE_BEHIND));
    }
    if exclusive {
        let slots =
            "SELECT slot_name::text FROM pg_replication_slots WHERE database = $1 AND slot_name <> ALL($2) ORDER BY 1";
        let slots = listed(admin, slots, (postgres, names)).await?;
        if !slots.is_empty() {
            return Err(Failure::conflict(format!(
                "replication slots follow the database, and an exchange would leave them behind: {slots}"
            ))
            .hint(LEAVE_BEHIND));
        }
    }
    Ok(())
}

const LEAVE_BEHIND: &str = "drop it, or say `leave-behind = [\"…\"]` in the section of the database: it then goes aside with what is set aside";

async fn listed(admin: &Client, query: &str, (of, names): (&Postgres, &Names)) -> Result<String, Failure> {
    let rows = admin.query(query, &[&names.live, &of.server.around.leave_behind]).await.map_err(told)?;
    let list: Vec<String> = rows.iter().take(5).map(|row| row.get(0)).collect();
    Ok(crate::plain::no_commands(&list.join(", ")))
}

pub async fn exchange(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
    later::forget(postgres);
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &snapshot.id);
    let standby = match mark::stand(&admin, &names, &snapshot.place).await? {
        Stand::By(found) => found,
        // All but what stands around it was done.
        Stand::Live { aside: Some(aside) } if aside.mark.as_ref().is_some_and(|mark| mark.pending) => {
            around::settle(postgres, &admin, &aside, call).await?;
            let lost = later::leave(postgres, &names, None, call).await;
            return Ok(Restored { exchanged: true, aside: Some(names.aside.clone()), lost });
        }
        Stand::Live { .. } => return Err(Failure::conflict("the copy was exchanged before, and is live")),
        Stand::Gone | Stand::Half(_) => return Err(Failure::unproven("the copy is gone, or was never finished")),
    };
    // An upgrade may have dropped it. That is no reason not to go back.
    let live = mark::find(&admin, &names.live).await?;
    if live.is_some() {
        possible(postgres, &admin, &names, true).await?;
        around::reachable(postgres, &admin, call).await?;
        if postgres.server.around.pooler.is_none() {
            nobody(&admin, &names).await?;
        }
    }
    standby::check(postgres, &admin, &names, snapshot, call).await?;
    if live.is_some() {
        advance(postgres, &admin, &names, &standby, snapshot, call).await?;
    }
    // From here on clients wait.
    around::pause(postgres).await?;
    let transaction = match swap(postgres, &admin, &names, live.as_ref(), call).await {
        Ok(transaction) => transaction,
        Err(failure) => {
            return Err(match around::resume(postgres).await {
                Ok(()) => failure,
                Err(held) => Failure { message: format!("{}; {}", failure.message, held.message), ..failure },
            });
        }
    };
    match mark::find(&admin, &names.aside).await? {
        Some(aside) => around::settle(postgres, &admin, &aside, call).await?,
        None => around::resume(postgres).await?,
    }
    detector::forget(&admin, &names).await;
    // However much there is, it is done.
    call.progress(COUNTING, 0, 0);
    let Some(_) = live else {
        let parts = snapshot.fingerprint.parts.iter().filter(|part| part.count > 0);
        let lost =
            parts.map(|part| Lost { part: part.name.clone(), rows: 0, changed: 0, missing: part.count }).collect();
        return Ok(Restored { exchanged: true, aside: None, lost });
    };
    let lost = later::leave(postgres, &names, Some(transaction), call).await;
    Ok(Restored { exchanged: true, aside: Some(names.aside.clone()), lost })
}

pub async fn nobody(admin: &Client, names: &Names) -> Result<(), Failure> {
    let others = activity::others(admin, &names.live).await?;
    if others.is_empty() {
        return Ok(());
    }
    Err(Failure::conflict(format!("the database is in use by {}", activity::named(&others))))
}

/// Numbers that were given out since may be in somebody's hands: what becomes live goes on behind them.
async fn advance(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    standby: &Found,
    snapshot: &Snapshot,
    call: &CallCtx,
) -> Result<(), Failure> {
    // That what is live cannot be read any more is no reason not to go back, rather the opposite.
    let Ok(session) = content::comparing(postgres, &names.live, Use::Looking, call).await else { return Ok(()) };
    let Ok(theirs) = beside::sequences(&session).await else { return Ok(()) };
    drop(session);
    if theirs.is_empty() {
        return Ok(());
    }
    // `check` may have written another proof.
    let Some(standby) = mark::find(admin, &standby.name).await? else { return Ok(()) };
    let visit = closed::visit(postgres, admin, &standby, &snapshot.fingerprint, (1, Use::Writing), call);
    let sessions = visit.await?;
    let Some(session) = sessions.first() else { return Ok(()) };
    let moved = beside::behind(&beside::sequences(session).await?, &theirs);
    if !moved.is_empty() {
        beside::set(session, &moved).await?;
        call.progress(&format!("{} sequences go on behind what was given out", moved.len()), 0, 0);
    }
    Ok(())
}

async fn swap(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    live: Option<&Found>,
    call: &CallCtx,
) -> Result<String, Failure> {
    if live.is_some() {
        nobody(admin, names).await?;
    }
    // Whoever waits to connect is kept waiting, so not for long.
    admin.batch_execute("BEGIN; SET LOCAL lock_timeout = '10s'").await.map_err(told)?;
    let (evidence, statements) = prepared(postgres, admin, names, live, postgres.tag(call)).await?;
    if let Err(e) = admin.batch_execute(&statements.join("; ")).await {
        let _ = admin.batch_execute("ROLLBACK").await;
        if error::is(&e, &SqlState::OBJECT_IN_USE) {
            nobody(admin, names).await?;
            return Err(Failure::conflict("somebody is in the database or in the copy"));
        }
        return Err(told(e));
    }
    let transaction = evidence.exchange.transaction.clone();
    let evidence = serde_json::to_value(evidence).map_err(|e| Failure::failed(e.to_string()))?;
    call.evidence(evidence).await?;
    // The gate reads the evidence when its time is over, so nothing may be begun after that.
    if Instant::now() >= call.deadline {
        return Err(Failure::timed_out("the time was over before anything was exchanged"));
    }
    admin.batch_execute("COMMIT").await.map_err(told)?;
    Ok(transaction)
}

async fn prepared(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    live: Option<&Found>,
    session: String,
) -> Result<(Evidence, Vec<String>), Failure> {
    let transaction = admin.query_one("SELECT pg_current_xact_id()::text", &[]).await.map_err(told)?.get(0);
    let now = mark::find(admin, &names.live).await?;
    if now.as_ref().map(|now| now.oid) != live.map(|live| live.oid) {
        return Err(Failure::conflict("somebody put another database in the place of this one"));
    }
    let gone = || Failure::unproven("the copy is gone");
    let standby = mark::find(admin, &names.standby).await?.ok_or_else(gone)?;
    let mark = standby.mark.ok_or_else(gone)?;
    let (mut statements, mut connections) = (Vec::new(), -1);
    let (by, stands, aside) = (quoted(&names.standby), quoted(&names.live), quoted(&names.aside));
    let mut fenced = Vec::new();
    if let Some(live) = live {
        if whose::allowed(admin, &names.live).await? != whose::allowed(admin, &names.standby).await? {
            statements.extend(whose::privileges(admin, &names.live, &names.standby).await?);
        }
        let standing = fence::standing(admin, &names.live).await?;
        connections = standing.limit;
        fenced = fence::carry(&standing, &names.aside, &names.live)?;
        let mark = Mark {
            is: Is::Aside,
            id: names.id.clone(),
            of: names.live.clone(),
            proof: None,
            comment: live.comment.clone(),
            pending: around::anything(postgres),
            since: None,
        };
        statements.push(format!("ALTER DATABASE {stands} RENAME TO {aside}"));
        statements.push(comment(&names.aside, Some(&mark.text()?)));
    }
    statements.push(format!("ALTER DATABASE {by} RENAME TO {stands}"));
    statements.push(format!("ALTER DATABASE {stands} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT {connections}"));
    statements.push(comment(&names.live, mark.comment.as_deref()));
    statements.extend(fenced);
    if live.is_some() {
        // Superusers can look at it, and nobody else.
        statements.push(format!("ALTER DATABASE {aside} WITH CONNECTION LIMIT 0"));
    }
    let sides = Sides {
        database: names.live.clone(),
        live: live.map(|live| live.oid),
        standby: standby.oid,
        transaction,
        session,
    };
    Ok((Evidence { exchange: sides }, statements))
}

pub async fn exchanged(
    postgres: &Postgres,
    snapshot: &Snapshot,
    evidence: &[Value],
    call: &CallCtx,
) -> Result<Exchange, Failure> {
    // The last attempt is the one that can have happened: each one before was looked at before the next began.
    let Some(Evidence { exchange: then }) = evidence.iter().rev().find_map(|e| Evidence::deserialize(e).ok()) else {
        return Ok(Exchange::NotDone);
    };
    let admin = postgres.maintenance(Use::Looking, call).await?;
    ended(&admin, &then).await?;
    let names = Names::of(postgres, &snapshot.id);
    let now = mark::find(&admin, &names.live).await?.map(|found| found.oid);
    let aside = mark::find(&admin, &names.aside).await?.map(|found| found.oid);
    let standby = mark::find(&admin, &names.standby).await?.map(|found| found.oid);
    Ok(if now == Some(then.standby) {
        match then.live {
            None => Exchange::Done { aside: "nothing was live".to_owned() },
            Some(old) if aside == Some(old) => {
                let admin = postgres.maintenance(Use::Writing, call).await?;
                if let Some(aside) = mark::find(&admin, &names.aside).await? {
                    around::settle(postgres, &admin, &aside, call).await?;
                }
                Exchange::Done { aside: names.aside }
            }
            Some(_) => Exchange::Unclear(format!(
                "the copy is live as {}, but what was live is not there as {}",
                names.live, names.aside
            )),
        }
    } else if now == then.live && standby == Some(then.standby) {
        Exchange::NotDone
    } else {
        Exchange::Unclear(format!("look at {}: it is neither the copy nor what was live before", then.database))
    })
}

/// Until the transaction is no longer under way, whoever began it.
async fn ended(admin: &Client, then: &Sides) -> Result<(), Failure> {
    const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()";
    const STATUS: &str = "SELECT pg_xact_status($1::text::xid8)";
    loop {
        let at_it: i64 = admin.query_one(END, &[&then.session]).await.map_err(told)?.get(0);
        // A server that knows of no such transaction any more has ended it long ago, or is another one.
        let status = match admin.query_one(STATUS, &[&then.transaction]).await {
            Ok(row) => row.get::<_, Option<String>>(0),
            Err(_) => None,
        };
        if at_it == 0 && status.as_deref() != Some("in progress") {
            return Ok(());
        }
        tokio::time::sleep(super::super::connection::POLL).await;
    }
}
