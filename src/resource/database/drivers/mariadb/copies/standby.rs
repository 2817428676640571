//! Stand-by copies: made, brought up to date, freed.
use super::super::{
    MariaDb,
    activity::there,
    connection::{Session, Use, literal, quoted},
    own::{self, Copy, Phase},
};
use super::{
    Declared,
    bring::{Todo, bring},
    content::{self, Table},
    declared,
    detector::{self, Place},
    encoded, size, within,
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Fingerprint, Snapshot},
};
use sha2::{Digest, Sha256};

/// Characters of a database's name.
const LONGEST: usize = 64;

/// Named after what it is a copy of and its id, unless that is too long.
fn name(of: &str, id: &str, end: &str) -> String {
    let name = format!("backout_{of}_{id}{end}");
    if name.len() <= LONGEST && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
        return name;
    }
    let digest = super::super::query::hex(&Sha256::digest(format!("{of}/{id}")));
    format!("backout_{}{end}", digest.get(..32).unwrap_or_default())
}

/// One who makes or frees copies of a database at a time.
pub async fn alone(maria: &MariaDb, call: &CallCtx) -> Result<Session, Failure> {
    let mut session = maria.connect(Use::Writing, call).await?;
    own::ready(&mut session).await?;
    let digest = super::super::query::hex(&Sha256::digest(&maria.server.database));
    let lock = format!("backout copies {}", digest.get(..32).unwrap_or_default());
    let wait = call.remaining().as_secs_f64() * 0.9;
    if session.number(format!("SELECT GET_LOCK({}, {wait:.3})", literal(&lock))).await? == 1 {
        Ok(session)
    } else {
        Err(Failure::timed_out("another operation on the database's copies has not ended"))
    }
}

/// What a table is declared as is read before and after the moment begins: the server does not keep it to moments.
struct Source {
    reader: Session,
    declared: Declared,
    texts: Vec<(String, String)>,
    tables: Vec<Table>,
    place: Option<Place>,
}

impl Source {
    async fn of(maria: &MariaDb, call: &CallCtx) -> Result<Self, Failure> {
        const TRIES: usize = 5;
        let live = &maria.server.database;
        let mut looking = maria.connect(Use::Looking, call).await?;
        for _ in 0..TRIES {
            let declared = declared::declared(&mut looking, live).await?;
            declared::supported(&mut looking, live, &declared).await?;
            let texts = declared::tables(&mut looking, live).await?;
            let tables = content::tables(&mut looking, live).await?;
            let mut reader = maria.connect(Use::Looking, call).await?;
            content::moment(&mut reader).await?;
            let now = (declared::declared(&mut looking, live).await?, declared::tables(&mut looking, live).await?);
            if declared == now.0 && declared::schema(&texts, &declared)? == declared::schema(&now.1, &now.0)? {
                looking.close().await;
                let place = detector::place(&mut reader).await?;
                return Ok(Self { reader, declared, texts, tables, place });
            }
            reader.close().await;
        }
        Err(Failure::conflict("tables are declared anew all the time, so no moment of all of them can be had"))
    }
}

pub async fn take(maria: &MariaDb, id: &str, call: &CallCtx) -> Result<Snapshot, Failure> {
    let mut session = alone(maria, call).await?;
    let snapshot = make(maria, &mut session, id, "full compare", call).await?;
    session.close().await;
    Ok(snapshot)
}

async fn make(
    maria: &MariaDb,
    session: &mut Session,
    id: &str,
    detector: &str,
    call: &CallCtx,
) -> Result<Snapshot, Failure> {
    let live = &maria.server.database;
    there(maria, session).await?;
    let (standby, aside) = (name(live, id, ""), name(live, id, "_aside"));
    match own::copy(session, live, id).await? {
        Some(copy) if matches!(copy.phase, Phase::Exchanging | Phase::Exchanged) => {
            return Err(Failure::conflict("the copy was exchanged, and is live"));
        }
        Some(copy) => drop_copy(session, &copy.standby).await?,
        None => {
            let names = [&standby, &aside].map(|name| literal(name)).join(", ");
            let sql = format!("SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME IN ({names})");
            if session.number(sql).await? > 0 {
                return Err(Failure::conflict("a database has the name of the copy, and Backout did not make it"));
            }
        }
    }
    let mut source = Source::of(maria, call).await?;
    let since = detector::mark(session, source.place.as_ref(), &source.tables).await;
    let mut copy = Copy {
        standby: standby.clone(),
        aside,
        phase: Phase::Making,
        declared: source.declared.clone(),
        left: None,
        sides: None,
        base: None,
        since: None,
    };
    // First, so that nothing is there of which nobody knows.
    own::put(session, live, id, &copy).await?;
    let Declared { charset, collation, .. } = &source.declared;
    let create =
        format!("CREATE DATABASE {} CHARACTER SET {} COLLATE {}", quoted(&standby), quoted(charset), quoted(collation));
    session.run(create).await?;
    session.run(format!("USE {}", quoted(&standby))).await?;
    for (_, text) in &source.texts {
        session.run(text).await?;
    }
    // What is said from now on is said of no copy.
    session.run("USE information_schema").await?;
    let filled = within::fill(maria, (live, &standby), &source.tables, call).await?;
    let all: Vec<&Table> = source.tables.iter().collect();
    let todo: Vec<Todo> = filled.into_iter().map(|filled| if filled { Todo::Compare } else { Todo::Fill }).collect();
    let brought = bring(maria, &mut source.reader, &standby, &source.tables, &todo, ("proving the copy", call)).await?;
    warm(session, &standby, &all).await?;
    source.reader.close().await;
    let schema = declared::schema(&source.texts, &source.declared)?;
    let standing = declared::tables(session, &standby).await?;
    if declared::schema(&standing, &source.declared)? != schema {
        return Err(Failure::unproven("the copy is not what was copied: the schema differs"));
    }
    let fingerprint = Fingerprint { schema, parts: brought.parts };
    copy.since = Some(detector::shortened(session, since, live, &source.tables, &fingerprint.parts).await);
    copy.phase = Phase::StandBy;
    own::put(session, live, id, &copy).await?;
    own::durable(session).await?;
    let copied = fingerprint.count();
    let bytes = size(session, &standby).await?;
    let made = snapshot(id, &standby, bytes, fingerprint, copied, detector);
    Ok(Snapshot { position: source.place.map(|place| place.to_string()), ..made })
}

fn snapshot(id: &str, place: &str, bytes: u64, fingerprint: Fingerprint, copied: u64, detector: &str) -> Snapshot {
    Snapshot {
        id: id.to_owned(),
        place: place.to_owned(),
        method: "stand-by".to_owned(),
        bytes,
        proven: true,
        fingerprint,
        copied,
        detector: detector.to_owned(),
        position: None,
        chosen: None,
    }
}

/// So that the first statements after an exchange are planned as those before it.
pub async fn warm(session: &mut Session, schema: &str, tables: &[&Table]) -> Result<(), Failure> {
    for table in tables {
        session.rows(format!("ANALYZE NO_WRITE_TO_BINLOG TABLE {}", table.within(schema))).await?;
    }
    Ok(())
}

/// Compares what may have changed, row by row, and copies what differs.
pub async fn refresh(maria: &MariaDb, snapshot: &Snapshot, call: &CallCtx) -> Result<Snapshot, Failure> {
    let live = &maria.server.database;
    let mut session = alone(maria, call).await?;
    let mut copy = match own::copy(&mut session, live, &snapshot.id).await? {
        None => return Err(Failure::unproven("the copy is gone")),
        Some(copy) if matches!(copy.phase, Phase::Exchanging | Phase::Exchanged) => {
            return Err(Failure::conflict("the copy was exchanged, and is live"));
        }
        Some(copy) => copy,
    };
    let mut source = Source::of(maria, call).await?;
    let schema = declared::schema(&source.texts, &source.declared)?;
    let standing = declared::tables(&mut session, &copy.standby).await?;
    if copy.phase == Phase::Making || schema != declared::schema(&standing, &source.declared)? {
        source.reader.close().await;
        let made = make(maria, &mut session, &snapshot.id, "all of it, because the schema has changed", call).await;
        session.close().await;
        return made;
    }
    let changed = detector::changed(&mut session, copy.since.as_ref(), (live, &copy.standby), &source.tables).await;
    let since = detector::mark(&mut session, source.place.as_ref(), &source.tables).await;
    // Not proven until it is again.
    copy.phase = Phase::Making;
    copy.declared = source.declared.clone();
    own::put(&mut session, live, &snapshot.id, &copy).await?;
    let todo: Vec<Todo> = changed.tables.into_iter().map(|kept| kept.map_or(Todo::Compare, Todo::Keep)).collect();
    let brought =
        bring(maria, &mut source.reader, &copy.standby, &source.tables, &todo, ("comparing the copy", call)).await?;
    source.reader.close().await;
    let other = source.tables.iter().filter(|table| brought.touched.contains(&table.name)).collect::<Vec<_>>();
    warm(&mut session, &copy.standby, &other).await?;
    copy.since = Some(detector::shortened(&mut session, since, live, &source.tables, &brought.parts).await);
    copy.phase = Phase::StandBy;
    own::put(&mut session, live, &snapshot.id, &copy).await?;
    own::durable(&mut session).await?;
    let bytes = size(&mut session, &copy.standby).await?;
    session.close().await;
    let fingerprint = Fingerprint { schema, parts: brought.parts };
    let refreshed = self::snapshot(&snapshot.id, &copy.standby, bytes, fingerprint, brought.copied, &changed.detector);
    Ok(Snapshot { position: source.place.map(|place| place.to_string()), ..refreshed })
}

pub async fn drop_copy(session: &mut Session, schema: &str) -> Result<(), Failure> {
    session.run(format!("DROP DATABASE IF EXISTS {}", quoted(schema))).await.map(|_| ())
}

/// Frees what a snapshot and its exchange left.
pub async fn discard(maria: &MariaDb, snapshot: &Snapshot, call: &CallCtx) -> Result<u64, Failure> {
    let live = &maria.server.database;
    let mut session = alone(maria, call).await?;
    let Some(copy) = own::copy(&mut session, live, &snapshot.id).await? else {
        session.close().await;
        return Ok(0);
    };
    if copy.phase == Phase::Exchanging {
        return Err(Failure::conflict("an exchange of the copy was begun, and has not ended"));
    }
    let mut bytes = 0;
    for schema in [&copy.standby, &copy.aside] {
        let name = literal(&encoded(schema));
        let sql = format!(
            "SELECT COUNT(*) FROM information_schema.INNODB_SYS_FOREIGN WHERE SUBSTRING_INDEX(REF_NAME, '/', 1) = {name} \
             AND SUBSTRING_INDEX(FOR_NAME, '/', 1) <> {name}"
        );
        if session.number(sql).await? > 0 {
            return Err(Failure::conflict("a table of another database refers to what would be dropped"));
        }
        bytes += size(&mut session, schema).await?;
        drop_copy(&mut session, schema).await?;
    }
    own::forget(&mut session, live, &snapshot.id).await?;
    session.close().await;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_stay_different() {
        assert_eq!(name("shop", "7-shop", ""), "backout_shop_7-shop");
        let long = |end: &str| name(&"s".repeat(60), "7-shop", end);
        assert!(long("_aside").len() <= LONGEST);
        assert_ne!(long(""), long("_aside"));
        assert_eq!(encoded("a_b-c$"), "a_b@002dc@0024");
    }
}
