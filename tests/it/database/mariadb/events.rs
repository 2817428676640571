//! Events: what a database does by itself.
use super::*;

/// How often it has written.
fn ticks(shop: &Shop) -> u64 {
    shop.ask("SELECT count(*) FROM log WHERE line LIKE 'tick%'")[0].parse().unwrap()
}

async fn until_it_ticks(shop: &Shop) {
    let before = ticks(shop);
    let until = Instant::now() + Duration::from_secs(30);
    while ticks(shop) == before {
        assert!(Instant::now() < until, "the event does not act");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// It has been at work for as long as two of its rounds take, or it rests.
async fn it_rests(shop: &Shop) {
    let before = ticks(shop);
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert_eq!(ticks(shop), before, "the event acts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_acts_in_what_is_live_alone_and_rests_behind_a_fence() {
    SERVER.sql("SET GLOBAL event_scheduler = ON");
    let shop = Shop::new();
    let event = "ON SCHEDULE EVERY 1 SECOND DO INSERT INTO log VALUES";
    // By its application, whose it stays.
    shop.sql(&format!(
        "SET time_zone = '+03:00'; CREATE EVENT `ticks PRESERVE ENABLE` {event} ('tick'); CREATE EVENT off ON SCHEDULE EVERY 1 DAY DISABLE DO SELECT 1"
    ));
    until_it_ticks(&shop).await;
    let access = shop.access(true);
    let snapshot = take(&access).await;
    let shown = || {
        shop.ask(&format!("SELECT CONCAT_WS('|', EVENT_NAME, DEFINER, TIME_ZONE, STATUS, STARTS) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = '{}' ORDER BY 1", shop.database))
    };
    let before = shown();
    let in_copy = || SERVER.ask(&snapshot.place, "SELECT count(*) FROM log");
    let copied = in_copy();
    until_it_ticks(&shop).await;
    assert_eq!(in_copy(), copied);
    let message = refused(&shop, FailureKind::Conflict, changes(&access).exchange(&snapshot, &call()).await);
    assert!(message.contains("ticks"), "{message}");

    access.mutator.fence(Duration::from_secs(5), &call()).await.unwrap();
    it_rests(&shop).await;
    let refreshed = changes(&access).refresh(&snapshot, &call()).await.unwrap();
    assert!(refreshed.detector.starts_with("full compare ("), "a fence declares nothing: {}", refreshed.detector);
    assert_eq!(refreshed.fingerprint, looks(&access).fingerprint(&call()).await.unwrap());
    access.mutator.unfence(&call()).await.unwrap();
    until_it_ticks(&shop).await;
    assert_eq!(shown(), before, "as it was before the fence");

    // Another version has other ones.
    shop.sql(&format!("DROP EVENT `ticks PRESERVE ENABLE`; CREATE EVENT other {event} ('tick of the new one')"));
    access.mutator.fence(Duration::from_secs(5), &call()).await.unwrap();
    changes(&access).exchange(&refreshed, &call()).await.unwrap();
    it_rests(&shop).await;
    assert_eq!(looks(&access).fingerprint(&call()).await.unwrap(), refreshed.fingerprint);
    access.mutator.unfence(&call()).await.unwrap();
    assert_eq!(shown(), before);
    until_it_ticks(&shop).await;
    assert_eq!(shop.ask("SELECT count(*) FROM log WHERE line LIKE '%new one'"), ["0"]);
    shop.sql("DROP EVENT `ticks PRESERVE ENABLE`");
}
