//! Rehearsals that do not come to their end: nothing of them stays.
use super::{content, package, rehearse, still, twins};
use crate::support::{
    bench::{stat, wait_for},
    disk,
    disk::Disk,
    shop::Shop,
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    process::{Child, Output},
};

/// One that copies so slowly that it can be met.
fn slow(shop: &Shop) -> Child {
    let mut child = shop.spawn(&["rehearse", "--rate", "1kB", &package(shop)]);
    wait_for("a copy", || {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        shop.folder.path("state/rehearsal/trees/app").exists().then_some(())
    });
    child
}

fn end(child: Child, signal: Signal) -> Output {
    kill_process(Pid::from_child(&child), signal).unwrap();
    child.wait_with_output().unwrap()
}

fn runs(shop: &Shop) -> String {
    shop.expect(0, &["runs"])
}

#[test]
fn while_it_copies_nobody_else_begins() {
    let shop = still("");
    let before = content(&shop.folder.path("srv"));
    let child = slow(&shop);
    assert!(runs(&shop).contains("running"));
    let about = stat(child.id().try_into().unwrap()).unwrap();
    assert_eq!(about[16], "19", "the lowest priority");
    let said = shop.expect(3, &["rehearse", &package(&shop)]);
    assert!(said.contains("this site is being rehearsed on by run 1 (process "), "{said}");
    let said = shop.expect(3, &["upgrade", "--yes", &package(&shop)]);
    assert!(said.contains("is held by a rehearsal, which copies it (process "), "{said}");
    // Ctrl-C ends it clean.
    let output = end(child, Signal::INT);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("stopped as you wished; nothing of the rehearsal is left"), "{said}");
    assert!(!shop.folder.path("state/rehearsal").exists());
    assert!(content(&shop.folder.path("srv")) == before);
    assert!(runs(&shop).contains("failed"));
    shop.expect(0, &["audit"]);
}

#[test]
fn one_that_was_killed_while_it_copied_is_cleared_away_by_the_next() {
    let shop = still("");
    end(slow(&shop), Signal::KILL);
    assert!(shop.folder.path("state/rehearsal/trees/app").exists());
    assert!(runs(&shop).contains("interrupted"));
    // It is nothing that a run would have to go on with.
    shop.expect(3, &["resume"]);
    rehearse(&shop, 0);
    let said = runs(&shop);
    assert!(said.contains("failed") && !said.contains("interrupted"), "{said}");
    let said = shop.expect(0, &["show", "1"]);
    assert!(said.contains("it was cut off; nothing of it is left"), "{said}");
    shop.expect(0, &["audit"]);
}

/// With twins, which outlive who has started them.
#[test]
fn wherever_one_is_killed_the_next_one_clears_it_away() {
    let mut shop = still("");
    twins::with_twins(&shop, twins::COPY);
    shop.open();
    let app = shop.folder.path("srv/app");
    let before = content(&app);
    let started = shop.processes().len();
    let mut killed = 0;
    for at in [2, 4, 9, 16, 25, 36, 49] {
        let mut command = shop.command(&["rehearse", "--rate", "0", &package(&shop)]);
        let status = command.env("BACKOUT_CRASH_AT", at.to_string()).output().unwrap().status;
        killed += usize::from(status.code().is_none());
        rehearse(&shop, 0);
        assert_eq!(shop.processes().len(), started, "{at}");
        assert!(content(&app) == before, "{at}");
    }
    assert!(killed >= 5, "{killed}");
    assert_eq!(shop.version().as_deref(), Some("1.0.0"));
    shop.expect(0, &["audit"]);
}

#[test]
fn one_that_there_is_no_room_for_is_refused_before_it_begins() {
    disk::with_mounts("rehearse::cut_off::one_that_there_is_no_room_for_is_refused_before_it_begins", || {
        let shop = still("");
        fs::create_dir_all(shop.folder.path("state")).unwrap();
        let disk = Disk::under(&shop.folder.path("state"), "size=64m,mode=700");
        disk.fill(300 << 10);
        let said = shop.expect(3, &["rehearse", &package(&shop)]);
        assert!(said.contains("a rehearsal would take about") && said.contains("half of what is free"), "{said}");
        assert!(said.contains("make room on the file system of"), "{said}");
        assert!(!shop.folder.path("state/rehearsal").exists());
        disk.free();
        rehearse(&shop, 0);
    });
}

/// What cannot be cut off ends first.
#[test]
fn a_rehearsal_that_is_stopped_in_the_middle_leaves_nothing() {
    let shop = still("");
    let before = content(&shop.folder.path("srv"));
    shop.edit_site("[tool.migrate]", "[tool.migrate]\nrehearse = \"slow\"");
    let text = fs::read_to_string(shop.site()).unwrap();
    let script = "touch $BACKOUT_SCRATCH/begun; sleep 2";
    fs::write(shop.site(), format!("{text}\n[tool.slow]\nrun = [\"sh\", \"-c\", \"{script}\"]\n")).unwrap();
    let child = shop.spawn(&["rehearse", "--rate", "0", &package(&shop)]);
    wait_for("the tool", || shop.folder.path("state/rehearsal/begun").exists().then_some(()));
    let output = end(child, Signal::INT);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!shop.folder.path("state/rehearsal").exists());
    assert_eq!(shop.processes(), [0; 0]);
    assert!(content(&shop.folder.path("srv")) == before);
}
