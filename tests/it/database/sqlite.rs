//! A product over SQLite, and what only SQLite has.
pub mod archive;
mod content;
mod refresh;
mod salvage;
mod statements;
mod states;

use super::*;
use backout::resource::database::{Driver, Section, drivers};
use rusqlite::Connection;
use std::{
    io::{BufRead, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Both journal modes.
macro_rules! in_both_modes {
    ($($test:ident)*) => { $(mod $test {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn wal() {
            super::$test(crate::database::sqlite::Shop::new("wal")).await
        }
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn rollback_journal() {
            super::$test(crate::database::sqlite::Shop::new("delete")).await
        }
    })* };
}
use in_both_modes;

pub struct Shop {
    folder: tempfile::TempDir,
    mode: &'static str,
}

impl Shop {
    pub fn new(mode: &'static str) -> Self {
        let shop = Self::empty(mode);
        shop.sql(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL, note TEXT);
             CREATE TABLE items (order_id INT NOT NULL, line INT NOT NULL, name TEXT, PRIMARY KEY (order_id, line));
             CREATE TABLE log (line);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 INSERT INTO orders SELECT i, 'c' || i, i + 0.5, 'note ' || i FROM n;
             INSERT INTO items SELECT id, 1, 'first' FROM orders UNION ALL SELECT id, 2, 'second' FROM orders;
             INSERT INTO log VALUES ('one'), ('two'), ('three')",
        );
        shop
    }
    /// A file without a table.
    fn empty(mode: &'static str) -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap(), mode };
        Connection::open(shop.path()).unwrap().pragma_update(None, "journal_mode", mode).unwrap();
        shop
    }
    fn path(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }
    fn side(&self, side: &str) -> PathBuf {
        self.folder.path().join(format!("shop.db{side}"))
    }
    fn home(&self) -> PathBuf {
        self.folder.path().join(".backout/shop")
    }
    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            self.folder.path().read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Python, because it is not us: another process, another build of SQLite.
fn python(script: &str, path: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-I", "-S", "-c", script]).arg(path).stdin(Stdio::null());
    command
}
const CONNECT: &str =
    "import sqlite3, sys, os, time\nc = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n";

fn started(script: &str, path: &Path) -> Connected {
    let mut child = python(&format!("{CONNECT}{script}"), path).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child.into()
}

fn ask_file(path: &Path, sql: &str) -> Vec<String> {
    let script = format!("{CONNECT}for row in c.execute(sys.argv[2]): print(row[0])");
    let output = python(&script, path).arg(sql).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[async_trait]
impl Product for Shop {
    fn access(&self, exclusive: bool) -> Access<Database> {
        let driver = Driver::Sqlite { path: self.path() };
        drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive, method: Default::default() })
    }
    fn may_connect(&self) -> bool {
        let before = self.names();
        let output =
            python(&format!("{CONNECT}c.execute('SELECT count(*) FROM sqlite_master').fetchall()"), &self.path())
                .output()
                .unwrap();
        if !output.status.success() {
            assert_eq!(self.names(), before, "an application that is kept out leaves nothing behind");
            assert!(String::from_utf8_lossy(&output.stderr).contains("unable to open database file"), "{output:?}");
        }
        output.status.success()
    }
    fn sql(&self, sql: &str) {
        let script = format!("{CONNECT}c.execute('PRAGMA journal_mode = {}')\nc.executescript(sys.argv[2])", self.mode);
        let output = python(&script, &self.path()).arg(sql).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    fn ask(&self, sql: &str) -> Vec<String> {
        ask_file(&self.path(), sql)
    }
    fn connected(&self) -> Connected {
        started(
            "c.execute('SELECT 1 FROM orders').fetchone()\nprint('ready', flush=True)\ntime.sleep(600)",
            &self.path(),
        )
    }
    fn busy(&self) -> Busy {
        let count = self.folder.path().join("written");
        std::fs::write(&count, "0").unwrap();
        let script = "print('ready', flush=True)\nn = 0\nout = os.open(os.path.dirname(sys.argv[1]) + '/written', os.O_WRONLY)\n\
                      while True:\n c.execute(\"INSERT INTO log VALUES (hex(randomblob(200)))\")\n n += 1\n os.pwrite(out, b'%d' % n, 0)\n time.sleep(0.0005)\n";
        let _process = started(script, &self.path());
        let written = move || std::fs::read_to_string(&count).unwrap().parse().unwrap();
        Busy { _process, written: Box::new(written) }
    }
    fn damage(&self, copy: &Snapshot) {
        flip(Path::new(&copy.place), 4096 * 5 + 3000);
    }
    fn ask_aside(&self, aside: &str, sql: &str) -> Vec<String> {
        ask_file(Path::new(aside), sql)
    }
    fn secret(&self) -> String {
        self.folder.path().to_str().unwrap().to_owned()
    }
}

fn flip(path: &Path, at: u64) {
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut bytes = [0; 64];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut bytes).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&bytes.map(|b| !b)).unwrap();
}

async fn fence(access: &Access<Database>) {
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
}
