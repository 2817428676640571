//! Journals that somebody has been at: what an audit finds, and where; and runs that leave their host as one file.
mod exported;
mod heads;
mod relied_on;

use crate::{journal::chain::hashes, past::Site, story};
use backout::journal::{self, Entry, Journal, Level, Place};
use rusqlite::Connection;
use std::{fs, path::Path};

/// A site with three runs, and what its journal and head looked like.
pub async fn told() -> Site {
    let site = Site::new();
    for story in [story::rolled_back(), story::refused(), story::upgraded()] {
        site.tell_now(&story).await;
    }
    site
}

pub fn sql(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
}

/// Numbers the entries anew, and reckons all hashes: what somebody would do who knows how the chain is made.
pub fn chain_anew(path: &Path) {
    sql(path, "UPDATE entry SET id = -(SELECT count(*) FROM entry e WHERE e.id <= entry.id)");
    sql(path, "UPDATE entry SET id = -id");
    let db = Connection::open(path).unwrap();
    for (n, (should, _)) in hashes(path).into_iter().enumerate() {
        db.execute("UPDATE entry SET hash = ?1 WHERE id = ?2", (should, n as i64 + 1)).unwrap();
    }
}

/// What the audit of a journal says, a line for each finding.
pub fn findings(path: &Path) -> Vec<String> {
    let audit = journal::audit(path, &[]).unwrap();
    assert_eq!(audit.more, 0);
    audit.findings.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_journal_that_nobody_touched_is_verified() {
    let site = told().await;
    let audit = journal::audit(&site.journal(), &[]).unwrap();
    assert!(audit.is_clean(), "{:#?}", audit.findings);
    let entries = hashes(&site.journal()).len();
    assert_eq!((audit.entries as usize, audit.runs), (entries, 3));
    let (last, hash) = audit.last.unwrap();
    let head = audit.head.unwrap();
    assert_eq!((last as usize, head.entry, head.hash), (entries, last, hash), "signed at the end of each run");

    let before = fs::read(site.journal()).unwrap();
    let said = site.says(0, &["audit"]);
    let first =
        format!("✓ the journal is as it was written: {entries} entries of 3 runs, one chain from first to last\n");
    assert!(said.starts_with(&first), "{said}");
    assert_eq!(said.lines().last(), Some(head.to_string().as_str()));
    let json = site.json(&["--json", "audit"]);
    assert_eq!(
        (&json["clean"], &json["last"], &json["head"]["line"]),
        (&true.into(), &last.into(), &head.to_string().into())
    );
    assert!(fs::read(site.journal()).unwrap() == before, "an audit changes nothing");
}

#[test]
fn where_no_run_ever_was_there_is_nothing_wrong() {
    let site = Site::new();
    assert_eq!(site.says(0, &["audit"]), "✓ the journal is empty\n");
    assert!(!site.state().exists());
}

/// One entry, by whoever does not know of the chain, is found where it stands.
#[tokio::test]
async fn an_entry_that_was_touched_is_found_where_it_stands() {
    let fits = "its hash does not fit: it was altered, moved or put in, or what stands before it was";
    let cases = [
        (
            "UPDATE entry SET body = replace(body, 'acme', 'bcme') WHERE id = 1",
            vec![format!("entry 1 (run 1): {fits}")],
        ),
        ("UPDATE entry SET at = at + 1 WHERE id = 7", vec![format!("entry 7 (run 1, PLACE7): {fits}")]),
        ("UPDATE entry SET run = 2 WHERE id = 7", vec![format!("entry 7 (run 2, PLACE7): {fits}")]),
        ("UPDATE entry SET seq = seq + 1 WHERE id = 7", vec![format!("entry 7 (run 1, PLACE7): {fits}")]),
        ("DELETE FROM entry WHERE id = 7", vec!["entry 7: it is gone".to_owned()]),
        (
            "DELETE FROM entry WHERE id BETWEEN 1 AND 4",
            vec!["entry 1: it is gone, and so are all up to entry 4".to_owned()],
        ),
        (
            "UPDATE entry SET id = -7 WHERE id = 7; UPDATE entry SET id = 7 WHERE id = 8; UPDATE entry SET id = 8 WHERE id = -7",
            vec![
                format!("entry 7 (run 1, PLACE8): {fits}"),
                format!("entry 8 (run 1, PLACE7): {fits}"),
                format!("entry 9 (run 1, PLACE9): {fits}"),
            ],
        ),
        (
            "UPDATE entry SET hash = zeroblob(32) WHERE id = 7",
            vec![format!("entry 7 (run 1, PLACE7): {fits}"), format!("entry 8 (run 1, PLACE8): {fits}")],
        ),
        (
            "INSERT INTO entry SELECT 1 + (SELECT max(id) FROM entry), run, at, phase, rolled_back, step, attempt, seq, kind, body, \
             hash FROM entry WHERE id = 7",
            vec![format!("entry LAST (run 1, PLACE7): {fits}")],
        ),
        (
            "INSERT INTO entry SELECT 0, run, at, phase, rolled_back, step, attempt, seq, kind, body, hash FROM entry WHERE id = 7",
            vec!["entry 0: its number is out of order".to_owned(), "entry 1 (run 1): ".to_owned()],
        ),
    ];
    for (change, expected) in cases {
        let site = told().await;
        let place = |id: i64| {
            let db = Connection::open(site.journal()).unwrap();
            let row = |row: &rusqlite::Row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
            let (phase, step) = db.query_row("SELECT phase, step FROM entry WHERE id = ?1", [id], row).unwrap();
            Place::new(phase, false, step, 0).title()
        };
        let (seven, eight, nine) = (place(7), place(8), place(9));
        let last = hashes(&site.journal()).len() + 1;
        sql(&site.journal(), change);
        let found = findings(&site.journal());
        assert!(found.len() >= expected.len(), "{change}: {found:#?}");
        for (found, expected) in found.iter().zip(&expected) {
            let expected = expected
                .replace("PLACE7", &seven)
                .replace("PLACE8", &eight)
                .replace("PLACE9", &nine)
                .replace("LAST", &last.to_string());
            assert!(found.starts_with(&expected), "{change}: {found}\ninstead of {expected}");
        }
        if !change.starts_with("INSERT INTO entry SELECT 0") {
            assert_eq!(found.len(), expected.len(), "{change}: {found:#?}");
        }
        site.says(10, &["audit"]);
        assert_eq!(site.parse(10, &["audit", "--json"])["clean"], false);
    }
}

/// What is looked for through the index is what the table has: an index that has less is damage.
#[tokio::test]
async fn an_index_that_does_not_fit_its_table_is_found() {
    let site = told().await;
    let change = |from: &str, to: &str| {
        format!(
            "PRAGMA writable_schema = ON; \
             UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}') WHERE name = 'entry_mark'"
        )
    };
    sql(&site.journal(), &change("run-ended", "never"));
    sql(&site.journal(), "REINDEX");
    sql(&site.journal(), &change("never", "run-ended"));
    let found = findings(&site.journal());
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with("the file is damaged: its index has "), "{found:#?}");
    sql(&site.journal(), "REINDEX");
    assert_eq!(findings(&site.journal()), [""; 0]);
}

/// By somebody who knows the chain: then only what was signed tells.
#[tokio::test]
async fn a_chain_that_was_made_anew_is_not_what_was_signed() {
    let changes = [
        "UPDATE entry SET body = replace(body, 'acme', 'bcme') WHERE id = 1",
        "UPDATE entry SET at = at + 1 WHERE id = 7",
        "DELETE FROM entry WHERE id = (SELECT max(id) FROM entry)",
        "DELETE FROM entry WHERE run = 2",
        "DELETE FROM entry WHERE id > 20",
        "DELETE FROM entry",
    ];
    for change in changes {
        let site = told().await;
        let last = hashes(&site.journal()).len();
        sql(&site.journal(), change);
        chain_anew(&site.journal());
        let left = hashes(&site.journal()).len();
        let found = findings(&site.journal());
        let expected = match left == last {
            true => format!(
                "entry {last}: it is not what was signed as entry {last}: it, or what stands before it, was written anew"
            ),
            false => format!("entry {last} was signed, and the journal ends with entry {left}: cut off"),
        };
        assert!(found.contains(&expected), "{change}: {found:#?}");
    }
}

/// Without any head to hold it against, the order still tells.
#[tokio::test]
async fn an_order_that_cannot_have_been_is_found_in_a_whole_chain() {
    let mut places = 0;
    for kind in ["run-started", "step-started", "intent", "outcome"] {
        let site = told().await;
        sql(
            &site.journal(),
            &format!("DELETE FROM entry WHERE id = (SELECT min(id) FROM entry WHERE kind = '{kind}')"),
        );
        chain_anew(&site.journal());
        fs::remove_file(site.state().join("journal.head")).unwrap();
        let found = findings(&site.journal());
        assert!(found.iter().any(|line| line.contains("it is out of order: ")), "{kind}: {found:#?}");
        places += 1;
    }
    assert_eq!(places, 4);
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_is_found_in_a_whole_chain() {
    let cases = [
        ("SET body = '{\"entry\":\"sung\"}'", "it cannot be read: unknown variant `sung`"),
        ("SET body = ''", "it cannot be read: EOF"),
        ("SET kind = 'outcome'", "it cannot be read: it is called `outcome`, and is `"),
        ("SET run = -1", "it cannot be read: there is no run -1"),
        ("SET seq = 4294967296", "it cannot be read: 4294967296 is out of range"),
        ("SET attempt = -1", "it cannot be read: -1 is out of range"),
        ("SET step = CAST(x'ff00' AS TEXT)", "it cannot be read: invalid utf-8"),
    ];
    for (change, expected) in cases {
        let site = told().await;
        sql(&site.journal(), &format!("UPDATE entry {change} WHERE id = 5"));
        chain_anew(&site.journal());
        fs::remove_file(site.state().join("journal.head")).unwrap();
        let found = findings(&site.journal());
        assert!(
            found.iter().any(|line| line.starts_with("entry 5 ") && line.contains(expected)),
            "{change}: {found:#?}"
        );
    }
}

/// Whatever an entry says, what is told of it is one line that no terminal acts on.
#[tokio::test]
async fn what_is_told_of_an_entry_steers_no_terminal() {
    let site = told().await;
    sql(&site.journal(), "UPDATE entry SET phase = char(27) || '[2J' || char(10) || 'x', body = char(27) WHERE id = 5");
    let said = site.says(10, &["audit"]);
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    let lines = said.lines().take_while(|line| !line.starts_with("  ")).count();
    assert_eq!(lines, journal::audit(&site.journal(), &[]).unwrap().findings.len() + 1, "{said}");
}

/// While somebody writes, what stands there is verified, and nobody is kept from writing.
#[tokio::test]
async fn a_journal_that_is_written_to_is_verified() {
    let site = told().await;
    let header = story::header("upgrade");
    let (journal, run) = Journal::begin(&site.journal(), header, std::sync::Arc::new(|_| ())).unwrap();
    for n in 0..50 {
        let said = Entry::Said { level: Level::Info, text: format!("{n}") };
        journal.append(run, &Place::new("", false, "", 0), 0, said).await.unwrap();
        assert_eq!(findings(&site.journal()), [""; 0]);
    }
}
