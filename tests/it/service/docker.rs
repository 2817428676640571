//! Containers, kept by a real daemon.
mod switch;

use super::{
    done::{performed, reconciled},
    every::{SCRIPT, Subject},
    now,
};
use crate::support::{
    bench::{Bench, PATIENCE, alive},
    docker::{self, daemon},
};
use backout::{
    capability::service::ops::{Reload, Start},
    resource::{
        Access, FailureKind, Service,
        service::{Container, Driver, Mark, Section, Status, drivers},
    },
};
use std::{fs, path::PathBuf, time::Duration};

fn section(bench: &Bench) -> Container {
    Container {
        container: bench.tag.clone(),
        socket: daemon().socket(),
        image: None,
        healthy: false,
        start_within: PATIENCE,
        stop_within: Duration::from_secs(20),
        settle: Duration::from_millis(100),
        reload: Some("HUP".to_owned()),
    }
}

fn service(bench: &Bench, container: &Container) -> Access<Service> {
    let section = Section { driver: Driver::Docker(container.clone()), uses: Vec::new() };
    drivers::open("web", &section, &bench.join("state"))
}

fn shop(options: &[&str], script: &str) -> (Bench, docker::Container, Access<Service>) {
    let bench = Bench::new();
    let container = daemon().create(&bench, options, script);
    let web = service(&bench, &section(&bench));
    (bench, container, web)
}

pub fn container() -> Subject {
    let (bench, container, access) = shop(&[], SCRIPT);
    Subject { access, killed: Status::Failed, held: false, _keep: Box::new((container, bench)) }
}

const SLEEPS: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

/// Waits until these are all the numbers that it has said since.
async fn says(web: &Access<Service>, since: &Mark, numbers: &[&str]) {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let seen = web.observer.search(since, &["1".to_owned(), "2".to_owned()]).await.unwrap();
        assert!(numbers.starts_with(&seen.iter().map(String::as_str).collect::<Vec<_>>()), "{seen:?}");
        if seen.len() == numbers.len() {
            return;
        }
        assert!(std::time::Instant::now() < until, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn status_becomes(web: &Access<Service>, wanted: Status) {
    let until = std::time::Instant::now() + PATIENCE;
    while web.observer.status().await.unwrap() != wanted {
        assert!(std::time::Instant::now() < until, "{:?}", web.observer.status().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn who_ends_at_once_has_not_started() {
    let script = "echo opening; echo no such database: $DATABASE >&2; exit 3";
    let (bench, _container, _) = shop(&["--env", "DATABASE=postgres://shop:hunter2@db"], script);
    let web = service(&bench, &Container { settle: PATIENCE, ..section(&bench) });
    let failure = web.mutator.start(&now()).await.unwrap_err();
    assert!(failure.message.starts_with("it ended at once with exit status 3; its last words: "), "{failure}");
    assert!(failure.message.contains("no such database: ***") && !failure.message.contains("hunter2"), "{failure}");
    assert_eq!(web.observer.status().await, Ok(Status::Failed));
}

#[tokio::test]
async fn a_program_that_the_image_does_not_have_is_said() {
    let (bench, container, _) = shop(&["--entrypoint", "/bin/nothing"], SLEEPS);
    let web = service(&bench, &section(&bench));
    let failure = web.mutator.start(&now()).await.unwrap_err();
    assert!(failure.message.contains("the Docker daemon says") && failure.message.contains("…/nothing"), "{failure}");
    assert!(failure.message.len() < 700 && !failure.message.contains('\n'), "{failure}");
    drop(container);
    // Gone meanwhile.
    for failure in [
        web.observer.status().await.unwrap_err(),
        web.mutator.start(&now()).await.unwrap_err(),
        web.mutator.stop(&now()).await.unwrap_err(),
        web.mutator.mark(&now()).await.unwrap_err(),
    ] {
        assert_eq!(failure.kind, FailureKind::NotFound);
        assert_eq!(failure.message, format!("the Docker daemon has no container `{}`", bench.tag));
    }
}

/// Whoever said `--rm` has nobody start it again.
#[tokio::test]
async fn one_that_would_be_gone_is_not_stopped() {
    let (_bench, container, web) = shop(&["--rm"], SLEEPS);
    web.mutator.start(&now()).await.unwrap();
    for failure in [web.mutator.stop(&now()).await.unwrap_err(), web.mutator.restart(&now()).await.unwrap_err()] {
        assert_eq!(failure.kind, FailureKind::Invalid);
        let said = "its container is removed when it ends (`--rm`): once it is stopped nobody can start it";
        assert_eq!(failure.message, said);
    }
    assert_eq!(container.docker(&["inspect", "--format", "{{.State.Running}}"]), "true");
}

#[tokio::test]
async fn a_daemon_that_is_away_is_said() {
    let bench = Bench::new();
    let away = Container { socket: PathBuf::from("/nowhere/docker.sock"), ..section(&bench) };
    let failure = service(&bench, &away).observer.status().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable);
    assert_eq!(failure.message, "the Docker daemon cannot be reached: No such file or directory (os error 2)");
    // Something else listens there.
    let socket = bench.join("other.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten().take(2) {
            use std::io::Write;
            let _ = stream.write_all(b"220 mail ready\r\n");
        }
    });
    let failure = service(&bench, &Container { socket, ..away }).observer.status().await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unavailable, "{failure}");
}

#[tokio::test]
async fn a_health_check_has_the_last_word() {
    let health = ["--health-cmd", "test -e /tmp/well", "--health-interval", "100ms", "--health-retries", "2"];
    let (bench, container, plain) =
        shop(&health, "trap 'exit 0' TERM; while :; do [ -e /go ] && : >/tmp/well; sleep 0.05; done");
    let healthy =
        service(&bench, &Container { healthy: true, start_within: Duration::from_secs(2), ..section(&bench) });
    let failure = healthy.mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(failure.message.starts_with("`web` was started, and is "), "{failure}");
    assert_eq!(plain.observer.status().await, Ok(Status::Running), "who does not ask is not told");
    status_becomes(&healthy, Status::Failed).await;
    assert!(daemon().docker(&["exec", &container.name, "/bin/sh", "-c", ": >/go"]).status.success());
    let patient = service(&bench, &Container { healthy: true, ..section(&bench) });
    patient.mutator.start(&now()).await.unwrap();
    assert_eq!(healthy.observer.status().await, Ok(Status::Running));
}

#[tokio::test]
async fn who_ignores_being_asked_is_killed_by_the_daemon() {
    let (bench, _container, _) = shop(&[], "trap '' TERM; while :; do sleep 0.05; done");
    let web = service(&bench, &Container { stop_within: Duration::from_secs(1), ..section(&bench) });
    web.mutator.start(&now()).await.unwrap();
    let pids = web.observer.processes().await.unwrap();
    web.mutator.stop(&now()).await.unwrap();
    assert!(pids.iter().all(|pid| !alive(*pid)));
    assert_eq!(web.observer.processes().await, Ok(vec![]));
}

#[tokio::test]
async fn a_stop_holds_whatever_the_restart_policy_says() {
    for policy in ["always", "unless-stopped"] {
        let (_bench, container, web) = shop(&["--restart", policy], SLEEPS);
        web.mutator.start(&now()).await.unwrap();
        web.mutator.stop(&now()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(web.observer.status().await, Ok(Status::Stopped), "{policy}");
        assert_eq!(container.docker(&["inspect", "--format", "{{.State.Running}}"]), "false");
    }
}

/// The same name, and another container.
#[tokio::test]
async fn one_that_was_made_again_is_another_one() {
    let (bench, container, web) = shop(&[], "echo ready; trap 'exit 0' TERM; while :; do sleep 0.05; done");
    web.mutator.start(&now()).await.unwrap();
    let before = web.observer.start_id().await.unwrap().unwrap();
    let mark = web.mutator.mark(&now()).await.unwrap();
    drop(container);
    let _again = daemon().create(&bench, &[], SLEEPS);
    web.mutator.start(&now()).await.unwrap();
    assert_ne!(web.observer.start_id().await.unwrap().unwrap().split('/').next(), before.split('/').next());
    let failure = web.observer.search(&mark, &["ready".to_owned()]).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Inconclusive);
    assert_eq!(failure.message, "the container was made again since then, and the earlier log went with it");
}

#[tokio::test]
async fn a_log_that_was_rotated_away_is_no_clean_log() {
    let options = ["--log-opt", "max-size=4k", "--log-opt", "max-file=1"];
    let script = "echo first; trap 'exit 0' TERM; while [ ! -e /tmp/go ]; do sleep 0.05; done";
    let (_bench, container, web) = shop(&options, &format!("{script}; seq 1 2000; while :; do sleep 0.05; done"));
    web.mutator.start(&now()).await.unwrap();
    let mark = web.mutator.mark(&now()).await.unwrap();
    let name = &container.name;
    let go = daemon().docker(&["exec", name, "/bin/sh", "-c", ": >/tmp/go"]);
    assert!(go.status.success(), "{go:?}");
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        match web.observer.search(&mark, &["no such line".to_owned()]).await {
            Err(failure) => {
                assert_eq!(failure.kind, FailureKind::Inconclusive, "{failure}");
                assert_eq!(failure.message, "the log since then was rotated away in part");
                return;
            }
            Ok(_) => assert!(std::time::Instant::now() < until, "it was never rotated"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_tree_that_was_exchanged_needs_a_new_start() {
    let bench = Bench::new();
    fs::create_dir(bench.join("app")).unwrap();
    fs::write(bench.join("app/version"), "1\n").unwrap();
    let exchanged = |version: &str| {
        fs::create_dir(bench.join("other")).unwrap();
        fs::write(bench.join("other/version"), format!("{version}\n")).unwrap();
        fs::rename(bench.join("app"), bench.join(&format!("before-{version}"))).unwrap();
        fs::rename(bench.join("other"), bench.join("app")).unwrap();
    };
    let mount = format!("{}:/app", bench.join("app").display());
    let script = "trap 'cat /app/version' HUP; trap 'exit 0' TERM; cat /app/version; while :; do sleep 0.05; done";
    let _container = daemon().create(&bench, &["--volume", &mount], script);
    let web = service(&bench, &section(&bench));
    let (start, begun) = (Start { service: "web".into() }, web.mutator.mark(&now()).await.unwrap());
    web.mutator.start(&now()).await.unwrap();
    web.mutator.reload(&now()).await.unwrap();
    says(&web, &begun, &["1", "1"]).await;
    let first = web.observer.start_id().await;
    exchanged("2");
    assert_eq!(reconciled(&web, &start, &[]).await, Ok(false));
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(reconciled(&web, &start, &[]).await, Ok(true));
    says(&web, &begun, &["1", "1", "2"]).await;
    let second = web.observer.start_id().await;
    assert_ne!(second, first);
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(web.observer.start_id().await, second, "it sees what is there");
    // A signal would have it read what is no longer there.
    exchanged("1");
    let (result, evidence) = performed(async |call| web.mutator.reload(&call).await).await;
    assert_eq!(result, Ok(()));
    says(&web, &begun, &["1", "1", "2", "1"]).await;
    assert_eq!(evidence.len(), 1);
    assert_eq!(Some(evidence[0]["start"].as_str().unwrap()), second.unwrap().as_deref());
    assert_eq!(reconciled(&web, &Reload { service: "web".into() }, &evidence).await, Ok(true));
}
