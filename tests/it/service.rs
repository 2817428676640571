//! Supervised processes, with real programs: what a stop leaves behind (nothing), and what is known after anything has died.
mod command;
mod docker;
mod done;
mod every;
mod systemd;

use crate::support::{
    bench::{BACKOUT, Bench, PATIENCE, alive, kill, stat, wait_for},
    call::call,
};
use backout::resource::{
    Access, CallCtx, FailureKind, Service,
    service::{Driver, Mark, Process, Section, Status, drivers},
};
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

fn process(bench: &Bench, script: &str) -> Process {
    Process {
        run: ["sh", "-c", script].map(ToOwned::to_owned).into(),
        dir: bench.path().to_owned(),
        env: BTreeMap::from([("BACKOUT_TEST".to_owned(), bench.tag.clone())]),
        user: None,
        settle: Duration::from_millis(100),
        stop_within: Duration::from_secs(20),
        reload: None,
        log_bytes: 1 << 20,
        log_keep: 2,
    }
}

/// For what ends at once: no machine is so slow that it would count as started.
fn unsettled(bench: &Bench, script: &str) -> Process {
    Process { settle: PATIENCE, ..process(bench, script) }
}

fn service(bench: &Bench, process: &Process) -> Access<Service> {
    let section = Section { driver: Driver::Process(process.clone()), uses: Vec::new() };
    drivers::open_with("web", &section, &bench.join("state"), BACKOUT.into())
}

fn sh(bench: &Bench, script: &str) -> Access<Service> {
    service(bench, &process(bench, script))
}

fn now() -> CallCtx {
    call("1/upgrade/start/1/1", PATIENCE)
}

fn record_file(bench: &Bench) -> std::path::PathBuf {
    bench.join("state/services/web/record.json")
}
fn record(bench: &Bench) -> serde_json::Value {
    serde_json::from_slice(&fs::read(record_file(bench)).unwrap()).unwrap()
}
fn pid_of(bench: &Bench, who: &str) -> i32 {
    i32::try_from(record(bench)[who]["pid"].as_i64().unwrap()).unwrap()
}
fn forge(bench: &Bench, change: impl FnOnce(&mut serde_json::Value)) {
    let mut forged = record(bench);
    change(&mut forged);
    fs::write(record_file(bench), forged.to_string()).unwrap();
}

async fn lines(web: &Access<Service>, text: &str) -> Vec<String> {
    web.observer.search(&Mark::at(0), &[text.to_owned()]).await.unwrap()
}

/// Waits for a line in the log.
async fn says(web: &Access<Service>, text: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(line) = lines(web, text).await.pop() {
            return line;
        }
        assert!(Instant::now() < until, "`{text}` was not said");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn it_starts_and_stops_and_both_may_be_said_twice() {
    let bench = Bench::new();
    let web = sh(&bench, "echo ready; exec sleep 1000");
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
    web.mutator.stop(&now()).await.unwrap();
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Running);
    let first = web.observer.processes().await.unwrap();
    assert_eq!(first, [pid_of(&bench, "program")]);
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(web.observer.processes().await.unwrap(), first, "a second start changes nothing");
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
    assert_eq!(bench.processes(), [0; 0], "nothing is left, the supervisor included");
    assert!(web.observer.processes().await.unwrap().is_empty());
    web.mutator.stop(&now()).await.unwrap();
    web.mutator.start(&now()).await.unwrap();
    assert_ne!(web.observer.processes().await.unwrap(), first);
    assert_eq!(lines(&web, "ready").await.len(), 2, "one log over all starts");
}

#[tokio::test]
async fn a_server_serves_until_it_is_stopped() {
    let bench = Bench::new();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::write(bench.join("page"), "hello").unwrap();
    let mut section = process(&bench, "");
    section.run =
        ["python3", "-u", "-m", "http.server", "--bind", "127.0.0.1", &port.to_string()].map(ToOwned::to_owned).into();
    let path = std::env::var("PATH").unwrap();
    section.env.insert("PATH".into(), path);
    let web = service(&bench, &section);
    web.mutator.start(&now()).await.unwrap();
    let mut stream = wait_for("the server", || TcpStream::connect(("127.0.0.1", port)).ok());
    stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    assert!(says(&web, "GET /page").await.contains("200"));
    web.mutator.stop(&now()).await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[tokio::test]
async fn who_ignores_being_asked_is_killed() {
    let bench = Bench::new();
    let mut section = process(&bench, "trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done");
    section.stop_within = Duration::from_millis(400);
    let web = service(&bench, &section);
    web.mutator.start(&now()).await.unwrap();
    says(&web, "ready").await;
    let began = Instant::now();
    web.mutator.stop(&now()).await.unwrap();
    assert!(began.elapsed() >= section.stop_within, "it was asked first");
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
    assert_eq!(record(&bench)["ended"], serde_json::json!({ "signal": 9 }));
    assert_eq!(lines(&web, "no").await.len(), 1);
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn the_time_for_a_stop_is_what_the_site_says_when_it_stops() {
    let bench = Bench::new();
    let script = "trap 'echo no' TERM; echo ready; while :; do sleep 0.05; done";
    let patient = Process { stop_within: Duration::from_secs(1000), ..process(&bench, script) };
    let web = service(&bench, &patient);
    web.mutator.start(&now()).await.unwrap();
    says(&web, "ready").await;
    let hasty = service(&bench, &Process { stop_within: Duration::from_millis(100), ..patient });
    hasty.mutator.stop(&now()).await.unwrap();
    assert_eq!(bench.processes(), [0; 0]);
}

const FAMILY: &str = "
    trap 'exit 0' TERM
    setsid sh -c 'trap \"\" TERM; echo daemon $$; while :; do sleep 0.05; done' &
    (setsid sh -c '(sleep 1000 & echo orphan $!) & wait' &)
    sh -c 'sleep 1000; true' &
    echo ready
    while :; do sleep 0.05; done";

#[tokio::test]
async fn children_in_sessions_of_their_own_do_not_escape() {
    let bench = Bench::new();
    let mut section = process(&bench, FAMILY);
    section.stop_within = Duration::from_millis(500);
    let web = service(&bench, &section);
    web.mutator.start(&now()).await.unwrap();
    for word in ["ready", "daemon", "orphan"] {
        says(&web, word).await;
    }
    assert!(web.observer.processes().await.unwrap().len() >= 5);
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let bench = Bench::new();
    let web = sh(&bench, "setsid sleep 1000 & while [ ! -e go ]; do sleep 0.02; done; exit 4");
    web.mutator.start(&now()).await.unwrap();
    fs::write(bench.join("go"), "").unwrap();
    wait_for("its end", || bench.processes().is_empty().then_some(()));
    assert_eq!(web.observer.status().await.unwrap(), Status::Failed);
}

#[tokio::test]
async fn who_ends_at_once_has_not_started() {
    let bench = Bench::new();
    let mut section = unsettled(
        &bench,
        "echo opening shop; echo \"no such database: $DATABASE\" >&2; printf 'port 8080 \\033[31mbad'; exit 3",
    );
    section.env.insert("DATABASE".into(), "postgres://shop:hunter2@localhost".into());
    let web = service(&bench, &section);
    let failure = web.mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Failed);
    assert_eq!(
        failure.message,
        "it ended at once with exit status 3; its last words: opening shop | no such database: *** | port 8080 \u{fffd}[31mbad"
    );
    assert_eq!(web.observer.status().await.unwrap(), Status::Failed);
    assert_eq!(bench.processes(), [0; 0]);
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped, "after a stop it is stopped");

    let web = service(&bench, &unsettled(&bench, "exit 0"));
    let failure = web.mutator.start(&now()).await.unwrap_err();
    assert_eq!(
        failure.message,
        "it ended at once with exit status 0 (a service has to stay in the foreground), without a word"
    );
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_said_without_its_path() {
    let bench = Bench::new();
    let mut section = unsettled(&bench, "");
    section.run = vec![bench.join("no-such-program").display().to_string()];
    let failure = service(&bench, &section).mutator.start(&now()).await.unwrap_err();
    assert!(failure.message.contains("exit status 127"), "{failure}");
    assert!(failure.message.contains("the program cannot be started: No such file or directory"), "{failure}");
    assert!(!failure.message.contains(&bench.tag), "{failure}");
    section.run = vec!["sh".into()];
    section.dir = bench.join("no-such-folder");
    let failure = service(&bench, &section).mutator.start(&now()).await.unwrap_err();
    assert!(failure.message.contains("the folder that it runs in: No such file or directory"), "{failure}");
    section.run = vec![];
    let failure = service(&bench, &section).mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
}

#[tokio::test]
async fn an_end_of_its_own_is_a_failure() {
    let bench = Bench::new();
    let web = sh(&bench, "echo ready; exec sleep 1000");
    web.mutator.start(&now()).await.unwrap();
    kill(pid_of(&bench, "program"), "KILL");
    wait_for("its end", || bench.processes().is_empty().then_some(()));
    assert_eq!(web.observer.status().await.unwrap(), Status::Failed);
    assert_eq!(record(&bench)["ended"], serde_json::json!({ "signal": 9 }));
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Running);
    // Whoever ends the supervisor politely, at a shutdown of the machine, stops the service.
    kill(pid_of(&bench, "supervisor"), "TERM");
    wait_for("its end", || bench.processes().is_empty().then_some(()));
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
}

#[tokio::test]
async fn two_starts_at_once_do_not_make_two() {
    let bench = Bench::new();
    let [one, two, three] = [0; 3].map(|_| sh(&bench, "echo ready; exec sleep 1000"));
    let (a, b, c, d) = (now(), now(), now(), now());
    let all =
        tokio::join!(one.mutator.start(&a), two.mutator.start(&b), three.mutator.start(&c), one.mutator.start(&d));
    assert_eq!(all, (Ok(()), Ok(()), Ok(()), Ok(())));
    assert_eq!(lines(&one, "ready").await.len(), 1);
    assert_eq!(bench.processes().len(), 2, "one program and its supervisor");
}

/// Not a test: what another Backout does, in a process of its own. It says when it begins.
#[test]
#[ignore = "a part of other tests"]
fn another_backout() {
    let Ok(state) = std::env::var("BACKOUT_TEST_STATE") else { return };
    let seconds = |name| Duration::from_secs(std::env::var(name).unwrap().parse().unwrap());
    let section = Process {
        run: vec!["sh".into(), "-c".into(), std::env::var("BACKOUT_TEST_SCRIPT").unwrap()],
        dir: "/".into(),
        env: BTreeMap::from([("BACKOUT_TEST".to_owned(), std::env::var("BACKOUT_TEST").unwrap())]),
        user: None,
        settle: seconds("BACKOUT_TEST_SETTLE"),
        stop_within: PATIENCE,
        reload: None,
        log_bytes: 1 << 20,
        log_keep: 2,
    };
    let section = Section { driver: Driver::Process(section), uses: Vec::new() };
    let program = std::env::var("BACKOUT_TEST_PROGRAM").unwrap_or(BACKOUT.into());
    let web = drivers::open_with("web", &section, Path::new(&state), program.into());
    println!("at it");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        match std::env::var("BACKOUT_TEST_ACT").unwrap().as_str() {
            "start" => web.mutator.start(&now()).await.unwrap(),
            "stop" => web.mutator.stop(&now()).await.unwrap(),
            "restart" => web.mutator.restart(&now()).await.unwrap(),
            other => panic!("{other}"),
        }
    });
}

fn other(bench: &Bench, act: &str, script: &str) -> Command {
    // A shell that leaks a descriptor into everything, in a group of its own that can get a Ctrl-C.
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec 7>leaked; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["service::another_backout", "--exact", "--include-ignored", "--nocapture"])
        .current_dir(bench.path())
        .env("BACKOUT_TEST_STATE", bench.join("state"))
        .env("BACKOUT_TEST_SCRIPT", script)
        .env("BACKOUT_TEST_ACT", act)
        .env("BACKOUT_TEST_SETTLE", "1")
        .env("BACKOUT_TEST", &bench.tag)
        .stdout(std::process::Stdio::piped());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command
}

#[tokio::test]
async fn it_goes_on_when_backout_has_ended() {
    let bench = Bench::new();
    let script = "echo ready; exec sleep 1000";
    assert!(other(&bench, "start", script).status().unwrap().success());
    let web = sh(&bench, script);
    assert_eq!(web.observer.status().await.unwrap(), Status::Running);
    assert_eq!(web.observer.processes().await.unwrap(), [pid_of(&bench, "program")]);
    says(&web, "ready").await;
    assert!(other(&bench, "stop", script).status().unwrap().success());
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn it_goes_on_when_backout_is_killed_in_the_middle_of_a_start() {
    let bench = Bench::new();
    let web = sh(&bench, "echo ready; exec sleep 1000");
    let mut backout =
        other(&bench, "start", "echo ready; exec sleep 1000").env("BACKOUT_TEST_SETTLE", "60").spawn().unwrap();
    wait_for("a supervisor", || fs::read(record_file(&bench)).ok());
    // What ends Backout often reaches its whole group. Not SIGINT here: a test that runs in the background ignores it.
    let group = rustix::process::Pid::from_raw(i32::try_from(backout.id()).unwrap()).unwrap();
    rustix::process::kill_process_group(group, rustix::process::Signal::TERM).unwrap();
    assert!(!backout.wait().unwrap().success());
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(lines(&web, "ready").await.len(), 1, "it is the one that was begun");
}

#[tokio::test]
async fn a_second_stop_finishes_what_a_killed_backout_began() {
    let bench = Bench::new();
    let script = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done";
    let web = sh(&bench, script);
    web.mutator.start(&now()).await.unwrap();
    says(&web, "ready").await;
    let mut backout = other(&bench, "stop", script).spawn().unwrap();
    says(&web, "asked").await;
    backout.kill().unwrap();
    backout.wait().unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Running, "it is not gone yet");
    let hasty = service(&bench, &Process { stop_within: Duration::from_millis(100), ..process(&bench, script) });
    hasty.mutator.stop(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn it_has_nothing_of_whoever_started_it() {
    let bench = Bench::new();
    let script = "env | sort; umask; exec sleep 1000";
    assert!(other(&bench, "start", script).status().unwrap().success());
    let web = sh(&bench, script);
    says(&web, "0022").await;
    let environment: Vec<String> = lines(&web, "=").await;
    let names: Vec<&str> = environment.iter().map(|line| line.split('=').next().unwrap()).collect();
    let expected = ["BACKOUT_SERVICE", "BACKOUT_TEST", "HOME", "LANG", "LOGNAME", "PATH", "PWD", "USER"];
    assert_eq!(names.into_iter().filter(|n| !["_", "OLDPWD", "SHLVL"].contains(n)).collect::<Vec<_>>(), expected);
    let (supervisor, program) = (pid_of(&bench, "supervisor"), pid_of(&bench, "program"));
    for pid in [supervisor, program] {
        let stat = stat(pid).unwrap();
        assert_eq!((&stat[2], &stat[3]), (&pid.to_string(), &pid.to_string()), "its own group and session");
        assert_eq!(stat[4], "0", "no terminal");
        let fds: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().collect();
        assert!(pid == supervisor || fds.len() == 3, "standard input, output and error: {fds:?}");
        let open: Vec<_> = fds.iter().filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
        assert!(!open.iter().any(|target| target.ends_with("leaked")), "{open:?}");
    }
    assert_eq!(fs::read_link(format!("/proc/{supervisor}/cwd")).unwrap(), Path::new("/"));
}

#[tokio::test]
async fn secrets_of_the_environment_are_in_no_file_and_on_no_command_line() {
    let bench = Bench::new();
    let mut section = process(&bench, "echo ready; exec sleep 1000");
    section.env.insert("PASSWORD".into(), "correct horse battery".into());
    let web = service(&bench, &section);
    web.mutator.start(&now()).await.unwrap();
    says(&web, "ready").await;
    let holds = |file: &Path| String::from_utf8_lossy(&fs::read(file).unwrap()).contains("correct horse");
    let home = bench.join("state/services/web");
    let mut seen = 0;
    for folder in [home.clone(), home.join("log")] {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for entry in fs::read_dir(folder).unwrap().flatten().filter(|e| e.file_type().unwrap().is_file()) {
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
            assert!(!holds(&entry.path()), "{entry:?}");
            seen += 1;
        }
    }
    assert!(seen >= 4, "record, lock, turn and log were looked at");
    let supervisor = pid_of(&bench, "supervisor");
    assert!(!holds(Path::new(&format!("/proc/{supervisor}/cmdline"))));
    assert!(!holds(Path::new(&format!("/proc/{supervisor}/environ"))));
    assert!(holds(Path::new(&format!("/proc/{}/environ", pid_of(&bench, "program")))), "the program has it");
}

/// A service whose supervisor was killed, and that has left a daemon behind.
async fn orphaned(bench: &Bench) -> (Access<Service>, i32) {
    let web = sh(bench, FAMILY);
    web.mutator.start(&now()).await.unwrap();
    let daemon = says(&web, "daemon").await.rsplit_once(' ').unwrap().1.parse().unwrap();
    says(&web, "orphan").await;
    kill(pid_of(bench, "supervisor"), "KILL");
    let program = pid_of(bench, "program");
    wait_for("the end of the program", || (!alive(program)).then_some(()));
    (web, daemon)
}

#[tokio::test]
async fn a_killed_supervisor_takes_the_program_with_it_and_is_noticed() {
    let bench = Bench::new();
    let (web, daemon) = orphaned(&bench).await;
    assert_eq!(web.observer.status().await.unwrap(), Status::Failed);
    assert!(web.observer.processes().await.unwrap().contains(&daemon), "what is left is not invisible");
    let hasty = service(&bench, &Process { stop_within: Duration::from_millis(100), ..process(&bench, FAMILY) });
    hasty.mutator.start(&now()).await.unwrap();
    assert!(!alive(daemon), "the earlier daemon ended before the new program began");
    assert_eq!(web.observer.status().await.unwrap(), Status::Running);

    kill(pid_of(&bench, "supervisor"), "KILL");
    hasty.mutator.stop(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn a_supervisor_that_does_not_answer_is_ended_with_its_family() {
    let bench = Bench::new();
    let section = Process { stop_within: Duration::from_millis(100), ..process(&bench, FAMILY) };
    let web = service(&bench, &section);
    web.mutator.start(&now()).await.unwrap();
    says(&web, "daemon").await;
    kill(pid_of(&bench, "supervisor"), "STOP");
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn whoever_has_its_process_id_now_is_left_alone() {
    let bench = Bench::new();
    let mut section = process(&bench, "exec sleep 1000");
    section.reload = Some("HUP".into());
    let web = service(&bench, &section);
    web.mutator.start(&now()).await.unwrap();
    kill(pid_of(&bench, "supervisor"), "KILL");
    wait_for("the end", || bench.processes().is_empty().then_some(()));

    let mut innocent = Command::new("sleep").arg("1000").env("BACKOUT_TEST", &bench.tag).spawn().unwrap();
    let pid = i32::try_from(innocent.id()).unwrap();
    forge(&bench, |record| {
        record["supervisor"]["pid"] = pid.into();
        record["program"]["pid"] = pid.into();
    });
    assert_eq!(web.observer.status().await.unwrap(), Status::Failed);
    assert!(web.observer.processes().await.unwrap().is_empty());
    assert_eq!(web.mutator.reload(&now()).await.unwrap_err().kind, FailureKind::Conflict);
    web.mutator.stop(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped);
    assert!(innocent.try_wait().unwrap().is_none(), "it was not ended");
    web.mutator.start(&now()).await.unwrap();
    assert_ne!(pid_of(&bench, "program"), pid);
    web.mutator.stop(&now()).await.unwrap();
    assert!(innocent.try_wait().unwrap().is_none(), "it was not ended");
    innocent.kill().unwrap();
    innocent.wait().unwrap();
}

#[tokio::test]
async fn what_may_be_its_own_and_may_not_is_left_to_people() {
    let bench = Bench::new();
    let web = sh(&bench, "exec sleep 1000");
    web.mutator.start(&now()).await.unwrap();
    kill(pid_of(&bench, "supervisor"), "KILL");
    wait_for("the end", || bench.processes().is_empty().then_some(()));
    // A session whose leader has gone, with the number of the program: nobody can say any more whose it is.
    let output = Command::new("setsid")
        .args(["-w", "sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $$ $!"])
        .env("BACKOUT_TEST", &bench.tag)
        .output()
        .unwrap();
    let ids = String::from_utf8(output.stdout).unwrap();
    let (session, innocent) = ids.trim().split_once(' ').unwrap();
    let innocent: i32 = innocent.parse().unwrap();
    forge(&bench, |record| record["program"]["pid"] = session.parse::<i32>().unwrap().into());
    assert_eq!(web.observer.status().await.unwrap(), Status::Failed);
    for failure in [web.mutator.stop(&now()).await.unwrap_err(), web.mutator.start(&now()).await.unwrap_err()] {
        assert_eq!(failure.kind, FailureKind::Conflict);
        assert!(failure.message.contains(&format!("process {innocent} may still belong to it")), "{failure}");
    }
    assert!(alive(innocent));
    kill(innocent, "KILL");
    wait_for("its end", || (!alive(innocent)).then_some(()));
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Running);
}

#[tokio::test]
async fn another_boot_of_the_machine_makes_all_identities_void() {
    let bench = Bench::new();
    let (web, daemon) = orphaned(&bench).await;
    forge(&bench, |record| record["boot"] = "00000000-0000-0000-0000-000000000000".into());
    assert_eq!(web.observer.status().await.unwrap(), Status::Stopped, "nothing failed: the machine went down");
    assert!(web.observer.processes().await.unwrap().is_empty());
    web.mutator.stop(&now()).await.unwrap();
    assert!(alive(daemon), "in another boot, nobody is known");
    web.mutator.start(&now()).await.unwrap();
    assert_eq!(web.observer.status().await.unwrap(), Status::Running);
}

#[tokio::test]
async fn a_damaged_record_is_said_and_nothing_is_guessed() {
    let bench = Bench::new();
    let web = sh(&bench, "exec sleep 1000");
    web.mutator.start(&now()).await.unwrap();
    web.mutator.stop(&now()).await.unwrap();
    let good = fs::read(record_file(&bench)).unwrap();
    for bad in ["", "{\"format\": 1", "{\"format\": 2}"] {
        fs::write(record_file(&bench), bad).unwrap();
        for result in
            [web.observer.status().await.map(drop), web.mutator.start(&now()).await, web.mutator.stop(&now()).await]
        {
            let failure = result.unwrap_err();
            assert!(!failure.message.contains(&bench.tag), "{failure}");
            assert!(failure.message.contains("record"), "{failure}");
        }
    }
    fs::write(record_file(&bench), good).unwrap();
    web.mutator.start(&now()).await.unwrap();
}

#[tokio::test]
async fn a_reload_is_a_signal_of_the_sites_choice() {
    let bench = Bench::new();
    let mut section = process(&bench, "trap 'echo read again' USR1; echo ready; while :; do sleep 0.05; done");
    let web = service(&bench, &section);
    assert_eq!(web.mutator.reload(&now()).await.unwrap_err().kind, FailureKind::Invalid);
    for wrong in ["KILL", "usr1", ""] {
        section.reload = Some(wrong.into());
        assert_eq!(service(&bench, &section).mutator.reload(&now()).await.unwrap_err().kind, FailureKind::Invalid);
    }
    section.reload = Some("SIGUSR1".into());
    let web = service(&bench, &section);
    assert_eq!(web.mutator.reload(&now()).await.unwrap_err().kind, FailureKind::Conflict, "it does not run");
    web.mutator.start(&now()).await.unwrap();
    says(&web, "ready").await;
    web.mutator.reload(&now()).await.unwrap();
    says(&web, "read again").await;
}

#[tokio::test]
async fn only_root_makes_it_somebody_else() {
    let bench = Bench::new();
    let mut section = process(&bench, "echo $(id -un) $(id -u) groups $(id -G) $HOME $USER; exec sleep 1000");
    section.dir = "/".into();
    section.user = Some("no-such-user".into());
    let failure = service(&bench, &section).mutator.start(&now()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
    section.user = Some("nobody".into());
    let web = service(&bench, &section);
    if !rustix::process::geteuid().is_root() {
        assert_eq!(web.mutator.start(&now()).await.unwrap_err().kind, FailureKind::Invalid);
        return;
    }
    web.mutator.start(&now()).await.unwrap();
    let expected = Command::new("sh").args(["-c", "echo $(id -u nobody) groups $(id -G nobody)"]).output().unwrap();
    let said = says(&web, "groups").await;
    assert!(said.starts_with("nobody ") && said.ends_with(" nobody"), "{said}");
    assert!(said.contains(String::from_utf8(expected.stdout).unwrap().trim()), "{said}");
    kill(pid_of(&bench, "supervisor"), "KILL");
    wait_for("the end of a program of another user", || bench.processes().is_empty().then_some(()));
}
