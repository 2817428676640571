//! What goes wrong around a server: full disks, locks, cut connections, huge rows, and Backout itself killed in the middle.
use super::*;
use crate::support::{
    bench::{BACKOUT, PATIENCE, kill, wait_for},
    command::backout,
    disk::{Disk, with_mounts},
    guests,
    packages::Folder,
    postgres::{self, Server as Own},
    proxy::Proxy,
};
use std::os::unix::fs::PermissionsExt;

fn standby_of(shop: &Shop) -> String {
    format!("backout_{}_7-shop", shop.database)
}
fn copies_of(shop: &Shop) -> Vec<String> {
    let like = format!("backout\\_{}\\_%", shop.database);
    SERVER.ask("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE '{like}' ORDER BY 1"))
}
async fn fence(access: &Access<Database>) {
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
}
/// With less time than the usual.
fn soon(seconds: u64) -> CallCtx {
    CallCtx { deadline: Instant::now() + Duration::from_secs(seconds), ..call() }
}

#[test]
fn a_full_disk_of_the_server_loses_nothing() {
    with_mounts("database::postgres::hard::a_full_disk_of_the_server_loses_nothing", || {
        tokio::runtime::Runtime::new().unwrap().block_on(on_a_full_disk());
    });
}

async fn on_a_full_disk() {
    let server = Own::start(&postgres::newest(), &["fsync=off"]);
    let small = server.folder().join("small");
    let disk = Disk::under(&small, "size=150m");
    server.give(&small);
    server.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", small.display()));
    server.sql("postgres", "CREATE DATABASE shop TEMPLATE template0 TABLESPACE small");
    server.sql(
        "shop",
        "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT); INSERT INTO orders SELECT i, repeat('x', 500) FROM generate_series(1, 30000) i",
    );
    let section = Section {
        driver: Driver::Postgres(reached(&server, "shop")),
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    let access = drivers::open("shop", &section);
    let full = |failure: Failure| {
        assert_eq!(failure.kind, FailureKind::Failed, "{failure}");
        assert_eq!(failure.message, "there is no room left on the server's disk");
        assert_eq!(failure.hint.as_deref(), Some("make room there"));
    };
    let copies = || server.ask("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'backout%' ORDER BY 1");
    let first = take(&access).await;
    let free = disk.left();
    // The server takes its time with what was dropped. What it keeps longer than that it keeps.
    let given_back = || {
        disk.free();
        let patience = Instant::now() + Duration::from_secs(5);
        while disk.left() + (2 << 20) < free && Instant::now() < patience {
            server.sql("postgres", "CHECKPOINT");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    // There is room for a beginning: of its rows, and of the empty database alone.
    for room in [20 << 20, 4 << 20] {
        given_back();
        disk.fill(room);
        full(changes(&access).take("8-shop", &call()).await.unwrap_err());
        // What is half made takes room. Where it could not be dropped at once it is dropped by whoever comes next. Nor does a
        // server drop anything before it has written what it holds in memory.
        let half = Snapshot::half_made("8-shop");
        if let Err(failure) = changes(&access).discard(&half, &call()).await {
            assert_eq!(failure.message, "the server cannot write what it holds in memory to its disk");
            disk.free();
            changes(&access).discard(&half, &call()).await.unwrap();
        }
        assert_eq!(copies(), ["backout_shop_7-shop"]);
        looks(&access).inspect(&first, &call()).await.unwrap();
    }
    given_back();
    server.sql("shop", "UPDATE orders SET note = repeat('y', 500)");
    fence(&access).await;
    server.sql("postgres", "CHECKPOINT");
    disk.fill(4 << 20);
    full(changes(&access).refresh(&first, &call()).await.unwrap_err());
    assert_eq!(server.ask("shop", "SELECT count(*) FROM orders WHERE note LIKE 'y%'"), ["30000"]);
    // The copy still is what it was.
    looks(&access).inspect(&first, &call()).await.unwrap();
    disk.free();
    let second = changes(&access).refresh(&first, &call()).await.unwrap();
    assert_eq!((second.copied, copies()), (30000, vec!["backout_shop_7-shop".to_owned()]));
    // An exchange takes no room.
    access.mutator.unfence(&call()).await.unwrap();
    server.sql("shop", "DELETE FROM orders WHERE id > 10");
    server.sql("postgres", "CHECKPOINT");
    disk.fill(0);
    changes(&access).exchange(&second, &call()).await.unwrap();
    assert_eq!(server.ask("shop", "SELECT count(*) FROM orders WHERE note LIKE 'y%'"), ["30000"]);
    disk.free();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_20_megabytes_are_rows() {
    let shop = Shop::new();
    shop.sql(&format!(
        "CREATE TABLE scans (id INT PRIMARY KEY, text TEXT, bytes BYTEA);
         ALTER TABLE scans ALTER text SET STORAGE EXTERNAL, ALTER bytes SET STORAGE EXTERNAL;
         INSERT INTO scans SELECT i, repeat('ñ' || i, {0} / 3), NULL FROM generate_series(1, 2) i;
         INSERT INTO scans SELECT 3, NULL, convert_to(repeat('y', {0}), 'UTF8')",
        20 << 20
    ));
    let access = shop.access(true);
    let snapshot = take(&access).await;
    assert!(snapshot.bytes > 60 << 20);
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), []);
    shop.sql("UPDATE scans SET text = overlay(text PLACING 'z' FROM 10000000) WHERE id = 2");
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), [lost("scans", 0, 1, 0)]);
    fence(&access).await;
    let snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(snapshot.copied, 1);
    access.mutator.unfence(&call()).await.unwrap();
    shop.sql("UPDATE scans SET bytes = overlay(bytes PLACING '\\x00' FROM 10000000) WHERE id = 3");
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(lost_by(&access, &snapshot, &restored).await, [lost("scans", 0, 1, 0)]);
    assert_eq!(shop.ask("SELECT position('z' IN text) FROM scans WHERE id = 2"), ["10000000"]);
    assert_eq!(shop.ask("SELECT md5(bytes) = md5(repeat('y', length(bytes))) FROM scans WHERE id = 3"), ["t"]);
}

/// Waits until this session has done what it was told, or waits for somebody itself.
async fn settled(client: &Client) {
    let state = format!(
        "SELECT state = 'idle in transaction' OR wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {}",
        client.session
    );
    while SERVER.ask("postgres", &state) != ["t"] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
fn end(client: Client) {
    let mut child = client.into_child();
    drop(child.stdin.take());
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_a_lock_is_not_waited_for_without_an_end() {
    let shop = Shop::new();
    let access = shop.access(true);
    let snapshot = take(&access).await;
    let mut migration = shop.client("migration");
    migration.say("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE;");
    settled(&migration).await;
    let told = |failure: Failure| {
        assert_eq!((failure.kind, &*failure.message), (FailureKind::Unavailable, "somebody else has a lock on it"));
    };
    told(changes(&access).take("8-shop", &soon(4)).await.unwrap_err());
    told(looks(&access).fingerprint(&soon(4)).await.unwrap_err());
    assert_eq!(copies_of(&shop), [standby_of(&shop)]);
    // Whoever is in the database keeps it from being exchanged, and is named.
    let message = refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &soon(4)).await);
    assert!(message.contains("migration"), "{message}");
    // A fence ends whoever does not leave, with all locks.
    access.mutator.fence(Duration::from_millis(200), &soon(10)).await.unwrap();
    assert_eq!(changes(&access).refresh(&snapshot, &call()).await.unwrap().copied, 0);
    end(migration);

    // Of the database itself, by an administrator who has not committed.
    let mut admin = Client::new(SERVER.client("postgres"), "admin");
    admin.say(&format!("BEGIN; ALTER DATABASE {} CONNECTION LIMIT 7;", shop.database));
    settled(&admin).await;
    let began = Instant::now();
    let failure = changes(&access).exchange(&snapshot, &soon(60)).await.unwrap_err();
    assert!(failure.kind == FailureKind::Unavailable && failure.message.contains("lock"), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(40), "nobody can connect meanwhile");
    let failure = access.mutator.unfence(&soon(4)).await.unwrap_err();
    assert!(matches!(failure.kind, FailureKind::Unavailable | FailureKind::TimedOut), "{failure}");
    admin.say("ROLLBACK;");
    end(admin);
    assert_eq!(copies_of(&shop), [standby_of(&shop)], "nothing was exchanged");
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert!(shop.may_connect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_meanwhile_is_in_the_copy_or_not() {
    let shop = Shop::new();
    let access = shop.access(true);
    for (i, table) in ["log", "items", "orders"].into_iter().enumerate() {
        let snapshot = {
            let mut other = shop.client("other");
            other.say(&format!("SELECT pg_sleep({}); DROP TABLE {table};", i as f64 * 0.1));
            let snapshot = take(&access).await;
            end(other);
            snapshot
        };
        let there = shop.ask(&format!("SELECT to_regclass('{table}') IS NULL"));
        assert_eq!(there, ["t"], "whoever drops a table has his turn");
        let copied = snapshot.fingerprint.parts.iter().any(|part| part.name == table);
        let lost = looks(&access).loss(&snapshot, &call()).await.unwrap();
        assert_eq!(lost.iter().any(|lost| lost.part == table && lost.missing > 0), copied, "{lost:?}");
        fence(&access).await;
        let snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        assert!(!snapshot.fingerprint.parts.iter().any(|part| part.name == table));
        access.mutator.unfence(&call()).await.unwrap();
    }
}

/// Reached by a password, through a proxy that can be cut.
fn through(proxy: &Proxy, shop: &Shop) -> Access<Database> {
    shop.access_by(Server {
        host: Host::Name("127.0.0.1".into()),
        port: proxy.port,
        user: format!("far_{}", shop.database),
        password: Some("far".into()),
        tls: Tls::Disable,
        ..shop.server()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_loses_nothing() {
    let shop = Shop::new();
    shop.sql("INSERT INTO orders SELECT i, repeat('x', 500) FROM generate_series(1001, 6000) i");
    SERVER.sql("postgres", &format!("CREATE ROLE far_{} SUPERUSER LOGIN PASSWORD 'far'", shop.database));
    let proxy = Proxy::to(SERVER.port);
    let access = through(&proxy, &shop);
    let mut snapshot = take(&access).await;
    let cut = |failure: Failure| {
        assert!(failure.kind == FailureKind::Unavailable || failure.message.contains("pg_"), "{failure:?}");
        assert!(!format!("{failure:?}").contains("127.0.0.1"), "{failure:?}");
    };
    let (mut cuts, mut exchanged) = (0, 0);
    for bytes in [1_000, 20_000, 100_000, 400_000, 1_000_000, 3_000_000] {
        proxy.cut_after(bytes);
        if let Err(failure) = changes(&access).take("8-shop", &call()).await {
            cut(failure);
            cuts += 1;
        }
        proxy.mend();
        // What was going on ends, and leaves nothing that the next one would stumble over.
        let second = changes(&access).take("8-shop", &call()).await.unwrap();
        changes(&access).discard(&second, &call()).await.unwrap();

        shop.sql(&format!("UPDATE orders SET note = '{bytes}' WHERE id % 3 = 0"));
        fence(&access).await;
        proxy.cut_after(bytes);
        if let Err(failure) = changes(&access).refresh(&snapshot, &call()).await {
            cut(failure);
            cuts += 1;
        }
        proxy.mend();
        snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
        access.mutator.unfence(&call()).await.unwrap();
    }
    for bytes in [500, 2_000, 4_000, 8_000, 16_000, 24_000, 1_000_000] {
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
                    (since, SERVER.ask(&aside, "SELECT count(*) FROM log WHERE line = 'since'")),
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
    SERVER.sql("postgres", &format!("DROP ROLE far_{}", shop.database));
}

/// A host with a product of which only the data matters: its copies are made, and nothing is started.
fn host(shop: &Shop, url: &str, more: &str) -> Folder {
    let folder = Folder::new();
    folder.write("config/release", "1.0");
    folder.write("secrets/shop", "hunter2\n");
    std::fs::set_permissions(folder.at("secrets/shop"), std::fs::Permissions::from_mode(0o600)).unwrap();
    folder.write(
        "backout.toml",
        format!(
            r#"
[database.orders]
driver = "postgresql"
url = "{url}/{}"
allow-superuser = true
{more}

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
            shop.database
        ),
    );
    guests::seven_steps().copy_to(&folder.at("package"));
    folder
}
fn by_socket() -> String {
    format!("postgresql://postgres@{}:{}", SERVER.folder().to_str().unwrap().replace('/', "%2F"), SERVER.port)
}

#[test]
fn a_wrong_password_changes_nothing_and_says_so() {
    let shop = Shop::new();
    let url = format!("postgresql://{ROLE}@127.0.0.1:{}", SERVER.port);
    let folder = host(&shop, &url, "password = { file = \"secrets/shop\" }\nfence-roles = [\"shop\"]");
    for command in [&["prepare", "--yes", "package"][..], &["upgrade", "--yes", "package"], &["check", "package"]] {
        let ended = backout(&folder.at(""), command, PATIENCE);
        assert_eq!(ended.code, Some(3), "{command:?}: {}", ended.text);
        assert!(
            ended.text.contains("the server does not let Backout in: wrong user, password or rule"),
            "{}",
            ended.text
        );
        assert!(!ended.text.contains("hunter2"), "{}", ended.text);
    }
    assert_eq!(copies_of(&shop), [""; 0]);
    assert_eq!(std::fs::read_to_string(folder.at("config/release")).unwrap(), "1.0");
}

#[test]
fn backout_that_is_killed_while_it_copies_goes_on_or_is_given_up() {
    for (wait, go_on) in [(0, true), (150, true), (400, true), (0, false), (250, false)] {
        let shop = Shop::new();
        shop.sql("INSERT INTO orders SELECT i, repeat('x', 500) FROM generate_series(1001, 60000) i");
        let folder = host(&shop, &by_socket(), "");
        let mut child = Command::new(BACKOUT);
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
        assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["60000"]);
        drop(shop);
    }
}
