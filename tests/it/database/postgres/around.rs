//! What stands around a database: slots, subscriptions, a pooler before it, replicas behind it.
use super::*;
use backout::resource::{copies::Exchange, database::Pooler};
use std::{fs, os::unix::fs::PermissionsExt, path::Path};

impl Shop {
    fn with(&self, around: Around) -> Access<Database> {
        self.access_by(Server { around, ..self.server() })
    }
}

/// A command that notes its name, and ends as the file `NAME.fails` says.
fn command(folder: &Path, name: &str) -> Vec<String> {
    let path = folder.join(name);
    let script = format!(
        "#!/bin/sh\necho {name} >>{0}/said\nif test -e {0}/{name}.fails; then echo it is stuck >&2; exit 3; fi\n",
        folder.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    vec![path.to_str().unwrap().to_owned()]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_follows_the_database_is_left_behind_only_where_the_site_names_it() {
    let server = support::Server::start(&support::newest(), &["fsync=off", "wal_level=logical"]);
    server.sql("postgres", "CREATE DATABASE shop TEMPLATE template0");
    server.sql("shop", "CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1)");
    let access = |leave_behind: &[&str]| {
        let leave_behind = leave_behind.iter().map(|name| (*name).to_owned()).collect();
        let around = Around { leave_behind, ..Around::default() };
        let driver = Driver::Postgres(Server { around, ..reached(&server, "shop") });
        drivers::open(
            "shop",
            &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method: Default::default() },
        )
    };
    let strict = access(&["other"]);
    let snapshot = take(&strict).await;
    server.sql("shop", "SELECT pg_create_logical_replication_slot('debezium', 'test_decoding')");
    server.sql("shop", "CREATE SUBSCRIPTION follows CONNECTION 'dbname=none' PUBLICATION none WITH (connect = false)");
    for named in [&[][..], &["debezium"], &["follows"]] {
        let access = access(named);
        for failure in [
            changes(&access).exchange(&snapshot, &call()).await.unwrap_err(),
            changes(&access).take("8-shop", &call()).await.unwrap_err(),
        ] {
            let left =
                ["debezium", "follows"].iter().any(|name| !named.contains(name) && failure.message.contains(name));
            assert!(failure.kind == FailureKind::Conflict && left, "{failure}");
            assert!(failure.hint.as_deref().unwrap().contains("leave-behind"), "{failure:?}");
        }
    }
    let lenient = access(&["debezium", "follows"]);
    let snapshot = changes(&lenient).refresh(&snapshot, &call()).await.unwrap();
    server.sql("shop", "DELETE FROM t");
    let restored = changes(&lenient).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(server.ask("shop", "SELECT count(*) FROM t"), ["1"]);
    assert_eq!(
        server.ask(
            "shop",
            "SELECT count(*) FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid WHERE datname = 'shop'"
        ),
        ["0"]
    );
    assert_eq!(
        server.ask("postgres", "SELECT database FROM pg_replication_slots WHERE slot_name = 'debezium'"),
        [restored.aside.unwrap()]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_is_paused_for_the_exchange_and_goes_on_whatever_happens() {
    let shop = Shop::new();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let said = || fs::read_to_string(at("said")).unwrap_or_default().replace('\n', " ");
    let pooler = Pooler {
        pause: command(folder.path(), "pause"),
        resume: command(folder.path(), "resume"),
        timeout: Duration::from_secs(20),
    };
    let access = shop.with(Around { pooler: Some(pooler.clone()), ..Around::default() });
    let snapshot = take(&access).await;
    let back = || shop.ask("SELECT count(*) FROM log")[0] == "3";
    shop.sql("DELETE FROM log");
    // One that does not pause: nothing is exchanged, and it goes on.
    fs::write(at("pause.fails"), "").unwrap();
    let message = refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    assert!(message.contains("the pooler cannot be paused") && message.contains("it is stuck"), "{message}");
    assert_eq!((said(), back()), ("pause resume ".into(), false));
    let slow =
        Pooler { pause: ["/bin/sleep", "600"].map(Into::into).into(), timeout: Duration::from_millis(300), ..pooler };
    let impatient = shop.with(Around { pooler: Some(slow), ..Around::default() });
    let message = refused(&shop, FailureKind::Conflict, changes(&impatient).exchange(&snapshot, &call()).await);
    assert!(message.contains("did not end within") && !back(), "{message}");
    fs::remove_file(at("pause.fails")).unwrap();
    fs::remove_file(at("said")).unwrap();
    // Somebody who is still there.
    let idle = shop.connected();
    let message = refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    assert!(message.contains("in use") && said() == "pause resume ", "{message} {}", said());
    drop(idle);
    // One that does not go on is told, and nothing counts as done until it does.
    fs::write(at("resume.fails"), "").unwrap();
    let seen = Arc::<Seen>::default();
    let failure = loop {
        let failure = changes(&access).exchange(&snapshot, &call_seen(&seen)).await.unwrap_err();
        if !failure.message.contains("in use") {
            break failure;
        }
    };
    assert!(failure.message.contains("cannot be resumed") && failure.message.contains("it is stuck"), "{failure}");
    assert!(back());
    let evidence = seen.evidence.lock().unwrap().clone();
    looks(&access).exchanged(&snapshot, &evidence).await.unwrap_err();
    fs::remove_file(at("resume.fails")).unwrap();
    fs::remove_file(at("said")).unwrap();
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!((restored.exchanged, said()), (true, "resume ".into()));
    let counted = lost_by(&access, &snapshot, &restored).await;
    assert!(counted.contains(&Lost { part: "log".into(), rows: 0, changed: 0, missing: 3 }), "{counted:?}");
    // Once.
    let found = looks(&access).exchanged(&snapshot, &evidence).await.unwrap();
    assert!(matches!(found, Exchange::Done { .. }) && said() == "resume ", "{found:?}");
    refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_goes_on_reading_the_old_database_on_a_replica() {
    let server = support::Server::start(&support::newest(), &["fsync=off"]);
    server.sql("postgres", "CREATE DATABASE shop TEMPLATE template0");
    server.sql("shop", "CREATE TABLE t (a INT PRIMARY KEY); INSERT INTO t VALUES (1)");
    let replica = server.replica();
    let access = |replicas: Vec<Server>| {
        let around = Around { replicas, ..Around::default() };
        let driver = Driver::Postgres(Server { around, ..reached(&server, "shop") });
        drivers::open(
            "shop",
            &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method: Default::default() },
        )
    };
    let away = Server { port: 1, ..reached(&replica, "shop") };
    for (named, kind, words) in [
        (away, FailureKind::Unavailable, "replica 1 of the site cannot be reached"),
        (reached(&server, "shop"), FailureKind::Conflict, "replica 1 of the site is no replica"),
    ] {
        let access = access(vec![named]);
        let snapshot = take(&access).await;
        let failure = changes(&access).exchange(&snapshot, &call()).await.unwrap_err();
        assert!(failure.kind == kind && failure.message.contains(words), "{failure}");
    }
    let access = access(vec![reached(&replica, "shop")]);
    let snapshot = take(&access).await;
    assert!(snapshot.position.as_deref().is_some_and(|lsn| lsn.contains('/')), "{snapshot:?}");
    server.sql("shop", "INSERT INTO t VALUES (2)");
    let until = Instant::now() + Duration::from_secs(60);
    while replica.ask("shop", "SELECT count(*) FROM t") != ["2"] {
        assert!(Instant::now() < until, "the replica does not follow");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let reader = Client::new(replica.client("shop"), "reader");
    let there = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {}", reader.session);
    assert_eq!(replica.ask("postgres", &there), ["1"]);
    let other = Client::new(replica.client("postgres"), "other");
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(replica.ask("postgres", &there), ["0"]);
    assert_eq!(replica.ask("shop", "SELECT count(*) FROM t"), ["1"], "who comes now is let into what came back");
    let there = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {}", other.session);
    assert_eq!(replica.ask("postgres", &there), ["1"], "nobody else was ended");
    for client in [reader, other] {
        let mut child = client.into_child();
        let _ = child.kill();
        child.wait().unwrap();
    }
}
