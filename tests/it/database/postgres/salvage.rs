//! What was set aside comes back as statements: those that are right, those that people decide, and nothing else.
use super::*;
use crate::support::postgres::text;
use backout::resource::database::salvage::{Salvage, Salvaged};
use std::{fs, path::Path};

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
    /// As the application, with the server's own client. Rows that changed.
    fn apply(&self, folder: &Path) -> u64 {
        let mut rows = 0;
        for sheet in ["1-inserts.sql", "2-updates.sql", "3-deletes.sql"] {
            if folder.join(sheet).exists() {
                let mut psql = SERVER.tool("psql", &self.shop.database);
                let output = psql.args(["-X", "-U", ROLE, "-f"]).arg(folder.join(sheet)).output().unwrap();
                let said = String::from_utf8(output.stdout.clone()).unwrap();
                assert!(text(&output).is_empty() && said.trim_end().ends_with("COMMIT"), "{}\n{said}", text(&output));
                let counts = said.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
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
        assert_eq!(again.counts().1, salvaged.counts().1, "conflicts are left as they were");
        salvaged
    }
    fn ask(&self, sql: &str) -> Vec<String> {
        self.shop.ask(sql)
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        let _ = SERVER.psql("postgres", &format!("DROP DATABASE \"{}\" WITH (FORCE)", self.aside)).output();
    }
}

fn of(table: &str, inserts: u64, updates: u64, deletes: u64, conflicts: u64) -> Salvage {
    Salvage { table: table.into(), inserts, updates, deletes, conflicts }
}

fn read(folder: &tempfile::TempDir, name: &str) -> String {
    fs::read_to_string(folder.path().join(name)).unwrap()
}

const ORDERS: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, state TEXT, total REAL);
    INSERT INTO orders SELECT i, 'open', i + 0.5 FROM generate_series(1, 20) i";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
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
    // What is written meanwhile is left alone.
    back.shop.sql("INSERT INTO orders VALUES (21, 'mine', 0); UPDATE orders SET state = 'mine' WHERE id IN (1, 5)");
    assert_eq!(back.apply(folder.path()), 0);
    back.shop.sql("DELETE FROM orders WHERE id = 21; UPDATE orders SET state = 'open' WHERE id IN (1, 5)");
    assert_eq!(back.applied().await, salvaged);
    assert_eq!(back.ask("SELECT id || state FROM orders WHERE id IN (1, 5, 21) ORDER BY id"), ["1sent", "21new"]);
    assert_eq!(back.ask("SELECT id || state FROM orders WHERE id NOT IN (1, 5, 21) ORDER BY id"), untouched);
    // Counted again, what is kept for it is no part of what was set aside.
    let lost = looks(&back.access).loss(&back.snapshot, &call()).await.unwrap();
    assert_eq!(lost.iter().map(|lost| &*lost.part).collect::<Vec<_>>(), ["orders"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_value_comes_back_to_the_last_bit() {
    let before = "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN small AS INT CHECK (VALUE < 10);
        CREATE COLLATION anyhow (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE v (id TEXT PRIMARY KEY, t TEXT, c CHAR(4), n NUMERIC, r REAL, d FLOAT8, b BYTEA, j JSON, jb JSONB, a TEXT[],
            at TIMESTAMPTZ, on_day DATE, i INTERVAL, u UUID, m mood, s small, ip INET, g INT4RANGE, p POINT, f BOOLEAN, e XML,
            z TIMESTAMPTZ[], l TEXT COLLATE anyhow, w MONEY);
        INSERT INTO v (id, n, l, c, t) VALUES ('case', 1, 'abc', 'a', ''), ('zeros', 1.0, '', '', 'x')";
    let new = r#"INSERT INTO v VALUES
            ('all', E'it''s \n-- x; \r\x1b\u202eend\\', 'ab', 1.50, 0.1, 5e-324, '\x00ff27', '{"a":  1}', '{"a": [1, null]}',
             '{"a,b",NULL,"\"q\""}', '2020-01-01 00:00:00.123456+02', '0044-03-15 BC', '-1 mon +2 days -03:04:05', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
             'glad', 9, '192.168.0.1', '[1,5)', '(1.5,-2)', true, '<a>x</a>', '{2020-06-01 12:00:00+00}', 'ABC', '12.34'),
            (E'key \' \\ \n', NULL, '', 'NaN', 'NaN', '-0', '', NULL, '1', '{}', 'infinity', '-infinity', '0', NULL, NULL, NULL, '10.0.0.0/8', 'empty', NULL, false, NULL, NULL, '', NULL);
        UPDATE v SET l = 'ABC' WHERE id = 'case'; UPDATE v SET n = 1.00, c = 'b', t = NULL WHERE id = 'zeros'"#;
    let back = back(before, new, "SELECT 1").await;
    assert_eq!(back.applied().await.tables, [of("v", 2, 2, 0, 0)]);
    let all = "SELECT md5(v::text) FROM v ORDER BY id COLLATE \"C\"";
    assert_eq!(back.ask(all), SERVER.ask(&back.aside, all));
    let (_, folder) = back.salvage().await;
    assert!(!folder.path().join("1-inserts.sql").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_every_shape_are_salvaged_or_named() {
    let before = r#"CREATE SCHEMA "it's"; CREATE TABLE "it's"."a ""t""
            --" ("k
            1" TEXT, "select" INT, PRIMARY KEY ("k
            1", "select"));
        CREATE TABLE log (line TEXT, n REAL); INSERT INTO log VALUES ('one', 1), ('one', 1), (NULL, 2);
        CREATE TABLE made (id INT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a INT, twice INT GENERATED ALWAYS AS (a * 2) STORED NOT NULL);
        CREATE TABLE parts (id INT, day DATE, v TEXT, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
        CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2021-01-01') TO ('2022-01-01');
        INSERT INTO parts SELECT i, '2020-12-01'::date + i, 'old' FROM generate_series(1, 100) i;
        CREATE TABLE late (id INT PRIMARY KEY DEFERRABLE, v TEXT); CREATE TABLE base (id INT PRIMARY KEY); CREATE TABLE heir () INHERITS (base);
        CREATE TABLE noted (id INT PRIMARY KEY); CREATE FUNCTION note() RETURNS TRIGGER LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER t AFTER INSERT ON noted EXECUTE FUNCTION note()"#;
    let new = r#"INSERT INTO "it's"."a ""t""
            --" VALUES ('a', 1), ('b
            ', 2);
        INSERT INTO log VALUES ('one', 1), (NULL, 2), ('1', 1);
        INSERT INTO made (a) VALUES (21); INSERT INTO noted VALUES (1); INSERT INTO late VALUES (1, 'x'); INSERT INTO heir VALUES (3);
        UPDATE parts SET v = 'new' WHERE id = 1; DELETE FROM parts WHERE id = 2; INSERT INTO parts VALUES (200, '2021-05-05', 'new');
        UPDATE parts SET v = 'moved' WHERE id = 99"#;
    let back = back(before, new, "INSERT INTO log VALUES ('old', 1); DELETE FROM log WHERE line IS NULL").await;
    let salvaged = back.applied().await;
    let mut tables = salvaged.tables.clone();
    tables.retain(|table| !table.table.starts_with("it's"));
    // Of the row that is there twice and was deleted once more is inserted than was new: nobody can tell without a key.
    assert_eq!(
        tables,
        [
            of("heir", 1, 0, 0, 0),
            of("late", 1, 0, 0, 0),
            of("log", 4, 0, 0, 0),
            of("made", 1, 0, 0, 0),
            of("noted", 1, 0, 0, 0),
            of("parts", 1, 2, 1, 0)
        ]
    );
    assert_eq!(salvaged.tables.len(), 7, "{salvaged:#?}");
    for table in ["log", "heir"] {
        assert!(
            salvaged.unmapped.iter().any(|line| line.starts_with(&format!("table {table}: it has no primary key"))),
            "{salvaged:#?}"
        );
    }
    assert_eq!(salvaged.unmapped.len(), 2, "{salvaged:#?}");
    assert!(salvaged.notes[0].contains("have triggers") && salvaged.notes[0].contains("noted"), "{salvaged:#?}");
    assert_eq!(back.ask("SELECT id || ',' || twice FROM made"), ["1,42"]);
    assert_eq!(back.ask("SELECT v FROM parts WHERE id IN (1, 99, 200) ORDER BY id"), ["new", "moved", "new"]);
    assert_eq!(back.ask("SELECT count(*) FROM parts_1"), ["29"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_old_schema_has_no_place_for_is_told() {
    let before = "CREATE FUNCTION fine(n INT) RETURNS BOOLEAN IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN n < 10; END';
        CREATE TABLE t (id INT PRIMARY KEY, a TEXT NOT NULL, gone INT NOT NULL, n INT CHECK (n < 10), u VARCHAR(5) UNIQUE, d INT NOT NULL DEFAULT 5);
        INSERT INTO t VALUES (1, 'a', 1, 1, 'one'), (2, 'a', 1, 1, 'two'), (3, 'a', 1, 1, 'three');
        CREATE TABLE plain (id INT PRIMARY KEY, b INT); CREATE TABLE dropped (id INT PRIMARY KEY);
        CREATE TABLE called (id INT PRIMARY KEY, n INT CHECK (fine(n)));
        CREATE TABLE other_key (id INT PRIMARY KEY, b INT); INSERT INTO plain VALUES (1, 1)";
    let new = "CREATE TABLE fresh (id INT); INSERT INTO fresh VALUES (1), (2); DROP TABLE dropped;
        ALTER TABLE plain ADD COLUMN more INT; UPDATE plain SET more = 1; INSERT INTO plain VALUES (2, 2, 2);
        ALTER TABLE t DROP COLUMN gone, DROP COLUMN d, ALTER a DROP NOT NULL, DROP CONSTRAINT t_n_check, DROP CONSTRAINT t_u_key, ALTER u TYPE TEXT;
        UPDATE t SET n = 5 WHERE id = 1; UPDATE t SET n = 50 WHERE id = 2; UPDATE t SET a = NULL WHERE id = 3;
        INSERT INTO t VALUES (4, 'new', 1, 'four'); INSERT INTO called VALUES (1, 1);
        ALTER TABLE other_key ALTER id TYPE TEXT; INSERT INTO other_key VALUES ('x', 1)";
    let back = back(before, new, "UPDATE t SET u = 'none' WHERE id = 2").await;
    let (salvaged, folder) = back.salvage().await;
    assert_eq!(salvaged.tables, [of("called", 1, 0, 0, 0), of("plain", 1, 0, 0, 0), of("t", 0, 1, 0, 3)]);
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
    for why in ["null value in column \"gone\"", "null value in column \"a\"", "both versions changed it"] {
        assert!(conflicts.contains(why), "{why}\n{conflicts}");
    }
    back.applied().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_would_take_what_another_one_has_is_a_conflict() {
    let before = "CREATE TABLE t (id INT PRIMARY KEY, u TEXT UNIQUE, n INT CHECK (n < 10), w VARCHAR(5));
        INSERT INTO t VALUES (1, 'one', 1), (2, 'two', 1)";
    let new = "ALTER TABLE t DROP CONSTRAINT t_u_key, DROP CONSTRAINT t_n_check, ALTER w TYPE TEXT; UPDATE t SET n = 50 WHERE id = 1;
        UPDATE t SET u = 'zwei' WHERE id = 2; INSERT INTO t VALUES (3, 'three', 1), (4, 'four', 1); INSERT INTO t VALUES (5, 'five', 1, 'too long')";
    let back = back(before, new, "INSERT INTO t VALUES (10, 'three', 1), (11, 'zwei', 1)").await;
    assert_eq!(back.applied().await.tables, [of("t", 1, 0, 0, 4)]);
    let (_, folder) = back.salvage().await;
    let conflicts = read(&folder, "conflicts.sql");
    assert_eq!(conflicts.matches("another live row has the same u").count(), 2, "{conflicts}");
    assert!(
        conflicts.contains("check constraint \"t_n_check\"") && conflicts.contains("value too long"),
        "{conflicts}"
    );
}

const SHOP: &str = "CREATE TABLE customers (id INT PRIMARY KEY, name TEXT);
    CREATE TABLE orders (id INT PRIMARY KEY, customer INT REFERENCES customers ON DELETE CASCADE);
    CREATE TABLE a_items (id INT PRIMARY KEY, orders INT NOT NULL REFERENCES orders (id) ON DELETE CASCADE);
    CREATE TABLE nodes (id INT PRIMARY KEY, parent INT REFERENCES nodes);
    INSERT INTO customers VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'); INSERT INTO orders VALUES (1, 1), (2, 2), (3, 3), (4, 4);
    INSERT INTO a_items VALUES (1, 1), (2, 2), (3, 3), (4, 4);";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_comes_to_belong_to_a_row_that_is_another_one() {
    let new =
        "ALTER TABLE nodes DROP CONSTRAINT nodes_parent_fkey; INSERT INTO customers VALUES (5, 'new'), (6, 'new');
        INSERT INTO orders VALUES (5, 5), (6, 6), (7, 2);
        INSERT INTO a_items VALUES (5, 5), (6, 6), (7, 7), (8, 1); INSERT INTO nodes VALUES (2, NULL), (1, 2), (3, 9)";
    // Customer 5 is another one now, and customer 2 is gone with what was hers.
    let back = back(SHOP, new, "INSERT INTO customers VALUES (5, 'other'); DELETE FROM customers WHERE id = 2").await;
    let salvaged = back.applied().await;
    assert_eq!(
        salvaged.tables,
        [of("a_items", 2, 0, 0, 2), of("customers", 1, 0, 0, 1), of("nodes", 2, 0, 0, 1), of("orders", 1, 0, 0, 2)]
    );
    assert_eq!(back.ask("SELECT id FROM a_items WHERE id > 4 ORDER BY id"), ["6", "8"]);
    let (_, folder) = back.salvage().await;
    let conflicts = read(&folder, "conflicts.sql");
    assert!(conflicts.contains("it refers to a row of customers that is a conflict itself"), "{conflicts}");
    assert!(conflicts.contains("it refers to a row of customers that is not there"), "{conflicts}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_takes_nothing_else_with_it() {
    let back = back(SHOP, "DELETE FROM customers WHERE id IN (1, 3)", "INSERT INTO orders VALUES (20, 3)").await;
    let (salvaged, folder) = back.salvage().await;
    let deletes = [of("a_items", 0, 0, 2, 0), of("customers", 0, 0, 2, 0), of("orders", 0, 0, 2, 0)];
    assert_eq!(salvaged.tables, deletes);
    // The new order refers to customer 3, who therefore stays.
    assert_eq!(back.apply(folder.path()), 5);
    assert_eq!(back.apply(folder.path()), 0);
    assert_eq!(back.ask("SELECT id FROM customers ORDER BY id"), ["2", "3", "4"]);
    assert_eq!(back.ask("SELECT id FROM orders ORDER BY id"), ["2", "4", "20"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circle_of_references_is_closed_once_all_of_it_is_there() {
    let before = "CREATE TABLE a_teams (id INT PRIMARY KEY, lead INT); CREATE TABLE people (id INT PRIMARY KEY, team INT NOT NULL REFERENCES a_teams);
        ALTER TABLE a_teams ADD FOREIGN KEY (lead) REFERENCES people; CREATE TABLE nodes (id INT PRIMARY KEY, parent INT REFERENCES nodes);
        INSERT INTO a_teams VALUES (1, NULL), (2, NULL); INSERT INTO people VALUES (1, 1); INSERT INTO nodes VALUES (1, NULL), (2, 1), (3, 2)";
    let new = "INSERT INTO a_teams VALUES (3, NULL), (4, NULL); INSERT INTO people VALUES (3, 3), (4, 4), (5, 1); UPDATE a_teams SET lead = id WHERE id > 2;
        UPDATE a_teams SET lead = 5 WHERE id = 1; UPDATE a_teams SET lead = 4 WHERE id = 2; DELETE FROM nodes WHERE id > 1";
    // Person 4 is another one now, so nobody leads teams 2 and 4.
    let back = back(before, new, "INSERT INTO people VALUES (4, 2)").await;
    let (salvaged, folder) = back.salvage().await;
    assert_eq!(salvaged.tables, [of("a_teams", 2, 1, 0, 2), of("nodes", 0, 0, 2, 0), of("people", 2, 0, 0, 1)]);
    assert_eq!(back.apply(folder.path()), 7 + 1);
    assert_eq!(back.apply(folder.path()), 0);
    assert_eq!(
        back.ask("SELECT concat(id, coalesce(lead::text, '-')) FROM a_teams ORDER BY id"),
        ["15", "2-", "33", "4-"]
    );
    assert_eq!(back.ask("SELECT id FROM nodes"), ["1"]);
    let conflicts = read(&folder, "conflicts.sql");
    assert!(
        conflicts.contains("so it is made, but it refers to a row of people that is a conflict itself"),
        "{conflicts}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_number_that_has_become_a_text_is_never_a_statement() {
    let new = "ALTER TABLE t ALTER n TYPE TEXT; UPDATE t SET n = '1); DROP TABLE t; --' WHERE id = 1; UPDATE t SET n = '7' WHERE id = 2";
    let back =
        back("CREATE TABLE t (id INT PRIMARY KEY, n INT); INSERT INTO t VALUES (1, 1), (2, 1)", new, "SELECT 1").await;
    assert_eq!(back.applied().await.tables, [of("t", 0, 1, 0, 1)]);
    assert_eq!(back.ask("SELECT n FROM t ORDER BY id"), ["1", "7"]);
}

/// What a product does that comes back before anybody has looked.
struct Quick(String);
impl Progress for Quick {
    fn progress(&self, text: &str, _: u64, _: u64) {
        if text == COUNTING {
            SERVER.sql(&self.0, "DELETE FROM orders WHERE id = 9; UPDATE parts SET v = 'quick' WHERE id = 2");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_somebody_wrote_to_at_once_is_not_taken_for_the_restore_point() {
    let shop = Shop::empty();
    shop.sql(&format!(
        "{ORDERS}; CREATE TABLE calm (id INT PRIMARY KEY, v TEXT); INSERT INTO calm VALUES (1, 'a'), (2, 'a');
         CREATE TABLE parts (id INT PRIMARY KEY, v TEXT) PARTITION BY RANGE (id);
         CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (1) TO (10); INSERT INTO parts VALUES (1, 'a'), (2, 'a');
         CREATE TABLE pieces (id INT PRIMARY KEY, v TEXT) PARTITION BY RANGE (id);
         CREATE TABLE pieces_1 PARTITION OF pieces FOR VALUES FROM (1) TO (10); INSERT INTO pieces VALUES (1, 'a'), (2, 'a')"
    ));
    let access = shop.access(true);
    let snapshot = changes(&access).take("7-shop", &call()).await.unwrap();
    shop.sql("UPDATE orders SET state = 'new' WHERE id = 1; UPDATE calm SET v = 'b' WHERE id = 1; UPDATE parts SET v = 'b' WHERE id = 1; UPDATE pieces SET v = 'b' WHERE id = 1");
    let quick = CallCtx { progress: Arc::new(Quick(shop.database.clone())), ..call() };
    let restored = changes(&access).exchange(&snapshot, &quick).await.unwrap();
    lost_by(&access, &snapshot, &restored).await;
    let back = Back { shop, access, snapshot, aside: restored.aside.unwrap() };
    let (salvaged, _folder) = back.salvage().await;
    assert_eq!(
        salvaged.tables,
        [of("calm", 0, 1, 0, 0), of("orders", 1, 0, 0, 1), of("parts", 0, 0, 0, 2), of("pieces", 0, 1, 0, 0)]
    );
    let named =
        |table: &str| salvaged.notes.iter().any(|note| note.starts_with(&format!("Of table {table} it is not known")));
    assert_eq!(["calm", "orders", "parts", "pieces"].map(named), [false, true, true, false], "{salvaged:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_knowing_the_restore_point_only_what_is_not_there_is_inserted() {
    let new = "INSERT INTO orders VALUES (21, 'new', 1); UPDATE orders SET state = 'sent' WHERE id = 1; DELETE FROM orders WHERE id = 5";
    let back = back(ORDERS, new, "UPDATE orders SET state = 'paid' WHERE id = 8").await;
    SERVER.sql(&back.aside, "DROP SCHEMA backout_base CASCADE");
    let salvaged = back.applied().await;
    assert!(!salvaged.base_known && salvaged.notes[0].contains("not known"), "{salvaged:#?}");
    assert_eq!(salvaged.tables, [of("orders", 1, 0, 0, 3)]);
    changes(&back.access).discard(&back.snapshot, &call()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let failure = back.access.observer.salvage(&back.snapshot, folder.path(), &call()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rows_are_salvaged() {
    let before = "CREATE TABLE t (id INT PRIMARY KEY, a TEXT, b FLOAT8, more INT DEFAULT 7); INSERT INTO t SELECT i, 'a' || i, i / 3.0 FROM generate_series(1, 20000) i";
    let new = "INSERT INTO t SELECT i + 100000, 'new' || i, i / 7.0 FROM generate_series(1, 10000) i; UPDATE t SET a = 'changed' WHERE id % 10 = 0 AND id <= 20000;
         DELETE FROM t WHERE id % 10 = 1 AND id <= 20000";
    let back = back(before, new, "UPDATE t SET b = 0 WHERE id % 100 < 2").await;
    let salvaged = back.applied().await;
    assert_eq!(salvaged.tables, [of("t", 10_000, 1_800, 1_800, 400)]);
}
