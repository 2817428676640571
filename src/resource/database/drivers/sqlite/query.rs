//! What scripts may say in SQL.
use super::{
    connection::{self, told},
    held::held_by,
    mark::{self, Mark},
    places::{Places, SIDES, beside},
};
use crate::resource::{
    CallCtx, Failure,
    database::{MAX_BYTES, MAX_ROWS, Session},
};
use rusqlite::{
    Batch, Connection,
    fallible_iterator::FallibleIterator,
    hooks::{AuthAction, AuthContext, Authorization},
    limits::Limit,
    types::ValueRef,
};
use serde_json::Value;
use std::{os::unix::fs::MetadataExt, time::Instant};

const MAX_SQL: usize = 64 << 10;
const MAX_SCRIPT: usize = 1 << 20;
/// Of one value, also of those that a statement makes on its way. Nothing interrupts a function of SQL, and what some take grows
/// with the square of this; so what can never be an answer is not looked at.
const MAX_VALUE: i32 = 1 << 20;
const MAX_WRITTEN_VALUE: i32 = 16 << 20;

/// That look, with any argument.
const LOOKING: [&str; 10] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "integrity_check",
    "quick_check",
];
/// That look when they have no argument, and set something when they have one.
const SETTINGS: [&str; 9] = [
    "user_version",
    "application_id",
    "page_count",
    "page_size",
    "freelist_count",
    "encoding",
    "schema_version",
    "data_version",
    "journal_mode",
];

pub fn query(places: &Places, sql: &str, call: &CallCtx) -> Result<Vec<Vec<String>>, Failure> {
    limit_length(sql, MAX_SQL)?;
    let connection = connection::looking(&places.live()?.path, call).map_err(told)?;
    bound(&connection, MAX_VALUE)?;
    connection.authorizer(Some(may_look)).map_err(told)?;
    let mut statements = Batch::new(&connection, sql);
    let mut statement = statements.next().map_err(told)?.ok_or_else(|| Failure::invalid("there is no statement"))?;
    if !statement.readonly() {
        return Err(Failure::invalid("only statements that read are allowed here"));
    }
    if !matches!(statements.next(), Ok(None)) {
        return Err(Failure::invalid("only one statement is allowed here"));
    }
    let columns = statement.column_count();
    let mut rows = statement.query([]).map_err(told)?;
    let (mut answer, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(told)? {
        let row = (0..columns).map(|i| row.get_ref(i).map(text)).collect::<rusqlite::Result<Vec<_>>>().map_err(told)?;
        bytes += row.iter().map(|value| value.len() + 1).sum::<usize>();
        if answer.len() == MAX_ROWS || bytes > MAX_BYTES {
            return Err(Failure::invalid(format!("the answer has more than {MAX_ROWS} rows or {MAX_BYTES} bytes")));
        }
        answer.push(row);
    }
    Ok(answer)
}

fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(i) => i.to_string(),
        ValueRef::Real(r) => format!("{r:?}"),
        ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Blob(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Rows that changed, with those that triggers and foreign keys changed.
pub fn execute(
    places: &Places,
    sql: &str,
    call: &CallCtx,
    testify: impl Fn(Value) -> Result<(), Failure>,
) -> Result<u64, Failure> {
    limit_length(sql, MAX_SCRIPT)?;
    let live = places.live()?;
    let connection = connection::writing(&live.path, call).map_err(told)?;
    bound(&connection, MAX_WRITTEN_VALUE)?;
    let before = connection.total_changes();
    connection.execute_batch("BEGIN IMMEDIATE").map_err(told)?;
    let mark = Mark::new(&connection, live.file.ino(), live.path.to_string_lossy().into_owned())?;
    connection.authorizer(Some(may_write)).map_err(told)?;
    let mut statements = Batch::new(&connection, sql);
    let mut any = false;
    while let Some(mut statement) = statements.next().map_err(told)? {
        any = true;
        let mut rows = statement.query([]).map_err(told)?;
        while rows.next().map_err(told)?.is_some() {}
    }
    if !any {
        return Err(Failure::invalid("there is no statement"));
    }
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>).map_err(told)?;
    let rows = connection.total_changes() - before;
    testify(mark.put(&connection, rows)?)?;
    if Instant::now() >= call.deadline {
        return Err(Failure::timed_out("the time was over; nothing was changed"));
    }
    connection.execute_batch("COMMIT").map_err(told)?;
    // It has happened. A journal that cannot take this cannot take the outcome either, and says so then.
    let _ = mark::committed(rows).and_then(testify);
    Ok(rows)
}

fn limit_length(sql: &str, most: usize) -> Result<(), Failure> {
    if sql.len() > most {
        return Err(Failure::invalid(format!("the statement is longer than {most} bytes")));
    }
    if sql.contains('\0') {
        return Err(Failure::invalid("a statement has no NUL in it"));
    }
    Ok(())
}

fn bound(connection: &Connection, value: i32) -> Result<(), Failure> {
    let limits = [
        (Limit::SQLITE_LIMIT_LENGTH, value),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        (Limit::SQLITE_LIMIT_VDBE_OP, 250_000),
    ];
    limits.into_iter().try_for_each(|(limit, most)| connection.set_limit(limit, most).map(|_| ())).map_err(told)
}

fn may_look(context: AuthContext<'_>) -> Authorization {
    match context.action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => Authorization::Allow,
        AuthAction::Function { function_name } => function(function_name),
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let is = |names: &[&str]| names.iter().any(|name| name.eq_ignore_ascii_case(pragma_name));
            allowed(is(&LOOKING) || is(&SETTINGS) && pragma_value.is_none())
        }
        _ => Authorization::Deny,
    }
}

fn may_write(context: AuthContext<'_>) -> Authorization {
    match context.action {
        // One transaction from beginning to end, in one database.
        AuthAction::Transaction { .. } | AuthAction::Attach { .. } | AuthAction::Detach { .. } => Authorization::Deny,
        AuthAction::Unknown { .. } => Authorization::Deny,
        AuthAction::Function { function_name } => function(function_name),
        AuthAction::Pragma { pragma_name, .. } => {
            let versions = ["user_version", "application_id", "defer_foreign_keys"];
            match may_look(context) {
                Authorization::Allow => Authorization::Allow,
                _ => allowed(versions.iter().any(|name| name.eq_ignore_ascii_case(pragma_name))),
            }
        }
        _ => Authorization::Allow,
    }
}

fn function(name: &str) -> Authorization {
    allowed(!["load_extension", "fts3_tokenizer"].iter().any(|n| n.eq_ignore_ascii_case(name)))
}

fn allowed(yes: bool) -> Authorization {
    if yes { Authorization::Allow } else { Authorization::Deny }
}

/// The processes that have the database open. SQLite keeps no list of its connections, so a session is a process, and as old as
/// the process.
pub fn activity(places: &Places) -> Result<Vec<Session>, Failure> {
    let path = places.live()?.path;
    let inodes: Vec<u64> = std::iter::once(path.clone())
        .chain(SIDES.map(|s| beside(&path, s)))
        .filter_map(|p| p.metadata().ok())
        .map(|f| f.ino())
        .collect();
    let locks = procfs::locks().unwrap_or_default();
    let state = |pid: u32| {
        let own = locks.iter().filter(|lock| lock.pid == i32::try_from(pid).ok() && inodes.contains(&lock.inode));
        let writing = own.clone().any(|lock| matches!(lock.kind, procfs::LockKind::Write));
        match (writing, own.count()) {
            (true, _) => "writing",
            (false, 0) => "open",
            (false, _) => "reading",
        }
    };
    let sessions = held_by(&path)?.into_iter().map(|holder| Session {
        state: state(holder.pid).to_owned(),
        age_seconds: age(holder.pid).unwrap_or_default(),
        who: holder.to_string(),
    });
    Ok(sessions.collect())
}

fn age(pid: u32) -> Option<u32> {
    let started = procfs::process::Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?.starttime;
    let up = <procfs::Uptime as procfs::Current>::current().ok()?.uptime_duration().as_secs();
    u32::try_from(up.saturating_sub(started / procfs::ticks_per_second())).ok()
}
