//! What scripts may say, and who is let in.
use super::*;
use backout::resource::Right;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_hears_why_and_no_more() {
    let shop = Shop::new();
    let ask = async |server: Server| {
        let failure = shop.access_by(server).observer.query("SELECT 1", &call()).await.unwrap_err();
        let told = format!("{failure} {:?}", failure.hint);
        for secret in [&*shop.secret(), "127.0.0.1", "hunter2", "localhost"] {
            assert!(!told.contains(secret), "{told}");
        }
        failure
    };
    let over_network = || Server { host: Host::Name("127.0.0.1".into()), ..shop.server() };
    let right = shop.access_by(over_network()).observer.query("SELECT CURRENT_USER()", &call()).await;
    assert_eq!(right.unwrap(), [[format!("{BACKOUT}@%")]]);
    let wrong = ask(Server { password: Some("hunter2".into()), ..over_network() }).await;
    assert_eq!((wrong.kind, wrong.message.contains("does not let Backout in")), (FailureKind::Denied, true), "{wrong}");
    let secure = ask(Server { tls: Tls::Require, ..over_network() }).await;
    assert_eq!((secure.kind, secure.message.contains("secure")), (FailureKind::Unavailable, true), "{secure}");
    let gone = ask(Server { database: "no_such".into(), ..shop.server() }).await;
    assert_eq!((gone.kind, &*gone.message), (FailureKind::NotFound, "the server has no such database"));
    let none = ask(Server { host: Host::Socket("/tmp/no/such".into()), ..shop.server() }).await;
    assert_eq!((none.kind, &*none.message), (FailureKind::Unavailable, "no server is there"));
    let none = ask(Server { port: 1, ..over_network() }).await;
    assert_eq!((none.kind, &*none.message), (FailureKind::Unavailable, "connection refused"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_repeats_what_a_statement_says() {
    let shop = Shop::new();
    SERVER.sql(&format!(
        "CREATE PROCEDURE {}.tells() SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'hunter2'",
        shop.database
    ));
    SERVER.sql(&format!(
        "CREATE TRIGGER {0}.tells BEFORE DELETE ON {0}.log FOR EACH ROW CALL {0}.tells()",
        shop.database
    ));
    let access = shop.access(true);
    for sql in [
        "SELECT 'hunter2' FROM",
        "SELECT 'x' hunter2 hunter2 FROM log hunter2",
        "SELECT EXTRACTVALUE('<a>', 'hunter2\\\\')",
        "INSERT INTO orders (id, note) VALUES (1, 'hunter2')",
        "SELECT * FROM 'hunter2'",
        "DELETE FROM log",
    ] {
        let asked = access.observer.query(sql, &call()).await.unwrap_err();
        let done = access.mutator.execute(sql, &call()).await.unwrap_err();
        for failure in [asked, done] {
            assert!(!format!("{failure:?}").contains("hunter2"), "{sql}: {failure:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_stays_in_its_database_and_in_its_transaction() {
    let shop = Shop::new();
    SERVER.sql(&format!(
        "DELIMITER //\nCREATE FUNCTION {}.writes() RETURNS INT MODIFIES SQL DATA BEGIN DELETE FROM log; RETURN 1; END//",
        shop.database
    ));
    let access = shop.access(true);
    for sql in [
        "SELECT writes()",
        "SELECT User FROM mysql.global_priv",
        "SELECT * FROM `mysql` . user",
        "SELECT * FROM information_schema.PROCESSLIST",
        "SELECT 1 INTO OUTFILE '/tmp/x'",
        "SELECT LOAD_FILE('/etc/passwd')",
        "SELECT @@datadir",
        "SELECT 1 /*! ; DROP TABLE log */",
        "SHOW PROCESSLIST",
        "SET GLOBAL max_connections = 1",
        "CALL something()",
        "DO SLEEP(1)",
        "INSERT INTO log VALUES ('x')",
        "SELECT ?",
    ] {
        refused(&shop, FailureKind::Invalid, access.observer.query(sql, &call()).await);
    }
    let ask = async |sql: &str| access.observer.query(sql, &call()).await.unwrap();
    assert_eq!(
        ask("SELECT ';', '\\'', 'it''s' || ':x', 1.50, TRUE, CAST('ü' AS BINARY)").await,
        [[";", "'", "it's:x", "1.50", "1", "c3bc"]]
    );
    for sql in [
        "DELETE FROM log; CREATE TABLE t (a INT)",
        "DELETE FROM log; TRUNCATE orders",
        "DELETE FROM log; CALL something()",
        "DELETE FROM log; DELETE FROM mysql.user",
        "DELETE FROM log; INSERT INTO backout.marks (mark) VALUES ('x')",
        "DELETE FROM log; SET autocommit = 1",
        "DELETE FROM log; SELECT 1 AS x FROM DUAL PROCEDURE ANALYSE(); LOCK TABLES log WRITE",
    ] {
        refused(&shop, FailureKind::Invalid, access.mutator.execute(sql, &call()).await);
    }
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_big_value_is_not_read_to_its_end() {
    let shop = Shop::new();
    let access = shop.access(true);
    let huge = "SELECT REPEAT('x', 10000000)";
    refused(&shop, FailureKind::Invalid, access.observer.query(huge, &call()).await);
    let just = format!("SELECT REPEAT('x', {})", MAX_BYTES - 1);
    assert_eq!(access.observer.query(&just, &call()).await.unwrap()[0][0].len(), MAX_BYTES - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_needs_accounts_that_are_not_its_own() {
    let shop = Shop::new();
    for (accounts, kind) in [
        (vec![], FailureKind::Invalid),
        (vec![format!("{BACKOUT}@%")], FailureKind::Invalid),
        (vec!["nobody@%".to_owned()], FailureKind::NotFound),
    ] {
        let access = shop.access_by(Server { fence_roles: accounts, ..shop.server() });
        refused(&shop, kind, access.mutator.fence(Duration::ZERO, &call()).await);
        assert!(!access.observer.fenced().await.unwrap());
    }
    // Locked before: it stays so.
    SERVER.sql(&format!("ALTER USER {}@localhost ACCOUNT LOCK", shop.database));
    let access = shop.access(true);
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    access.mutator.unfence(&call()).await.unwrap();
    assert!(!shop.may_connect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_lacks_is_named_as_a_grant() {
    let shop = Shop::new();
    SERVER.sql(&format!("CREATE USER weak_{0}@localhost; GRANT ALL ON {0}.* TO weak_{0}@localhost", shop.database));
    let weak = Server { user: format!("weak_{}", shop.database), password: None, fence_roles: vec![], ..shop.server() };
    let lacking = async |server: Server| {
        let section = Section {
            driver: Driver::MariaDb(server),
            keep_aside: Duration::ZERO,
            exclusive: true,
            method: Default::default(),
        };
        let rights = [Right::Read, Right::Backup, Right::Restore, Right::Fence].into_iter().collect();
        let found = drivers::lacking(&section, &rights, &call()).await.unwrap();
        found.into_iter().map(|lacking| lacking.say).collect::<Vec<_>>()
    };
    assert_eq!(lacking(shop.server()).await, [""; 0]);
    let said = lacking(weak.clone()).await;
    assert_eq!(said.len(), 5, "{said:?}");
    for right in ["PROCESS", "CREATE USER", "CONNECTION ADMIN", "SET USER"] {
        let grant = format!("GRANT {right} ON *.* TO 'weak_{}'@'localhost';", shop.database);
        assert!(said.contains(&grant), "{said:?}");
        SERVER.sql(&grant);
    }
    assert_eq!(lacking(weak).await, ["list the application's accounts: `fence-accounts = [\"…\"]`"]);
}
