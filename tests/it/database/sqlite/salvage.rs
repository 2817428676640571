//! What was set aside comes back as statements: those that are right, those that people decide, and nothing else.
use super::*;
use backout::resource::database::salvage::{Salvage, Salvaged};
use std::fs;

/// A database that was copied, written to by a new version, exchanged, and written to by the old version again.
struct Back {
    shop: Shop,
    access: Access<Database>,
    snapshot: Snapshot,
    aside: String,
}

async fn back(before: &str, new: &str, old: &str) -> Back {
    let shop = Shop::empty("wal");
    shop.sql(before);
    let access = shop.access(true);
    let snapshot = access.mutator.take("1-shop", &call()).await.unwrap();
    shop.sql(new);
    let restored = access.mutator.exchange(&snapshot, &call()).await.unwrap();
    shop.sql(old);
    Back { shop, access, snapshot, aside: restored.aside.unwrap() }
}

impl Back {
    fn base(&self) -> PathBuf {
        Path::new(&self.aside).with_file_name("base.db")
    }
    async fn salvage(&self) -> (Salvaged, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let salvaged = self.access.observer.salvage(&self.snapshot, folder.path(), &call()).await.unwrap();
        (salvaged, folder)
    }
    /// By another build of SQLite, stopping at the first error. Rows that changed.
    fn apply(&self, folder: &Path) -> u64 {
        let script = "for name in ('1-inserts.sql', '2-updates.sql', '3-deletes.sql'):\n \
                      path = os.path.join(sys.argv[2], name)\n \
                      if os.path.exists(path): c.executescript(open(path, newline='').read())\n\
                      print(c.total_changes)";
        let output = python(&format!("{CONNECT}{script}"), &self.shop.path()).arg(folder).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    }
    /// Applied twice; the second time nothing may happen.
    async fn applied(&self) -> Salvaged {
        let (salvaged, folder) = self.salvage().await;
        let (statements, _) = salvaged.counts();
        assert_eq!(self.apply(folder.path()), statements, "{salvaged:#?}");
        assert_eq!(self.apply(folder.path()), 0, "applied a second time");
        let (again, _folder) = self.salvage().await;
        assert_eq!(again.counts().1, salvaged.counts().1, "conflicts are left as they were");
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

const ORDERS: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT, total REAL);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
        INSERT INTO orders SELECT i, 'open', i + 0.5 FROM n;";

#[tokio::test]
async fn what_only_the_new_version_wrote_comes_back_and_what_both_wrote_is_a_conflict() {
    let new = "INSERT INTO orders VALUES (21, 'new', 1), (22, 'new', 2), (23, 'new', 3);
        UPDATE orders SET state = 'sent' WHERE id IN (1, 2, 3, 4);
        DELETE FROM orders WHERE id IN (5, 6, 7)";
    let old = "UPDATE orders SET state = 'paid' WHERE id IN (2, 6, 8); DELETE FROM orders WHERE id IN (3, 7, 9);
        INSERT INTO orders VALUES (22, 'other', 9), (23, 'new', 3), (30, 'old', 1); UPDATE orders SET state = 'sent' WHERE id = 4";
    let back = back(ORDERS, new, old).await;
    let untouched = back.ask("SELECT id || state FROM orders WHERE id NOT IN (1, 5, 21) ORDER BY id");
    let (salvaged, folder) = back.salvage().await;
    assert!(salvaged.base_known);
    // 2 and 6 and 22 and 3: both; 4 and 23 came to the same, 7 is gone on both sides, 8, 9 and 30 are the old version's alone.
    assert_eq!(salvaged.tables, [of("orders", 1, 1, 1, 4)]);
    assert_eq!((&salvaged.unmapped, &salvaged.notes), (&vec![], &vec![]));
    let conflicts = read(&folder, "conflicts.sql");
    for line in [
        "-- \"orders\": both versions changed it\n--   key     \"id\" = 2\n--   before  \"state\" = 'open'\n--   new     \"state\" = 'sent'\n--   live    \"state\" = 'paid'\n",
        "the new version changed it, the old one has deleted it since\n--   key     \"id\" = 3\n",
        "the new version deleted it, the old one has changed it since\n--   key     \"id\" = 6\n",
        "both versions made a row with this key\n--   key     \"id\" = 22\n",
    ] {
        assert!(conflicts.contains(line), "{line}\n{conflicts}");
    }
    assert!(conflicts.lines().all(|line| line.is_empty() || line.starts_with("-- ")), "{conflicts}");
    assert_eq!(back.applied().await, salvaged);
    assert_eq!(back.ask("SELECT id || state FROM orders WHERE id IN (1, 5, 21) ORDER BY id"), ["1sent", "21new"]);
    assert_eq!(back.ask("SELECT id || state FROM orders WHERE id NOT IN (1, 5, 21) ORDER BY id"), untouched);
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for entry in fs::read_dir(folder.path()).unwrap() {
        assert_eq!(mode(&entry.unwrap().path()), 0o600);
    }
}

#[tokio::test]
async fn what_is_written_after_it_was_made_is_left_alone() {
    let new = "INSERT INTO orders VALUES (21, 'new', 1); UPDATE orders SET state = 'sent' WHERE id IN (1, 2);
        DELETE FROM orders WHERE id IN (5, 6)";
    let back = back(ORDERS, new, "SELECT 1").await;
    let (salvaged, folder) = back.salvage().await;
    assert_eq!(salvaged.tables, [of("orders", 1, 2, 2, 0)]);
    back.shop.sql("INSERT INTO orders VALUES (21, 'mine', 0); UPDATE orders SET state = 'mine' WHERE id IN (2, 6)");
    assert_eq!(back.apply(folder.path()), 2);
    assert_eq!(
        back.ask("SELECT id || state FROM orders WHERE id IN (1, 2, 5, 6, 21) ORDER BY id"),
        ["1sent", "2mine", "6mine", "21mine"]
    );
}

#[tokio::test]
async fn every_value_comes_back_to_the_last_bit() {
    let before = "CREATE TABLE v (id TEXT PRIMARY KEY NOT NULL, a, b BLOB, c REAL, n TEXT COLLATE NOCASE);
        INSERT INTO v VALUES ('case', 1, 1, 1, 'abc'), ('kind', 1, 1, 1, ''), ('null', NULL, NULL, NULL, NULL)";
    let new = r"INSERT INTO v VALUES
            ('text', 'it''s ' || char(10) || '-- x; ' || char(13,10,27,0x202e) || 'end', x'00ff27', 0.1, 'é'),
            ('nul', 'a' || char(0) || 'b', zeroblob(3), 5e-324, char(0)),
            ('wrong', CAST(x'fffe41' AS TEXT), CAST(x'00' AS TEXT), 1.7976931348623157e308, ''),
            ('numbers', -9223372036854775807 - 1, 9223372036854775807, 9e999, '1'),
            ('reals', 0.30000000000000004, 1e23, -9e999, 2.5),
            ('tiny', 2.2250738585072011e-308, -4.9e-324, 123456789.12345678, '2'),
            ('key '' \' || char(10), 1, 1.0, 1, NULL);
        UPDATE v SET n = 'ABC' WHERE id = 'case'; UPDATE v SET a = 1.0 WHERE id = 'kind';
        UPDATE v SET a = 0, b = x'', c = 1 WHERE id = 'null'";
    let back = back(before, new, "SELECT 1").await;
    assert_eq!(back.applied().await.tables, [of("v", 7, 3, 0, 0)]);
    let all = "SELECT quote(id) || typeof(a) || hex(a) || typeof(b) || hex(b) || typeof(c) || printf('%!.26g', c) \
               || typeof(n) || hex(n) || (a IS (SELECT a.a FROM v a WHERE a.id = v.id)) FROM v ORDER BY id";
    assert_eq!(back.ask(all), ask_file(Path::new(&back.aside), all));
    let differ = "ATTACH ?2 AS other";
    let connection = Connection::open(back.shop.path()).unwrap();
    connection.execute(&differ.replace("?2", "?1"), [&back.aside]).unwrap();
    let sql = "SELECT count(*) FROM v JOIN other.v o USING (id) WHERE (v.a, v.b, v.c) IS NOT (o.a, o.b, o.c)";
    assert_eq!(connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[tokio::test]
async fn tables_of_every_shape_are_salvaged_or_named() {
    let before = r#"CREATE TABLE "it's ""a""
            table; --" ("k
            1" TEXT, "select" INT, PRIMARY KEY ("k
            1", "select")) WITHOUT ROWID;
        CREATE TABLE pairs (a TEXT, b INT, c, PRIMARY KEY (a, b));
        INSERT INTO pairs VALUES ('x', NULL, 1), ('x', NULL, 1), ('x', 1, 1), (NULL, 2, 1);
        CREATE TABLE log (line, n REAL);
        INSERT INTO log VALUES ('one', 1), ('one', 1), (NULL, 2);
        CREATE TABLE made (id INTEGER PRIMARY KEY, a INT, twice INT GENERATED ALWAYS AS (a * 2) STORED, more AS (a + 1));
        CREATE VIRTUAL TABLE words USING fts5(word);
        INSERT INTO words VALUES ('old');
        CREATE TABLE noted (id INTEGER PRIMARY KEY); CREATE TRIGGER t AFTER INSERT ON noted BEGIN SELECT 1; END;"#;
    let new = r#"INSERT INTO "it's ""a""
            table; --" VALUES ('a', 1), ('b
            ', 2);
        INSERT INTO pairs VALUES ('x', NULL, 1), ('x', NULL, 2), ('y', 1, 1); UPDATE pairs SET c = 2 WHERE b = 1 AND a = 'x';
        INSERT INTO log VALUES ('one', 1), (NULL, 2), (1, 1); INSERT INTO log VALUES ('1', 1);
        INSERT INTO made (id, a) VALUES (1, 21); INSERT INTO words VALUES ('new'); INSERT INTO noted VALUES (1)"#;
    let back = back(before, new, "INSERT INTO log VALUES ('old', 1); DELETE FROM log WHERE line IS NULL").await;
    let salvaged = back.applied().await;
    let mut tables = salvaged.tables.clone();
    tables.retain(|table| !table.table.starts_with("it's"));
    // Of the row that is there twice and was deleted once more is inserted than was new: nobody can tell without a key.
    assert_eq!(
        tables,
        [of("log", 5, 0, 0, 0), of("made", 1, 0, 0, 0), of("noted", 1, 0, 0, 0), of("pairs", 3, 1, 0, 0)]
    );
    assert_eq!(salvaged.tables.len(), 5, "{salvaged:#?}");
    for said in ["table words: it is virtual", "table log: it has no primary key"] {
        assert!(salvaged.unmapped.iter().any(|line| line.starts_with(said)), "{salvaged:#?}");
    }
    assert_eq!(salvaged.unmapped.len(), 2, "{salvaged:#?}");
    assert!(salvaged.notes[0].contains("have triggers") && salvaged.notes[0].contains("noted"), "{salvaged:#?}");
    assert_eq!(back.ask("SELECT twice || ',' || more FROM made"), ["42,22"]);
    assert_eq!(back.ask("SELECT count(*) FROM pairs WHERE b IS NULL"), ["4"]);
    assert_eq!(back.ask("SELECT count(*) || typeof(line) FROM log WHERE line = '1'"), ["1text"]);
    assert_eq!(
        back.ask("SELECT group_concat(quote(\"select\")) FROM \"it's \"\"a\"\"\n            table; --\""),
        ["1,2"]
    );
    assert_eq!(back.ask("SELECT count(*) FROM words"), ["1"]);
}

#[tokio::test]
async fn what_the_old_schema_has_no_place_for_is_told() {
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT NOT NULL, gone INT NOT NULL, n INT CHECK (n < 10), u TEXT UNIQUE);
        INSERT INTO t VALUES (1, 'a', 1, 1, 'one'), (2, 'a', 1, 1, 'two'), (3, 'a', 1, 1, 'three');
        CREATE TABLE plain (id INTEGER PRIMARY KEY, b); CREATE TABLE dropped (id INTEGER PRIMARY KEY);
        CREATE TABLE other_key (id INTEGER PRIMARY KEY, b); INSERT INTO plain VALUES (1, 1);
        CREATE TABLE strict (id INTEGER PRIMARY KEY, n INT) STRICT; INSERT INTO strict VALUES (1, 1)";
    let new = "CREATE TABLE fresh (id); INSERT INTO fresh VALUES (1), (2); DROP TABLE dropped;
        ALTER TABLE plain ADD COLUMN more; UPDATE plain SET more = 1; INSERT INTO plain VALUES (2, 2, 2);
        CREATE TABLE t2 (id INTEGER PRIMARY KEY, a TEXT, n INT, u TEXT);
        INSERT INTO t2 SELECT id, a, n, u FROM t; DROP TABLE t; ALTER TABLE t2 RENAME TO t;
        UPDATE t SET n = 5 WHERE id = 1; UPDATE t SET n = 50 WHERE id = 2; UPDATE t SET a = NULL WHERE id = 3;
        INSERT INTO t VALUES (4, 'new', 1, 'four');
        DROP TABLE other_key; CREATE TABLE other_key (id TEXT PRIMARY KEY, b); INSERT INTO other_key VALUES ('x', 1);
        DROP TABLE strict; CREATE TABLE strict (id INTEGER PRIMARY KEY, n); INSERT INTO strict VALUES (1, 'word'), (2, 2)";
    let back = back(before, new, "UPDATE t SET u = 'none' WHERE id = 2").await;
    let salvaged = back.applied().await;
    assert_eq!(salvaged.tables, [of("plain", 1, 0, 0, 0), of("strict", 1, 0, 0, 1), of("t", 0, 1, 0, 3)]);
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
    let (_, folder) = back.salvage().await;
    let conflicts = read(&folder, "conflicts.sql");
    for why in [
        "NOT NULL constraint failed: t.gone",
        "NOT NULL constraint failed: t.a",
        "cannot store TEXT value in INT column",
    ] {
        assert!(conflicts.contains(why), "{why}\n{conflicts}");
    }
}

#[tokio::test]
async fn a_row_that_would_take_what_another_one_has_is_a_conflict() {
    let before = "CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT UNIQUE, n INT CHECK (n < 10));
        INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 1)";
    let new = "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, u TEXT, n INT);
        INSERT INTO t VALUES (1, 'one', 50), (2, 'zwei', 1), (3, 'three', 1), (4, 'four', 1)";
    let back = back(before, new, "INSERT INTO t VALUES (10, 'three', 1), (11, 'zwei', 1)").await;
    assert_eq!(back.applied().await.tables, [of("t", 1, 0, 0, 3)]);
    let (_, folder) = back.salvage().await;
    let conflicts = read(&folder, "conflicts.sql");
    assert_eq!(conflicts.matches("another live row has the same u").count(), 2, "{conflicts}");
    assert!(conflicts.contains("CHECK constraint failed"), "{conflicts}");
}

const SHOP: &str = "CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INT REFERENCES customers ON DELETE CASCADE);
    CREATE TABLE a_items (id INTEGER PRIMARY KEY, orders INT NOT NULL REFERENCES orders (id) ON DELETE CASCADE);
    CREATE TABLE nodes (id INTEGER PRIMARY KEY, parent INT REFERENCES nodes);
    INSERT INTO customers VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'); INSERT INTO orders VALUES (1, 1), (2, 2), (3, 3), (4, 4);
    INSERT INTO a_items VALUES (1, 1), (2, 2), (3, 3), (4, 4);";

#[tokio::test]
async fn nothing_comes_to_belong_to_a_row_that_is_another_one() {
    let new = "INSERT INTO customers VALUES (5, 'new'), (6, 'new'); INSERT INTO orders VALUES (5, 5), (6, 6), (7, 2);
        INSERT INTO a_items VALUES (5, 5), (6, 6), (7, 7), (8, 1); INSERT INTO nodes VALUES (2, NULL), (1, 2), (3, 9)";
    // Customer 5 is another one now, and customer 2 is gone with what was hers.
    let old = "INSERT INTO customers VALUES (5, 'other'); PRAGMA foreign_keys = ON; DELETE FROM customers WHERE id = 2";
    let back = back(SHOP, new, old).await;
    let salvaged = back.applied().await;
    assert_eq!(
        salvaged.tables,
        [of("a_items", 2, 0, 0, 2), of("customers", 1, 0, 0, 1), of("nodes", 2, 0, 0, 1), of("orders", 1, 0, 0, 2)]
    );
    assert_eq!(back.ask("SELECT id FROM a_items WHERE id > 4 ORDER BY id"), ["6", "8"]);
    assert_eq!(back.ask("SELECT count(*) FROM pragma_foreign_key_check"), ["0"]);
    let (_, folder) = back.salvage().await;
    let conflicts = read(&folder, "conflicts.sql");
    assert!(conflicts.contains("it refers to a row of customers that is a conflict itself"), "{conflicts}");
    assert!(conflicts.contains("it refers to a row of customers that is not there"), "{conflicts}");
}

#[tokio::test]
async fn a_deletion_takes_nothing_else_with_it() {
    let new = "PRAGMA foreign_keys = ON; DELETE FROM customers WHERE id IN (1, 3)";
    let back = back(SHOP, new, "INSERT INTO orders VALUES (20, 3)").await;
    let (salvaged, folder) = back.salvage().await;
    let deletes = [of("a_items", 0, 0, 2, 0), of("customers", 0, 0, 2, 0), of("orders", 0, 0, 2, 0)];
    assert_eq!(salvaged.tables, deletes);
    // The new order refers to customer 3, who therefore stays.
    assert_eq!(back.apply(folder.path()), 5);
    assert_eq!(back.apply(folder.path()), 0);
    assert_eq!(back.ask("SELECT id FROM customers ORDER BY id"), ["2", "3", "4"]);
    assert_eq!(back.ask("SELECT id FROM orders ORDER BY id"), ["2", "4", "20"]);
}

#[tokio::test]
async fn without_knowing_the_restore_point_only_what_is_not_there_is_inserted() {
    let new = "INSERT INTO orders VALUES (21, 'new', 1); UPDATE orders SET state = 'sent' WHERE id = 1; DELETE FROM orders WHERE id = 5";
    let back = back(ORDERS, new, "UPDATE orders SET state = 'paid' WHERE id = 8").await;
    fs::remove_file(back.base()).unwrap();
    let salvaged = back.applied().await;
    assert!(!salvaged.base_known && salvaged.notes[0].contains("not known"), "{salvaged:#?}");
    assert_eq!(salvaged.tables, [of("orders", 1, 0, 0, 3)]);
}

#[tokio::test]
async fn what_came_back_is_kept_in_private_counted_and_freed() {
    let back = back(ORDERS, "UPDATE orders SET state = 'sent'", "SELECT 1").await;
    let base = back.base();
    let file = base.metadata().unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let aside = Path::new(&back.aside).metadata().unwrap();
    let bytes = back.access.observer.aside_bytes(&back.snapshot, &call()).await.unwrap().unwrap();
    assert!(bytes >= (file.blocks() + aside.blocks()) * 512, "{bytes}");
    back.access.mutator.discard(&back.snapshot, &call()).await.unwrap();
    assert!(!back.shop.folder.path().join(".backout").exists());
    assert_eq!(back.access.observer.aside_bytes(&back.snapshot, &call()).await.unwrap(), None);
    let folder = tempfile::tempdir().unwrap();
    back.access.observer.salvage(&back.snapshot, folder.path(), &call()).await.unwrap_err();
}

#[tokio::test]
async fn a_rollback_does_not_fail_because_what_came_back_cannot_be_kept() {
    let shop = Shop::empty("delete");
    shop.sql(ORDERS);
    let access = shop.access(true);
    let snapshot = access.mutator.take("1-shop", &call()).await.unwrap();
    shop.sql("UPDATE orders SET state = 'sent' WHERE id = 1");
    let occupied = Path::new(&snapshot.place).with_file_name("base.new");
    fs::create_dir(&occupied).unwrap();
    let restored = access.mutator.exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(restored.lost.iter().map(|lost| lost.changed).sum::<u64>(), 1);
    assert_eq!(shop.ask("SELECT count(*) FROM orders WHERE state = 'open'"), ["20"]);
    let folder = tempfile::tempdir().unwrap();
    let salvaged = access.observer.salvage(&snapshot, folder.path(), &call()).await.unwrap();
    assert!(!salvaged.base_known);
}

#[tokio::test]
async fn many_rows_are_salvaged() {
    const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)";
    let before = format!(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT, b REAL); {MANY} INSERT INTO t SELECT i, 'a' || i, i / 3.0 FROM n"
    );
    let new = format!(
        "{MANY} INSERT INTO t SELECT i + 100000, 'new' || i, i / 7.0 FROM n; UPDATE t SET a = 'changed' WHERE id % 10 = 0;
         DELETE FROM t WHERE id % 10 = 1 AND id <= 100000"
    );
    let back = back(&before, &new, "UPDATE t SET b = 0 WHERE id % 100 < 2").await;
    let salvaged = back.applied().await;
    assert_eq!(salvaged.tables, [of("t", 100_000, 9_000, 9_000, 2_000)]);
}

#[tokio::test]
async fn who_stops_it_or_has_no_time_gets_an_error() {
    let back = back(ORDERS, "UPDATE orders SET state = 'sent'", "SELECT 1").await;
    let folder = tempfile::tempdir().unwrap();
    let late = CallCtx { deadline: std::time::Instant::now(), ..call() };
    let failure = back.access.observer.salvage(&back.snapshot, folder.path(), &late).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut, "{failure}");
}
