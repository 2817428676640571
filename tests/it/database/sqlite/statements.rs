//! Processes that are killed in the middle of a statement, or around its end.
use super::*;
use crate::{database::done::executed, support::bench::wait_for};
use backout::resource::database::Executed;

in_both_modes! {
    killed_statements_are_told_from_those_that_took_effect
    a_statement_that_runs_for_long_ends_with_its_process
}

/// The other process of the tests below. What a journal would keep goes into a file: the number of each operation, and its
/// evidence, each durable before it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a child of another test"]
async fn executes_until_it_is_killed() {
    let Some(path) = std::env::var_os("BACKOUT_TEST_DATABASE") else { return };
    let sql = std::env::var("BACKOUT_TEST_SQL").unwrap();
    let driver = Driver::Sqlite { path: path.into() };
    let access = drivers::open(
        "shop",
        &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method: Default::default() },
    );
    struct Durable(Mutex<std::fs::File>);
    impl Durable {
        fn line(&self, line: String) {
            let mut file = self.0.lock().unwrap();
            writeln!(file, "{line}").unwrap();
            file.sync_data().unwrap();
        }
    }
    impl Witness for Durable {
        fn evidence(&self, data: Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
            self.line(data.to_string());
            Box::pin(async { Ok(()) })
        }
    }
    let file = std::fs::File::create(std::env::var_os("BACKOUT_TEST_JOURNAL").unwrap()).unwrap();
    let witness = Arc::new(Durable(Mutex::new(file)));
    println!("done: nothing yet");
    for i in 0.. {
        witness.line(format!("begin {i}"));
        let call = CallCtx { witness: witness.clone(), ..call() };
        access.mutator.execute(&sql.replace("NUMBER", &i.to_string()), &call).await.unwrap();
    }
}

struct Executing {
    child: Connected,
    journal: PathBuf,
}

fn executing(shop: &Shop, sql: &str) -> Executing {
    let journal = shop.folder.path().join("journal");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "database::sqlite::statements::executes_until_it_is_killed"])
        .env("BACKOUT_TEST_DATABASE", shop.path())
        .env("BACKOUT_TEST_JOURNAL", &journal)
        .env("BACKOUT_TEST_SQL", sql)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("done: ")));
    wait_for("the first one", || std::fs::read_to_string(&journal).is_ok_and(|text| text.contains('\n')).then_some(()));
    Executing { child: child.into(), journal }
}

impl Executing {
    /// The number of the operation that was going on, and its evidence.
    fn killed(self) -> (u64, Vec<Value>) {
        drop(self.child);
        let text = std::fs::read_to_string(&self.journal).unwrap();
        let (_, last) = text.rsplit_once("begin ").unwrap();
        let mut lines = last.lines();
        let number = lines.next().unwrap().parse().unwrap();
        (number, lines.map(|line| serde_json::from_str(line).unwrap()).collect())
    }
}

async fn killed_statements_are_told_from_those_that_took_effect(shop: Shop) {
    let access = shop.access(true);
    let mut decided = [0, 0];
    for round in 0..30 {
        shop.sql("DELETE FROM log");
        let sql = match round % 3 {
            0 => "INSERT INTO log VALUES (NUMBER)",
            1 => "INSERT INTO log VALUES (NUMBER); CREATE TABLE n_NUMBER (a); DROP TABLE n_NUMBER",
            // More than fits into memory, so that the file is written to before the end.
            _ => {
                "PRAGMA defer_foreign_keys = 1; UPDATE orders SET note = hex(randomblob(2000)); INSERT INTO log VALUES (NUMBER)"
            }
        };
        let other = executing(&shop, sql);
        std::thread::sleep(Duration::from_micros(round * 1_700));
        let (number, evidence) = other.killed();
        // The product, which knows nothing of it, starts at once in every second round.
        if round % 2 == 0 {
            shop.sql("INSERT INTO log VALUES ('by the product'); CREATE TABLE own (a); DROP TABLE own");
        }
        let looked = executed(&access, &evidence).await;
        let there = shop.ask(&format!("SELECT count(*) FROM log WHERE line = {number}"));
        match looked {
            Executed::Done { rows } => {
                assert_eq!((there, rows), (vec!["1".to_owned()], if round % 3 == 2 { 1001 } else { 1 }))
            }
            Executed::NotDone => assert_eq!(there, ["0"], "round {round}"),
            Executed::Unclear(look) => panic!("round {round}: {look}"),
        }
        decided[usize::from(matches!(looked, Executed::Done { .. }))] += 1;
        assert_eq!(shop.ask("PRAGMA integrity_check"), ["ok"]);
    }
    println!("not done, done: {decided:?}");
}

async fn a_statement_that_runs_for_long_ends_with_its_process(shop: Shop) {
    let access = shop.access(true);
    shop.sql("CREATE TABLE pace (rows); INSERT INTO pace VALUES (1 << 50)");
    let slow = "DELETE FROM log; INSERT INTO log WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n \
                WHERE i < (SELECT rows FROM pace)) SELECT max(i) FROM n";
    let other = executing(&shop, slow);
    let locked = "c.execute('PRAGMA busy_timeout = 0')\ntry:\n c.execute('BEGIN IMMEDIATE')\nexcept sqlite3.OperationalError:\n print('locked')";
    let it_writes = || {
        let output = python(&format!("{CONNECT}{locked}"), &shop.path()).output().unwrap();
        (output.stdout == b"locked\n").then_some(())
    };
    wait_for("the statement", it_writes);
    let (_, evidence) = other.killed();
    assert_eq!(evidence, [Value::Null; 0]);
    assert_eq!(executed(&access, &evidence).await, Executed::NotDone);
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
    shop.sql("UPDATE pace SET rows = 7");
    assert_eq!(access.mutator.execute(slow, &call()).await.unwrap(), 4);
    assert_eq!(shop.ask("SELECT line FROM log"), ["7"]);
}
