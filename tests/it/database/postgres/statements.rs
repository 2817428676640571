//! What is known of statements whose end nobody has seen.
use super::*;
use crate::database::done::executed;
use backout::resource::database::Executed;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_ends_no_transaction() {
    let shop = Shop::new();
    shop.sql("CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN DELETE FROM log; COMMIT; END $$");
    let access = shop.access(true);
    for sql in [
        "DELETE FROM log; COMMIT; SELECT nothing",
        "DELETE FROM log; /* well */ cOmMiT",
        "DELETE FROM log; -- x\rEND",
        "DELETE FROM log; COMMIT AND CHAIN",
        "DELETE FROM log; PREPARE TRANSACTION 'x'",
        "DELETE FROM log; SAVEPOINT s",
        "DELETE FROM log; DO $$ BEGIN COMMIT; END $$",
        "CALL commits()",
        "DELETE FROM log; VACUUM log",
        "DELETE FROM log; COPY log FROM STDIN",
        "DELETE FROM log; SELECT 'open",
    ] {
        let seen = Arc::<Seen>::default();
        refused(&shop, FailureKind::Invalid, access.mutator.execute(sql, &call_seen(&seen)).await);
        assert_eq!(*seen.evidence.lock().unwrap(), [Value::Null; 0], "{sql}");
    }
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
    let sql = "INSERT INTO log VALUES ('a;b'), ($$COMMIT;$$); CREATE FUNCTION two() RETURNS INT BEGIN ATOMIC SELECT 1; SELECT 2; END;
               WITH gone AS (DELETE FROM log WHERE line = 'one' RETURNING 1) UPDATE orders SET note = 'x' WHERE id = 1; TABLE log;;";
    assert_eq!(access.mutator.execute(sql, &call()).await.unwrap(), 3);
    assert_eq!(shop.ask("SELECT line FROM log ORDER BY line COLLATE \"C\""), ["COMMIT;", "a;b", "three", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_is_waited_for_and_named() {
    let shop = Shop::new();
    let access = shop.access(true);
    let mut cashier = shop.client("cashier");
    cashier.say("BEGIN; LOCK log; SELECT 1;");
    std::thread::sleep(Duration::from_millis(300));
    let soon = CallCtx { deadline: Instant::now() + Duration::from_secs(2), ..call() };
    let message = refused(&shop, FailureKind::Unavailable, access.mutator.execute("DELETE FROM log", &soon).await);
    assert!(message.contains("lock"), "{message}");
    let child = cashier.into_child();
    drop(Connected { pid: 0, child });
    assert_eq!(access.mutator.execute("DELETE FROM log", &call()).await.unwrap(), 3);
}

/// It takes the evidence, and then something happens before the commit.
struct Between<F>(Mutex<Option<F>>, Seen);
impl<F: FnOnce() + Send> Witness for Between<F> {
    fn evidence(&self, data: Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        self.1.evidence.lock().unwrap().push(data);
        if let Some(happens) = self.0.lock().unwrap().take() {
            happens();
        }
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_was_ended_has_done_nothing() {
    let shop = Shop::new();
    let access = shop.access(true);
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND backend_xid IS NOT NULL",
        shop.database
    );
    let witness = Arc::new(Between(Mutex::new(Some(move || SERVER.sql("postgres", &end))), Seen::default()));
    let ended = CallCtx { witness: witness.clone(), ..call() };
    let message = refused(&shop, FailureKind::Unavailable, access.mutator.execute("DELETE FROM log", &ended).await);
    assert!(message.contains("ended") || message.contains("closed"), "{message}");
    let evidence = witness.1.evidence.lock().unwrap().clone();
    assert_eq!((evidence.len(), executed(&access, &evidence).await), (1, Executed::NotDone));
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_still_works_is_ended_before_anybody_looks() {
    let shop = Shop::new();
    let access = shop.access(true);
    let slow = Arc::new(Seen { slow: true, ..Seen::default() });
    let given_up = call_seen(&slow);
    let _ =
        tokio::time::timeout(Duration::from_millis(500), access.mutator.execute("DELETE FROM log", &given_up)).await;
    let evidence = slow.evidence.lock().unwrap().clone();
    assert_eq!((evidence.len(), executed(&access, &evidence).await), (1, Executed::NotDone));
    // In the middle of a statement, before any evidence.
    let working = access.mutator.execute("DELETE FROM log; SELECT pg_sleep(600)", &given_up);
    let _ = tokio::time::timeout(Duration::from_millis(300), working).await;
    assert_eq!(executed(&access, &[]).await, Executed::NotDone);
    let others = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid() AND datname =";
    assert_eq!(SERVER.ask("postgres", &format!("{others} '{}'", shop.database)), ["0"]);
}

/// A server of its own, because all that are connected to it suffer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_knows_afterwards() {
    let server = support::Server::start(&support::newest(), &["fsync=on"]);
    let database = server.database("shop");
    server.sql(&database, "CREATE TABLE log (line TEXT); INSERT INTO log VALUES ('one'), ('two')");
    let section = |database: &str| Section {
        driver: Driver::Postgres(reached(&server, database)),
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    let access = drivers::open("shop", &section(&database));
    // After the evidence and before the commit.
    let (kill, seen) = (server.killer(), Seen::default());
    let witness = Arc::new(Between(Mutex::new(Some(kill)), seen));
    let killed = CallCtx { witness: witness.clone(), ..call() };
    let failure = access.mutator.execute("DELETE FROM log", &killed).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
    let evidence = witness.1.evidence.lock().unwrap().clone();
    let failure = access.observer.executed(&evidence, &call()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "while nobody answers, nothing is said: {failure}");
    server.start_again();
    assert_eq!(executed(&access, &evidence).await, Executed::NotDone);
    assert_eq!(server.ask(&database, "SELECT count(*) FROM log"), ["2"]);
    // After the commit.
    let seen = Arc::<Seen>::default();
    assert_eq!(access.mutator.execute("DELETE FROM log", &call_seen(&seen)).await.unwrap(), 2);
    server.killer()();
    server.start_again();
    let evidence = seen.evidence.lock().unwrap()[..1].to_vec();
    assert_eq!(executed(&access, &evidence).await, Executed::Done { rows: 2 });
    // A fence outlives its server.
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    server.killer()();
    server.start_again();
    assert!(access.observer.shut().await.unwrap());
    access.mutator.unfence(&call()).await.unwrap();
    assert!(access.observer.open().await.unwrap());
    // Another server, with numbers of its own.
    let elsewhere = Shop::new();
    let Executed::Unclear(look) = executed(&elsewhere.access(true), &evidence).await else {
        panic!("it is another server")
    };
    assert!(look.contains("another server") && look.contains("2 rows"), "{look}");
}
