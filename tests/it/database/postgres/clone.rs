//! Copies of the server's own files, which come about under the fence; and who chooses between them and the others.
use super::*;
use crate::support::script::{Script, lend, told};
use backout::{
    capability::{
        backup::wit::Host as _,
        database::ops::{Execute, Fence, Unfence},
    },
    journal::Entry,
    resource::{ResourceId, database::Method},
};

fn access_by(server: Server, method: Method) -> Access<Database> {
    let section = Section { driver: Driver::Postgres(server), keep_aside: Duration::ZERO, exclusive: true, method };
    drivers::open("shop", &section)
}

fn cloned(shop: &Shop) -> Access<Database> {
    access_by(shop.server(), Method::Clone)
}

async fn fence(access: &Access<Database>) {
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
}

fn fails<T: Debug>(kind: FailureKind, words: &str, result: Result<T, Failure>) {
    let failure = result.unwrap_err();
    assert!(failure.kind == kind && failure.message.contains(words), "{failure:?}");
}

fn standby_of(shop: &Shop) -> String {
    format!("backout_{}_7-shop", shop.database)
}

fn copies_of(shop: &Shop) -> Vec<String> {
    let like = format!("backout\\_{}\\_%", shop.database);
    shop.on.ask("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE '{like}' ORDER BY 1"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_promised_is_made_under_the_fence() {
    for shop in [Shop::new(), Shop::on_18()] {
        let (on, database) = (shop.on, &shop.database);
        shop.sql("CREATE SEQUENCE numbers; SELECT setval('numbers', 41); CREATE UNLOGGED TABLE seen (id INT); INSERT INTO seen VALUES (1); ANALYZE");
        on.sql(
            "postgres",
            &format!(
                "ALTER DATABASE {database} SET work_mem = '5MB'; REVOKE ALL ON DATABASE {database} FROM PUBLIC; \
                 GRANT CONNECT ON DATABASE {database} TO {ROLE}; COMMENT ON DATABASE {database} IS 'mine'; ALTER DATABASE {database} CONNECTION LIMIT 9"
            ),
        );
        let look = || {
            let about = format!(
                "SELECT concat_ws(' ', d.datdba::regrole, d.datacl, d.datconnlimit, d.datallowconn, shobj_description(d.oid, 'pg_database'), s.setconfig) FROM pg_database d LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid WHERE datname = '{database}'"
            );
            on.ask("postgres", &about)
        };
        let before = look();
        let access = cloned(&shop);
        let way = looks(&access).way(&call()).await.unwrap().unwrap();
        assert!(way.later && way.words.starts_with("the server copies its files, "), "{way:?}");
        let promised = take(&access).await;
        assert_eq!((&*promised.method, promised.proven, promised.bytes), ("clone", false, 0));
        assert!(promised.comes_later() && copies_of(&shop).is_empty());
        fails(FailureKind::Unproven, "there is no copy", looks(&access).inspect(&promised, &call()).await);
        fails(FailureKind::Unproven, "there is no copy", looks(&access).loss(&promised, &call()).await);
        fails(FailureKind::Conflict, "under the fence alone", changes(&access).refresh(&promised, &call()).await);

        // Somebody is in it; the fence ends him.
        let client = shop.client("python3");
        shop.sql("UPDATE orders SET note = 'last' WHERE id = 1");
        fence(&access).await;
        let seen = Arc::<Seen>::default();
        let made = changes(&access).refresh(&promised, &call_seen(&seen)).await.unwrap();
        drop(client.into_child());
        assert_eq!((&*made.method, made.proven, made.copied), ("clone", true, 3004), "{made:?}");
        assert!(made.detector.starts_with("file copy") && made.position.is_some(), "{}", made.detector);
        assert_eq!(made.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
        looks(&access).inspect(&made, &call()).await.unwrap();
        // Nobody gets in, and the planner knows what is in it.
        let refused = on.psql(&standby_of(&shop), "SELECT 1").output().unwrap();
        assert!(String::from_utf8_lossy(&refused.stderr).contains("not currently accepting connections"));
        let fence_note = on.ask("postgres", &format!("SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase WHERE datname = '{database}'"));
        assert!(!fence_note.concat().contains("backout.clone"), "{fence_note:?}");

        // Once more under the same fence: nothing has changed.
        let again = changes(&access).refresh(&made, &call()).await.unwrap();
        assert_eq!((again.copied, &*again.method, &again.place), (0, "clone", &made.place), "{}", again.detector);

        access.mutator.unfence(&call()).await.unwrap();
        shop.sql("DROP TABLE items; DELETE FROM orders WHERE id > 10; SELECT setval('numbers', 60); INSERT INTO seen VALUES (2)");
        fence(&access).await;
        let restored = changes(&access).exchange(&again, &call()).await.unwrap();
        access.mutator.unfence(&call()).await.unwrap();
        assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["1000"]);
        assert_eq!(shop.ask("SELECT note FROM orders WHERE id = 1"), ["last"]);
        assert_eq!(shop.ask("SELECT count(*) FROM items"), ["2000"]);
        assert_eq!(shop.ask("SELECT count(*) FROM seen"), ["1"]);
        assert_eq!(shop.ask("SELECT nextval('numbers')"), ["61"], "what was given out is not given out again");
        assert_eq!(shop.ask("SELECT count(*) > 0 FROM pg_stats WHERE tablename = 'orders'"), ["t"]);
        assert_eq!(look(), before);
        let aside = restored.aside.unwrap();
        assert_eq!(on.ask(&aside, "SELECT count(*) FROM orders"), ["10"]);
        assert!(changes(&access).discard(&again, &call()).await.unwrap() > 0);
        assert_eq!(copies_of(&shop), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_stands_lets_a_copy_be_made_at_once_and_only_that_copy_is_dropped_which_was_announced() {
    let shop = Shop::new();
    let access = cloned(&shop);
    let (database, standby) = (&shop.database, standby_of(&shop));
    fence(&access).await;
    let taken = take(&access).await;
    assert_eq!((&*taken.method, taken.proven), ("clone", true));
    changes(&access).discard(&taken, &call()).await.unwrap();

    // As a process leaves it that was killed before it could say whose the copy is.
    let half = format!("CREATE DATABASE \"{standby}\" TEMPLATE {database} ALLOW_CONNECTIONS false CONNECTION LIMIT 0");
    shop.on.sql("postgres", &format!("ALTER DATABASE {database} SET backout.clone = '{standby}'"));
    shop.on.sql("postgres", &half);
    let made = changes(&access).refresh(&taken, &call()).await.unwrap();
    assert!(made.proven && copies_of(&shop) == [standby.clone()], "{made:?}");
    changes(&access).discard(&made, &call()).await.unwrap();
    // Nobody has announced this one.
    shop.on.sql("postgres", &half);
    fails(FailureKind::Conflict, "not Backout's", changes(&access).refresh(&made, &call()).await);
    fails(FailureKind::Conflict, "not Backout's", changes(&access).take("7-shop", &call()).await);
    assert_eq!(copies_of(&shop), std::slice::from_ref(&standby));
    shop.on.sql("postgres", &format!("DROP DATABASE \"{standby}\""));

    // One that stands is not given up for one that cannot be made.
    let made = changes(&access).take("7-shop", &call()).await.unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    shop.sql("CREATE TABLE more (id INT)");
    fails(FailureKind::Conflict, "under the fence alone", changes(&access).refresh(&made, &call()).await);
    looks(&access).inspect(&made, &call()).await.unwrap();
    // Whatever the site says by now, what was taken for one stays one.
    fence(&access).await;
    let other = access_by(shop.server(), Method::StandBy);
    let again = changes(&other).refresh(&made, &call()).await.unwrap();
    assert_eq!((&*again.method, again.fingerprint.parts.len()), ("clone", 4));
    changes(&access).discard(&again, &call()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_while_it_copies_its_files_copies_them_again() {
    let server = support::Server::start(&support::eighteen(), &[]);
    server.sql("postgres", "CREATE DATABASE shop TEMPLATE template0");
    server.sql(
        "shop",
        "CREATE TABLE orders (id INT PRIMARY KEY, note TEXT); INSERT INTO orders SELECT i, repeat('x', 200) FROM generate_series(1, 100000) i",
    );
    let access = access_by(reached(&server, "shop"), Method::Clone);
    let promised = take(&access).await;
    fence(&access).await;
    for (part, words) in [("as files", "the server copies its files"), ("as rows", "comparing the copy")] {
        let kill = Mutex::new(Some(server.killer()));
        let seen = Arc::new(Killer { kill, words });
        let call = CallCtx { progress: seen.clone(), ..call() };
        let failure = changes(&access).refresh(&promised, &call).await.unwrap_err();
        assert!(seen.kill.lock().unwrap().is_none(), "{part}: it never came to it: {failure}");
        server.start_again();
        assert!(access.observer.fenced().await.unwrap());
    }
    let made = changes(&access).refresh(&promised, &call()).await.unwrap();
    assert_eq!((made.proven, made.copied), (true, 100_000));
    let copies = server.ask("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'backout%'");
    assert_eq!(copies, ["backout_shop_7-shop"]);
    // What was proven before a server was killed is read again.
    server.killer()();
    server.start_again();
    looks(&access).inspect(&made, &call()).await.unwrap();
}

struct Killer<F> {
    kill: Mutex<Option<F>>,
    words: &'static str,
}
impl<F: FnOnce() + Send> Progress for Killer<F> {
    fn progress(&self, text: &str, _: u64, _: u64) {
        if text.starts_with(self.words)
            && let Some(kill) = self.kill.lock().unwrap().take()
        {
            kill();
        }
    }
}

/// Whatever a script does, what has no copy yet is not changed; the refusal is in the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_changed_of_which_there_is_no_copy_yet() {
    let shop = Shop::new();
    let mut script = Script::new();
    script.resources.database.0.insert("orders".to_owned(), lend("database", "shop", cloned(&shop)));
    let mut call = script.call();
    let snapshot = call.take("orders".to_owned()).await.unwrap();
    assert!(!snapshot.proven);
    let orders = || "orders".to_owned();
    let delete = || Execute { database: orders(), sql: "DELETE FROM log".to_owned() };
    let (kind, message) = told(call.perform(delete()).await);
    assert_eq!((kind, &*message), ("unproven", "database shop has no copy yet, so database.execute may not change it"));
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
    let (kind, _) = told(call.refresh().await);
    assert_eq!(kind, "conflict", "it is not fenced");
    // After an interruption the script hears the same.
    let gate = script.again().await;
    let mut again = backout::capability::Call { gate: &gate, resources: &script.resources };
    again.take("orders".to_owned()).await.unwrap();
    assert_eq!(told(again.perform(delete()).await).1, message);

    let mut call = script.call();
    call.perform(Fence { database: orders(), within: 0 }).await.unwrap();
    assert!(call.refresh().await.unwrap()[0].proven);
    call.perform(Unfence { database: orders() }).await.unwrap();
    assert_eq!(call.perform(delete()).await.unwrap(), 3);
    call.perform(Fence { database: orders(), within: 0 }).await.unwrap();
    call.restore("orders".to_owned()).await.unwrap();
    call.perform(Unfence { database: orders() }).await.unwrap();
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
    let point = script.memory.lock().unwrap().restore_point.clone();
    assert_eq!(point.snapshots[&ResourceId::new("database", "shop")].method, "clone");
    let refused = |entry: &Entry| matches!(entry, Entry::Observed { result: Err(_), request, .. } if request.operation == "database.execute");
    assert_eq!(script.entries().await.iter().filter(|entry| refused(entry)).count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_choose_says_why() {
    let shop = Shop::new();
    let choose = async |window: u64| {
        let access = access_by(shop.server(), Method::Auto { window: Duration::from_secs(window) });
        let way = looks(&access).way(&call()).await.unwrap().unwrap();
        let snapshot = take(&access).await;
        changes(&access).discard(&snapshot, &call()).await.unwrap();
        assert_eq!((snapshot.comes_later(), snapshot.chosen.as_ref()), (way.later, Some(&way.words)));
        (way.later, way.words)
    };
    let (clone, why) = choose(60).await;
    assert!(clone && why.starts_with("`auto` takes clone: copying and comparing "), "{why}");
    let (clone, why) = choose(0).await;
    assert!(!clone && why.contains("would take about") && why.contains("which may take 0 s; a stand-by"), "{why}");
    // What was chosen stays chosen, and is told again.
    let auto = access_by(shop.server(), Method::Auto { window: Duration::from_secs(60) });
    let promised = take(&auto).await;
    fence(&auto).await;
    let late = access_by(shop.server(), Method::Auto { window: Duration::ZERO });
    let made = changes(&late).refresh(&promised, &call()).await.unwrap();
    assert_eq!((&*made.method, &made.chosen), ("clone", &promised.chosen));
    let again = changes(&late).refresh(&made, &call()).await.unwrap();
    assert_eq!((&*again.method, &again.chosen), ("clone", &promised.chosen));
    changes(&late).discard(&again, &call()).await.unwrap();
}
