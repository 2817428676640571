//! What acts on what the journal says does nothing when it is not what was written.
use crate::{half_way::forgetful, support::shop::Shop};
use backout::journal::Reader;
use std::{fs, os::unix::process::ExitStatusExt};

fn entries(shop: &Shop) -> usize {
    Reader::open(&shop.folder.path("state/journal.db")).unwrap().since(0).unwrap().len()
}

#[test]
fn nothing_is_taken_back_or_freed_by_another_past() {
    let (shop, package) = forgetful("true");
    shop.expect(0, &["prepare", "--yes", &package]);
    let mut upgrade = shop.command(&["upgrade", "--yes", &package]);
    let killed = upgrade.env("BACKOUT_CRASH_AT", "before tool.run on meanwhile").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
    let note = fs::read_to_string(shop.folder.path("srv/config/note.txt")).unwrap();
    let (copies, journal) = (shop.copies(), entries(&shop));
    let rename = |from: &str, to: &str| {
        let db = rusqlite::Connection::open(shop.folder.path("state/journal.db")).unwrap();
        db.execute("UPDATE entry SET step = ?2 WHERE run = 2 AND step = ?1", [from, to]).unwrap()
    };
    assert!(rename("shut", "shot") > 0);
    let commands: [&[&str]; 8] = [
        &["rollback", "--yes"],
        &["rollback", "--yes", "--to", "1"],
        &["rollback", "--yes", "--run", "2"],
        &["resume", "--yes"],
        &["commit", "--yes"],
        &["commit", "--yes", "1"],
        &["restore-points", "delete", "1", "--yes"],
        &["restore-points", "prune", "--keep", "1", "--yes"],
    ];
    for command in commands {
        let said = shop.expect(3, command);
        let told = "the journal is not what was written, so nobody knows what was done: entry ";
        assert!(said.contains(told) && said.contains("backout audit"), "{command:?}: {said}");
    }
    assert_eq!((shop.copies(), entries(&shop)), (copies, journal));
    assert_eq!(fs::read_to_string(shop.folder.path("srv/config/note.txt")).unwrap(), note);
    rename("shot", "shut");
    shop.expect(0, &["rollback", "--yes", "--run", "2"]);
    shop.expect(0, &["commit", "--yes"]);
}
