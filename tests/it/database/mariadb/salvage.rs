//! What was set aside comes back as statements: those that are right, those that people decide, and nothing else.
use super::*;
use backout::resource::database::salvage::{Salvage, Salvaged};
use std::{fs, path::Path, process::Stdio};

/// A database that was copied, written to by a new version, exchanged, and written to by the old version again.
struct Back {
    shop: Shop,
    access: Access<Database>,
    snapshot: Snapshot,
    aside: String,
}

async fn back(before: &str, new: &str, old: &str) -> Back {
    let shop = Shop::empty();
    shop.sql(before);
    let access = shop.access(true);
    let snapshot = changes(&access).take("7-shop", &call()).await.unwrap();
    shop.sql(new);
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    lost_by(&access, &snapshot, &restored).await;
    shop.sql(old);
    Back { shop, access, snapshot, aside: restored.aside.unwrap() }
}

impl Back {
    async fn salvage(&self) -> (Salvaged, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let salvaged = self.access.observer.salvage(&self.snapshot, folder.path(), &call()).await.unwrap();
        (salvaged, folder)
    }
    /// As the application, with the server's own client, whose session reads quotes and times in another way. Rows that changed.
    fn apply(&self, folder: &Path) -> u64 {
        let mut rows = 0;
        for sheet in ["1-inserts.sql", "2-updates.sql", "3-deletes.sql"] {
            if folder.join(sheet).exists() {
                let mut client = self.shop.by_client();
                client
                    .arg("-vvv")
                    .arg("--init-command=SET sql_mode = 'ANSI,NO_BACKSLASH_ESCAPES', time_zone = '+05:00'");
                client.stdin(Stdio::from(fs::File::open(folder.join(sheet)).unwrap()));
                let output = client.output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert!(output.status.success(), "{}\n{said}", String::from_utf8_lossy(&output.stderr));
                let counts = said
                    .lines()
                    .filter_map(|line| line.strip_prefix("Query OK, ")?.split(' ').next()?.parse::<u64>().ok());
                rows += counts.sum::<u64>();
            }
        }
        rows
    }
    /// Applied twice; the second time nothing may happen.
    async fn applied(&self) -> Salvaged {
        let (salvaged, folder) = self.salvage().await;
        let (statements, _) = salvaged.counts();
        assert_eq!(self.apply(folder.path()), statements, "{salvaged:#?}");
        assert_eq!(self.apply(folder.path()), 0, "applied a second time");
        let (again, _folder) = self.salvage().await;
        assert_eq!(again.counts(), (0, salvaged.counts().1), "conflicts are left as they were: {again:#?}");
        salvaged
    }
    fn ask(&self, sql: &str) -> Vec<String> {
        self.shop.ask(sql)
    }
}

fn of(table: &str, inserts: u64, updates: u64, deletes: u64, conflicts: u64) -> Salvage {
    Salvage { table: table.into(), inserts, updates, deletes, conflicts }
}

fn read(folder: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

const ORDERS: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT, total DOUBLE);
    INSERT INTO orders SELECT seq, 'open', seq + 0.5 FROM seq_1_to_20;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_new_version_wrote_comes_back_and_what_both_wrote_is_a_conflict() {
    let new = "INSERT INTO orders VALUES (21, 'new', 1), (22, 'new', 2), (23, 'new', 3);
        UPDATE orders SET state = 'sent' WHERE id IN (1, 2, 3, 4); DELETE FROM orders WHERE id IN (5, 6, 7)";
    let old = "UPDATE orders SET state = 'paid' WHERE id IN (2, 6, 8); DELETE FROM orders WHERE id IN (3, 7, 9);
        INSERT INTO orders VALUES (22, 'other', 9), (23, 'new', 3), (30, 'old', 1); UPDATE orders SET state = 'sent' WHERE id = 4";
    let back = back(ORDERS, new, old).await;
    let untouched = back.ask("SELECT CONCAT(id, state) FROM orders WHERE id NOT IN (1, 5, 21) ORDER BY id");
    let (salvaged, folder) = back.salvage().await;
    assert!(salvaged.base_known);
    // 2 and 6 and 22 and 3: both; 4 and 23 came to the same, 7 is gone on both sides, 8, 9 and 30 are the old version's alone.
    assert_eq!(salvaged.tables, [of("orders", 1, 1, 1, 4)]);
    assert_eq!((&salvaged.unmapped, &salvaged.notes), (&vec![], &vec![]));
    let conflicts = read(&folder, "conflicts.sql");
    for line in [
        "-- `orders`: both versions changed it\n--   key     `id` = 2\n--   before  `state` = 'open'\n--   new     `state` = 'sent'\n--   live    `state` = 'paid'\n",
        "the new version changed it, the old one has deleted it since\n--   key     `id` = 3\n",
        "the new version deleted it, the old one has changed it since\n--   key     `id` = 6\n",
        "both versions made a row with this key\n--   key     `id` = 22\n",
    ] {
        assert!(conflicts.contains(line), "{line}\n{conflicts}");
    }
    assert!(conflicts.lines().all(|line| line.is_empty() || line.starts_with("-- ")), "{conflicts}");
    // What is written meanwhile is left alone.
    back.shop.sql("INSERT INTO orders VALUES (21, 'mine', 0); UPDATE orders SET state = 'mine' WHERE id IN (1, 5)");
    assert_eq!(back.apply(folder.path()), 0);
    back.shop.sql("DELETE FROM orders WHERE id = 21; UPDATE orders SET state = 'open' WHERE id IN (1, 5)");
    assert_eq!(back.applied().await, salvaged);
    assert_eq!(back.ask("SELECT CONCAT(id, state) FROM orders WHERE id IN (1, 5, 21) ORDER BY id"), ["1sent", "21new"]);
    assert_eq!(back.ask("SELECT CONCAT(id, state) FROM orders WHERE id NOT IN (1, 5, 21) ORDER BY id"), untouched);
    // Counted again, what is kept for it is no part of what was set aside; and it goes with it.
    let lost = looks(&back.access).loss(&back.snapshot, &call()).await.unwrap();
    assert_eq!(lost.iter().map(|lost| &*lost.part).collect::<Vec<_>>(), ["orders"]);
    changes(&back.access).discard(&back.snapshot, &call()).await.unwrap();
    assert_eq!(SERVER.ask("", &format!("SHOW DATABASES LIKE 'backout\\_{}\\_%'", back.shop.database)), [""; 0]);
    let failure = back.access.observer.salvage(&back.snapshot, folder.path(), &call()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_comes_back_to_the_last_bit() {
    let before = r#"CREATE TABLE v (id VARCHAR(50) PRIMARY KEY, t TEXT, c CHAR(4), n DECIMAL(40,10), r FLOAT, d DOUBLE, b VARBINARY(50), bi BIT(64),
            j JSON, e ENUM('a', 'ü', '2'), f ENUM('', 'x'), s SET('x', 'b', 'ü') CHARACTER SET latin1, y YEAR, ti TIME(6), dt DATETIME(6), on_day DATE,
            ts TIMESTAMP(3) NULL DEFAULT NULL ON UPDATE CURRENT_TIMESTAMP(3), u UUID, i6 INET6, g GEOMETRY, l VARCHAR(20) CHARACTER SET latin1,
            w VARCHAR(20) CHARACTER SET utf16, sj VARCHAR(20) CHARACTER SET cp932, z INT(6) ZEROFILL, big BIGINT UNSIGNED, h INT INVISIBLE,
            twice INT AS (z * 2) VIRTUAL, thrice INT AS (z * 3) STORED) COLLATE utf8mb4_general_ci;
        INSERT INTO v (id, l, c, t, ts) VALUES ('case', 'abc', 'a', '', '2020-01-01'), ('still', 'x', 'b', 'x', '2020-01-01')"#;
    let new = r#"SET sql_mode = 'ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+02:00';
        INSERT INTO v (id, t, c, n, r, d, b, bi, j, e, f, s, y, ti, dt, on_day, ts, u, i6, g, l, w, sj, z, big, h) VALUES
            ('all', 'it''s \\n; -- x "q" `b`', 'ab', 123456789012345678901234567890.0123456789, 1.1, 1e-300, X'00FF27225C0A0D1A', 18446744073709551615,
             '{"a":  [1, null]}', 'ü', 'x', 'x,ü', 2024, '-838:59:59', '9999-12-31 23:59:59.999999', '0000-00-00', '2024-06-01 12:00:00.123',
             '123e4567-e89b-12d3-a456-426655440000', '::1', ST_GeomFromText('POINT(1.5 -2)', 4326), 'ä\\''', 'ä€', _cp932 X'8740', 7, 18446744073709551615, 1),
            ('key '' \\ \n', CONCAT('\r\n\t', CHAR(0, 27), '\\'), '', -0.5, 3.4e38, 0.1, '', 0, '""', NULL, '', '', 0, '00:00:00.000001', '2023-02-31 00:00:00', '1000-01-01',
             NULL, NULL, NULL, NULL, '', '', NULL, 0, 0, NULL), ('odd', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'none', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        UPDATE v SET l = 'ABC', id = 'Case', c = 'A' WHERE id = 'case'; UPDATE v SET t = 'x ', ts = ts WHERE id = 'still'"#;
    let back = back(before, new, "SELECT 1").await;
    let salvaged = back.applied().await;
    // What is no value of its list is taken by no server that is strict.
    assert_eq!(salvaged.tables, [of("v", 2, 2, 0, 1)]);
    let differs = format!(
        "SELECT COUNT(*) FROM (SELECT SHA2(CONCAT_WS('|', BINARY id, BINARY t, BINARY c, n, CAST(r AS DOUBLE), d, b, bi+0, BINARY j, e+0, f+0, s+0, y, ti, dt, on_day, ts,
            u, i6, HEX(g), BINARY l, BINARY w, BINARY sj, z, big, h, twice, thrice), 256) x FROM `{}`.v WHERE id <> 'odd' EXCEPT
         SELECT SHA2(CONCAT_WS('|', BINARY id, BINARY t, BINARY c, n, CAST(r AS DOUBLE), d, b, bi+0, BINARY j, e+0, f+0, s+0, y, ti, dt, on_day, ts,
            u, i6, HEX(g), BINARY l, BINARY w, BINARY sj, z, big, h, twice, thrice), 256) FROM v) x",
        back.aside
    );
    assert_eq!(back.ask(&differs), ["0"]);
    assert_eq!(back.ask("SELECT COUNT(*) FROM v"), ["4"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_every_shape_are_salvaged_or_named() {
    let before = "CREATE TABLE `it's a ``t``; --` (`k``1` VARCHAR(10) COLLATE utf8mb4_unicode_ci, `select` INT, PRIMARY KEY (`k``1`, `select`));
        CREATE TABLE log (line TEXT, n FLOAT); INSERT INTO log VALUES ('one', 1), ('one', 1), (NULL, 2);
        CREATE TABLE made (id INT AUTO_INCREMENT PRIMARY KEY, a INT, twice INT AS (a * 2) STORED); SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
        CREATE TABLE parts (id INT, day DATE, v TEXT, PRIMARY KEY (id, day)) PARTITION BY RANGE (YEAR(day)) (PARTITION a VALUES LESS THAN (2021), PARTITION b VALUES LESS THAN MAXVALUE);
        INSERT INTO parts SELECT seq, '2020-12-01' + INTERVAL seq DAY, 'old' FROM seq_1_to_100;
        CREATE TABLE words (id INT PRIMARY KEY, t TEXT, FULLTEXT KEY (t)); INSERT INTO words VALUES (1, 'one');
        CREATE TABLE notes (id INT PRIMARY KEY AUTO_INCREMENT, of_ INT);
        CREATE TABLE noted (id INT PRIMARY KEY, v TEXT); CREATE TRIGGER noting AFTER INSERT ON noted FOR EACH ROW INSERT INTO notes (of_) VALUES (NEW.id)";
    let new = "INSERT INTO `it's a ``t``; --` VALUES ('a', 1), ('é', 1); INSERT INTO log VALUES ('one', 1), ('new', 3), (NULL, 2);
        SET sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; INSERT INTO made (id, a) VALUES (0, 21);
        INSERT INTO parts VALUES (200, '2022-01-01', 'new'); UPDATE parts SET v = 'new' WHERE id = 1; UPDATE parts SET day = '2025-01-01' WHERE id = 99; DELETE FROM parts WHERE id = 2;
        INSERT INTO words VALUES (2, 'two'); INSERT INTO noted VALUES (1, 'x')";
    let back = back(before, new, "INSERT INTO log VALUES ('old', 1); DELETE FROM log WHERE line IS NULL").await;
    let (salvaged, folder) = back.salvage().await;
    // Of the row that is there twice and was deleted once more is inserted than was new: nobody can tell without a key. A row
    // whose key has changed is another one.
    assert_eq!(
        salvaged.tables,
        [
            of("it's a `t`; --", 2, 0, 0, 0),
            of("log", 4, 0, 0, 0),
            of("made", 1, 0, 0, 0),
            of("noted", 1, 0, 0, 0),
            of("notes", 1, 0, 0, 0),
            of("parts", 2, 1, 2, 0),
            of("words", 1, 0, 0, 0)
        ]
    );
    assert_eq!(salvaged.unmapped.len(), 1, "{salvaged:#?}");
    assert!(salvaged.unmapped[0].starts_with("table log: it has no primary key"), "{salvaged:#?}");
    assert!(salvaged.notes[0].contains("have triggers") && salvaged.notes[0].contains("noted"), "{salvaged:#?}");
    // The trigger has written the note already.
    assert_eq!(back.apply(folder.path()), 14);
    assert_eq!(back.apply(folder.path()), 0);
    assert_eq!(back.ask("SELECT CONCAT(id, ',', twice) FROM made"), ["0,42"]);
    assert_eq!(
        back.ask("SELECT CONCAT(v, day) FROM parts WHERE id IN (1, 99, 200) ORDER BY id"),
        ["new2020-12-02", "old2025-01-01", "new2022-01-01"]
    );
    assert_eq!(back.ask("SELECT COUNT(*) FROM log"), ["7"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_old_schema_has_no_place_for_is_told() {
    let before = "CREATE TABLE t (id INT PRIMARY KEY, a TEXT NOT NULL, gone INT NOT NULL, n INT CHECK (n < 10), u VARCHAR(5) UNIQUE, k INT, e ENUM('a', 'b'), d INT NOT NULL DEFAULT 5);
        INSERT INTO t VALUES (1, 'a', 1, 1, 'one', 1, 'b', 5), (2, 'a', 1, 1, 'two', 1, 'b', 5), (3, 'a', 1, 1, 'three', 1, 'b', 5), (9, 'a', 1, 1, NULL, 1, 'b', 5);
        CREATE TABLE plain (id INT PRIMARY KEY, b INT); CREATE TABLE dropped (id INT PRIMARY KEY);
        CREATE TABLE other_key (id INT PRIMARY KEY, b INT); INSERT INTO plain VALUES (1, 1)";
    let new = "CREATE TABLE fresh (id INT); INSERT INTO fresh VALUES (1), (2); DROP TABLE dropped;
        ALTER TABLE plain ADD COLUMN more INT, MODIFY id BIGINT; UPDATE plain SET more = 1; INSERT INTO plain VALUES (2, 2, 2);
        ALTER TABLE t DROP COLUMN gone, DROP COLUMN d, MODIFY a TEXT, MODIFY n INT, DROP INDEX u, MODIFY u TEXT, MODIFY k TEXT, MODIFY e ENUM('z', 'a', 'b');
        UPDATE t SET n = 5 WHERE id = 1; UPDATE t SET n = 50 WHERE id = 2; UPDATE t SET a = NULL WHERE id = 3; UPDATE t SET k = '1); DROP TABLE plain; -- ' WHERE id = 9;
        INSERT INTO t VALUES (4, 'new', 1, 'four', '1', 'a'); ALTER TABLE other_key MODIFY id VARCHAR(5); INSERT INTO other_key VALUES ('x', 1)";
    let back = back(before, new, "UPDATE t SET u = 'none' WHERE id = 2").await;
    let (salvaged, folder) = back.salvage().await;
    assert_eq!(salvaged.tables, [of("plain", 1, 0, 0, 0), of("t", 0, 1, 0, 4)]);
    let told = salvaged.unmapped.join("\n");
    for line in [
        "table fresh: only the new schema has it, rows: 2",
        "table dropped: the new version has removed it",
        "column more of plain: only the new schema has it, values: 2",
        "column gone of t: the new schema does not have it",
        "table other_key: its primary key is another one in the new schema, so it was not compared, rows: 1",
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
    let conflicts = read(&folder, "conflicts.sql");
    for why in [
        "Field 'gone' doesn't have a default value",
        "Column 'a' cannot be null",
        "both versions changed it",
        "DROP TABLE",
    ] {
        assert!(conflicts.contains(why), "{why}\n{conflicts}");
    }
    back.applied().await;
    assert_eq!(back.ask("SELECT CONCAT(n, e) FROM t WHERE id = 1"), ["5b"]);
    assert_eq!(back.ask("SELECT id FROM plain"), ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_would_take_what_another_one_has_is_a_conflict() {
    let before = "CREATE TABLE t (id INT PRIMARY KEY, u VARCHAR(20) COLLATE utf8mb4_unicode_ci UNIQUE, n INT, w VARCHAR(5), CHECK (n < 10));
        INSERT INTO t VALUES (1, 'one', 1, NULL), (2, 'two', 1, NULL)";
    let new = "ALTER TABLE t DROP INDEX u, DROP CONSTRAINT CONSTRAINT_1, MODIFY w TEXT; UPDATE t SET n = 50 WHERE id = 1;
        UPDATE t SET u = 'zwei' WHERE id = 2; INSERT INTO t VALUES (3, 'three', 1, NULL), (4, 'four', 1, NULL), (5, 'five', 1, 'too long'), (6, 'Four', 1, NULL)";
    let back = back(before, new, "INSERT INTO t VALUES (10, 'THREE', 1, NULL), (11, 'zwei', 1, NULL)").await;
    assert_eq!(back.applied().await.tables, [of("t", 1, 0, 0, 5)]);
    let (_, folder) = back.salvage().await;
    let conflicts = read(&folder, "conflicts.sql");
    assert_eq!(conflicts.matches("another live row has the same u").count(), 3, "{conflicts}");
    assert!(conflicts.contains("CONSTRAINT_1") && conflicts.contains("Data too long"), "{conflicts}");
}

const SHOP: &str = "CREATE TABLE customers (id INT PRIMARY KEY, name TEXT);
    CREATE TABLE orders (id INT PRIMARY KEY, customer INT, FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE);
    CREATE TABLE a_items (id INT PRIMARY KEY, orders INT NOT NULL, FOREIGN KEY (orders) REFERENCES orders (id) ON DELETE CASCADE);
    CREATE TABLE nodes (id INT PRIMARY KEY, parent INT, CONSTRAINT p FOREIGN KEY (parent) REFERENCES nodes (id));
    INSERT INTO customers VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'); INSERT INTO orders VALUES (1, 1), (2, 2), (3, 3), (4, 4);
    INSERT INTO a_items VALUES (1, 1), (2, 2), (3, 3), (4, 4);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_to_belong_to_a_row_that_is_another_one() {
    let new = "ALTER TABLE nodes DROP FOREIGN KEY p; INSERT INTO customers VALUES (5, 'new'), (6, 'new');
        INSERT INTO orders VALUES (5, 5), (6, 6), (7, 2);
        INSERT INTO a_items VALUES (5, 5), (6, 6), (7, 7), (8, 1); INSERT INTO nodes VALUES (2, NULL), (1, 2), (3, 9), (4, 4)";
    // Customer 5 is another one now, and customer 2 is gone with what was hers.
    let back = back(SHOP, new, "INSERT INTO customers VALUES (5, 'other'); DELETE FROM customers WHERE id = 2").await;
    let (salvaged, folder) = back.salvage().await;
    assert_eq!(
        salvaged.tables,
        [of("a_items", 2, 0, 0, 2), of("customers", 1, 0, 0, 1), of("nodes", 3, 0, 0, 1), of("orders", 1, 0, 0, 2)]
    );
    // A node whose parent comes after it is made without it, and gets it then.
    assert_eq!(back.apply(folder.path()), 7 + 1);
    assert_eq!(back.apply(folder.path()), 0);
    assert_eq!(back.ask("SELECT id FROM a_items WHERE id > 4 ORDER BY id"), ["6", "8"]);
    assert_eq!(back.ask("SELECT CONCAT(id, COALESCE(parent, '')) FROM nodes ORDER BY id"), ["12", "2", "44"]);
    let conflicts = read(&folder, "conflicts.sql");
    assert!(conflicts.contains("it refers to a row of customers that is a conflict itself"), "{conflicts}");
    assert!(conflicts.contains("it refers to a row of customers that is not there"), "{conflicts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_takes_nothing_else_with_it() {
    let before = format!("{SHOP}INSERT INTO nodes VALUES (1, NULL), (2, 1), (3, 2)");
    let new =
        "DELETE FROM customers WHERE id IN (1, 3); DELETE FROM nodes WHERE id = 3; DELETE FROM nodes WHERE id = 2";
    let back = back(&before, new, "INSERT INTO orders VALUES (20, 3)").await;
    let (salvaged, folder) = back.salvage().await;
    let deletes =
        [of("a_items", 0, 0, 2, 0), of("customers", 0, 0, 2, 0), of("nodes", 0, 0, 2, 0), of("orders", 0, 0, 2, 0)];
    assert_eq!(salvaged.tables, deletes);
    // The new order refers to customer 3, who therefore stays.
    assert_eq!(back.apply(folder.path()), 7);
    assert_eq!(back.apply(folder.path()), 0);
    assert_eq!(back.ask("SELECT id FROM customers ORDER BY id"), ["2", "3", "4"]);
    assert_eq!(back.ask("SELECT id FROM orders ORDER BY id"), ["2", "4", "20"]);
    assert_eq!(back.ask("SELECT id FROM nodes"), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_references_is_closed_once_all_of_it_is_there() {
    let before = "CREATE TABLE a_teams (id INT PRIMARY KEY, lead INT); CREATE TABLE people (id INT PRIMARY KEY, team INT NOT NULL,
            FOREIGN KEY (team) REFERENCES a_teams (id)); ALTER TABLE a_teams ADD FOREIGN KEY (lead) REFERENCES people (id);
        INSERT INTO a_teams VALUES (1, NULL), (2, NULL); INSERT INTO people VALUES (1, 1)";
    let new = "INSERT INTO a_teams VALUES (3, NULL), (4, NULL); INSERT INTO people VALUES (3, 3), (4, 4), (5, 1); UPDATE a_teams SET lead = id WHERE id > 2;
        UPDATE a_teams SET lead = 5 WHERE id = 1; UPDATE a_teams SET lead = 4 WHERE id = 2";
    // Person 4 is another one now, so nobody leads teams 2 and 4.
    let back = back(before, new, "INSERT INTO people VALUES (4, 2)").await;
    let (salvaged, folder) = back.salvage().await;
    assert_eq!(salvaged.tables, [of("a_teams", 2, 1, 0, 2), of("people", 2, 0, 0, 1)]);
    assert_eq!(back.apply(folder.path()), 5 + 1);
    assert_eq!(back.apply(folder.path()), 0);
    assert_eq!(back.ask("SELECT CONCAT(id, COALESCE(lead, '-')) FROM a_teams ORDER BY id"), ["15", "2-", "33", "4-"]);
    assert!(
        read(&folder, "conflicts.sql")
            .contains("so it is made, but it refers to a row of people that is a conflict itself")
    );
}

/// What a product does that comes back before anybody has looked.
struct Quick(String);
impl Progress for Quick {
    fn progress(&self, text: &str, _: u64, _: u64) {
        if text == COUNTING {
            SERVER.sql(&format!("UPDATE `{}`.orders SET state = 'quick' WHERE id = 9", self.0));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_knowing_the_restore_point_only_what_is_not_there_is_inserted() {
    let shop = Shop::empty();
    shop.sql(&format!(
        "{ORDERS} CREATE TABLE calm (id INT PRIMARY KEY, v TEXT); INSERT INTO calm VALUES (1, 'a'), (2, 'a')"
    ));
    let access = shop.access(true);
    let snapshot = changes(&access).take("7-shop", &call()).await.unwrap();
    shop.sql("INSERT INTO orders VALUES (21, 'new', 1); UPDATE orders SET state = 'sent' WHERE id = 1; DELETE FROM orders WHERE id = 5; UPDATE calm SET v = 'b' WHERE id = 1");
    let quick = CallCtx { progress: Arc::new(Quick(shop.database.clone())), ..call() };
    let restored = changes(&access).exchange(&snapshot, &quick).await.unwrap();
    let back = Back { shop, access, snapshot, aside: restored.aside.unwrap() };
    let salvaged = back.applied().await;
    assert!(salvaged.base_known && salvaged.notes[0].starts_with("Of table orders it is not known"), "{salvaged:#?}");
    assert_eq!(salvaged.tables, [of("calm", 0, 1, 0, 0), of("orders", 1, 0, 0, 3)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_are_salvaged() {
    let before = "CREATE TABLE t (id INT PRIMARY KEY, a TEXT, b DOUBLE, more INT DEFAULT 7); INSERT INTO t SELECT seq, CONCAT('a', seq), seq / 3e0, 7 FROM seq_1_to_20000";
    let new = "INSERT INTO t SELECT seq + 100000, CONCAT('new', seq), seq / 7e0, 7 FROM seq_1_to_10000; UPDATE t SET a = 'changed' WHERE id % 10 = 0 AND id <= 20000;
         DELETE FROM t WHERE id % 10 = 1 AND id <= 20000";
    let back = back(before, new, "UPDATE t SET b = 0 WHERE id % 100 < 2").await;
    let salvaged = back.applied().await;
    assert_eq!(salvaged.tables, [of("t", 10_000, 1_800, 1_800, 400)]);
}
