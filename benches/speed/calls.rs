use crate::{fixture::Fixture, raw, sample::Pairs};
use backout::{
    capability::types::Phase,
    session::{Script, Work},
};
use std::{
    sync::{Arc, Mutex},
    time::Instant,
};
use wasmtime::component::Component;

async fn run(script: &Script, work: Work, phase: Phase, step: &str) {
    script.run(work, phase, step).await.unwrap().unwrap();
}

/// One call that looks, of 10,000 in a row.
pub fn observe() -> Pairs {
    const CALLS: f64 = 10_000.0;
    const STEP: &str = "....";
    let mut fixture = Fixture::new(|| {});
    let script = fixture.load();
    let engine = raw::engine();
    let component = Component::new(&engine, crate::fixture::caller()).unwrap();
    let linker = raw::answering(&engine);
    let runtime = crate::fixture::runtime();
    let baseline = || {
        let began = Instant::now();
        runtime.block_on(async {
            let (mut store, instance) = raw::instance(&engine, &linker, &component, ()).await;
            let run: raw::Run = raw::function(&mut store, &instance, "run");
            run.call_async(&mut store, (Phase::Upgrade, STEP.to_owned())).await.unwrap().0.unwrap();
        });
        began.elapsed().as_secs_f64() / CALLS
    };
    let ours = || {
        let work = fixture.work();
        let began = Instant::now();
        fixture.runtime.block_on(run(&script, work, Phase::Upgrade, STEP));
        let spent = began.elapsed().as_secs_f64() / CALLS;
        fixture.flush();
        spent
    };
    Pairs::measure(60, baseline, ours)
}

/// The driver is where both sides meet: it makes the two commits of the baseline, and from its end to its next beginning one
/// call passes through the gate.
pub fn change() -> Pairs {
    struct Seen {
        db: rusqlite::Connection,
        pairs: Pairs,
        /// End of the driver's last call, and how long its commits took.
        last: Option<(Instant, f64)>,
    }
    let folder = crate::fixture::folder();
    let db = rusqlite::Connection::open(folder.path().join("raw.db")).unwrap();
    db.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE entry(id INTEGER PRIMARY KEY, body TEXT)",
    )
    .unwrap();
    let seen = Arc::new(Mutex::new(Seen { db, pairs: Pairs::default(), last: None }));
    let of_driver = seen.clone();
    let mut fixture = Fixture::new(move || {
        let mut seen = of_driver.lock().unwrap();
        let began = Instant::now();
        if let Some((ended, baseline)) = seen.last {
            seen.pairs.push(baseline, (began - ended).as_secs_f64());
        }
        // As long as an entry of the journal.
        let body = "x".repeat(200);
        for _ in 0..2 {
            seen.db.execute("INSERT INTO entry(body) VALUES (?)", [&body]).unwrap();
        }
        let ended = Instant::now();
        seen.last = Some((ended, (ended - began).as_secs_f64()));
    });
    let script = fixture.load();
    // Ten calls in each step; what passes between two steps is no call.
    for _ in 0..60 {
        let work = fixture.work();
        seen.lock().unwrap().last = None;
        fixture.runtime.block_on(run(&script, work, Phase::Prepare, "."));
    }
    std::mem::take(&mut seen.lock().unwrap().pairs)
}

/// Two steps, each with ten calls that change something.
pub fn at_once() -> Pairs {
    const STEP: &str = ".";
    let fixture = std::cell::RefCell::new(Fixture::new(|| {}));
    let script = fixture.borrow().load();
    let two = || {
        let mut fixture = fixture.borrow_mut();
        [fixture.work(), fixture.work()]
    };
    let one_after_the_other = || {
        let works = two();
        let began = Instant::now();
        for work in works {
            fixture.borrow().runtime.block_on(run(&script, work, Phase::Prepare, STEP));
        }
        began.elapsed().as_secs_f64()
    };
    let at_once = || {
        let works = two();
        let began = Instant::now();
        fixture.borrow().runtime.block_on(async {
            // As the steps of a phase run: each is a task of its own.
            let tasks = works.map(|work| {
                let script = script.clone();
                tokio::spawn(async move { run(&script, work, Phase::Prepare, STEP).await })
            });
            for task in tasks {
                task.await.unwrap();
            }
        });
        began.elapsed().as_secs_f64()
    };
    Pairs::measure(40, one_after_the_other, at_once)
}
