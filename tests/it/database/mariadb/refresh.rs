//! What a refresh looks at: what the server's log says was written to, and all of it where the log does not say.
use super::*;
use crate::support::mariadb::{LOGS, Server as Own};
use backout::resource::Right;

async fn refresh(access: &Access<Database>, snapshot: &Snapshot) -> Snapshot {
    let refreshed = changes(access).refresh(snapshot, &call()).await.unwrap();
    assert_eq!(refreshed.fingerprint, looks(access).fingerprint(&call()).await.unwrap());
    looks(access).inspect(&refreshed, &call()).await.unwrap();
    refreshed
}

fn opened(server: Server) -> Access<Database> {
    let section = Section {
        driver: Driver::MariaDb(server),
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    drivers::open("shop", &section)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_tables_that_were_written_to_are_looked_at() {
    for shop in [Shop::logged(), Shop::on_11()] {
        shop.sql(
            "CREATE TABLE t0 (id INT PRIMARY KEY, v TEXT); INSERT INTO t0 SELECT seq, seq FROM seq_1_to_50;
             CREATE TABLE t1 LIKE t0; INSERT INTO t1 SELECT * FROM t0;
             CREATE TABLE `größe` (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 3; INSERT INTO `größe` VALUES (1), (2);
             CREATE TABLE parent (id INT PRIMARY KEY); INSERT INTO parent SELECT seq FROM seq_1_to_10;
             CREATE TABLE child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE);
             CREATE TABLE grandchild (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES child (id) ON DELETE SET NULL);
             INSERT INTO child SELECT id, id FROM parent; INSERT INTO grandchild SELECT id, id FROM child",
        );
        let access = shop.access(true);
        let planned = looks(&access).detector(&call()).await.unwrap().unwrap();
        assert!(planned.starts_with("changes are found by the server's binlog, so of "), "{planned}");
        let mut snapshot = take(&access).await;
        for (change, looked, copied) in [
            ("SELECT count(*) FROM orders", 0, 0),
            ("UPDATE orders SET note = 'x' WHERE id = 7; DELETE FROM orders WHERE id = 8", 1, 2),
            ("TRUNCATE t0", 2, 50),
            ("TRUNCATE t1; INSERT INTO t1 SELECT seq, seq FROM seq_1_to_50", 2, 0),
            // Of the two others there is no word in the log.
            ("DELETE FROM parent WHERE id = 1", 3, 3),
            ("START TRANSACTION; DELETE FROM t1; ROLLBACK", 0, 0),
            (
                "START TRANSACTION; SAVEPOINT a; DELETE FROM t1; ROLLBACK TO a; DELETE FROM items WHERE order_id = 1; COMMIT",
                1,
                2,
            ),
            ("UPDATE `größe` SET id = 7 WHERE id = 1; INSERT INTO log VALUES ('four')", 2, 6),
            // By statements that name it or not, for it could be written in another way.
            ("RENAME TABLE t0 TO t, t1 TO t0, t TO t1", 3, 100),
            ("ALTER TABLE t0 DROP v; ALTER TABLE t0 ADD v TEXT", 2, 50),
            ("CREATE TABLE more (a INT); INSERT INTO more VALUES (1); DROP TABLE more", 1, 0),
        ] {
            shop.sql(change);
            snapshot = refresh(&access, &snapshot).await;
            assert_eq!(snapshot.detector, format!("binlog: {looked} of 9 tables"), "{change}");
            assert_eq!(snapshot.copied, copied, "{change}");
        }
        // Who touches the copy is found as well.
        shop.damage(&snapshot);
        snapshot = refresh(&access, &snapshot).await;
        assert_eq!((&*snapshot.detector, snapshot.copied), ("binlog: 1 of 9 tables", 1));
        // Who turns off the log for himself is found as long as the server has the table in its memory.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        let unseen = "SET sql_log_bin = 0; UPDATE orders SET note = 'unseen' WHERE id = 9";
        shop.on.sql(&format!("USE {}; {unseen}", shop.database));
        snapshot = refresh(&access, &snapshot).await;
        assert_eq!((&*snapshot.detector, snapshot.copied), ("binlog: 1 of 9 tables", 1));
        let statement = "SET binlog_format = 'STATEMENT'; UPDATE orders SET note = 'said' WHERE id = 9";
        shop.on.sql(&format!("USE {}; {statement}", shop.database));
        snapshot = refresh(&access, &snapshot).await;
        assert_eq!(
            (&*snapshot.detector, snapshot.copied),
            ("full compare (UPDATE was logged as a statement, not by its rows)", 1)
        );
        shop.sql("DELETE FROM t0");
        changes(&access).exchange(&snapshot, &call()).await.unwrap();
        assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_while_a_copy_is_made_is_found_afterwards() {
    let shop = Shop::logged();
    let mut before = Client::new(shop.by_client());
    assert_eq!(before.answer("BEGIN; INSERT INTO items VALUES (0, 0, 'before') RETURNING 1"), "1");
    let access = shop.access(true);
    let mut snapshot = {
        let _writes_on = shop.busy();
        let mut snapshot = take(&access).await;
        assert_eq!(before.answer("COMMIT; SELECT 1"), "1");
        for _ in 0..5 {
            snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
            assert!(snapshot.detector.starts_with("binlog: "), "{}", snapshot.detector);
        }
        snapshot
    };
    while !looks_idle(&access).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    snapshot = refresh(&access, &snapshot).await;
    assert!(snapshot.detector.starts_with("binlog: "), "{}", snapshot.detector);
    assert!(snapshot.fingerprint.parts.iter().any(|part| part.name == "items" && part.count == 2001));
    drop(before.into_child().0.kill());
}

/// Nobody but the one client who only waits.
async fn looks_idle(access: &Access<Database>) -> bool {
    access.observer.activity(&call()).await.unwrap().len() <= 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_binlog_is_not_whole_all_is_compared() {
    let server = Own::start(LOGS);
    let database = server.database();
    let sql = |sql: &str| server.sql(&format!("USE {database}; {sql}"));
    sql(
        "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT); INSERT INTO orders SELECT seq, 'x' FROM seq_1_to_1000; CREATE TABLE log (a INT)",
    );
    let access = opened(reached(&server, &database));
    let mut snapshot = take(&access).await;
    for (loss, why) in [
        (
            "FLUSH BINARY LOGS; FLUSH BINARY LOGS; DO SLEEP(1.5); PURGE BINARY LOGS BEFORE NOW(6)",
            "the server has not kept all of its log",
        ),
        ("RESET MASTER", "the server has begun another log since"),
        (
            "SET GLOBAL binlog_format = 'MIXED'",
            "`binlog_format` is MIXED, and only ROW says which tables are written to",
        ),
        ("SET GLOBAL binlog_format = 'ROW'", "`binlog_format` is MIXED, and only ROW says which tables are written to"),
        (
            "XA START 'a'; INSERT INTO log VALUES (1); XA END 'a'; XA PREPARE 'a'; XA COMMIT 'a'",
            "the server has had prepared transactions (XA) since it was started",
        ),
    ] {
        sql(&format!("UPDATE orders SET note = RAND() WHERE id = 500; {loss}"));
        snapshot = refresh(&access, &snapshot).await;
        assert_eq!(snapshot.detector, format!("full compare ({why})"), "{loss}");
        assert_eq!(snapshot.copied, 1 + u64::from(loss.starts_with("XA")), "{loss}");
        let next = "binlog: 1 of 2 tables";
        if !why.contains("MIXED") && !why.contains("XA") {
            sql("UPDATE orders SET note = 'y' WHERE id = 1; UPDATE orders SET note = RAND() WHERE id = 1");
            snapshot = refresh(&access, &snapshot).await;
            assert_eq!((&*snapshot.detector, snapshot.copied), (next, 1), "after {loss}");
        }
    }
    let planned = looks(&access).detector(&call()).await.unwrap().unwrap();
    assert!(planned.contains(" is compared, because the server has had prepared transactions"), "{planned}");
    server.killer()();
    server.wait_ready();
    for (expected, copied) in [
        ("full compare (the server has had prepared transactions (XA) since it was started)", 1),
        ("binlog: 1 of 2 tables", 1),
    ] {
        sql("UPDATE orders SET note = RAND() WHERE id = 500");
        snapshot = refresh(&access, &snapshot).await;
        assert_eq!((&*snapshot.detector, snapshot.copied), (expected, copied));
    }
    sql("UPDATE orders SET note = RAND() WHERE id = 500");
    server.killer()();
    server.wait_ready();
    snapshot = refresh(&access, &snapshot).await;
    assert_eq!((&*snapshot.detector, snapshot.copied), ("full compare (the server was started again since)", 1));

    // Rows of another database that go with those of this one, and the other way round.
    sql("CREATE DATABASE other; CREATE TABLE other.p (id INT PRIMARY KEY); INSERT INTO other.p VALUES (1);
         CREATE TABLE child (id INT, FOREIGN KEY (id) REFERENCES other.p (id) ON DELETE CASCADE); INSERT INTO child VALUES (1)");
    snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    sql("DELETE FROM other.p");
    snapshot = refresh(&access, &snapshot).await;
    assert_eq!(
        (&*snapshot.detector, snapshot.copied),
        ("full compare (child has a foreign key to another database)", 0)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_not_see_the_log_is_told_what_is_missing() {
    let shop = Shop::logged();
    let weak = format!("weak_{}", shop.database);
    LOGGED.sql(&format!(
        "CREATE USER {weak}@localhost; GRANT ALL ON *.* TO {weak}@localhost; REVOKE BINLOG MONITOR, SLAVE MONITOR, SUPER ON *.* FROM {weak}@localhost"
    ));
    let server = Server { user: weak.clone(), password: None, ..shop.server() };
    let section = Section {
        driver: Driver::MariaDb(server.clone()),
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    let rights = [Right::Read, Right::Backup].into_iter().collect();
    let found = drivers::lacking(&section, &rights, &call()).await.unwrap();
    let said: Vec<&str> = found.iter().map(|lacking| &*lacking.say).collect();
    let grant = |right: &str| format!("GRANT {right} ON *.* TO '{weak}'@'localhost';");
    assert_eq!(said, [grant("BINLOG MONITOR"), grant("SLAVE MONITOR")]);
    let access = opened(server);
    let planned = looks(&access).detector(&call()).await.unwrap().unwrap();
    assert!(planned.contains("compared, because Backout's user lacks the right BINLOG MONITOR"), "{planned}");
    let snapshot = take(&access).await;
    shop.sql("DELETE FROM log");
    let snapshot = refresh(&access, &snapshot).await;
    assert_eq!(
        (&*snapshot.detector, snapshot.copied),
        ("full compare (Backout's user lacks the right BINLOG MONITOR)", 0)
    );

    let filtered = Own::start(&[LOGS, &["--binlog-ignore-db=shop_x"]].concat());
    let access = opened(reached(&filtered, &filtered.database()));
    let planned = looks(&access).detector(&call()).await.unwrap().unwrap();
    assert!(planned.contains("compared, because the server's log leaves out databases"), "{planned}");
}

/// A large table comes in parts, each row in one of them: the comparison that follows finds nothing to bring.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_table_comes_in_parts_and_whole() {
    let shop = Shop::logged();
    shop.sql(
        "CREATE TABLE large (a SMALLINT, b INT, note TEXT, PRIMARY KEY (a, b));
         INSERT INTO large SELECT CAST(seq % 100 AS SIGNED) - 50, seq, REPEAT('x', 500) FROM seq_1_to_50000; ANALYZE TABLE large",
    );
    let access = shop.access(true);
    let snapshot = take(&access).await;
    assert_eq!(snapshot.fingerprint.count(), 53_003);
    let events = LOGGED.client("root", "").args(["-e", "SHOW BINLOG EVENTS IN 'changes.000001'"]).output().unwrap();
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    let said = |begin: &str| {
        let begin = format!("\t{begin} INTO `{}`.`large`", shop.standby());
        events.lines().filter(|line| line.contains(&begin)).count()
    };
    assert!((3..20).contains(&said("INSERT")), "{} parts", said("INSERT"));
    assert_eq!(said("REPLACE"), 0);
}
