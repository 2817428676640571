//! The demo's upgrade and rollback, killed at every moment that its gate and its journal number, and gone on with; and killed
//! once more while it goes on. `BACKOUT_TEST_POINTS=12..20` looks at some of them only.
use crate::support::shop::Shop;
use backout::{
    cli::demo::{proof::Proof, releases::Version},
    journal::{Entry, Reader, Recorded},
};
use rusqlite::Connection;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    ops::Range,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::Output,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Products at the same time: a run mostly waits.
const HOSTS: usize = 5;

pub struct Matrix {
    first: usize,
    next: AtomicUsize,
    /// The first point that is none any more.
    pub end: AtomicUsize,
    seen: Mutex<BTreeMap<&'static str, usize>>,
}

impl Matrix {
    pub fn new() -> Self {
        Self::from(1)
    }

    /// From this point on, unless the environment says otherwise.
    pub fn from(first: usize) -> Self {
        let range = std::env::var("BACKOUT_TEST_POINTS").ok();
        let parsed = |text: String| -> Option<Range<usize>> {
            let (from, to) = text.split_once("..")?;
            Some(from.parse().ok()?..to.parse().ok()?)
        };
        let range = range.map(|text| parsed(text).expect("BACKOUT_TEST_POINTS has the form 12..20"));
        let range = range.unwrap_or(first..usize::MAX);
        Self { first: range.start, next: range.start.into(), end: range.end.into(), seen: Mutex::default() }
    }

    fn point(&self) -> Option<usize> {
        let point = self.next.fetch_add(1, Ordering::SeqCst);
        (point < self.end.load(Ordering::SeqCst)).then_some(point)
    }

    pub fn count(&self, what: &'static str) {
        *self.seen.lock().unwrap().entry(what).or_default() += 1;
    }

    /// On hosts of their own, until no point is left.
    pub fn every_point(&self, round: impl Fn(&mut Host, usize) + Sync, host: impl Fn() -> Host + Sync) {
        std::thread::scope(|scope| {
            let (round, host) = (&round, &host);
            let hosts: Vec<_> = (0..HOSTS)
                .map(|_| {
                    scope.spawn(move || {
                        let mut host = host();
                        while let Some(point) = self.point() {
                            round(&mut host, point);
                        }
                    })
                })
                .collect();
            let failed = hosts.into_iter().filter_map(|host| host.join().err()).count();
            assert_eq!(failed, 0);
        });
        println!("points: {} to {}, {:?}", self.first, self.end.load(Ordering::SeqCst) - 1, self.seen.lock().unwrap());
    }
}

pub struct Host {
    pub shop: Shop,
    pub before: Proof,
    schema: i64,
}

impl Host {
    pub fn new(version: Version) -> Self {
        let mut shop = Shop::new(version);
        let settings = "require = { settings = { watch = \"1s\", load = \"1s\", clients = 2 } }";
        shop.edit_site("versions = \"2.*\"", &format!("versions = \"2.*\"\n{settings}"));
        // Every time that the tool runs leaves a line.
        shop.edit_site(
            "run = [\"srv/app/current/bin/shop\", \"migrate\", \"--config\", \"srv/config/shop.toml\"]",
            "run = [\"sh\", \"-c\", \"echo x >> migrated; exec srv/app/current/bin/shop migrate --config srv/config/shop.toml\"]",
        );
        shop.open();
        let before = shop.proof();
        let schema = schema(&shop.folder.database());
        Self { shop, before, schema }
    }

    /// Killed at this point, if it comes to it.
    fn killed_at(&self, point: usize, args: &[&str]) -> Output {
        self.shop.command(args).env("BACKOUT_CRASH_AT", point.to_string()).output().unwrap()
    }

    pub fn entries(&self) -> Vec<Recorded> {
        let reader = Reader::find(&self.shop.folder.path("state/journal.db")).unwrap();
        reader.map(|reader| reader.since(0).unwrap()).unwrap_or_default()
    }

    /// A machine at work may make the new version too slow to stay.
    fn upgrade(&self) {
        let package = self.shop.package();
        let upgrade = || self.shop.backout(&["upgrade", "--yes", package.to_str().unwrap()]);
        for _ in 0..5 {
            let output = upgrade();
            match output.status.code() {
                Some(0) => return,
                Some(4) => self.shop.expect(0, &["commit", "--yes"]),
                other => panic!("{other:?}: {}", said(&output)),
            };
        }
        panic!("it never stays");
    }

    /// Goes on until it comes to an end; killed once more on the way. The code that it ends with.
    fn resumed(&self, matrix: &Matrix, point: usize, points: usize) -> Option<i32> {
        // Another moment each time, among so many of the first.
        let again = 1 + point * 7 % points;
        let resume = ["resume", "--yes"];
        let mut output = self.killed_at(again, &resume);
        if output.status.signal() == Some(9) {
            matrix.count("killed again");
            output = self.shop.backout(&resume);
        }
        if output.status.code() == Some(6) {
            matrix.count("decided by a person");
            let decision = self.decision(point);
            output = self.shop.backout(&["resume", "--yes", "--decide", &decision]);
        }
        self.ended(&output, point)
    }

    /// A person looks which schema the database has.
    pub fn decision(&self, point: usize) -> String {
        let report: Value = serde_json::from_str(&self.shop.expect_out(&["show", "--json"])).unwrap();
        let unclear = report["unclear"].as_array().unwrap();
        assert_eq!(unclear.len(), 1, "point {point}: {unclear:?}");
        assert_eq!(
            unclear[0]["operation"], "tool.run",
            "point {point}: only a command cannot be seen to have happened"
        );
        let live = self.shop.folder.database();
        let fenced = live.parent().unwrap().join(".backout/shop/live/shop.db");
        let schema = schema(if live.is_file() { &live } else { &fenced });
        format!("{}={}", unclear[0]["number"], if schema == self.schema { "not-done" } else { "done" })
    }

    /// `None`: there is nothing to go on with.
    fn ended(&self, output: &Output, point: usize) -> Option<i32> {
        let said = said(output);
        if output.status.code() == Some(3) && said.contains("there is no run to go on with") {
            return None;
        }
        println!("point {point}: {:?}", output.status.code());
        if !matches!(output.status.code(), Some(0 | 4)) {
            println!("{said}");
        }
        Some(output.status.code().unwrap_or_else(|| panic!("point {point}: {said}")))
    }

    /// What began has ended once, and no more; the copies are freed.
    fn is_whole(&self, point: usize) {
        self.shop.expect(0, &["audit"]);
        let mut begun: BTreeMap<_, (i64, u32)> = BTreeMap::new();
        let entries = self.entries();
        for recorded in &entries {
            let key = (recorded.run, recorded.place.clone(), recorded.seq);
            match &recorded.entry {
                Entry::Intent(_) => {
                    assert!(begun.insert(key, (recorded.id, 0)).is_none(), "point {point}: begun twice");
                }
                Entry::Outcome { .. } => begun.get_mut(&key).unwrap().1 += 1,
                _ => {}
            }
        }
        let begun_by = |operation: &str| {
            let intents = entries.iter().filter_map(|r| match &r.entry {
                Entry::Intent(request) => Some(request),
                _ => None,
            });
            intents.filter(|request| request.operation == operation).count()
        };
        for ((run, place, seq), (number, outcomes)) in begun {
            let host = place.step.is_empty();
            assert!(outcomes == 1 || host, "point {point}: run {run}, {} {seq} (entry {number})", place.title());
        }
        let migrated = fs::read_to_string(self.shop.folder.path("migrated")).unwrap_or_default().lines().count();
        let again = entries.iter().filter(|r| matches!(r.entry, Entry::Decided { done: false, .. })).count();
        let wanted = begun_by("tool.run");
        assert!(
            (wanted..=wanted + again).contains(&migrated),
            "point {point}: {migrated} times, not {wanted} + {again}"
        );
        self.shop.is_as(&self.before);
        assert!(self.shop.folder.database().is_file(), "point {point}: a fence is left");
        let points = self.shop.expect(0, &["restore-points"]);
        if !points.contains("there is no restore point") {
            self.shop.expect(0, &["commit", "--yes"]);
        }
        assert_eq!(self.shop.copies(), [""; 0], "point {point}: copies that no restore point knows");
    }
}

fn schema(database: &Path) -> i64 {
    let database = Connection::open(database).unwrap();
    database.query_row("SELECT user_version FROM pragma_user_version", [], |row| row.get(0)).unwrap()
}

pub fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn an_upgrade_that_goes_back_is_killed_at_every_point() {
    let matrix = Matrix::new();
    matrix.every_point(
        |host, point| {
            let package = host.shop.package();
            let output = host.killed_at(point, &["upgrade", "--yes", package.to_str().unwrap()]);
            if output.status.signal() == Some(9) {
                match host.resumed(&matrix, point, 60) {
                    // Nothing had been begun.
                    None => matrix.count("before the run"),
                    Some(4) => matrix.count("taken back"),
                    other => panic!("point {point}: {other:?}"),
                }
            } else {
                assert_eq!(output.status.code(), Some(4), "point {point}: {}", said(&output));
                matrix.end.fetch_min(point, Ordering::SeqCst);
            }
            host.is_whole(point);
        },
        || Host::new(Version::V2Bad),
    );
}

#[test]
fn a_rollback_on_request_is_killed_at_every_point() {
    let matrix = Matrix::new();
    matrix.every_point(
        |host, point| {
            host.upgrade();
            let output = host.killed_at(point, &["rollback", "--yes"]);
            if output.status.signal() == Some(9) {
                match host.resumed(&matrix, point, 20) {
                    // Its last entry was written already.
                    None if host.shop.version().as_deref() == Some("1.0.0") => matrix.count("after the run"),
                    None => {
                        matrix.count("before the run");
                        host.shop.expect(0, &["rollback", "--yes"]);
                    }
                    Some(0) => matrix.count("rolled back"),
                    other => panic!("point {point}: {other:?}"),
                }
            } else {
                assert_eq!(output.status.code(), Some(0), "point {point}: {}", said(&output));
                matrix.end.fetch_min(point, Ordering::SeqCst);
            }
            host.is_whole(point);
        },
        || Host::new(Version::V2Good),
    );
}
