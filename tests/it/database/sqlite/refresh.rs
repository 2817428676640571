//! Bringing a stand-by up to date: what a database can change, where damage can be, and who can come in between.
use super::{states::call_when, *};
use std::{fs, os::unix::fs::FileExt};

const PAGE: usize = 4096;

async fn refreshed(access: &Access<Database>, snapshot: &Snapshot) -> Snapshot {
    changes(access).refresh(snapshot, &call()).await.unwrap()
}

/// Proven, and rightly so: nothing of this is asked of Backout alone.
async fn stands(shop: &Shop, snapshot: &Snapshot, what: &str) {
    let access = shop.access(true);
    let copy = Path::new(&snapshot.place);
    assert!(fs::read(copy).unwrap() == fs::read(shop.path()).unwrap(), "{what}: the same to the last bit");
    looks(&access).inspect(snapshot, &call()).await.unwrap();
    // A copy is not to be opened by others: of another file with the same content it can be asked.
    let other = shop.folder.path().join("other.db");
    fs::copy(copy, &other).unwrap();
    assert_eq!(ask_file(&other, "PRAGMA integrity_check"), ["ok"], "{what}");
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint, "{what}");
    looks(&access).inspect(snapshot, &call()).await.unwrap();
}

/// Nothing says any more that it is proven. Who asks has all of it read: it may not have been reached by what was wrong.
async fn is_not_proven(shop: &Shop, snapshot: &Snapshot, what: &str) {
    assert!(!shop.home().join("7-shop/proof.json").exists(), "{what}");
    match looks(&shop.access(true)).inspect(snapshot, &call()).await {
        Err(failure) => assert_eq!(failure.kind, FailureKind::Unproven, "{what}: {failure}"),
        Ok(()) => {
            let other = shop.folder.path().join("other.db");
            fs::copy(&snapshot.place, &other).unwrap();
            assert_eq!(ask_file(&other, "PRAGMA integrity_check"), ["ok"], "{what}");
            let driver = Driver::Sqlite { path: other };
            let other = drivers::open(
                "other",
                &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method: Default::default() },
            );
            assert_eq!(looks(&other).fingerprint(&call()).await.unwrap(), snapshot.fingerprint, "{what}");
        }
    }
}

fn one_byte(path: &Path, at: usize) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at as u64).unwrap();
}

/// Where a text stands in a leaf of an index (10) or a table (13).
fn place_of(path: &Path, leaf: u8, text: &str) -> usize {
    let content = fs::read(path).unwrap();
    let pages = content.chunks(PAGE).enumerate().filter(|(_, page)| page[0] == leaf);
    let found = |page: &[u8]| page.windows(text.len()).position(|bytes| bytes == text.as_bytes());
    pages.filter_map(|(i, page)| Some(i * PAGE + found(page)?)).next().unwrap()
}

fn write_from_outside(path: &Path, at: usize) {
    let script = format!(
        "import sys\nwith open(sys.argv[1], 'r+b', 0) as f:\n f.seek({at})\n b = f.read(1)\n f.seek({at})\n f.write(bytes([b[0] ^ 1]))"
    );
    assert!(python(&script, path).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_has_changed_the_copy_is_the_database_again() {
    for mode in ["wal", "delete"] {
        let shop = Shop::new(mode);
        let access = shop.access(true);
        let mut snapshot = take(&access).await;
        for (sql, part) in [
            (
                "CREATE TABLE parcels (id INTEGER PRIMARY KEY, what TEXT); INSERT INTO parcels SELECT id, note FROM orders",
                "parcels is new (1000)",
            ),
            ("CREATE INDEX by_note ON orders (note)", "the schema differs"),
            // In an order in which the pages of the index are split again and again.
            ("UPDATE orders SET note = hex(randomblob(40)) || id", "orders has other content"),
            ("REINDEX", ""),
            ("DROP INDEX by_note", "the schema differs"),
            ("DROP TABLE items", "items is missing"),
            ("PRAGMA user_version = 7", "the schema differs"),
            ("ANALYZE", ""),
            ("DROP TABLE log; CREATE TABLE log (line INTEGER)", "log has 0, had 3"),
            ("PRAGMA auto_vacuum = incremental; VACUUM", "the schema differs"),
            ("DELETE FROM parcels WHERE id > 10; PRAGMA incremental_vacuum", "parcels has 10, had 1000"),
            ("DELETE FROM parcels; DELETE FROM orders; VACUUM", "orders has 0, had 1000"),
        ] {
            shop.sql(sql);
            let now = refreshed(&access, &snapshot).await;
            assert_eq!(now.detector, "page difference", "{sql}");
            assert!(now.copied > 0, "{sql}");
            let differences = now.fingerprint.differences(&snapshot.fingerprint);
            assert!(
                if part.is_empty() { differences.is_empty() } else { differences.contains(&part.to_owned()) },
                "{sql}: {differences:?}"
            );
            stands(&shop, &now, sql).await;
            snapshot = now;
        }
    }
}

/// The pages that the database has changed are not the only ones that may be other than they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_damaged_elsewhere_is_healed_and_one_damaged_later_is_found() {
    let shop = Shop::new("wal");
    shop.sql("CREATE INDEX by_note ON orders (note)");
    let access = shop.access(true);
    let mut snapshot = take(&access).await;
    let copy = PathBuf::from(&snapshot.place);
    let places = || {
        let end = copy.metadata().unwrap().len() as usize;
        [
            ("a value", place_of(&copy, 13, "note 500")),
            ("a value in an index", place_of(&copy, 10, "note 500")),
            ("the header", 0),
            ("the count of pages", 31),
            ("the count of changes", 27),
            ("the page size", 16),
            ("the last byte", end - 1),
            ("the head of a page", PAGE * 4),
        ]
    };
    for i in 0..places().len() {
        for changed in [true, false] {
            let (what, at) = places()[i];
            one_byte(&copy, at);
            if changed {
                shop.sql("UPDATE log SET line = line || '+'");
            }
            snapshot = refreshed(&access, &snapshot).await;
            stands(&shop, &snapshot, what).await;
        }
        let (what, at) = places()[i];
        one_byte(&copy, at);
        // What is in no use tells nothing of the content.
        if !matches!(what, "the count of pages" | "the count of changes" | "the last byte") {
            refused(&shop, FailureKind::Unproven, looks(&access).inspect(&snapshot, &call()).await);
        }
        snapshot = refreshed(&access, &snapshot).await;
        stands(&shop, &snapshot, what).await;
    }
    // Longer, and shorter.
    for length in [PAGE as i64, 1, -1, -(PAGE as i64)] {
        let file = fs::OpenOptions::new().write(true).open(&copy).unwrap();
        file.set_len(file.metadata().unwrap().len().wrapping_add_signed(length)).unwrap();
        snapshot = refreshed(&access, &snapshot).await;
        stands(&shop, &snapshot, "another length").await;
    }
}

/// Copied it is, to the last bit, and that is no proof.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_in_the_database_beside_what_has_changed_is_found() {
    let shop = Shop::new("wal");
    shop.sql("CREATE INDEX by_note ON orders (note)");
    let access = shop.access(true);
    let mut snapshot = take(&access).await;
    let path = shop.path();
    let root: usize = shop.ask("SELECT rootpage FROM sqlite_schema WHERE name = 'orders'")[0].parse().unwrap();
    for (what, at) in [
        // Every row can be read; only a comparison of index and table finds these.
        ("a value in an index", place_of(&path, 10, "note 500") + 6),
        ("a value in a table that an index knows", place_of(&path, 13, "note 500") + 6),
        ("the kind of a page", (root - 1) * PAGE),
        ("which page comes next", (root - 1) * PAGE + 11),
        ("how many pages are free", 39),
    ] {
        for changed in [true, false] {
            if changed {
                shop.sql("UPDATE log SET line = line || '+'");
            }
            one_byte(&path, at);
            let message = refused(&shop, FailureKind::Unproven, changes(&access).refresh(&snapshot, &call()).await);
            assert!(message.contains("damaged"), "{what}: {message}");
            is_not_proven(&shop, &snapshot, what).await;
            one_byte(&path, at);
            snapshot = refreshed(&access, &snapshot).await;
            stands(&shop, &snapshot, what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_writes_past_the_lock_while_a_copy_is_refreshed_is_found() {
    for mode in ["wal", "delete"] {
        let shop = Shop::new(mode);
        let access = shop.access(true);
        let mut snapshot = take(&access).await;
        let (live, copy) = (shop.path(), PathBuf::from(&snapshot.place));
        // A value, so that nothing of the structure tells.
        for (text, round) in [("note 500", 1), ("note 7", 2)] {
            shop.sql("UPDATE log SET line = line || '+'");
            let (path, at) = (live.clone(), place_of(&live, 13, text));
            let meanwhile = call_when("reading the database", move || write_from_outside(&path, at));
            let message = refused(&shop, FailureKind::Unproven, changes(&access).refresh(&snapshot, &meanwhile).await);
            assert!(
                message.contains("although it was locked") || message.contains("does not keep"),
                "{round}: {message}"
            );
            is_not_proven(&shop, &snapshot, text).await;
            snapshot = refreshed(&access, &snapshot).await;
            stands(&shop, &snapshot, text).await;
        }
        // The copy: it is mended where it was not compared yet, and refused where it was.
        for _ in 0..5 {
            shop.sql("UPDATE log SET line = line || '+'");
            let (path, at) = (copy.clone(), place_of(&copy, 13, "note 300"));
            let meanwhile = call_when("reading the database", move || write_from_outside(&path, at));
            match changes(&access).refresh(&snapshot, &meanwhile).await {
                Ok(now) => stands(&shop, &now, "the copy was mended").await,
                Err(failure) => {
                    assert_eq!(failure.kind, FailureKind::Unproven, "{failure}");
                    is_not_proven(&shop, &snapshot, "the copy").await;
                }
            }
            snapshot = refreshed(&access, &snapshot).await;
            stands(&shop, &snapshot, "the copy").await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_keeps_to_the_lock_waits_until_a_copy_is_refreshed() {
    for mode in ["wal", "delete"] {
        let shop = Shop::new(mode);
        let access = shop.access(true);
        let snapshot = take(&access).await;
        shop.sql("DELETE FROM log");
        let path = shop.path();
        let write = "import sqlite3, sys\nc = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)\n\
                     try:\n c.execute(\"INSERT INTO log VALUES ('in between')\")\n\
                     except sqlite3.OperationalError as e:\n print(e)\n";
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let meanwhile = call_when("reading the database", move || {
            let output = python(write, &path).output().unwrap();
            heard.lock().unwrap().push(String::from_utf8(output.stdout).unwrap());
        });
        let now = changes(&access).refresh(&snapshot, &meanwhile).await.unwrap();
        let said = said.lock().unwrap().clone();
        assert!(!said.is_empty() && said.iter().all(|words| words == "database is locked\n"), "{mode}: {said:?}");
        assert_eq!(now.fingerprint.differences(&snapshot.fingerprint), ["log has 0, had 3"]);
        stands(&shop, &now, mode).await;
        assert!(python(write, &shop.path()).output().unwrap().stdout.is_empty());
        assert_eq!(shop.ask("SELECT line FROM log"), ["in between"]);
    }
}
