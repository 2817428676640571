//! Products on real servers go through the whole life cycle with a bad upgrade, driven by the scripts of the examples: only the
//! site says that the database is on a server, and who keeps the service.
mod killed;
mod mariadb;
mod postgres;
mod shop;
mod unit;

use crate::support::{
    guests::{self, Guest},
    mariadb::SERVER,
    shop::{Shop, edit},
};
use backout::cli::demo::{client, releases::Version, shop::VERSION};
use serde_json::Value;
use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    process::Command,
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

/// A database on a server, with the shop's first schema and what is in the shop before. All that differs between servers.
trait Data {
    fn migrations(&self) -> [&'static str; 2];
    /// What the site says of it.
    fn section(&self) -> String;
    /// In `secrets/orders`; empty: it needs none.
    fn password(&self) -> &'static str {
        ""
    }
    /// As the shop reaches it.
    fn address(&self) -> String;
    /// One value.
    fn ask(&self, sql: &str) -> String;
    /// The same, of what a rollback has set aside.
    fn ask_aside(&self, sql: &str) -> String;
    /// The server's own client, as the application; and how the README of a salvage says that it is called.
    fn applies(&self) -> (&'static str, Command);
    /// What is declared, and what nobody changes, by the server's own tool, without what differs from one call to the next.
    fn dump(&self) -> String;
}

/// The demo's host, whose shop has its data on a server.
struct Host<D> {
    shop: Shop,
    data: D,
}

impl<D: Data> Host<D> {
    fn new(data: D, guest: &Guest) -> Self {
        let host = Self { shop: Shop::new(Version::V2Bad), data };
        fs::remove_file(host.shop.folder.database()).unwrap();
        host.site();
        host.release(guest);
        host
    }

    /// All that differs from the host whose database is a file.
    fn site(&self) {
        self.shop.edit_site("driver = \"sqlite\"\npath = \"srv/data/shop.db\"", &self.data.section());
        let secret = self.shop.folder.path("secrets/orders");
        fs::create_dir(secret.parent().unwrap()).unwrap();
        fs::write(&secret, self.data.password()).unwrap();
        fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
        let runtime = self.shop.folder.path("srv/runtime");
        let own = std::env::current_exe().unwrap();
        let test = format!("{}::the_shop_itself", module_path!().split_once("::").unwrap().1);
        let script = format!(
            "#!/bin/sh\nexport {}=\"$*\" {}='{}'\nexec '{}' --ignored --exact {test} --nocapture\n",
            shop::ARGUMENTS,
            shop::DATABASE,
            self.data.address(),
            own.display(),
        );
        fs::write(&runtime, script).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
        self.shop.edit_site(crate::support::bench::BACKOUT, runtime.to_str().unwrap());
    }

    fn release(&self, guest: &Guest) {
        let [first, _] = self.data.migrations();
        fs::write(self.shop.folder.path("srv/app/versions/1.0/migrations/1.sql"), first).unwrap();
        let package = self.shop.package();
        fs::write(package.join("dist/shop-2.0.tar.zst"), self.payload(Version::V2Bad)).unwrap();
        fs::write(package.join("shop.wasm"), &guest.component).unwrap();
        // How this product tells the revision of its schema.
        edit(&package.join("package.toml"), "PRAGMA user_version", "SELECT max(revision) FROM schema_revision");
    }

    /// Everything that 1.0 has confirmed is there, and what was there before.
    fn is_whole(&self, confirmed: &[i64]) {
        assert!(!confirmed.is_empty(), "nobody bought anything");
        let ids = confirmed.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        assert_eq!(
            self.data.ask(&format!("SELECT count(*) FROM orders WHERE id IN ({ids}) AND status = 'new'")),
            confirmed.len().to_string(),
            "an order that 1.0 had confirmed is lost"
        );
        assert_eq!(self.data.ask("SELECT count(*) FROM orders WHERE id <= 4000 AND status = 'backorder'"), "261");
        assert_eq!(self.data.ask("SELECT max(revision) FROM schema_revision"), "1");
    }

    /// A release with the migrations of this shop.
    fn payload(&self, version: Version) -> Vec<u8> {
        let [first, second] = self.data.migrations();
        let mut archive = tar::Builder::new(Vec::new());
        for file in version.files() {
            let text = match file.path {
                "migrations/1.sql" => first,
                "migrations/2.sql" => second,
                _ => file.text,
            };
            let mut header = tar::Header::new_gnu();
            header.set_mode(file.mode);
            header.set_size(text.len() as u64);
            archive.append_data(&mut header, file.path, text.as_bytes()).unwrap();
        }
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.write_all(&archive.into_inner().unwrap()).unwrap();
        encoder.finish().unwrap()
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

fn a_bad_upgrade_is_taken_back<D: Data, K>(data: D, guest: &Guest, kept: impl FnOnce(&Shop) -> K) -> Host<D> {
    taken_back(data, guest, kept, |_| ())
}

/// `open`: what is done while 1.0 serves, before anybody upgrades it.
fn taken_back<D: Data, K>(data: D, guest: &Guest, kept: impl FnOnce(&Shop) -> K, open: impl FnOnce(&Shop)) -> Host<D> {
    let mut host = Host::new(data, guest);
    let _kept = kept(&host.shop);
    let before = host.data.dump();
    host.shop.open();
    open(&host.shop);
    let buyer = Buyer::start(host.shop.folder.port);
    let package = host.shop.package();
    let said = host.shop.expect(4, &["upgrade", "--yes", package.to_str().unwrap()]);
    assert!(said.contains("1.0"), "{said}");
    // Counted when 1.0 served again.
    assert!(said.contains("look at what was written since (") && said.contains(" in orders, "), "{said}");
    assert_eq!(host.shop.version().as_deref(), Some("1.0.0"));

    // As the server sees it: what hangs on the database, and what is in it.
    assert_eq!(host.data.dump(), before);
    let confirmed = buyer.confirmed();
    host.is_whole(&confirmed);

    // What 2.0 has made of it is kept, under another name.
    assert_eq!(host.data.ask_aside("SELECT max(revision) FROM schema_revision"), "2");
    host.shop.expect(0, &["verify", package.to_str().unwrap()]);
    host
}

/// What 2.0 wrote, applied by the server's own client as the README says, twice.
fn salvaged<D: Data>(host: &Host<D>) {
    let out = host.shop.folder.path("salvaged");
    let said = host.shop.expect(0, &["salvage", "1", "--out", out.to_str().unwrap()]);
    assert!(!said.contains("is not known"), "{said}");
    let readme = fs::read_to_string(out.join("README.md")).unwrap();
    let call = host.data.applies().0;
    assert!(readme.contains(&format!("       {call}\n")), "{readme}");
    let apply = || {
        for sheet in ["1-inserts.sql", "2-updates.sql", "3-deletes.sql"] {
            if let Ok(sheet) = fs::File::open(out.join("shop").join(sheet)) {
                let output = host.data.applies().1.stdin(sheet).output().unwrap();
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            }
        }
        (1..=4)
            .map(|of| host.data.ask(&format!("SELECT SUM(id) + COUNT(*) FROM orders WHERE id % 4 = {of} % 4")))
            .collect::<Vec<_>>()
    };
    let before = host.data.ask("SELECT COUNT(*) FROM orders");
    assert_eq!(apply(), apply());
    assert_ne!(host.data.ask("SELECT COUNT(*) FROM orders"), before, "nothing of what 2.0 wrote has come");
}

#[test]
fn a_bad_upgrade_on_postgresql_is_taken_back_by_the_rust_example() {
    salvaged(&a_bad_upgrade_is_taken_back(postgres::Orders::new(), guests::rust_shop(), |_| ()));
}

/// Only the site says that the copy is one of the server's files, made under the fence.
#[test]
fn a_bad_upgrade_on_postgresql_is_taken_back_from_a_clone() {
    let orders = postgres::Orders::new().with("method = \"auto\"\nwindow = \"5m\"");
    postgres::kept(&taken_back(orders, guests::rust_shop(), |_| (), postgres::promised));
}

#[test]
fn a_bad_upgrade_on_postgresql_under_systemd_is_taken_back_by_the_python_example() {
    a_bad_upgrade_is_taken_back(postgres::Orders::new(), guests::python_shop(), unit::Unit::keeps);
}

#[test]
fn a_bad_upgrade_on_mariadb_is_taken_back_by_the_rust_example() {
    salvaged(&a_bad_upgrade_is_taken_back(mariadb::Orders::on(&*SERVER), guests::rust_shop(), |_| ()));
}

#[test]
fn a_bad_upgrade_on_mariadb_is_taken_back_by_the_python_example() {
    a_bad_upgrade_is_taken_back(mariadb::Orders::on(&*SERVER), guests::python_shop(), |_| ());
}
