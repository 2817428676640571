//! Services that somebody else keeps, by command lines: a plain init script, supervisord, and scripts that do everything wrong.
use super::{
    done::{performed, reconciled},
    every::{SCRIPT, Subject},
    now,
};
use crate::support::{
    bench::{BACKOUT, Bench, PATIENCE, alive, kill, wait_for},
    call::call,
};
use backout::{
    capability::service::ops::{Reload, Restart},
    resource::{
        Access, FailureKind, Service,
        service::{Codes, Command, Driver, Mark, Section, Status, drivers},
    },
};
use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

fn line(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn sh(script: &str) -> Vec<String> {
    line(&["sh", "-c", script])
}

/// `ctl` with the verb behind it, for each verb.
fn commands(bench: &Bench, ctl: &[&str]) -> Command {
    let verb = |verb: &str| line(&[ctl, &[verb]].concat());
    Command {
        status: verb("status"),
        start: verb("start"),
        stop: verb("stop"),
        restart: None,
        reload: Some(verb("reload")),
        processes: None,
        dir: bench.path().to_owned(),
        env: BTreeMap::from([("BACKOUT_TEST".to_owned(), bench.tag.clone())]),
        user: None,
        start_within: PATIENCE,
        stop_within: PATIENCE,
        status_within: PATIENCE,
        settle: Duration::from_millis(100),
        codes: Codes::default(),
        log: Some(bench.join("shop.log")),
        pid_file: Some(bench.join("shop.pid")),
    }
}

fn service(bench: &Bench, command: &Command) -> Access<Service> {
    let section = Section { driver: Driver::Command(Box::new(command.clone())), uses: Vec::new() };
    drivers::open_with("web", &section, &bench.join("state"), BACKOUT.into())
}

/// As the Linux Standard Base has it; Debian's own tool keeps the process.
const INIT: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 4
pid=$PWD/shop.pid
case $1 in
start) start-stop-daemon --start --quiet --oknodo --background --make-pidfile --pidfile "$pid" \
    --output "$PWD/shop.log" --startas /bin/sh -- "$PWD/product" ;;
stop) start-stop-daemon --stop --quiet --oknodo --retry TERM/20/KILL/5 --remove-pidfile --pidfile "$pid" ;;
reload) start-stop-daemon --stop --quiet --signal HUP --pidfile "$pid" ;;
status) start-stop-daemon --status --pidfile "$pid" ;;
esac
"#;

fn product(bench: &Bench) {
    fs::write(bench.join("product"), SCRIPT).unwrap();
}

fn program(bench: &Bench, name: &str, text: &str) -> String {
    fs::write(bench.join(name), text).unwrap();
    fs::set_permissions(bench.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    bench.join(name).display().to_string()
}

fn init(bench: &Bench) -> Command {
    product(bench);
    commands(bench, &[&program(bench, "shop", INIT)])
}

pub fn init_script() -> Subject {
    let bench = Bench::new();
    let access = service(&bench, &init(&bench));
    Subject { access, killed: Status::Failed, held: false, _keep: Box::new(bench) }
}

struct Supervisord(Child);
impl Drop for Supervisord {
    fn drop(&mut self) {
        // With all that it keeps.
        kill(i32::try_from(self.0.id()).unwrap(), "TERM");
        let _ = self.0.wait();
    }
}

pub fn supervisord() -> Subject {
    let bench = Bench::new();
    product(&bench);
    let dir = bench.path().display();
    let conf = bench.join("supervisord.conf");
    let text = format!(
        "[unix_http_server]\nfile={dir}/s.sock\n[supervisord]\nnodaemon=true\nlogfile={dir}/supervisord.log\n\
         pidfile={dir}/supervisord.pid\nchildlogdir={dir}\n[rpcinterface:supervisor]\n\
         supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{dir}/s.sock\n[program:web]\ncommand=sh {dir}/product\nautostart=false\n\
         autorestart=false\nstartsecs=0\nstdout_logfile={dir}/shop.log\nredirect_stderr=true\n"
    );
    fs::write(&conf, text).unwrap();
    // A server that nobody waits for any more must not stay.
    let server = std::process::Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "supervisord", "-c"])
        .arg(&conf)
        .env("BACKOUT_TEST", &bench.tag)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("`supervisord` and `setpriv` are needed: apt-get install supervisor util-linux");
    let server = Supervisord(server);
    wait_for("supervisord (apt-get install supervisor)", || bench.join("s.sock").exists().then_some(()));
    let conf = conf.display().to_string();
    let ctl = |words: &[&str]| line(&[&["supervisorctl", "-c", &conf], words].concat());
    let command = Command {
        status: ctl(&["status", "web"]),
        start: ctl(&["start", "web"]),
        stop: ctl(&["stop", "web"]),
        restart: Some(ctl(&["restart", "web"])),
        reload: Some(ctl(&["signal", "HUP", "web"])),
        processes: Some(ctl(&["pid", "web"])),
        pid_file: None,
        ..commands(&bench, &[])
    };
    let access = service(&bench, &command);
    // For supervisord, what has exited is not running.
    Subject { access, killed: Status::Stopped, held: false, _keep: Box::new((server, bench)) }
}

/// A script whose verbs a test makes.
fn ctl(bench: &Bench, verbs: &str) -> Command {
    let script =
        program(bench, "ctl", &format!("#!/bin/sh\ncd {}\ncase $1 in\n{verbs}\nesac\n", bench.path().display()));
    Command { pid_file: None, log: None, ..commands(bench, &[&script]) }
}

/// Says that it runs when the file `up` is there.
const STATUS: &str = "status) [ -e up ] && exit 0; exit 3;;\n";

#[tokio::test]
async fn an_exit_code_alone_is_not_believed() {
    let bench = Bench::new();
    let liar = Command {
        start_within: Duration::from_secs(2),
        stop_within: Duration::from_secs(2),
        ..ctl(&bench, &format!("{STATUS}start) ;;\nstop) ;;"))
    };
    let web = service(&bench, &liar);
    let failure = web.mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert_eq!(failure.message, "`web` was started, and its status still says stopped");
    fs::write(bench.join("up"), "").unwrap();
    let failure = web.mutator.stop(&now()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert_eq!(failure.message, "`web` was stopped, and its status still says running");
    // The other way round: a stop that complains has stopped it all the same.
    let web = service(
        &bench,
        &ctl(&bench, &format!("{STATUS}stop) rm up; exit 7;;\nstart) touch up; echo no >&2; exit 7;;")),
    );
    web.mutator.stop(&now()).await.unwrap();
    let failure = web.mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.message, "its `start` failed with exit status 7; the last of its standard error: no");
}

#[tokio::test]
async fn who_comes_up_and_ends_again_has_not_started() {
    let bench = Bench::new();
    let flash = ctl(&bench, &format!("{STATUS}start) touch up; (sleep 0.5; rm up) >/dev/null 2>&1 & ;;"));
    let web = service(&bench, &Command { settle: PATIENCE, ..flash });
    let failure = web.mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.message, "it came up and ended again: its status says stopped");
}

#[tokio::test]
async fn codes_mean_what_the_site_says() {
    let bench = Bench::new();
    let mut command = ctl(&bench, "status) echo it is odd; exit $(cat code);;");
    for (code, status) in [
        (0, Some(Status::Running)),
        (1, Some(Status::Failed)),
        (2, Some(Status::Failed)),
        (3, Some(Status::Stopped)),
        (4, None),
        (77, None),
        (127, None),
    ] {
        fs::write(bench.join("code"), code.to_string()).unwrap();
        let said = service(&bench, &command).observer.status().await;
        match status {
            Some(status) => assert_eq!(said, Ok(status), "{code}"),
            None => {
                let message = said.unwrap_err().message;
                let begin = format!("its `status` says with exit status {code} nothing that the site knows");
                assert_eq!(message, format!("{begin}; the last of its standard output: it is odd"));
            }
        }
    }
    command.codes = Codes { running: vec![77], stopped: vec![0], failed: vec![], starting: vec![5] };
    for (code, status) in [(77, Status::Running), (0, Status::Stopped), (5, Status::Starting)] {
        fs::write(bench.join("code"), code.to_string()).unwrap();
        assert_eq!(service(&bench, &command).observer.status().await, Ok(status));
    }
    command.status = sh("kill -9 $$");
    let failure = service(&bench, &command).observer.status().await.unwrap_err();
    assert_eq!(failure.message, "its `status` was ended by signal 9 (KILL)");
}

#[tokio::test]
async fn a_command_that_is_not_there_is_said() {
    let bench = Bench::new();
    fs::write(bench.join("no-program"), "text").unwrap();
    let here = bench.join("no-program").display().to_string();
    let gone = bench.join("nothing").display().to_string();
    for (program, words) in [(gone, "No such file or directory"), (here, "Permission denied")] {
        let mut command = ctl(&bench, STATUS);
        command.start = line(&[&program]);
        let failure = service(&bench, &command).mutator.start(&now()).await.unwrap_err();
        assert!(failure.message.starts_with("its `start` failed with exit status 12"), "{failure}");
        assert!(failure.message.contains(&format!("the program cannot be started: {words}")), "{failure}");
        command.status = line(&[&program]);
        let failure = service(&bench, &command).observer.status().await.unwrap_err();
        assert!(failure.message.contains(words) && !failure.message.contains(&bench.tag), "{failure}");
    }
}

#[tokio::test]
async fn a_command_that_outlives_its_time_is_ended_with_its_family() {
    let bench = Bench::new();
    let slow = "(setsid sh -c 'trap \"\" TERM; sleep 1000; true' &) ; echo waiting; sleep 1000";
    let mut command = ctl(&bench, &format!("{STATUS}start) {slow};;"));
    command.start_within = Duration::from_millis(500);
    let failure = service(&bench, &command).mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert!(failure.message.starts_with("its `start` did not end within 500ms, and was ended"), "{failure}");
    assert!(failure.message.contains("standard output: waiting (what stays in the foreground is for"), "{failure}");
    wait_for("the end", || bench.processes().is_empty().then_some(()));
    command.status = sh("sleep 1000 & sleep 1000");
    command.status_within = Duration::from_millis(200);
    let failure = service(&bench, &command).observer.status().await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::TimedOut, "its `status` did not end within 200ms, and was ended")
    );
    wait_for("the end", || bench.processes().is_empty().then_some(()));
}

#[tokio::test]
async fn what_is_printed_is_bounded_harmless_and_without_secrets() {
    let bench = Bench::new();
    let flood = "head -c 30000000 /dev/zero | tr '\\0' x; echo; printf 'odd \\033[2J\\377 %s\\n' \"$TOKEN\"; exit 9";
    let mut command = ctl(&bench, &format!("{STATUS}start) {flood};;"));
    command.env.insert("TOKEN".into(), "s3cr3t-token".into());
    command.start.push("--password=not-shown".into());
    let failure = service(&bench, &command).mutator.start(&now()).await.unwrap_err();
    assert!(failure.message.ends_with("odd \u{fffd}[2J\u{fffd} ***"), "{failure}");
    assert!(failure.message.len() < 3000 && !failure.message.contains("not-shown"), "{failure}");
}

/// A service that goes on speaking where its start command spoke.
#[tokio::test]
async fn a_service_that_keeps_the_output_neither_stands_still_nor_dies() {
    let bench = Bench::new();
    let start = "start) (while echo $$ line that nobody reads any more; do echo x >>said; sleep 0.001; done; touch broken) & echo $! >shop.pid;;";
    let status = "status) kill -0 $(cat shop.pid) 2>/dev/null && exit 0; exit 3;;";
    let stop = "stop) kill $(cat shop.pid); rm shop.pid;;";
    let command = ctl(&bench, &format!("{status}\n{start}\n{stop}"));
    let web = service(&bench, &Command { pid_file: Some(bench.join("shop.pid")), ..command });
    web.mutator.start(&now()).await.unwrap();
    // More than a pipe holds.
    let said = || fs::metadata(bench.join("said")).map_or(0, |about| about.len() / 2);
    wait_for("many lines", || (said() > 4_000).then_some(()));
    assert!(!bench.join("broken").exists());
    assert_eq!(web.observer.status().await, Ok(Status::Running));
    web.mutator.stop(&now()).await.unwrap();
    wait_for("the end of all, with who listened", || bench.processes().is_empty().then_some(()));
}

#[tokio::test]
async fn a_start_that_was_given_up_is_ended_before_the_next() {
    let bench = Bench::new();
    let start = "start) echo begun >>calls; while [ ! -e go ]; do sleep 0.05; done; touch up;;";
    let web = service(&bench, &ctl(&bench, &format!("{STATUS}{start}")));
    {
        let context = now();
        let starting = web.mutator.start(&context);
        tokio::pin!(starting);
        while !bench.join("calls").exists() {
            let _ = tokio::time::timeout(Duration::from_millis(20), &mut starting).await;
        }
        assert_eq!(web.observer.status().await, Ok(Status::Starting), "nobody knows yet what comes of it");
        assert_eq!(web.observer.start_id().await, Ok(None));
    }
    fs::write(bench.join("go"), "").unwrap();
    web.mutator.start(&now()).await.unwrap();
    assert!(fs::read_to_string(bench.join("calls")).unwrap().lines().count() <= 2);
    assert_eq!(web.observer.status().await, Ok(Status::Running));
}

#[tokio::test]
async fn without_a_word_for_a_start_people_are_asked() {
    let bench = Bench::new();
    let verbs = format!("{STATUS}start) touch up;;\nstop) rm up;;\nreload) ;;");
    let web = service(&bench, &ctl(&bench, &verbs));
    let unknown = web.observer.processes().await.unwrap_err();
    assert_eq!(unknown.kind, FailureKind::Inconclusive);
    assert!(unknown.message.contains("neither `pid-file` nor `processes`"), "{unknown}");
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(web.observer.start_id().await.unwrap_err().kind, FailureKind::Inconclusive);
    let restart = Restart { service: "web".into() };
    let (result, evidence) = performed(async |call| web.mutator.restart(&call).await).await;
    result.unwrap();
    let look = reconciled(&web, &restart, &evidence).await.unwrap_err();
    assert!(
        look.starts_with("it was about to be restarted at 20") && look.contains("nobody can tell by which start"),
        "{look}"
    );
    let (result, evidence) = performed(async |call| web.mutator.reload(&call).await).await;
    result.unwrap();
    assert!(reconciled(&web, &Reload { service: "web".into() }, &evidence).await.is_err());
    // Where nothing runs, the status decides.
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(reconciled(&web, &restart, &evidence).await, Ok(false));
    assert_eq!(web.observer.start_id().await, Ok(None));
}

#[tokio::test]
async fn a_restart_that_restarts_nothing_is_said() {
    let bench = Bench::new();
    let command = Command { restart: Some(line(&["true"])), ..init(&bench) };
    let web = service(&bench, &command);
    web.mutator.start(&now()).await.unwrap();
    let failure = web.mutator.restart(&now()).await.unwrap_err();
    assert_eq!(failure.message, "its `restart` ended well, and it still runs by the same start");
}

#[tokio::test]
async fn what_others_say_of_processes_is_read_with_care() {
    let bench = Bench::new();
    let web = service(&bench, &init(&bench));
    web.mutator.start(&now()).await.unwrap();
    let own = web.observer.processes().await.unwrap();
    assert!(own.iter().all(|pid| alive(*pid)));
    let right = fs::read(bench.join("shop.pid")).unwrap();
    for wrong in ["1", "-1", "words", "99999999999", "\u{0}"] {
        fs::write(bench.join("shop.pid"), wrong).unwrap();
        let failure = web.observer.processes().await.unwrap_err();
        assert_eq!(failure.message, "its `pid-file` holds no process id", "{wrong:?}");
    }
    fs::write(bench.join("shop.pid"), right).unwrap();
    let mut listed = Command { pid_file: None, ..init(&bench) };
    for (prints, message) in
        [("echo 1", "no process id"), ("echo all of them", "no process id"), ("exit 2", "failed with exit status 2")]
    {
        listed.processes = Some(sh(prints));
        let failure = service(&bench, &listed).observer.processes().await.unwrap_err();
        assert!(failure.message.contains(message), "{failure}");
    }
    listed.processes = Some(sh("cat shop.pid"));
    let main = service(&bench, &listed).observer.processes().await.unwrap()[0];
    assert!(own.contains(&main));
    listed.processes = Some(sh("exit 1"));
    assert_eq!(service(&bench, &listed).observer.processes().await, Ok(vec![]));
    web.mutator.stop(&now()).await.unwrap();
}

#[tokio::test]
async fn without_a_log_there_is_nothing_to_search() {
    let bench = Bench::new();
    let mut command = ctl(&bench, STATUS);
    let web = service(&bench, &command);
    for failure in [
        web.mutator.mark(&now()).await.unwrap_err(),
        web.observer.search(&Mark::at(0), &line(&["x"])).await.unwrap_err(),
    ] {
        assert_eq!(
            (failure.kind, failure.message.as_str()),
            (FailureKind::Invalid, "the site does not say where its log is (`log`)")
        );
    }
    // One that never comes is no clean log.
    command.log = Some(bench.join("shop.log"));
    let web = service(&bench, &command);
    let mark = web.mutator.mark(&now()).await.unwrap();
    let failure = web.observer.search(&mark, &line(&["ERROR"])).await.unwrap_err();
    assert_eq!((failure.kind, failure.message.as_str()), (FailureKind::Inconclusive, "the log is not there"));
}

#[tokio::test]
async fn one_changes_it_at_a_time() {
    let bench = Bench::new();
    let start = "start) [ -e here ] && touch twice; touch here; sleep 0.3; touch up; rm here;;";
    let command = ctl(&bench, &format!("{STATUS}{start}\nstop) rm up;;"));
    let [one, two] = [0; 2].map(|_| service(&bench, &command));
    let (a, b) = (now(), now());
    let both = tokio::join!(one.mutator.start(&a), two.mutator.start(&b));
    assert_eq!(both, (Ok(()), Ok(())));
    assert!(!bench.join("twice").exists());
    let began = Instant::now();
    let hasty = call("1/upgrade/start/1/1", Duration::from_millis(50));
    let (c, d) = (now(), hasty);
    one.mutator.stop(&now()).await.unwrap();
    let (_, failure) = tokio::join!(one.mutator.start(&c), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        two.mutator.start(&d).await.unwrap_err()
    });
    assert_eq!(failure.message, "another Backout is starting or stopping it");
    assert!(began.elapsed() < PATIENCE);
}
