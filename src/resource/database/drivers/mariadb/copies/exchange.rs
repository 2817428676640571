//! The way back. Tables change places in one statement, which the server finishes or undoes by itself after a crash; what is
//! declared around them cannot be part of it.
//!
//! ```text
//!              live                     stand-by   aside   phase
//! before       O, with what is around   S          –       stand-by
//! begun        O, perhaps without       S          empty   exchanging
//! renamed      S, perhaps without       empty      O       exchanging
//! done         S, with what was around  empty      O       exchanged
//! ```
//!
//! What is around is written down on the server before any of it is taken away, in both forms. So from `begun` one gets back
//! to `before`, from `renamed` on to `done`, and which of them it is the numbers of the tables say.
use super::super::{
    super::servers::{POLL, in_time, over},
    MariaDb,
    activity::{named, others},
    connection::{Session, Use, end_others, literal, quoted},
    own::{self, Copy, Phase},
    query::hex,
};
use super::{
    between, content,
    declared::{self, Declared, Sort},
    encoded, inspect,
    salvage::base,
    standing_by,
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    copies::{Exchange, Lost, Restored, Snapshot},
    database::COUNTING,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

/// Digests of the numbers that the server gives tables once and for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    pub live: String,
    pub standby: String,
}

#[derive(Serialize, Deserialize)]
struct Evidence {
    exchange: Sides,
    /// By which its sessions are known.
    tag: String,
    /// For people.
    database: String,
}

async fn numbers(session: &mut Session, schema: &str) -> Result<String, Failure> {
    // Those that an index over words keeps for itself come and go.
    let sql = format!(
        "SELECT SUBSTRING_INDEX(NAME, '/', -1), TABLE_ID FROM information_schema.INNODB_SYS_TABLES \
         WHERE SUBSTRING_INDEX(NAME, '/', 1) = {} AND SUBSTRING_INDEX(NAME, '/', -1) NOT LIKE 'FTS\\_%' ORDER BY 1",
        literal(&encoded(schema))
    );
    let rows = session.rows(sql).await?;
    let text = serde_json::to_vec(&rows).map_err(|e| Failure::failed(e.to_string()))?;
    Ok(hex(&Sha256::digest(text)))
}

async fn sides(session: &mut Session, live: &str, standby: &str) -> Result<Sides, Failure> {
    Ok(Sides { live: numbers(session, live).await?, standby: numbers(session, standby).await? })
}

/// What would be left behind, or be torn apart.
async fn possible(session: &mut Session, live: &str) -> Result<(), Failure> {
    let name = literal(&encoded(live));
    let sql = format!(
        "SELECT FOR_NAME FROM information_schema.INNODB_SYS_FOREIGN WHERE SUBSTRING_INDEX(REF_NAME, '/', 1) = {name} \
         AND SUBSTRING_INDEX(FOR_NAME, '/', 1) <> {name} LIMIT 1"
    );
    if session.one(sql).await?.is_some() {
        return Err(Failure::conflict(
            "a table of another database refers to this one by a foreign key, which would go with what is set aside",
        ));
    }
    let prepared = session.rows("XA RECOVER").await?;
    if !prepared.is_empty() {
        return Err(Failure::conflict(format!("the server has prepared transactions: {}", prepared.len()))
            .hint("XA COMMIT or XA ROLLBACK them: whose they are the server does not say"));
    }
    let sql = format!(
        "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND (TABLE_TYPE IN ('SEQUENCE', \
         'SYSTEM VERSIONED') OR TABLE_TYPE = 'BASE TABLE' AND COALESCE(ENGINE, '') <> 'InnoDB') LIMIT 1",
        literal(live)
    );
    if let Some(table) = session.one(sql).await? {
        return Err(Failure::conflict(format!(
            "{table} has come since, and is no table that the driver can set aside"
        )));
    }
    Ok(())
}

/// Who has just left is still on the list for a moment.
pub async fn nobody(maria: &MariaDb, session: &mut Session, call: &CallCtx) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(2).min(call.remaining() / 2);
    loop {
        let there = others(maria, session).await?;
        if there.is_empty() {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(Failure::conflict(format!("the database is in use by {}", named(&there))));
        }
        tokio::time::sleep(POLL).await;
    }
}

pub async fn exchange(maria: &MariaDb, snapshot: &Snapshot, call: &CallCtx) -> Result<Restored, Failure> {
    let live = &maria.server.database;
    let mut session = maria.connect(Use::Writing, call).await?;
    let mut copy = standing_by(&mut session, live, snapshot).await?;
    nobody(maria, &mut session, call).await?;
    inspect(maria, snapshot, call).await?;
    // An upgrade may have dropped it. That is no reason not to go back.
    let declared = match declared::declared(&mut session, live).await {
        Err(e) if e.kind == FailureKind::NotFound => {
            let Declared { charset, collation, .. } = &copy.declared;
            let (charset, collation) = (quoted(charset), quoted(collation));
            session
                .run(format!("CREATE DATABASE {} CHARACTER SET {charset} COLLATE {collation}", quoted(live)))
                .await?;
            declared::declared(&mut session, live).await?
        }
        declared => declared?,
    };
    possible(&mut session, live).await?;
    if let Some(why) = declared.objects.iter().find_map(declared::unrepeatable) {
        return Err(Failure::conflict(why));
    }
    let resting = own::events(&mut session, live).await?;
    if let Some(event) = declared.objects.iter().find(|object| object.acts() && !resting.contains(&object.name)) {
        let why = format!("the event {} would write in the middle of the exchange", event.name);
        return Err(Failure::conflict(why).hint("`database.fence` has events rest, and so does ALTER EVENT … DISABLE"));
    }
    nobody(maria, &mut session, call).await?;
    let sides = sides(&mut session, live, &copy.standby).await?;
    let evidence = Evidence { exchange: sides.clone(), tag: maria.tag(call), database: live.clone() };
    call.evidence(serde_json::to_value(evidence).map_err(|e| Failure::failed(e.to_string()))?).await?;
    // The gate reads the evidence when its time is over, so nothing may be begun after that.
    if call.remaining().is_zero() {
        return Err(over());
    }
    copy.phase = Phase::Exchanging;
    copy.left = Some(declared);
    copy.sides = Some(sides);
    own::put(&mut session, live, &snapshot.id, &copy).await?;
    if let Err(failure) = swap(&mut session, live, &copy).await {
        // Whatever came of it is finished, or undone.
        return match settle(&mut session, live, &snapshot.id, &mut copy).await? {
            Exchange::Done { .. } => counted(maria, snapshot, &mut copy, call).await,
            Exchange::NotDone => Err(failure),
            Exchange::Unclear(why) => Err(Failure::failed(format!("{}; {why}", failure.message))),
        };
    }
    finish(&mut session, live, &snapshot.id, &mut copy).await?;
    session.close().await;
    counted(maria, snapshot, &mut copy, call).await
}

/// Takes away what keeps tables from going elsewhere, and lets them change places.
async fn swap(session: &mut Session, live: &str, copy: &Copy) -> Result<(), Failure> {
    let left = copy.left.clone().unwrap_or_default();
    let (charset, collation) = (quoted(&left.charset), quoted(&left.collation));
    let aside = quoted(&copy.aside);
    session.run(format!("CREATE DATABASE IF NOT EXISTS {aside} CHARACTER SET {charset} COLLATE {collation}")).await?;
    let goes = content::tables(session, live).await?;
    let comes = content::tables(session, &copy.standby).await?;
    for object in &left.objects {
        // A view may have the name of a table that comes back.
        let in_the_way = object.sort == Sort::View && !copy.declared.objects.contains(object);
        if object.sort == Sort::Trigger || in_the_way {
            declared::drop(session, live, object).await?;
        }
    }
    let moves = goes.iter().map(|table| format!("{} TO {}", table.within(live), table.within(&copy.aside)));
    let moves: Vec<String> = moves
        .chain(comes.iter().map(|table| format!("{} TO {}", table.within(&copy.standby), table.within(live))))
        .collect();
    if moves.is_empty() {
        return Ok(());
    }
    // So that foreign keys go with the tables that they refer to.
    session.run("SET foreign_key_checks = 1").await?;
    let renamed = session.run(format!("RENAME TABLE {}", moves.join(", "))).await;
    session.run("SET foreign_key_checks = 0").await?;
    renamed.map(|_| ())
}

/// After the tables have changed places. May be done again.
async fn finish(session: &mut Session, live: &str, id: &str, copy: &mut Copy) -> Result<(), Failure> {
    declared::bring(session, live, &copy.declared).await?;
    // Past what was live: a number that somebody holds is not given out again.
    let then: Vec<(String, String)> = declared::tables(session, &copy.aside).await?;
    for (name, text) in declared::tables(session, live).await? {
        let was = then.iter().find(|(n, _)| *n == name).and_then(|(_, text)| declared::next_row(text).1);
        let is = declared::next_row(&text).1;
        if let (Some(was), Some(is)) = (was, is)
            && was > is
        {
            session.run(format!("ALTER TABLE {}.{} AUTO_INCREMENT = {was}", quoted(live), quoted(&name))).await?;
        }
    }
    copy.phase = Phase::Exchanged;
    session.run("START TRANSACTION READ WRITE").await?;
    own::put(session, live, id, copy).await?;
    let sql = format!(
        "INSERT INTO backout.generations (of, number) VALUES ({}, 1) ON DUPLICATE KEY UPDATE number = number + 1",
        literal(live)
    );
    session.run(sql).await?;
    session.run("COMMIT").await?;
    own::durable(session).await
}

/// Brings an exchange that was begun to one of its ends.
async fn settle(session: &mut Session, live: &str, id: &str, copy: &mut Copy) -> Result<Exchange, Failure> {
    let Some(then) = copy.sides.clone() else { return Ok(Exchange::NotDone) };
    let now = sides(session, live, &copy.standby).await?;
    if now == then {
        if let Some(left) = copy.left.take() {
            declared::bring(session, live, &left).await?;
        }
        // Nothing of ours is in it, and what somebody else has put there stays.
        let inside = format!(
            "SELECT COUNT(*) FROM information_schema.TABLES WHERE BINARY TABLE_SCHEMA = {}",
            literal(&copy.aside)
        );
        if session.number(inside).await? == 0 {
            session.run(format!("DROP DATABASE IF EXISTS {}", quoted(&copy.aside))).await?;
        }
        (copy.phase, copy.sides) = (Phase::StandBy, None);
        own::put(session, live, id, copy).await?;
        return Ok(Exchange::NotDone);
    }
    let aside = numbers(session, &copy.aside).await?;
    if now.live == then.standby && aside == then.live {
        finish(session, live, id, copy).await?;
        return Ok(Exchange::Done { aside: copy.aside.clone() });
    }
    Ok(Exchange::Unclear(format!(
        "look at the tables of {live}, {} and {}: they are neither as they were before the exchange nor as after it",
        copy.standby, copy.aside
    )))
}

/// The product is still down, so it has little time.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);

/// However much there is, it is done. Only now it is counted, and what came back is kept where it differs.
async fn counted(maria: &MariaDb, snapshot: &Snapshot, copy: &mut Copy, call: &CallCtx) -> Result<Restored, Failure> {
    call.progress(COUNTING, 0, 0);
    let until = call.deadline.min(Instant::now() + COUNTED_WITHIN);
    let soon = CallCtx { deadline: until, ..call.clone() };
    let counting = between(maria, &copy.aside, &maria.server.database, &soon);
    let lost = match tokio::time::timeout_at(until.into(), counting).await {
        Ok(Ok(lost)) => lost,
        Ok(Err(e)) => vec![Lost::uncounted(&e.message)],
        Err(_) => vec![Lost::uncounted("its time was over")],
    };
    let kept = keep(maria, snapshot, copy, &lost, &soon);
    if let Err(error) = in_time(&soon, Box::pin(kept)).await {
        tracing::info!(%error, "what came back is not kept, so salvaging will know less");
    }
    Ok(Restored { exchanged: true, aside: Some(copy.aside.clone()), lost })
}

async fn keep(
    maria: &MariaDb,
    snapshot: &Snapshot,
    copy: &mut Copy,
    lost: &[Lost],
    call: &CallCtx,
) -> Result<(), Failure> {
    // Not under the name of the exchange, whose sessions are ended by whoever looks what became of it.
    let call = CallCtx { key: format!("{} keep", call.key), ..call.clone() };
    let kept = base::gather(maria, copy, (lost, &snapshot.fingerprint), &call).await?;
    copy.base = Some(kept);
    let mut session = maria.connect(Use::Writing, &call).await?;
    own::put(&mut session, &maria.server.database, &snapshot.id, copy).await?;
    session.close().await;
    Ok(())
}

pub async fn exchanged(
    maria: &MariaDb,
    snapshot: &Snapshot,
    evidence: &[Value],
    call: &CallCtx,
) -> Result<Exchange, Failure> {
    // The last attempt is the one that can have happened: each one before was looked at before the next began.
    let Some(then) = evidence.iter().rev().find_map(|data| Evidence::deserialize(data).ok()) else {
        return Ok(Exchange::NotDone);
    };
    let live = &maria.server.database;
    let mut session = maria.connect(Use::Writing, call).await?;
    end_others(&mut session, &then.tag).await?;
    let Some(mut copy) = own::copy(&mut session, live, &snapshot.id).await? else {
        return Ok(Exchange::Unclear(format!(
            "nothing is kept on the server about the copy of {live}: look at its tables"
        )));
    };
    let stands = match copy.phase {
        // What follows the evidence first is that it is written down here.
        Phase::Making | Phase::StandBy => Exchange::NotDone,
        Phase::Exchanging => settle(&mut session, live, &snapshot.id, &mut copy).await?,
        Phase::Exchanged => Exchange::Done { aside: copy.aside.clone() },
    };
    own::durable(&mut session).await?;
    session.close().await;
    Ok(stands)
}
