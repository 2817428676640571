//! Units of a real systemd: what a stop takes along, that nothing starts it meanwhile, and that the very same comes back.
mod interrupted;
mod log;
mod site;

use super::*;
use crate::support::{
    call::call_heard,
    systemd::{Systemd as Manager, system, user},
};
use backout::{
    capability::service::ops::{Restart, Stop},
    gate::{Operation, Reconciled},
    resource::service::{Manager as Whose, Systemd},
};
use std::{os::unix::net::UnixStream, path::PathBuf};

/// One product on a manager: units whose names nobody else has.
struct Product {
    manager: &'static Manager,
    whose: Whose,
    bench: Bench,
    /// `backout-bench-XXXXXX`
    name: String,
}

impl Product {
    fn new(whose: Whose) -> Self {
        let manager = if whose == Whose::System { system() } else { user() };
        let bench = Bench::new();
        let name = bench.tag.to_lowercase();
        Self { manager, whose, bench, name }
    }

    fn unit(&self) -> String {
        format!("{}.service", self.name)
    }
    /// Another unit of this product: `-worker.service`.
    fn other(&self, end: &str) -> String {
        format!("{}{end}", self.name)
    }
    /// A place that its units may write.
    fn place(&self, name: &str) -> PathBuf {
        self.manager.dir().join(format!("{}-{name}", self.name))
    }
    /// The service itself, as a package brings it.
    fn serves(&self, text: &str) {
        self.manager.unit(&self.unit(), text);
    }
    fn section(&self) -> Systemd {
        Systemd {
            unit: self.unit(),
            manager: self.whose,
            bus: Some(self.manager.bus()),
            start_within: PATIENCE,
            stop_within: PATIENCE,
            settle: Duration::from_millis(100),
            log: None,
            journal: Some(self.manager.journal()),
        }
    }
    fn opened(&self, section: Systemd) -> Access<Service> {
        let section = Section { driver: Driver::Systemd(section), uses: Vec::new() };
        drivers::open_with("web", &section, &self.bench.join("state"), BACKOUT.into())
    }
    fn access(&self) -> Access<Service> {
        self.opened(self.section())
    }
    fn record(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.bench.join("state/units/web/record.json")).unwrap()).unwrap()
    }
    fn is_recorded(&self) -> bool {
        self.bench.join("state/units/web/record.json").exists()
    }
    fn start_by_hand(&self, unit: &str) {
        self.manager.ctl(&["start", unit]);
    }
    fn is_active(&self, unit: &str) -> bool {
        self.manager.is_active(unit)
    }
    fn active(&self, unit: &str) -> String {
        self.manager.show(unit, "ActiveState")
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        self.manager.ctl(&["stop", "--no-block", &format!("{}*", self.name)]);
        self.manager.ctl(&["kill", "--signal=KILL", &self.unit()]);
    }
}

const SLEEPS: &str = "[Service]\nExecStart=/bin/sh -c 'echo ready; exec sleep 1000'\n";

fn system_product() -> Product {
    Product::new(Whose::System)
}

async fn stopped(web: &Access<Service>) {
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
}
async fn started(web: &Access<Service>) {
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Running);
}

/// The suite's product: of a user's manager, whose processes are this machine's own, with its log in a file.
pub fn unit() -> every::Subject {
    let product = Product::new(Whose::User);
    let (script, log) = (product.place("script"), product.place("log"));
    fs::write(&script, every::SCRIPT).unwrap();
    product.serves(&format!(
        "[Service]\nExecStart=/bin/sh {}\nExecReload=/bin/kill -HUP $MAINPID\nStandardOutput=append:{}\n",
        script.display(),
        log.display()
    ));
    let access = product.opened(Systemd { log: Some(log), journal: None, ..product.section() });
    every::Subject { access, killed: Status::Failed, held: true, _keep: Box::new(product) }
}

/// What a failure says.
fn said<T: std::fmt::Debug>(result: Result<T, backout::resource::Failure>) -> (FailureKind, String) {
    let failure = result.unwrap_err();
    (failure.kind, failure.message)
}

#[tokio::test]
async fn a_unit_is_started_and_stopped_and_both_may_be_said_twice() {
    for whose in [Whose::System, Whose::User] {
        let product = Product::new(whose);
        product.serves(SLEEPS);
        let web = product.access();
        assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
        started(&web).await;
        let first = web.observer.start_id().await.unwrap().unwrap();
        assert_eq!(first, product.manager.show(&product.unit(), "InvocationID"));
        assert!(!product.is_recorded(), "a start that has come to its end remembers nothing");
        started(&web).await;
        assert_eq!(web.observer.start_id().await.unwrap().as_ref(), Some(&first), "a second start changes nothing");
        assert_eq!(web.observer.processes().await.unwrap().len(), 1);
        stopped(&web).await;
        stopped(&web).await;
        assert_eq!((web.observer.start_id().await, web.observer.processes().await), (Ok(None), Ok(vec![])));
        started(&web).await;
        assert_ne!(web.observer.start_id().await.unwrap().unwrap(), first);
        assert_eq!(product.manager.show(&product.unit(), "LoadState"), "loaded");
    }
}

#[tokio::test]
async fn nothing_starts_a_stopped_unit() {
    let product = system_product();
    product.serves(SLEEPS);
    product.manager.unit(&product.other("-wants.service"), &format!("Wants={}\n{SLEEPS}", product.unit()));
    product.manager.unit(
        &product.other(".timer"),
        &format!("[Timer]\nOnActiveSec=100ms\nOnUnitInactiveSec=100ms\nAccuracySec=1ms\nUnit={}\n", product.unit()),
    );
    let socket = product.place("socket");
    product.manager.unit(&product.other(".socket"), &format!("[Socket]\nListenStream={}\n", socket.display()));
    let web = product.access();
    product.start_by_hand(&product.other(".socket"));
    started(&web).await;
    product.start_by_hand(&product.other(".timer"));
    stopped(&web).await;
    for trigger in [".timer", ".socket"] {
        assert_eq!(product.active(&product.other(trigger)), "inactive", "{trigger}");
    }
    assert!(UnixStream::connect(&socket).is_err(), "nobody listens");
    // An operator's reflex, another unit, a trigger that somebody has started again: none of them gets through.
    let reflex = || {
        product.start_by_hand(&product.unit());
        product.start_by_hand(&product.other("-wants.service"));
        product.start_by_hand(&product.other(".timer"));
        product.start_by_hand(&product.other(".socket"));
        let _ = UnixStream::connect(&socket);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(product.active(&product.unit()), "inactive");
    };
    reflex();
    assert!(product.is_active(&product.other("-wants.service")), "only what was stopped is kept down");
    for trigger in [".timer", ".socket"] {
        product.manager.ctl(&["stop", &product.other(trigger)]);
    }
    assert_eq!(product.manager.show(&product.unit(), "LoadState"), "masked");
    started(&web).await;
    assert_eq!(product.manager.show(&product.unit(), "LoadState"), "loaded");
    for trigger in [".timer", ".socket"] {
        assert!(product.is_active(&product.other(trigger)), "{trigger} is back");
    }
}

/// There a mask at run time does nothing: it comes after `/etc`.
#[tokio::test]
async fn nothing_starts_a_stopped_unit_of_an_operator() {
    let product = Product::new(Whose::User);
    let text = "[Service]\nExecStart=/bin/sh -c 'echo ready; exec sleep 1000'\nExecStop=/bin/touch ";
    product.manager.unit_of_operator(&product.unit(), &format!("{text}{}\n", product.place("told").display()));
    let web = product.access();
    started(&web).await;
    stopped(&web).await;
    assert!(product.place("told").exists(), "it was stopped in its own way");
    product.start_by_hand(&product.unit());
    assert_eq!(product.active(&product.unit()), "inactive");
    assert_eq!(product.record()["hold"]["drop-in"].as_str().unwrap().rsplit('/').next(), Some("zz-backout.conf"));
    stopped(&web).await;
    started(&web).await;
    assert_eq!(product.manager.show(&product.unit(), "DropInPaths"), "", "nothing is left of it");

    // Where Backout does not see the manager's files, it says so before anything is stopped.
    let product = system_product();
    product.manager.unit_of_operator(&product.unit(), SLEEPS);
    let web = product.access();
    started(&web).await;
    let failure = web.mutator.stop(&now()).await.unwrap_err();
    assert_eq!(failure.message, "its manager does not heed what would keep it down");
    assert!(product.is_active(&product.unit()), "it runs on");
}

#[tokio::test]
async fn who_requires_it_comes_back_too_and_nobody_else() {
    let product = system_product();
    product.serves(SLEEPS);
    let unit = product.unit();
    let bound = [("-requires", "Requires"), ("-bound", "BindsTo"), ("-part", "PartOf"), ("-idle", "Requires")];
    for (end, how) in bound {
        let text = format!("{how}={unit}\nAfter={unit}\n{SLEEPS}");
        product.manager.unit(&product.other(&format!("{end}.service")), &text);
    }
    // Who requires whoever requires it; and a trigger of that.
    let second = format!("Requires={0}\nAfter={0}\n{SLEEPS}", product.other("-requires.service"));
    product.manager.unit(&product.other("-second.service"), &second);
    let timer = format!("[Timer]\nOnActiveSec=1h\nUnit={}\n", product.other("-second.service"));
    product.manager.unit(&product.other("-second.timer"), &timer);
    let web = product.access();
    started(&web).await;
    let up = ["-requires.service", "-bound.service", "-part.service", "-second.service", "-second.timer"];
    for end in up {
        product.start_by_hand(&product.other(end));
        assert!(product.is_active(&product.other(end)), "{end}");
    }
    stopped(&web).await;
    for end in up {
        assert_eq!(product.active(&product.other(end)), "inactive", "{end}");
    }
    started(&web).await;
    for end in up {
        assert!(product.is_active(&product.other(end)), "{end} is back");
    }
    assert_eq!(product.active(&product.other("-idle.service")), "inactive", "what did not run is not started");
}

#[tokio::test]
async fn what_does_not_come_back_is_said_and_not_forgotten() {
    let product = system_product();
    product.serves(SLEEPS);
    let broken = product.place("broken");
    let worker = format!(
        "Requires={0}\nAfter={0}\n[Service]\nType=exec\nExecStartPre=/bin/test ! -e {1}\nExecStart=/bin/sleep 1000\n",
        product.unit(),
        broken.display()
    );
    product.manager.unit(&product.other("-worker.service"), &worker);
    let web = product.access();
    started(&web).await;
    product.start_by_hand(&product.other("-worker.service"));
    stopped(&web).await;
    fs::write(&broken, "").unwrap();
    let (kind, message) = said(web.mutator.start(&now()).await);
    assert_eq!(kind, FailureKind::Failed);
    let worker = product.other("-worker.service");
    assert!(
        message.starts_with(&format!("it runs, but what was stopped with it has not come back: `{worker}`: ")),
        "{message}"
    );
    fs::remove_file(&broken).unwrap();
    started(&web).await;
    assert!(product.is_active(&worker));
    assert!(!product.is_recorded());
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_failed_start() {
    let product = system_product();
    product.serves("[Service]\nType=simple\nExecStart=/no/such/program\n");
    let web = product.access();
    let (kind, message) = said(web.mutator.start(&now()).await);
    assert_eq!(kind, FailureKind::Failed);
    assert!(message.starts_with("its program cannot be started (exit status 203)"), "{message}");
    assert_eq!(web.observer.status().await.unwrap(), Status::Failed);
    product.serves("[Service]\nExecStart=/bin/sh -c 'echo no such database >&2; exit 3'\n");
    let web = product.opened(Systemd { settle: PATIENCE, ..product.section() });
    let (_, message) = said(web.mutator.start(&now()).await);
    assert!(message.starts_with("it ended at once with exit status 3; its last words: "), "{message}");
    assert!(message.contains("no such database"), "{message}");
    stopped(&web).await;
}

#[tokio::test]
async fn a_start_that_systemd_repeats_is_a_failed_start() {
    let product = system_product();
    product.serves("StartLimitIntervalSec=0\n[Service]\nRestart=always\nRestartSec=50ms\nExecStart=/bin/sh -c 'sleep 0.2; exit 1'\n");
    let web = product.opened(Systemd { settle: PATIENCE, ..product.section() });
    let (kind, message) = said(web.mutator.start(&now()).await);
    assert_eq!(kind, FailureKind::Failed);
    assert!(message.starts_with("it ended at once with exit status 1"), "{message}");
    stopped(&web).await;
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped, "and it stays so");
}

#[tokio::test]
async fn a_limit_of_starts_that_was_hit_refuses_no_start() {
    let product = system_product();
    let broken = product.place("broken");
    product.serves(&format!(
        "StartLimitIntervalSec=1h\nStartLimitBurst=2\n[Service]\nType=exec\nExecStartPre=/bin/test ! -e {}\nExecStart=/bin/sleep 1000\n",
        broken.display()
    ));
    // Whoever has the manager read its files meanwhile, for another test, makes it forget its count.
    wait_for("a start by hand that is refused", || {
        fs::write(&broken, "").unwrap();
        for _ in 0..3 {
            product.start_by_hand(&product.unit());
        }
        fs::remove_file(&broken).unwrap();
        product.start_by_hand(&product.unit());
        if !product.is_active(&product.unit()) {
            return Some(());
        }
        product.manager.ctl(&["stop", &product.unit()]);
        None
    });
    let web = product.access();
    started(&web).await;
    stopped(&web).await;
    for _ in 0..4 {
        web.mutator.stop(&now()).await.unwrap();
        started(&web).await;
    }
}

#[tokio::test]
async fn a_unit_file_that_has_changed_is_read_before_the_start() {
    let product = system_product();
    product.serves(SLEEPS);
    let web = product.access();
    started(&web).await;
    stopped(&web).await;
    let changed = "[Unit]\nDefaultDependencies=no\n[Service]\nEnvironment=NEW=1\nExecStart=/bin/sleep 1000\n";
    fs::write(product.manager.dir().join("lib").join(product.unit()), changed).unwrap();
    started(&web).await;
    assert_eq!(product.manager.show(&product.unit(), "Environment"), "NEW=1");
    // Of one that runs, a restart reads it.
    fs::write(product.manager.dir().join("lib").join(product.unit()), changed.replace('1', "2")).unwrap();
    web.mutator.restart(&now()).await.unwrap();
    assert_eq!(product.manager.show(&product.unit(), "Environment"), "NEW=2");
    // One that cannot be used is named, and the one before stays stopped.
    stopped(&web).await;
    fs::write(product.manager.dir().join("lib").join(product.unit()), "[Service]\nType=nonsense\n").unwrap();
    let (_, message) = said(web.mutator.start(&now()).await);
    assert!(message.starts_with("its unit file cannot be used ("), "{message}");
}

#[tokio::test]
async fn a_mask_of_somebody_else_stays() {
    let product = system_product();
    product.serves(SLEEPS);
    let web = product.access();
    product.manager.ctl(&["mask", "--runtime", &product.unit()]);
    stopped(&web).await;
    let (kind, message) = said(web.mutator.start(&now()).await);
    assert_eq!((kind, message), (FailureKind::Conflict, format!("`{}` is masked, and not by Backout", product.unit())));
    product.manager.ctl(&["unmask", "--runtime", &product.unit()]);
    started(&web).await;
}

#[tokio::test]
async fn a_restart_is_known_by_who_runs() {
    let product = system_product();
    product.serves(SLEEPS);
    let web = product.access();
    let restart = Restart { service: "web".into() };
    let reconciled =
        async |evidence: &[serde_json::Value]| match restart.reconcile(&*web.observer, evidence, &now()).await.unwrap()
        {
            Reconciled::Done(()) => "done",
            Reconciled::NotDone => "not done",
            Reconciled::Unknown(_) => "unknown",
        };
    started(&web).await;
    let before = web.observer.start_id().await.unwrap();
    let (call, heard) = call_heard("1/upgrade/restart/1/1", PATIENCE);
    web.mutator.restart(&call).await.unwrap();
    let evidence: serde_json::Value = serde_json::from_str(&heard.0.lock().unwrap()[0]).unwrap();
    assert_eq!(evidence["start"].as_str(), before.as_deref());
    assert!(evidence["what"].as_str().unwrap().starts_with(&format!("`{}` was about to be restarted", product.unit())));
    assert_ne!(web.observer.start_id().await.unwrap(), before);
    assert_eq!(reconciled(&[evidence]).await, "done");
    let now_running = serde_json::json!({ "start": web.observer.start_id().await.unwrap(), "what": "" });
    assert_eq!(reconciled(&[now_running]).await, "not done");
    // A unit that Backout keeps down comes up by a restart as by a start.
    stopped(&web).await;
    web.mutator.restart(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Running);
    assert!(!product.is_recorded());
}

#[tokio::test]
async fn only_a_unit_that_can_is_told_to_read_its_configuration_again() {
    let product = system_product();
    product.serves(SLEEPS);
    let web = product.access();
    assert_eq!(said(web.mutator.reload(&now()).await), (FailureKind::Conflict, "it does not run".to_owned()));
    started(&web).await;
    let (kind, message) = said(web.mutator.reload(&now()).await);
    assert_eq!(kind, FailureKind::Invalid);
    assert_eq!(message, "its unit does not say how it reads its configuration again (`ExecReload`)");
    product.serves(&format!("{SLEEPS}ExecReload=/bin/touch {}\n", product.place("read").display()));
    let start = web.observer.start_id().await.unwrap();
    web.mutator.reload(&now()).await.unwrap();
    assert!(product.place("read").exists());
    assert_eq!(web.observer.start_id().await.unwrap(), start);
    product.serves(&format!("{SLEEPS}ExecReload=/bin/false\n"));
    let (kind, message) = said(web.mutator.reload(&now()).await);
    assert_eq!((kind, message.as_str()), (FailureKind::Failed, "the reload came to nothing: failed"));
}

#[tokio::test]
async fn a_stop_that_hangs_is_not_done_and_leaves_no_job() {
    let product = system_product();
    product.serves(
        "[Service]\nTimeoutStopSec=infinity\nExecStart=/bin/sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done'\n",
    );
    let web = product.opened(Systemd { stop_within: Duration::from_millis(300), ..product.section() });
    started(&web).await;
    says_since_start(&product).await;
    let (kind, message) = said(web.mutator.stop(&now()).await);
    assert_eq!(kind, FailureKind::TimedOut);
    assert!(message.contains("has not ended in time, it is deactivating"), "{message}");
    assert_eq!(product.manager.show(&product.unit(), "Job"), "", "the job was called off");
    assert_eq!(web.observer.start_id().await.unwrap(), None, "it was told to end");
    let soon = call("1/upgrade/stop/1/1", Duration::from_millis(200));
    let stop = Stop { service: "web".into() };
    assert!(matches!(stop.reconcile(&*web.observer, &[], &soon).await.unwrap(), Reconciled::NotDone));
    product.manager.ctl(&["kill", "--signal=KILL", &product.unit()]);
    stopped(&web).await;
    started(&web).await;
}

async fn says_since_start(product: &Product) {
    let web = product.access();
    let until = Instant::now() + PATIENCE;
    while web.observer.search(&Mark::at(0), &["ready".to_owned()]).await.unwrap().is_empty() {
        assert!(Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_missing_or_away_is_said() {
    let product = system_product();
    let web = product.access();
    let missing = format!("its manager knows no unit `{}`", product.unit());
    assert_eq!(said(web.observer.status().await), (FailureKind::NotFound, missing.clone()));
    assert_eq!(said(web.mutator.start(&now()).await), (FailureKind::NotFound, missing.clone()));
    assert_eq!(said(web.mutator.stop(&now()).await), (FailureKind::NotFound, missing));
    // A mask of another name would keep nothing down.
    product.serves(SLEEPS);
    let alias = product.manager.dir().join("etc").join(product.other("-alias.service"));
    std::os::unix::fs::symlink(product.manager.dir().join("lib").join(product.unit()), alias).unwrap();
    product.manager.ctl(&["daemon-reload"]);
    let aliased = product.opened(Systemd { unit: product.other("-alias.service"), ..product.section() });
    let (kind, message) = said(aliased.mutator.stop(&now()).await);
    let expected = format!("`{}` is only another name of `{}`", product.other("-alias.service"), product.unit());
    assert_eq!((kind, message), (FailureKind::Invalid, expected));
    let web = product.opened(Systemd { bus: Some(product.bench.join("no-bus")), ..product.section() });
    for result in [web.observer.status().await.map(drop), web.mutator.stop(&now()).await] {
        let failure = result.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.message.starts_with("the bus of its manager is not there"), "{failure}");
        assert!(!failure.message.contains("no-bus"), "a script is told no path: {failure}");
    }
}

/// As an account that may do nothing here; only the thread that connects becomes it.
#[test]
fn who_may_not_is_told_which_right_is_missing() {
    let product = system_product();
    product.serves(SLEEPS);
    product.start_by_hand(&product.unit());
    std::thread::sleep(product.section().settle);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let nobody = rustix::process::Uid::from_raw(65534);
            fs::create_dir_all(product.bench.join("state/units/web")).unwrap();
            for folder in ["state/units/web", "state/units", "state", ""] {
                rustix::fs::chown(product.bench.join(folder), Some(nobody), None).unwrap();
            }
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let web = product.access();
                assert_eq!(web.observer.status().await.unwrap(), Status::Running, "everybody may look");
                let failure = web.mutator.stop(&now()).await.unwrap_err();
                assert_eq!(failure.kind, FailureKind::Denied);
                let right = "org.freedesktop.systemd1.manage-unit-files";
                assert!(failure.message.contains(&format!("it needs the right `{right}`")), "{failure}");
                let failure = web.mutator.restart(&now()).await.unwrap_err();
                assert!(failure.message.contains("it needs the right `org.freedesktop.systemd1."), "{failure}");
            });
        });
    });
    assert!(product.is_active(&product.unit()), "nothing was stopped before the right was missed");
}
