//! A product over MariaDB, and what only MariaDB has.
mod archive;
mod content;
mod events;
mod exchange;
mod hard;
mod killed;
mod refresh;
mod salvage;
mod statements;

use super::*;
use crate::support::mariadb::{self as support, BACKOUT, Client, ELEVEN, LOGGED, PASSWORD, SERVER};
use backout::resource::database::{Around, Driver, Host, Section, Server, Tls, drivers};
use std::{
    io::{BufRead, Write},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
};

fn reached(server: &support::Server, database: &str) -> Server {
    Server {
        host: Host::Socket(server.socket()),
        port: server.port,
        user: BACKOUT.into(),
        password: Some(PASSWORD.into()),
        database: database.into(),
        tls: Tls::Prefer,
        fence_roles: vec![format!("{database}@localhost")],
        allow_superuser: false,
        tools: None,
        around: Around::default(),
    }
}

/// Each on its own database of one server, with an account of its own.
pub struct Shop {
    on: &'static support::Server,
    pub database: String,
}

impl Shop {
    pub fn new() -> Self {
        Self::empty().filled()
    }
    /// On the newest server instead of Debian's.
    pub fn on_11() -> Self {
        Self { on: &ELEVEN, database: ELEVEN.database() }.filled()
    }
    /// On a server that logs all changes.
    pub fn logged() -> Self {
        Self { on: &LOGGED, database: LOGGED.database() }.filled()
    }
    fn filled(self) -> Self {
        self.sql(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer VARCHAR(100), total DOUBLE, note TEXT);
             CREATE TABLE items (order_id INT NOT NULL, line INT NOT NULL, name TEXT, PRIMARY KEY (order_id, line));
             CREATE TABLE log (line TEXT);
             INSERT INTO orders SELECT seq, 'c' || seq, seq + 0.5, 'note ' || seq FROM seq_1_to_1000;
             INSERT INTO items SELECT id, 1, 'first' FROM orders UNION ALL SELECT id, 2, 'second' FROM orders;
             INSERT INTO log VALUES ('one'), ('two'), ('three')",
        );
        self
    }
    /// Without a table.
    pub fn empty() -> Self {
        Self { on: &SERVER, database: SERVER.database() }
    }
    /// As Backout reaches it.
    pub fn server(&self) -> Server {
        reached(self.on, &self.database)
    }
    pub fn access_by(&self, server: Server) -> Access<Database> {
        let section = Section {
            driver: Driver::MariaDb(server),
            keep_aside: Duration::ZERO,
            exclusive: true,
            method: Default::default(),
        };
        drivers::open("shop", &section)
    }
    fn by_client(&self) -> Command {
        self.on.client(&self.database, &self.database)
    }
    pub fn standby(&self) -> String {
        format!("backout_{}_7-shop", self.database)
    }
}

#[async_trait]
impl Product for Shop {
    fn access(&self, exclusive: bool) -> Access<Database> {
        let driver = Driver::MariaDb(self.server());
        drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive, method: Default::default() })
    }
    fn may_connect(&self) -> bool {
        let output = self.by_client().args(["-e", "SHOW TABLES"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || said.contains("account is locked"), "{said}");
        output.status.success()
    }
    fn sql(&self, sql: &str) {
        // An index has its name within its table.
        let sql = &sql.replace("DROP INDEX by_customer", "DROP INDEX by_customer ON orders");
        let output = self.by_client().args(["-e", sql]).output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    }
    fn ask(&self, sql: &str) -> Vec<String> {
        self.on.ask(&self.database, sql)
    }
    fn connected(&self) -> Connected {
        let client = Client::new(self.by_client());
        let pid = client.session;
        Connected { pid, child: client.into_child().0 }
    }
    fn busy(&self) -> Busy {
        let client = Client::new(self.by_client());
        let pid = client.session;
        let (mut child, mut answers) = client.into_child();
        let mut input = child.stdin.take().unwrap();
        let count = Arc::new(AtomicU64::new(0));
        let written = count.clone();
        std::thread::spawn(move || {
            // It ends with the process.
            while writeln!(input, "INSERT INTO log VALUES (repeat(md5(rand()), 10)) RETURNING 1;").is_ok() {
                let mut line = String::new();
                if answers.read_line(&mut line).unwrap_or(0) == 0 {
                    break;
                }
                assert_eq!(line, "1\n");
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        Busy { _process: Connected { pid, child }, written: Box::new(move || written.load(Ordering::SeqCst)) }
    }
    fn damage(&self, copy: &Snapshot) {
        self.on.sql(&format!("UPDATE `{}`.orders SET note = 'lost' WHERE id = 500", copy.place));
    }
    fn ask_aside(&self, aside: &str, sql: &str) -> Vec<String> {
        self.on.ask(aside, sql)
    }
    fn secret(&self) -> String {
        self.on.socket().to_str().unwrap().to_owned()
    }
    fn is_file(&self) -> bool {
        false
    }
    fn text_of(&self, length: usize) -> String {
        format!("REPEAT('x', {length})")
    }
    fn declares_in_transactions(&self) -> bool {
        false
    }
    fn client(&self) -> &'static str {
        "session"
    }
}
