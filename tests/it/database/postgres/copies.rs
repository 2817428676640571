//! Copies of what only PostgreSQL has, and under what only a server does.
use super::*;

/// What the copies of a shop are called.
pub fn copies_of(shop: &Shop) -> Vec<String> {
    let like = format!("backout\\_{}\\_%", shop.database);
    SERVER.ask("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE '{like}' ORDER BY 1"))
}
fn standby_of(shop: &Shop) -> String {
    format!("backout_{}_7-shop", shop.database)
}
async fn fence(access: &Access<Database>) {
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
}
/// As a superuser.
fn sql(shop: &Shop, sql: &str) {
    SERVER.sql(&shop.database, sql);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_is_declared_and_held_is_carried_over() {
    let shop = Shop::empty();
    all_that_is_declared_and_held_comes_back(&shop, shop.access(true)).await;
}

pub async fn all_that_is_declared_and_held_comes_back(shop: &Shop, access: Access<Database>) {
    static ROLES: LazyLock<()> = LazyLock::new(|| SERVER.sql("postgres", "CREATE ROLE app LOGIN; CREATE ROLE reader"));
    LazyLock::force(&ROLES);
    sql(shop, include_str!("declared.sql"));
    let database = &shop.database;
    SERVER.sql(
        "postgres",
        &format!(
            "ALTER DATABASE {database} SET search_path = \"$user\", public, \"we.ird\"\"s\"; ALTER DATABASE {database} SET work_mem = '65MB';
             ALTER ROLE app IN DATABASE {database} SET statement_timeout = '7s'; COMMENT ON DATABASE {database} IS 'it''s mine';
             ALTER DATABASE {database} CONNECTION LIMIT 17; REVOKE ALL ON DATABASE {database} FROM PUBLIC;
             GRANT CONNECT, TEMP ON DATABASE {database} TO app; GRANT CREATE ON DATABASE {database} TO reader WITH GRANT OPTION"
        ),
    );
    let look = |database: &str| {
        [
            format!("SELECT datconnlimit || ' ' || datallowconn || ' ' || shobj_description(oid, 'pg_database') || ' ' || datdba::regrole FROM pg_database WHERE datname = '{database}'"),
            format!("SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM pg_database, aclexplode(datacl) a WHERE datname = '{database}'"),
            format!("SELECT setrole::regrole || ' ' || setconfig::text FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = '{database}' ORDER BY 1"),
        ]
        .map(|query| SERVER.ask("postgres", &query))
    };
    let before = look(database);
    let held = |sql: &str| SERVER.ask(database, sql);
    let large = "SELECT md5(lo_get(4712)) UNION ALL SELECT convert_from(lo_get(4711), 'UTF8') UNION ALL SELECT lomowner::regrole || ' ' || lomacl::text FROM pg_largeobject_metadata WHERE oid = 4711";
    let objects = held(large);
    let snapshot = take(&access).await;
    looks(&access).inspect(&snapshot, &call()).await.unwrap();
    // A table of which a publication lets nobody delete a row.
    sql(shop, "TRUNCATE ONLY inhd; UPDATE t SET late = 'late' WHERE id = 3");
    fence(&access).await;
    let snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    let count = |name: &str| snapshot.fingerprint.parts.iter().find(|p| p.name == name).map(|p| p.count);
    assert_eq!(
        (count("t"), count("par1"), count("nocol"), count("(large objects)")),
        (Some(20), Some(1), Some(2), Some(2))
    );
    assert_eq!((count("\"we.ird\"\"s\".\"o.d\"\"d\""), count("par"), count("inhp")), (Some(0), None, Some(0)));
    // Nobody gets in, and nothing in it works by itself.
    if !snapshot.is_archived() {
        let refused = SERVER.psql(&standby_of(shop), "SELECT 1").output().unwrap();
        assert!(String::from_utf8_lossy(&refused.stderr).contains("not currently accepting"), "{refused:?}");
    }

    sql(
        shop,
        "SET session_replication_role = replica; DELETE FROM t; SELECT nextval('t_id_seq') FROM generate_series(1, 30); DROP VIEW v CASCADE;
         TRUNCATE ONLY inhc; SELECT lo_unlink(4711); SELECT lo_put(4712, 0, 'y'); REVOKE SELECT ON t FROM reader CASCADE; ALTER TABLE t DROP CONSTRAINT t_status_check",
    );
    SERVER.sql(
        "postgres",
        &format!("ALTER DATABASE {database} SET work_mem = '1MB'; COMMENT ON DATABASE {database} IS 'new'"),
    );
    let seen = Arc::<Seen>::default();
    fence(&access).await;
    let restored = changes(&access).exchange(&snapshot, &call_seen(&seen)).await.unwrap();
    let counted = lost_by(&access, &snapshot, &restored).await;
    assert!(counted.contains(&lost("t", 0, 0, 20)) && counted.contains(&lost("inhc", 0, 0, 1)), "{counted:?}");
    assert!(seen.news.lock().unwrap().iter().any(|news| news.contains("1 sequences go on")), "{:?}", seen.news);
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(look(database), before, "limit, comment, owner, privileges and settings are as they were");
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
    assert_eq!(held(large), objects);
    assert_eq!(held("SELECT nextval('t_id_seq')"), ["51"], "no number is given out twice");
    assert_eq!(held("SELECT last_value || ' ' || is_called FROM s2"), ["50 true"]);
    assert_eq!(held("SELECT status || count FROM amv"), ["new20"]);
    assert_eq!(held("SELECT relispopulated FROM pg_class WHERE relname = 'mv0'"), ["f"]);
    assert_eq!(held("SELECT f FROM t WHERE id IN (1, 2) ORDER BY id"), ["NaN", "-0"]);
    assert_eq!(held("SELECT tgenabled FROM pg_trigger WHERE tgname = 'tr2'"), ["D"]);
    // A copy of the copy is a copy.
    let aside = restored.aside.unwrap();
    assert_eq!(
        SERVER.ask("postgres", &format!("SELECT datconnlimit FROM pg_database WHERE datname = '{aside}'")),
        ["0"]
    );
    let again = changes(&access).take("8-shop", &call()).await.unwrap();
    assert_eq!(again.fingerprint, snapshot.fingerprint);
    for snapshot in [&snapshot, &again] {
        changes(&access).discard(snapshot, &call()).await.unwrap();
    }
    assert_eq!(copies_of(shop), [""; 0]);
    assert_eq!(look(database), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_brings_over_the_rows_that_differ() {
    let shop = Shop::new();
    shop.sql(
        "CREATE TABLE named (name TEXT COLLATE \"C\", part DATE, value NUMERIC, PRIMARY KEY (name, part));
         INSERT INTO named SELECT chr(9 + i) || 'ñ\\' || i, DATE '2020-01-01' + i, i FROM generate_series(1, 100) i;
         CREATE TABLE refers (id INT PRIMARY KEY, boss INT REFERENCES refers, one INT REFERENCES orders);
         INSERT INTO refers SELECT i, i - 1, i FROM generate_series(1, 100) i, (SELECT 1) one WHERE i = 1 OR true ORDER BY i"
            .replace("i - 1", "nullif(i - 1, 0)")
            .as_str(),
    );
    let access = shop.access(true);
    let mut snapshot = take(&access).await;
    for (change, copied) in [
        ("UPDATE orders SET note = 'late' WHERE id = 500; DELETE FROM orders WHERE id = 1000", 2),
        (
            "UPDATE named SET value = value + 0.0 WHERE name LIKE '%ñ%7'; INSERT INTO named VALUES ('', '-infinity', 'NaN')",
            11,
        ),
        ("INSERT INTO log VALUES ('one'), (NULL), (''), ('a	b')", 4),
        ("DELETE FROM refers WHERE id > 98; UPDATE refers SET one = NULL WHERE id < 3", 4),
        ("DELETE FROM items", 2000),
    ] {
        shop.sql(change);
        fence(&access).await;
        snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        assert_eq!((snapshot.copied, &*snapshot.detector), (copied, "wal records: 1 of 5 tables"), "{change}");
        assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
        access.mutator.unfence(&call()).await.unwrap();
    }
    // Another structure: another copy.
    shop.sql("ALTER TABLE log ADD COLUMN at INT; CREATE INDEX ON orders (note)");
    fence(&access).await;
    let again = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(again.copied, again.fingerprint.count());
    looks(&access).inspect(&again, &call()).await.unwrap();
    assert_eq!(copies_of(&shop), [standby_of(&shop)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_committed_when_the_copy_was_made_comes_with_the_refresh() {
    let shop = Shop::new();
    let mut writer = shop.client("writer");
    writer.say("BEGIN; INSERT INTO log VALUES ('under way');");
    let written = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = {} AND state = 'idle in transaction'",
        writer.session
    );
    while SERVER.ask("postgres", &written) != ["1"] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let access = shop.access(true);
    let snapshot = take(&access).await;
    assert_eq!(snapshot.fingerprint.count(), 3003);
    let session = writer.session;
    writer.say("COMMIT;");
    let mut writer = writer.into_child();
    drop(writer.stdin.take());
    writer.wait().unwrap();
    fence(&access).await;
    let snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!((snapshot.copied, snapshot.fingerprint.count()), (1, 3004));
    let why = format!("full compare (session {session} (writer) was at work before the copy, and did not end)");
    assert_eq!(snapshot.detector, why);
    access.mutator.execute("DELETE FROM log", &call()).await.unwrap();
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM log WHERE line = 'under way'"), ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_set_aside_is_counted_when_the_product_runs_again() {
    let shop = Shop::new();
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("UPDATE orders SET note = 'new' WHERE id <= 5; DELETE FROM log; INSERT INTO items VALUES (1, 3, 'third')");
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(restored.lost, [Lost::later()]);
    // What the product does from then on is not in it. Nothing of that waits for whoever counts.
    shop.sql(
        "SET lock_timeout = '1s'; INSERT INTO orders (id) VALUES (2000); UPDATE orders SET note = 'mine' WHERE id = 900;
         TRUNCATE items; ALTER TABLE log ADD COLUMN at INT",
    );
    let counted = changes(&access).counted(&snapshot, &call()).await.unwrap();
    let rewritten = Lost::uncounted("items was emptied or rewritten since");
    assert_eq!(counted, [rewritten, lost("log", 0, 0, 3), lost("orders", 0, 5, 0)]);
    // Who was not there at that moment cannot say.
    for access in [&access, &shop.access(true)] {
        refused(&shop, FailureKind::Unavailable, changes(access).counted(&snapshot, &call()).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_left_behind_refuses_the_exchange() {
    let shop = Shop::new();
    let access = shop.access(true);
    let snapshot = take(&access).await;
    let gid = format!("pay_{}", shop.database);
    shop.sql(&format!("BEGIN; DELETE FROM log; PREPARE TRANSACTION '{gid}'"));
    let message = refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    assert!(message.contains(&gid), "{message}");
    shop.sql(&format!("ROLLBACK PREPARED '{gid}'"));
    SERVER.sql(
        &shop.database,
        "CREATE SUBSCRIPTION follows CONNECTION 'dbname=none' PUBLICATION none WITH (connect = false)",
    );
    let message = refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    assert!(message.contains("follows"), "{message}");
    let message = refused(&shop, FailureKind::Conflict, changes(&access).take("8-shop", &call()).await);
    assert!(message.contains("follows"), "{message}");
    SERVER.sql(&shop.database, "ALTER SUBSCRIPTION follows SET (slot_name = NONE)");
    SERVER.sql(&shop.database, "DROP SUBSCRIPTION follows");
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_dropped_that_is_not_ours() {
    let shop = Shop::new();
    let access = shop.access(true);
    let name = standby_of(&shop);
    SERVER.sql("postgres", &format!("CREATE DATABASE \"{name}\" TEMPLATE template0"));
    SERVER.sql(&name, "CREATE TABLE dear (a INT)");
    let message = refused(&shop, FailureKind::Conflict, changes(&access).take("7-shop", &call()).await);
    assert!(message.contains(&name), "{message}");
    let gone = Snapshot::half_made("7-shop");
    refused(&shop, FailureKind::Conflict, changes(&access).discard(&gone, &call()).await);
    assert_eq!(SERVER.ask(&name, "SELECT count(*) FROM dear"), ["0"]);
    // What was killed before it could be marked.
    SERVER.sql("postgres", &format!("DROP DATABASE \"{name}\""));
    SERVER.sql(
        "postgres",
        &format!("CREATE DATABASE \"{name}\" TEMPLATE template0 ALLOW_CONNECTIONS false CONNECTION LIMIT 0"),
    );
    let snapshot = take(&access).await;
    assert!(changes(&access).discard(&snapshot, &call()).await.unwrap() >= snapshot.bytes);
    assert_eq!(copies_of(&shop), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_made_over_the_network_with_a_password_and_only_by_a_superuser() {
    let shop = Shop::new();
    let role = format!("r_{}", shop.database);
    SERVER.sql("postgres", &format!("CREATE ROLE {role} LOGIN PASSWORD 'a:b\\c''d'"));
    let access = shop.access_by(Server {
        host: Host::Name("127.0.0.1".into()),
        user: role.clone(),
        password: Some("a:b\\c'd".into()),
        ..shop.server()
    });
    let failure = changes(&access).take("7-shop", &call()).await.unwrap_err();
    assert!(failure.kind == FailureKind::Denied && failure.message.contains("superuser"), "{failure}");
    SERVER.sql("postgres", &format!("ALTER ROLE {role} SUPERUSER"));
    let snapshot = take(&access).await;
    looks(&access).inspect(&snapshot, &call()).await.unwrap();
    changes(&access).discard(&snapshot, &call()).await.unwrap();
    SERVER.sql("postgres", &format!("DROP ROLE {role}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tables_are_copied_while_others_come_and_go() {
    let shop = Shop::empty();
    shop.sql("DO $$ BEGIN FOR i IN 1..1000 LOOP EXECUTE format('CREATE TABLE t%s (id INT PRIMARY KEY, v TEXT)', i); EXECUTE format('INSERT INTO t%s VALUES (%s, %L)', i, i, i); IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END $$");
    let access = shop.access(true);
    let mut other = shop.client("other");
    for i in 0..20 {
        other.say(&format!("CREATE TABLE passing{i} (a INT); INSERT INTO passing{i} VALUES (1); SELECT pg_sleep(0.05); DROP TABLE passing{i};"));
    }
    let snapshot = take(&access).await;
    assert!(snapshot.fingerprint.parts.len() >= 1000);
    let thousand: u64 = snapshot.fingerprint.parts.iter().filter(|p| p.name.starts_with('t')).map(|p| p.count).sum();
    assert_eq!(thousand, 1000);
    looks(&access).inspect(&snapshot, &call()).await.unwrap();
    changes(&access).discard(&snapshot, &call()).await.unwrap();
}

/// Whatever happens to the server, what is live stays whole, and it can be said what has happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing() {
    let server = support::Server::start(&support::newest(), &["fsync=off", "wal_level=minimal", "max_wal_senders=0"]);
    server.sql("postgres", "CREATE DATABASE shop TEMPLATE template0");
    server.sql("shop", "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT); INSERT INTO orders SELECT i, repeat('x', 500) FROM generate_series(1, 30000) i");
    let section = || Section {
        driver: Driver::Postgres(reached(&server, "shop")),
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    let access = drivers::open("shop", &section());
    let kill_after = |wait: u64| {
        let kill = server.killer();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(wait));
            kill();
        })
    };
    let mut snapshot = take(&access).await;
    for wait in [100, 600] {
        let killing = kill_after(wait);
        let _ = changes(&access).take("8-shop", &call()).await;
        killing.join().unwrap();
        server.start_again();
        looks(&access).quiet(&call()).await.unwrap();
        let second = changes(&access).take("8-shop", &call()).await.unwrap();
        changes(&access).discard(&second, &call()).await.unwrap();
        // After a restart all of it is read again.
        looks(&access).inspect(&snapshot, &call()).await.unwrap();

        server.sql("shop", "UPDATE orders SET note = note || 'y' WHERE id % 10 = 0");
        let killing = kill_after(wait);
        let _ = changes(&access).refresh(&snapshot, &call()).await;
        killing.join().unwrap();
        server.start_again();
        looks(&access).quiet(&call()).await.unwrap();
        snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
        let again = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        assert_eq!(again.detector, "full compare (`wal_level` is minimal, so not every change is logged)");
        snapshot = again;
    }
    for (round, wait) in [30, 60, 90, 120].into_iter().enumerate() {
        server.sql("shop", "INSERT INTO orders VALUES (0, 'since')");
        let seen = Arc::<Seen>::default();
        let killing = kill_after(wait);
        let result = changes(&access).exchange(&snapshot, &call_seen(&seen)).await;
        killing.join().unwrap();
        server.start_again();
        let evidence = seen.evidence.lock().unwrap().clone();
        let found = looks(&access).exchanged(&snapshot, &evidence).await.unwrap();
        let since = server.ask("shop", "SELECT count(*) FROM orders WHERE id = 0");
        match found {
            Exchange::Done { aside } => {
                assert_eq!(since, ["0"], "round {round}");
                assert_eq!(server.ask(&aside, "SELECT count(*) FROM orders WHERE id = 0"), ["1"]);
            }
            Exchange::NotDone => {
                assert!(result.is_err() && since == ["1"], "round {round}: {result:?}");
                server.sql("shop", "DELETE FROM orders WHERE id = 0");
            }
            Exchange::Unclear(look) => panic!("round {round}: {look}"),
        }
        changes(&access).discard(&snapshot, &call()).await.unwrap();
        snapshot = take(&access).await;
    }
    assert_eq!(server.ask("shop", "SELECT count(*) FROM orders"), ["30000"]);
}
