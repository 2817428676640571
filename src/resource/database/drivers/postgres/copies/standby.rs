//! Stand-by copies: made while the product serves, brought up to date under the fence, thrown away.
use super::super::{
    Postgres,
    connection::{Session, Use, in_time},
    error::told,
};
use super::{
    beside, closed,
    content::{self, Moment, Table},
    exchange::possible,
    mark::{self, Is, Mark, Names, Stand, quoted},
    rows,
    structure::{self, Structure},
    tools::{QUEUE, Tools},
    turn, whose,
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    copies::{Fingerprint, Part, Snapshot},
};
use std::time::Duration;
use tokio_postgres::Client;

/// How many read and write at once.
const ABREAST: usize = 2;
const DETECTOR: &str = "full compare";

/// What a database holds and declares at one moment.
pub struct Held {
    structure: Structure,
    pub fingerprint: Fingerprint,
}

impl Held {
    fn new(structure: Structure, mut parts: Vec<Part>, large_objects: Option<Part>) -> Self {
        parts.extend(large_objects);
        let fingerprint = Fingerprint { schema: structure.digest(true), parts };
        Self { structure, fingerprint }
    }
}

pub async fn hold(moment: Moment, what: &'static str, call: &CallCtx) -> Result<(Moment, Held), Failure> {
    let structure = structure::read(moment.first()?).await?;
    let (moment, parts) = content::read(moment, what, call).await?;
    let large_objects = beside::large_objects(moment.first()?).await?;
    Ok((moment, Held::new(structure, parts, large_objects)))
}

pub async fn fingerprint(postgres: &Postgres, call: &CallCtx) -> Result<Fingerprint, Failure> {
    let moment = Moment::of(postgres, &postgres.server.database, ABREAST, call).await?;
    Ok(hold(moment, "reading the database", call).await?.1.fingerprint)
}

pub async fn take(postgres: &Postgres, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
    let admin = turn(postgres, call).await?;
    take_in_turn(postgres, &admin, id, call).await
}

async fn take_in_turn(postgres: &Postgres, admin: &Client, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
    let names = Names::of(postgres, id);
    let stand = mark::stand(admin, &names, "").await?;
    if let Stand::Live { .. } = stand {
        return Err(Failure::conflict("this snapshot is live; what was live before it is still kept aside"));
    }
    possible(admin, &names, postgres.exclusive).await?;
    if let Stand::By(found) | Stand::Half(found) = stand {
        mark::drop(admin, &found).await?;
    }
    // Time to clear away what is not finished.
    let spare = (call.remaining() / 10).min(Duration::from_secs(10));
    let call = CallCtx { deadline: call.deadline.checked_sub(spare).unwrap_or(call.deadline), ..call.clone() };
    let mut times = 0;
    loop {
        times += 1;
        let made = in_time(&call, Box::pin(make(postgres, admin, &names, &call))).await;
        if made.is_ok() {
            return made;
        }
        // Nobody can use a copy that is not proven, and it takes room. What cannot be dropped now, the next one drops.
        if let Ok(Stand::By(found) | Stand::Half(found)) = mark::stand(admin, &names, "").await {
            let _ = mark::drop(admin, &found).await;
        }
        // All that it held is given up by then, so the other has had its turn.
        if times == TIMES || !matches!(&made, Err(failure) if failure.message == QUEUE) {
            return made;
        }
    }
}

/// That a product changes its declarations again and again at the same moment is not worth waiting for.
const TIMES: u32 = 5;

/// Copies and compares what one moment of the source holds, whatever the product writes meanwhile.
async fn make(postgres: &Postgres, admin: &Client, names: &Names, call: &CallCtx) -> Result<Snapshot, Failure> {
    let moment = Moment::of(postgres, &names.live, ABREAST, call).await?;
    let version: String = admin.query_one("SHOW server_version_num", &[]).await.map_err(told)?.get(0);
    let version = version.parse().map_err(|_| Failure::failed("the server does not tell its version"))?;
    let tools = Tools::find(postgres, version, &postgres.tag(call), call).await?;
    let live = mark::find(admin, &names.live).await?;
    let comment = live.and_then(|found| found.comment);
    let mut mark = Mark { is: Is::Making, id: names.id.clone(), of: names.live.clone(), proof: None, comment };
    admin.batch_execute(&whose::create(admin, &names.live, &names.standby).await?).await.map_err(told)?;
    mark::write(admin, &names.standby, &mark).await?;

    call.progress("reading what is declared", 0, 0);
    let archive = tools.declared(&names.live, &moment.snapshot, call).await?;
    let source = moment.first()?;
    let structure = structure::read(source).await?;
    // Superusers alone can come in, for the limit is 0.
    closed::open(admin, &names.standby, true).await?;
    let target = content::comparing(postgres, &names.standby, Use::Writing, call).await?;
    bare(source, &target).await?;
    tools.declare(&names.standby, &archive, "pre-data", call).await?;
    let mut targets = vec![target];
    while targets.len() < ABREAST {
        targets.push(content::comparing(postgres, &names.standby, Use::Writing, call).await?);
    }
    let tables = moment.tables.clone();
    let (moment, targets, parts) = content::bring(moment, targets, tables, call).await?;
    let (source, [target, ..]) = (moment.first()?, targets.as_slice()) else {
        return Err(Failure::failed("no connection"));
    };
    let large_objects = beside::large_objects(source).await?;
    if large_objects.is_some() {
        target.batch_execute("BEGIN").await.map_err(told)?;
        beside::bring_large_objects(source, target).await?;
        target.batch_execute("COMMIT").await.map_err(told)?;
    }
    let sequences = beside::sequences(source).await?;
    beside::set(target, &sequences).await?;
    call.progress("making indexes and constraints", 0, 0);
    tools.declare(&names.standby, &archive, "post-data", call).await?;
    beside::refresh_views(source, target).await?;
    call.progress("gathering statistics", 0, 0);
    target.batch_execute("ANALYZE").await.map_err(told)?;
    if beside::sequences(target).await? != sequences {
        return Err(Failure::unproven("a sequence of the copy does not stand where that of the database stands"));
    }
    let expected = Held::new(structure, parts, large_objects);
    drop(targets);
    drop(moment);
    dress(admin, names).await?;
    let fingerprint = prove(postgres, admin, names, &expected, &mut mark, call).await?;
    snapshot(admin, names, fingerprint.count(), fingerprint).await
}

/// An empty database has a schema and a language that the source may have dropped, and no dump drops.
async fn bare(source: &Client, target: &Client) -> Result<(), Failure> {
    let has = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public'), EXISTS (SELECT FROM pg_extension WHERE extname = 'plpgsql')";
    let row = source.query_one(has, &[]).await.map_err(told)?;
    for (there, drop) in
        [(row.get::<_, bool>(0), "DROP SCHEMA IF EXISTS public"), (row.get(1), "DROP EXTENSION IF EXISTS plpgsql")]
    {
        if !there {
            target.batch_execute(drop).await.map_err(told)?;
        }
    }
    Ok(())
}

/// What belongs to the database as a whole.
async fn dress(admin: &Client, names: &Names) -> Result<(), Failure> {
    let mut statements = whose::settings(admin, &names.live, &names.standby).await?;
    statements.extend(whose::privileges(admin, &names.live, &names.standby).await?);
    admin.batch_execute(&format!("BEGIN; {}; COMMIT", statements.join("; "))).await.map_err(told)?;
    if whose::allowed(admin, &names.live).await? != whose::allowed(admin, &names.standby).await? {
        return Err(Failure::unproven("the privileges of the database cannot be given to a copy"));
    }
    Ok(())
}

/// Reads the whole copy, closed to everybody, and writes down what it holds.
async fn prove(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    expected: &Held,
    mark: &mut Mark,
    call: &CallCtx,
) -> Result<Fingerprint, Failure> {
    let mut inside = closed::enter(postgres, admin, &names.standby, (ABREAST, Use::Looking), call).await?;
    let moment = Moment::by(std::mem::take(&mut inside.sessions)).await?;
    let (_moment, held) = hold(moment, "reading the copy", call).await?;
    equal(&held, expected)?;
    *mark = Mark { is: Is::StandBy, proof: Some(inside.proof(admin, &held.fingerprint).await?), ..mark.clone() };
    mark::write(admin, &names.standby, mark).await?;
    Ok(held.fingerprint)
}

fn equal(is: &Held, expected: &Held) -> Result<(), Failure> {
    let mut differences = is.structure.differences(&expected.structure);
    if differences.is_empty() {
        differences = is.fingerprint.differences(&expected.fingerprint);
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(unequal("the copy differs from the database that it was made of", differences))
}

fn unequal(words: &str, mut differences: Vec<String>) -> Failure {
    const SHOWN: usize = 5;
    let more = differences.len().saturating_sub(SHOWN);
    differences.truncate(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let list = crate::plain::no_commands(&differences.join(", "));
    Failure::unproven(format!("{words}: {list}{more}"))
}

async fn snapshot(admin: &Client, names: &Names, copied: u64, fingerprint: Fingerprint) -> Result<Snapshot, Failure> {
    let size = "SELECT oid, pg_database_size(oid) FROM pg_database WHERE datname = $1";
    let row = admin.query_one(size, &[&names.standby]).await.map_err(told)?;
    Ok(Snapshot {
        id: names.id.clone(),
        place: mark::place_of(names, row.get(0)),
        method: "stand-by".to_owned(),
        bytes: row.get::<_, i64>(1).unsigned_abs(),
        proven: true,
        fingerprint,
        copied,
        detector: DETECTOR.to_owned(),
    })
}

/// Brings a stand-by up to date with what is live.
///
/// All of the live database is read at one moment, and compared with what the stand-by was proven to hold. Of tables that
/// differ, the rows that differ are copied, in one transaction; references between tables are not asked about, for all of it
/// is of one moment. When what is declared has changed, or the stand-by is not what it was proven to be, another one is made.
pub async fn refresh(postgres: &Postgres, old: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &old.id);
    let found = match mark::stand(&admin, &names, &old.place).await? {
        Stand::By(found) => found,
        Stand::Live { .. } => return Err(Failure::conflict("the copy was exchanged and is live now")),
        Stand::Gone | Stand::Half(_) => return take_in_turn(postgres, &admin, &old.id, call).await,
    };
    possible(&admin, &names, postgres.exclusive).await?;
    if !closed::proven(&admin, &found, &old.fingerprint).await? {
        return take_in_turn(postgres, &admin, &old.id, call).await;
    }
    let moment = Moment::of(postgres, &names.live, ABREAST, call).await?;
    let structure = structure::read(moment.first()?).await?;
    let same = structure.digest(true) == old.fingerprint.schema
        && whose::allowed(&admin, &names.live).await? == whose::allowed(&admin, &names.standby).await?;
    let mark = found.mark.clone().filter(|_| same);
    let Some(mut mark) = mark else {
        drop(moment);
        return take_in_turn(postgres, &admin, &old.id, call).await;
    };
    mark.comment = mark::find(&admin, &names.live).await?.and_then(|live| live.comment);
    let (moment, parts) = content::read(moment, "comparing", call).await?;
    let large_objects = beside::large_objects(moment.first()?).await?;
    let differs = |part: &&Part| !old.fingerprint.parts.contains(part);
    let changed: Vec<Table> =
        moment.tables.iter().zip(&parts).filter(|(_, part)| differs(part)).map(|(table, _)| table.clone()).collect();
    let objects_changed =
        large_objects.as_ref() != old.fingerprint.parts.iter().find(|part| part.name == beside::LARGE_OBJECTS);
    let mut copied = large_objects.iter().filter(differs).map(|part| part.count).sum();
    let expected = Held::new(structure, parts, large_objects);

    let mut inside = closed::enter(postgres, &admin, &names.standby, (ABREAST, Use::Writing), call).await?;
    let mut sessions = std::mem::take(&mut inside.sessions);
    let target = sessions.pop().ok_or_else(|| Failure::failed("no connection"))?;
    let sequences = beside::sequences(moment.first()?).await?;
    beside::set(&target, &sequences).await?;
    let (mut moment, mut target) = (moment, target);
    if !changed.is_empty() || objects_changed {
        target.batch_execute("BEGIN").await.map_err(told)?;
        if objects_changed {
            beside::bring_large_objects(moment.first()?, &target).await?;
        }
        match rows::bring_differences(moment, target, changed.clone(), call).await {
            Ok((from, to, brought)) => {
                (moment, target) = (from, to);
                copied += brought;
            }
            // Some tables let nobody delete a row, such as those that a publication cannot tell apart.
            Err(e) if matches!(e.kind, FailureKind::Failed | FailureKind::Invalid) => {
                drop(sessions);
                return take_in_turn(postgres, &admin, &old.id, call).await;
            }
            Err(e) => return Err(e),
        }
        beside::refresh_views(moment.first()?, &target).await?;
        target.batch_execute("COMMIT").await.map_err(told)?;
        let names: Vec<String> = changed.iter().map(Table::quoted).collect();
        if !names.is_empty() {
            target.batch_execute(&format!("ANALYZE {}", names.join(", "))).await.map_err(told)?;
        }
    }
    drop(moment);
    // Of what was not written, nobody can have changed anything since it was proven.
    sessions.push(target);
    let written = reread(sessions, changed, objects_changed, &expected, call).await?;
    drop(written);
    mark.proof = Some(inside.proof(&admin, &expected.fingerprint).await?);
    mark::write(&admin, &names.standby, &mark).await?;
    snapshot(&admin, &names, copied, expected.fingerprint).await
}

/// What was written is read again, and what is declared.
async fn reread(
    sessions: Vec<Session>,
    changed: Vec<Table>,
    objects: bool,
    expected: &Held,
    call: &CallCtx,
) -> Result<Moment, Failure> {
    let moment = Moment::by(sessions).await?;
    let structure = structure::read(moment.first()?).await?;
    let moment = Moment { tables: changed, ..moment };
    let (moment, mut parts) = content::read(moment, "reading the copy", call).await?;
    if objects {
        parts.extend(beside::large_objects(moment.first()?).await?);
    }
    let mut differences = structure.differences(&expected.structure);
    let wrong = parts.iter().filter(|part| !expected.fingerprint.parts.contains(part));
    differences.extend(wrong.map(|part| format!("{} has other content", part.name)));
    if differences.is_empty() {
        Ok(moment)
    } else {
        Err(unequal("the copy differs from the database that it was brought up to date with", differences))
    }
}

/// Whether a stand-by still holds what it was proven to hold. When somebody could have been in it, all of it is read.
pub async fn check(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    snapshot: &Snapshot,
    call: &CallCtx,
) -> Result<u32, Failure> {
    let found = match mark::stand(admin, names, &snapshot.place).await? {
        Stand::By(found) => found,
        Stand::Live { .. } => return Err(Failure::conflict("the copy was exchanged before, and is live")),
        Stand::Gone => return Err(Failure::unproven("the copy is gone")),
        Stand::Half(_) => return Err(Failure::unproven("the copy was never finished")),
    };
    if closed::proven(admin, &found, &snapshot.fingerprint).await? {
        return Ok(found.oid);
    }
    let mut inside = closed::enter(postgres, admin, &names.standby, (ABREAST, Use::Looking), call).await?;
    let moment = Moment::by(std::mem::take(&mut inside.sessions)).await?;
    let (_moment, held) = hold(moment, "reading the copy", call).await?;
    let differences = held.fingerprint.differences(&snapshot.fingerprint);
    if !differences.is_empty() {
        return Err(unequal("the copy no longer equals its proof", differences));
    }
    let proof = Some(inside.proof(admin, &held.fingerprint).await?);
    if let Some(mark) = found.mark {
        mark::write(admin, &names.standby, &Mark { proof, ..mark }).await?;
    }
    Ok(found.oid)
}

/// Frees stand-by and aside of a snapshot. Bytes that became free.
pub async fn discard(postgres: &Postgres, snapshot: &Snapshot, call: &CallCtx) -> Result<u64, Failure> {
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &snapshot.id);
    let mut bytes = 0;
    // Both may be there: a copy that was taken again under the same id.
    for _ in 0..2 {
        let found = match mark::stand(&admin, &names, &snapshot.place).await {
            Ok(Stand::By(found) | Stand::Half(found) | Stand::Live { aside: Some(found) }) => found,
            Ok(Stand::Live { aside: None } | Stand::Gone) => break,
            Err(e) => return Err(e),
        };
        if found.name == names.live {
            return Err(Failure::conflict("the live database and the copy are one and the same"));
        }
        call.progress(&format!("dropping {}", quoted(&found.name)), 0, 0);
        bytes += mark::drop(&admin, &found).await?;
    }
    Ok(bytes)
}
