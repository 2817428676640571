//! The journal as a chain, reckoned by the description in `docs/journal.md` and nothing of Backout's own code.
use super::{begin, ended, install, nowhere, said, start};
use backout::journal::Entry;
use rusqlite::{Connection, types::ValueRef};
use sha2::{Digest, Sha256};
use std::path::Path;

/// The hashes that the entries should have, and those that they have.
pub fn hashes(path: &Path) -> Vec<([u8; 32], [u8; 32])> {
    let db = Connection::open(path).unwrap();
    let mut statement = db.prepare("SELECT * FROM entry ORDER BY id").unwrap();
    let mut rows = statement.query([]).unwrap();
    let mut before: [u8; 32] = Sha256::digest(b"bkot journal 1").into();
    let mut found = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        let mut digest = Sha256::new();
        for column in 0..10 {
            match row.get_ref(column).unwrap() {
                ValueRef::Integer(number) => digest.update(number.to_be_bytes()),
                ValueRef::Text(text) => {
                    digest.update((text.len() as u64).to_be_bytes());
                    digest.update(text);
                }
                other => panic!("{other:?}"),
            }
        }
        before = Sha256::new().chain_update(before).chain_update(digest.finalize()).finalize().into();
        found.push((before, row.get("hash").unwrap()));
        assert_eq!(row.get::<_, i64>("id").unwrap(), found.len() as i64, "their numbers leave nothing out");
    }
    found
}

#[track_caller]
pub fn holds(path: &Path, entries: usize) {
    let hashes = hashes(path);
    assert_eq!(hashes.len(), entries);
    assert!(hashes.iter().all(|(should, is)| should == is));
}

#[tokio::test]
async fn every_entry_is_chained_to_the_one_before_it_also_of_another_run() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (first, run) = begin(&path);
    let (second, other) = begin(&path);
    for n in 0..20 {
        let (journal, run) = if n % 3 == 0 { (&second, other) } else { (&first, run) };
        journal.note(run, &nowhere(), 0, said("with bücher, \"quotes\" and\nlines"));
        journal.append(run, &nowhere(), 0, said("")).await.unwrap();
    }
    first.append(run, &install(), 0, Entry::StepStarted).await.unwrap();
    first.append(run, &nowhere(), 0, ended("upgraded")).await.unwrap();
    drop((first, second));
    let (third, run) = begin(&path);
    third.append(run, &nowhere(), 0, ended("upgraded")).await.unwrap();
    holds(&path, 46);
    let all: std::collections::BTreeSet<_> = hashes(&path).into_iter().map(|(_, is)| is).collect();
    assert_eq!(all.len(), 46, "the same entry at another place has another hash");
}

#[test]
fn processes_that_write_at_once_write_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let children: Vec<_> = (0..3).map(|_| start("", "write-100", &path)).collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    holds(&path, 303);
}
