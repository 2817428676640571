//! Processes that are killed with SIGKILL in the middle of whatever they do, again and again. Another one looks what has become of
//! the operation that was going on, does it again where it was not done, and goes on from there: in the end everything is as if
//! nobody had been killed.
mod resumed;

use crate::{
    support::{
        bench::{Bench, PATIENCE, wait_for},
        call::call,
        restic::Archives,
    },
    tree::install::{file, tar},
};
use backout::{
    capability::{backup::ops as backup, database::ops as database, files::ops as files},
    gate::{Operation, Reconciled, class::Class},
    resource::{
        Access, CallCtx, Database, Failure, Kind, Tree, Witness,
        copies::{Copied, Snapshot},
        database as db,
        repository::Repository,
        tree,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    future::Future,
    io::{BufRead, BufReader, Write},
    marker::PhantomData,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

/// What a journal would keep, a line each, durable before it goes on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Begin { round: usize, step: usize },
    Evidence(Value),
    End(Value),
}

struct Lines(Mutex<fs::File>);

impl Lines {
    fn write(&self, line: &Line) {
        let mut file = self.0.lock().unwrap();
        writeln!(file, "{}", serde_json::to_string(line).unwrap()).unwrap();
        file.sync_data().unwrap();
    }
}

impl Witness for Lines {
    fn evidence(&self, data: Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        self.write(&Line::Evidence(data));
        Box::pin(async { Ok(()) })
    }
}

/// The operations of one round, by number.
#[async_trait::async_trait]
trait Story: Send + Sync {
    const STEPS: usize;
    /// `so_far`: outputs of the earlier steps of the round; `evidence`: of an earlier attempt, which was killed.
    async fn act(
        &self,
        round: usize,
        step: usize,
        so_far: &[Value],
        evidence: Option<&[Value]>,
        call: &CallCtx,
    ) -> Done;
    /// After all steps of a round, by the test's own eyes.
    fn is_as_if_nothing_had_happened(&self, round: usize);
}

struct Done {
    output: Value,
    /// A look has shown that it was done; it was not done again.
    seen: bool,
}

/// What a gate does with an operation that was begun.
async fn perform<K: Kind, O: Operation<On = K>>(
    access: &Access<K>,
    operation: O,
    evidence: Option<&[Value]>,
    call: &CallCtx,
) -> Done {
    if let Some(evidence) = evidence {
        match operation.reconcile(&access.observer, evidence, call).await.unwrap() {
            Reconciled::Done(output) => return Done { output: serde_json::to_value(output).unwrap(), seen: true },
            Reconciled::NotDone => {}
            Reconciled::Unknown(look) => panic!("{} is in doubt: {look}", O::NAME),
        }
    }
    let output = operation.execute(O::Class::half(access), call).await;
    let output = output.unwrap_or_else(|failure| panic!("{}: {failure}", O::NAME));
    Done { output: serde_json::to_value(output).unwrap(), seen: false }
}

/// The steps that work on copies, of any kind.
async fn copies<K: Copied>(
    access: &Access<K>,
    what: &str,
    (id, so_far): (String, &[Value]),
    evidence: Option<&[Value]>,
    call: &CallCtx,
) -> Done {
    let (resource, kind) = ("it".to_owned(), PhantomData);
    let snapshot = || so_far.iter().rev().find_map(|output| Snapshot::deserialize(output).ok());
    match what {
        "take" => perform(access, backup::Take::<K> { resource, id, kind }, evidence, call).await,
        "refresh" => {
            let refresh = backup::Refresh::<K> { resource, snapshot: snapshot(), cut: 1, kind };
            perform(access, refresh, evidence, call).await
        }
        "restore" => {
            let restore = backup::Restore::<K> { resource, snapshot: snapshot(), changed: true, kind };
            perform(access, restore, evidence, call).await
        }
        "discard" => {
            perform(access, backup::Discard::<K> { resource, snapshot: snapshot(), kind }, evidence, call).await
        }
        other => panic!("{other}"),
    }
}

struct Trees {
    dir: PathBuf,
    access: Access<Tree>,
}

const FILES: usize = 80;

impl Trees {
    fn at(dir: &Path) -> Self {
        let section = tree::Section {
            path: dir.join("tree"),
            exclude: vec!["uploads".to_owned()],
            keep_aside: Duration::ZERO,
            exclusive: true,
            archive: None,
        };
        Self { dir: dir.to_owned(), access: tree::drivers::open("app", &section, &dir.join("state")) }
    }
    fn new(dir: &Path) -> Self {
        for folder in ["state", "tree/conf", "tree/v", "tree/data", "tree/uploads"] {
            fs::create_dir_all(dir.join(folder)).unwrap();
        }
        for i in 0..FILES {
            fs::write(dir.join(format!("tree/data/{i}")), vec![i as u8; 10_000 + i]).unwrap();
        }
        fs::write(dir.join("tree/uploads/photo"), "customer's").unwrap();
        Self::at(dir)
    }
    fn archive(&self, round: usize) -> tree::Archive {
        let entries: Vec<Vec<u8>> = (0..FILES).map(|i| file(&format!("lib/{i}"), &format!("{i} of {round}"))).collect();
        let bytes = tar(&entries);
        let path = self.dir.join(format!("payload-{round}"));
        fs::write(&path, &bytes).unwrap();
        let sha256 = format!("{:x}", Sha256::digest(&bytes));
        tree::Archive { path, sha256, max_unpacked: 1 << 24, max_entries: 10_000 }
    }
}

#[async_trait::async_trait]
impl Story for Trees {
    const STEPS: usize = 8;
    async fn act(
        &self,
        round: usize,
        step: usize,
        so_far: &[Value],
        evidence: Option<&[Value]>,
        call: &CallCtx,
    ) -> Done {
        let write = |path: &str, content: Vec<u8>| files::Write { tree: "it".into(), path: path.into(), content };
        let access = &self.access;
        let what = ["take", "write", "install", "link", "refresh", "spoil", "restore", "discard"][step];
        match what {
            "write" => perform(access, write("conf/a", format!("round {round}").into()), evidence, call).await,
            "install" => {
                let archive = Some(self.archive(round));
                let install =
                    files::Install { tree: "it".into(), path: format!("v/{round}"), payload: "p".into(), archive };
                perform(access, install, evidence, call).await
            }
            "link" => {
                let link = files::Link { tree: "it".into(), path: "current".into(), target: format!("v/{round}") };
                perform(access, link, evidence, call).await
            }
            "spoil" => perform(access, write("conf/a", vec![b'x'; 900_000]), evidence, call).await,
            what => copies(access, what, (format!("{round}-app"), so_far), evidence, call).await,
        }
    }
    fn is_as_if_nothing_had_happened(&self, round: usize) {
        let tree = self.dir.join("tree");
        let read = |path: &str| fs::read_to_string(tree.join(path)).unwrap();
        assert_eq!(read("conf/a"), format!("round {round}"));
        assert_eq!(read("uploads/photo"), "customer's");
        assert_eq!(fs::read_link(tree.join("current")).unwrap(), Path::new(&format!("v/{round}")));
        for i in 0..FILES {
            assert_eq!(read(&format!("current/lib/{i}")), format!("{i} of {round}"));
            assert_eq!(fs::read(tree.join(format!("data/{i}"))).unwrap(), vec![i as u8; 10_000 + i]);
        }
        let names = |folder: &str| -> BTreeSet<String> {
            fs::read_dir(tree.join(folder)).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
        };
        let expected = ["conf", "current", "data", "uploads", "v"].map(ToOwned::to_owned);
        assert_eq!(names("."), BTreeSet::from(expected), "nothing is left inside");
        assert_eq!(names("conf"), BTreeSet::from(["a".to_owned()]));
        assert_eq!(names("v").len(), round + 1);
        assert!(!self.dir.join(".backout").exists(), "nothing is left beside it");
    }
}

struct Databases {
    dir: PathBuf,
    access: Access<Database>,
}

impl Databases {
    fn at(dir: &Path) -> Self {
        Self::by(dir, db::Method::default())
    }
    /// Its copies are archived.
    fn archived(dir: &Path, repository: &Repository) -> Self {
        Self::by(dir, db::Method::Archive(repository.clone()))
    }
    fn by(dir: &Path, method: db::Method) -> Self {
        let driver = db::Driver::Sqlite { path: dir.join("shop.db") };
        let section = db::Section { driver, keep_aside: Duration::ZERO, exclusive: true, method };
        Self { dir: dir.to_owned(), access: db::drivers::open("shop", &section) }
    }
    fn new(dir: &Path, mode: &str) -> Self {
        let sql = "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT); CREATE TABLE log (round INTEGER); \
                   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
                   INSERT INTO orders SELECT i, 'note ' || i FROM n";
        let connection = rusqlite::Connection::open(dir.join("shop.db")).unwrap();
        connection.pragma_update(None, "journal_mode", mode).unwrap();
        connection.execute_batch(sql).unwrap();
        Self::at(dir)
    }
}

#[async_trait::async_trait]
impl Story for Databases {
    const STEPS: usize = 10;
    async fn act(
        &self,
        round: usize,
        step: usize,
        so_far: &[Value],
        evidence: Option<&[Value]>,
        call: &CallCtx,
    ) -> Done {
        let (access, name) = (&self.access, || "it".to_owned());
        let execute = |sql: String| database::Execute { database: name(), sql };
        let steps =
            ["take", "fence", "log", "change", "refresh", "spoil", "restore", "unfence", "log again", "discard"];
        match steps[step] {
            "fence" => perform(access, database::Fence { database: name(), within: 10 }, evidence, call).await,
            "unfence" => perform(access, database::Unfence { database: name() }, evidence, call).await,
            "log" | "log again" => {
                perform(access, execute(format!("INSERT INTO log VALUES ({round})")), evidence, call).await
            }
            // Adding is what must not be done twice.
            "change" => {
                let sql = "UPDATE orders SET note = note || '+' WHERE id % 3 = 0; CREATE TABLE t (a); DROP TABLE t";
                perform(access, execute(sql.into()), evidence, call).await
            }
            "spoil" => perform(access, execute("DELETE FROM orders; DROP TABLE log".into()), evidence, call).await,
            what => copies(access, what, (format!("{round}-shop"), so_far), evidence, call).await,
        }
    }
    fn is_as_if_nothing_had_happened(&self, round: usize) {
        let connection = rusqlite::Connection::open(self.dir.join("shop.db")).unwrap();
        let ask = |sql: &str| -> i64 { connection.query_row(sql, [], |row| row.get(0)).unwrap() };
        assert_eq!(ask("SELECT count(*) FROM log"), 2 * (round as i64 + 1), "each row once");
        assert_eq!(ask("SELECT count(DISTINCT round) FROM log"), round as i64 + 1);
        let pluses = "SELECT sum(length(note) - length(replace(note, '+', ''))) FROM orders";
        assert_eq!(ask(pluses), 1000 * (round as i64 + 1), "each plus once");
        let whole: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        drop(connection);
        assert!(!self.dir.join(".backout").exists(), "nothing is left beside it");
    }
}

/// The process that is killed; it does nothing unless it is told where.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a child of another test"]
async fn works_until_it_is_killed() {
    let Ok(dir) = std::env::var("BACKOUT_TEST_DIR") else { return };
    let dir = Path::new(&dir);
    let first: usize = std::env::var("BACKOUT_TEST_ROUND").unwrap().parse().unwrap();
    let lines = Arc::new(Lines(Mutex::new(fs::File::create(dir.join("lines")).unwrap())));
    let call = CallCtx { witness: lines.clone(), ..call("1/upgrade/it/1/1", PATIENCE) };
    println!("begins");
    match std::env::var("BACKOUT_TEST_STORY").unwrap().as_str() {
        "trees" => work(Trees::at(dir), first, &lines, &call).await,
        "archives" => {
            work(Databases::archived(dir, &Archives { at: dir.join("offsite") }.repository()), first, &lines, &call)
                .await
        }
        _ => work(Databases::at(dir), first, &lines, &call).await,
    }
}

async fn work<S: Story>(story: S, first: usize, lines: &Lines, call: &CallCtx) {
    for round in first.. {
        let mut outputs = Vec::new();
        for step in 0..S::STEPS {
            lines.write(&Line::Begin { round, step });
            let done = story.act(round, step, &outputs, None, call).await;
            lines.write(&Line::End(done.output.clone()));
            outputs.push(done.output);
        }
    }
}

/// What the killed one has left: where it was, the outputs of the round so far, the evidence of what was going on.
struct Left {
    round: usize,
    step: usize,
    outputs: Vec<Value>,
    /// `None`: nothing was going on.
    evidence: Option<Vec<Value>>,
}

/// `first`: the round that it was to begin with.
fn left(dir: &Path, first: usize) -> Left {
    let text = fs::read_to_string(dir.join("lines")).unwrap();
    let mut left = Left { round: first, step: 0, outputs: Vec::new(), evidence: None };
    // The last line may be torn.
    for line in text.lines().filter_map(|line| serde_json::from_str(line).ok()) {
        match line {
            Line::Begin { round, step } => {
                if step == 0 {
                    left.outputs.clear();
                }
                left = Left { round, step, outputs: left.outputs, evidence: Some(Vec::new()) };
            }
            Line::Evidence(data) => left.evidence.as_mut().unwrap().push(data),
            Line::End(output) => {
                left.outputs.push(output);
                left.step += 1;
                left.evidence = None;
            }
        }
    }
    left
}

async fn killed_again_and_again<S: Story>(name: &str, dir: &Path, open: impl Fn() -> S, rounds: usize) {
    let (mut round, mut seen, mut met) = (0, 0, BTreeSet::new());
    for kill in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture", "in_doubt::works_until_it_is_killed"])
            .env("BACKOUT_TEST_DIR", dir)
            .env("BACKOUT_TEST_ROUND", round.to_string())
            .env("BACKOUT_TEST_STORY", name)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("begins")));
        // At the beginning of each step in its turn, and then some moments later, more each time around.
        let (step, later) = (kill % S::STEPS, kill / S::STEPS);
        wait_for("the step", || {
            let now = left(dir, round);
            (now.step >= step || now.round > round).then_some(())
        });
        std::thread::sleep(Duration::from_micros(later as u64 * 4_000 + kill as u64 * 130));
        child.kill().unwrap();
        child.wait().unwrap();

        let left = left(dir, round);
        if left.evidence.is_some() {
            met.insert(left.step);
        }
        // Another Backout, which knows nothing but what was written down.
        let (story, call) = (open(), call("1/upgrade/it/1/1", PATIENCE));
        let (mut outputs, mut evidence) = (left.outputs, left.evidence);
        for step in left.step..S::STEPS {
            let done = story.act(left.round, step, &outputs, evidence.take().as_deref(), &call).await;
            seen += usize::from(done.seen);
            outputs.push(done.output);
        }
        story.is_as_if_nothing_had_happened(left.round);
        round = left.round + 1;
    }
    println!("{name}: steps that were interrupted {met:?}, seen to be done {seen}");
    assert!(met.len() >= S::STEPS / 2, "{met:?}: the moments are spread over the round");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_tree_nothing_is_lost_and_nothing_done_twice() {
    let bench = Bench::new();
    Trees::new(bench.path());
    killed_again_and_again("trees", bench.path(), || Trees::at(bench.path()), 16).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_database_nothing_is_lost_and_nothing_done_twice() {
    for mode in ["wal", "delete"] {
        let bench = Bench::new();
        Databases::new(bench.path(), mode);
        killed_again_and_again("databases", bench.path(), || Databases::at(bench.path()), 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_archived_database_nothing_is_lost_and_nothing_stays() {
    let bench = Bench::new();
    Databases::new(bench.path(), "wal");
    let archives = Archives::create(&bench.path().join("offsite"));
    // Its key is found once here, and once by each that is killed.
    let repository = archives.repository();
    killed_again_and_again("archives", bench.path(), || Databases::archived(bench.path(), &repository), 12).await;
    assert_eq!(archives.tags(), [""; 0]);
    archives.are_whole();
}
