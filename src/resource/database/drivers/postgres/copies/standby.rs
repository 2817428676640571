//! Stand-by copies: made while the product serves, brought up to date under the fence, thrown away.
use super::super::{
    Postgres,
    connection::{Session, Use, in_time},
    error::{FULL, told},
    fence,
};
use super::{
    beside, blocks, clone, closed,
    content::{self, Moment, Sum, Table},
    detector::{self, Changed, Touched, Watch},
    exchange::possible,
    mark::{self, Is, Mark, Names, Stand, quoted},
    rows,
    structure::{self, Structure},
    tools::{QUEUE, Tools},
    turn, whose,
};
use crate::resource::{
    CallCtx, Failure, FailureKind,
    copies::{CLONE, Fingerprint, Part, Snapshot},
    database::Method,
};
use std::time::Duration;
use tokio_postgres::Client;

/// How many read and write at once.
pub const ABREAST: usize = 2;
/// Of a copy that is made anew all is compared.
const DETECTOR: &str = "full compare";
const STAND_BY: &str = "stand-by";

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
    let names = Names::of(postgres, id);
    let (why, by) = match postgres.method {
        Method::Clone | Method::Auto { .. } => {
            let (choice, looked) = clone::choose(postgres, &admin, call).await?;
            if choice.clone && !fence::fenced(postgres, call).await? {
                clear(postgres, &admin, &names, postgres.exclusive).await?;
                return Ok(clone::promise(&names, &looked, choice.why));
            }
            (choice.why, if choice.clone { By::Files } else { By::Rows })
        }
        _ => (None, By::Rows),
    };
    let taken = take_in_turn(postgres, &admin, &names, by, call).await?;
    Ok(Snapshot { chosen: why, ..taken })
}

/// How all of a database is copied.
#[derive(Clone, Copy)]
enum By {
    Rows,
    Files,
}

impl By {
    /// As it was chosen when the copy was made, whatever the site says by now.
    fn of(snapshot: &Snapshot) -> Self {
        if snapshot.method == CLONE { Self::Files } else { Self::Rows }
    }
}

async fn take_in_turn(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    by: By,
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    take_by(postgres, admin, names, (postgres.exclusive, by), call).await
}

/// Under these names.
pub async fn take_as(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    exclusive: bool,
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    take_by(postgres, admin, names, (exclusive, By::Rows), call).await
}

/// Drops what stands there of an earlier one, if there may be a copy at all.
async fn clear(postgres: &Postgres, admin: &Client, names: &Names, exclusive: bool) -> Result<(), Failure> {
    let stand = mark::stand(admin, names, "").await?;
    if let Stand::Live { .. } = stand {
        return Err(Failure::conflict("this snapshot is live; what was live before it is still kept aside"));
    }
    possible(postgres, admin, names, exclusive).await?;
    if let Stand::By(found) | Stand::Half(found) = stand {
        mark::drop(admin, &found).await?;
    }
    clone::forget(admin, names).await
}

async fn take_by(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    (exclusive, by): (bool, By),
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    if let By::Files = by {
        // A copy that stands is worth more than one that cannot be made now.
        clone::shut(postgres, call).await?;
    }
    clear(postgres, admin, names, exclusive).await?;
    // Time to clear away what is not finished.
    let spare = (call.remaining() / 10).min(Duration::from_secs(10));
    let call = CallCtx { deadline: call.deadline.checked_sub(spare).unwrap_or(call.deadline), ..call.clone() };
    let mut times = 0;
    loop {
        times += 1;
        let made = match by {
            By::Rows => in_time(&call, Box::pin(make(postgres, admin, names, &call))).await,
            By::Files => in_time(&call, Box::pin(clone::make(postgres, admin, names, &call))).await,
        };
        if made.is_ok() {
            return made;
        }
        detector::forget(admin, names).await;
        // Nobody can use a copy that is not proven, and it takes room. What cannot be dropped now, the next one drops.
        if let Ok(Stand::By(found) | Stand::Half(found)) = mark::stand(admin, names, "").await {
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
    let mut watch = Watch::begin(admin, names, true, call).await;
    let moment = Moment::of(postgres, &names.live, ABREAST, call).await?;
    let position = position(moment.first()?).await?;
    watch.look(moment.first()?, &moment.tables).await;
    let tools = Tools::of(postgres, admin, call).await?;
    let live = mark::find(admin, &names.live).await?;
    let comment = live.and_then(|found| found.comment);
    let (id, of) = (names.id.clone(), names.live.clone());
    let mut mark = Mark { is: Is::Making, id, of, proof: None, comment, pending: false, since: None };
    admin.batch_execute(&whose::create(admin, &names.live, &names.standby).await?).await.map_err(told)?;
    mark::write(admin, &names.standby, &mark).await?;

    call.progress("reading what is declared", 0, 0);
    let archive = tools.declared(&names.live, &moment.snapshot, call).await?;
    let source = moment.first()?;
    let structure = structure::read(source).await?;
    // Superusers alone can come in, for the limit is 0.
    closed::open(admin, &names.standby, true).await?;
    let target = content::comparing(postgres, &names.standby, Use::Writing, call).await?;
    bare(has(source).await?, &target).await?;
    tools.declare(&names.standby, &archive, "pre-data", call).await?;
    let mut targets = vec![target];
    while targets.len() < ABREAST {
        targets.push(content::comparing(postgres, &names.standby, Use::Writing, call).await?);
    }
    let tables = moment.tables.clone();
    let (moment, targets, sums) = content::bring(moment, targets, tables, call).await?;
    let parts = content::parts(&moment.tables, &sums);
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
    let tables = moment.tables.clone();
    drop(moment);
    dress(admin, names).await?;
    let fingerprint = prove(postgres, admin, names, |held| equal(held, &expected), &mut mark, call).await?;
    let sums: Vec<Option<Sum>> = sums.into_iter().map(Some).collect();
    mark.since = Some(watch.end(admin, names, &tables, &sums).await);
    mark::write(admin, &names.standby, &mark).await?;
    let count = fingerprint.count();
    let taken = snapshot(admin, names, count, fingerprint, DETECTOR.to_owned(), STAND_BY).await?;
    Ok(Snapshot { position: Some(position), ..taken })
}

/// Where the server's log is; all of the moment is before it.
pub async fn position(session: &Client) -> Result<String, Failure> {
    Ok(session.query_one("SELECT pg_current_wal_insert_lsn()::text", &[]).await.map_err(told)?.get(0))
}

/// The schema and the language that an empty database has.
pub async fn has(source: &Client) -> Result<(bool, bool), Failure> {
    let has = "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public'), EXISTS (SELECT FROM pg_extension WHERE extname = 'plpgsql')";
    let row = source.query_one(has, &[]).await.map_err(told)?;
    Ok((row.get(0), row.get(1)))
}

/// The source may have dropped them, and no dump drops.
pub async fn bare((schema, language): (bool, bool), target: &Client) -> Result<(), Failure> {
    for (there, drop) in [(schema, "DROP SCHEMA IF EXISTS public"), (language, "DROP EXTENSION IF EXISTS plpgsql")] {
        if !there {
            target.batch_execute(drop).await.map_err(told)?;
        }
    }
    Ok(())
}

/// What belongs to the database as a whole.
pub async fn dress(admin: &Client, names: &Names) -> Result<(), Failure> {
    let mut statements = whose::settings(admin, &names.live, &names.standby).await?;
    statements.extend(whose::privileges(admin, &names.live, &names.standby).await?);
    admin.batch_execute(&format!("BEGIN; {}; COMMIT", statements.join("; "))).await.map_err(told)?;
    if whose::allowed(admin, &names.live).await? != whose::allowed(admin, &names.standby).await? {
        return Err(Failure::unproven("the privileges of the database cannot be given to a copy"));
    }
    Ok(())
}

/// Reads the whole copy, closed to everybody, and writes down what it holds.
pub async fn prove(
    postgres: &Postgres,
    admin: &Client,
    names: &Names,
    compare: impl Fn(&Held) -> Result<(), Failure> + Send,
    mark: &mut Mark,
    call: &CallCtx,
) -> Result<Fingerprint, Failure> {
    let mut inside = closed::enter(postgres, admin, &names.standby, (ABREAST, Use::Looking), call).await?;
    let moment = Moment::by(std::mem::take(&mut inside.sessions)).await?;
    let (_moment, held) = hold(moment, "reading the copy", call).await?;
    compare(&held)?;
    *mark = Mark { is: Is::StandBy, proof: Some(inside.proof(admin, &held.fingerprint).await?), ..mark.clone() };
    mark::write(admin, &names.standby, mark).await?;
    Ok(held.fingerprint)
}

pub fn equal(is: &Held, expected: &Held) -> Result<(), Failure> {
    let mut differences = is.structure.differences(&expected.structure);
    if differences.is_empty() {
        differences = is.fingerprint.differences(&expected.fingerprint);
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(unequal("the copy differs from the database that it was made of", differences))
}

pub fn unequal(words: &str, mut differences: Vec<String>) -> Failure {
    const SHOWN: usize = 5;
    let more = differences.len().saturating_sub(SHOWN);
    differences.truncate(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let list = crate::plain::no_commands(&differences.join(", "));
    Failure::unproven(format!("{words}: {list}{more}"))
}

pub async fn snapshot(
    admin: &Client,
    names: &Names,
    copied: u64,
    fingerprint: Fingerprint,
    detector: String,
    method: &str,
) -> Result<Snapshot, Failure> {
    let size = "SELECT oid, pg_database_size(oid) FROM pg_database WHERE datname = $1";
    let row = admin.query_one(size, &[&names.standby]).await.map_err(told)?;
    Ok(Snapshot {
        id: names.id.clone(),
        place: mark::place_of(names, row.get(0)),
        method: method.to_owned(),
        bytes: row.get::<_, i64>(1).unsigned_abs(),
        proven: true,
        fingerprint,
        copied,
        detector,
        position: None,
        chosen: None,
    })
}

/// Another copy in the place of one that cannot be brought up to date.
async fn anew(
    postgres: &Postgres,
    admin: &Client,
    old: &Snapshot,
    why: &str,
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    let (by, chosen) = (By::of(old), old.chosen.clone());
    let how = match by {
        By::Rows => "full copy",
        By::Files => "file copy",
    };
    if !old.comes_later() {
        call.progress(&format!("copying all of it, because {why}"), 0, 0);
    }
    let taken = take_in_turn(postgres, admin, &Names::of(postgres, &old.id), by, call).await?;
    let detector = if old.comes_later() { taken.detector } else { format!("{how} ({why})") };
    Ok(Snapshot { detector, chosen, ..taken })
}

/// Brings a stand-by up to date with what is live.
///
/// What may have changed of the live database is read at one moment, and compared with what the stand-by was proven to hold;
/// where no detector tells what that is, all of it is. Of tables that differ, the rows that differ are copied, in one
/// transaction; references between tables are not asked about, for all of it is of one moment. When what is declared has
/// changed, or the stand-by is not what it was proven to be, another one is made.
pub async fn refresh(postgres: &Postgres, old: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
    let admin = turn(postgres, call).await?;
    let names = Names::of(postgres, &old.id);
    let found = match mark::stand(&admin, &names, &old.place).await? {
        Stand::By(found) => found,
        Stand::Live { .. } => return Err(Failure::conflict("the copy was exchanged and is live now")),
        Stand::Gone | Stand::Half(_) => return anew(postgres, &admin, old, "there was none", call).await,
    };
    possible(postgres, &admin, &names, postgres.exclusive).await?;
    let proven = closed::proven(&admin, &found, &old.fingerprint).await?;
    let Some(mut mark) = found.mark.clone().filter(|_| proven) else {
        let why = "the server was started again since, or somebody may have been in the copy";
        return anew(postgres, &admin, old, why, call).await;
    };
    let mut watch = Watch::begin(&admin, &names, false, call).await;
    let moment = Moment::of(postgres, &names.live, ABREAST, call).await?;
    watch.look(moment.first()?, &moment.tables).await;
    let position = position(moment.first()?).await?;
    let structure = structure::read(moment.first()?).await?;
    let same = structure.digest(true) == old.fingerprint.schema
        && whose::allowed(&admin, &names.live).await? == whose::allowed(&admin, &names.standby).await?;
    if !same {
        drop(moment);
        return anew(postgres, &admin, old, "what is declared has changed", call).await;
    }
    mark.comment = mark::find(&admin, &names.live).await?.and_then(|live| live.comment);
    let then = &old.fingerprint.parts;
    let since = mark.since.take();
    let changes = detector::changed(&admin, &names, since.as_ref(), (moment.first()?, &moment.tables), then).await;
    call.progress(&format!("changes found by {}", changes.detector), 0, 0);
    let (moment, mut known, large_objects) = compared(moment, &changes, then, call).await?;
    let differs = |part: &Part| !then.contains(part);
    let changed = moment.tables.iter().zip(&known).filter(|(_, (part, _))| part.as_ref().is_some_and(differs));
    let changed: Vec<Table> = changed.map(|(table, _)| table.clone()).collect();
    let objects_changed = large_objects.as_ref() != objects_of(then);
    let mut copied = large_objects.iter().filter(|part| differs(part)).map(|part| part.count).sum();

    let mut inside = closed::enter(postgres, &admin, &names.standby, (ABREAST, Use::Writing), call).await?;
    let mut sessions = std::mem::take(&mut inside.sessions);
    let target = sessions.pop().ok_or_else(|| Failure::failed("no connection"))?;
    let sequences = beside::sequences(moment.first()?).await?;
    beside::set(&target, &sequences).await?;
    let (mut moment, mut target) = (moment, target);
    if objects_changed || known.iter().any(|(part, _)| part.as_ref().is_none_or(differs)) {
        target.batch_execute("BEGIN").await.map_err(told)?;
        if objects_changed {
            beside::bring_large_objects(moment.first()?, &target).await?;
        }
        match bring(moment, target, &changed, &changes, call).await {
            Ok((from, to, brought, sums)) => {
                (moment, target) = (from, to);
                copied += brought;
                for (place, sum) in sums {
                    if let (Some(known), Some(table)) = (known.get_mut(place), moment.tables.get(place)) {
                        *known = (Some(sum.part(table.shown())), Some(sum));
                    }
                }
            }
            // Some tables let nobody delete a row, such as those that a publication cannot tell apart. Where there is no room,
            // the copy that stands is worth more than a new one that may not come about.
            Err(e)
                if matches!(e.kind, FailureKind::Failed | FailureKind::Invalid | FailureKind::Unproven)
                    && e.message != FULL =>
            {
                drop(sessions);
                let why = "rows of a table cannot be changed";
                return anew(postgres, &admin, old, why, call).await;
            }
            Err(e) => return Err(e),
        }
        beside::refresh_views(moment.first()?, &target).await?;
        target.batch_execute("COMMIT").await.map_err(told)?;
        let written = moment.tables.iter().zip(&known).filter(|(_, (part, _))| part.as_ref().is_some_and(differs));
        let names: Vec<String> = written.map(|(table, _)| table.quoted()).collect();
        if !names.is_empty() {
            target.batch_execute(&format!("ANALYZE {}", names.join(", "))).await.map_err(told)?;
        }
    }
    let tables = moment.tables.clone();
    drop(moment);
    let (parts, sums): (Vec<Option<Part>>, Vec<Option<Sum>>) = known.into_iter().unzip();
    let parts = parts.into_iter().collect::<Option<_>>().ok_or_else(|| Failure::failed("a table was not compared"))?;
    let expected = Held::new(structure, parts, large_objects);
    // Of what was not written, nobody can have changed anything since it was proven.
    sessions.push(target);
    let written = reread(sessions, changed, objects_changed, &expected, call).await?;
    drop(written);
    mark.proof = Some(inside.proof(&admin, &expected.fingerprint).await?);
    mark.since = Some(watch.end(&admin, &names, &tables, &sums).await);
    mark::write(&admin, &names.standby, &mark).await?;
    let refreshed = snapshot(&admin, &names, copied, expected.fingerprint, changes.detector, &old.method).await?;
    Ok(Snapshot { position: Some(position), chosen: old.chosen.clone(), ..refreshed })
}

/// Brings over the rows that differ, in the transaction that the target is in; what the tables hold now that were brought over
/// by their blocks, by their places.
async fn bring(
    moment: Moment,
    target: Session,
    changed: &[Table],
    changes: &Changed,
    call: &CallCtx,
) -> Result<(Moment, Session, u64, Vec<(usize, Sum)>), Failure> {
    let (moment, target, mut copied) = rows::bring_differences(moment, target, changed.to_vec(), call).await?;
    let coding = content::coding(moment.first()?).await?;
    let mut sums = Vec::new();
    for (place, (table, touched)) in moment.tables.iter().zip(&changes.tables).enumerate() {
        if let (Touched::Blocks(stretches), Some(then)) = (touched, changes.sums.get(place).copied().flatten()) {
            call.progress(&format!("copying what has changed of {}", table.shown()), 0, 0);
            let (sum, brought) = blocks::bring(moment.first()?, &target, table, stretches, (then, &coding)).await?;
            copied += brought;
            sums.push((place, sum));
        }
    }
    Ok((moment, target, copied, sums))
}

fn objects_of(parts: &[Part]) -> Option<&Part> {
    parts.iter().find(|part| part.name == beside::LARGE_OBJECTS)
}

/// What the tables and the large objects hold at the moment: read where it may have changed, else as it was `then`; not yet
/// where only blocks have to be read.
async fn compared(
    moment: Moment,
    changes: &Changed,
    then: &[Part],
    call: &CallCtx,
) -> Result<(Moment, Vec<(Option<Part>, Option<Sum>)>, Option<Part>), Failure> {
    let tables = moment.tables.clone();
    let touched = tables.iter().zip(&changes.tables).filter(|(_, touched)| **touched == Touched::All);
    let looked = touched.map(|(table, _)| table.clone()).collect();
    let (moment, read) = content::sums(Moment { tables: looked, ..moment }, "comparing", call).await?;
    let large_objects =
        if changes.objects { beside::large_objects(moment.first()?).await? } else { objects_of(then).cloned() };
    let (mut read, mut known) = (read.into_iter(), Vec::new());
    for ((table, touched), sum) in tables.iter().zip(&changes.tables).zip(&changes.sums) {
        let name = table.shown();
        known.push(match touched {
            Touched::No => (then.iter().find(|part| part.name == name).cloned(), *sum),
            Touched::Blocks(_) => (None, None),
            Touched::All => {
                let sum = read.next();
                (sum.map(|sum| sum.part(name)), sum)
            }
        });
    }
    Ok((Moment { tables, ..moment }, known, large_objects))
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
    detector::forget(&admin, &names).await;
    clone::forget(&admin, &names).await?;
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
