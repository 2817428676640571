//! What a refresh looks at: what the server's log says was written to, and all of it where the log does not say.
use super::*;

/// By what changes are found on this shop's server.
fn found_by(shop: &Shop) -> &'static str {
    if std::ptr::eq(shop.on, &raw const *EIGHTEEN) { "wal summaries" } else { "wal records" }
}

async fn refresh(access: &Access<Database>, snapshot: &Snapshot) -> Snapshot {
    let refreshed = changes(access).refresh(snapshot, &call()).await.unwrap();
    assert_eq!(refreshed.fingerprint, looks(access).fingerprint(&call()).await.unwrap());
    refreshed
}

/// A summary also tells the blocks in which somebody has only noted what he saw, so there it may be some tables more.
#[track_caller]
fn told(shop: &Shop, snapshot: &Snapshot, expected: &str, why: &str) {
    let by = found_by(shop);
    if by == "wal records" {
        assert_eq!(snapshot.detector, format!("{by}: {expected}"), "{why}");
        return;
    }
    let looked = |text: &str| text.split(' ').next().unwrap().parse::<u32>().unwrap();
    let said = snapshot.detector.strip_prefix(&format!("{by}: ")).unwrap_or_else(|| panic!("{}", snapshot.detector));
    assert!((looked(expected)..=looked(expected) + 2).contains(&looked(said)), "{said}, not {expected}: {why}");
}

/// As a superuser; what others have looked at, and when, is written down, which is no change.
fn vacuum(shop: &Shop) {
    shop.on.sql(&shop.database, "VACUUM ANALYZE");
}

fn slots(shop: &Shop) -> Vec<String> {
    let slot = shop.slot("7-shop");
    shop.on.ask("postgres", &format!("SELECT slot_name FROM pg_replication_slots WHERE slot_name = '{slot}'"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_was_written_to_is_looked_at() {
    for shop in [Shop::new(), Shop::on_18()] {
        for i in 0..6 {
            shop.sql(&format!(
                "CREATE TABLE t{i} (id INT PRIMARY KEY, v TEXT); INSERT INTO t{i} SELECT i, i FROM generate_series(1, 50) i"
            ));
        }
        // The log does not tell of the first two.
        shop.sql(
            "CREATE UNLOGGED TABLE unlogged (a INT); INSERT INTO unlogged VALUES (1);
             CREATE TABLE named (what regclass[]); INSERT INTO named VALUES ('{t1}');
             CREATE TABLE part (id INT, at INT) PARTITION BY LIST (at); CREATE TABLE part1 PARTITION OF part FOR VALUES IN (1);
             CREATE TABLE part2 PARTITION OF part FOR VALUES IN (2); INSERT INTO part SELECT i, i % 2 + 1 FROM generate_series(1, 10) i;
             CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM t0; CREATE SEQUENCE numbers CYCLE; SELECT lo_create(4711)",
        );
        vacuum(&shop);
        let access = shop.access(true);
        let planned = looks(&access).detector(&call()).await.unwrap().unwrap();
        assert!(planned.starts_with(&format!("changes are found by {}, so of ", found_by(&shop))), "{planned}");
        let mut snapshot = take(&access).await;
        assert_eq!(slots(&shop).len(), usize::from(found_by(&shop) == "wal records"), "{}", found_by(&shop));
        for (change, looked, copied) in [
            ("SELECT count(*) FROM orders", 2, 0),
            ("UPDATE t0 SET v = 'x' WHERE id = 7; INSERT INTO t0 VALUES (51, 'y'); DELETE FROM t0 WHERE id = 1", 3, 2),
            ("TRUNCATE t1", 3, 50),
            ("TRUNCATE t2; INSERT INTO t2 SELECT i, i FROM generate_series(1, 50) i", 3, 0),
            ("ALTER TABLE t3 ALTER v TYPE TEXT USING 'n' || v", 3, 50),
            ("UPDATE unlogged SET a = 2", 2, 1),
            ("UPDATE part SET id = -id WHERE at = 2", 3, 5),
            ("SELECT nextval('numbers') FROM generate_series(1, 5)", 2, 0),
            ("SELECT lo_put(4711, 0, 'large')", 2, 1),
            (
                "UPDATE orders SET note = (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 500) i) WHERE id = 3",
                3,
                1,
            ),
            ("UPDATE orders SET total = 0 WHERE id = 3; UPDATE log SET line = line || '!'", 4, 4),
            ("BEGIN; SAVEPOINT a; DELETE FROM t4; ROLLBACK TO a; UPDATE t5 SET v = NULL WHERE id = 1; COMMIT", 4, 1),
            ("BEGIN; DELETE FROM items WHERE order_id = 1; PREPARE TRANSACTION 'd'; COMMIT PREPARED 'd'", 3, 2),
        ] {
            shop.sql(&change.replace("'d'", &format!("'{}'", shop.database)));
            snapshot = refresh(&access, &snapshot).await;
            assert_eq!(snapshot.copied, copied, "{change}");
            told(&shop, &snapshot, &format!("{looked} of 13 tables"), change);
        }
        // What is declared is as before, and no file was written to.
        shop.sql("ALTER TABLE t4 DROP v; ALTER TABLE t4 ADD v TEXT");
        snapshot = refresh(&access, &snapshot).await;
        assert_eq!(snapshot.copied, 50);
        told(&shop, &snapshot, "3 of 13 tables", "another column of the same name");
        // So are two tables that exchange their names.
        shop.sql("ALTER TABLE t4 RENAME TO t; ALTER TABLE t5 RENAME TO t4; ALTER TABLE t RENAME TO t5; ALTER INDEX t4_pkey RENAME TO t; ALTER INDEX t5_pkey RENAME TO t4_pkey; ALTER INDEX t RENAME TO t5_pkey");
        snapshot = refresh(&access, &snapshot).await;
        told(&shop, &snapshot, "4 of 13 tables", "other names");
        shop.sql("CREATE TABLE more (a INT)");
        snapshot = refresh(&access, &snapshot).await;
        assert_eq!(snapshot.detector, "full copy (what is declared has changed)");
        shop.sql("DELETE FROM t0; SELECT nextval('numbers')");
        changes(&access).exchange(&snapshot, &call()).await.unwrap();
        assert_eq!(slots(&shop), [""; 0], "what is exchanged is not brought up to date again");
        assert_eq!(
            shop.ask(
                "SELECT count(*) FROM t0 UNION ALL SELECT n FROM seen UNION ALL SELECT last_value FROM numbers UNION ALL SELECT length(lo_get(4711))"
            ),
            ["50", "50", "5", "5"]
        );
    }
}

/// A row that was written before the mark and committed after the copy stands in the log before the mark.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_at_work_at_the_mark_is_waited_for() {
    for shop in [Shop::new(), Shop::on_18()] {
        vacuum(&shop);
        let writing = |name: &str, sql: &str| {
            let mut writer = shop.client(name);
            writer.say(&format!("BEGIN; {sql};"));
            let there = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND state = 'idle in transaction' AND backend_xid IS NOT NULL",
                writer.session
            );
            while shop.on.ask("postgres", &there) != ["1"] {
                std::thread::sleep(Duration::from_millis(5));
            }
            writer
        };
        let commit = |mut writer: Client| {
            writer.say("COMMIT;");
            let mut writer = writer.into_child();
            drop(writer.stdin.take());
            writer.wait().unwrap();
        };
        let before = writing("before", "INSERT INTO log VALUES ('before the mark')");
        let access = shop.access(true);
        let seen = Arc::<Seen>::default();
        let call = call_seen(&seen);
        let taking = changes(&access).take("7-shop", &call);
        let waited = async {
            while !seen
                .news
                .lock()
                .unwrap()
                .iter()
                .any(|news| news.contains("waiting for session") && news.contains("before"))
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let after = writing("after", "INSERT INTO log VALUES ('after the mark')");
            commit(before);
            after
        };
        let (snapshot, after) = tokio::join!(taking, waited);
        let snapshot = snapshot.unwrap();
        assert_eq!(snapshot.fingerprint.count(), 3004, "what was waited for is in the copy");
        commit(after);
        let snapshot = refresh(&access, &snapshot).await;
        told(&shop, &snapshot, "1 of 3 tables", "what was written after the mark");
        assert_eq!((snapshot.copied, snapshot.fingerprint.count()), (1, 3005));
        shop.sql("DELETE FROM log");
        changes(&access).exchange(&snapshot, &super::super::call()).await.unwrap();
        assert_eq!(shop.ask("SELECT count(*) FROM log WHERE line LIKE '% the mark'"), ["2"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_log_is_not_whole_all_is_compared() {
    let shop = Shop::new();
    let access = shop.access(true);
    let snapshot = take(&access).await;
    let [slot] = slots(&shop).try_into().unwrap();
    let drop = format!("SELECT pg_drop_replication_slot('{slot}')");
    shop.on.ask("postgres", &drop);
    shop.sql("UPDATE orders SET note = 'late' WHERE id = 500");
    let snapshot = refresh(&access, &snapshot).await;
    assert_eq!((&*snapshot.detector, snapshot.copied), ("wal records: 1 of 3 tables", 1), "the server still has it");
    shop.on.ask("postgres", &drop);
    shop.sql("UPDATE orders SET note = 'later' WHERE id = 500");
    // Then it keeps it no longer.
    for _ in 0..2 {
        shop.on.ask("postgres", "SELECT pg_switch_wal()");
        shop.on.sql("postgres", "CHECKPOINT");
    }
    let snapshot = refresh(&access, &snapshot).await;
    let why = "full compare (the server has not kept all of its log)";
    assert_eq!((&*snapshot.detector, snapshot.copied), (why, 1));
    shop.sql("DELETE FROM log");
    let snapshot = refresh(&access, &snapshot).await;
    assert_eq!(
        (&*snapshot.detector, snapshot.copied),
        ("wal records: 1 of 3 tables", 3),
        "the next one has a mark again"
    );
    assert!(changes(&access).discard(&snapshot, &call()).await.unwrap() > 0);
    assert_eq!(slots(&shop), [""; 0]);

    // Other files under the same number: the log says nothing of what is in them.
    for shop in [shop, Shop::on_18()] {
        let access = shop.access(true);
        let snapshot = take(&access).await;
        let (other, database) = (format!("{}_other", shop.database), &shop.database);
        let [number] = shop
            .on
            .ask("postgres", &format!("SELECT oid FROM pg_database WHERE datname = '{database}'"))
            .try_into()
            .unwrap();
        shop.on.sql("postgres", &format!("CREATE DATABASE {other} TEMPLATE {database}"));
        shop.on.sql(&other, "UPDATE orders SET note = 'other' WHERE id = 500");
        shop.on.sql("postgres", &format!("DROP DATABASE {database}"));
        shop.on.sql(
            "postgres",
            &format!("CREATE DATABASE {database} OID = {number} TEMPLATE {other} STRATEGY file_copy OWNER {ROLE}"),
        );
        shop.on.sql("postgres", &format!("DROP DATABASE {other}"));
        let snapshot = refresh(&access, &snapshot).await;
        assert_eq!(
            (&*snapshot.detector, snapshot.copied),
            ("full compare (the files of the database were put in place since)", 1)
        );
    }
}

/// The newest, without summaries: its log is read as that of an older one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_server_was_killed_all_is_copied() {
    let server = support::Server::start(&support::eighteen(), &["fsync=off"]);
    server.sql("postgres", "CREATE DATABASE shop TEMPLATE template0");
    server.sql("shop", "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT); INSERT INTO orders SELECT i, 'x' FROM generate_series(1, 3000) i; CREATE TABLE log (line TEXT)");
    let section = Section {
        driver: Driver::Postgres(reached(&server, "shop")),
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    let access = drivers::open("shop", &section);
    let snapshot = take(&access).await;
    server.sql("shop", "UPDATE orders SET note = 'late' WHERE id = 500");
    server.killer()();
    server.start_again();
    let snapshot = refresh(&access, &snapshot).await;
    assert_eq!(
        (snapshot.detector.starts_with("full copy (the server was started again"), snapshot.copied),
        (true, 3000),
        "{}",
        snapshot.detector
    );
    server.sql("shop", "INSERT INTO log VALUES ('late')");
    let snapshot = refresh(&access, &snapshot).await;
    assert_eq!((&*snapshot.detector, snapshot.copied), ("wal records: 1 of 2 tables", 1));
    // All was read again for the proof, and is proven; what was logged around the restart is not gone into.
    server.killer()();
    server.start_again();
    looks(&access).inspect(&snapshot, &call()).await.unwrap();
    let snapshot = refresh(&access, &snapshot).await;
    assert_eq!((&*snapshot.detector, snapshot.copied), ("full compare (the server was started again since)", 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_large_table_only_the_blocks_are_looked_at_that_were_written_to() {
    for shop in [Shop::new(), Shop::on_18()] {
        shop.sql(
            "CREATE TABLE large (id INT PRIMARY KEY, boss INT REFERENCES large, note TEXT UNIQUE);
             INSERT INTO large SELECT i, nullif(i / 2, 0), 'note ' || i FROM generate_series(1, 40000) i;
             CREATE TABLE \"N amed\" (\"p\"\"art\" TEXT, id INT, n INT GENERATED ALWAYS AS IDENTITY, twice INT GENERATED ALWAYS AS (id * 2) STORED,
                 v BYTEA, gone INT, PRIMARY KEY (\"p\"\"art\", id));
             INSERT INTO \"N amed\" (\"p\"\"art\", id, v) SELECT 'ñ\\' || i % 7, i, decode(md5(i::text), 'hex') FROM generate_series(1, 30000) i;
             ALTER TABLE \"N amed\" DROP gone;
             CREATE TABLE keyless (a INT, b TEXT); INSERT INTO keyless SELECT i, md5(i::text) FROM generate_series(1, 30000) i",
        );
        vacuum(&shop);
        let access = shop.access(true);
        let (mut snapshot, mut by_blocks) = (take(&access).await, false);
        for (change, looked, copied) in [
            (
                "UPDATE large SET note = note || '!' WHERE id BETWEEN 500 AND 510",
                "1 of 6 tables, 1 by their blocks",
                11,
            ),
            // A value that another row had.
            (
                "DELETE FROM large WHERE id = 39000; INSERT INTO large VALUES (40001, 1, 'note 39000')",
                "1 of 6 tables, 1 by their blocks",
                2,
            ),
            ("DELETE FROM large WHERE id > 39990", "1 of 6 tables, 1 by their blocks", 11),
            ("UPDATE large SET boss = NULL WHERE id % 20000 = 7", "1 of 6 tables, 1 by their blocks", 2),
            ("BEGIN; UPDATE large SET note = 'x' || id WHERE id < 50; ROLLBACK", "1 of 6 tables, 1 by their blocks", 0),
            ("UPDATE large SET id = -id WHERE id = 33333", "1 of 6 tables, 1 by their blocks", 2),
            (
                "UPDATE \"N amed\" SET v = '\\x00' WHERE id IN (1, 29000); DELETE FROM \"N amed\" WHERE id = 2; INSERT INTO \"N amed\" VALUES (E'\\t', 1, DEFAULT, DEFAULT, NULL)",
                "1 of 6 tables, 1 by their blocks",
                4,
            ),
            ("UPDATE keyless SET b = 'x' WHERE a = 5", "1 of 6 tables", 1),
            // So much that all of it is compared sooner.
            ("UPDATE large SET note = note || '?' WHERE id % 50 = 0", "1 of 6 tables", 798),
            (
                "UPDATE large SET note = note || '!' WHERE id = 4; UPDATE \"N amed\" SET v = NULL WHERE id = 4",
                "2 of 6 tables, 2 by their blocks",
                2,
            ),
            ("SELECT 1", "0 of 6 tables", 0),
            ("DELETE FROM large WHERE id = 20", "1 of 6 tables, 1 by their blocks", 1),
        ] {
            // Those who have it as their boss are no reason here.
            shop.on.sql(&shop.database, &format!("SET session_replication_role = replica; {change}"));
            snapshot = refresh(&access, &snapshot).await;
            assert_eq!(snapshot.copied, copied, "{change}");
            told(&shop, &snapshot, looked, change);
            by_blocks |= snapshot.detector.ends_with("by their blocks");
        }
        assert!(by_blocks);
        shop.sql("DELETE FROM keyless");
        changes(&access).exchange(&snapshot, &call()).await.unwrap();
        assert_eq!(
            looks(&access).fingerprint(&call()).await.unwrap(),
            snapshot.fingerprint,
            "the copy is what it was said to be"
        );
    }
}
