//! What only SQLite has: one file, its journals, and the states in which a killed process can leave them.
use super::*;
use backout::resource::database::{Driver, Section, drivers};
use rusqlite::Connection;
use std::{
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub struct Shop {
    folder: tempfile::TempDir,
    mode: &'static str,
}

impl Shop {
    pub fn new(mode: &'static str) -> Self {
        let shop = Self::empty(mode);
        shop.sql(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL, note TEXT);
             CREATE TABLE items (order_id INT NOT NULL, line INT NOT NULL, name TEXT, PRIMARY KEY (order_id, line));
             CREATE TABLE log (line);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO orders SELECT i, 'c' || i, i + 0.5, 'note ' || i FROM n;
             INSERT INTO items SELECT id, 1, 'first' FROM orders UNION ALL SELECT id, 2, 'second' FROM orders;
             INSERT INTO log VALUES ('one'), ('two'), ('three')",
        );
        shop
    }
    /// A file without a table.
    fn empty(mode: &'static str) -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap(), mode };
        Connection::open(shop.path()).unwrap().pragma_update(None, "journal_mode", mode).unwrap();
        shop
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }
    fn side(&self, side: &str) -> PathBuf {
        self.folder.path().join(format!("shop.db{side}"))
    }
    fn home(&self) -> PathBuf {
        self.folder.path().join(".backout/shop")
    }
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.folder.path().read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Python, because it is not us: another process, another build of SQLite.
fn python(script: &str, path: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(path).stdin(Stdio::null());
    command
}
const CONNECT: &str =
    "import sqlite3, sys, os, time\nc = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n";

fn started(script: &str, path: &Path) -> Connected {
    let mut child = python(&format!("{CONNECT}{script}"), path).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    Connected(child)
}

fn ask_file(path: &Path, sql: &str) -> Vec<String> {
    let script = format!("{CONNECT}for row in c.execute(sys.argv[2]): print(row[0])");
    let output = python(&script, path).arg(sql).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[async_trait]
impl Product for Shop {
    fn access(&self, exclusive: bool) -> Access<Database> {
        let driver = Driver::Sqlite { path: self.path() };
        drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive })
    }
    fn may_connect(&self) -> bool {
        let before = self.names();
        let output =
            python(&format!("{CONNECT}c.execute('SELECT count(*) FROM sqlite_master').fetchall()"), &self.path())
                .output()
                .unwrap();
        if !output.status.success() {
            assert_eq!(self.names(), before, "an application that is kept out leaves nothing behind");
            assert!(String::from_utf8_lossy(&output.stderr).contains("unable to open database file"), "{output:?}");
        }
        output.status.success()
    }
    fn sql(&self, sql: &str) {
        let script = format!("{CONNECT}c.execute('PRAGMA journal_mode = {}')\nc.executescript(sys.argv[2])", self.mode);
        let output = python(&script, &self.path()).arg(sql).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fn ask(&self, sql: &str) -> Vec<String> {
        ask_file(&self.path(), sql)
    }
    fn connected(&self) -> Connected {
        started(
            "c.execute('SELECT 1 FROM orders').fetchone()\nprint('ready', flush=True)\ntime.sleep(600)",
            &self.path(),
        )
    }
    fn busy(&self) -> Busy {
        let count = self.folder.path().join("written");
        std::fs::write(&count, "0").unwrap();
        let script = "print('ready', flush=True)\nn = 0\nout = os.open(os.path.dirname(sys.argv[1]) + '/written', os.O_WRONLY)\n\
                      while True:\n c.execute(\"INSERT INTO log VALUES (hex(randomblob(200)))\")\n n += 1\n os.pwrite(out, b'%d' % n, 0)\n time.sleep(0.0005)\n";
        let _process = started(script, &self.path());
        let written = move || std::fs::read_to_string(&count).unwrap().parse().unwrap();
        Busy { _process, written: Box::new(written) }
    }
    fn damage(&self, copy: &Snapshot) {
        flip(Path::new(&copy.place), 4096 * 5 + 3000);
    }
    fn ask_aside(&self, aside: &str, sql: &str) -> Vec<String> {
        ask_file(Path::new(aside), sql)
    }
    fn secret(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }
}

fn flip(path: &Path, at: u64) {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = [0; 64];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&bytes.map(|b| !b)).unwrap();
}

async fn fence(access: &Access<Database>) {
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
}

/// Both journal modes.
macro_rules! in_both_modes {
    ($($test:ident)*) => { $(mod $test {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn wal() {
            super::$test(super::Shop::new("wal")).await
        }
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn rollback_journal() {
            super::$test(super::Shop::new("delete")).await
        }
    })* };
}
in_both_modes! {
    a_fence_moves_the_very_file_and_gives_it_back
    a_killed_writer_is_recovered_before_anything_is_moved
    a_damaged_source_is_never_proven
    a_copy_is_dressed_like_the_database
    a_torn_refresh_is_not_proven
    a_restart_of_the_host_makes_the_proof_be_read_again
    a_copy_that_somebody_wrote_to_is_found
    a_damaged_database_can_be_left_behind
    a_deleted_database_can_be_brought_back
    a_killed_exchange_is_taken_up_again
    a_killed_fence_is_taken_up_again
    a_fence_that_somebody_removed_is_found
    another_process_may_be_killed_at_any_moment
}

async fn a_fence_moves_the_very_file_and_gives_it_back(shop: Shop) {
    let access = shop.access(true);
    let before = shop.path().metadata().unwrap();
    let bytes = std::fs::read(shop.path()).unwrap();
    fence(&access).await;
    assert!(shop.path().is_dir());
    assert_eq!(shop.names(), [".backout", "shop.db"]);
    assert_eq!(shop.folder.path().join(".backout").metadata().unwrap().mode() & 0o777, 0o700);
    assert_eq!(access.observer.query("SELECT count(*) FROM orders", &call()).await.unwrap(), [["1000"]]);
    access.mutator.unfence(&call()).await.unwrap();
    let after = shop.path().metadata().unwrap();
    assert_eq!(
        (after.ino(), after.mode(), after.uid(), after.len()),
        (before.ino(), before.mode(), before.uid(), before.len())
    );
    assert!(std::fs::read(shop.path()).unwrap() == bytes, "to the byte");
    assert_eq!(shop.names(), ["shop.db"], "nothing is left of it");
    assert_eq!(shop.ask("PRAGMA journal_mode"), [shop.mode]);
}

/// Leaves a WAL with committed frames, or a journal that has to be played back.
fn kill_while_writing(shop: &Shop) {
    let script = "c.execute('PRAGMA cache_size = 1')\nc.execute('PRAGMA wal_autocheckpoint = 0')\n\
                  c.execute(\"INSERT INTO log VALUES ('committed')\")\n\
                  c.execute('BEGIN IMMEDIATE')\nc.execute(\"UPDATE orders SET note = hex(randomblob(300))\")\nprint('ready', flush=True)\ntime.sleep(600)";
    drop(started(script, &shop.path()));
    let side = shop.side(if shop.mode == "wal" { "-wal" } else { "-journal" });
    assert!(side.metadata().unwrap().len() > 0, "{side:?}");
}

async fn a_killed_writer_is_recovered_before_anything_is_moved(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    kill_while_writing(&shop);
    fence(&access).await;
    assert_eq!(shop.names(), [".backout", "shop.db"], "neither WAL nor journal is left to be adopted");
    let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(refreshed.fingerprint.differences(&snapshot.fingerprint), ["log has 4, had 3"]);
    access.mutator.unfence(&call()).await.unwrap();
    kill_while_writing(&shop);
    let restored = changes(&access).exchange(&refreshed, &call()).await.unwrap();
    assert_eq!(restored.lost, [lost("log", 1, 0, 0)]);
    assert_eq!(shop.names(), [".backout", "shop.db"]);
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["4"]);
    assert_eq!(shop.ask("PRAGMA integrity_check"), ["ok"]);
    assert_eq!(ask_file(Path::new(&restored.aside.unwrap()), "SELECT count(*) FROM log"), ["5"]);
}

async fn a_damaged_source_is_never_proven(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    // Inside a page of the tree: structure, not only a value.
    let page = 4096 * 3;
    flip(&shop.path(), page);
    let message = refused(&shop, FailureKind::Unproven, changes(&access).take("8-shop", &call()).await);
    assert!(message.contains("damaged"), "{message}");
    assert!(!shop.home().join("8-shop").exists(), "no copy that nobody can use");
    let message = refused(&shop, FailureKind::Unproven, changes(&access).refresh(&snapshot, &call()).await);
    assert!(message.contains("damaged"), "{message}");
    std::fs::write(shop.path(), b"no database at all, but long enough to be looked at as if it were one").unwrap();
    let message = refused(&shop, FailureKind::Unproven, changes(&access).take("8-shop", &call()).await);
    assert!(message.contains("damaged"), "{message}");
    refused(&shop, FailureKind::Failed, access.observer.query("SELECT * FROM orders", &call()).await);
    refused(&shop, FailureKind::Failed, access.mutator.fence(Duration::ZERO, &call()).await);
    assert!(shop.path().is_file());
}

async fn a_copy_is_dressed_like_the_database(shop: Shop) {
    std::fs::set_permissions(shop.path(), std::fs::Permissions::from_mode(0o640)).unwrap();
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(shop.path(), Some(1234), Some(1235)).unwrap();
    }
    let attribute = xattr::set(shop.path(), "user.label", b"shop").is_ok();
    let access = shop.access(true);
    let snapshot = take(&access).await;
    let look = |path: &Path| {
        let file = path.metadata().unwrap();
        (file.mode(), file.uid(), file.gid())
    };
    let before = look(&shop.path());
    assert_eq!(look(Path::new(&snapshot.place)), before);
    shop.sql("DELETE FROM log");
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(look(&shop.path()), before);
    if attribute {
        assert_eq!(xattr::get(shop.path(), "user.label").unwrap().unwrap(), b"shop");
    }
}

async fn a_torn_refresh_is_not_proven(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("UPDATE orders SET note = note || ' and more'");
    fence(&access).await;
    // As if it had been killed, or the power had failed, after a part of the pages.
    std::fs::remove_file(shop.home().join("7-shop/proof.json")).unwrap();
    let live = std::fs::read(shop.home().join("live/shop.db")).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&snapshot.place).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &live[..4096 * 6], 0).unwrap();
    drop(file);
    refused(&shop, FailureKind::Unproven, looks(&access).inspect(&snapshot, &call()).await);
    refused(&shop, FailureKind::Unproven, changes(&access).exchange(&snapshot, &call()).await);
    let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(refreshed.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    looks(&access).inspect(&refreshed, &call()).await.unwrap();
    assert!(std::fs::read(&refreshed.place).unwrap() == live);
}

/// As after a restart: whatever the file looks like, it is read.
fn forget_boot(shop: &Shop) {
    let path = shop.home().join("7-shop/proof.json");
    let mut proof: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    proof["look"]["boot"] = "another".into();
    std::fs::write(path, proof.to_string()).unwrap();
}

async fn a_restart_of_the_host_makes_the_proof_be_read_again(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    let read = async || {
        let seen = Arc::<Seen>::default();
        let result = looks(&access).inspect(&snapshot, &call_seen(&seen)).await;
        let read = seen.news.lock().unwrap().iter().any(|news| news == "reading the copy");
        (result.map_err(|e| e.kind), read)
    };
    assert_eq!(read().await, (Ok(()), false), "its look is enough");
    forget_boot(&shop);
    assert_eq!(read().await, (Ok(()), true));
    flip(Path::new(&snapshot.place), 4096 * 5 + 3000);
    assert_eq!(read().await.0, Err(FailureKind::Unproven));
}

async fn a_copy_that_somebody_wrote_to_is_found(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("DELETE FROM log");
    let connection = Connection::open(&snapshot.place).unwrap();
    connection.execute_batch("PRAGMA wal_autocheckpoint = 0; UPDATE orders SET note = 'mine' WHERE id = 9").unwrap();
    refused(&shop, FailureKind::Unproven, changes(&access).exchange(&snapshot, &call()).await);
    drop(connection);
    let message = refused(&shop, FailureKind::Unproven, changes(&access).exchange(&snapshot, &call()).await);
    assert!(message.contains("orders has other content"), "{message}");
}

async fn a_damaged_database_can_be_left_behind(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    if shop.mode == "wal" {
        kill_while_writing(&shop);
    }
    // A tool that writes over the file and knows nothing of its WAL.
    std::fs::write(shop.path(), vec![7; 20_000]).unwrap();
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert!(restored.lost[0].part.contains("damaged"), "{:?}", restored.lost);
    assert_eq!(shop.names(), [".backout", "shop.db"], "what belonged to it went with it");
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
    assert_eq!(shop.ask("PRAGMA integrity_check"), ["ok"]);
    let aside = PathBuf::from(restored.aside.unwrap());
    assert!(std::fs::read(&aside).unwrap() == vec![7; 20_000]);
    if shop.mode == "wal" {
        assert!(aside.with_file_name("aside.db-wal").metadata().unwrap().len() > 0, "kept for salvage");
    }
    assert!(changes(&access).discard(&snapshot, &call()).await.unwrap() > 20_000);
    assert_eq!(shop.names().iter().filter(|n| *n == ".backout").count(), 0);
}

async fn a_deleted_database_can_be_brought_back(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    kill_while_writing(&shop);
    std::fs::remove_file(shop.path()).unwrap();
    refused(&shop, FailureKind::NotFound, access.observer.query("SELECT 1", &call()).await);
    refused(&shop, FailureKind::NotFound, access.mutator.execute("CREATE TABLE t (a)", &call()).await);
    refused(&shop, FailureKind::NotFound, looks(&access).fingerprint(&call()).await);
    refused(&shop, FailureKind::NotFound, changes(&access).take("8-shop", &call()).await);
    refused(&shop, FailureKind::NotFound, access.mutator.fence(Duration::ZERO, &call()).await);
    access.mutator.unfence(&call()).await.unwrap();
    assert!(!shop.path().exists(), "opening never creates one");
    let seen = Arc::<Seen>::default();
    let restored = changes(&access).exchange(&snapshot, &call_seen(&seen)).await.unwrap();
    assert_eq!(restored.aside, None);
    assert_eq!(restored.lost, [lost("items", 0, 0, 2000), lost("log", 0, 0, 3), lost("orders", 0, 0, 1000)]);
    let evidence = seen.evidence.lock().unwrap().clone();
    assert!(matches!(looks(&access).exchanged(&snapshot, &evidence).await.unwrap(), Exchange::Done { .. }));
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
    assert_eq!(shop.ask("PRAGMA integrity_check"), ["ok"]);
}

async fn a_killed_exchange_is_taken_up_again(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("DELETE FROM log");
    let (live, standby) = (shop.path().metadata().unwrap().ino(), Path::new(&snapshot.place).metadata().unwrap().ino());
    let evidence = [serde_json::json!({"exchange": {"live": live, "standby": standby, "path": shop.path()}})];
    let exchanged = async || looks(&access).exchanged(&snapshot, &evidence).await.unwrap();
    assert_eq!(exchanged().await, Exchange::NotDone);
    // Killed after the stand-by got its name, before the exchange.
    let aside = Path::new(&snapshot.place).with_file_name("aside.db");
    std::fs::rename(&snapshot.place, &aside).unwrap();
    assert_eq!(exchanged().await, Exchange::NotDone);
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), [lost("log", 0, 0, 3)]);
    looks(&access).inspect(&snapshot, &call()).await.unwrap();
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(restored.lost, [lost("log", 0, 0, 3)]);
    assert_eq!(exchanged().await, Exchange::Done { aside: aside.to_str().unwrap().into() });
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
    // Somebody throws away what was live, or puts another file there: then nobody can say.
    std::fs::rename(&aside, shop.folder.path().join("elsewhere")).unwrap();
    assert!(matches!(exchanged().await, Exchange::Unclear(_)));
    std::fs::copy(shop.path(), shop.folder.path().join("third")).unwrap();
    std::fs::rename(shop.folder.path().join("third"), shop.path()).unwrap();
    assert!(matches!(exchanged().await, Exchange::Unclear(_)));

    // A stand-by that lies under its other name can be refreshed as well.
    let snapshot = changes(&access).take("9-shop", &call()).await.unwrap();
    shop.sql("DELETE FROM log");
    std::fs::rename(&snapshot.place, Path::new(&snapshot.place).with_file_name("aside.db")).unwrap();
    let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(refreshed.fingerprint.differences(&snapshot.fingerprint), ["log has 0, had 3"]);
}

async fn a_killed_fence_is_taken_up_again(shop: Shop) {
    let access = shop.access(true);
    let before = looks(&access).fingerprint(&call()).await.unwrap();
    // Killed before the exchange: the folder waits in vain.
    let behind = shop.home().join("live/shop.db");
    std::fs::create_dir_all(&behind).unwrap();
    assert!(!access.observer.fenced().await.unwrap());
    assert!(shop.may_connect());
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(shop.names(), ["shop.db"]);
    std::fs::create_dir_all(&behind).unwrap();
    fence(&access).await;
    assert!(!shop.may_connect());
    // Killed after the exchange, while somebody had slipped through: such a fence is none.
    let slipped =
        started("c.execute('SELECT 1 FROM orders').fetchone()\nprint('ready', flush=True)\ntime.sleep(600)", &behind);
    let message = refused(&shop, FailureKind::Conflict, access.mutator.unfence(&call()).await);
    assert!(message.contains(&slipped.pid().to_string()), "{message}");
    refused(&shop, FailureKind::TimedOut, access.mutator.fence(Duration::ZERO, &call()).await);
    drop(slipped);
    fence(&access).await;
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
    // Killed while it was lifted, after the exchange: the folder is left over.
    access.mutator.unfence(&call()).await.unwrap();
    std::fs::create_dir_all(&behind).unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(shop.names(), ["shop.db"]);
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
}

async fn a_fence_that_somebody_removed_is_found(shop: Shop) {
    let access = shop.access(true);
    fence(&access).await;
    std::fs::remove_dir_all(shop.path()).unwrap();
    assert!(!access.observer.fenced().await.unwrap());
    fence(&access).await;
    assert!(!shop.may_connect());
    std::fs::remove_dir_all(shop.path()).unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["1000"]);
    fence(&access).await;
    std::fs::remove_dir_all(shop.path()).unwrap();
    std::fs::write(shop.path(), "a new one, by an application that found none").unwrap();
    refused(&shop, FailureKind::Conflict, access.mutator.unfence(&call()).await);
    refused(&shop, FailureKind::Conflict, access.observer.fenced().await);
    std::fs::remove_file(shop.path()).unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["1000"]);
}

/// The other process of the test below; it does nothing unless it is told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a child of another test"]
async fn works_until_it_is_killed() {
    let Some(path) = std::env::var_os("BACKOUT_TEST_DATABASE") else { return };
    let driver = Driver::Sqlite { path: path.into() };
    let access = drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive: true });
    for i in 0.. {
        let snapshot = changes(&access).take(&format!("{i}-kill-{}", std::process::id()), &call()).await.unwrap();
        fence(&access).await;
        access.mutator.execute("INSERT INTO log VALUES ('by 2.0')", &call()).await.unwrap();
        let snapshot = if i % 2 == 0 { changes(&access).refresh(&snapshot, &call()).await.unwrap() } else { snapshot };
        changes(&access).exchange(&snapshot, &call()).await.unwrap();
        access.mutator.unfence(&call()).await.unwrap();
        println!("round");
        changes(&access).discard(&snapshot, &call()).await.unwrap();
    }
}

async fn another_process_may_be_killed_at_any_moment(shop: Shop) {
    let access = shop.access(true);
    let orders = |fingerprint: &backout::resource::copies::Fingerprint| {
        fingerprint.parts.iter().filter(|p| p.name != "log").cloned().collect::<Vec<_>>()
    };
    let before = orders(&looks(&access).fingerprint(&call()).await.unwrap());
    let (mut fenced, mut log) = (0, 3);
    for i in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "database::sqlite::works_until_it_is_killed"])
            .env("BACKOUT_TEST_DATABASE", shop.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Some moment in the second round.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "round"));
        std::thread::sleep(Duration::from_millis(i * 13));
        child.kill().unwrap();
        child.wait().unwrap();
        fenced += u32::from(access.observer.fenced().await.unwrap());
        access.mutator.unfence(&call()).await.unwrap();
        assert_eq!(shop.ask("PRAGMA integrity_check"), ["ok"], "round {i}");
        let after = looks(&access).fingerprint(&call()).await.unwrap();
        assert_eq!(orders(&after), before, "round {i}");
        // Each round adds a row and keeps it, or takes it back: never does one vanish that was there before the round.
        let now = after.parts.iter().find(|p| p.name == "log").unwrap().count;
        assert!((log..log + 40).contains(&now), "round {i}: {now}, before {log}");
        log = now;
    }
    assert!(fenced > 0, "the moments are spread over the round");
}

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
