//! A service's own log: what is found in it since a mark, through rotations, and when it cannot be told.
use crate::support::{
    bench::{BACKOUT, Bench, PATIENCE, wait_for},
    call::call,
};
use backout::resource::{
    Access, CallCtx, FailureKind, Service,
    service::{Driver, MAX_LINE_BYTES, MAX_LINES, Mark, Process, Section, Status, drivers},
};
use std::{collections::BTreeMap, fs, time::Duration};

fn chatty(bench: &Bench, script: &str, log_bytes: u64, log_keep: u32) -> Access<Service> {
    let process = Process {
        run: ["sh", "-c", script].map(ToOwned::to_owned).into(),
        dir: bench.path().to_owned(),
        env: BTreeMap::from([
            ("BACKOUT_TEST".to_owned(), bench.tag.clone()),
            ("TOKEN".to_owned(), "s3cr3t-token".to_owned()),
        ]),
        user: None,
        settle: Duration::from_millis(50),
        stop_within: Duration::from_secs(20),
        reload: None,
        log_bytes,
        log_keep,
    };
    let section = Section { driver: Driver::Process(process), uses: Vec::new() };
    drivers::open_with("web", &section, &bench.join("state"), BACKOUT.into())
}

fn now() -> CallCtx {
    call("1/upgrade/watch/1/1", PATIENCE)
}

/// Runs the script to its end; its whole log is on disk then.
async fn spoken(bench: &Bench, web: &Access<Service>) {
    // On a slow machine it has ended before it counts as started.
    let _ = web.mutator.start(&now()).await;
    let until = std::time::Instant::now() + PATIENCE;
    while web.observer.status().await.unwrap() == Status::Running {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wait_for("its end", || bench.processes().is_empty().then_some(()));
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[tokio::test]
async fn a_mark_survives_rotations_and_restarts() {
    let bench = Bench::new();
    let web = chatty(&bench, "echo ERROR before; sleep 0.2", 4000, 50);
    spoken(&bench, &web).await;
    let mark = web.mutator.mark(&now()).await.unwrap();
    assert_eq!(mark, Mark::at(13));
    let web = chatty(&bench, "seq -f 'line %06g' 1 5000; echo ERROR after; sleep 0.2", 4000, 50);
    spoken(&bench, &web).await;
    assert_eq!(web.observer.search(&mark, &texts(&["ERROR"])).await.unwrap(), ["ERROR after"]);
    assert_eq!(web.observer.search(&Mark::at(0), &texts(&["ERROR"])).await.unwrap().len(), 2);
    assert_eq!(
        web.observer.search(&mark, &texts(&["004999", "no such", "ERROR"])).await.unwrap(),
        ["line 004999", "ERROR after"]
    );
    let mark = web.mutator.mark(&now()).await.unwrap();
    assert_eq!(mark.position, 13 + 5000 * 12 + 12);
    assert!(web.observer.search(&mark, &texts(&["line"])).await.unwrap().is_empty());
    let files: Vec<_> = fs::read_dir(bench.join("state/services/web/log")).unwrap().flatten().collect();
    assert!(files.len() > 10 && files.iter().all(|f| f.metadata().unwrap().len() <= 4000));
}

#[tokio::test]
async fn what_was_rotated_away_is_no_clean_log() {
    let bench = Bench::new();
    let web = chatty(&bench, "echo ERROR; seq 1 20000; sleep 0.2", 4000, 2);
    let mark = web.mutator.mark(&now()).await.unwrap();
    spoken(&bench, &web).await;
    let failure = web.observer.search(&mark, &texts(&["ERROR"])).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Inconclusive, "the log since then was rotated away in part")
    );
    assert_eq!(fs::read_dir(bench.join("state/services/web/log")).unwrap().count(), 3);
    let beyond = Mark::at(1 << 40);
    assert_eq!(web.observer.search(&beyond, &texts(&["ERROR"])).await.unwrap_err().kind, FailureKind::Inconclusive);
}

#[tokio::test]
async fn answers_are_bounded_and_harmless() {
    let bench = Bench::new();
    let script = "seq -f 'many %g' 1 300; for i in $(seq 1 40); do printf 'wide %05000d\\n' $i; done
        printf 'odd \\033[2J\\377 %s\\n' $TOKEN; printf 'token s3cr3t and s3cr3t-token\\r\\n'; sleep 0.2";
    let web = chatty(&bench, script, 1 << 20, 1);
    spoken(&bench, &web).await;
    let search = async |text: &str| web.observer.search(&Mark::at(0), &texts(&[text])).await.unwrap();
    let many = search("many").await;
    assert_eq!((many.len(), many[0].as_str()), (MAX_LINES, "many 1"));
    let wide = search("wide").await;
    assert!(
        wide.iter().all(|line| line.len() <= 4096) && wide.iter().map(String::len).sum::<usize>() <= MAX_LINE_BYTES
    );
    assert_eq!(wide.len(), 16);
    assert_eq!(search("odd").await, ["odd \u{fffd}[2J\u{fffd} ***"]);
    assert_eq!(search("token").await, ["token s3cr3t and ***"]);
    assert!(search("s3cr3t-t").await.is_empty(), "a secret cannot be guessed at");
}

#[tokio::test]
async fn a_flood_neither_stops_the_program_nor_grows_the_log() {
    let bench = Bench::new();
    let web =
        chatty(&bench, "yes 'the same line again and again' | head -c 30000000; echo done >&2; sleep 0.2", 100_000, 2);
    spoken(&bench, &web).await;
    let mark = web.mutator.mark(&now()).await.unwrap();
    assert!(mark.position >= 30_000_005, "all of it went through");
    let size: u64 = fs::read_dir(bench.join("state/services/web/log"))
        .unwrap()
        .flatten()
        .map(|f| f.metadata().unwrap().len())
        .sum();
    assert!(size <= 300_000, "{size}");
    assert_eq!(web.observer.search(&Mark::at(mark.position - 5), &texts(&["done"])).await.unwrap(), ["done"]);
}
