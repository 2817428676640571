use crate::{fixture::folder, sample::Pairs};
use backout::journal::{self, Entry, Header, Journal, Place, Request};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{fs, path::Path, sync::Arc, time::Instant};

const ENTRIES: u32 = 100_000;

/// Looks and changes in turn, as a script makes them that polls and queries; an entry of 500 bytes on average.
fn write(path: &Path) {
    let (journal, run) = Journal::begin(path, Header::default(), Arc::new(|_| {})).unwrap();
    let place = Place::new("upgrade", false, "migrate", 1);
    journal.note(run, &place, 0, Entry::StepStarted);
    for seq in 1..ENTRIES - 3 {
        let request = Request {
            operation: "database.query".into(),
            class: "observe".into(),
            label: "orders".into(),
            resource: "database:orders".into(),
            request: json!({ "label": "orders", "sql": "SELECT id, customer, state FROM orders WHERE id > ?1 LIMIT 5" }),
            changes: vec![],
            disturbs: false,
        };
        let rows: Vec<_> = (0..5).map(|row| json!([seq * 5 + row, "customer of an order", "shipped"])).collect();
        journal.note(run, &place, seq, Entry::Observed { request, result: Ok(json!({ "rows": rows })), millis: 1 });
    }
}

pub fn audit() -> Pairs {
    let folder = folder();
    let path = folder.path().join("journal.db");
    write(&path);
    let baseline = || {
        let began = Instant::now();
        let digest = Sha256::digest(fs::read(&path).unwrap());
        let spent = began.elapsed().as_secs_f64();
        assert_ne!(digest.as_slice(), [0; 32]);
        spent
    };
    let ours = || {
        let began = Instant::now();
        let audit = journal::audit(&path, &[]).unwrap();
        let spent = began.elapsed().as_secs_f64();
        assert!(audit.is_clean() && audit.entries > u64::from(ENTRIES) - 10, "{audit:?}");
        spent
    };
    let mut pairs = Pairs::measure(9, baseline, ours);
    pairs.note = Some(format!("The file has {:.0} MB.", fs::metadata(&path).unwrap().len() as f64 / 1e6));
    pairs
}
