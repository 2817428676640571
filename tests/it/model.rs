//! Runs that fail, die, are cancelled and gone on with, against a model of what a run promises. Scripts, failures and deaths are
//! generated; the script is a real component, and the journal, the gate and the run are Backout's own.
//! To look longer: `PROPTEST_CASES=10000 cargo test --test it model::`
mod hostile;
mod judge;
mod life;
mod limits;
mod parallel;
mod plot;
mod world;

use crate::fuzz::cases;
use backout::{journal::Entry, run::life_cycle::Outcome};
use judge::{Judge, Seen};
use life::{Host, Life, Stop};
use plot::{Plot, plot};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
};
use world::Death;

/// A run mostly waits between its attempts.
const THREADS: u32 = 40;
const CASES: u32 = 160;
/// Whoever goes on with a run this often without a death comes to its end, or finds that it has none.
const PATIENCE: usize = 3;

#[derive(Clone, Debug)]
struct Case {
    plot: Plot,
    lives: Vec<Life>,
    at_once: usize,
    threads: bool,
}

fn life() -> impl Strategy<Value = Life> {
    let stop = prop_oneof![
        4 => (1..16usize, any::<bool>()).prop_map(|(moment, lands)| Stop::Death(Death { moment, lands })),
        3 => (1..120usize).prop_map(Stop::DeathAfter),
        1 => (1..80usize).prop_map(Stop::CancelAfter),
    ];
    (stop, prop::bool::weighted(0.7), 0..4usize).prop_map(|(stop, people, lost)| Life {
        stop: Some(stop),
        people,
        lost,
    })
}

fn case() -> impl Strategy<Value = Case> {
    let lives = prop::collection::vec(life(), 0..5);
    (plot(), lives, 1..5usize, any::<bool>()).prop_map(|(plot, lives, at_once, threads)| Case {
        plot,
        lives,
        at_once,
        threads,
    })
}

fn goes_as_the_model_says(case: &Case) -> Seen {
    let mut host = Host::new(&case.plot);
    host.limits.steps_at_once = case.at_once;
    host.threads = case.threads;
    let (mut outcomes, mut seen) = (Vec::<(usize, Outcome)>::new(), Seen::new());
    let lives = case.lives.iter().copied().chain(std::iter::repeat_n(Life::WHOLE, PATIENCE));
    for life in lives {
        let ended = host.live(&life);
        if !host.journal().exists() {
            continue;
        }
        let entries = host.entries();
        *seen.entry(if ended.is_some() { "ended" } else { "died" }).or_default() += 1;
        outcomes.extend(ended.clone().map(|outcome| (entries.len(), outcome)));
        let judge = Judge { plot: &case.plot, at_once: case.at_once, world: &host.world };
        judge.judge(&entries, &outcomes, &mut Seen::new());
        // It may die with the last word on its lips.
        let over = |entry: &Entry| matches!(entry, Entry::RunEnded(ending) if !ending.is_half_way());
        if ended.is_none() && entries.last().is_some_and(|last| over(&last.entry)) {
            return seen;
        }
        let replayed = host.replay();
        assert_eq!(replayed.differences, [], "a replay differs");
        if ended.is_some_and(|outcome| !outcome.ending().is_half_way()) {
            judge.judge(&entries, &outcomes, &mut seen);
            return seen;
        }
    }
    // What cannot be done, and cannot be taken back, stays half-way, and says so.
    assert!(matches!(outcomes.last(), Some((_, Outcome::Stopped(_)))), "{outcomes:?}");
    seen
}

#[test]
fn runs_go_as_the_model_says() {
    let (left, seen) = (AtomicU32::new(THREADS), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut config = cases(CASES);
                    config.cases = config.cases.div_ceil(THREADS);
                    config.max_shrink_iters = 200;
                    let checked = TestRunner::new(config).run(&case(), |case| {
                        for (what, count) in goes_as_the_model_says(&case) {
                            *seen.lock().unwrap().entry(what).or_insert(0) += count;
                        }
                        Ok(())
                    });
                    left.fetch_sub(1, Ordering::Relaxed);
                    checked.unwrap_or_else(|error| panic!("{error}"));
                })
            })
            .collect();
        let failed = threads.into_iter().filter_map(|thread| thread.join().err()).count();
        assert_eq!(failed, 0);
    });
    println!("{:?}", seen.lock().unwrap());
}
