//! A PostgreSQL database of 1 GB, against the server's own tools. One pass makes a sample of each row: a copy by hand, one of ours,
//! a comparison of both sides, what a closed product waits for after a little has changed.
use crate::{
    databases::{Heard, call, timed},
    postgres::{self, Server},
    sample::Pairs,
};
use backout::resource::{
    Access,
    copies::Copied,
    database::{self, Database, Driver, Host, Section, Tls, drivers},
};
use std::{
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

const SAMPLES: usize = 5;

/// Orders of 400 bytes, and five million short lines of them, as products have it: most bytes in one table, most rows in another.
pub const MAKE: &str = "
    CREATE TABLE orders (id INT PRIMARY KEY, customer INT NOT NULL, total NUMERIC(10, 2) NOT NULL, placed TIMESTAMPTZ NOT NULL,
        note TEXT);
    CREATE TABLE items (order_id INT NOT NULL, line INT NOT NULL, product INT NOT NULL, quantity INT NOT NULL, name TEXT NOT NULL);
    INSERT INTO orders SELECT i, i % 100000, i * 0.25, timestamptz '2025-01-01 08:00Z' + i * interval '10 seconds',
        (SELECT string_agg(md5((i * n)::text), '') FROM generate_series(1, 10) n) FROM generate_series(1, ORDERS) i;
    INSERT INTO items SELECT 1 + i / 4, i % 4, i % 5000, 1 + i % 3, 'thing ' || i % 5000 FROM generate_series(0, 4 * ORDERS - 1) i;
    ALTER TABLE items ADD PRIMARY KEY (order_id, line);
    CREATE INDEX orders_by_customer ON orders (customer);";

/// With indexes, as the server counts it.
pub const ORDERS_IN_1_GB: u32 = 1_250_000;

/// A server of the row's own, whose files lie on the disk.
pub struct Product {
    pub server: Server,
    database: String,
    orders: u32,
}

impl Product {
    pub fn new(orders: u32) -> Self {
        let server = Server::start(&postgres::newest(), &["fsync=on"]);
        let database = server.database("shop");
        server.sql(&database, &MAKE.replace("ORDERS", &orders.to_string()));
        server.sql(&database, "VACUUM ANALYZE");
        Self { server, database, orders }
    }

    fn access(&self) -> Access<Database> {
        let server = database::Server {
            host: Host::Socket(self.server.folder().to_owned()),
            port: self.server.port,
            user: "postgres".into(),
            password: None,
            database: self.database.clone(),
            tls: Tls::Disable,
            fence_roles: Vec::new(),
            allow_superuser: true,
            tools: self.server.tools(),
            around: database::Around::default(),
        };
        drivers::open(
            "shop",
            &Section {
                driver: Driver::Postgres(server),
                keep_aside: Duration::ZERO,
                exclusive: true,
                method: Default::default(),
            },
        )
    }

    pub fn bytes(&self) -> u64 {
        self.server.ask(&self.database, "SELECT pg_database_size(current_database())")[0].parse().unwrap()
    }

    /// Nobody's writes of before are waited for in what is measured next.
    fn rest(&self) {
        self.server.sql("postgres", "CHECKPOINT");
        rustix::fs::sync();
    }

    fn tool(&self, name: &str, database: &str, arguments: &[&str]) {
        let mut tool = self.server.tool(name, database);
        done(tool.args(arguments));
    }

    /// As an administrator does it, with nothing compressed, which is faster here.
    fn by_hand(&self) -> f64 {
        self.rest();
        let folder = crate::fixture::folder();
        let dump = folder.path().join("dump");
        let dump = dump.to_str().unwrap();
        let began = Instant::now();
        self.tool("pg_dump", &self.database, &["--format=directory", "--jobs=2", "--compress=0", "--file", dump]);
        self.server.sql("postgres", "CREATE DATABASE by_hand TEMPLATE template0");
        self.tool("pg_restore", "by_hand", &["--jobs=2", dump]);
        self.server.sql("by_hand", "ANALYZE");
        let spent = began.elapsed().as_secs_f64();
        self.server.sql("postgres", "DROP DATABASE by_hand");
        spent
    }

    /// Two databases of this size, one after the other.
    fn read_twice(&self) -> f64 {
        let began = Instant::now();
        for _ in 0..2 {
            self.server.sql(&self.database, "COPY orders TO '/dev/null'; COPY items TO '/dev/null'");
        }
        began.elapsed().as_secs_f64()
    }

    /// As a product changes things: those of the last days, in one place.
    fn change_one_percent(&self) {
        let newest = self.orders - self.orders / 100;
        let change = format!(
            "UPDATE orders SET total = total + 1 WHERE id > {newest}; UPDATE items SET quantity = quantity + 1 WHERE order_id > {newest}"
        );
        self.server.sql(&self.database, &change);
    }

    async fn once(&self) -> Once {
        let by_hand = self.by_hand();
        let access = self.access();
        let (looks, changes) = (Database::observe(&*access.observer), Database::mutate(&*access.mutator));
        let heard = Arc::<Heard>::default();
        let call = || call(&heard);
        self.rest();
        let (taken, take) = timed(changes.take("1-bench", &call())).await;
        assert!(taken.proven);
        let read = self.read_twice();
        let (lost, compare) = timed(looks.loss(&taken, &call())).await;
        assert_eq!(lost, []);
        self.change_one_percent();
        self.rest();
        let began = Instant::now();
        access.mutator.fence(Duration::from_secs(1), &call()).await.unwrap();
        let refreshed = changes.refresh(&taken, &call()).await.unwrap();
        let window = began.elapsed().as_secs_f64();
        assert!(refreshed.proven);
        assert_eq!(refreshed.copied, u64::from(self.orders / 100 * 5), "what had changed");
        access.mutator.unfence(&call()).await.unwrap();
        changes.discard(&refreshed, &call()).await.unwrap();
        self.server.sql(&self.database, "VACUUM");
        Once { by_hand, take, read, compare, window, detector: refreshed.detector }
    }
}

pub fn done(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Seconds.
struct Once {
    by_hand: f64,
    take: f64,
    read: f64,
    compare: f64,
    window: f64,
    detector: String,
}

#[derive(Default)]
struct Measured {
    take: Pairs,
    compare: Pairs,
    window: Pairs,
}

fn measured() -> &'static Measured {
    static MEASURED: OnceLock<Measured> = OnceLock::new();
    MEASURED.get_or_init(|| {
        let product = Product::new(ORDERS_IN_1_GB);
        let size = format!("With its indexes the database has {:.2} GB.", product.bytes() as f64 / 1e9);
        let mut measured = Measured::default();
        let mut detector = String::new();
        crate::fixture::runtime().block_on(async {
            for n in 0..=SAMPLES {
                let once = product.once().await;
                // The first one warms up.
                if n > 0 {
                    measured.take.push(once.by_hand, once.take);
                    measured.compare.push(once.read, once.compare);
                    measured.window.push(once.take, once.window);
                }
                detector = once.detector;
            }
        });
        measured.take.note = Some(size.clone());
        measured.compare.note = Some(size);
        measured.window.note = Some(format!("What has changed was found by: {detector}."));
        measured
    })
}

pub fn take() -> Pairs {
    measured().take.clone()
}

pub fn compare() -> Pairs {
    measured().compare.clone()
}

pub fn window() -> Pairs {
    measured().window.clone()
}
