//! `backout upgrade` killed in the middle of one operation of a script, and what `backout resume` makes of it.
use crate::{
    support::{
        bench::{BACKOUT, Bench, PATIENCE, wait_for},
        call::call,
        guests,
    },
    tree::install::{file, tar},
};
use backout::{
    journal::{Entry, Reader},
    resource::service::{self, Mark},
    site::Site,
};
use rusqlite::Connection;
use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// A product with one of each kind, and a script that makes one call.
struct Host {
    bench: Bench,
}

const FILES: usize = 2_000;

/// A service that nobody needs.
const PLAIN: &str = "driver = \"process\"\nrun = [\"true\"]";

impl Host {
    /// `call`, `text`: settings of the script. `site`: what stands in the sections of service and tool.
    fn new(call: &str, text: &str, service: &str, tool: &str) -> Self {
        let bench = Bench::new();
        let host = Self { bench };
        for folder in ["srv/app/lib", "package/dist"] {
            fs::create_dir_all(host.at(folder)).unwrap();
        }
        fs::write(host.at("srv/app/lib/one"), "one").unwrap();
        let sql = "CREATE TABLE log (line); CREATE TABLE pace (rows); INSERT INTO pace VALUES (1 << 50)";
        Connection::open(host.at("srv/shop.db")).unwrap().execute_batch(sql).unwrap();
        guests::one_call().copy_to(&host.at("package"));
        let entries: Vec<Vec<u8>> = (0..FILES).map(|i| file(&format!("lib/{i}"), &format!("{i}"))).collect();
        fs::write(host.at("package/dist/archive.tar"), tar(&entries)).unwrap();
        let tag = &host.bench.tag;
        let site = format!(
            r#"
[database.orders]
driver = "sqlite"
path = "srv/shop.db"
[tree.app]
path = "srv/app"
[service.web]
env = {{ BACKOUT_TEST = "{tag}" }}
settle = "100ms"
stop-within = "60s"
{service}
[tool.work]
env = {{ BACKOUT_TEST = "{tag}" }}
uses = ["orders"]
{tool}
[allow."test/one-call"]
database.orders = {{ may = ["backup", "restore", "write"] }}
tree.app = {{ may = ["backup", "restore", "write"] }}
service.web = {{ may = ["control"] }}
tool.work = {{ may = ["run"] }}
[allow."test/one-call".require]
settings = {{ call = "{call}", text = "{text}" }}
"#
        );
        fs::write(host.at("backout.toml"), site).unwrap();
        host
    }

    fn statement(text: &str) -> Self {
        Self::new("execute", text, PLAIN, "run = [\"true\"]")
    }
    fn service(call: &str, script: &str) -> Self {
        let service = format!("driver = \"process\"\nreload = \"USR1\"\nrun = [\"sh\", \"-c\", \"{script}\"]");
        let host = Self::new(call, "", &service, "run = [\"true\"]");
        host.with_service(async |web| web.mutator.start(&self::call("test/start", PATIENCE)).await.unwrap());
        host
    }
    fn tool(tool: &str) -> Self {
        Self::new("run", "", PLAIN, tool)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.bench.path().canonicalize().unwrap().join(path)
    }
    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BACKOUT);
        command.args(arguments).current_dir(self.at("")).env_remove("BACKOUT_SITE").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
    fn upgrade(&self) -> Command {
        self.command(&["upgrade", "--yes", "package"])
    }

    /// Kills it at the moment that the test waits for.
    #[track_caller]
    fn killed(&self, when: impl Fn() -> bool) {
        let mut child: Child = self.upgrade().spawn().unwrap();
        wait_for("the moment", || (child.try_wait().unwrap().is_some() || when()).then_some(()));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(9), "it has ended before: {output:?}");
    }

    #[track_caller]
    fn resumed(&self, code: i32, more: &[&str]) -> String {
        said(code, self.command(&[&["resume", "--yes"], more].concat()).output().unwrap())
    }

    /// After an upgrade that came to its end; what the call came to.
    fn came_to(&self) -> String {
        assert_eq!(self.text("srv/app/after"), "done\n", "the step after it has run too");
        let report = said(0, self.command(&["show"]).output().unwrap());
        let (_, came) = report.split_once("it came to:").unwrap_or_else(|| panic!("{report}"));
        came.lines().next().unwrap().trim().to_owned()
    }

    fn log(&self) -> i64 {
        let connection = Connection::open(self.at("srv/shop.db")).unwrap();
        connection.query_row("SELECT count(*) FROM log", [], |row| row.get(0)).unwrap()
    }

    fn with_service<T>(&self, act: impl AsyncFnOnce(backout::resource::Access<backout::resource::Service>) -> T) -> T {
        let site = Site::load(&self.at("backout.toml")).unwrap();
        let web = service::drivers::open_with("web", &site.services["web"], &site.state, BACKOUT.into());
        tokio::runtime::Runtime::new().unwrap().block_on(act(web))
    }
    fn says(&self, text: &str) -> usize {
        let texts = [text.to_owned()];
        self.with_service(async |web| web.observer.search(&Mark::at(0), &texts).await.unwrap().len())
    }

    /// The operation that was begun and did not end: its name, and how much evidence it has left.
    fn open(&self) -> Option<(String, usize)> {
        let reader = Reader::find(&self.at("state/journal.db")).unwrap()?;
        let mut open = None;
        for recorded in reader.since(0).unwrap() {
            match recorded.entry {
                Entry::Intent(request) => open = Some((request.operation, 0)),
                Entry::Evidence { .. } => open = open.map(|(name, evidence)| (name, evidence + 1)),
                Entry::Outcome { .. } => open = None,
                _ => {}
            }
        }
        open
    }
}

#[track_caller]
fn said(code: i32, output: Output) -> String {
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn a_statement_that_was_cut_off_is_said_again() {
    let host = Host::statement(
        "INSERT INTO log WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < (SELECT rows FROM pace)) \
         SELECT max(i) FROM n",
    );
    host.killed(|| {
        let connection = Connection::open(host.at("srv/shop.db")).unwrap();
        connection.busy_timeout(std::time::Duration::ZERO).unwrap();
        host.open().is_some_and(|(name, _)| name == "database.execute")
            && connection.execute_batch("BEGIN IMMEDIATE").is_err()
    });
    assert_eq!((host.open(), host.log()), (Some(("database.execute".to_owned(), 0)), 0));
    Connection::open(host.at("srv/shop.db")).unwrap().execute_batch("UPDATE pace SET rows = 3").unwrap();
    host.resumed(0, &[]);
    assert_eq!((host.log(), host.came_to().as_str()), (1, "1"));
}

/// Between what is written down and what is said at the end, at each of the moments that there are.
#[test]
fn statements_take_effect_once_wherever_backout_is_killed() {
    let (mut met, mut point) = (Vec::new(), 1);
    loop {
        let host = Host::statement("INSERT INTO log VALUES (1), (2), (3)");
        let output = host.upgrade().env("BACKOUT_CRASH_AT", point.to_string()).output().unwrap();
        if output.status.signal() != Some(9) {
            said(0, output);
            break;
        }
        if let Some((name, evidence)) = host.open()
            && name == "database.execute"
        {
            met.push((evidence, host.log()));
            host.resumed(0, &[]);
            assert_eq!((host.log(), host.came_to().as_str()), (3, "3"), "point {point}");
        }
        point += 1;
    }
    println!("of {point} points: evidence and rows when it was killed: {met:?}");
    for moment in [(0, 0), (1, 0), (2, 3)] {
        assert!(met.contains(&moment), "{met:?}");
    }
}

const SLOW: &str = "trap 'echo asked; sleep 0.5; exit 0' TERM; echo ready; while :; do sleep 0.05; done";

#[test]
fn a_restart_that_was_cut_off_is_brought_to_its_end() {
    let host = Host::service("restart", SLOW);
    host.killed(|| host.says("asked") > 0);
    host.resumed(0, &[]);
    assert_eq!(host.came_to(), "restarted");
    assert_eq!((host.says("ready"), host.says("asked")), (2, 1), "stopped once, started once");
}

#[test]
fn a_stop_that_was_cut_off_is_waited_for() {
    let host = Host::service("stop", SLOW);
    host.killed(|| host.says("asked") > 0);
    host.resumed(0, &[]);
    assert_eq!(host.came_to(), "stopped");
    assert_eq!((host.says("asked"), host.bench.processes()), (1, vec![]));
}

/// What somebody else keeps, by a script whose start takes as long as the test wants.
const INIT: &str = r#"#!/bin/sh
case $1 in
start) echo starts >>calls; while [ -e wait ]; do sleep 0.05; done
    setsid sh -c 'exec sleep 1000' >/dev/null 2>&1 & echo $! >web.pid ;;
stop) echo stops >>calls; [ -e web.pid ] && kill "$(cat web.pid)"; rm -f web.pid ;;
status) [ -e web.pid ] || exit 3; kill -0 "$(cat web.pid)" 2>/dev/null || exit 1 ;;
esac
"#;

#[test]
fn a_restart_by_commands_that_was_cut_off_is_brought_to_its_end() {
    for killed_in in ["starts", "stops"] {
        let verbs =
            ["status", "start", "stop"].map(|verb| format!("{verb} = [\"sh\", \"init\", \"{verb}\"]\n")).concat();
        let service = format!("driver = \"command\"\n{verbs}pid-file = \"web.pid\"");
        let host = Host::new("restart", "", &service, "run = [\"true\"]");
        fs::write(host.at("init"), INIT).unwrap();
        host.with_service(async |web| web.mutator.start(&self::call("test/start", PATIENCE)).await.unwrap());
        fs::write(host.at("calls"), "").unwrap();
        fs::write(host.at("wait"), "").unwrap();
        host.killed(|| host.text("calls").contains(killed_in));
        fs::remove_file(host.at("wait")).unwrap();
        host.resumed(0, &[]);
        assert_eq!(host.came_to(), "restarted");
        let calls = host.text("calls");
        assert_eq!(calls.lines().last(), Some("starts"), "{calls}");
        assert_eq!(host.bench.processes().len(), 1, "one service, and nothing of a command goes on");
    }
}

/// Wherever the terminal breaks its lines.
fn question(host: &Host) -> String {
    host.resumed(6, &[]).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The number that a question names.
fn number(said: &str) -> String {
    let (_, rest) = said.split_once("--decide ").unwrap_or_else(|| panic!("{said}"));
    rest.chars().take_while(char::is_ascii_digit).collect()
}

#[test]
fn a_reload_that_was_cut_off_is_asked_about() {
    let script = "trap 'echo read again' USR1; echo ready; while :; do sleep 0.05; done";
    let killed_at = |point: usize| {
        let host = Host::service("reload", script);
        let output = host.upgrade().env("BACKOUT_CRASH_AT", point.to_string()).output().unwrap();
        (output.status.code().is_none()).then_some(host)
    };
    let mut point = 1;
    let host = loop {
        let host = killed_at(point).expect("a moment before its end");
        if host.open().is_some_and(|(name, evidence)| name == "service.reload" && evidence == 1) {
            break host;
        }
        point += 1;
    };
    let told = host.says("read again");
    let question = question(&host);
    for words in ["service.reload on `web`", "was about to be sent the signal USR1 at 20", "look in the log of `web`"] {
        assert!(question.contains(words), "{words}: {question}");
    }
    let answer = format!("{}=not-done", number(&question));
    host.resumed(0, &["--decide", &answer]);
    wait_for("the signal", || (host.says("read again") == told + 1).then_some(()));
    assert_eq!(host.came_to(), "reloaded");
}

const WORK: &str = "run = [\"sh\", \"-c\", \"echo $$ >> runs; [ -e go ] || sleep 1000; echo worked\"]";

/// Killed while its tool works, which has ended when this returns.
fn cut_off(tool: &str) -> Host {
    let host = Host::tool(tool);
    host.killed(|| !host.text("runs").is_empty());
    fs::write(host.at("go"), "").unwrap();
    host
}

#[test]
fn a_tool_that_was_cut_off_is_asked_about_and_the_answer_counts() {
    for (answer, runs, came) in [("done", 1, ""), ("not-done", 2, "worked")] {
        let host = cut_off(WORK);
        let question = question(&host);
        assert_eq!(host.bench.processes(), [0; 0], "nothing of it goes on when somebody is asked");
        for words in
            ["tool.run on `work`", "(sh -c echo $$ >> runs", "was started at 20", "no `check`", "database:orders"]
        {
            assert!(question.contains(words), "{words}: {question}");
        }
        host.resumed(0, &["--decide", &format!("{}={answer}", number(&question))]);
        assert_eq!((host.text("runs").lines().count(), host.came_to().as_str()), (runs, came));
    }
}

#[test]
fn a_check_answers_for_a_tool_that_was_cut_off() {
    for (code, runs, came) in [(0, 1, "asked"), (1, 2, "worked")] {
        let check = format!("{WORK}\ncheck = {{ run = [\"sh\", \"-c\", \"echo asked; exit {code}\"] }}");
        let host = cut_off(&check);
        host.resumed(0, &[]);
        assert_eq!((host.text("runs").lines().count(), host.came_to().as_str()), (runs, came));
    }
    let host = cut_off(&format!("{WORK}\nidempotent = true"));
    host.resumed(0, &[]);
    assert_eq!((host.text("runs").lines().count(), host.came_to().as_str()), (2, "worked"));
}

#[test]
fn an_installation_that_was_cut_off_starts_over() {
    let host = Host::new("install", "", PLAIN, "run = [\"true\"]");
    let staged = || names(&host.at("srv/app")).into_iter().find(|name| name.starts_with(".backout-staging-"));
    host.killed(|| staged().is_some_and(|name| names(&host.at(&format!("srv/app/{name}/lib"))).len() > 10));
    host.resumed(0, &[]);
    assert_eq!(host.came_to(), "installed");
    assert_eq!(names(&host.at("srv/app/new/lib")).len(), FILES);
    assert!(staged().is_none(), "nothing is left of the first attempt");
}

#[test]
fn a_copy_that_was_cut_off_starts_over() {
    let host = Host::new("nothing", "", PLAIN, "run = [\"true\"]");
    for i in 0..FILES {
        fs::write(host.at(&format!("srv/app/lib/{i}")), format!("{i}")).unwrap();
    }
    let copied = || {
        let slot = names(&host.at("srv/.backout/tree.app")).pop()?;
        Some(names(&host.at(&format!("srv/.backout/tree.app/{slot}/standby/lib"))).len())
    };
    host.killed(|| copied().is_some_and(|files| files > 10));
    host.resumed(0, &[]);
    assert_eq!(host.came_to(), "nothing");
    assert_eq!(copied(), Some(FILES + 1));
    assert_eq!(names(&host.at("srv/.backout/tree.app")).len(), 1, "nothing is left of the first attempt");
    fs::write(host.at("srv/app/lib/one"), "spoilt").unwrap();
    said(0, host.command(&["rollback", "--yes"]).output().unwrap());
    assert_eq!(host.text("srv/app/lib/one"), "one");
}
