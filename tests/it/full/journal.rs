//! The disk of Backout's own state is full: journal, reports, compiled scripts, kept packages.
use super::*;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

on_small_disks! {
    no_run_begins_without_room_for_it
    a_run_ends_well_or_can_be_taken_back_wherever_its_journal_fills_up
    what_was_done_and_could_not_be_written_down_is_settled_later
}

fn no_run_begins_without_room_for_it() {
    let host = Host::new(Version::V2Good);
    for room in [0, 20_000, 60_000] {
        host.state.fill(room);
        let output = host.shop.backout(&["prepare", "--yes", &host.package()]);
        let said = text(&output);
        assert!(matches!(output.status.code(), Some(1 | 3 | 5)), "{room}: {said}");
        assert!(said.contains("no room") || said.contains("No space left"), "{room}: {said}");
        host.state.free();
        println!("{room}: {said}");
        host.shop.is_as(&host.before);
    }
    // Where compiled scripts have no room: they are kept for the speed of the next start alone.
    let cache = host.shop.folder.path("state/cache");
    let full = Disk::under(&cache, "size=64k");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o700)).unwrap();
    host.shop.expect(0, &["prepare", "--yes", &host.package()]);
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
    drop(full);
    host.shop.expect(0, &["commit", "--yes"]);
    host.untouched();
}

const HOSTS: u64 = 4;
const POINTS: u64 = 20;

fn a_run_ends_well_or_can_be_taken_back_wherever_its_journal_fills_up() {
    let (next, seen) = (AtomicU64::new(0), Mutex::new(BTreeMap::<Option<i32>, u32>::new()));
    thread::scope(|scope| {
        for _ in 0..HOSTS {
            scope.spawn(|| {
                let host = Host::new(Version::V2Bad);
                let usual = usual(&host);
                host.shop.expect(0, &["commit", "--yes"]);
                loop {
                    let point = next.fetch_add(1, Ordering::Relaxed);
                    if point >= POINTS {
                        return;
                    }
                    let code = with_room(&host, usual * point / (POINTS - 1) / 4096 * 4096);
                    *seen.lock().unwrap().entry(code).or_default() += 1;
                }
            });
        }
    });
    // Before anything, half-way, and to the end: else the sizes were not spread over the run.
    let seen = seen.into_inner().unwrap();
    assert!([Some(1), Some(4), Some(5)].iter().all(|code| seen.contains_key(code)), "{seen:?}");
}

/// The most that an upgrade takes which goes back by itself.
fn usual(host: &Host) -> u64 {
    let before = host.state.left();
    let mut least = before;
    let mut child = host.shop.spawn(&["upgrade", "--yes", &host.package()]);
    while child.try_wait().unwrap().is_none() {
        least = least.min(host.state.left());
        thread::sleep(Duration::from_millis(5));
    }
    let (code, said) = ended(child);
    assert_eq!(code, Some(4), "{said}");
    before - least
}

/// An upgrade that goes back by itself, with so much room for what it writes down.
fn with_room(host: &Host, room: u64) -> Option<i32> {
    host.state.fill(room);
    let output = host.shop.backout(&["upgrade", "--yes", &host.package()]);
    host.state.free();
    let (code, said) = (output.status.code(), text(&output));
    println!("{room} bytes: {code:?}\n{said}");
    match code {
        Some(4) => {}
        Some(1 | 3) => host.shop.is_as(&host.before),
        Some(5) => {
            assert!(said.contains("no room left"), "{said}");
            if said.contains("backout rollback") {
                host.shop.expect(0, &["rollback", "--yes"]);
            }
        }
        other => panic!("exit code {other:?}: {said}"),
    }
    host.shop.is_as(&host.before);
    if !host.shop.copies().is_empty() {
        let output = host.shop.backout(&["commit", "--yes"]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
    host.untouched();
    code
}

/// A tool fills the disk while it is at work: it has happened, and only the real state knows.
fn what_was_done_and_could_not_be_written_down_is_settled_later() {
    let host = Host::new(Version::V2Good);
    let tool = host.shop.folder.path("migrate.sh");
    fs::write(
        &tool,
        "#!/bin/sh\nsrv/app/current/bin/shop \"$@\" && : > migrated && cat /dev/zero > state/filler\nexit 0\n",
    )
    .unwrap();
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).unwrap();
    host.shop.edit_site("\"srv/app/current/bin/shop\", \"migrate\"", "\"./migrate.sh\", \"migrate\"");
    let said = host.shop.expect(5, &["upgrade", "--yes", &host.package()]);
    println!("{said}");
    assert!(host.shop.folder.path("migrated").exists());
    assert!(said.contains("tool.run on tool migrate was begun, its end is not recorded"), "{said}");
    assert!(said.contains("there is no room left on its disk"), "{said}");
    assert!(said.contains("backout rollback"), "{said}");
    let stuck = host.shop.backout(&["rollback", "--yes"]);
    assert_eq!(stuck.status.code(), Some(1), "{}", text(&stuck));
    assert!(text(&stuck).contains("hint: make room"), "{}", text(&stuck));
    host.state.free();
    host.shop.expect(0, &["rollback", "--yes"]);
    host.shop.is_as(&host.before);
}
