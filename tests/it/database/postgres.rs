//! A product over PostgreSQL, and what only PostgreSQL has.
mod archive;
mod around;
mod clone;
mod copies;
mod fence;
mod hard;
mod refresh;
mod salvage;
mod site;
mod statements;

use super::*;
use crate::support::postgres::{self as support, Client, EIGHTEEN, SERVER};
use backout::resource::database::{Around, Driver, Host, Section, Server, Tls, drivers};
use sha2::{Digest, Sha256};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

/// Each on its own database of one server. The application is no superuser, as it should be; the database is its own.
pub struct Shop {
    pub database: String,
    on: &'static support::Server,
}

/// The application's role, which all products share.
pub const ROLE: &str = "shop";
static ROLES: LazyLock<()> = LazyLock::new(|| SERVER.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN")));
static ROLES_18: LazyLock<()> = LazyLock::new(|| EIGHTEEN.sql("postgres", &format!("CREATE ROLE {ROLE} LOGIN")));

/// A database of a server, as Backout reaches it.
pub fn reached(server: &support::Server, database: &str) -> Server {
    Server {
        host: Host::Socket(server.folder().to_owned()),
        port: server.port,
        user: "postgres".into(),
        password: None,
        database: database.into(),
        tls: Tls::Prefer,
        fence_roles: Vec::new(),
        allow_superuser: true,
        tools: server.tools(),
        around: Around::default(),
    }
}

impl Shop {
    pub fn new() -> Self {
        Self::empty().filled()
    }
    /// On the newest server.
    pub fn on_18() -> Self {
        LazyLock::force(&ROLES_18);
        Self::empty_on(&EIGHTEEN).filled()
    }
    fn filled(self) -> Self {
        self.sql(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, total REAL, note TEXT);
             CREATE TABLE items (order_id INT NOT NULL, line INT NOT NULL, name TEXT, PRIMARY KEY (order_id, line));
             CREATE TABLE log (line TEXT);
             INSERT INTO orders SELECT i, 'c' || i, i + 0.5, 'note ' || i FROM generate_series(1, 1000) i;
             INSERT INTO items SELECT id, 1, 'first' FROM orders UNION ALL SELECT id, 2, 'second' FROM orders;
             INSERT INTO log VALUES ('one'), ('two'), ('three')",
        );
        self
    }
    /// Without a table.
    pub fn empty() -> Self {
        LazyLock::force(&ROLES);
        Self::empty_on(&SERVER)
    }
    fn empty_on(on: &'static support::Server) -> Self {
        let database = on.database("shop");
        on.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO {ROLE}"));
        Self { database, on }
    }
    /// As Backout reaches it.
    pub fn server(&self) -> Server {
        Server { fence_roles: vec![ROLE.into()], ..reached(self.on, &self.database) }
    }
    pub fn access_by(&self, server: Server) -> Access<Database> {
        let section = Section {
            driver: Driver::Postgres(server),
            keep_aside: Duration::ZERO,
            exclusive: true,
            method: Default::default(),
        };
        drivers::open("shop", &section)
    }
    pub fn psql(&self, sql: &str) -> Command {
        let mut psql = self.on.psql(&self.database, sql);
        psql.args(["-U", ROLE]);
        psql
    }
    /// What holds the server's log for a snapshot.
    pub fn slot(&self, id: &str) -> String {
        let digest = format!("{:x}", Sha256::digest(format!("{}\0{id}", self.database)));
        format!("backout_{}_{}", id.replace('-', "_"), &digest[..16])
    }
    pub fn client(&self, name: &str) -> Client {
        let mut psql = self.on.client(&self.database);
        psql.args(["-U", ROLE]);
        Client::new(psql, name)
    }
}

#[async_trait]
impl Product for Shop {
    fn access(&self, exclusive: bool) -> Access<Database> {
        let driver = Driver::Postgres(self.server());
        drivers::open("shop", &Section { driver, keep_aside: Duration::ZERO, exclusive, method: Default::default() })
    }
    fn may_connect(&self) -> bool {
        let output = self.psql("SELECT count(*) FROM pg_class").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || said.contains("too many connections for database"), "{said}");
        output.status.success()
    }
    fn sql(&self, sql: &str) {
        // One by one, as from a file: some statements stand in no transaction.
        let mut psql = self.on.client(&self.database);
        let mut child = psql
            .args(["-U", ROLE])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{sql};").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    }
    fn ask(&self, sql: &str) -> Vec<String> {
        self.on.ask(&self.database, sql)
    }
    fn connected(&self) -> Connected {
        let client = self.client("python3");
        let pid = client.session;
        Connected { pid, child: client.into_child() }
    }
    fn busy(&self) -> Busy {
        let mut psql = self.on.client(&self.database);
        let mut child = psql.args(["-U", ROLE]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let count = Arc::new(AtomicU64::new(0));
        let written = count.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines();
            // It ends with the process.
            while writeln!(input, "INSERT INTO log VALUES (repeat(md5(random()::text), 10)) RETURNING 1;").is_ok() {
                let Some(Ok(line)) = lines.next() else { break };
                assert_eq!(line, "1");
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let pid = child.id();
        Busy { _process: Connected { pid, child }, written: Box::new(move || written.load(Ordering::SeqCst)) }
    }
    fn damage(&self, copy: &Snapshot) {
        let name = copy.place.split(' ').next().unwrap();
        // Nobody gets in, but a superuser who wants to.
        self.on.sql("postgres", &format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS true"));
        self.on.sql(name, "UPDATE orders SET note = 'lost' WHERE id = 500");
        self.on.sql("postgres", &format!("ALTER DATABASE \"{name}\" ALLOW_CONNECTIONS false"));
    }
    fn ask_aside(&self, aside: &str, sql: &str) -> Vec<String> {
        self.on.ask(aside, sql)
    }
    fn secret(&self) -> String {
        self.on.folder().to_str().unwrap().to_owned()
    }
    fn is_file(&self) -> bool {
        false
    }
    fn bytes(&self) -> (&str, &str) {
        ("'\\x0aff'::bytea", "\\x0aff")
    }
    fn text_of(&self, length: usize) -> String {
        format!("repeat('x', {length})")
    }
    fn wrong(&self) -> &[&str] {
        &["SELECT FROM WHERE", "CALL something()"]
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // The server's disk is the machine's; nobody asks whether it worked.
        let _ = self.on.psql("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database)).output();
        let slots = ["7-shop", "8-shop"].map(|id| format!("'{}'", self.slot(id))).join(", ");
        let drop = format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name IN ({slots})"
        );
        let _ = self.on.psql("postgres", &drop).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_hears_why_and_no_more() {
    let shop = Shop::new();
    let ask = async |server: Server| {
        let failure = shop.access_by(server).observer.query("SELECT 1", &call()).await.unwrap_err();
        let told = format!("{failure} {:?}", failure.hint);
        for secret in [&*shop.secret(), "127.0.0.1", "hunter2", "localhost"] {
            assert!(!told.contains(secret), "{told}");
        }
        failure
    };
    SERVER.sql("postgres", &format!("CREATE ROLE watched_{0} LOGIN PASSWORD 'right'", shop.database));
    let over_network = |password: Option<&str>| Server {
        host: Host::Name("127.0.0.1".into()),
        user: format!("watched_{}", shop.database),
        password: password.map(Into::into),
        ..shop.server()
    };
    let right = shop.access_by(over_network(Some("right"))).observer.query("SELECT current_user", &call()).await;
    assert_eq!(right.unwrap(), [[format!("watched_{}", shop.database)]]);
    let wrong = ask(over_network(Some("hunter2"))).await;
    assert_eq!((wrong.kind, wrong.message.contains("does not let Backout in")), (FailureKind::Denied, true), "{wrong}");
    let without = ask(over_network(None)).await;
    assert_eq!((without.kind, without.message.contains("password")), (FailureKind::Denied, true), "{without}");
    let secure = ask(Server { tls: Tls::Require, ..over_network(Some("hunter2")) }).await;
    assert_eq!((secure.kind, secure.message.contains("secure")), (FailureKind::Unavailable, true), "{secure}");
    let gone = ask(Server { database: "no_such".into(), ..shop.server() }).await;
    assert_eq!((gone.kind, &*gone.message), (FailureKind::NotFound, "the server has no such database"));
    let none = ask(Server { port: 1, ..shop.server() }).await;
    assert_eq!((none.kind, &*none.message), (FailureKind::Unavailable, "no server is there"));
    let none = ask(Server { host: Host::Name("127.0.0.1".into()), port: 1, ..shop.server() }).await;
    assert_eq!((none.kind, &*none.message), (FailureKind::Unavailable, "connection refused"));
    SERVER.sql("postgres", &format!("DROP ROLE watched_{}", shop.database));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_may_not_do_is_named() {
    let shop = Shop::new();
    let role = format!("reader_{}", shop.database);
    SERVER.sql("postgres", &format!("CREATE ROLE {role} LOGIN"));
    let access = shop.access_by(Server { user: role.clone(), ..shop.server() });
    let failure = access.observer.query("SELECT * FROM orders", &call()).await.unwrap_err();
    assert_eq!((failure.kind, &*failure.message), (FailureKind::Denied, "permission denied for table orders"));
    assert!(failure.hint.as_deref().unwrap().starts_with("GRANT SELECT ON orders TO"), "{failure:?}");
    SERVER.sql("postgres", &format!("DROP ROLE {role}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_repeats_what_a_statement_says() {
    let shop = Shop::new();
    shop.sql(
        "CREATE FUNCTION tells(t TEXT) RETURNS INT LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'it is %', t; END $$",
    );
    let access = shop.access(true);
    for sql in [
        "SELECT 'hunter2'::int",
        "SELECT 'x' 'hunter2'",
        "SELECT 'hunter2' FROM",
        "SELECT tells('hunter2')",
        "SELECT to_date('hunter2', 'YYYY')",
        "SELECT jsonb 'hunter2'",
        "SELECT 1 / 0 AS \"hunter2\"",
        "INSERT INTO orders (id, note) VALUES (1, 'hunter2')",
        "SELECT * FROM 'hunter2'",
    ] {
        let asked = access.observer.query(sql, &call()).await.unwrap_err();
        let done = access.mutator.execute(sql, &call()).await.unwrap_err();
        for failure in [asked, done] {
            assert!(!format!("{failure:?}").contains("hunter2"), "{sql}: {failure:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_cannot_get_out_of_its_transaction() {
    let shop = Shop::new();
    shop.sql(
        "CREATE SEQUENCE numbers; CREATE FUNCTION writes() RETURNS INT LANGUAGE sql AS $$ DELETE FROM log; SELECT 1 $$",
    );
    let access = shop.access(true);
    for sql in [
        "SELECT nextval('numbers')",
        "SELECT writes()",
        "WITH gone AS (DELETE FROM log RETURNING 1) SELECT * FROM gone",
        "SELECT set_config('transaction_read_only', 'off', false), writes()",
        "SELECT 1; COMMIT; DELETE FROM log",
        "SELECT 1; COMMIT AND CHAIN; DELETE FROM log; --",
        "SELECT 1 INTO made",
        "SELECT * FROM log FOR UPDATE",
        "INSERT INTO log VALUES ('x')",
        "COPY log TO PROGRAM 'cat'",
        "DO $$ BEGIN DELETE FROM log; END $$",
        "EXECUTE something",
        "/* SELECT 1",
        "SELECT $$a",
    ] {
        refused(&shop, FailureKind::Invalid, access.observer.query(sql, &call()).await);
    }
    assert_eq!(shop.ask("SELECT count(*) FROM log"), ["3"]);
    let rows = access.observer.query("TABLE log ORDER BY 1 -- and nothing more", &call()).await.unwrap();
    assert_eq!(rows, [["one"], ["three"], ["two"]]);
    let rows =
        access.observer.query("VALUES (1, NULL, true, '{a,b}'::text[], 'x'::bytea, 1.50)", &call()).await.unwrap();
    assert_eq!(rows, [["1", "", "t", "{a,b}", "\\x78", "1.50"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_big_value_is_not_read_to_its_end() {
    let shop = Shop::new();
    let access = shop.access(true);
    let huge = format!("SELECT repeat('x', {})", 500 << 20);
    refused(&shop, FailureKind::Invalid, access.observer.query(&huge, &call()).await);
    let just = format!("SELECT repeat('x', {})", MAX_BYTES - 1);
    assert_eq!(access.observer.query(&just, &call()).await.unwrap()[0][0].len(), MAX_BYTES - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_question_that_was_given_up_ends_at_the_server() {
    // Not even then.
    const SLEEPS: &str = "SELECT set_config('client_connection_check_interval', '0', false), \
        set_config('statement_timeout', '0', false), set_config('application_name', 'me', false), pg_sleep(600)";
    let shop = Shop::new();
    let access = shop.access(true);
    let call = call();
    let asking = access.observer.query(SLEEPS, &call);
    let _ = tokio::time::timeout(Duration::from_millis(300), asking).await.unwrap_err();
    let there =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND query LIKE '%sleep%'", shop.database);
    let until = Instant::now() + Duration::from_secs(30);
    while SERVER.ask("postgres", &there) != ["0"] {
        assert!(Instant::now() < until, "it still sleeps");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prepared_transaction_is_a_session() {
    let shop = Shop::new();
    let access = shop.access(true);
    let gid = format!("pay_{}", shop.database);
    shop.sql(&format!("BEGIN; DELETE FROM log; PREPARE TRANSACTION '{gid}'"));
    let sessions = access.observer.activity(&call()).await.unwrap();
    assert_eq!((sessions.len(), &*sessions[0].state), (1, "prepared"));
    assert!(sessions[0].who.contains(&gid) && sessions[0].who.contains(ROLE), "{sessions:?}");
    let failure = access.mutator.fence(Duration::ZERO, &call()).await.unwrap_err();
    assert!(failure.kind == FailureKind::TimedOut && failure.message.contains(&gid), "{failure}");
    assert!(access.observer.open().await.unwrap(), "a fence that did not come about leaves nothing");
    assert!(shop.may_connect());
    shop.sql(&format!("ROLLBACK PREPARED '{gid}'"));
    access.mutator.fence(Duration::ZERO, &call()).await.unwrap();
}
