//! The journal's disk is full, that of the product is not: whatever happens there, its intent is on the disk before.
use super::*;
use crate::support::{
    bench::wait_for,
    script::{Script, lend},
};
use backout::{
    capability::files::ops::Write,
    gate::Error,
    journal::{Entry, Reader},
    resource::tree,
};
use std::time::Duration;

on_small_disks! {
    what_cannot_be_written_down_before_does_not_happen
    a_run_whose_journal_is_full_changes_nothing_more
}

fn what_cannot_be_written_down_before_does_not_happen() {
    let (mut before, mut after) = (0, 0);
    for room in (0..64).map(|pages| pages * 4096) {
        let folder = tempfile::tempdir().unwrap();
        let (app, state) = (folder.path().join("app"), folder.path().join("state"));
        fs::create_dir(&app).unwrap();
        let disk = Disk::under(&state, "size=1m");
        let live = || fs::read_to_string(app.join("conf")).unwrap_or_default();
        let section = tree::Section {
            path: app.clone(),
            exclude: Vec::new(),
            keep_aside: Duration::from_secs(3600),
            exclusive: true,
            archive: None,
        };
        let run = async {
            let mut script = Script::on(&state);
            let access = tree::drivers::open("app", &section, folder.path());
            script.resources.tree.0.insert("app".to_owned(), lend("tree", "app", access));
            disk.fill(room);
            for n in 0.. {
                let content = n.to_string().repeat(500).into_bytes();
                let write = Write { tree: "app".to_owned(), path: "conf".to_owned(), content: content.clone() };
                match script.call().perform(write).await {
                    Ok(_) => assert_eq!(live().into_bytes(), content),
                    Err(Error::Stop(stop)) => {
                        assert!(stop.to_string().contains("no room left"), "{stop}");
                        return (n, live().into_bytes() == content);
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
            unreachable!()
        };
        let (count, happened) = tokio::runtime::Runtime::new().unwrap().block_on(run);
        disk.free();
        let entries = Reader::open(&state.join("journal.db")).unwrap().entries(1).unwrap();
        let intents = entries.iter().filter(|r| matches!(r.entry, Entry::Intent(_))).count();
        // The one that failed is in the journal, or it never happened.
        assert!(intents >= count + usize::from(happened), "{room}: {intents} intents, {count} writes, {happened}");
        *if happened { &mut after } else { &mut before } += 1;
    }
    assert!(before > 0, "it was never the intent for which there was no room");
    println!("{before} stopped before the effect, {after} when it was to be recorded");
}

fn a_run_whose_journal_is_full_changes_nothing_more() {
    let host = Host::new(Version::V2Bad);
    let upgrade = host.shop.spawn(&["upgrade", "--yes", &host.package()]);
    let journal = host.shop.folder.path("state/journal.db");
    wait_for("the watch", || {
        let entries = Reader::open(&journal).ok()?.entries(1).ok()?;
        let watches = |r: &backout::journal::Recorded| r.place.title() == "upgrade/watch";
        entries.iter().any(|r| watches(r) && matches!(r.entry, Entry::StepStarted)).then_some(())
    });
    host.state.fill(0);
    let upgraded = host.shop.proof();
    let (code, said) = ended(upgrade);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("no room left"), "{said}");
    // The rollback that a failed watch would begin has not stopped the service, nor touched anything else.
    assert_eq!(host.shop.version().as_deref(), Some("2.0.0"));
    let changed = host.shop.proof().differences(&upgraded);
    assert!(changed.iter().all(|line| line.starts_with("rows of ")), "customers go on, and nobody else: {changed:?}");
    host.state.free();
    host.shop.expect(0, &["rollback", "--yes"]);
    host.shop.is_as(&host.before);
}
