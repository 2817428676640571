//! Products on real servers go through the whole life cycle with a bad upgrade, driven by the scripts of the examples: only the
//! site says that the database is on a server.
mod shop;

use crate::support::{
    guests::{self, Guest},
    postgres::SERVER,
    shop::{Shop, edit},
};
use backout::cli::demo::{
    client,
    releases::{File, Version},
    shop::VERSION,
};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// The product's process, which a release's `bin/shop` starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a part of other tests"]
async fn the_shop_itself() {
    let Ok(arguments) = std::env::var(shop::ARGUMENTS) else { return };
    shop::run(&arguments).await;
}

const MIGRATIONS: [(&str, &str); 2] =
    [("migrations/1.sql", include_str!("real/1.sql")), ("migrations/2.sql", include_str!("real/2.sql"))];

/// A release with the migrations of this shop.
fn files(version: Version) -> Vec<(&'static File, &'static str)> {
    let own = |file: &File| MIGRATIONS.iter().find(|(path, _)| *path == file.path).map(|(_, text)| *text);
    version.files().into_iter().map(|file| (file, own(file).unwrap_or(file.text))).collect()
}

fn payload(version: Version) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (file, text) in files(version) {
        let mut header = tar::Header::new_gnu();
        header.set_mode(file.mode);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, file.path, text.as_bytes()).unwrap();
    }
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(&archive.into_inner().unwrap()).unwrap();
    encoder.finish().unwrap()
}

/// The demo's host, whose shop has its data in PostgreSQL.
struct OnPostgres {
    shop: Shop,
    database: String,
}

impl OnPostgres {
    fn new(guest: &Guest) -> Self {
        let shop = Shop::new(Version::V2Bad);
        let database = SERVER.database("shop");
        SERVER.sql("postgres", &format!("CREATE ROLE {database} LOGIN"));
        SERVER.sql("postgres", &format!("ALTER DATABASE {database} OWNER TO {database}"));
        let own = format!("SET ROLE {database};\n");
        SERVER.sql(&database, &format!("{own}{}", MIGRATIONS[0].1));
        SERVER.sql(&database, &format!("{own}{}", include_str!("real/stock.sql")));
        // What belongs to the database and is in no table of it.
        for about in ["SET work_mem = '5MB'", "CONNECTION LIMIT 40"] {
            SERVER.sql("postgres", &format!("ALTER DATABASE {database} {about}"));
        }
        SERVER.sql("postgres", &format!("COMMENT ON DATABASE {database} IS 'orders of the shop'"));
        let host = Self { shop, database };
        fs::remove_file(host.shop.folder.database()).unwrap();
        host.site();
        host.release(guest);
        host
    }

    /// All that differs from the host whose database is a file.
    fn site(&self) {
        let folder = SERVER.folder().to_str().unwrap().replace('/', "%2F");
        let url = format!("postgresql://postgres@{folder}:{}/{}", SERVER.port, self.database);
        let section = format!("driver = \"postgresql\"\nurl = \"{url}\"\nallow-superuser = true");
        self.shop.edit_site("driver = \"sqlite\"\npath = \"srv/data/shop.db\"", &section);
        let runtime = self.shop.folder.path("srv/runtime");
        let own = std::env::current_exe().unwrap();
        let test = format!("{}::the_shop_itself", module_path!().split_once("::").unwrap().1);
        let script = format!(
            "#!/bin/sh\nexport {}=\"$*\" {}='{}'\nexec '{}' --ignored --exact {test} --nocapture\n",
            shop::ARGUMENTS,
            shop::DATABASE,
            format_args!("host={} port={} user={2} dbname={2}", SERVER.folder().display(), SERVER.port, self.database),
            own.display(),
        );
        fs::write(&runtime, script).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        self.shop.edit_site(crate::support::bench::BACKOUT, runtime.to_str().unwrap());
    }

    fn release(&self, guest: &Guest) {
        for (path, text) in MIGRATIONS.iter().take(1) {
            fs::write(self.shop.folder.path("srv/app/versions/1.0").join(path), text).unwrap();
        }
        let package = self.shop.package();
        fs::write(package.join("dist/shop-2.0.tar.zst"), payload(Version::V2Bad)).unwrap();
        fs::write(package.join("shop.wasm"), &guest.component).unwrap();
        // How this product tells the revision of its schema.
        edit(&package.join("package.toml"), "PRAGMA user_version", "SELECT max(revision) FROM schema_revision");
    }

    fn ask(&self, sql: &str) -> String {
        SERVER.ask(&self.database, sql).concat()
    }

    /// By the server's own tool, without what differs from one call to the next.
    fn dump(&self) -> String {
        let mut dump = SERVER.tool("pg_dump", &self.database);
        let output = dump.args(["--create", "--schema-only"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Buys from 1.0 without an end, whatever goes on, and keeps what was confirmed.
struct Buyer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<i64>>>,
}

impl Buyer {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut confirmed = Vec::new();
            while !until.load(Ordering::Relaxed) {
                let headers = format!("content-type: application/json\r\n{VERSION}: 1.0.0\r\n");
                let body = r#"{"customer":7,"items":[{"product":3,"quantity":1}]}"#;
                if let Ok(answer) = client::request(port, "POST /orders", &headers, body)
                    && answer.status == 201
                {
                    let answer: Value = serde_json::from_str(&answer.body).unwrap();
                    confirmed.push(answer["id"].as_i64().unwrap());
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            confirmed
        });
        Self { stop, thread: Some(thread) }
    }

    fn confirmed(mut self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn a_bad_upgrade_is_taken_back(guest: &Guest) {
    let mut host = OnPostgres::new(guest);
    let schema = host.dump();
    host.shop.open();
    let buyer = Buyer::start(host.shop.folder.port);
    let package = host.shop.package();
    let said = host.shop.expect(4, &["upgrade", "--yes", package.to_str().unwrap()]);
    assert!(said.contains("1.0"), "{said}");
    assert_eq!(host.shop.version().as_deref(), Some("1.0.0"));

    // As the server sees it: what hangs on the database, and what is in it.
    assert_eq!(host.dump(), schema);
    let confirmed = buyer.confirmed();
    assert!(!confirmed.is_empty(), "nobody bought anything");
    let ids = confirmed.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    assert_eq!(
        host.ask(&format!("SELECT count(*) FROM orders WHERE id IN ({ids}) AND status = 'new'")),
        confirmed.len().to_string(),
        "an order that 1.0 had confirmed is lost"
    );
    assert_eq!(host.ask("SELECT count(*) FROM orders WHERE id <= 4000 AND status = 'backorder'"), "261");
    assert_eq!(host.ask("SELECT max(revision) FROM schema_revision"), "1");

    // What 2.0 has made of it is kept, under another name.
    let asides = SERVER.ask("postgres", "SELECT datname FROM pg_database WHERE datname LIKE 'backout\\_%\\_aside'");
    let of_2_0 = "SELECT max(revision) FROM schema_revision";
    let kept = asides.iter().find(|aside| aside.contains(&host.database)).expect("what 2.0 wrote is not kept");
    assert_eq!(SERVER.ask(kept, of_2_0), ["2"]);
    host.shop.expect(0, &["verify", package.to_str().unwrap()]);
}

#[test]
fn a_bad_upgrade_on_postgresql_is_taken_back_by_the_rust_example() {
    a_bad_upgrade_is_taken_back(guests::rust_shop());
}

#[test]
fn a_bad_upgrade_on_postgresql_is_taken_back_by_the_python_example() {
    a_bad_upgrade_is_taken_back(guests::python_shop());
}
