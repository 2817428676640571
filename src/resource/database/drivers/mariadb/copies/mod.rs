//! Copies of a database on its own server: the stand-by is another database that holds the tables and nothing that acts.
pub mod archive;
mod bring;
mod content;
mod declared;
mod detector;
mod exchange;
mod fill;
mod pair;
mod salvage;
mod standby;
mod within;

pub use declared::Declared;
pub use detector::Since;
pub use exchange::{Sides, exchange, exchanged};
pub use salvage::{base::Kept, salvage};
pub use standby::{discard, refresh, take};

use super::{
    MariaDb,
    connection::{Session, Use, end_others, literal},
    own::{self, Phase},
};
use crate::resource::{
    CallCtx, Failure,
    copies::{Fingerprint, Lost, Snapshot},
    database::COUNTING,
    room,
};
use content::{News, Table};

/// Returns when nothing that was given up works on its copies any more.
pub async fn quiet(maria: &MariaDb, call: &CallCtx) -> Result<(), Failure> {
    // Under another name than the operation's, so that this session is none of those that are ended.
    let look = CallCtx { key: format!("{} quiet", call.key), ..call.clone() };
    let mut session = maria.connect(Use::Looking, &look).await?;
    end_others(&mut session, &maria.tag(call)).await?;
    session.close().await;
    Ok(())
}

/// What a refresh would be told of changes, and would read.
pub async fn detector(maria: &MariaDb, call: &CallCtx) -> Result<String, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let bytes = room::size(size(&mut session, &maria.server.database).await?);
    let words = match detector::means(&mut session).await {
        Ok(_) => format!(
            "changes are found by the server's binlog, so of {bytes} only the tables that were written to are read"
        ),
        Err(why) => format!("all {bytes} is compared, because {why}"),
    };
    session.close().await;
    Ok(words)
}

pub async fn schema(maria: &MariaDb, call: &CallCtx) -> Result<String, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let declared = declared::declared(&mut session, &maria.server.database).await?;
    let tables = declared::tables(&mut session, &maria.server.database).await?;
    session.close().await;
    declared::schema(&tables, &declared)
}

/// What is live now.
pub async fn fingerprint(maria: &MariaDb, call: &CallCtx) -> Result<Fingerprint, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let declared = declared::declared(&mut session, &maria.server.database).await?;
    let found = of(&mut session, &maria.server.database, &declared, "reading the database", call).await?;
    session.close().await;
    Ok(found)
}

/// What a database holds, with what is declared around its tables, at one moment that begins here.
async fn of(
    session: &mut Session,
    schema: &str,
    declared: &Declared,
    what: &'static str,
    call: &CallCtx,
) -> Result<Fingerprint, Failure> {
    let texts = declared::tables(session, schema).await?;
    let tables = content::tables(session, schema).await?;
    content::moment(session).await?;
    let mut news = News::new(what, &tables, call);
    let mut parts = Vec::new();
    for table in &tables {
        parts.push(content::sum(session, schema, table, &mut news).await?.part(table.name.clone()));
    }
    session.run("COMMIT").await?;
    session.run("SET NAMES utf8mb4").await?;
    Ok(Fingerprint { schema: declared::schema(&texts, declared)?, parts })
}

/// The stand-by is there and holds what was proven.
pub async fn inspect(maria: &MariaDb, snapshot: &Snapshot, call: &CallCtx) -> Result<(), Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let copy = standing_by(&mut session, &maria.server.database, snapshot).await?;
    let now = of(&mut session, &copy.standby, &copy.declared, "checking the copy", call).await?;
    session.close().await;
    proven(&now, &snapshot.fingerprint)
}

fn proven(now: &Fingerprint, then: &Fingerprint) -> Result<(), Failure> {
    match now.differences(then).as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::unproven(format!("the copy is not what was proven: {one}"))),
        [one, more @ ..] => Err(Failure::unproven(format!(
            "the copy is not what was proven: {one}, and {} more differences",
            more.len()
        ))),
    }
}

async fn standing_by(session: &mut Session, of: &str, snapshot: &Snapshot) -> Result<own::Copy, Failure> {
    let Some(copy) = own::copy(session, of, &snapshot.id).await? else {
        return Err(Failure::unproven("the copy is gone"));
    };
    match copy.phase {
        Phase::StandBy => Ok(copy),
        Phase::Making => Err(Failure::unproven("the copy was begun, and is not whole")),
        Phase::Exchanging => Err(Failure::conflict("an exchange of the copy was begun, and has not ended")),
        Phase::Exchanged => Err(Failure::conflict("the copy was exchanged, and is live")),
    }
}

/// What an exchange would set aside; after it, what it has set aside.
pub async fn loss(maria: &MariaDb, snapshot: &Snapshot, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    let mut session = maria.connect(Use::Looking, call).await?;
    let Some(copy) = own::copy(&mut session, &maria.server.database, &snapshot.id).await? else {
        return Err(Failure::unproven("the copy is gone"));
    };
    session.close().await;
    let live = &maria.server.database;
    match copy.phase {
        Phase::Exchanged => {
            // A report of what has happened; that it cannot be counted does not put it in doubt.
            let counted = between(maria, &copy.aside, live, call).await;
            Ok(counted.unwrap_or_else(|e| vec![Lost::uncounted(&e.message)]))
        }
        Phase::StandBy => between(maria, live, &copy.standby, call).await,
        _ => Err(Failure::unproven("the copy is not whole")),
    }
}

async fn between(maria: &MariaDb, goes: &str, comes: &str, call: &CallCtx) -> Result<Vec<Lost>, Failure> {
    let mut left = maria.connect(Use::Looking, call).await?;
    let mut right = maria.connect(Use::Looking, call).await?;
    let ours = content::tables(&mut left, goes).await?;
    let theirs = content::tables(&mut right, comes).await?;
    content::moment(&mut left).await?;
    content::moment(&mut right).await?;
    let mut news = News::new(COUNTING, &ours, call);
    let mut lost = Vec::new();
    for table in &ours {
        let part = table.name.clone();
        lost.push(match theirs.iter().find(|t| t.name == part) {
            Some(then) => compared((&mut left, goes, table), (&mut right, comes, then), &mut news).await?,
            None => Lost { part, rows: count(&mut left, goes, table).await?, changed: 0, missing: 0 },
        });
    }
    for table in &theirs {
        if !ours.iter().any(|t| t.name == table.name) {
            let missing = count(&mut right, comes, table).await?;
            lost.push(Lost { part: table.name.clone(), rows: 0, changed: 0, missing });
        }
    }
    left.close().await;
    right.close().await;
    lost.retain(|l| (l.rows, l.changed, l.missing) != (0, 0, 0));
    Ok(lost)
}

async fn count(session: &mut Session, schema: &str, table: &Table) -> Result<u64, Failure> {
    session.number(format!("SELECT COUNT(*) FROM {}", table.within(schema))).await
}

type Placed<'a> = (&'a mut Session, &'a str, &'a Table);

/// By what both can have: the columns of both, and the key if it is the same one.
async fn compared(live: Placed<'_>, then: Placed<'_>, news: &mut News<'_>) -> Result<Lost, Failure> {
    let (left, goes, ours) = live;
    let (right, comes, theirs) = then;
    let common: Vec<content::Column> = ours.columns.iter().filter(|c| theirs.columns.contains(c)).cloned().collect();
    let same_key = ours.key == theirs.key && ours.key.iter().all(|name| common.iter().any(|c| c.name == *name));
    let key: &[String] = if same_key { &ours.key } else { &[] };
    let places: Vec<usize> = key.iter().filter_map(|name| common.iter().position(|c| c.name == *name)).collect();
    let side = |session, schema: &str, table: &Table| pair::Side {
        session,
        select: content::select(&common, &table.within(schema), key),
    };
    let found = pair::difference(side(left, goes, ours), side(right, comes, theirs), &places, None, news).await?;
    let part = ours.name.clone();
    Ok(match found {
        Some(found) => Lost { part, rows: found.rows, changed: found.changed, missing: found.missing },
        None => Lost::uncounted(&format!("{part} differs in too many rows")),
    })
}

/// What the tables of a database take on the server's disk.
async fn size(session: &mut Session, schema: &str) -> Result<u64, Failure> {
    let sql = format!(
        "SELECT COALESCE(SUM(FILE_SIZE), 0) FROM information_schema.INNODB_SYS_TABLESPACES \
         WHERE SUBSTRING_INDEX(NAME, '/', 1) = {}",
        literal(&encoded(schema))
    );
    session.number(sql).await
}

/// As the server writes it where it names files.
fn encoded(schema: &str) -> String {
    let mut name = String::new();
    for c in schema.chars() {
        if c.is_ascii_alphanumeric() || c == '_' {
            name.push(c);
        } else {
            name.push_str(&format!("@{:04x}", u32::from(c)));
        }
    }
    name
}
