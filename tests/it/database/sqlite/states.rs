//! One file and its journals, in the states in which damage, a killed process or a power failure can leave them.
use super::*;

in_both_modes! {
    a_fence_moves_the_very_file_and_gives_it_back
    a_killed_writer_is_recovered_before_anything_is_moved
    what_a_killed_writer_left_is_in_the_copy_or_waits_for_the_product
    a_wal_that_somebody_deleted_is_damage_or_was_not_needed
    a_damaged_source_is_never_proven
    a_copy_is_dressed_like_the_database
    a_torn_refresh_is_not_proven
    a_restart_of_the_host_makes_the_proof_be_read_again
    a_copy_that_somebody_wrote_to_is_found
    a_damaged_database_can_be_left_behind
    a_deleted_database_can_be_brought_back
    what_goes_aside_is_counted_once_it_is_aside
    what_is_written_while_it_is_counted_keeps_nobody_waiting
    a_killed_exchange_is_taken_up_again
    a_killed_fence_is_taken_up_again
    a_fence_that_somebody_removed_is_found
    another_process_may_be_killed_at_any_moment
    a_fence_with_somebody_behind_it_is_raised_again
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

/// A WAL that nobody has taken in is read; a hot journal only who may write can play back.
async fn what_a_killed_writer_left_is_in_the_copy_or_waits_for_the_product(shop: Shop) {
    let access = shop.access(true);
    let before = take(&access).await;
    kill_while_writing(&shop);
    if shop.mode == "delete" {
        let left = (std::fs::read(shop.path()).unwrap(), std::fs::read(shop.side("-journal")).unwrap());
        let message = refused(&shop, FailureKind::Unavailable, changes(&access).take("8-shop", &call()).await);
        assert!(message.contains("the product has to open the database once"), "{message}");
        assert!(!shop.home().join("8-shop").exists());
        assert!(left == (std::fs::read(shop.path()).unwrap(), std::fs::read(shop.side("-journal")).unwrap()));
        assert_eq!(shop.ask("SELECT count(*) FROM log"), ["4"]);
    }
    let snapshot = changes(&access).take("8-shop", &call()).await.unwrap();
    assert_eq!(snapshot.fingerprint.differences(&before.fingerprint), ["log has 4, had 3"]);
    looks(&access).inspect(&snapshot, &call()).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["4"]);
    assert_eq!(shop.ask("PRAGMA integrity_check"), ["ok"]);
}

/// Without the WAL, the file holds what was taken in before; when that was in the middle, it is damaged.
async fn a_wal_that_somebody_deleted_is_damage_or_was_not_needed(shop: Shop) {
    let access = shop.access(true);
    let then = std::fs::read(shop.path()).unwrap();
    let before = take(&access).await;
    kill_while_writing(&shop);
    let side = shop.side(if shop.mode == "wal" { "-wal" } else { "-journal" });
    std::fs::remove_file(side).unwrap();
    let result = changes(&access).take("8-shop", &call()).await;
    match (shop.mode, result) {
        ("wal", result) => assert_eq!(result.unwrap().fingerprint, before.fingerprint),
        // As much of the write as had come to the file stays in it.
        (_, Ok(snapshot)) => assert_ne!(snapshot.fingerprint, before.fingerprint),
        (_, Err(failure)) => assert_eq!(failure.kind, FailureKind::Unproven, "{failure}"),
    }
    // Half of what a checkpoint would have written.
    shop.sql("CREATE TABLE more (x); INSERT INTO more SELECT randomblob(4000) FROM orders; DROP TABLE items; VACUUM");
    shop.sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let now = std::fs::read(shop.path()).unwrap();
    let torn: Vec<u8> = then.iter().take(then.len() / 2).chain(now.iter().skip(then.len() / 2)).copied().collect();
    std::fs::write(shop.path(), &torn).unwrap();
    refused(&shop, FailureKind::Unproven, changes(&access).take("9-shop", &call()).await);
    assert!(std::fs::read(shop.path()).unwrap() == torn, "it is not Backout's to mend");
    assert!(!shop.home().join("9-shop").exists());
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
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), restored.lost);
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

/// Does something when a certain news comes.
struct When<F>(&'static str, F);
impl<F: Fn() + Send + Sync> Progress for When<F> {
    fn progress(&self, text: &str, _: u64, _: u64) {
        if text == self.0 {
            (self.1)();
        }
    }
}
pub(super) fn call_when(news: &'static str, then: impl Fn() + Send + Sync + 'static) -> CallCtx {
    CallCtx { progress: Arc::new(When(news, then)), ..call() }
}

async fn what_goes_aside_is_counted_once_it_is_aside(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("DELETE FROM log");
    let inode = |path: &Path| path.metadata().unwrap().ino();
    let (live, standby, path) = (inode(&shop.path()), inode(Path::new(&snapshot.place)), shop.path());
    let done = Arc::new(Mutex::new(0));
    let counting = call_when(COUNTING, {
        let (done, aside) = (done.clone(), Path::new(&snapshot.place).with_file_name("aside.db"));
        move || {
            assert_eq!((inode(&path), inode(&aside)), (standby, live));
            *done.lock().unwrap() += 1;
        }
    });
    let restored = changes(&access).exchange(&snapshot, &counting).await.unwrap();
    assert_eq!((restored.lost, *done.lock().unwrap()), (vec![lost("log", 0, 0, 3)], 1));
}

async fn what_is_written_while_it_is_counted_keeps_nobody_waiting(shop: Shop) {
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("DELETE FROM log");
    let shop = Arc::new(shop);
    let of_news = shop.clone();
    let meanwhile = call_when("comparing orders", move || of_news.sql("INSERT INTO log VALUES ('new')"));
    let restored = changes(&access).exchange(&snapshot, &meanwhile).await.unwrap();
    assert_eq!(restored.lost, [lost("(not counted: the database was written to meanwhile)", 0, 0, 0)]);
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["4"]);
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
    // The same, and it has written: what it wrote lies where no other database may find it.
    let snapshot = take(&access).await;
    let stray = shop.side(if shop.mode == "wal" { "-wal" } else { "-journal" });
    std::fs::write(&stray, vec![9; 5000]).unwrap();
    refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    fence(&access).await;
    assert!(!stray.exists());
    changes(&access).discard(&snapshot, &call()).await.unwrap();
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
    let access = drivers::open(
        "shop",
        &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method: Default::default() },
    );
    let done = |what: &str| println!("done: {what}");
    for i in 0.. {
        let snapshot = changes(&access).take(&format!("{i}-kill-{}", std::process::id()), &call()).await.unwrap();
        done("take");
        fence(&access).await;
        done("fence");
        access.mutator.execute("INSERT INTO log VALUES ('by 2.0')", &call()).await.unwrap();
        done("execute");
        let refreshed = if i % 2 == 0 { changes(&access).refresh(&snapshot, &call()).await.unwrap() } else { snapshot };
        done("refresh");
        changes(&access).exchange(&refreshed, &call()).await.unwrap();
        done("exchange");
        access.mutator.unfence(&call()).await.unwrap();
        done("unfence");
        changes(&access).discard(&refreshed, &call()).await.unwrap();
        done("discard");
    }
}

async fn another_process_may_be_killed_at_any_moment(shop: Shop) {
    let access = shop.access(true);
    let orders = |fingerprint: &backout::resource::copies::Fingerprint| {
        fingerprint.parts.iter().filter(|p| p.name != "log").cloned().collect::<Vec<_>>()
    };
    let before = orders(&looks(&access).fingerprint(&call()).await.unwrap());
    let (mut fenced, mut log) = (0, 3);
    for i in 0..14 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "database::sqlite::states::works_until_it_is_killed"])
            .env("BACKOUT_TEST_DATABASE", shop.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere in the operation after the i-th, in two rounds.
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.by_ref().filter(|line| line.starts_with("done: ")).nth(i).is_some());
        std::thread::sleep(Duration::from_millis(i as u64 * 5 % 16));
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
    assert!((1..14).contains(&fenced), "{fenced}: the moments are spread over the round");
}

/// Killed after the exchange, before it could look who had slipped through; or while it lifted the fence.
async fn a_fence_with_somebody_behind_it_is_raised_again(shop: Shop) {
    let access = shop.access(true);
    fence(&access).await;
    assert!(access.observer.shut().await.unwrap());
    let behind = shop.home().join("live/shop.db");
    let slipped =
        started("c.execute('SELECT 1 FROM orders').fetchone()\nprint('ready', flush=True)\ntime.sleep(600)", &behind);
    assert!(access.observer.fenced().await.unwrap() && !access.observer.shut().await.unwrap());
    drop(slipped);
    fence(&access).await;
    assert!(access.observer.shut().await.unwrap() && !access.observer.open().await.unwrap());
    access.mutator.unfence(&call()).await.unwrap();
    assert!(access.observer.open().await.unwrap());
    std::fs::create_dir_all(&behind).unwrap();
    assert!(!access.observer.open().await.unwrap(), "its folder is left over");
    access.mutator.unfence(&call()).await.unwrap();
    assert!(access.observer.open().await.unwrap());
    std::fs::remove_file(shop.path()).unwrap();
    assert!(access.observer.open().await.unwrap() && !access.observer.shut().await.unwrap(), "nothing is fenced there");
}
