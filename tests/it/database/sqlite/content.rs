//! What may be in a database, what a script may do with it, and which files are refused.
use super::*;

#[tokio::test]
async fn only_a_file_of_its_own_is_exchanged() {
    let shop = Shop::new("wal");
    let other = shop.folder.path().join("other.db");
    std::fs::hard_link(shop.path(), &other).unwrap();
    refused(&shop, FailureKind::Conflict, changes(&shop.access(true)).take("7-shop", &call()).await);
    let snapshot = take(&shop.access(false)).await;
    refused(&shop, FailureKind::Conflict, changes(&shop.access(true)).exchange(&snapshot, &call()).await);
    std::fs::remove_file(shop.path()).unwrap();
    std::os::unix::fs::symlink(&other, shop.path()).unwrap();
    refused(&shop, FailureKind::Invalid, changes(&shop.access(true)).exchange(&snapshot, &call()).await);
    refused(&shop, FailureKind::Invalid, shop.access(true).mutator.fence(Duration::ZERO, &call()).await);
    refused(&shop, FailureKind::Invalid, shop.access(true).observer.query("SELECT 1", &call()).await);
    assert!(shop.path().is_symlink());
    std::fs::remove_file(shop.path()).unwrap();
    std::fs::create_dir(shop.path()).unwrap();
    refused(&shop, FailureKind::Failed, shop.access(true).mutator.fence(Duration::ZERO, &call()).await);
}

#[tokio::test]
async fn names_stay_in_their_folder() {
    let shop = Shop::new("wal");
    let access = shop.access(true);
    for id in ["", "..", "../x", "a/b", ".hidden", "live", "a b", &"x".repeat(300)] {
        refused(&shop, FailureKind::Invalid, changes(&access).take(id, &call()).await);
    }
    assert_eq!(shop.names(), ["shop.db"]);
    let snapshot = take(&access).await;
    let elsewhere = Snapshot { place: "/etc/passwd".into(), ..snapshot };
    refused(&shop, FailureKind::Conflict, changes(&access).discard(&elsewhere, &call()).await);
    // A folder that is not ours could be exchanged under our hands.
    let shop = Shop::new("wal");
    let target = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(target.path(), shop.folder.path().join(".backout")).unwrap();
    refused(&shop, FailureKind::Failed, changes(&shop.access(true)).take("7-shop", &call()).await);
    assert_eq!(target.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_script_cannot_leave_the_database() {
    let shop = Shop::new("wal");
    let access = shop.access(true);
    let other = shop.folder.path().join("other.db");
    for sql in [
        &*format!("ATTACH '{}' AS other", other.display()),
        &*format!("VACUUM INTO '{}'", other.display()),
        "PRAGMA user_version = 7",
        "PRAGMA journal_mode = delete",
        "PRAGMA database_list",
        "SELECT * FROM pragma_database_list",
        "PRAGMA query_only = 0",
        "PRAGMA wal_checkpoint",
        "SELECT load_extension('x')",
        "SAVEPOINT s",
        "ANALYZE",
        "REINDEX",
    ] {
        let message = refused(&shop, FailureKind::Invalid, access.observer.query(sql, &call()).await);
        assert!(!message.is_empty());
    }
    for sql in [
        &*format!("ATTACH '{}' AS other", other.display()),
        &*format!("VACUUM INTO '{}'", other.display()),
        "PRAGMA journal_mode = delete",
        "PRAGMA writable_schema = 1",
        "SELECT load_extension('x')",
        "DETACH main",
    ] {
        let failure = access.mutator.execute(sql, &call()).await.unwrap_err();
        assert!(matches!(failure.kind, FailureKind::Invalid | FailureKind::Failed), "{failure}");
        assert!(!failure.message.contains(&shop.secret()), "{failure}");
    }
    assert!(!other.exists());
    assert_eq!(access.observer.query("SELECT name FROM pragma_table_info('log')", &call()).await.unwrap(), [["line"]]);
    assert_eq!(access.observer.query("PRAGMA user_version", &call()).await.unwrap(), [["0"]]);
    access.mutator.execute("PRAGMA user_version = 7", &call()).await.unwrap();
    assert_eq!(shop.ask("PRAGMA user_version"), ["7"]);
}

const WEIRD: &str = "
    CREATE TABLE plain (a, b);
    CREATE TABLE \"two words\" (\"a \"\"quoted\"\" one\" TEXT COLLATE NOCASE PRIMARY KEY, rowid, value);
    CREATE TABLE pair (a TEXT, b INT, c BLOB, PRIMARY KEY (a, b)) WITHOUT ROWID;
    CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, made TEXT DEFAULT 'x');
    CREATE TABLE computed (a INT, twice INT AS (a * 2), thrice INT AS (a * 3) STORED);
    CREATE TABLE old_key (k TEXT PRIMARY KEY, v);
    CREATE VIRTUAL TABLE texts USING fts5(body);
    CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1);
    CREATE VIEW shown AS SELECT a FROM plain;
    CREATE TRIGGER touched AFTER INSERT ON plain BEGIN INSERT INTO counted (made) VALUES ('t'); END;
    INSERT INTO plain VALUES (1, 'a'), ('1', 'a'), (1.0, 'a'), (x'31', 'a'), (NULL, NULL), (NULL, NULL);
    INSERT INTO \"two words\" VALUES ('b', 1, NULL), ('A', 2, 'x'), ('c', 3, 1e300);
    INSERT INTO pair VALUES ('x', 1, zeroblob(5000)), ('w', 2, NULL);
    INSERT INTO computed (a) VALUES (1), (2);
    INSERT INTO old_key VALUES (NULL, 2), (NULL, 1), ('k', 3);
    INSERT INTO texts VALUES ('hello world'), ('good bye');
    INSERT INTO boxes VALUES (1, 0, 5);
    ANALYZE;
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_every_form_are_compared() {
    let shop = Shop::empty("wal");
    shop.sql(WEIRD);
    let access = shop.access(true);
    let fingerprint = async || looks(&access).fingerprint(&call()).await.unwrap();
    let before = fingerprint().await;
    let names: Vec<&str> = before.parts.iter().map(|p| &*p.name).collect();
    for name in [
        "plain",
        "two words",
        "pair",
        "counted",
        "computed",
        "old_key",
        "sqlite_sequence",
        "texts_content",
        "boxes_node",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(
        !names.iter().any(|name| name.starts_with("sqlite_stat") || ["shown", "texts", "boxes"].contains(name)),
        "{names:?}"
    );

    // The same content, stored otherwise.
    shop.sql("CREATE TABLE p AS SELECT * FROM plain ORDER BY rowid DESC; DELETE FROM plain; DROP TRIGGER touched; INSERT INTO plain SELECT * FROM p; DROP TABLE p;
              CREATE TRIGGER touched AFTER INSERT ON plain BEGIN INSERT INTO counted (made) VALUES ('t'); END;
              CREATE TABLE k AS SELECT * FROM old_key ORDER BY v; DELETE FROM old_key; INSERT INTO old_key SELECT * FROM k; DROP TABLE k; ANALYZE; VACUUM");
    assert_eq!(fingerprint().await.differences(&before), [""; 0]);

    // Other content, that SQL calls equal or nearly so.
    for (sql, part) in [
        ("UPDATE plain SET a = 1 WHERE typeof(a) = 'text'", "plain"),
        ("UPDATE plain SET b = 'A' WHERE typeof(a) = 'blob'", "plain"),
        ("UPDATE \"two words\" SET \"a \"\"quoted\"\" one\" = 'a' WHERE rowid = 2", "two words"),
        ("UPDATE pair SET c = zeroblob(5001) WHERE a = 'x'", "pair"),
        ("UPDATE sqlite_sequence SET seq = 99", "sqlite_sequence"),
        ("UPDATE computed SET a = 5 WHERE a = 2", "computed"),
        ("UPDATE old_key SET v = 7 WHERE v = 1", "old_key"),
        ("UPDATE texts SET body = 'good day' WHERE body = 'good bye'", "texts_content"),
        ("UPDATE boxes SET x1 = 6", "boxes_node"),
    ] {
        let before = fingerprint().await;
        shop.sql(sql);
        let differences = fingerprint().await.differences(&before);
        assert!(differences.contains(&format!("{part} has other content")), "{sql}: {differences:?}");
    }
    for sql in ["PRAGMA user_version = 3", "PRAGMA application_id = 4", "DROP TRIGGER touched", "DROP VIEW shown"] {
        let before = fingerprint().await;
        shop.sql(sql);
        assert_eq!(fingerprint().await.differences(&before), ["the schema differs"], "{sql}");
    }
    let snapshot = take(&access).await;
    shop.sql("DELETE FROM plain WHERE a IS NULL; UPDATE pair SET c = 1 WHERE a = 'w'; INSERT INTO \"two words\" VALUES ('d', 4, 0);
              UPDATE \"two words\" SET value = 'X' WHERE value = 'x'; UPDATE old_key SET v = 8 WHERE k = 'k'");
    let loss = looks(&access).loss(&snapshot, &call()).await.unwrap();
    assert_eq!(
        loss,
        [lost("old_key", 0, 1, 0), lost("pair", 0, 1, 0), lost("plain", 0, 0, 2), lost("two words", 1, 1, 0)]
    );
    fence(&access).await;
    let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    changes(&access).exchange(&refreshed, &call()).await.unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(shop.ask("PRAGMA integrity_check"), ["ok"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_database_and_one_that_shrinks_are_refreshed() {
    let shop = Shop { folder: tempfile::tempdir().unwrap(), mode: "delete" };
    std::fs::write(shop.path(), "").unwrap();
    let access = shop.access(true);
    let snapshot = take(&access).await;
    assert_eq!(snapshot.fingerprint.parts, []);
    shop.sql("PRAGMA page_size = 1024; CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i FROM n");
    fence(&access).await;
    let large = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(large.fingerprint.count(), 5000);
    access.mutator.unfence(&call()).await.unwrap();
    shop.sql("DELETE FROM t WHERE a > 7; PRAGMA page_size = 4096; VACUUM");
    fence(&access).await;
    let small = changes(&access).refresh(&large, &call()).await.unwrap();
    assert_eq!(small.fingerprint.count(), 7);
    assert!(small.bytes < large.bytes);
    looks(&access).inspect(&small, &call()).await.unwrap();
}

/// Pages that two database files do not share; what a backup counts in the first one does not make it another.
fn differing(one: &Path, other: &Path) -> u64 {
    let pages = |path: &Path| -> Vec<Vec<u8>> {
        let mut content = std::fs::read(path).unwrap();
        for counter in [24..28, 40..44, 92..100] {
            content[counter].fill(0);
        }
        content.chunks(4096).map(<[u8]>::to_vec).collect()
    };
    let (one, other) = (pages(one), pages(other));
    let common = one.iter().zip(&other).filter(|(a, b)| a != b).count();
    (common + one.len().saturating_sub(other.len())) as u64
}

#[tokio::test]
async fn a_refresh_copies_each_page_that_differs_wherever_it_is() {
    let shop = Shop::new("wal");
    shop.sql(
        "CREATE TABLE big (id INTEGER PRIMARY KEY, x);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
             INSERT INTO big SELECT i, zeroblob(1500) FROM n",
    );
    let access = shop.access(true);
    let mut snapshot = take(&access).await;
    let copy = Path::new(&snapshot.place).to_owned();
    for sql in [
        "UPDATE big SET x = zeroblob(1499) WHERE id IN (1, 1200, 1201, 2999)",
        "UPDATE big SET x = zeroblob(1498) WHERE id > 2990",
        "INSERT INTO big SELECT id + 3000, x FROM big",
        "DELETE FROM big WHERE id > 2000; VACUUM",
        "UPDATE log SET line = 'first' WHERE line = 'one'",
    ] {
        shop.sql(sql);
        let expected = differing(&shop.path(), &copy);
        let longer = copy.metadata().unwrap().len() > shop.path().metadata().unwrap().len();
        fence(&access).await;
        snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        assert_eq!((&*snapshot.detector, snapshot.copied), ("page difference", expected + u64::from(longer)), "{sql}");
        assert!(expected > 0, "{sql}");
        access.mutator.unfence(&call()).await.unwrap();
        assert_eq!((differing(&shop.path(), &copy), differing(&copy, &shop.path())), (0, 0), "{sql}");
        assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap(), "{sql}");
        looks(&access).inspect(&snapshot, &call()).await.unwrap();
    }
}
