//! The whole life cycle of the demo's product, stopped at fifty random moments as people and service managers do it.
//! `BACKOUT_TEST_SEED` repeats a test run that failed, as far as a machine can repeat its timing.
use crate::support::{bench::wait_for, shop::Shop};
use backout::{
    cli::demo::{proof::Proof, releases::Version},
    run::Locks,
};
use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

const ROUNDS: usize = 50;
/// Products at the same time: a run mostly waits.
const GOES_BACK: usize = 4;
const STAYS: usize = 3;

/// When to stop it, as a part of a run that nobody stops.
#[derive(Clone, Copy, Debug)]
enum Moment {
    OfItsTime(f64),
    /// Most entries belong to a few short steps, which hardly any moment of time would meet.
    OfItsEntries(f64),
}

#[derive(Clone, Debug)]
struct Round {
    number: usize,
    moment: Moment,
    signal: Signal,
    /// As a terminal does it: to everybody who is in the foreground.
    to_all: bool,
    /// After so many milliseconds once more.
    again: Option<u64>,
    rollback: bool,
}

fn rounds(seed: u64) -> VecDeque<Round> {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut up_to = |most: u64| random.next_u64() % most;
    (0..ROUNDS)
        .map(|number| {
            let part = up_to(1_000) as f64 / 1_000.0;
            Round {
                number,
                moment: if number % 2 == 0 { Moment::OfItsTime(part) } else { Moment::OfItsEntries(part) },
                signal: if up_to(4) == 0 { Signal::TERM } else { Signal::INT },
                to_all: up_to(2) == 0,
                again: (up_to(3) == 0).then(|| up_to(300)),
                rollback: up_to(2) == 0,
            }
        })
        .collect()
}

#[test]
fn the_life_cycle_is_stopped_at_fifty_random_moments() {
    let chosen =
        std::env::var("BACKOUT_TEST_SEED").ok().map(|seed| seed.parse().expect("BACKOUT_TEST_SEED is a number"));
    let seed =
        chosen.unwrap_or_else(|| u64::from(std::process::id()) ^ Instant::now().elapsed().as_nanos() as u64 ^ now());
    println!("BACKOUT_TEST_SEED={seed}");
    let rounds = Mutex::new(rounds(seed));
    let seen = Mutex::new(BTreeSet::new());
    let versions = std::iter::repeat_n(Version::V2Bad, GOES_BACK).chain(std::iter::repeat_n(Version::V2Good, STAYS));
    std::thread::scope(|scope| {
        let (rounds, seen) = (&rounds, &seen);
        let hosts: Vec<_> = versions
            .map(|version| {
                scope.spawn(move || {
                    let mut host = Host::new(version);
                    while let Some(round) = { rounds.lock().unwrap().pop_front() } {
                        let code = host.stopped(&round);
                        seen.lock().unwrap().insert(code);
                    }
                })
            })
            .collect();
        let failed = hosts.into_iter().filter_map(|host| host.join().err()).count();
        assert_eq!(failed, 0, "BACKOUT_TEST_SEED={seed}");
    });
    // Before anything, and half-way: else the moments were not spread over the run.
    let seen = seen.into_inner().unwrap();
    assert!(seen.contains(&Some(3)) && seen.contains(&Some(5)), "{seen:?}, BACKOUT_TEST_SEED={seed}");
}

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// A product of its own, in 1.0 before and after each round.
struct Host {
    shop: Shop,
    before: Proof,
    upgrade: Usual,
    /// Of an upgrade that stays.
    rollback: Option<Usual>,
}

/// How long a run is that nobody stops.
struct Usual {
    time: Duration,
    entries: i64,
}

impl Host {
    fn new(version: Version) -> Self {
        let mut shop = Shop::new(version);
        let settings = "require = { settings = { watch = \"2s\", load = \"1s\", clients = 2 } }";
        shop.edit_site("versions = \"2.*\"", &format!("versions = \"2.*\"\n{settings}"));
        shop.open();
        let before = shop.proof();
        let stays = version == Version::V2Good;
        let measured = |code, args: &[&str]| {
            let began = (Instant::now(), entries(&shop));
            shop.expect(code, args);
            Usual { time: began.0.elapsed(), entries: entries(&shop) - began.1 }
        };
        let package = shop.package();
        let upgrade = measured(if stays { 0 } else { 4 }, &["upgrade", "--yes", package.to_str().unwrap()]);
        let rollback = stays.then(|| measured(0, &["rollback", "--yes"]));
        let host = Self { shop, before, upgrade, rollback };
        host.ends_as_before();
        host
    }

    fn stopped(&mut self, round: &Round) -> Option<i32> {
        let package = self.shop.package();
        let upgrade = ["upgrade", "--yes", package.to_str().unwrap()];
        let rollback = ["rollback", "--yes"];
        let (usual, args) = match &self.rollback {
            Some(usual) if round.rollback => {
                self.shop.expect(0, &upgrade);
                (usual, &rollback[..])
            }
            _ => (&self.upgrade, &upgrade[..]),
        };
        let runs = runs(&self.shop);
        let (code, said) = stop(&self.shop, args, usual, round);
        println!("round {}, {round:?}: backout {}: {code:?}\n{said}", round.number, args.join(" "));
        assert!(Locks::held(&self.shop.folder.path("state")).unwrap().is_empty(), "a lock is left");
        let upgraded = args == rollback;
        match code {
            // Before it could listen for signals.
            None => assert_eq!(runs, self::runs(&self.shop), "a run began, and was killed"),
            // Too late.
            Some(0) if upgraded => {}
            Some(0) => assert!(self.rollback.is_some()),
            Some(4) => assert!(self.rollback.is_none()),
            Some(3) => assert!(said.contains("nothing was changed"), "{said}"),
            Some(5) => {
                assert!(said.contains("backout rollback"), "{said}");
                self.copies_hold_what_was();
            }
            other => panic!("exit code {other:?}"),
        }
        if matches!(code, None | Some(3)) && !upgraded {
            assert_eq!(self.shop.copies(), [""; 0], "copies that nobody can use");
            self.shop.is_as(&self.before);
        }
        // The way on that the exit code and the message name.
        let back = match code {
            Some(5) => true,
            Some(0) => !upgraded,
            None | Some(3) => upgraded,
            _ => false,
        };
        if back {
            self.shop.expect(0, &rollback);
        }
        self.ends_as_before();
        code
    }

    /// And nothing is left that somebody would have to know of.
    fn ends_as_before(&self) {
        self.shop.is_as(&self.before);
        assert!(self.shop.folder.database().is_file(), "a fence is left");
        let point = restore_points(&self.shop).iter().any(|point| point["state"] != "committed");
        if point {
            self.shop.expect(0, &["commit", "--yes"]);
        }
        assert_eq!(self.shop.copies(), [""; 0], "copies that no restore point knows");
    }

    /// Each copy that is said to be proven holds what the product held, by the test's own means.
    fn copies_hold_what_was(&self) {
        for point in restore_points(&self.shop).iter().filter(|point| point["state"] == "ready") {
            let kept = &point["restore_point"];
            let place = |resource: &str| {
                let snapshot = &kept["snapshots"][resource];
                let restored = kept["restored"].as_array().unwrap().iter().any(|r| r == resource);
                (snapshot["proven"] == true && !restored).then(|| snapshot["place"].as_str().unwrap().to_owned())
            };
            let (Some(database), Some(app), Some(config)) =
                (place("database:shop"), place("tree:app"), place("tree:config"))
            else {
                continue;
            };
            // SQLite would leave its own files beside a copy that is only read.
            let elsewhere = tempfile::tempdir().unwrap();
            let copied = elsewhere.path().join("shop.db");
            fs::copy(database, &copied).unwrap();
            let (app, config) = (Path::new(&app).join("standby"), Path::new(&config).join("standby"));
            let proof = Proof::take(&copied, &[("app", &app), ("config", &config)]).unwrap();
            assert_eq!(proof.differences(&self.before), [""; 0], "a copy that is said to be proven");
        }
    }
}

/// Ends it at the moment of the round, if it has not ended by then.
fn stop(shop: &Shop, args: &[&str], usual: &Usual, round: &Round) -> (Option<i32>, String) {
    let before = entries(shop);
    let began = Instant::now();
    let mut child = shop.command(args).process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_child(&child);
    let time_has_come = || match round.moment {
        Moment::OfItsTime(part) => began.elapsed() >= usual.time.mul_f64(part),
        Moment::OfItsEntries(part) => (entries(shop) - before) as f64 >= usual.entries as f64 * part,
    };
    wait_for("the moment", || (child.try_wait().unwrap().is_some() || time_has_come()).then_some(()));
    let send = |child: &mut Child| {
        if child.try_wait().unwrap().is_none() {
            let sent =
                if round.to_all { kill_process_group(pid, round.signal) } else { kill_process(pid, round.signal) };
            sent.unwrap();
        }
    };
    send(&mut child);
    if let Some(millis) = round.again {
        std::thread::sleep(Duration::from_millis(millis));
        send(&mut child);
    }
    wait_for("the end of a run that was stopped", || child.try_wait().unwrap());
    let output = child.wait_with_output().unwrap();
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), said)
}

fn ask(shop: &Shop, sql: &str) -> i64 {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    let journal = rusqlite::Connection::open_with_flags(shop.folder.path("state/journal.db"), flags);
    // Before the first run there is none, or one without tables.
    journal.and_then(|db| db.query_row(sql, [], |row| row.get(0))).unwrap_or(0)
}

fn entries(shop: &Shop) -> i64 {
    ask(shop, "SELECT count(*) FROM entry")
}

fn runs(shop: &Shop) -> i64 {
    ask(shop, "SELECT count(*) FROM run")
}

fn restore_points(shop: &Shop) -> Vec<Value> {
    let output = shop.backout(&["restore-points", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap()
}
