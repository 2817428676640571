//! What every database driver has to do, whatever is behind it. A driver joins with a `Product` and a line in `every_driver!`.
mod done;
mod mariadb;
mod postgres;
mod sql;
mod sqlite;

use async_trait::async_trait;
use backout::resource::{
    Access, CallCtx, Clock, Failure, FailureKind, Progress, Witness,
    copies::{Copied, Exchange, Lost, MutateCopies, ObserveCopies, Restored, Snapshot},
    database::{COUNTING, Database, MAX_BYTES, MAX_ROWS},
};
use done::*;
use serde_json::Value;
use sql::*;
use std::{
    fmt::Debug,
    future::Future,
    pin::Pin,
    process::Child,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// A product with a database, as it is without Backout: `orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL, note TEXT)`
/// with the rows 1 to 1000, `items (order_id, line, name, PRIMARY KEY (order_id, line))`, two of each order, `log (line)`
/// without a key, three rows. Everything that it does, it does from another process.
#[async_trait]
trait Product: Send + Sync {
    /// As the site names it, `exclusive` or not.
    fn access(&self, exclusive: bool) -> Access<Database>;
    fn may_connect(&self) -> bool;
    fn sql(&self, sql: &str);
    /// The first column of the answer.
    fn ask(&self, sql: &str) -> Vec<String>;
    /// Somebody who is connected, and idle.
    fn connected(&self) -> Connected;
    /// Writes a row into `log` again and again, until it is told to stop. How many it has written.
    fn busy(&self) -> Busy;
    /// As a disk would do it that loses a sector.
    fn damage(&self, copy: &Snapshot);
    /// The path of what a restore has set aside opens, and answers.
    fn ask_aside(&self, aside: &str, sql: &str) -> Vec<String>;
    /// What no message to a script may contain.
    fn secret(&self) -> String;
    /// Whether it is a file, opened by processes; else it is on a server, which has sessions.
    fn is_file(&self) -> bool {
        true
    }
    /// Expressions in its own SQL: the bytes 0a and ff, and how they come back; a text of so many bytes; one far too big.
    fn bytes(&self) -> (&str, &str) {
        ("x'0aff'", "0aff")
    }
    fn text_of(&self, length: usize) -> String {
        format!("printf('%{length}s', 'x')")
    }
    /// What no query may say, besides what none may say anywhere.
    fn wrong(&self) -> &[&str] {
        &["SELECT"]
    }
    /// Whether what is declared is part of a transaction.
    fn declares_in_transactions(&self) -> bool {
        true
    }
    /// How its copies are kept.
    fn method(&self) -> &'static str {
        "stand-by"
    }
    /// What clients call themselves.
    fn client(&self) -> &'static str {
        "python3"
    }
}

struct Connected {
    child: Child,
    /// of the process, or of the session
    pid: u32,
}
impl Connected {
    fn pid(&self) -> u32 {
        self.pid
    }
}
impl From<Child> for Connected {
    fn from(child: Child) -> Self {
        Self { pid: child.id(), child }
    }
}
impl Drop for Connected {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
struct Busy {
    _process: Connected,
    written: Box<dyn Fn() -> u64 + Send>,
}
impl Busy {
    fn written(&self) -> u64 {
        (self.written)()
    }
}

#[derive(Default)]
struct Seen {
    evidence: Mutex<Vec<Value>>,
    news: Mutex<Vec<String>>,
    /// It takes the evidence, and is gone then.
    broken: bool,
    slow: bool,
}
impl Witness for Seen {
    fn evidence(&self, data: Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        self.evidence.lock().unwrap().push(data);
        Box::pin(async {
            if self.slow {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            if self.broken { Err(Failure::failed("the power failed")) } else { Ok(()) }
        })
    }
}
impl Progress for Seen {
    fn progress(&self, text: &str, done: u64, total: u64) {
        assert!(done <= total || total == 0, "{text}: {done} of {total}");
        self.news.lock().unwrap().push(text.to_owned());
    }
}

fn call_seen(seen: &Arc<Seen>) -> CallCtx {
    CallCtx {
        clock: Clock::Real,
        earlier: None,
        key: "1/prepare/copy/1/1".into(),
        deadline: Instant::now() + Duration::from_secs(120),
        cancel: CancellationToken::new(),
        witness: seen.clone(),
        progress: seen.clone(),
    }
}
fn call() -> CallCtx {
    call_seen(&Arc::default())
}

/// What a script would be told.
#[track_caller]
fn refused<T: Debug>(product: &dyn Product, kind: FailureKind, result: Result<T, Failure>) -> String {
    let failure = result.unwrap_err();
    assert_eq!(failure.kind, kind, "{failure}");
    assert!(!failure.message.contains(&product.secret()), "tells a path of the host: {failure}");
    failure.message
}

fn looks(access: &Access<Database>) -> &dyn ObserveCopies {
    Database::observe(&*access.observer)
}
fn changes(access: &Access<Database>) -> &dyn MutateCopies {
    Database::mutate(&*access.mutator)
}
async fn take(access: &Access<Database>) -> Snapshot {
    changes(access).take("7-shop", &call()).await.unwrap()
}
/// What an exchange has set aside, whether it counted that itself or left it for later.
async fn lost_by(access: &Access<Database>, snapshot: &Snapshot, restored: &Restored) -> Vec<Lost> {
    if restored.lost != [Lost::later()] {
        return restored.lost.clone();
    }
    changes(access).counted(snapshot, &call()).await.unwrap()
}
fn lost(part: &str, rows: u64, changed: u64, missing: u64) -> Lost {
    Lost { part: part.into(), rows, changed, missing }
}

/// Each test on each driver.
macro_rules! every_driver {
    ($($driver:ident = $product:expr;)*) => { each_driver!{ [$($driver = $product;)*]
        a_copy_is_proven_while_the_product_writes
        taking_again_starts_over
        a_refresh_copies_what_has_changed
        a_refresh_without_a_fence_copies_all_of_it
        an_exchange_brings_the_copy_back_and_keeps_what_was_live
        an_exchange_can_be_looked_at_from_its_evidence
        an_exchange_is_refused_while_somebody_is_connected
        an_exchange_is_refused_when_the_copy_is_damaged
        only_what_belongs_to_the_product_alone_is_exchanged
        nothing_is_begun_when_the_time_is_over
        a_stopped_run_finishes_what_it_has_begun
        a_fence_keeps_applications_out_and_lets_backout_in
        a_fence_waits_and_names_who_is_connected
        everything_works_behind_the_fence
        loss_is_counted_by_key
        loss_survives_another_schema
        a_discarded_snapshot_leaves_nothing
        a_query_only_reads
        a_query_is_bounded
        statements_are_one_transaction
        statements_are_known_by_their_evidence
        statements_that_were_not_committed_are_not_done
        what_is_known_of_statements_survives_all_but_another_file
        an_operation_on_copies_that_was_given_up_is_waited_for
        a_fence_is_reconciled_by_what_stands
        who_is_connected_is_known
        a_fingerprint_finds_one_changed_value
    } };
}
macro_rules! each_driver {
    ([$($driver:ident = $product:expr;)*] $first:ident $($rest:ident)*) => {
        mod $first { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $driver() {
                super::$first(&$product).await
            }
        )* }
        each_driver!{ [$($driver = $product;)*] $($rest)* }
    };
    ([$($driver:ident = $product:expr;)*]) => {};
}
every_driver! {
    sqlite_wal = super::sqlite::Shop::new("wal");
    sqlite_rollback_journal = super::sqlite::Shop::new("delete");
    sqlite_archived = super::sqlite::archive::Shop::new("wal");
    postgres = super::postgres::Shop::new();
    postgres18 = super::postgres::Shop::on_18();
    mariadb = super::mariadb::Shop::new();
    mariadb11 = super::mariadb::Shop::on_11();
}

async fn a_copy_is_proven_while_the_product_writes(product: &dyn Product) {
    let access = product.access(true);
    let busy = product.busy();
    for _ in 0..3 {
        let before = busy.written();
        let snapshot = take(&access).await;
        assert!(snapshot.proven);
        assert_eq!(
            (&*snapshot.id, &*snapshot.method, &*snapshot.detector),
            ("7-shop", product.method(), "full compare")
        );
        assert!(snapshot.bytes > 0);
        let count = |name: &str| snapshot.fingerprint.parts.iter().find(|p| p.name == name).unwrap().count;
        assert_eq!((count("orders"), count("items")), (1000, 2000));
        assert!(count("log") >= 3 + before, "what was written before is in it");
        assert_eq!(snapshot.copied, snapshot.fingerprint.count());
        looks(&access).inspect(&snapshot, &call()).await.unwrap();
    }
    let written = busy.written();
    drop(busy);
    assert!(written > 0, "the product was really writing");
    let log: u64 = product.ask("SELECT count(*) FROM log")[0].parse().unwrap();
    assert!(log >= 3 + written, "nothing that it wrote was lost");
}

async fn taking_again_starts_over(product: &dyn Product) {
    let access = product.access(true);
    let first = take(&access).await;
    product.sql("DELETE FROM log");
    let second = take(&access).await;
    assert_eq!(second.fingerprint.differences(&first.fingerprint), ["log has 0, had 3"]);
    looks(&access).inspect(&second, &call()).await.unwrap();
    if product.method() == "stand-by" {
        refused(product, FailureKind::Unproven, looks(&access).inspect(&first, &call()).await);
    }
}

async fn a_refresh_copies_what_has_changed(product: &dyn Product) {
    let access = product.access(true);
    let taken = take(&access).await;
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    let unchanged = changes(&access).refresh(&taken, &call()).await.unwrap();
    assert_eq!((unchanged.copied, &unchanged.fingerprint), (0, &taken.fingerprint));
    access.mutator.unfence(&call()).await.unwrap();
    product.sql("UPDATE orders SET note = 'late' WHERE id = 500");
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    let refreshed = changes(&access).refresh(&taken, &call()).await.unwrap();
    assert!(refreshed.proven);
    assert_ne!(refreshed.detector, "");
    assert!(refreshed.copied > 0 && refreshed.copied < 20, "{} for one row", refreshed.copied);
    assert_eq!(refreshed.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    assert_eq!(refreshed.fingerprint.differences(&taken.fingerprint), ["orders has other content"]);
    looks(&access).inspect(&refreshed, &call()).await.unwrap();
    let again = changes(&access).refresh(&refreshed, &call()).await.unwrap();
    assert_eq!((again.copied, again.fingerprint), (0, refreshed.fingerprint));
    // The journal may know the older one still, when the host was killed before it wrote down the newer one.
    let again = changes(&access).refresh(&taken, &call()).await.unwrap();
    looks(&access).inspect(&again, &call()).await.unwrap();
}

async fn a_refresh_without_a_fence_copies_all_of_it(product: &dyn Product) {
    let access = product.access(true);
    let taken = take(&access).await;
    let busy = product.busy();
    while busy.written() < 5 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refreshed = changes(&access).refresh(&taken, &call()).await.unwrap();
    assert!(refreshed.proven);
    assert!(refreshed.fingerprint.count() >= taken.fingerprint.count() + 5);
}

async fn an_exchange_brings_the_copy_back_and_keeps_what_was_live(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    product.sql("INSERT INTO orders (id, note) VALUES (1001, 'new'); UPDATE items SET name = 'x' WHERE order_id = 3; DELETE FROM log");
    let restored = changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert!(restored.exchanged);
    let counted = lost_by(&access, &snapshot, &restored).await;
    assert_eq!(counted, [lost("items", 0, 2, 0), lost("log", 0, 0, 3), lost("orders", 1, 0, 0)]);
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), snapshot.fingerprint);
    assert_eq!(product.ask("SELECT count(*) FROM orders"), ["1000"]);
    product.sql("INSERT INTO orders (id) VALUES (1001)");
    let aside = restored.aside.unwrap();
    assert_eq!(product.ask_aside(&aside, "SELECT note FROM orders WHERE id = 1001"), ["new"]);
    assert_eq!(product.ask_aside(&aside, "SELECT count(*) FROM items WHERE name = 'x'"), ["2"]);
    // There is one way back, not two.
    refused(product, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    refused(product, FailureKind::Conflict, changes(&access).take(&snapshot.id, &call()).await);
    refused(product, FailureKind::Conflict, changes(&access).refresh(&snapshot, &call()).await);
    assert_eq!(product.ask_aside(&aside, "SELECT note FROM orders WHERE id = 1001"), ["new"]);
}

async fn an_exchange_can_be_looked_at_from_its_evidence(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    assert_eq!(looks(&access).exchanged(&snapshot, &[]).await.unwrap(), Exchange::NotDone);
    product.sql("DELETE FROM log");
    let seen = Arc::<Seen>::default();
    let restored = changes(&access).exchange(&snapshot, &call_seen(&seen)).await.unwrap();
    let evidence = seen.evidence.lock().unwrap().clone();
    assert_eq!(evidence.len(), 1);
    let done = looks(&access).exchanged(&snapshot, &evidence).await.unwrap();
    // What a reconciliation reports afterwards is what the exchange would have reported.
    let counted = lost_by(&access, &snapshot, &restored).await;
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), counted);
    assert_eq!(done, Exchange::Done { aside: restored.aside.unwrap() });
    let fresh = product.access(true);
    assert_eq!(looks(&fresh).exchanged(&snapshot, &evidence).await.unwrap(), done);
}

async fn an_exchange_is_refused_while_somebody_is_connected(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    product.sql("DELETE FROM log");
    let connected = product.connected();
    let seen = Arc::<Seen>::default();
    let message =
        refused(product, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call_seen(&seen)).await);
    assert!(message.contains(&connected.pid().to_string()), "{message}");
    assert_eq!(seen.evidence.lock().unwrap().len(), 0);
    drop(connected);
    assert_eq!(product.ask("SELECT count(*) FROM log"), ["0"], "nothing was exchanged");
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert_eq!(product.ask("SELECT count(*) FROM log"), ["3"]);
}

async fn an_exchange_is_refused_when_the_copy_is_damaged(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    product.sql("DELETE FROM log");
    product.damage(&snapshot);
    refused(product, FailureKind::Unproven, looks(&access).inspect(&snapshot, &call()).await);
    refused(product, FailureKind::Unproven, changes(&access).exchange(&snapshot, &call()).await);
    assert_eq!(product.ask("SELECT count(*) FROM log"), ["0"], "nothing was exchanged");
    // What is live is whole, so a refresh can make a copy of it again.
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    looks(&access).inspect(&refreshed, &call()).await.unwrap();
}

async fn only_what_belongs_to_the_product_alone_is_exchanged(product: &dyn Product) {
    let access = product.access(false);
    let snapshot = take(&access).await;
    product.sql("DELETE FROM log");
    refused(product, FailureKind::Denied, changes(&access).exchange(&snapshot, &call()).await);
    assert_eq!(product.ask("SELECT count(*) FROM log"), ["0"]);
}

async fn nothing_is_begun_when_the_time_is_over(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    product.sql("DELETE FROM log");
    let late = || CallCtx { deadline: Instant::now(), ..call() };
    refused(product, FailureKind::TimedOut, changes(&access).exchange(&snapshot, &late()).await);
    refused(product, FailureKind::TimedOut, changes(&access).take("8-shop", &late()).await);
    refused(product, FailureKind::TimedOut, access.mutator.execute("DELETE FROM items", &late()).await);
    refused(product, FailureKind::TimedOut, access.observer.query("SELECT 1", &late()).await);
    assert_eq!(product.ask("SELECT count(*) FROM log UNION ALL SELECT count(*) FROM items"), ["0", "2000"]);
}

async fn a_stopped_run_finishes_what_it_has_begun(product: &dyn Product) {
    let access = product.access(true);
    let stopped = call();
    stopped.cancel.cancel();
    let snapshot = changes(&access).take("7-shop", &stopped).await.unwrap();
    access.mutator.fence(Duration::ZERO, &stopped).await.unwrap();
    access.mutator.execute("DELETE FROM log", &stopped).await.unwrap();
    let refreshed = changes(&access).refresh(&snapshot, &stopped).await.unwrap();
    access.mutator.execute("DELETE FROM items", &stopped).await.unwrap();
    changes(&access).exchange(&refreshed, &stopped).await.unwrap();
    access.mutator.unfence(&stopped).await.unwrap();
    assert_eq!(product.ask("SELECT count(*) FROM log UNION ALL SELECT count(*) FROM items"), ["0", "2000"]);
    refused(
        product,
        FailureKind::TimedOut,
        access
            .observer
            .query("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", &stopped)
            .await,
    );
}

async fn a_fence_keeps_applications_out_and_lets_backout_in(product: &dyn Product) {
    let access = product.access(true);
    let before = looks(&access).fingerprint(&call()).await.unwrap();
    assert!(!access.observer.fenced().await.unwrap());
    access.mutator.unfence(&call()).await.unwrap();
    assert!(product.may_connect());
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    assert!(access.observer.fenced().await.unwrap());
    assert!(!product.may_connect());
    assert!(!product.may_connect(), "the first one has not made a way");
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
    // From another process, long after.
    let fresh = product.access(true);
    assert!(fresh.observer.fenced().await.unwrap());
    fresh.mutator.unfence(&call()).await.unwrap();
    fresh.mutator.unfence(&call()).await.unwrap();
    assert!(!access.observer.fenced().await.unwrap());
    assert!(product.may_connect());
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
}

async fn a_fence_waits_and_names_who_is_connected(product: &dyn Product) {
    let access = product.access(true);
    let connected = product.connected();
    let began = Instant::now();
    if !product.is_file() {
        // A server ends who does not leave.
        let seen = Arc::<Seen>::default();
        access.mutator.fence(Duration::from_millis(300), &call_seen(&seen)).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(300));
        let named = |news: &String| news.contains(product.client()) && news.contains(&connected.pid().to_string());
        assert!(seen.news.lock().unwrap().iter().any(named), "{:?}", seen.news);
        assert_eq!(access.observer.activity(&call()).await.unwrap(), []);
        assert!(!product.may_connect());
        return;
    }
    let message =
        refused(product, FailureKind::TimedOut, access.mutator.fence(Duration::from_millis(300), &call()).await);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(message.contains(product.client()) && message.contains(&connected.pid().to_string()), "{message}");
    assert!(!access.observer.fenced().await.unwrap());
    assert!(product.may_connect(), "a fence that did not come about leaves nothing");
    let soon = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        drop(connected);
    });
    access.mutator.fence(Duration::from_secs(30), &call()).await.unwrap();
    soon.join().unwrap();
    assert!(!product.may_connect());
}

async fn everything_works_behind_the_fence(product: &dyn Product) {
    let access = product.access(true);
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    let snapshot = take(&access).await;
    assert_eq!(access.mutator.execute("DELETE FROM log", &call()).await.unwrap(), 3);
    assert_eq!(access.observer.query("SELECT count(*) FROM log", &call()).await.unwrap(), [["0"]]);
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), [lost("log", 0, 0, 3)]);
    changes(&access).exchange(&snapshot, &call()).await.unwrap();
    assert!(access.observer.fenced().await.unwrap(), "the fence stays");
    assert!(!product.may_connect());
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(product.ask("SELECT count(*) FROM log"), ["3"]);
    changes(&access).discard(&snapshot, &call()).await.unwrap();
    assert_eq!(product.ask("SELECT count(*) FROM log"), ["3"]);
}

async fn loss_is_counted_by_key(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), []);
    product.sql(
        "INSERT INTO orders (id, total) VALUES (1001, 1), (1002, 2);
         UPDATE orders SET note = NULL WHERE id BETWEEN 11 AND 15;
         DELETE FROM orders WHERE id = 20;
         INSERT INTO items VALUES (5, 3, 'third');
         UPDATE items SET name = 'other' WHERE order_id = 6 AND line = 1;
         INSERT INTO log VALUES ('more')",
    );
    let expected = [lost("items", 1, 1, 0), lost("log", 1, 0, 0), lost("orders", 2, 5, 1)];
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), expected);
    // Looking twice is the same as looking once.
    assert_eq!(looks(&access).loss(&snapshot, &call()).await.unwrap(), expected);
}

async fn loss_survives_another_schema(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    product.sql(
        "ALTER TABLE orders DROP COLUMN note;
         ALTER TABLE orders ADD COLUMN currency TEXT DEFAULT 'EUR';
         UPDATE orders SET total = total + 1 WHERE id = 1;
         DROP TABLE log;
         CREATE TABLE parcels (id INTEGER PRIMARY KEY); INSERT INTO parcels VALUES (1), (2)",
    );
    let found = looks(&access).loss(&snapshot, &call()).await.unwrap();
    assert_eq!(found, [lost("orders", 0, 1, 0), lost("parcels", 2, 0, 0), lost("log", 0, 0, 3)]);
}

async fn a_discarded_snapshot_leaves_nothing(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    let freed = changes(&access).discard(&snapshot, &call()).await.unwrap();
    assert!(freed >= snapshot.bytes || product.method() == "archive", "{freed} of {}", snapshot.bytes);
    assert_eq!(changes(&access).discard(&snapshot, &call()).await.unwrap(), 0);
    refused(product, FailureKind::Unproven, changes(&access).exchange(&snapshot, &call()).await);
    assert_eq!(product.ask("SELECT count(*) FROM orders"), ["1000"]);
    let snapshot = take(&access).await;
    product.sql("DELETE FROM log");
    let aside = changes(&access).exchange(&snapshot, &call()).await.unwrap().aside.unwrap();
    assert!(changes(&access).discard(&snapshot, &call()).await.unwrap() > 0);
    assert!(!std::path::Path::new(&aside).exists());
    assert_eq!(product.ask("SELECT count(*) FROM log"), ["3"]);
}

async fn who_is_connected_is_known(product: &dyn Product) {
    let access = product.access(true);
    assert_eq!(access.observer.activity(&call()).await.unwrap(), []);
    let connected = product.connected();
    let sessions = access.observer.activity(&call()).await.unwrap();
    assert_eq!(sessions.len(), 1);
    assert!(
        sessions[0].who.contains(product.client()) && sessions[0].who.contains(&connected.pid().to_string()),
        "{sessions:?}"
    );
    assert!(sessions[0].age_seconds < 3600 && !sessions[0].state.is_empty(), "{sessions:?}");
}

async fn a_fingerprint_finds_one_changed_value(product: &dyn Product) {
    let access = product.access(true);
    let fingerprint = async || looks(&access).fingerprint(&call()).await.unwrap();
    let before = fingerprint().await;
    assert_eq!(before.parts.iter().map(|p| &*p.name).collect::<Vec<_>>(), ["items", "log", "orders"]);
    assert_eq!(before.count(), 3003);
    product.sql("UPDATE orders SET total = total + 0.001 WHERE id = 777");
    assert_eq!(fingerprint().await.differences(&before), ["orders has other content"]);
    product.sql("UPDATE orders SET total = 777.5 WHERE id = 777");
    assert_eq!(fingerprint().await, before);
    product.sql("CREATE INDEX by_customer ON orders (customer)");
    assert_eq!(fingerprint().await.differences(&before), ["the schema differs"]);
    product.sql("DROP INDEX by_customer");
    assert_eq!(fingerprint().await, before);
}
