//! A database of 1 GB and one of 10 MB, each with a stand-by. Both rows come out of one pass: a full copy, a refresh after a
//! little has changed, an exchange, and again.
use crate::{
    fixture, page,
    sample::{Pairs, Spread},
};
use backout::resource::{
    Access, CallCtx, Clock, Failure, Progress, Witness,
    copies::{Copied, Snapshot},
    database::{COUNTING, Database, Driver, Section, drivers},
};
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Of a row that is 400 bytes long.
const ROWS_IN_10_MB: u32 = 25_000;
const SAMPLES: usize = 7;

/// Remembers when the exchange was done: what is said next is that it is counted.
#[derive(Default)]
pub struct Heard(Mutex<Option<Instant>>);
impl Witness for Heard {
    fn evidence(&self, _: serde_json::Value) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        Box::pin(async { Ok(()) })
    }
}
impl Progress for Heard {
    fn progress(&self, text: &str, _: u64, _: u64) {
        if text == COUNTING {
            *self.0.lock().unwrap() = Some(Instant::now());
        }
    }
}

pub fn call(heard: &Arc<Heard>) -> CallCtx {
    CallCtx {
        clock: Clock::Real,
        earlier: None,
        key: "1/upgrade/bench/1/1".into(),
        deadline: Instant::now() + Duration::from_secs(3600),
        cancel: CancellationToken::new(),
        witness: heard.clone(),
        progress: heard.clone(),
    }
}

pub async fn timed<T>(work: impl Future<Output = Result<T, Failure>>) -> (T, f64) {
    let began = Instant::now();
    let done = work.await.unwrap();
    (done, began.elapsed().as_secs_f64())
}

struct Product {
    path: PathBuf,
    rows: u32,
    access: Access<Database>,
}

impl Product {
    fn new(folder: &Path, name: &str, rows: u32) -> Self {
        let path = folder.join(format!("{name}.db"));
        let db = Connection::open(&path).unwrap();
        // As fast as can be; nobody keeps what is made here.
        db.execute_batch("PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA cache_size = -200000").unwrap();
        db.execute_batch(&format!(
            "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL, total REAL, note TEXT);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                 INSERT INTO orders SELECT i, 'customer ' || i % 100000, i * 0.25, hex(randomblob(180)) FROM n;
             CREATE INDEX orders_by_customer ON orders (customer);"
        ))
        .unwrap();
        db.pragma_update(None, "journal_mode", "wal").unwrap();
        db.close().unwrap();
        let driver = Driver::Sqlite { path: path.clone() };
        let access = drivers::open(
            name,
            &Section { driver, keep_aside: Duration::ZERO, exclusive: true, method: Default::default() },
        );
        Self { path, rows, access }
    }

    fn copies(&self) -> &dyn backout::resource::copies::MutateCopies {
        Database::mutate(&*self.access.mutator)
    }

    /// As a product changes things: those of the last days, in one place.
    fn change_one_percent(&self) {
        let db = Connection::open(&self.path).unwrap();
        let newest = self.rows - self.rows / 100;
        let changed = db.execute("UPDATE orders SET total = total + 1 WHERE id > ?", [newest]).unwrap();
        assert_eq!(changed, self.rows as usize / 100);
        db.close().unwrap();
    }

    /// Nothing is left of it.
    async fn once(&self) -> Once {
        let heard = Arc::new(Heard::default());
        let call = || call(&heard);
        let (taken, full): (Snapshot, f64) = timed(self.copies().take("1-bench", &call())).await;
        self.change_one_percent();
        let (refreshed, refresh) = timed(self.copies().refresh(&taken, &call())).await;
        assert_eq!(refreshed.detector, "page difference");
        assert!(refreshed.copied > 0, "something had changed");
        // What is lost by the rollback.
        self.change_one_percent();
        // A file system makes a rename durable together with what was written before it, whoever wrote it.
        rustix::fs::sync();
        let began = Instant::now();
        let restored = self.copies().exchange(&refreshed, &call()).await.unwrap();
        let done = heard.0.lock().unwrap().unwrap();
        let (exchange, counting) = ((done - began).as_secs_f64(), done.elapsed().as_secs_f64());
        assert_eq!(restored.lost[0].changed, u64::from(self.rows) / 100);
        self.copies().discard(&refreshed, &call()).await.unwrap();
        Once { full, refresh, exchange, counting }
    }
}

/// Seconds.
struct Once {
    full: f64,
    refresh: f64,
    exchange: f64,
    counting: f64,
}

#[derive(Default)]
struct Measured {
    exchange: Pairs,
    counting: Pairs,
    refresh: Pairs,
}

/// Both rows need the same gigabyte.
fn measured() -> &'static Measured {
    static MEASURED: OnceLock<Measured> = OnceLock::new();
    MEASURED.get_or_init(|| {
        let folder = fixture::folder();
        // Live, stand-by, and what SQLite writes beside them.
        let free = rustix::fs::statvfs(folder.path()).map(|fs| fs.f_bavail * fs.f_frsize).unwrap();
        assert!(free > 4 << 30, "4 GiB must be free in {}, there are {} MiB", env!("CARGO_TARGET_TMPDIR"), free >> 20);
        let (small, large) = (
            Product::new(folder.path(), "small", ROWS_IN_10_MB),
            Product::new(folder.path(), "large", 100 * ROWS_IN_10_MB),
        );
        let mut measured = Measured::default();
        fixture::runtime().block_on(async {
            small.once().await;
            for _ in 0..SAMPLES {
                let (small, large) = (small.once().await, large.once().await);
                measured.exchange.push(small.exchange, large.exchange);
                measured.counting.push(small.counting, large.counting);
                measured.refresh.push(large.full, large.refresh);
            }
        });
        measured
    })
}

pub fn exchange() -> Pairs {
    let Measured { exchange, counting, .. } = measured();
    let median = |seconds: &[f64]| page::time(Spread::of(seconds.to_vec()).median);
    let (small, large) = (median(&counting.baseline), median(&counting.ours));
    let note = format!("Counting what was set aside took {large} after it, {small} with 10 MB.");
    Pairs { note: Some(note), ..exchange.clone() }
}

pub fn refresh() -> Pairs {
    measured().refresh.clone()
}
