//! A MariaDB database, against the server's own tools.
use crate::{
    databases::{Heard, call, timed},
    fixture,
    mariadb::{BACKOUT, PASSWORD, Server},
    on_postgres::done,
    sample::Pairs,
};
use backout::resource::{
    copies::Copied,
    database::{self, Database, Driver, Host, Section, Tls, drivers},
};
use std::{
    fs::File,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

const ORDERS_IN_200_MB: u32 = 220_000;
const SAMPLES: usize = 3;

/// As on PostgreSQL: orders of 400 bytes, and four short lines of each.
const MAKE: &str = "
    CREATE TABLE orders (id INT PRIMARY KEY, customer INT NOT NULL, total DECIMAL(10, 2) NOT NULL, placed TIMESTAMP NOT NULL, note TEXT);
    CREATE TABLE items (order_id INT NOT NULL, line INT NOT NULL, product INT NOT NULL, quantity INT NOT NULL, name VARCHAR(40) NOT NULL,
        PRIMARY KEY (order_id, line));
    INSERT INTO orders SELECT seq, seq MOD 100000, seq * 0.25, TIMESTAMP '2025-01-01 08:00:00' + INTERVAL seq * 10 SECOND,
        CONCAT(MD5(seq), MD5(seq * 2), MD5(seq * 3), MD5(seq * 4), MD5(seq * 5), MD5(seq * 6), MD5(seq * 7), MD5(seq * 8), MD5(seq * 9),
            MD5(seq * 10)) FROM seq_1_to_ORDERS;
    INSERT INTO items SELECT 1 + seq DIV 4, seq MOD 4, seq MOD 5000, 1 + seq MOD 3, CONCAT('thing ', seq MOD 5000) FROM seq_0_to_LINES;
    CREATE INDEX orders_by_customer ON orders (customer)";

pub fn take() -> Pairs {
    // What is committed is on the disk, as it is by default.
    let server = Server::start(&["--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=128M"]);
    let database = server.database();
    let make =
        MAKE.replace("ORDERS", &ORDERS_IN_200_MB.to_string()).replace("LINES", &(4 * ORDERS_IN_200_MB - 1).to_string());
    done(server.client("root", &database).args(["-e", &make]));
    let folder = fixture::folder();
    let dump = folder.path().join("dump.sql");
    let tool = |name: &str| {
        let mut tool = std::process::Command::new(name);
        tool.args(["--no-defaults", "-u", "root", "-S"]).arg(server.socket());
        tool
    };
    let by_hand = || {
        rustix::fs::sync();
        let began = Instant::now();
        let mut written = tool("mariadb-dump");
        written.args(["--single-transaction", "--routines", "--events", "--triggers", &database]);
        done(written.stdin(Stdio::null()).stdout(File::create(&dump).unwrap()));
        server.sql("CREATE DATABASE by_hand");
        done(tool("mariadb").arg("by_hand").stdin(File::open(&dump).unwrap()));
        let spent = began.elapsed().as_secs_f64();
        server.sql("DROP DATABASE by_hand");
        spent
    };
    let reached = database::Server {
        host: Host::Socket(server.socket()),
        port: server.port,
        user: BACKOUT.into(),
        password: Some(PASSWORD.into()),
        database: database.clone(),
        tls: Tls::Disable,
        fence_roles: vec![format!("{database}@localhost")],
        allow_superuser: false,
        tools: None,
        around: database::Around::default(),
    };
    let section = Section {
        driver: Driver::MariaDb(reached),
        keep_aside: Duration::ZERO,
        exclusive: true,
        method: Default::default(),
    };
    let access = drivers::open("shop", &section);
    let runtime = fixture::runtime();
    let ours = || {
        rustix::fs::sync();
        let (heard, changes) = (Arc::<Heard>::default(), Database::mutate(&*access.mutator));
        let (taken, spent) = runtime.block_on(timed(changes.take("1-bench", &call(&heard))));
        assert!(taken.proven);
        runtime.block_on(changes.discard(&taken, &call(&heard))).unwrap();
        spent
    };
    Pairs::measure(SAMPLES, by_hand, ours)
}
