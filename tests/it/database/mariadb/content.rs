//! What is copied, and what is refused.
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_kinds_of_values_are_copied_and_compared() {
    let shop = Shop::empty();
    shop.sql(
        "CREATE TABLE kinds (
            id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, f FLOAT, d DOUBLE, dec_ DECIMAL(40,10), b BIT(64), bo BOOLEAN,
            e ENUM('a', 'ü', '2', '') CHARACTER SET latin1, s SET('x', 'b', 'ü') CHARACTER SET latin1, y YEAR,
            t TIME(6), dt DATETIME(6), ts TIMESTAMP NULL, j JSON, bin VARBINARY(300), bl LONGBLOB,
            u UUID, i6 INET6, i4 INET4, g GEOMETRY, l1 VARCHAR(20) CHARACTER SET latin1,
            u16 VARCHAR(20) CHARACTER SET utf16, ci VARCHAR(20) COLLATE utf8mb4_general_ci COMMENT ') ENGINE=InnoDB',
            c CHAR(10), z INT(6) ZEROFILL, hidden_ INT INVISIBLE,
            v INT AS (z * 2) VIRTUAL, st INT AS (z * 3) PERSISTENT, UNIQUE (ci)
         ) COMMENT 'it''s; all' CHARACTER SET utf8mb4;
         INSERT INTO kinds (f, d, dec_, b, bo, e, s, y, t, dt, ts, j, bin, bl, u, i6, i4, g, l1, u16, ci, c, z, hidden_) VALUES
            (1.1, 1e-300, 123456789012345678901234567890.0123456789, b'1', 1, 'ü', 'x,ü', 2024, '-838:59:59', '9999-12-31 23:59:59.999999',
             '2024-06-01 12:00:00', '{\"a\": [1, null]}', X'00FF27225C0A0D1A', X'00', '123e4567-e89b-12d3-a456-426655440000', '::1', '127.0.0.1',
             ST_GeomFromText('POINT(1 2)', 4326), 'ä\\\\\\'', 'ä€', 'A', 'x ', 7, 1),
            (-0.0, -0e0, -0.5, 18446744073709551615, 0, '2', '', 0, '00:00:00.000001', '1000-01-01', NULL, NULL, '', '', NULL, NULL, NULL, NULL, '', '', 'ß', '', 0, NULL),
            (3.4e38, 0.1, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, REPEAT(X'C3', 3000000), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
         SET sql_mode = 'ALLOW_INVALID_DATES'; INSERT INTO kinds (id, dt, e, ci) VALUES (1000, '0000-00-00', 'nothing', 'zero');
         CREATE TABLE `we``ird tä.ble` (`co``l` INT, `order` TEXT) PARTITION BY HASH (`co``l`) PARTITIONS 3;
         INSERT INTO `we``ird tä.ble` VALUES (1, 'x'), (1, 'x'), (2, NULL);
         CREATE TABLE computed (a INT AS (1) VIRTUAL); CREATE TABLE empty_ (a INT)",
    );
    let access = shop.access(true);
    let snapshot = take(&access).await;
    assert_eq!(snapshot.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    assert_eq!(snapshot.fingerprint.count(), 7);
    // By the server's own means, which know nothing of ours.
    for table in ["kinds", "`we``ird tä.ble`"] {
        let sum = |schema: &str| {
            let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
            let output = SERVER.client("root", schema).args(["-e", &sql]).output().unwrap();
            assert!(output.status.success() && !output.stdout.is_empty(), "{table}");
            output.stdout
        };
        assert!(sum(&shop.database) == sum(&snapshot.place), "{table}");
        let differs = format!(
            "SELECT COUNT(*) FROM (SELECT * FROM `{0}`.{table} EXCEPT ALL SELECT * FROM `{1}`.{table}) x",
            shop.database, snapshot.place
        );
        assert_eq!(SERVER.ask("", &differs), ["0"]);
    }
    for (change, back) in [
        ("UPDATE kinds SET f = 1.1000001 WHERE id = 1", "UPDATE kinds SET f = 1.1 WHERE id = 1"),
        ("UPDATE kinds SET ci = 'a' WHERE id = 1", "UPDATE kinds SET ci = 'A' WHERE id = 1"),
        ("UPDATE kinds SET bin = NULL WHERE id = 2", "UPDATE kinds SET bin = '' WHERE id = 2"),
        ("UPDATE kinds SET hidden_ = 2 WHERE id = 1", "UPDATE kinds SET hidden_ = 1 WHERE id = 1"),
        ("DELETE FROM `we``ird tä.ble` WHERE `co``l` = 1 LIMIT 1", "INSERT INTO `we``ird tä.ble` VALUES (1, 'x')"),
    ] {
        shop.sql(change);
        let changed = looks(&access).fingerprint(&call()).await.unwrap();
        assert_eq!(changed.differences(&snapshot.fingerprint).len(), 1, "{change}");
        let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
        assert_eq!(refreshed.fingerprint, changed, "{change}");
        looks(&access).inspect(&refreshed, &call()).await.unwrap();
        shop.sql(back);
    }
    let again = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(again.fingerprint, snapshot.fingerprint);
    // Keys that change places, and unique values.
    shop.sql(
        "UPDATE kinds SET ci = 'tmp' WHERE id = 1; UPDATE kinds SET ci = 'A' WHERE id = 2; UPDATE kinds SET ci = 'ß' WHERE id = 1;
         UPDATE kinds SET id = 5000 WHERE id = 3; UPDATE kinds SET id = 3 WHERE id = 1000",
    );
    let refreshed = changes(&access).refresh(&again, &call()).await.unwrap();
    looks(&access).inspect(&refreshed, &call()).await.unwrap();
    assert_eq!(refreshed.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_copied_is_refused_and_named() {
    for (sql, why) in [
        ("CREATE TABLE old (a INT) ENGINE = MyISAM", "MyISAM"),
        ("CREATE TABLE old (a INT) ENGINE = Aria", "Aria"),
        ("CREATE TABLE history (a INT) WITH SYSTEM VERSIONING", "history"),
        ("CREATE SEQUENCE numbers", "numbers"),
        ("CREATE EVENT once ON SCHEDULE AT NOW() + INTERVAL 1 DAY DO SELECT 1", "once"),
        ("CREATE VIEW broken AS SELECT note FROM orders; ALTER TABLE orders DROP COLUMN note", "broken"),
    ] {
        let shop = Shop::new();
        shop.sql(sql);
        let access = shop.access(true);
        let message = refused(&shop, FailureKind::Unproven, changes(&access).take("7-shop", &call()).await);
        assert!(message.contains(why), "{message}");
        let left =
            format!("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = '{}'", shop.standby());
        assert_eq!(SERVER.ask("", &left), [""; 0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_schema_is_copied_anew() {
    let shop = Shop::new();
    let access = shop.access(true);
    let snapshot = take(&access).await;
    shop.sql("ALTER TABLE orders ADD COLUMN extra INT DEFAULT 5; CREATE VIEW all_orders AS SELECT * FROM orders");
    let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert_eq!(refreshed.copied, 3003);
    assert_eq!(refreshed.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    assert!(refreshed.detector.contains("schema"), "{}", refreshed.detector);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_somebody_else_made_is_not_taken_for_a_copy() {
    let shop = Shop::new();
    let access = shop.access(true);
    SERVER.sql(&format!("CREATE DATABASE `{0}`; CREATE TABLE `{0}`.t (a INT)", shop.standby()));
    refused(&shop, FailureKind::Conflict, changes(&access).take("7-shop", &call()).await);
    assert_eq!(SERVER.ask(&shop.standby(), "SHOW TABLES"), ["t"]);
}
