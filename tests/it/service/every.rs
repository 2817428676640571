//! What every service driver has to do, whoever keeps the service. A driver joins with a `Subject` and a line in `every_driver!`.
use super::{command, docker, done::performed, done::reconciled, now, systemd};
use crate::support::bench::{Bench, PATIENCE, alive, wait_for};
use backout::{
    capability::service::ops::{Reload, Restart, Start, Stop},
    resource::{Access, FailureKind, Service, service::Status},
};
use std::time::{Duration, Instant};

/// The program of every subject. Whoever kills it from outside finds it by its last line.
pub const SCRIPT: &str = "trap 'echo read again' HUP; trap 'echo asked; exit 0' TERM; echo ready; \
                          while :; do sleep 0.05; done # the product";

/// A service that does not run yet, and says its log to Backout. Everything of it ends with it.
pub struct Subject {
    pub access: Access<Service>,
    /// What its status says when it was killed by somebody.
    pub killed: Status,
    /// A stop also keeps it down: one that has ended by itself is not stopped yet.
    pub held: bool,
    /// What is kept for it, and ended with it.
    pub _keep: Box<dyn Send + Sync>,
}

macro_rules! every_driver {
    ($($driver:ident = $subject:expr;)*) => { each_driver!{ [$($driver = $subject;)*]
        it_starts_and_stops_and_both_may_be_said_twice
        a_start_and_a_stop_are_seen_in_the_service
        a_restart_is_known_by_another_start
        a_reload_reaches_it_and_nobody_can_see_it
        its_log_is_searched_since_a_mark
        an_end_by_somebody_else_is_seen
        a_stop_has_its_time
    } };
}
macro_rules! each_driver {
    ([$($driver:ident = $subject:expr;)*] $first:ident $($rest:ident)*) => {
        mod $first { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $driver() {
                super::$first($subject).await
            }
        )* }
        each_driver!{ [$($driver = $subject;)*] $($rest)* }
    };
    ([$($driver:ident = $subject:expr;)*]) => {};
}
every_driver! {
    process = super::process();
    systemd = super::systemd::unit();
    init_script = super::command::init_script();
    supervisord = super::command::supervisord();
    container = super::docker::container();
}

fn process() -> Subject {
    let bench = Bench::new();
    let mut section = super::process(&bench, SCRIPT);
    section.reload = Some("HUP".into());
    Subject { access: super::service(&bench, &section), killed: Status::Failed, held: false, _keep: Box::new(bench) }
}

impl Subject {
    async fn start(&self) {
        self.access.mutator.start(&now()).await.unwrap();
    }
    async fn status(&self) -> Status {
        self.access.observer.status().await.unwrap()
    }
    async fn start_id(&self) -> Option<String> {
        self.access.observer.start_id().await.unwrap()
    }
    async fn processes(&self) -> Vec<i32> {
        self.access.observer.processes().await.unwrap()
    }
    /// Waits until its log has so many of these lines since the mark.
    async fn says(&self, since: &backout::resource::service::Mark, text: &str, times: usize) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self.access.observer.search(since, &[text.to_owned()]).await.unwrap_or_default();
            if found.len() == times {
                return;
            }
            assert!(Instant::now() < until && found.len() < times, "`{text}` should be there {times} times: {found:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn it_starts_and_stops_and_both_may_be_said_twice(web: Subject) {
    assert_eq!(web.status().await, Status::Stopped);
    web.access.mutator.stop(&now()).await.unwrap();
    web.start().await;
    assert_eq!(web.status().await, Status::Running);
    let first = (web.start_id().await.unwrap(), web.processes().await);
    assert!(!first.1.is_empty());
    web.start().await;
    assert_eq!(web.start_id().await.unwrap(), first.0, "a second start changes nothing");
    web.access.mutator.stop(&now()).await.unwrap();
    assert_eq!(web.status().await, Status::Stopped);
    assert!(first.1.iter().all(|pid| !alive(*pid)), "{first:?}");
    assert_eq!((web.processes().await, web.start_id().await), (vec![], None));
    web.access.mutator.stop(&now()).await.unwrap();
    web.start().await;
    assert_ne!(web.start_id().await.unwrap(), first.0);
}

async fn a_start_and_a_stop_are_seen_in_the_service(web: Subject) {
    let (start, stop) = (Start { service: String::new() }, Stop { service: String::new() });
    let came = async || (reconciled(&web.access, &start, &[]).await, reconciled(&web.access, &stop, &[]).await);
    assert_eq!(came().await, (Ok(false), Ok(!web.held)));
    web.start().await;
    assert_eq!(came().await, (Ok(true), Ok(false)));
    web.access.mutator.stop(&now()).await.unwrap();
    assert_eq!(came().await, (Ok(false), Ok(true)));
}

async fn a_restart_is_known_by_another_start(web: Subject) {
    let restart = Restart { service: "web".into() };
    assert_eq!(reconciled(&web.access, &restart, &[]).await, Ok(false), "nothing is stopped before the evidence");
    web.start().await;
    let before = web.start_id().await;
    let (result, evidence) = performed(async |call| web.access.mutator.restart(&call).await).await;
    result.unwrap();
    assert_eq!(evidence[0]["start"], serde_json::to_value(&before).unwrap());
    assert_ne!(web.start_id().await, before);
    assert_eq!(reconciled(&web.access, &restart, &evidence).await, Ok(true));
    let now_running = serde_json::json!({ "start": web.start_id().await, "what": "it was about to be" });
    assert_eq!(reconciled(&web.access, &restart, &[now_running]).await, Ok(false), "it runs as before");
    web.access.mutator.stop(&now()).await.unwrap();
    assert_eq!(reconciled(&web.access, &restart, &evidence).await, Ok(false));
}

async fn a_reload_reaches_it_and_nobody_can_see_it(web: Subject) {
    assert_eq!(web.access.mutator.reload(&now()).await.unwrap_err().kind, FailureKind::Conflict, "it does not run");
    let mark = web.access.mutator.mark(&now()).await.unwrap();
    web.start().await;
    web.says(&mark, "ready", 1).await;
    let (result, evidence) = performed(async |call| web.access.mutator.reload(&call).await).await;
    result.unwrap();
    web.says(&mark, "read again", 1).await;
    let reload = Reload { service: "web".into() };
    let look = reconciled(&web.access, &reload, &evidence).await.unwrap_err();
    assert!(look.contains("look in the log of `web`"), "{look}");
    web.access.mutator.restart(&now()).await.unwrap();
    assert_eq!(reconciled(&web.access, &reload, &evidence).await, Ok(true), "it has read it when it started");
}

async fn its_log_is_searched_since_a_mark(web: Subject) {
    let first = web.access.mutator.mark(&now()).await.unwrap();
    web.start().await;
    web.says(&first, "ready", 1).await;
    let second = web.access.mutator.mark(&now()).await.unwrap();
    let json = serde_json::to_string(&second).unwrap();
    let again: backout::resource::service::Mark = serde_json::from_str(&json).unwrap();
    web.access.mutator.restart(&now()).await.unwrap();
    web.says(&again, "asked", 1).await;
    web.says(&again, "ready", 1).await;
    web.says(&first, "ready", 2).await;
    let last = web.access.mutator.mark(&now()).await.unwrap();
    assert_eq!(web.access.observer.search(&last, &["ready".to_owned()]).await, Ok(vec![]));
}

async fn an_end_by_somebody_else_is_seen(web: Subject) {
    web.start().await;
    let before = web.start_id().await.unwrap();
    for pid in web.processes().await {
        crate::support::bench::kill(pid, "KILL");
    }
    let until = Instant::now() + PATIENCE;
    while web.status().await != web.killed {
        assert!(Instant::now() < until, "{:?}", web.status().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((web.start_id().await, web.processes().await), (None, vec![]));
    assert_eq!(reconciled(&web.access, &Stop { service: String::new() }, &[]).await, Ok(!web.held), "whoever ended it");
    web.start().await;
    assert_eq!(web.status().await, Status::Running);
    assert_ne!(web.start_id().await.unwrap(), before);
}

/// Everything is over before it has begun.
async fn a_stop_has_its_time(web: Subject) {
    web.start().await;
    let pids = web.processes().await;
    let over = crate::support::call::call("1/upgrade/stop/1/1", Duration::ZERO);
    // It may be refused, or may just have made it; it is never said to be done when it is not.
    if web.access.mutator.stop(&over).await.is_ok() {
        assert_eq!(web.status().await, Status::Stopped);
    }
    web.access.mutator.stop(&now()).await.unwrap();
    wait_for("its end", || pids.iter().all(|pid| !alive(*pid)).then_some(()));
}
