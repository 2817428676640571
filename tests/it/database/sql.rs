//! What scripts say in SQL.
use super::*;

pub async fn a_query_only_reads(product: &dyn Product) {
    let access = product.access(true);
    let query = async |sql: &str| access.observer.query(sql, &call()).await;
    let (bytes, printed) = product.bytes();
    let asked = format!("SELECT id, customer, total, NULL, {bytes} FROM orders WHERE id = 2 -- the second");
    assert_eq!(query(&asked).await.unwrap(), [["2", "c2", "2.5", "", printed]]);
    assert_eq!(
        query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n")
            .await
            .unwrap()
            .len(),
        3
    );
    let before = looks(&access).fingerprint(&call()).await.unwrap();
    for sql in [
        "DELETE FROM orders",
        "DELETE FROM orders RETURNING id",
        "WITH gone AS (SELECT 1) DELETE FROM log",
        "CREATE TABLE t (a INT)",
        "CREATE TEMP TABLE t (a INT)",
        "DROP TABLE log",
        "SELECT 1; DELETE FROM log",
        "SELECT 1; SELECT 2",
        "BEGIN",
        "COMMIT",
        "",
        "  -- nothing",
        "SELECT '\0'",
    ]
    .iter()
    .chain(product.wrong())
    {
        refused(product, FailureKind::Invalid, query(sql).await);
    }
    refused(product, FailureKind::NotFound, query("SELECT * FROM no_such").await);
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
}

pub async fn a_query_is_bounded(product: &dyn Product) {
    let access = product.access(true);
    let query = async |sql: String| access.observer.query(&sql, &call()).await;
    let numbers = |most: usize| {
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {most}) SELECT i FROM n")
    };
    assert_eq!(query(numbers(MAX_ROWS)).await.unwrap().len(), MAX_ROWS);
    refused(product, FailureKind::Invalid, query(numbers(MAX_ROWS + 1)).await);
    refused(product, FailureKind::Invalid, query(format!("SELECT {}", product.text_of(MAX_BYTES))).await);
    refused(product, FailureKind::Invalid, query(format!("SELECT {}", product.text_of(1_000_000_000))).await);
    refused(product, FailureKind::Invalid, query(format!("SELECT '{}'", "x".repeat(1 << 20))).await);
    let soon = CallCtx { deadline: Instant::now() + Duration::from_millis(200), ..call() };
    let began = Instant::now();
    refused(
        product,
        FailureKind::TimedOut,
        access
            .observer
            .query(&numbers(usize::MAX >> 2).replace("SELECT i FROM n", "SELECT max(i) FROM n"), &soon)
            .await,
    );
    assert!(began.elapsed() < Duration::from_secs(10), "the statement itself ends");
}

pub async fn statements_are_one_transaction(product: &dyn Product) {
    let access = product.access(true);
    let execute = async |sql: &str| access.mutator.execute(sql, &call()).await;
    assert_eq!(
        execute("UPDATE orders SET note = 'x' WHERE id <= 10; INSERT INTO log VALUES ('a'); SELECT 1").await.unwrap(),
        11
    );
    assert_eq!(product.ask("SELECT count(*) FROM orders WHERE note = 'x'"), ["10"]);
    let before = looks(&access).fingerprint(&call()).await.unwrap();
    refused(product, FailureKind::NotFound, execute("DELETE FROM orders; DELETE FROM no_such").await);
    refused(product, FailureKind::Failed, execute("DELETE FROM log; INSERT INTO orders (id) VALUES (1)").await);
    for sql in ["DELETE FROM log; COMMIT; SELECT nothing", "ROLLBACK", "BEGIN", ""] {
        refused(product, FailureKind::Invalid, execute(sql).await);
    }
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
}
