//! Copying what is live: it is read and nothing more, and nobody who writes has to wait for it.
use super::{package, rehearse, still};
use crate::support::{bench::wait_for, shop::Shop};
use rusqlite::Connection;
use std::{
    process::Child,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

/// A database without a write-ahead log, of some megabytes.
fn large(shop: &Shop) -> Connection {
    let db = Connection::open(shop.folder.database()).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.query_row("PRAGMA journal_mode = delete", [], |_| Ok(())).unwrap();
    db.execute_batch("CREATE TABLE ballast(bytes)").unwrap();
    for _ in 0..8 {
        db.execute("INSERT INTO ballast VALUES (randomblob(1000000))", []).unwrap();
    }
    db
}

fn copying(shop: &Shop, rate: &str) -> Child {
    let mut child = shop.spawn(&["rehearse", "--rate", rate, &package(shop)]);
    let copy = shop.folder.path("state/rehearsal/databases/shop/shop.db");
    wait_for("a copy", || {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        copy.exists().then_some(())
    });
    child
}

#[test]
fn who_writes_meanwhile_is_not_kept_waiting_and_the_copy_is_of_one_moment() {
    let shop = still("");
    let db = large(&shop);
    let child = copying(&shop, "4MB");
    // In one transaction each: a copy that had only a part of one would differ from any moment.
    for n in 0..3 {
        db.execute_batch(&format!(
            "BEGIN; UPDATE customers SET name = 'a{n}'; INSERT INTO ballast VALUES ('b{n}'); COMMIT"
        ))
        .unwrap();
    }
    assert!(shop.folder.path("state/rehearsal/databases/shop/shop.db").exists(), "it still copies");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let mode: String = db.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
}

#[test]
fn what_is_written_to_all_the_time_is_not_copied_for_ever() {
    let shop = still("");
    let db = large(&shop);
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            let db = db;
            while !over.load(Ordering::Relaxed) {
                db.execute("UPDATE customers SET name = name || 'x' WHERE id = 1", []).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        });
        let output = shop.backout(&["rehearse", "--rate", "8MB", &package(&shop)]);
        over.store(true, Ordering::Relaxed);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(said.contains("database shop cannot be copied: it is written to all the time"), "{said}");
        assert!(!shop.folder.path("state/rehearsal").exists());
    });
    rehearse(&shop, 0);
}
