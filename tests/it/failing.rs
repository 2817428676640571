//! The demo's upgrade and its rollback, in which one operation after the other fails: before its effect, and after it, when the effect is
//! there although the call has said that it failed. `BACKOUT_TEST_POINTS=12..20` looks at some of them only.
use crate::crash::{Host, Matrix, said};
use backout::{
    cli::demo::releases::Version,
    journal::{Entry, Place, Recorded},
};
use std::{collections::BTreeSet, process::Output, sync::atomic::Ordering};

/// What failed because somebody wanted that.
struct Failed {
    place: Place,
    operation: String,
    /// Nothing can be left of it.
    looks: bool,
}

/// `None`: there are not so many operations.
fn failed(entries: &[Recorded], run: u64) -> Option<Failed> {
    let asked = |recorded: &&Recorded| {
        recorded.run == run && serde_json::to_string(&recorded.entry).unwrap().contains("as `BACKOUT_FAIL_AT` asks")
    };
    let first = entries.iter().find(asked)?;
    let begun = |r: &&Recorded| r.run == run && r.place == first.place && r.seq == first.seq && first.seq > 0;
    let request = entries.iter().filter(begun).find_map(|recorded| match &recorded.entry {
        Entry::Intent(request) | Entry::Observed { request, .. } => Some(request.clone()),
        _ => None,
    });
    // What is done all the same is only said, and a question is none of the answers.
    let (operation, looks) = request.map_or((String::new(), false), |r| (r.operation, r.class == "observe"));
    Some(Failed { place: first.place.clone(), operation, looks })
}

impl Host {
    fn failing_at(&self, point: usize, after: bool) -> Output {
        let package = self.shop.package();
        let at = format!("{point}{}", if after { "+" } else { "" });
        let mut upgrade = self.shop.command(&["upgrade", "--yes", package.to_str().unwrap()]);
        upgrade.env("BACKOUT_FAIL_AT", at).output().unwrap()
    }

    fn last_run(&self) -> u64 {
        self.entries().last().unwrap().run
    }

    /// As it was before, and nothing is left of it.
    fn has_not_been_touched(&self, what: &str) {
        self.shop.is_as(&self.before);
        assert!(self.shop.folder.database().is_file(), "{what}: a fence is left");
        self.shop.expect(0, &["audit"]);
        let points = self.shop.expect(0, &["restore-points"]);
        if !points.contains("there is no restore point") {
            self.shop.expect(0, &["commit", "--yes"]);
        }
        assert_eq!(self.shop.copies(), [""; 0], "{what}: copies that no restore point knows");
        self.shop.expect(3, &["resume", "--yes"]);
    }

    /// To the end of a run that has asked a person, or that stopped half-way.
    fn gone_on_with(&self, point: usize, mut output: Output, matrix: &Matrix) -> i32 {
        for _ in 0..3 {
            let code = output.status.code();
            output = match code {
                Some(5) => self.shop.backout(&["resume", "--yes"]),
                Some(6) => {
                    matrix.count("decided by a person");
                    self.shop.backout(&["resume", "--yes", "--decide", &self.decision(point)])
                }
                _ => return code.unwrap_or_else(|| panic!("point {point}: {}", said(&output))),
            };
        }
        panic!("point {point}: it never ends: {}", said(&output));
    }

    /// One operation that fails. `None`: there are not so many.
    fn round(&self, point: usize, after: bool, matrix: &Matrix) -> Option<Failed> {
        let output = self.failing_at(point, after);
        let run = self.last_run();
        let failed = failed(&self.entries(), run);
        let what = format!(
            "point {point}, {}: {}",
            if after { "after" } else { "before" },
            failed.as_ref().map_or("none".to_owned(), |f| format!("{} in {}", f.operation, f.place.title()))
        );
        println!("{what}: {:?}", output.status.code());
        if failed.is_none() {
            assert!(matches!(output.status.code(), Some(0 | 4)), "{what}: {}", said(&output));
        }
        let goes_back =
            failed.as_ref().is_some_and(|failed| failed.place.rolled_back || failed.place.phase == "rollback");
        match output.status.code() {
            Some(3) => {
                matrix.count("refused");
                let failed = failed.as_ref().unwrap();
                assert!(
                    matches!(failed.place.phase.as_str(), "assess" | "prepare") || failed.place.step.is_empty(),
                    "{what}"
                );
            }
            // A failure that the script took as it was, or that was none.
            Some(0) => matrix.count("upgraded"),
            Some(4) => {
                // Of an exchange it is seen that it has happened, whatever the call says.
                assert!(!goes_back || failed.as_ref().is_some_and(|failed| failed.operation.is_empty()), "{what}");
                matrix.count("rolled back");
            }
            Some(code @ (5 | 6)) => {
                assert!(code == 6 || goes_back, "{what}: {}", said(&output));
                matrix.count(if code == 5 { "stopped" } else { "in doubt" });
                let ended = self.gone_on_with(point, output, matrix);
                assert!(if goes_back { ended == 4 } else { matches!(ended, 0 | 4) }, "{what}: {ended}");
            }
            _ => panic!("{what}: {}", said(&output)),
        }
        self.shop.expect(0, &["replay", &run.to_string()]);
        if self.shop.version().as_deref() != Some("1.0.0") {
            assert_eq!(self.shop.version().as_deref(), Some("2.0.1"), "{what}");
            self.shop.expect(0, &["rollback", "--yes"]);
        }
        self.has_not_been_touched(&what);
        failed
    }
}

fn every_operation_fails(version: Version, matrix: &Matrix) {
    let (places, host) = (std::sync::Mutex::new(BTreeSet::new()), || Host::new(version));
    matrix.every_point(
        |host, point| {
            let Some(failed) = host.round(point, false, matrix) else {
                matrix.end.fetch_min(point, Ordering::SeqCst);
                return;
            };
            places.lock().unwrap().insert(format!("{} {}", failed.place.phase, failed.operation));
            if !failed.looks {
                host.round(point, true, matrix);
            }
        },
        host,
    );
    println!("operations: {:?}", places.lock().unwrap());
}

#[test]
fn every_operation_of_an_upgrade_fails_once() {
    every_operation_fails(Version::V2Good, &Matrix::new());
}

/// Up to where it turns back it is the same upgrade.
#[test]
fn every_operation_of_a_rollback_fails_once() {
    let host = Host::new(Version::V2Bad);
    assert_eq!(host.failing_at(usize::MAX, false).status.code(), Some(4));
    let before = host.entries().into_iter().take_while(|r| !matches!(r.entry, Entry::TurnedBack { .. }));
    let operations = before.filter(|r| matches!(r.entry, Entry::Intent(_) | Entry::Observed { .. })).count();
    drop(host);
    every_operation_fails(Version::V2Bad, &Matrix::from(operations + 1));
}
