//! What goes wrong around a server: locks, tables that go, cut connections, huge rows, and Backout itself killed in the middle.
use super::*;
use crate::support::{
    bench::{BACKOUT as PROGRAM, PATIENCE, kill, wait_for},
    command::backout,
    guests,
    mariadb::{LOGS, Server as Own},
    packages::Folder,
    proxy::Proxy,
};
use std::{os::unix::fs::PermissionsExt, process::Stdio};

fn copies_of(shop: &Shop) -> Vec<String> {
    let like = format!("backout\\_{}\\_%", shop.database);
    shop.on.ask("", &format!("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '{like}'"))
}
/// With less time than the usual.
fn soon(seconds: u64) -> CallCtx {
    CallCtx { deadline: Instant::now() + Duration::from_secs(seconds), ..call() }
}

/// In a statement each of their bytes may take two, and the server takes none that is so long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_20_megabytes_are_rows() {
    let server = Own::start(&[LOGS, &["--max-allowed-packet=32M", "--innodb-log-file-size=512M"]].concat());
    let database = server.database();
    let sql = |sql: &str| server.sql(&format!("USE {database}; {sql}"));
    sql("CREATE TABLE scans (id INT PRIMARY KEY, text LONGTEXT, bytes LONGBLOB, e ENUM('1', '0'), b BIT(3), u UUID);
         INSERT INTO scans SELECT seq, REPEAT('\\'ñ', (20 << 20) / 3), NULL, '0', b'101', '123e4567-e89b-12d3-a456-426655440000' FROM seq_1_to_2;
         INSERT INTO scans VALUES (3, NULL, REPEAT(CHAR(0), 20 << 20), '1', b'1', NULL)");
    let driver = Driver::MariaDb(reached(&server, &database));
    let section = Section { driver, keep_aside: Duration::ZERO, exclusive: true, method: Default::default() };
    let access = drivers::open("shop", &section);
    let snapshot = take(&access).await;
    assert!(snapshot.bytes > 60 << 20, "{}", snapshot.bytes);
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), []);
    let differs = format!(
        "SELECT COUNT(*) FROM {database}.scans a LEFT JOIN `{}`.scans b USING (id, e, b) WHERE NOT (a.text <=> b.text AND a.bytes <=> b.bytes AND a.u <=> b.u)",
        snapshot.place
    );
    assert_eq!(server.ask("", &differs), ["0"]);
    sql("UPDATE scans SET text = INSERT(text, 10000, 1, 'z') WHERE id = 2");
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), [lost("scans", 0, 1, 0)]);
    let snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    // What was and what is there now is more than the server takes for one entry when it lists its log.
    assert!(snapshot.detector.starts_with("full compare (the server's log cannot be read"), "{}", snapshot.detector);
    assert_eq!(snapshot.copied, 1);
    sql("UPDATE scans SET bytes = 'x' WHERE id = 3");
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    let whole =
        "SELECT INSTR(text, 'z') FROM scans WHERE id = 2 UNION ALL SELECT LENGTH(bytes) FROM scans WHERE id = 3";
    assert_eq!(server.ask(&database, whole), ["10000", &(20 << 20).to_string()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_lock_is_not_waited_for_without_an_end() {
    let shop = Shop::new();
    let access = shop.access(true);
    let snapshot = take(&access).await;
    let mut migration = Client::new(shop.by_client());
    assert_eq!(migration.answer("LOCK TABLES orders WRITE; SELECT 1"), "1");
    let told = |failure: Failure| {
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Unavailable, "somebody else has a lock on it"));
    };
    told(changes(&access).take("8-shop", &soon(5)).await.unwrap_err());
    told(looks(&access).fingerprint(&soon(5)).await.unwrap_err());
    changes(&access).discard(&Snapshot::half_made("8-shop"), &call()).await.unwrap();
    assert_eq!(copies_of(&shop), [shop.standby()]);
    // Whoever is in the database keeps it from being exchanged, and is named.
    let failure = changes(&access).exchange(&snapshot, &soon(5)).await.unwrap_err();
    assert!(failure.kind == FailureKind::Conflict && failure.message.contains("in use by"), "{failure}");
    // A fence ends whoever does not leave, with all locks.
    access.mutator.fence(Duration::from_millis(200), &soon(10)).await.unwrap();
    assert_eq!(changes(&access).refresh(&snapshot, &call()).await.unwrap().copied, 0);
    drop(Connected::from(migration.into_child().0));

    // An administrator's, whom no fence keeps out and who has chosen no database.
    let mut admin = Client::new(shop.on.client("root", ""));
    assert_eq!(admin.answer(&format!("START TRANSACTION; SELECT count(*) FROM {}.log", shop.database)), "3");
    let began = Instant::now();
    told(changes(&access).exchange(&snapshot, &soon(60)).await.unwrap_err());
    assert!(began.elapsed() < Duration::from_secs(40), "nobody gets to the tables meanwhile");
    assert_eq!(looks(&access).exchanged(&snapshot, &[]).await.unwrap(), Exchange::NotDone);
    drop(Connected::from(admin.into_child().0));
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert!(shop.may_connect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_meanwhile_is_in_the_copy_or_it_is_said() {
    let shop = Shop::new();
    shop.sql("CREATE TABLE a (id INT PRIMARY KEY, note TEXT); INSERT INTO a SELECT seq, REPEAT('x', 500) FROM seq_1_to_20000");
    let access = shop.access(true);
    let mut said = 0;
    // The tables are read by their names.
    for table in ["log", "orders", "items"] {
        let seen = Arc::<Seen>::default();
        let taking = call_seen(&seen);
        let taking = changes(&access).take("7-shop", &taking);
        let dropping = async {
            let place =
                format!("SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{}'", shop.standby());
            while shop.on.ask("", &place) == ["0"] {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            shop.sql(&format!("DROP TABLE {table}"));
        };
        if let (Err(failure), ()) = tokio::join!(taking, dropping) {
            assert_eq!(failure.kind, FailureKind::Conflict, "{failure}");
            assert!(failure.message.contains("dropped or declared anew while it was read"), "{failure}");
            said += 1;
        }
        // The next one has nothing to do with it.
        let snapshot = take(&access).await;
        assert!(!snapshot.fingerprint.parts.iter().any(|part| part.name == table));
        assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), []);
    }
    assert!(said > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_loses_nothing() {
    let shop = Shop::new();
    shop.sql("INSERT INTO orders SELECT seq, 'c', 1, REPEAT('x', 500) FROM seq_1001_to_6000");
    let proxy = Proxy::to(shop.on.port);
    let host = Host::Name("127.0.0.1".into());
    let access = shop.access_by(Server { host, port: proxy.port, tls: Tls::Disable, ..shop.server() });
    let mut snapshot = take(&access).await;
    let cut = |failure: Failure| {
        assert_eq!(failure.kind, FailureKind::Unavailable, "{failure:?}");
        assert!(!format!("{failure:?}").contains("127.0.0.1"), "{failure:?}");
    };
    let (mut cuts, mut exchanged) = (0, 0);
    for bytes in [1_000, 20_000, 100_000, 1_000_000, 3_000_000] {
        proxy.cut_after(bytes);
        if let Err(failure) = changes(&access).take("8-shop", &call()).await {
            cut(failure);
            cuts += 1;
        }
        proxy.mend();
        // What was going on ends, and leaves nothing that the next one would stumble over.
        looks(&access).quiet(&call()).await.unwrap();
        let second = changes(&access).take("8-shop", &call()).await.unwrap();
        changes(&access).discard(&second, &call()).await.unwrap();

        shop.sql(&format!("UPDATE orders SET note = '{bytes}' WHERE id % 3 = 0"));
        proxy.cut_after(bytes);
        if let Err(failure) = changes(&access).refresh(&snapshot, &call()).await {
            cut(failure);
            cuts += 1;
        }
        proxy.mend();
        looks(&access).quiet(&call()).await.unwrap();
        snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    }
    for bytes in [2_000, 8_000, 30_000, 700_000, 760_000, 800_000, 5_000_000] {
        shop.sql("INSERT INTO log VALUES ('since')");
        let seen = Arc::<Seen>::default();
        proxy.cut_after(bytes);
        let result = changes(&access).exchange(&snapshot, &call_seen(&seen)).await;
        proxy.mend();
        let evidence = seen.evidence.lock().unwrap().clone();
        let found = looks(&access).exchanged(&snapshot, &evidence).await.unwrap();
        let since = shop.ask("SELECT count(*) FROM log WHERE line = 'since'");
        match found {
            Exchange::Done { aside } => {
                exchanged += 1;
                assert_eq!(
                    (since, shop.on.ask(&aside, "SELECT count(*) FROM log WHERE line = 'since'")),
                    (vec!["0".into()], vec!["1".into()])
                );
                changes(&access).discard(&snapshot, &call()).await.unwrap();
                snapshot = take(&access).await;
            }
            Exchange::NotDone => {
                cut(result.unwrap_err());
                cuts += 1;
                assert_eq!(since, ["1"]);
                shop.sql("DELETE FROM log WHERE line = 'since'");
            }
            Exchange::Unclear(look) => panic!("{bytes}: {look}"),
        }
    }
    assert!(cuts >= 8 && exchanged >= 1, "{cuts} were cut, {exchanged} exchanged");
    assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["6000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tables_are_copied() {
    // Nothing of it waits for the disk.
    let server = Own::start(&[LOGS, &["--innodb-flush-method=nosync", "--sync-frm=0"]].concat());
    let database = server.database();
    let sql = |sql: &str| server.sql(&format!("USE {database}; {sql}"));
    let tables: Vec<String> = (1..=1000)
        .map(|i| format!("CREATE TABLE t{i} (id INT PRIMARY KEY, v TEXT); INSERT INTO t{i} VALUES ({i}, {i})"))
        .collect();
    sql(&tables.join(";"));
    let driver = Driver::MariaDb(reached(&server, &database));
    let section = Section { driver, keep_aside: Duration::ZERO, exclusive: true, method: Default::default() };
    let access = drivers::open("shop", &section);
    let snapshot = take(&access).await;
    assert_eq!((snapshot.fingerprint.parts.len(), snapshot.fingerprint.count()), (1000, 1000));
    sql("UPDATE t500 SET v = 'x'; INSERT INTO t7 VALUES (0, 0)");
    let snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(snapshot.copied, 2);
    assert!(snapshot.detector.starts_with("binlog: "), "{}", snapshot.detector);
    sql("DELETE FROM t500");
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    let back = "SELECT v FROM t500 UNION ALL SELECT count(*) FROM t7";
    assert_eq!(server.ask(&database, back), ["x", "2"]);
}

/// A host with a product of which only the data matters: its copies are made, and nothing is started.
fn host(shop: &Shop, password: &str) -> Folder {
    let folder = Folder::new();
    folder.write("config/release", "1.0");
    folder.write("secrets/shop", password);
    std::fs::set_permissions(folder.at("secrets/shop"), std::fs::Permissions::from_mode(0o600)).unwrap();
    folder.write(
        "backout.toml",
        format!(
            r#"
[database.orders]
driver = "mariadb"
url = "mysql://{BACKOUT}@127.0.0.1:{}/{}"
password = {{ file = "secrets/shop" }}
fence-accounts = ["{1}@localhost"]

[tree.config]
path = "config"

[service.shop]
driver = "process"
run = ["sleep", "1000"]
allow-root = true

[probe.shop]
url = "http://127.0.0.1:1"

[allow."test/seven-steps"]
database.orders = {{ may = ["write", "backup", "restore", "fence"] }}
tree.config = {{ may = ["write", "backup", "restore"] }}
service.shop = {{ may = ["control"] }}
probe.shop = {{ may = ["get"] }}
"#,
            shop.on.port, shop.database
        ),
    );
    guests::seven_steps().copy_to(&folder.at("package"));
    folder
}

#[test]
fn a_wrong_password_changes_nothing_and_says_so() {
    let shop = Shop::new();
    let folder = host(&shop, "not hunter2\n");
    for command in [&["prepare", "--yes", "package"][..], &["upgrade", "--yes", "package"], &["check", "package"]] {
        let ended = backout(&folder.at(""), command, PATIENCE);
        assert_eq!(ended.code, Some(3), "{command:?}: {}", ended.text);
        assert!(ended.text.contains("the server does not let Backout in: wrong user or password"), "{}", ended.text);
        assert!(!ended.text.contains("hunter2"), "{}", ended.text);
    }
    assert_eq!(copies_of(&shop), [""; 0]);
    assert_eq!(std::fs::read_to_string(folder.at("config/release")).unwrap(), "1.0");
}

#[test]
fn backout_that_is_killed_while_it_copies_goes_on_or_is_given_up() {
    for (wait, go_on) in [(0, true), (300, true), (0, false), (200, false)] {
        let shop = Shop::new();
        shop.sql("INSERT INTO orders SELECT seq, 'c', 1, REPEAT('x', 500) FROM seq_1001_to_40000");
        let folder = host(&shop, &format!("{PASSWORD}\n"));
        let mut child = Command::new(PROGRAM);
        child.args(["prepare", "--yes", "package"]).current_dir(folder.path());
        let mut child = child.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        wait_for("the beginning of a copy", || (!copies_of(&shop).is_empty()).then_some(()));
        std::thread::sleep(Duration::from_millis(wait));
        kill(i32::try_from(child.id()).unwrap(), "KILL");
        child.wait().unwrap();
        assert_eq!(copies_of(&shop).len(), 1, "it is half made");
        if go_on {
            let ended = backout(&folder.at(""), &["resume", "--yes"], PATIENCE);
            assert_eq!(ended.code, Some(0), "{}", ended.text);
            assert_eq!(copies_of(&shop).len(), 1);
            let ended = backout(&folder.at(""), &["restore-points", "--loss"], PATIENCE);
            assert_eq!(ended.code, Some(0), "{}", ended.text);
            assert!(!ended.text.contains("damaged"), "{}", ended.text);
            let ended = backout(&folder.at(""), &["commit", "--yes"], PATIENCE);
            assert_eq!(ended.code, Some(0), "{}", ended.text);
        } else {
            let ended = backout(&folder.at(""), &["rollback", "--run", "1", "--yes"], PATIENCE);
            assert_eq!(ended.code, Some(0), "{}", ended.text);
        }
        assert_eq!(copies_of(&shop), [""; 0], "nothing is left of it");
        assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["40000"]);
    }
}
