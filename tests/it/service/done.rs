//! What is known afterwards of an operation whose end nobody has seen.
use super::*;
use crate::support::call::call_heard;
use backout::{
    capability::service::ops::{Reload, Restart, Start, Stop},
    gate::{Operation, Reconciled},
};
use serde_json::{Value, json};

/// Whether it is done, or what people have to look at.
pub(super) async fn reconciled<O: Operation<On = Service, Output = ()>>(
    web: &Access<Service>,
    operation: &O,
    evidence: &[Value],
) -> Result<bool, String> {
    match operation.reconcile(&*web.observer, evidence, &now()).await.unwrap() {
        Reconciled::Done(()) => Ok(true),
        Reconciled::NotDone => Ok(false),
        Reconciled::Unknown(look) => Err(look),
    }
}

/// The evidence that an operation leaves, and its result.
pub(super) async fn performed<T>(act: impl AsyncFnOnce(CallCtx) -> T) -> (T, Vec<Value>) {
    let (call, said) = call_heard("1/upgrade/start/1/1", PATIENCE);
    let result = act(call).await;
    let said = said.0.lock().unwrap();
    (result, said.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
}

static START: Start = Start { service: String::new() };
static STOP: Stop = Stop { service: String::new() };
static RESTART: Restart = Restart { service: String::new() };

#[tokio::test]
async fn a_start_and_a_stop_are_seen_in_the_service() {
    let bench = Bench::new();
    let web = sh(&bench, "exec sleep 1000");
    assert_eq!((reconciled(&web, &START, &[]).await, reconciled(&web, &STOP, &[]).await), (Ok(false), Ok(true)));
    web.mutator.start(&now()).await.unwrap();
    assert_eq!((reconciled(&web, &START, &[]).await, reconciled(&web, &STOP, &[]).await), (Ok(true), Ok(false)));
    // One that was begun is waited for.
    web.mutator.stop(&now()).await.unwrap();
    let slow = service(&bench, &Process { settle: Duration::from_secs(1), ..process(&bench, "exec sleep 1000") });
    let (start, reconciled_start) = (now(), async {
        while bench.processes().len() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        reconciled(&slow, &START, &[]).await
    });
    let (started, done) = tokio::join!(slow.mutator.start(&start), reconciled_start);
    assert_eq!((started, done), (Ok(()), Ok(true)));
    kill(pid_of(&bench, "supervisor"), "KILL");
    wait_for("the end", || bench.processes().is_empty().then_some(()));
    assert_eq!(reconciled(&slow, &STOP, &[]).await, Ok(true), "whoever ended it");
}

#[tokio::test]
async fn a_start_that_takes_long_is_done_again() {
    let bench = Bench::new();
    let slow = service(&bench, &Process { settle: PATIENCE, ..process(&bench, "exec sleep 1000") });
    let at_once = || crate::support::call::call("1/upgrade/start/1/1", Duration::from_millis(100));
    let failure = slow.mutator.start(&at_once()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut, "{failure}");
    assert_eq!(slow.observer.status().await.unwrap(), Status::Starting);
    let came_to = START.reconcile(&*slow.observer, &[], &at_once()).await.unwrap();
    assert!(matches!(came_to, Reconciled::NotDone), "nobody has to be asked: it can be done again");
    let before = bench.processes();
    assert_eq!(slow.mutator.start(&at_once()).await.unwrap_err().kind, FailureKind::TimedOut);
    assert_eq!(bench.processes(), before, "it waits for the one that is there");
}

#[tokio::test]
async fn a_stop_that_was_begun_is_waited_for() {
    let bench = Bench::new();
    let script = "trap 'echo asked' TERM; echo ready; while [ ! -e go ]; do sleep 0.05; done";
    let web = sh(&bench, script);
    web.mutator.start(&now()).await.unwrap();
    says(&web, "ready").await;
    let mut backout = other(&bench, "stop", script).spawn().unwrap();
    says(&web, "asked").await;
    backout.kill().unwrap();
    backout.wait().unwrap();
    assert!(web.observer.start_id().await.unwrap().is_none(), "it was told to end");
    let go = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::write(bench.join("go"), "").unwrap();
    };
    let (done, ()) = tokio::join!(reconciled(&web, &STOP, &[]), go);
    assert_eq!(done, Ok(true));
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn a_restart_is_known_by_who_runs() {
    let bench = Bench::new();
    let web = sh(&bench, "echo ready; [ ! -e broken ] && exec sleep 1000");
    assert_eq!(reconciled(&web, &RESTART, &[]).await, Ok(false), "nothing is stopped before the evidence");
    // It did not run before.
    let (result, evidence) = performed(async |call| web.mutator.restart(&call).await).await;
    assert_eq!((result, reconciled(&web, &RESTART, &evidence).await), (Ok(()), Ok(true)));
    let (result, evidence) = performed(async |call| web.mutator.restart(&call).await).await;
    assert_eq!((result, reconciled(&web, &RESTART, &evidence).await), (Ok(()), Ok(true)));
    assert_eq!(lines(&web, "ready").await.len(), 2);
    // Killed before it was stopped, and after.
    let before =
        [json!({ "start": web.observer.start_id().await.unwrap(), "what": "process 1 was about to be stopped" })];
    assert_eq!(reconciled(&web, &RESTART, &before).await, Ok(false));
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(reconciled(&web, &RESTART, &before).await, Ok(false));
    web.mutator.restart(&now()).await.unwrap();
    assert_eq!(reconciled(&web, &RESTART, &before).await, Ok(true));
    // The new one does not stay.
    let unsettled = service(&bench, &Process { settle: PATIENCE, ..process(&bench, "exit 3") });
    let (result, evidence) = performed(async |call| unsettled.mutator.restart(&call).await).await;
    assert!(result.unwrap_err().message.contains("ended at once"));
    assert_eq!(reconciled(&unsettled, &RESTART, &evidence).await, Ok(false));
}

#[tokio::test]
async fn a_restart_whose_backout_was_killed_is_told_at_every_moment() {
    let bench = Bench::new();
    let script = "trap 'echo asked; sleep 0.3; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let web = sh(&bench, script);
    web.mutator.start(&now()).await.unwrap();
    says(&web, "ready").await;
    let before = [json!({ "start": web.observer.start_id().await.unwrap(), "what": "" })];
    // In the middle of the slow stop.
    let mut backout = other(&bench, "restart", script).spawn().unwrap();
    says(&web, "asked").await;
    backout.kill().unwrap();
    backout.wait().unwrap();
    assert_eq!(reconciled(&web, &RESTART, &before).await, Ok(false));
    assert_eq!(bench.processes(), [0; 0], "the stop has come to its end by itself");
    // While the new one comes up.
    let mut backout = other(&bench, "restart", script).env("BACKOUT_TEST_SETTLE", "60").spawn().unwrap();
    while lines(&web, "ready").await.len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    backout.kill().unwrap();
    backout.wait().unwrap();
    assert_eq!(reconciled(&web, &RESTART, &before).await, Ok(true));
    assert_eq!(lines(&web, "ready").await.len(), 2);
}

#[tokio::test]
async fn a_reload_is_known_only_when_who_was_told_runs_no_more() {
    let bench = Bench::new();
    let mut section = process(&bench, "trap 'echo read again' USR1; echo ready; while :; do sleep 0.05; done");
    section.reload = Some("USR1".into());
    let web = service(&bench, &section);
    let reload = Reload { service: "web".into() };
    assert_eq!(reconciled(&web, &reload, &[]).await, Ok(false));
    let (result, evidence) = performed(async |call| web.mutator.reload(&call).await).await;
    assert_eq!((result.unwrap_err().kind, evidence.len()), (FailureKind::Conflict, 0), "it does not run");
    web.mutator.start(&now()).await.unwrap();
    says(&web, "ready").await;
    let (result, evidence) = performed(async |call| web.mutator.reload(&call).await).await;
    result.unwrap();
    says(&web, "read again").await;
    let look = reconciled(&web, &reload, &evidence).await.unwrap_err();
    let (pid, rest) =
        look.strip_prefix("process ").unwrap().split_once(" was about to be sent the signal USR1 at ").unwrap();
    assert_eq!(pid.parse::<i32>().unwrap(), pid_of(&bench, "program"));
    let question =
        "nobody can see whether it was: look in the log of `web` whether it has read its configuration since";
    assert_eq!(rest.split_once(" UTC; ").unwrap().1, question);
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(reconciled(&web, &reload, &evidence).await, Ok(false));
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(reconciled(&web, &reload, &evidence).await, Ok(true), "it has read its configuration when it started");
}

/// Killed right after its supervisor was begun, which comes to its lock only later.
#[tokio::test]
async fn a_supervisor_that_is_still_on_its_way_is_waited_for() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let late = bench.join("late");
    fs::write(&late, format!("#!/bin/sh\ntouch {0}/begun; sleep 1; exec {BACKOUT} \"$@\"\n", bench.path().display()))
        .unwrap();
    fs::set_permissions(&late, fs::Permissions::from_mode(0o755)).unwrap();
    for stop in [true, false] {
        let script = "echo ready; exec sleep 1000";
        let mut backout = other(&bench, "start", script).env("BACKOUT_TEST_PROGRAM", &late).spawn().unwrap();
        wait_for("the supervisor", || bench.join("begun").exists().then_some(()));
        backout.kill().unwrap();
        backout.wait().unwrap();
        fs::remove_file(bench.join("begun")).unwrap();
        let web = sh(&bench, script);
        if stop {
            web.mutator.stop(&now()).await.unwrap();
            assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
            assert_eq!(bench.processes(), [0; 0], "nothing comes up after a stop");
        } else {
            web.mutator.start(&now()).await.unwrap();
            assert_eq!(bench.processes().len(), 2, "one program and its supervisor");
        }
    }
}
