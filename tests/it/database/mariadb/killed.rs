//! A server that is killed in the middle of what it does.
use super::*;
use backout::resource::database::Executed;
use std::thread;

/// What is live stays whole, and it can be said what has happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_nothing() {
    let server = Arc::new(support::Server::start(&["--log-bin=changes", "--server-id=7"]));
    let database = server.database();
    let sql = |sql: &str| server.sql(&format!("USE {database}; {sql}"));
    sql("CREATE TABLE orders (id INT PRIMARY KEY, note TEXT);
         INSERT INTO orders SELECT seq, REPEAT('x', 500) FROM seq_1_to_30000;
         CREATE TRIGGER marks BEFORE INSERT ON orders FOR EACH ROW SET new.note = CONCAT(new.note, '!');
         CREATE VIEW numbers AS SELECT id FROM orders; CREATE TABLE other (a INT); INSERT INTO other VALUES (1)");
    let section = Section {
        driver: Driver::MariaDb(reached(&server, &database)),
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    let access = drivers::open("shop", &section);
    let kill_when = |happens: Box<dyn Fn() -> bool + Send>| {
        let kill = server.killer();
        thread::spawn(move || {
            while !happens() {
                thread::sleep(Duration::from_millis(1));
            }
            kill();
        })
    };
    let soon = || {
        let until = Instant::now() + Duration::from_millis(200);
        Box::new(move || Instant::now() > until)
    };
    let mut snapshot = take(&access).await;
    let first = snapshot.position.clone().unwrap();
    assert!(first.starts_with("GTID 0-7-") && first.contains(", changes.000001:"), "{first}");

    let killing = kill_when(soon());
    let _ = changes(&access).take("8-shop", &call()).await;
    killing.join().unwrap();
    server.wait_ready();
    looks(&access).quiet(&call()).await.unwrap();
    let second = changes(&access).take("8-shop", &call()).await.unwrap();
    changes(&access).discard(&second, &call()).await.unwrap();
    looks(&access).inspect(&snapshot, &call()).await.unwrap();

    sql("UPDATE orders SET note = CONCAT(note, 'y') WHERE id % 10 = 0");
    let killing = kill_when(soon());
    let _ = changes(&access).refresh(&snapshot, &call()).await;
    killing.join().unwrap();
    server.wait_ready();
    looks(&access).quiet(&call()).await.unwrap();
    snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    assert_ne!(snapshot.position.clone().unwrap(), first);

    let aside = format!("{}_aside", snapshot.place);
    for point in
        ["when it is written down", "while the tables are locked by somebody", "when the tables have changed places"]
    {
        sql("INSERT INTO orders VALUES (0, 'since')");
        let before = looks(&access).fingerprint(&call()).await.unwrap();
        let seen = Arc::<Seen>::default();
        // By an account that is no application's, from no database: nobody sees it coming.
        let holder = point.contains("locked").then(|| {
            let mut holder = Client::new(server.client("root", ""));
            assert_eq!(holder.answer(&format!("START TRANSACTION; SELECT count(*) FROM {database}.other")), "1");
            holder
        });
        let (look, looked) = (server.clone(), seen.clone());
        let killing = match point {
            "when it is written down" => kill_when(Box::new(move || !looked.evidence.lock().unwrap().is_empty())),
            "while the tables are locked by somebody" => kill_when(Box::new(move || {
                let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'RENAME TABLE%'";
                look.ask("", sql) == ["1"]
            })),
            _ => {
                let sql = format!(
                    "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = '{aside}' AND TABLE_NAME = 'orders'"
                );
                kill_when(Box::new(move || !look.ask("", &sql).is_empty()))
            }
        };
        let result = changes(&access).exchange(&snapshot, &call_seen(&seen)).await;
        killing.join().unwrap();
        drop(holder.map(Client::into_child).map(|(child, _)| Connected::from(child)));
        server.wait_ready();
        let evidence = seen.evidence.lock().unwrap().clone();
        let since = || server.ask(&database, "SELECT count(*) FROM orders WHERE id = 0");
        match looks(&access).exchanged(&snapshot, &evidence).await.unwrap() {
            Exchange::Done { aside } => {
                assert_eq!(since(), ["0"], "{point}");
                assert_eq!(server.ask(&aside, "SELECT count(*) FROM orders WHERE id = 0"), ["1"], "{point}");
                assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint, "{point}");
                assert!(!point.contains("locked"));
            }
            Exchange::NotDone => {
                assert!(result.is_err() && since() == ["1"], "{point}: {result:?}");
                assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before, "{point}");
                looks(&access).inspect(&snapshot, &call()).await.unwrap();
                sql("DELETE FROM orders WHERE id = 0");
                assert!(!point.contains("changed places"));
            }
            Exchange::Unclear(look) => panic!("{point}: {look}"),
        }
        // With what is declared around the tables.
        sql("INSERT INTO orders VALUES (0, 'a')");
        assert_eq!(server.ask(&database, "SELECT note FROM orders JOIN numbers USING (id) WHERE id = 0"), ["a!"]);
        sql("DELETE FROM orders WHERE id = 0");
        changes(&access).discard(&snapshot, &call()).await.unwrap();
        snapshot = take(&access).await;
    }
    assert_eq!(server.ask(&database, "SELECT count(*) FROM orders"), ["30000"]);
}

/// The server is set to write its own log to the disk hardly ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_on_the_disk_whatever_the_server_is_set_to() {
    let settings = ["--innodb-flush-log-at-trx-commit=0", "--innodb-flush-log-at-timeout=2700"];
    for server in [support::Server::start(&settings), support::Server::start_eleven(&settings)] {
        let database = server.database();
        let sql = |sql: &str| server.sql(&format!("USE {database}; {sql}"));
        sql("CREATE TABLE orders (id INT PRIMARY KEY, note TEXT); CREATE TABLE log (a INT)");
        let section = Section {
            driver: Driver::MariaDb(reached(&server, &database)),
            keep_aside: Duration::ZERO,
            exclusive: true,
            method: Default::default(),
        };
        let access = drivers::open("shop", &section);
        let killed = || {
            server.killer()();
            server.wait_ready();
        };
        let count = |table: &str| server.ask(&database, &format!("SELECT count(*) FROM {table}")).remove(0);

        let seen = Arc::<Seen>::default();
        access.mutator.execute("INSERT INTO orders VALUES (1, 'x')", &call_seen(&seen)).await.unwrap();
        sql("INSERT INTO log VALUES (1)");
        killed();
        assert_eq!((count("orders").as_str(), count("log").as_str()), ("1", "0"), "others lose what they do");
        let evidence = seen.evidence.lock().unwrap().clone();
        assert_eq!(access.observer.executed(&evidence, &call()).await.unwrap(), Executed::Done { rows: 1 });

        let snapshot = take(&access).await;
        sql("INSERT INTO orders VALUES (2, 'y'), (3, 'z')");
        let snapshot = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
        killed();
        looks(&access).inspect(&snapshot, &call()).await.unwrap();
        assert!(access.observer.fenced().await.unwrap());
        sql("DELETE FROM orders");
        let seen = Arc::<Seen>::default();
        changes(&access).exchange(&snapshot, &call_seen(&seen)).await.unwrap();
        killed();
        let evidence = seen.evidence.lock().unwrap().clone();
        let stands = looks(&access).exchanged(&snapshot, &evidence).await.unwrap();
        assert!(matches!(stands, Exchange::Done { .. }), "{stands:?}");
        assert_eq!(count("orders"), "3");
        access.mutator.unfence(&call()).await.unwrap();
        assert!(!access.observer.fenced().await.unwrap());
        let client = server.client(&database, &database).args(["-e", "SELECT 1"]).output().unwrap();
        assert!(client.status.success(), "the account is not locked any more");
    }
}
