//! Journals: damaged files, rows that hold something else, and what is told from entries that nobody wrote.
use super::{damage::*, in_little_memory, remember, run};
use crate::story::{self, Story};
use backout::{
    journal::{self, Entry, Head, Header, Journal, Reader, Recorded},
    report::{self, Report},
    run::restore_point,
};
use proptest::{prelude::*, sample::Index};
use rusqlite::types::Value as SqlValue;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path, sync::Arc};

#[test]
fn journals() {
    in_little_memory("journal");
}

fn stories() -> Vec<Story> {
    vec![
        story::upgraded(),
        story::rolled_back(),
        story::stopped(),
        story::refused(),
        story::interrupted(),
        story::turning_back(),
    ]
}

/// Everything that is told of a journal, by any command.
fn tell(entries: &[Recorded]) {
    for point in restore_point::points(entries) {
        let _ = (point.memory(), point.bytes(), point.proven());
        serde_json::to_string(&point).unwrap();
    }
    let runs: BTreeSet<u64> = entries.iter().map(|r| r.run).collect();
    for run in runs {
        let own: Vec<Recorded> = entries.iter().filter(|r| r.run == run).cloned().collect();
        for earlier in [&[], entries] {
            let report = Report::of(&own, earlier);
            let markdown = report::markdown(&report);
            assert!(!markdown.contains(|c: char| c.is_control() && c != '\n'), "{markdown:?}");
            serde_json::from_str::<Value>(&report::json(&report).unwrap()).unwrap();
            let _ = (report::stopped(&report), report.down_millis());
        }
    }
}

/// What is read from a file, or the errors that say why nothing is.
fn read(path: &Path, whole: &Whole) {
    let told = |error: backout::journal::Error| {
        let told = error.to_string();
        assert!(told.len() < 2000 && !told.contains(char::is_control), "{told:?}");
    };
    whole.audit(path);
    let reader = match Reader::find(path) {
        Ok(Some(reader)) => reader,
        Ok(None) => return,
        Err(error) => return told(error),
    };
    let _ = reader.runs().map_err(told);
    let _ = reader.durations("acme/shop", "upgrade", "install").map_err(told);
    let _ = reader.entries(12).map(|entries| tell(&entries)).map_err(told);
    let _ = reader.since(0).map(|entries| tell(&entries)).map_err(told);
    drop(reader);
    // Whether anything can be added to it or not.
    let _ = Journal::begin(path, Header::default(), Arc::new(|_| ())).map(drop).map_err(told);
}

/// What was written, and how far it was signed.
struct Whole {
    head: Head,
    rows: Vec<Vec<SqlValue>>,
}

impl Whole {
    fn of(path: &Path) -> Self {
        let head = Head::at(&path.with_extension("head")).unwrap().unwrap();
        let whole = Self { head, rows: rows(path).unwrap() };
        assert!(whole.audit(path), "nobody has touched it yet");
        whole
    }

    /// Whatever was done to a journal, it is verified only when all that was written stands in it.
    fn audit(&self, path: &Path) -> bool {
        let audit = match journal::audit(path, std::slice::from_ref(&self.head)) {
            Ok(audit) => audit,
            Err(error) => {
                assert!(error.to_string().len() < 2000);
                return false;
            }
        };
        for finding in &audit.findings {
            let told = finding.to_string();
            assert!(told.len() < 2000 && !told.contains(char::is_control), "{told:?}");
        }
        if audit.is_clean() {
            assert_eq!(rows(path).unwrap(), self.rows, "verified, and not what was written");
        }
        audit.is_clean()
    }
}

/// All that stands in a journal.
fn rows(path: &Path) -> rusqlite::Result<Vec<Vec<SqlValue>>> {
    let db = rusqlite::Connection::open(path)?;
    let mut statement = db.prepare("SELECT * FROM entry ORDER BY id")?;
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row| (0..columns).map(|column| row.get(column)).collect();
    statement.query_map([], row)?.collect()
}

/// A journal that two runs have written.
fn written(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for story in [story::rolled_back(), story::stopped()] {
        let Entry::RunStarted(header) = &story.entries[0].entry else { panic!() };
        let (journal, run) = Journal::begin(path, header.clone(), Arc::new(|_| ())).unwrap();
        for r in &story.entries[1..] {
            journal.note(run, &r.place, r.seq, r.entry.clone());
        }
        runtime.block_on(journal.flush()).unwrap();
    }
    // The head is the last entry's.
    drop(Journal::begin(path, Header::default(), Arc::new(|_| ())).unwrap());
}

#[test]
#[ignore = "run by `journals` in a process of its own"]
fn a_damaged_file_is_read_or_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    written(&path);
    let original = Whole::of(&path);
    let whole = fs::read(&path).unwrap();
    // A page in a place that is not its own is damage of another sort.
    let pages = whole.chunks(4096).map(<[u8]>::to_vec).collect();
    let damaged = prop_oneof![3 => damaged_bytes(vec![whole]), 1 => damaged_list(pages)];
    run(200, damaged, |Bytes(bytes)| {
        remember("journal", &bytes);
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(dir.path().join(format!("journal.db{ending}")));
        }
        fs::write(&path, bytes).unwrap();
        read(&path, &original);
    });
}

const COLUMNS: &[&str] = &["id", "run", "at", "phase", "rolled_back", "step", "attempt", "seq", "kind", "body", "hash"];

/// Rows that somebody exchanged, doubled, removed, or filled with something else; the file itself is in order.
#[test]
#[ignore = "run by `journals` in a process of its own"]
fn rows_that_were_changed_are_never_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    written(&path);
    let original = Whole::of(&path);
    let db = rusqlite::Connection::open(&path).unwrap();
    let last = original.rows.len();
    let value = prop_oneof![
        prop::sample::select(NUMBERS).prop_map(|number| number.to_string()),
        Just("'x'".to_owned()),
        Just("NULL".to_owned()),
        Just("x'00ff'".to_owned()),
        Just("zeroblob(32)".to_owned()),
        Just("CAST(x'fffe' AS TEXT)".to_owned()),
        Just("(SELECT body FROM entry WHERE id = 1)".to_owned()),
        Just("(SELECT hash FROM entry WHERE id = 1)".to_owned()),
        Just("9e999".to_owned()),
    ];
    let change = (any::<Index>(), any::<Index>(), prop::sample::select(COLUMNS), value, 0..6).prop_map(
        move |(one, other, column, value, what)| {
            let (one, other) = (one.index(last) + 1, other.index(last) + 1);
            match what {
                0 => format!("DELETE FROM entry WHERE id = {one}"),
                1 => format!("DELETE FROM entry WHERE id >= {one}"),
                2 => format!(
                    "UPDATE entry SET id = -{one} WHERE id = {one}; UPDATE entry SET id = {one} WHERE id = {other}; \
                     UPDATE entry SET id = {other} WHERE id = -{one}"
                ),
                3 => format!("UPDATE entry SET body = (SELECT body FROM entry WHERE id = {other}) WHERE id = {one}"),
                _ => format!("UPDATE entry SET {column} = {value} WHERE id = {one}"),
            }
        },
    );
    run(150, prop::collection::vec(change, 1..4), |changes| {
        remember("journal", changes.join("\n"));
        db.execute_batch("SAVEPOINT whole").unwrap();
        // What the table itself refuses, nobody could have done.
        changes.iter().for_each(|change| drop(db.execute_batch(change)));
        db.execute_batch("RELEASE whole").unwrap();
        original.audit(&path);
        db.execute_batch("BEGIN; DELETE FROM entry").unwrap();
        for row in &original.rows {
            db.execute("INSERT INTO entry VALUES (?,?,?,?,?,?,?,?,?,?,?)", rusqlite::params_from_iter(row)).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
    });
    assert!(original.audit(&path), "put back as it was");
}

/// Under a limit of memory, in which the value itself would not fit twice.
#[test]
#[ignore = "run by `journals` in a process of its own"]
fn a_value_without_measure_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    written(&path);
    let original = Whole::of(&path);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch("UPDATE entry SET body = CAST(zeroblob(200000000) AS TEXT) WHERE id = 3").unwrap();
    drop(db);
    assert!(!original.audit(&path));
    let error = Reader::open(&path).unwrap().entries(1).unwrap_err();
    assert!(error.to_string().contains("too big"), "{error}");
}

const NUMBERS: &[i64] = &[i64::MIN, -1, 0, 1, 2, 255, 256, u32::MAX as i64, 1 << 33, i64::MAX];

#[test]
#[ignore = "run by `journals` in a process of its own"]
fn a_row_with_another_content_is_read_or_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    written(&path);
    let original = Whole::of(&path);
    let db = rusqlite::Connection::open(&path).unwrap();
    let bodies: Vec<String> = {
        let mut statement = db.prepare("SELECT body FROM entry").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let column = prop::sample::select(vec!["run", "at", "rolled_back", "attempt", "seq"]);
    let row = (any::<Index>(), damaged_text(bodies.clone(), &[]), column, prop::sample::select(NUMBERS));
    run(200, row, |(at, Bytes(body), column, number)| {
        let (id, body) = (at.index(bodies.len()) + 1, String::from_utf8_lossy(&body).into_owned());
        remember("journal", format!("{id} {column} {number} {body}"));
        db.execute_batch("PRAGMA foreign_keys = OFF; BEGIN").unwrap();
        db.execute("UPDATE entry SET body = ?1 WHERE id = ?2", (&body, id as i64)).unwrap();
        db.execute(&format!("UPDATE entry SET {column} = ?1 WHERE id = ?2"), (number, id as i64)).unwrap();
        db.execute_batch("COMMIT").unwrap();
        let reader = Reader::open(&path).unwrap();
        let _ = (reader.runs().is_ok(), reader.durations("acme/shop", "upgrade", "install").is_ok());
        let _ = reader.since(0).map(|entries| tell(&entries));
        original.audit(&path);
        let sql = format!("UPDATE entry SET body = ?1, {column} = ?2 WHERE id = ?3");
        let before = &original.rows[id - 1][COLUMNS.iter().position(|name| *name == column).unwrap()];
        db.execute(&sql, (&bodies[id - 1], before, id as i64)).unwrap();
    });
}

/// Found by the damage above: sums of what a journal says have to stay sums.
#[test]
fn numbers_without_measure_are_told() {
    let most = u64::MAX / 2 + 1;
    let mut entries = story::rolled_back().entries;
    let mut found = 0;
    for r in &mut entries {
        match &mut r.entry {
            Entry::Outcome { result: Ok(value), millis } => {
                *millis = most;
                for name in ["/bytes", "/copied", "/lost/0/rows", "/lost/0/changed", "/lost/0/missing"] {
                    if let Some(number) = value.pointer_mut(name) {
                        *number = most.into();
                        found += 1;
                    }
                }
            }
            Entry::StepEnded { millis, .. } => *millis = most,
            _ => {}
        }
    }
    assert!(found >= 10, "{found}");
    tell(&entries);
}

/// Somewhere in an entry, something else.
pub fn value() -> impl Strategy<Value = Value> {
    let numbers = prop::sample::select(NUMBERS).prop_map(Value::from);
    let texts = [
        "",
        "upgrade",
        "rollback",
        "prepare",
        "database:shop-prod",
        "12-orders",
        "a\u{1b}[2Jb",
        "é\u{202e}\n| x |",
        "🙂",
    ];
    let others = vec![
        Value::Null,
        json!(u64::MAX),
        json!(1e308),
        json!(-0.0),
        json!(true),
        json!([]),
        json!({}),
        json!({ "Ok": null }),
        json!("x".repeat(100_000)),
        json!(vec![0; 5000]),
    ];
    let others = others.into_iter().chain(texts.map(Value::from)).collect::<Vec<_>>();
    prop_oneof![numbers, prop::sample::select(others)]
}

/// The place in a document that has this number, counted modulo its places.
pub fn node<'v>(document: &'v mut Value, at: &Index) -> &'v mut Value {
    fn pointers(value: &Value, here: &str, found: &mut Vec<String>) {
        found.push(here.to_owned());
        let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
        match value {
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(n, item)| pointers(item, &format!("{here}/{n}"), found));
            }
            Value::Object(fields) => {
                fields.iter().for_each(|(key, field)| pointers(field, &format!("{here}/{}", escaped(key)), found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    pointers(document, "", &mut found);
    let pointer = &found[at.index(found.len())];
    document.pointer_mut(pointer).unwrap()
}

#[test]
#[ignore = "run by `journals` in a process of its own"]
fn anything_that_can_be_read_can_be_told() {
    let stories: Vec<Vec<Value>> = stories()
        .into_iter()
        .map(|story| story.entries.iter().map(|r| serde_json::to_value(r).unwrap()).collect())
        .collect();
    for story in &stories {
        let entries: Vec<Recorded> = story.iter().map(|r| serde_json::from_value(r.clone()).unwrap()).collect();
        tell(&entries);
    }
    let edits = prop::collection::vec((any::<Index>(), any::<Index>(), value()), 0..8);
    let entries = prop::sample::select(stories).prop_flat_map(damaged);
    run(250, (entries, edits), |(mut entries, edits)| {
        let length = entries.len();
        for (entry, place, value) in edits.iter().filter(|_| length > 0) {
            *node(&mut entries[entry.index(length)], place) = value.clone();
        }
        remember("journal", serde_json::to_vec(&entries).unwrap());
        // What cannot be read is named by the reader, and told by nobody.
        let entries: Vec<Recorded> = entries.into_iter().filter_map(|r| serde_json::from_value(r).ok()).collect();
        tell(&entries);
    });
}
