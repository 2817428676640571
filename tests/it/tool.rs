//! Command lines of the site, with real programs: what they answer, and that nothing of them goes on when nobody waits.
use crate::support::{
    bench::{BACKOUT, Bench, PATIENCE, alive, kill, stat, wait_for},
    call::{call, call_heard},
};
use backout::{
    capability::tool::ops::{RunAgain, RunOnce, terms_of},
    gate::{Error, Events, Gate, Operation, Reconciled, Stop},
    journal::{Entry, Header, Journal, Place, Reader},
    resource::{
        Access, FailureKind, Lend, Lent, ResourceId, Resources, Right, Rights, Tool,
        tool::{Check, MAX_OUTPUT, Section, Terms, drivers},
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

fn section(bench: &Bench, script: &str) -> Section {
    Section {
        run: ["sh", "-c", script].map(ToOwned::to_owned).into(),
        dir: bench.path().to_owned(),
        env: BTreeMap::from([("BACKOUT_TEST".to_owned(), bench.tag.clone())]),
        user: None,
        timeout: Duration::from_secs(60),
        idempotent: false,
        uses: Vec::new(),
        check: None,
    }
}

fn tool(section: &Section) -> Access<Tool> {
    drivers::open_with("migrate", section, BACKOUT.into())
}

fn sh(bench: &Bench, script: &str) -> Access<Tool> {
    tool(&section(bench, script))
}

/// So that guards bear the bench's tag too.
fn key(bench: &Bench) -> String {
    format!("1/upgrade/{}/1/1", bench.tag)
}

#[tokio::test]
async fn its_standard_output_is_the_answer() {
    let bench = Bench::new();
    fs::write(bench.join("here"), "in its folder\n").unwrap();
    let migrate = sh(&bench, "cat; cat here; echo aside >&2; printf 'no line end'");
    let answer = migrate.mutator.run(&call(&key(&bench), PATIENCE)).await.unwrap();
    assert_eq!(answer, "in its folder\nno line end");
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn arguments_pass_through_no_shell() {
    let bench = Bench::new();
    let mut section = section(&bench, "");
    section.run = ["printf", "%s|", "a b", "$HOME", "*", ""].map(ToOwned::to_owned).into();
    assert_eq!(tool(&section).mutator.run(&call(&key(&bench), PATIENCE)).await.unwrap(), "a b|$HOME|*||");
}

#[tokio::test]
async fn a_failing_exit_code_comes_with_the_last_words() {
    let bench = Bench::new();
    let mut section = section(&bench, "seq 1 100; echo \"cannot log in with $PASSWORD\" >&2; exit 7");
    section.env.insert("PASSWORD".into(), "correct horse".into());
    let failure = tool(&section).mutator.run(&call(&key(&bench), PATIENCE)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Failed);
    assert_eq!(
        failure.message,
        "`migrate` failed with exit status 7; the last of its standard error: cannot log in with ***; \
         the last of its standard output: 91 | 92 | 93 | 94 | 95 | 96 | 97 | 98 | 99 | 100"
    );
    let failure = sh(&bench, "kill -9 $$").mutator.run(&call(&key(&bench), PATIENCE)).await.unwrap_err();
    assert_eq!(failure.message, "`migrate` failed with signal 9 (KILL)");
    section.run = vec![bench.join("nothing").display().to_string()];
    let failure = tool(&section).mutator.run(&call(&key(&bench), PATIENCE)).await.unwrap_err();
    assert!(failure.message.contains("exit status 127") && failure.message.contains("No such file"), "{failure}");
    assert!(!failure.message.contains(&bench.tag), "no path: {failure}");
}

#[tokio::test]
async fn secrets_are_not_in_the_answer_either() {
    let bench = Bench::new();
    let mut section = section(&bench, "env | grep PASSWORD");
    section.env.insert("PASSWORD".into(), "correct horse".into());
    assert_eq!(tool(&section).mutator.run(&call(&key(&bench), PATIENCE)).await.unwrap(), "PASSWORD=***\n");
}

#[tokio::test]
async fn too_much_output_is_cut_and_does_not_hold_it_up() {
    let bench = Bench::new();
    let migrate =
        sh(&bench, "echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo >&2; head -c 5000000 /dev/zero >&2");
    let answer = migrate.mutator.run(&call(&key(&bench), PATIENCE)).await.unwrap();
    assert!(answer.len() <= MAX_OUTPUT && answer.len() > MAX_OUTPUT - 1000, "{}", answer.len());
    assert!(answer.starts_with("first\nxxx"));
    let missing: usize =
        answer.rsplit_once("[cut: ").unwrap().1.strip_suffix(" bytes more]\n").unwrap().parse().unwrap();
    assert_eq!(missing + answer.rfind("\n[cut").unwrap(), 5_000_006);
}

#[tokio::test]
async fn what_it_says_is_progress() {
    let bench = Bench::new();
    let migrate = sh(
        &bench,
        "heard() { while [ ! -e $1 ]; do sleep 0.02; done; }
        echo one; heard 1; echo aside >&2; heard 2; printf 'three \\033[2J'; heard 3; echo; echo four",
    );
    let (call, said) = call_heard(&key(&bench), PATIENCE);
    let (result, ()) = tokio::join!(migrate.mutator.run(&call), async {
        for (file, line) in [("1", "one"), ("2", "aside"), ("3", "three \u{fffd}[2J")] {
            while !said.0.lock().unwrap().iter().any(|s| s == line) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            fs::write(bench.join(file), "").unwrap();
        }
    });
    result.unwrap();
}

const FAMILY: &str = "
    setsid sh -c 'echo daemon $$ >> pids; while :; do sleep 0.05; done' &
    (setsid sh -c '(sleep 1000 & echo orphan $! >> pids) & wait' &)
    while [ $(wc -l < pids) -lt 2 ]; do sleep 0.02; done
    echo leader $$ >> pids";

fn family(bench: &Bench, script: &str) -> Access<Tool> {
    fs::write(bench.join("pids"), "").unwrap();
    sh(bench, &format!("{FAMILY}\n{script}"))
}

async fn pid_of(bench: &Bench, who: &str) -> i32 {
    let until = Instant::now() + PATIENCE;
    loop {
        let pids = fs::read_to_string(bench.join("pids")).unwrap_or_default();
        if let Some(pid) = pids.lines().find_map(|line| line.strip_prefix(who)?.trim().parse().ok()) {
            return pid;
        }
        assert!(Instant::now() < until, "{who} did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn guard_of(leader: i32) -> i32 {
    stat(leader).unwrap()[1].parse().unwrap()
}

#[tokio::test]
async fn at_the_deadline_everything_of_it_is_ended_and_waited_for() {
    let bench = Bench::new();
    fs::write(bench.join("pids"), "").unwrap();
    let stubborn = FAMILY.replace("echo daemon", "trap \"\" TERM; echo daemon");
    let migrate = sh(&bench, &format!("{stubborn}\nsleep 1000"));
    let call = call(&key(&bench), Duration::from_secs(2));
    let failure = migrate.mutator.run(&call).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert_eq!(failure.message, "`migrate` did not end in its time, and was ended with signal 15 (TERM)");
    assert_eq!(bench.processes(), [0; 0]);
    assert!(!migrate.observer.running(&call.key).await.unwrap());
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_ended() {
    let bench = Bench::new();
    let migrate = family(&bench, "sleep 1000");
    let call = call(&key(&bench), PATIENCE);
    tokio::select! {
        result = migrate.mutator.run(&call) => panic!("{result:?}"),
        () = async {
            assert!(alive(pid_of(&bench, "leader").await));
            assert!(migrate.observer.running(&call.key).await.unwrap());
            assert!(!migrate.observer.running("1/upgrade/other/1/1").await.unwrap());
        } => {}
    }
    wait_for("its end", || bench.processes().is_empty().then_some(()));
    assert!(!migrate.observer.running(&call.key).await.unwrap());
}

#[tokio::test]
async fn what_it_leaves_behind_is_ended() {
    let bench = Bench::new();
    let migrate = family(&bench, "echo done");
    let (call, said) = call_heard(&key(&bench), PATIENCE);
    assert_eq!(migrate.mutator.run(&call).await.unwrap(), "done\n");
    assert_eq!(bench.processes(), [0; 0]);
    let said = said.0.lock().unwrap();
    assert!(said.iter().any(|text| text.ends_with("processes that `migrate` had left behind")), "{said:?}");
}

#[tokio::test]
async fn a_killed_guard_is_a_failure_that_leaves_nothing() {
    let bench = Bench::new();
    let migrate = family(&bench, "sleep 1000");
    let call = call(&key(&bench), PATIENCE);
    let (result, ()) = tokio::join!(migrate.mutator.run(&call), async {
        kill(guard_of(pid_of(&bench, "leader").await), "KILL");
    });
    let failure = result.unwrap_err();
    assert!(failure.message.starts_with("`migrate` was ended, because its guard was"), "{failure}");
    assert_eq!(bench.processes(), [0; 0]);
}

/// Not a test: another Backout, which runs the tool in a process of its own.
#[tokio::test]
#[ignore = "a part of other tests"]
async fn another_backout() {
    let Ok(script) = std::env::var("BACKOUT_TEST_SCRIPT") else { return };
    let tag = std::env::var("BACKOUT_TEST").unwrap();
    let section = Section {
        run: vec!["sh".into(), "-c".into(), script],
        dir: std::env::current_dir().unwrap(),
        env: BTreeMap::from([("BACKOUT_TEST".to_owned(), tag.clone())]),
        user: None,
        timeout: PATIENCE,
        idempotent: true,
        uses: Vec::new(),
        check: None,
    };
    tool(&section).mutator.run(&call(&format!("1/upgrade/{tag}/1/1"), PATIENCE)).await.unwrap();
}

fn other(bench: &Bench, script: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["tool::another_backout", "--exact", "--include-ignored", "--nocapture"])
        .current_dir(bench.path().canonicalize().unwrap())
        .env("BACKOUT_TEST_SCRIPT", script)
        .env("BACKOUT_TEST", &bench.tag);
    command
}

#[tokio::test]
async fn it_ends_when_backout_is_killed() {
    let bench = Bench::new();
    fs::write(bench.join("pids"), "").unwrap();
    let mut backout = other(&bench, &format!("{FAMILY}\nsleep 1000")).spawn().unwrap();
    let leader = pid_of(&bench, "leader").await;
    backout.kill().unwrap();
    backout.wait().unwrap();
    wait_for("its end", || bench.processes().is_empty().then_some(()));
    assert!(!alive(leader));
}

#[tokio::test]
async fn before_it_runs_again_under_the_same_key_the_rest_of_the_earlier_run_ends() {
    let bench = Bench::new();
    fs::write(bench.join("pids"), "").unwrap();
    let script = format!("{FAMILY}\nsleep 1000");
    let mut backout = other(&bench, &script).spawn().unwrap();
    let (leader, daemon) = (pid_of(&bench, "leader").await, pid_of(&bench, "daemon").await);
    // Both at once, as when the machine runs out of memory.
    kill(guard_of(leader), "KILL");
    backout.kill().unwrap();
    backout.wait().unwrap();
    assert!(alive(daemon), "nobody was left to end it");
    let again = Section { dir: bench.path().canonicalize().unwrap(), ..section(&bench, &script) };
    let again = tool(&again);
    assert!(again.observer.running(&key(&bench)).await.unwrap());
    let call = call(&key(&bench), PATIENCE);
    tokio::select! {
        result = again.mutator.run(&call) => panic!("{result:?}"),
        () = async {
            while fs::read_to_string(bench.join("pids")).unwrap().matches("leader").count() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        } => {}
    }
    assert!(!alive(daemon), "it was ended before the new run began");
}

struct Line {
    gate: Gate,
    resources: Resources,
    journal: std::path::PathBuf,
}

impl Line {
    fn new(bench: &Bench, access: Access<Tool>, terms: Terms, rights: &[Right]) -> Self {
        let path = bench.join("journal.db");
        let (journal, run) = Journal::begin(&path, Header::default(), Arc::new(|_| ())).unwrap();
        let place = Place::new("assess", false, "", 1);
        let gate = Gate::new(Arc::new(journal), run, place, Events::default(), CancellationToken::new());
        let lend = Lend {
            id: ResourceId::new("tool", "shop-migrate"),
            rights: rights.iter().copied().collect::<Rights>(),
            terms,
            uses: vec![ResourceId::new("database", "orders")],
            access,
        };
        let resources = Resources { tool: Lent([("migrate".to_owned(), lend)].into()), ..Resources::default() };
        Self { gate, resources, journal: path }
    }

    async fn run<O: Operation<On = Tool, Output = String>>(
        &self,
        make: impl Fn(String, &Terms) -> O,
    ) -> Result<String, Error> {
        self.gate.perform(&self.resources, make("migrate".into(), &terms_of(&self.resources, "migrate"))).await
    }

    async fn entries(&self) -> Vec<Entry> {
        self.gate.journal().unwrap().flush().await.unwrap();
        Reader::open(&self.journal).unwrap().entries(self.gate.run).unwrap().into_iter().map(|r| r.entry).collect()
    }
}

fn terms(timeout: Duration) -> Terms {
    Terms { timeout, ..Terms::default() }
}

#[tokio::test]
async fn a_run_is_journalled_with_its_class_and_what_it_may_change() {
    let bench = Bench::new();
    let line = Line::new(&bench, sh(&bench, "echo moved 3 rows"), terms(PATIENCE), &[Right::Run]);
    assert_eq!(line.run(RunOnce::new).await.unwrap(), "moved 3 rows\n");
    assert_eq!(line.run(RunAgain::new).await.unwrap(), "moved 3 rows\n");
    let intents: Vec<_> = line
        .entries()
        .await
        .into_iter()
        .filter_map(|e| match e {
            Entry::Intent(request) => Some((request.operation, request.class, request.changes)),
            _ => None,
        })
        .collect();
    let changes = vec!["tool:shop-migrate".to_owned(), "database:orders".to_owned()];
    let expected = ["once", "idempotent"].map(|class| ("tool.run".to_owned(), class.to_owned(), changes.clone()));
    assert_eq!(intents, expected);
}

#[tokio::test]
async fn what_is_not_granted_is_denied_and_journalled() {
    let bench = Bench::new();
    let line = Line::new(&bench, sh(&bench, "touch ran"), terms(PATIENCE), &[]);
    for label in ["migrate", "no-such-tool"] {
        let operation = RunOnce::new(label, &terms_of(&line.resources, label));
        let Err(Error::Answer(failure)) = line.gate.perform(&line.resources, operation).await else { panic!() };
        assert_eq!(failure.kind, FailureKind::Denied);
    }
    assert_eq!(line.entries().await.iter().filter(|e| matches!(e, Entry::Denied { .. })).count(), 2);
    assert!(!bench.join("ran").exists());
}

#[tokio::test]
async fn out_of_time_it_is_in_doubt_unless_it_may_run_twice() {
    let bench = Bench::new();
    let script = "echo began >> began; sleep 1000";
    let line = Line::new(&bench, sh(&bench, script), terms(Duration::from_secs(3)), &[Right::Run]);
    let began = Instant::now();
    let Err(Error::Stop(Stop::InDoubt { operation, label, look, .. })) = line.run(RunOnce::new).await else { panic!() };
    assert_eq!((operation.as_str(), label.as_str()), ("tool.run", "migrate"));
    let look = look.replace(&look[look.find(" at ").unwrap() + 4..look.find(" UTC").unwrap()], "NOW");
    assert_eq!(
        look,
        "`migrate` (sh -c echo began >> began; sleep 1000) was started at NOW UTC and runs no more; the site has no `check` \
         for it: look at what it should have changed"
    );
    assert_eq!(bench.processes(), [0; 0]);
    assert!(began.elapsed() >= Duration::from_secs(3));

    let Err(Error::Answer(failure)) = line.run(RunAgain::new).await else { panic!() };
    assert_eq!(failure.kind, FailureKind::TimedOut);
    assert_eq!(bench.processes(), [0; 0], "timed out is said when nothing goes on any more");
    assert_eq!(fs::read_to_string(bench.join("began")).unwrap(), "began\nbegan\n");
}

/// What a reconciliation says of a run that left this evidence, and how often the check was asked.
async fn reconciled(tool: &Access<Tool>, key: &str, idempotent: bool, evidence: &[Value]) -> Reconciled<String> {
    let terms = terms(PATIENCE);
    let call = call(key, PATIENCE);
    match idempotent {
        true => RunAgain::new("migrate", &terms).reconcile(&*tool.observer, evidence, &call).await.unwrap(),
        false => RunOnce::new("migrate", &terms).reconcile(&*tool.observer, evidence, &call).await.unwrap(),
    }
}

fn begun() -> [Value; 1] {
    [json!({ "began": "2026-03-01 14:02:11 UTC" })]
}

#[tokio::test]
async fn a_check_of_the_site_says_whether_it_is_done() {
    let bench = Bench::new();
    let check = |script: &str| {
        let run = ["sh", "-c", script].map(ToOwned::to_owned).into();
        let uses = vec![ResourceId::new("database", "orders")];
        let check = Some(Check { run, timeout: Duration::from_secs(3) });
        tool(&Section { check, uses, ..section(&bench, "echo ran >> ran") })
    };
    let key = key(&bench);
    let ask = async |script: &str, idempotent| reconciled(&check(script), &key, idempotent, &begun()).await;
    for idempotent in [false, true] {
        let Reconciled::Done(answer) = ask("echo 3 rows moved; echo $BACKOUT_KEY > key", idempotent).await else {
            panic!()
        };
        assert_eq!(answer, "3 rows moved\n");
        assert!(matches!(ask("exit 1", idempotent).await, Reconciled::NotDone));
    }
    let marked = fs::read_to_string(bench.join("key")).unwrap();
    assert!(marked.trim().ends_with(&format!("/migrate/{key}")), "the word that the tool had: {marked}");
    for (script, why) in [
        (
            "echo no answer >&2; exit 2",
            "its check cannot say, with exit status 2; the last of its standard error: no answer",
        ),
        ("kill -9 $$", "its check cannot say, with signal 9 (KILL)"),
        ("sleep 1000", "its check did not end in its time"),
    ] {
        let Reconciled::Unknown(look) = ask(script, false).await else { panic!("{script}") };
        assert_eq!(
            look,
            format!(
                "`migrate` (sh -c echo ran >> ran) was started at 2026-03-01 14:02:11 UTC and runs no more; {why}: look at what \
                 it should have changed: database:orders"
            )
        );
        assert!(matches!(ask(script, true).await, Reconciled::NotDone), "it may run twice");
    }
    // Killed before it was begun: nobody has to be asked.
    assert!(matches!(reconciled(&check("touch asked"), &key, false, &[]).await, Reconciled::NotDone));
    assert!(!bench.join("asked").exists() && !bench.join("ran").exists());
    assert_eq!(bench.processes(), [0; 0]);
}

#[tokio::test]
async fn a_run_that_ended_by_itself_is_not_in_doubt() {
    let bench = Bench::new();
    let line = Line::new(&bench, sh(&bench, "echo broken >&2; exit 7"), terms(PATIENCE), &[Right::Run]);
    let Err(Error::Answer(failure)) = line.run(RunOnce::new).await else { panic!() };
    assert_eq!(failure.message, "`migrate` failed with exit status 7; the last of its standard error: broken");
    assert!(line.entries().await.iter().any(|e| matches!(e, Entry::Evidence { .. })), "its beginning is known");

    let bench = Bench::new();
    let line = Line::new(&bench, family(&bench, "sleep 1000"), terms(PATIENCE), &[Right::Run]);
    let (result, ()) = tokio::join!(line.run(RunOnce::new), async {
        kill(guard_of(pid_of(&bench, "leader").await), "KILL");
    });
    let Err(Error::Stop(Stop::InDoubt { look, .. })) = result else { panic!("{result:?}") };
    assert!(look.contains("was ended, because its guard was") && look.contains("runs no more"), "{look}");
    assert_eq!(bench.processes(), [0; 0]);
}

/// As a Backout does that goes on for one that was killed.
#[tokio::test]
async fn before_anybody_is_asked_the_rest_of_a_killed_run_ends() {
    let bench = Bench::new();
    fs::write(bench.join("pids"), "").unwrap();
    // Its outputs have nobody at their other end, and would end it before its time.
    let slow = "exec 2>/dev/null; trap 'sleep 0.5; echo ended in order >> pids; exit 1' TERM; echo ready >> pids; while :; do sleep 0.05; done";
    let mut backout = other(&bench, slow).spawn().unwrap();
    wait_for("the tool", || fs::read_to_string(bench.join("pids")).unwrap().contains("ready").then_some(()));
    backout.kill().unwrap();
    backout.wait().unwrap();
    let dir = bench.path().canonicalize().unwrap();
    // Its guard is at it, and knows better how to end it.
    let again = tool(&Section { dir: dir.clone(), ..section(&bench, slow) });
    assert!(matches!(reconciled(&again, &key(&bench), false, &begun()).await, Reconciled::Unknown(_)));
    assert_eq!(bench.processes(), [0; 0]);
    assert!(fs::read_to_string(bench.join("pids")).unwrap().contains("ended in order"));

    let script = format!("{FAMILY}\nsleep 1000");
    fs::write(bench.join("pids"), "").unwrap();
    let mut backout = other(&bench, &script).spawn().unwrap();
    let leader = pid_of(&bench, "leader").await;
    kill(guard_of(leader), "KILL");
    backout.kill().unwrap();
    backout.wait().unwrap();
    let check =
        Some(Check { run: ["sh", "-c", "echo asked >> pids"].map(ToOwned::to_owned).into(), timeout: PATIENCE });
    let again = tool(&Section { dir, check, ..section(&bench, &script) });
    assert!(matches!(reconciled(&again, &key(&bench), false, &begun()).await, Reconciled::Done(_)));
    assert_eq!(bench.processes(), [0; 0]);
    assert!(!alive(leader));
}
