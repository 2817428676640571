//! Journals as they were once written, one of each version of the format. They are never made again: what was written once must be
//! read for ever.
use crate::support::bench::BACKOUT;
use backout::journal::{self, FORMAT, Reader, export};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn recorded(format: i64, ending: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/formats/journal-{format}.{ending}"))
}

#[test]
fn every_version_of_the_format_has_a_journal_that_is_read() {
    for format in 1..=FORMAT {
        // A reader makes files beside what it reads.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        fs::copy(recorded(format, "db"), &path).unwrap();
        fs::copy(recorded(format, "head"), folder.path().join("journal.head")).unwrap();
        let reader = Reader::open(&path).unwrap();
        let runs = reader.runs().unwrap();
        assert_eq!(runs.len(), 1, "format {format}");
        assert_eq!(runs[0].ending.as_ref().unwrap().outcome, "rolled-back");
        assert_eq!(reader.entries(1).unwrap().len(), 125);
        let audit = journal::audit(&path, &[]).unwrap();
        assert!(audit.is_clean(), "format {format}: {:?}", audit.findings);
        assert_eq!((audit.entries, audit.runs), (125, 1));
    }
}

#[test]
fn every_version_of_the_format_has_a_run_that_is_replayed() {
    for format in 1..=FORMAT {
        let file = recorded(format, "backout-run");
        assert!(export::open(&file).unwrap().audit.is_clean());
        let elsewhere = tempfile::tempdir().unwrap();
        let output = Command::new(BACKOUT).arg("replay").arg(&file).current_dir(elsewhere.path()).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("run 1 (upgrade of acme/shop 2.0.0): equal, 22 calls, 51 operations"), "{said}");
        assert_eq!(output.status.code(), Some(0));
    }
}
