//! What is known afterwards of an operation whose end nobody has seen.
use super::*;
use backout::{
    capability::database::ops,
    gate::{Operation, Reconciled},
    resource::database::Executed,
};

pub async fn executed(access: &Access<Database>, evidence: &[Value]) -> Executed {
    access.observer.executed(evidence, &call()).await.unwrap()
}

pub async fn statements_are_known_by_their_evidence(product: &dyn Product) {
    let access = product.access(true);
    assert_eq!(executed(&access, &[]).await, Executed::NotDone, "nothing is irreversible before the evidence");
    let nothing = looks(&access).fingerprint(&call()).await.unwrap();
    for (sql, rows) in [
        ("UPDATE orders SET note = 'x' WHERE id <= 10", 10),
        (
            "UPDATE orders SET note = 'y' WHERE id <= 10; INSERT INTO log VALUES ('a'); DELETE FROM log WHERE line = 'a'",
            12,
        ),
        ("CREATE TABLE parcels (id INTEGER PRIMARY KEY)", 0),
        ("DROP TABLE parcels", 0),
        ("UPDATE orders SET note = 'note ' || id WHERE id <= 10", 10),
        ("DELETE FROM log WHERE line = 'nobody'", 0),
        ("SELECT 1", 0),
    ] {
        if sql.contains(" TABLE ") && !product.declares_in_transactions() {
            continue;
        }
        let seen = Arc::<Seen>::default();
        assert_eq!(access.mutator.execute(sql, &call_seen(&seen)).await.unwrap(), rows, "{sql}");
        let evidence = seen.evidence.lock().unwrap().clone();
        // Killed at the end, and right after they took effect.
        for evidence in [&evidence[..], &evidence[..1]] {
            assert_eq!(executed(&access, evidence).await, Executed::Done { rows }, "{sql}");
        }
        assert!(evidence.iter().all(|data| data.to_string().len() < 300), "{evidence:?}");
    }
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), nothing, "the mark is part of no content");
    for sql in
        ["DELETE FROM orders; DELETE FROM no_such", "DELETE FROM log; INSERT INTO orders (id) VALUES (1)", "BEGIN", ""]
    {
        let seen = Arc::<Seen>::default();
        access.mutator.execute(sql, &call_seen(&seen)).await.unwrap_err();
        assert_eq!(*seen.evidence.lock().unwrap(), [Value::Null; 0], "{sql}");
    }
}

pub async fn statements_that_were_not_committed_are_not_done(product: &dyn Product) {
    let access = product.access(true);
    let before = looks(&access).fingerprint(&call()).await.unwrap();
    for sql in ["DELETE FROM log", "CREATE TABLE parcels (id INTEGER PRIMARY KEY); INSERT INTO parcels VALUES (1)"] {
        if sql.contains(" TABLE ") && !product.declares_in_transactions() {
            product.sql("CREATE TABLE parcels (id INTEGER PRIMARY KEY)");
            continue;
        }
        let broken = Arc::new(Seen { broken: true, ..Seen::default() });
        let failure = access.mutator.execute(sql, &call_seen(&broken)).await.unwrap_err();
        assert!(failure.message.contains("the power failed"), "{failure}");
        let evidence = broken.evidence.lock().unwrap().clone();
        assert_eq!(evidence.len(), 1);
        assert_eq!(executed(&access, &evidence).await, Executed::NotDone);
        product.sql("INSERT INTO log VALUES ('by the product'); CREATE TABLE own (a INT); DROP TABLE own");
        assert_eq!(executed(&access, &evidence).await, Executed::NotDone, "others write, and change the schema");
        product.sql("DELETE FROM log WHERE line = 'by the product'");
        // As the run that goes on does it.
        let seen = Arc::<Seen>::default();
        let rows = access.mutator.execute(sql, &call_seen(&seen)).await.unwrap();
        let both = [evidence, seen.evidence.lock().unwrap()[..1].to_vec()].concat();
        assert_eq!(executed(&access, &both).await, Executed::Done { rows });
    }
    product.sql("INSERT INTO log VALUES ('one'), ('two'), ('three'); DROP TABLE parcels");
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), before);
    // The time is over before they are committed.
    let (seen, soon) = (Arc::new(Seen { slow: true, ..Seen::default() }), Instant::now() + Duration::from_millis(700));
    let late = CallCtx { deadline: soon, ..call_seen(&seen) };
    refused(product, FailureKind::TimedOut, access.mutator.execute("DELETE FROM log", &late).await);
    let evidence = seen.evidence.lock().unwrap().clone();
    assert_eq!((evidence.len(), executed(&access, &evidence).await), (1, Executed::NotDone));
}

pub async fn what_is_known_of_statements_survives_all_but_another_file(product: &dyn Product) {
    let access = product.access(true);
    let snapshot = take(&access).await;
    let seen = Arc::<Seen>::default();
    access.mutator.execute("DELETE FROM log", &call_seen(&seen)).await.unwrap();
    let evidence = seen.evidence.lock().unwrap()[..1].to_vec();
    let done = Executed::Done { rows: 3 };
    product.sql("INSERT INTO log VALUES ('more'); CREATE TABLE parcels (id INTEGER PRIMARY KEY)");
    if product.is_file() {
        product.sql("VACUUM");
    }
    assert_eq!(executed(&access, &evidence).await, done);
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
    assert_eq!(executed(&product.access(true), &evidence).await, done, "behind a fence, by another Backout");
    let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    changes(&access).exchange(&refreshed, &call()).await.unwrap();
    let Executed::Unclear(look) = executed(&access, &evidence).await else { panic!("it is another one") };
    assert!(look.contains("another ") && look.contains("3 rows"), "{look}");
    let Executed::Unclear(look) = executed(&access, &[serde_json::json!({ "from": "elsewhere" })]).await else {
        panic!()
    };
    assert!(look.contains("cannot be read"), "{look}");
}

/// Two attempts of a step with one id: the first one, whose time was over, must not take away what the second one makes.
pub async fn an_operation_on_copies_that_was_given_up_is_waited_for(product: &dyn Product) {
    let access = product.access(true);
    let given_up = call();
    for wait in [0, 2, 5, 10, 20] {
        let take = changes(&access).take("7-shop", &given_up);
        let _ = tokio::time::timeout(Duration::from_millis(wait), take).await;
        looks(&access).quiet(&call()).await.unwrap();
        let snapshot = changes(&access).take("7-shop", &call()).await.unwrap();
        looks(&access).inspect(&snapshot, &call()).await.unwrap();
    }
}

pub async fn a_fence_is_reconciled_by_what_stands(product: &dyn Product) {
    let access = product.access(true);
    let (fence, unfence) =
        (ops::Fence { database: "shop".into(), within: 0 }, ops::Unfence { database: "shop".into() });
    let done = async || {
        let fence = fence.reconcile(&*access.observer, &[], &call()).await.unwrap();
        let unfence = unfence.reconcile(&*access.observer, &[], &call()).await.unwrap();
        (matches!(fence, Reconciled::Done(())), matches!(unfence, Reconciled::Done(())))
    };
    assert_eq!(done().await, (false, true));
    fence.execute(&*access.mutator, &call()).await.unwrap();
    assert_eq!(done().await, (true, false));
    unfence.execute(&*access.mutator, &call()).await.unwrap();
    assert_eq!(done().await, (false, true));
}
