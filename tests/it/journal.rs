//! The journal through its public door: what it promises to who writes, and to who reads.
pub mod chain;
mod torn;

use backout::{
    failure::Failure,
    journal::{Ending, Entry, Error, Header, Journal, Level, Place, Reader, Recorded, Request, RunId},
};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

fn begin(path: &Path) -> (Arc<Journal>, RunId) {
    let header = Header { command: "upgrade".into(), package: "acme/shop".into(), ..Header::default() };
    let (journal, run) = Journal::begin(path, header, Arc::new(|_| ())).unwrap();
    (Arc::new(journal), run)
}

fn nowhere() -> Place {
    Place::new("", false, "", 0)
}
fn install() -> Place {
    Place::new("upgrade", false, "install", 1)
}
fn said(text: impl Into<String>) -> Entry {
    Entry::Said { level: Level::Info, text: text.into() }
}
fn request(operation: &str) -> Request {
    Request {
        operation: operation.into(),
        class: "once".into(),
        label: "shop".into(),
        resource: "tool:shop".into(),
        changes: vec![],
        disturbs: false,
        request: serde_json::json!({ "tool": "shop" }),
    }
}
fn observed(n: u64) -> Entry {
    Entry::Observed { request: request("clock.now"), result: Ok(n.into()), millis: 0 }
}
fn outcome() -> Entry {
    Entry::Outcome { result: Ok(serde_json::Value::Null), millis: 3 }
}
fn ended(outcome: &str) -> Entry {
    Entry::RunEnded(Ending { outcome: outcome.into(), exit: 0, message: String::new(), ..Ending::default() })
}

/// The entries of a run in a word each.
fn words(entries: &[Recorded]) -> Vec<String> {
    let word = |r: &Recorded| match &r.entry {
        Entry::RunStarted(_) => "run".to_owned(),
        Entry::RunEnded(ending) => ending.outcome.clone(),
        Entry::StepStarted => "step".to_owned(),
        Entry::StepEnded { .. } => "step-ended".to_owned(),
        Entry::Intent(_) => format!("intent {}", r.seq),
        Entry::Outcome { .. } => format!("outcome {}", r.seq),
        Entry::Observed { .. } => format!("observed {}", r.seq),
        Entry::Said { text, .. } => text.clone(),
        other => format!("{other:?}"),
    };
    entries.iter().map(word).collect()
}

/// How many transactions stand in a write-ahead log: a frame that ends one tells the size of the database.
fn commits(journal: &Path) -> usize {
    let log = fs::read(journal.with_extension("db-wal")).unwrap();
    let number = |at: usize| u32::from_be_bytes(log[at..at + 4].try_into().unwrap());
    let (header, page) = (32, number(8) as usize + 24);
    (header..log.len()).step_by(page).filter(|&frame| number(frame + 4) != 0).count()
}

/// Bytes of a write-ahead log up to its last commit; behind it there may be room for more.
fn written(log: &[u8]) -> usize {
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize + 24;
    let frames = log[32..].chunks_exact(page).take_while(|frame| frame[8..16] == log[16..24]);
    let commits = frames.enumerate().filter(|(_, frame)| frame[4..8] != [0; 4]);
    commits.last().map_or(32, |(n, _)| 32 + (n + 1) * page)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_once_is_made_durable_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, run) = begin(&path);
    let before = commits(&path);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut appends = tokio::task::JoinSet::new();
    for n in 0..200 {
        let journal = journal.clone();
        appends.spawn(async move { journal.append(run, &nowhere(), 0, said(format!("{n}"))).await });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(appends.try_join_next().is_none(), "nothing is promised while nothing can be written");
    other.execute_batch("COMMIT").unwrap();
    for done in appends.join_all().await {
        done.unwrap();
    }
    let commits = commits(&path) - before;
    assert!((1..=3).contains(&commits), "200 entries took {commits} commits");
    assert_eq!(Reader::open(&path).unwrap().entries(run).unwrap().len(), 201);
}

/// Steps that take turns would share nothing: one would always be waiting while the other's entry is on its way. The writer waits
/// for the other half as long as a commit takes, so commits are made slow here: a machine at work would else keep it for longer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_that_append_at_once_share_their_commits() {
    const EACH: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, run) = begin(&path);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.busy_timeout(Duration::from_secs(10)).unwrap();
    let slow = std::thread::spawn(move || {
        while let Err(std::sync::mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(1)) {
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            std::thread::sleep(Duration::from_millis(4));
            other.execute_batch("COMMIT").unwrap();
        }
    });
    // What was checkpointed could not be counted.
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM entry").unwrap();
    let mut rounds = Vec::new();
    for _ in 0..5 {
        let before = commits(&path);
        let mut steps = tokio::task::JoinSet::new();
        for step in 0..2 {
            let journal = journal.clone();
            steps.spawn(async move {
                for n in 0..EACH {
                    journal.append(run, &nowhere(), 0, said(format!("{step} {n}"))).await.unwrap();
                }
            });
        }
        steps.join_all().await;
        rounds.push(commits(&path) - before);
        if rounds.ends_with(&[EACH]) {
            break;
        }
    }
    drop(stop);
    slow.join().unwrap();
    // Half as many commits as entries, but for the first ones.
    let best = rounds.iter().min().unwrap();
    assert!(*best <= EACH + 1, "{} entries at a time took {rounds:?} commits", EACH * 2);
}

#[tokio::test]
async fn notes_stand_before_the_durable_entry_that_follows_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = heard.clone();
    let tell = move |r: &Recorded| listener.lock().unwrap().push(r.clone());
    let (journal, run) = Journal::begin(&path, Header::default(), Arc::new(tell)).unwrap();
    journal.append(run, &install(), 0, Entry::StepStarted).await.unwrap();
    journal.note(run, &install(), 1, observed(1));
    journal.note(run, &install(), 2, observed(2));
    journal.append(run, &install(), 3, Entry::Intent(request("tool.run"))).await.unwrap();
    let expected = ["run", "step", "observed 1", "observed 2", "intent 3"];
    assert_eq!(words(&Reader::open(&path).unwrap().entries(run).unwrap()), expected, "on disk, without a flush");
    assert_eq!(words(&heard.lock().unwrap()), expected, "and told in that order");
}

#[tokio::test]
async fn notes_reach_the_disk_though_nothing_durable_follows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, run) = begin(&path);
    // A script that polls never leaves the writer idle.
    for n in 0..40 {
        journal.note(run, &nowhere(), n + 1, observed(n.into()));
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    let on_disk = Reader::open(&path).unwrap().entries(run).unwrap().len();
    assert!(on_disk > 10, "only {on_disk} entries after three times the promised time");
    drop(journal);
    assert_eq!(Reader::open(&path).unwrap().entries(run).unwrap().len(), 41, "closing writes the rest");
}

#[tokio::test]
async fn an_entry_in_the_wrong_place_is_refused_and_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, run) = begin(&path);
    let step_ended = || Entry::StepEnded { result: Ok(()), millis: 1, limit: false };
    let refused = |result: Result<i64, Error>| assert!(matches!(result, Err(Error::Illegal(_))), "{result:?}");
    refused(journal.append(run, &install(), 0, step_ended()).await);
    refused(journal.append(run, &install(), 1, Entry::Intent(request("tool.run"))).await);
    refused(journal.append(run + 1, &nowhere(), 0, said("of another run")).await);
    journal.append(run, &install(), 0, Entry::StepStarted).await.unwrap();
    journal.append(run, &install(), 1, Entry::Intent(request("tool.run"))).await.unwrap();
    refused(journal.append(run, &install(), 0, step_ended()).await);
    journal.append(run, &install(), 1, outcome()).await.unwrap();
    journal.append(run, &install(), 0, step_ended()).await.unwrap();
    refused(journal.append(run, &install(), 2, Entry::Intent(request("tool.run"))).await);
    journal.append(run, &nowhere(), 0, ended("upgraded")).await.unwrap();
    refused(journal.append(run, &nowhere(), 0, said("too late")).await);
    journal.note(run, &nowhere(), 0, said("too late as well"));
    journal.flush().await.unwrap();
    assert_eq!(
        words(&Reader::open(&path).unwrap().entries(run).unwrap()),
        ["run", "step", "intent 1", "outcome 1", "step-ended", "upgraded"]
    );
}

#[test]
fn a_file_that_is_not_a_journal_of_this_format_is_named_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let sql = |text: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(text).unwrap();
    let expect = |wanted: &str| {
        let bytes = fs::read(&path).unwrap();
        let reading = Reader::open(&path).err().unwrap().to_string();
        let writing = Journal::begin(&path, Header::default(), Arc::new(|_| ())).err().unwrap().to_string();
        let wanted = wanted.replace("PATH", &path.display().to_string());
        assert_eq!(reading, wanted);
        assert_eq!(writing, wanted);
        assert!(fs::read(&path).unwrap() == bytes, "{wanted}: the file was changed");
    };
    drop(begin(&path));
    sql("PRAGMA user_version = 2; PRAGMA wal_checkpoint(TRUNCATE)");
    expect("journal PATH was written by a newer Backout (format 2, this one reads 1): install that version");
    sql("PRAGMA user_version = 0; PRAGMA wal_checkpoint(TRUNCATE)");
    expect("journal PATH was written by an older Backout (format 0, this one reads 1): use that version");
    fs::remove_file(&path).unwrap();
    // The version alone proves nothing: other programs count theirs from 1 too.
    sql("CREATE TABLE customers (id); PRAGMA user_version = 1");
    expect("PATH is not a Backout journal");
    fs::write(&path, "remember the milk\n".repeat(400)).unwrap();
    expect("PATH is not a Backout journal");
}

/// What stands in a file that others could write is read; none of it is ever run.
#[test]
fn a_journal_that_holds_more_than_a_journal_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let planted = [
        ("evil", "CREATE TRIGGER evil AFTER INSERT ON entry BEGIN DELETE FROM entry; END"),
        ("evil", "CREATE VIEW evil AS SELECT * FROM entry"),
        ("evil", "CREATE TABLE evil (id)"),
        ("evil", "CREATE INDEX evil ON entry(at)"),
        ("entry", "ALTER TABLE entry RENAME TO other; CREATE VIEW entry AS SELECT * FROM other"),
        ("entry", "ALTER TABLE entry ADD COLUMN more TEXT"),
        ("entry", "DROP INDEX entry_mark; ALTER TABLE entry RENAME TO old; CREATE TABLE entry (id, run, kind)"),
        ("entry_mark", "DROP INDEX entry_mark"),
        (
            "entry",
            "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, 'seq INTEGER', \
             'seq ANY') WHERE name = 'entry'",
        ),
    ];
    for (name, sql) in planted {
        let _ = fs::remove_file(&path);
        drop(begin(&path));
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
        db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        drop(db);
        let bytes = fs::read(&path).unwrap();
        let wanted = format!("journal {} was changed: `{name}` in it is not as Backout made it", path.display());
        let reading = Reader::open(&path).err().unwrap().to_string();
        let writing = Journal::begin(&path, Header::default(), Arc::new(|_| ())).err().unwrap().to_string();
        assert!(sql.contains("ALTER") || reading == wanted, "{sql}: {reading}");
        assert!(reading.starts_with(wanted.split('`').next().unwrap()), "{sql}: {reading}");
        assert_eq!(reading, writing);
        assert!(fs::read(&path).unwrap() == bytes, "{sql}: the file was changed");
    }
}

#[test]
fn where_nothing_was_ever_written_there_is_no_journal_and_no_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    assert!(Reader::find(&path).unwrap().is_none());
    assert!(!path.exists(), "looking makes no file");
    fs::write(&path, "").unwrap();
    assert!(Reader::find(&path).unwrap().is_none(), "what a crash before the first entry leaves");
    let (_journal, run) = begin(&path);
    assert_eq!(Reader::find(&path).unwrap().unwrap().run(run).unwrap().run, run);
    let missing = Reader::open(&path).unwrap().run(7).unwrap_err();
    assert_eq!(missing.to_string(), "there is no run 7");
}

#[tokio::test]
async fn a_damaged_entry_is_named_and_the_other_runs_can_still_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let (journal, first) = begin(&path);
    journal.append(first, &nowhere(), 0, said("whole")).await.unwrap();
    journal.append(first, &nowhere(), 0, ended("upgraded")).await.unwrap();
    drop(journal);
    let (journal, second) = begin(&path);
    drop(journal);
    let damage = |body: &str| {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute("UPDATE entry SET body = ?1 WHERE id = 2", [body]).unwrap();
    };
    for body in [r#"{"entry":"said","level":"inf"#, r#"{"entry":"sung","text":"la"}"#, ""] {
        damage(body);
        let reader = Reader::open(&path).unwrap();
        let error = reader.entries(first).unwrap_err();
        assert!(matches!(error, Error::Damaged { id: 2, .. }), "{body}: {error}");
        assert_eq!(reader.entries(second).unwrap().len(), 1);
        let runs: Vec<_> = reader.runs().unwrap().iter().map(|r| (r.run, r.ending.is_some())).collect();
        assert_eq!(runs, [(second, false), (first, true)], "newest first");
    }
}

#[tokio::test]
async fn only_steps_that_succeeded_count_as_measured() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    for (n, result) in [Ok(()), Err(Failure::failed("no")), Ok(())].into_iter().enumerate() {
        let (journal, run) = begin(&path);
        let millis = 1000 * (n as u64 + 1);
        journal.append(run, &install(), 0, Entry::StepStarted).await.unwrap();
        journal.append(run, &install(), 0, Entry::StepEnded { result, millis, limit: false }).await.unwrap();
    }
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.durations("acme/shop", "upgrade", "install").unwrap(), [3000, 1000], "newest first");
    assert!(reader.durations("acme/mail", "upgrade", "install").unwrap().is_empty(), "another package");
    assert!(reader.durations("acme/shop", "rollback", "install").unwrap().is_empty(), "another phase");
}

// What follows needs writers in processes of their own: this binary, started again for one of its tests.

const ORDER: &str = "JOURNAL_TEST";

/// Starts `child` in another process, behind a shell that sets things up.
fn start(setup: &str, order: &str, path: &Path) -> Child {
    Command::new("sh")
        .args(["-c", &format!(r#"{setup} exec "$0" "$@""#)])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "journal::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ORDER, format!("{order}:{}", path.display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
#[ignore = "run by the tests below in a process of its own"]
async fn child() {
    let Ok(order) = std::env::var(ORDER) else { return };
    let (order, path) = order.split_once(':').unwrap();
    let path = PathBuf::from(path);
    match order {
        "write-100" => {
            let (journal, run) = begin(&path);
            for n in 0..100 {
                journal.append(run, &nowhere(), 0, said(format!("{n}"))).await.unwrap();
            }
        }
        "write-on" => {
            let (journal, run) = begin(&path);
            for n in 0u64.. {
                journal.append(run, &nowhere(), 0, said(format!("{n}"))).await.unwrap();
                println!("\npromised {n}");
            }
        }
        "fill-the-disk" => fill_the_disk(&path).await,
        other => panic!("{other}"),
    }
}

#[test]
fn runs_of_several_processes_stay_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let children: Vec<Child> = (0..3).map(|_| start("", "write-100", &path)).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let reader = Reader::open(&path).unwrap();
    let runs: Vec<RunId> = reader.runs().unwrap().iter().map(|r| r.run).collect();
    assert_eq!(runs, [3, 2, 1]);
    let expected: Vec<String> = std::iter::once("run".to_owned()).chain((0..100).map(|n| n.to_string())).collect();
    for run in runs {
        assert_eq!(words(&reader.entries(run).unwrap()), expected, "run {run}");
    }
    let everything = reader.since(1).unwrap();
    assert!(everything.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!(everything.len(), 303);
}

#[test]
fn what_was_promised_is_there_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut child = start("", "write-on", &path);
    let mut promised = None;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some(n) = line.strip_prefix("promised ") else { continue };
        promised = Some(n.parse::<usize>().unwrap());
        if promised == Some(50) {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    let promised = promised.unwrap();
    let texts = words(&Reader::open(&path).unwrap().entries(1).unwrap());
    assert!(texts.len() >= promised + 2, "{promised} was promised, there is {:?}", texts.last());
    let runs = Reader::open(&path).unwrap().runs().unwrap();
    assert!(runs[0].ending.is_none(), "nobody says that it ended");
}

/// The limit on the size of a file stands for a full disk; the shell has made the kernel answer instead of kill.
async fn fill_the_disk(path: &Path) {
    let (journal, run) = begin(path);
    journal.append(run, &install(), 0, Entry::StepStarted).await.unwrap();
    journal.append(run, &install(), 1, Entry::Intent(request("tool.run"))).await.unwrap();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let full = written(&fs::read(path.with_extension("db-wal")).unwrap());
    let small = rustix::process::Rlimit { current: Some(full as u64), ..limit };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, small).unwrap();
    journal.note(run, &install(), 2, observed(1));
    let unwritten = journal.append(run, &install(), 1, outcome()).await.unwrap_err();
    assert!(matches!(unwritten, Error::Unwritten { .. }), "{unwritten:?}");
    let said = unwritten.to_string();
    assert!(
        said.starts_with(&format!("journal {}: ", path.display())) && said.ends_with("; is the disk full?"),
        "{said}"
    );
    let unwritten = journal.flush().await.unwrap_err();
    assert!(matches!(unwritten, Error::Unwritten { .. }), "{unwritten:?}");
    assert!(journal.append(run, &nowhere(), 0, ended("upgraded")).await.is_err(), "no success without a record of it");
    assert_eq!(words(&Reader::open(path).unwrap().entries(run).unwrap()), ["run", "step", "intent 1"]);

    rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    let step_ended = Entry::StepEnded { result: Ok(()), millis: 1, limit: false };
    let illegal = journal.append(run, &install(), 0, step_ended).await.unwrap_err();
    assert!(matches!(illegal, Error::Illegal(_)), "the outcome is missing still: {illegal:?}");
    journal.append(run, &nowhere(), 0, ended("in-doubt")).await.unwrap();
    let words = words(&Reader::open(path).unwrap().entries(run).unwrap());
    assert_eq!(words, ["run", "step", "intent 1", "observed 2", "in-doubt"], "the note was kept");
}

#[test]
fn a_full_disk_is_said_and_nothing_is_promised() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let output = start("trap '' XFSZ;", "fill-the-disk", &path).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
