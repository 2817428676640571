//! The exchange, with all that is declared around the tables, and in the middle of it.
use super::*;
use serde_json::json;

pub const AROUND: &str = "
    CREATE TABLE parents (id INT PRIMARY KEY AUTO_INCREMENT, name TEXT);
    CREATE TABLE children (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES parents (id));
    INSERT INTO parents (name) VALUES ('a'), ('b'); INSERT INTO children VALUES (1, 1);
    CREATE VIEW inner_ AS SELECT id, note FROM orders;
    CREATE VIEW a_outer AS SELECT id FROM inner_ WHERE note = 'x';
    CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2;
    CREATE PROCEDURE tidy() DELETE FROM log;
    CREATE TRIGGER second_ AFTER INSERT ON orders FOR EACH ROW INSERT INTO log VALUES ('second');
    CREATE TRIGGER first_ AFTER INSERT ON orders FOR EACH ROW PRECEDES second_ INSERT INTO log VALUES ('first')";

/// An upgrade that leaves nothing as it was.
pub const UPGRADE: &str = "
    DROP VIEW a_outer; DROP VIEW inner_; CREATE VIEW log2 AS SELECT * FROM log; DROP FUNCTION twice;
    CREATE OR REPLACE PROCEDURE tidy() DELETE FROM orders; DROP TRIGGER first_;
    CREATE TRIGGER third AFTER DELETE ON orders FOR EACH ROW INSERT INTO log VALUES ('third');
    ALTER TABLE children DROP FOREIGN KEY children_ibfk_1; DROP TABLE items; CREATE VIEW items AS SELECT 1 AS a;
    CREATE TABLE parcels (id INT PRIMARY KEY); INSERT INTO parents (id, name) VALUES (500, 'late')";

async fn upgraded() -> (Shop, Access<Database>, Snapshot) {
    let shop = Shop::new();
    shop.sql(AROUND);
    SERVER.sql(&format!(
        "CREATE USER caller_{0}@localhost; GRANT EXECUTE ON PROCEDURE {0}.tidy TO caller_{0}@localhost",
        shop.database
    ));
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql(UPGRADE);
    (shop, access, snapshot)
}

pub fn is_back(shop: &Shop) {
    shop.sql("INSERT INTO orders (id) VALUES (2000)");
    assert_eq!(shop.ask("SELECT line FROM log"), ["one", "two", "three", "first", "second"]);
    assert_eq!(shop.ask("SELECT twice(21) FROM a_outer RIGHT JOIN (SELECT 1) x ON TRUE"), ["42"]);
    assert_eq!(shop.ask("SHOW TABLES"), ["a_outer", "children", "inner_", "items", "log", "orders", "parents"]);
    shop.sql("CALL tidy(); DELETE FROM orders WHERE id = 2000");
    assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["1000"]);
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["0"]);
    let grants = SERVER.ask("", &format!("SHOW GRANTS FOR caller_{}@localhost", shop.database));
    assert!(grants.iter().any(|grant| grant.contains("EXECUTE ON PROCEDURE")), "{grants:?}");
    // A number that somebody holds is not given out again.
    shop.sql("INSERT INTO parents (name) VALUES ('new')");
    assert_eq!(shop.ask("SELECT max(id) FROM parents"), ["501"]);
    let refused = shop.by_client().args(["-e", "INSERT INTO children VALUES (2, 77)"]).output().unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("foreign key"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_declared_around_tables_comes_back() {
    let (shop, access, snapshot) = upgraded().await;
    let standing = SERVER.ask(
        "",
        &format!("SELECT COUNT(*) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = '{}'", snapshot.place),
    );
    assert_eq!(standing, ["0"], "nothing acts in a copy");
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
    is_back(&shop);
    let aside = restored.aside.unwrap();
    assert_eq!(SERVER.ask(&aside, "SELECT name FROM parents WHERE id = 500"), ["late"]);
    assert_eq!(SERVER.ask(&aside, "SHOW TABLES"), ["children", "log", "orders", "parcels", "parents"]);
    changes(&access).discard(&snapshot, &call()).await.unwrap();
    assert_eq!(SERVER.ask("", &format!("SHOW DATABASES LIKE 'backout\\_{}\\_%'", shop.database)), [""; 0]);
}

/// Killed at each point between its steps: what is left is finished, or undone, and never both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exchange_that_broke_off_is_finished_or_undone() {
    for renamed in [false, true] {
        let (shop, access, snapshot) = upgraded().await;
        let before = looks(&access).fingerprint(&call()).await.unwrap();
        let broken = Arc::new(Seen { broken: true, ..Seen::default() });
        changes(&access).exchange(&snapshot, &call_seen(&broken)).await.unwrap_err();
        let evidence = broken.evidence.lock().unwrap().clone();
        assert_eq!(looks(&access).exchanged(&snapshot, &evidence).await.unwrap(), Exchange::NotDone);
        // As it stands when the host is killed: begun, and around the tables some of it is gone already.
        let left = around(&shop).await;
        let sql = format!(
            "UPDATE backout.copies SET state = JSON_SET(state, '$.phase', 'exchanging', '$.left', JSON_EXTRACT('{}', '$'), \
             '$.sides', JSON_EXTRACT('{}', '$')) WHERE of = '{}'",
            text(&left),
            text(&evidence[0]["exchange"]),
            shop.database
        );
        SERVER.sql(&sql);
        let aside = format!("{}_aside", snapshot.place);
        SERVER.sql(&format!(
            "CREATE DATABASE `{aside}`; DROP TRIGGER {0}.second_; DROP TRIGGER {0}.third; DROP VIEW {0}.items",
            shop.database
        ));
        refused(&shop, FailureKind::Conflict, looks(&access).inspect(&snapshot, &call()).await);
        refused(&shop, FailureKind::Conflict, changes(&access).discard(&snapshot, &call()).await);
        if renamed {
            let moves = |from: &str, to: &str, tables: &[&str]| -> Vec<String> {
                tables.iter().map(|t| format!("`{from}`.{t} TO `{to}`.{t}")).collect()
            };
            let gone = moves(&shop.database, &aside, &["children", "log", "orders", "parcels", "parents"]);
            let come = moves(&snapshot.place, &shop.database, &["children", "items", "log", "orders", "parents"]);
            SERVER.sql(&format!("RENAME TABLE {}", [gone, come].concat().join(", ")));
            let done = Exchange::Done { aside: aside.clone() };
            assert_eq!(looks(&access).exchanged(&snapshot, &evidence).await.unwrap(), done);
            assert_eq!(looks(&access).exchanged(&snapshot, &evidence).await.unwrap(), done);
            assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
            is_back(&shop);
        } else {
            assert_eq!(looks(&access).exchanged(&snapshot, &evidence).await.unwrap(), Exchange::NotDone);
            assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
            changes(&access).exchange(&snapshot, &call()).await.unwrap();
            is_back(&shop);
        }
    }
}

/// What Backout would have written down about what is live: taken from a copy of it.
async fn around(shop: &Shop) -> Value {
    let access = shop.access(true);
    changes(&access).take("8-shop", &call()).await.unwrap();
    let sql = format!(
        "SELECT TO_BASE64(JSON_EXTRACT(state, '$.declared')) FROM backout.copies WHERE of = '{}' AND id = '8-shop'",
        shop.database
    );
    let text = SERVER.ask("", &sql).concat().replace("\\n", "");
    let output = Command::new("sh").args(["-c", "printf %s \"$0\" | base64 -d", &text]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or(json!(null))
}

fn text(value: &Value) -> String {
    value.to_string().replace('\\', "\\\\").replace('\'', "\\'")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_another_database_that_refers_to_it_refuses() {
    let (shop, access, snapshot) = upgraded().await;
    let other = SERVER.database();
    SERVER.sql(&format!(
        "CREATE TABLE {other}.t (a INT PRIMARY KEY, b INT, FOREIGN KEY (b) REFERENCES {}.parents (id))",
        shop.database
    ));
    let before = looks(&access).fingerprint(&call()).await.unwrap();
    let message = refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    assert!(message.contains("foreign key"), "{message}");
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
    SERVER.sql(&format!("DROP TABLE {other}.t"));
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_was_dropped_comes_back() {
    let (shop, access, snapshot) = upgraded().await;
    SERVER.sql(&format!("DROP DATABASE {}", shop.database));
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
    assert_eq!(shop.ask("SELECT count(*) FROM orders"), ["1000"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_somebody_holds_undoes_the_exchange() {
    let (shop, access, snapshot) = upgraded().await;
    let before = looks(&access).fingerprint(&call()).await.unwrap();
    // By an account that is no application's, from no database: nobody sees it coming.
    let mut holder = Client::new(SERVER.client("root", ""));
    assert_eq!(holder.answer(&format!("START TRANSACTION; SELECT count(*) FROM {}.orders", shop.database)), "1000");
    refused(&shop, FailureKind::Unavailable, changes(&access).exchange(&snapshot, &call()).await);
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
    looks(&access).inspect(&snapshot, &call()).await.unwrap();
    let (mut child, _) = holder.into_child();
    child.kill().unwrap();
    child.wait().unwrap();
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    is_back(&shop);
}
