//! The product of the demo by itself, and the demo as a whole.
use backout::cli::demo::{
    client::{self, Client},
    folder::{self, Folder, Wanted},
    proof::Proof,
    releases::Version,
    stock,
};
use rustix::process::Signal;
use serde_json::Value;
use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const BACKOUT: &str = env!("CARGO_BIN_EXE_backout");

/// A demo's folder, and the shop in it, started by hand.
struct Shop {
    folder: Folder,
    _place: TempDir,
    process: Option<Child>,
}

impl Shop {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::make(place.path(), &Wanted { upgrade: Version::V2Bad, granted: true }).unwrap();
        Self { folder, _place: place, process: None }
    }

    fn command(&self, release: &str, command: &str) -> Command {
        let mut shop = Command::new(self.folder.path("srv/app").join(release).join("bin/shop"));
        shop.env("SHOP_RUNTIME", BACKOUT).current_dir(&self.folder.root);
        shop.args([command, "--config", "srv/config/shop.toml"]).stdin(Stdio::null());
        shop
    }

    fn start(&mut self, release: &str) {
        let log = fs::File::create(self.folder.path("log")).unwrap();
        self.process = Some(self.command(release, "serve").stderr(log).spawn().unwrap());
        let patience = Instant::now() + Duration::from_secs(10);
        while client::get(self.folder.port, "/health").is_err() {
            assert!(Instant::now() < patience, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take().unwrap();
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        process.wait().unwrap().code()
    }

    /// Brings 2.x beside 1.0, as its package does, and migrates the data.
    fn upgrade(&self, version: Version) {
        version.write(&self.folder.path("srv/app/versions/2.0")).unwrap();
        let output = self.command("versions/2.0", "migrate").output().unwrap();
        assert_eq!((text(&output), output.status.code()), ("schema 1 -> 2\n".to_owned(), Some(0)), "{output:?}");
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let answer = client::get(self.folder.port, path).unwrap();
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }

    fn proof(&self) -> Proof {
        let trees = ["srv/app", "srv/config"].map(|name| (name, self.folder.path(name)));
        let trees: Vec<(&str, &Path)> = trees.iter().map(|(name, path)| (*name, path.as_path())).collect();
        Proof::take(&self.folder.database(), &trees).unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_shop_serves_reads_and_writes() {
    let mut shop = Shop::new();
    let before = shop.proof();
    shop.start("current");
    let (status, health) = shop.json("/health");
    assert_eq!((status, &health["version"], &health["schema"]), (200, &"1.0.0".into(), &1.into()));

    let (status, order) = shop.json("/orders/1");
    assert_eq!(status, 200);
    let items = order["items"].as_array().unwrap().iter();
    let sum: f64 = items.map(|item| item["quantity"].as_f64().unwrap() * item["price"].as_f64().unwrap()).sum();
    assert!(sum > 0.0 && (sum - order["total"].as_f64().unwrap()).abs() < 0.001, "{order}");
    assert_eq!(shop.json("/orders").1["orders"].as_array().unwrap().len(), 20);
    assert_eq!(shop.json("/orders/99999").0, 404);
    let page = client::get(shop.folder.port, "/").unwrap();
    assert!(page.body.contains(&format!("{} orders so far", stock::ORDERS - returned(&shop))), "{}", page.body);

    // Reading leaves no trace; an order does.
    assert_eq!(shop.proof().differences(&before), Vec::<String>::new());
    let ordered = curl(&shop, "", r#"{"customer": 7, "items": [{"product": 3, "quantity": 2}]}"#);
    assert_eq!(ordered, (201, format!(r#"{{"id":{}}}"#, stock::ORDERS + 1)));
    let changed = shop.proof().differences(&before);
    let tables: Vec<&str> = changed.iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(tables, ["rows of items", "rows of orders", "rows of products"]);
    let (_, order) = shop.json(&format!("/orders/{}", stock::ORDERS + 1));
    assert_eq!((&order["state"], &order["items"][0]["quantity"]), (&"open".into(), &2.into()), "{order}");

    // What cannot be is refused, whole.
    let before = shop.proof();
    let nothing = r#"{"customer": 7, "items": [{"product": 3, "quantity": 2}, {"product": 9999, "quantity": 1}]}"#;
    assert_eq!(curl(&shop, "", nothing), (422, r#"{"error":"no such product"}"#.to_owned()));
    assert_eq!(curl(&shop, "", r#"{"customer": 0, "items": [{"product": 3, "quantity": 2}]}"#).0, 422);
    assert_eq!(
        curl(&shop, "x-shop-version: 2.0.0", r#"{"customer": 7, "items": [{"product": 3, "quantity": 2}]}"#).0,
        409
    );
    assert_eq!(shop.proof().differences(&before), Vec::<String>::new());

    let (_, metrics) = shop.json("/metrics.json");
    assert_eq!(metrics["errors"], 0);
    assert!(metrics["requests"].as_u64().unwrap() >= 8 && metrics["p95"].as_f64().unwrap() > 0.0, "{metrics}");
    assert!(client::get(shop.folder.port, "/metrics").unwrap().body.contains("shop_errors_total 0\n"));
    for path in ["/", "/orders/1", "/orders/99999"] {
        assert!(headers(&shop, path).contains("x-frame-options: DENY"), "{path}");
    }

    assert_eq!(shop.stop(), Some(0), "{}", shop.log());
    assert!(!shop.folder.path("srv/data/shop.db-wal").exists(), "closing leaves one file");
}

#[test]
fn the_bad_release_errs_for_old_orders_and_the_good_one_does_not() {
    for (version, errs) in [(Version::V2Bad, true), (Version::V2Good, false)] {
        let mut shop = Shop::new();
        let before = shop.proof();
        shop.upgrade(version);
        let changed = shop.proof().differences(&before).join("\n");
        assert!(changed.contains("rows of products") && changed.contains("table orders"), "{changed}");
        assert!(changed.contains("schema version: was 1, is 2"), "{changed}");
        shop.start("versions/2.0");
        assert_eq!(shop.json("/health").0, 200);
        assert_eq!((shop.json("/orders").0, shop.json("/orders/1").0), (200, 200));
        let failed = (1..=260).filter(|id| shop.json(&format!("/orders/{id}")).0 == 500).count();
        assert_eq!(failed, if errs { 20 } else { 0 });
        let log = shop.log();
        assert_eq!(log.contains("ERROR order 13 has the state null, which 2.0.0 does not know"), errs, "{log}");
        assert_eq!(shop.stop(), Some(0));
    }
}

#[test]
fn the_old_release_refuses_the_new_schema() {
    let shop = Shop::new();
    shop.upgrade(Version::V2Bad);
    let before = shop.proof();
    for (command, reason) in [("serve", "reads schema 1 only"), ("migrate", "knows no way back to 1")] {
        let output = shop.command("versions/1.0", command).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(reason), "{output:?}");
    }
    assert_eq!(shop.proof().differences(&before), Vec::<String>::new());
    // Once is enough, and twice does no harm.
    assert_eq!(text(&shop.command("versions/2.0", "migrate").output().unwrap()), "schema 2 -> 2\n");
    assert_eq!(shop.proof().differences(&before), Vec::<String>::new());
}

#[test]
fn the_client_sees_an_outage_and_orders_from_2_0_alone() {
    let mut shop = Shop::new();
    shop.start("current");
    let client = Client::start(shop.folder.port).unwrap();
    let until = |what: &str, holds: &dyn Fn(&client::Seen) -> bool| {
        let patience = Instant::now() + Duration::from_secs(10);
        while !holds(&client.seen()) {
            assert!(Instant::now() < patience, "{what}: {:?}", client.seen());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until("1.0 answers", &|seen| seen.answers > 50);
    assert_eq!((client.seen().orders, client.seen().errors), (0, 0));
    shop.stop();
    let down = Instant::now();
    shop.upgrade(Version::V2Bad);
    std::thread::sleep(Duration::from_millis(100));
    let least = down.elapsed();
    shop.start("versions/2.0");
    until("2.0 takes orders", &|seen| seen.orders > 1 && seen.errors > 0);
    let seen = client.seen();
    assert_eq!(seen.version.as_deref(), Some("2.0.0"));
    assert!(seen.longest_outage() >= least && seen.longest_outage() < least + Duration::from_secs(5), "{seen:?}");
}

#[test]
fn two_demos_begin_with_the_same_state() {
    let [one, other] = [Shop::new(), Shop::new()].map(|shop| shop.proof());
    assert!(one.rows > 10_000 && one.tables == 4 && one.links == 1, "{}", one.counts());
    let differences = one.differences(&other);
    let content = |line: &&String| !line.starts_with("srv/");
    assert_eq!(differences.iter().find(content), None, "the data differs");
}

#[test]
fn a_payload_is_the_release_and_always_the_same_bytes() {
    for version in [Version::V2Bad, Version::V2Good] {
        let payload = version.payload().unwrap();
        assert!(payload == version.payload().unwrap());
        let place = tempfile::tempdir().unwrap();
        let (unpacked, written) = (place.path().join("unpacked"), place.path().join("written"));
        tar::Archive::new(zstd::Decoder::new(&payload[..]).unwrap()).unpack(&unpacked).unwrap();
        version.write(&written).unwrap();
        let output = Command::new("diff").arg("-r").args([&unpacked, &written]).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        assert!(rustix::fs::access(unpacked.join("bin/shop"), rustix::fs::Access::EXEC_OK).is_ok());
        let release = backout::cli::demo::shop::Release::open(&unpacked).unwrap();
        assert_eq!((release.version.as_str(), release.schema), (version.name(), 2));
    }
}

#[test]
fn a_folder_that_is_not_only_a_demos_is_left_alone() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("demo");
    assert!(matches!(folder::look(&root).unwrap(), folder::Found::Nothing));
    fs::create_dir(&root).unwrap();
    assert!(matches!(folder::look(&root).unwrap(), folder::Found::Nothing));
    Folder::make(&root, &Wanted { upgrade: Version::V2Bad, granted: true }).unwrap();
    assert!(matches!(folder::look(&root).unwrap(), folder::Found::Demo));
    fs::write(root.join("thesis.txt"), "").unwrap();
    let error = folder::look(&root).err().unwrap().to_string();
    assert!(error.ends_with("holds what no demo put there: thesis.txt"), "{error}");
    fs::remove_file(root.join("thesis.txt")).unwrap();
    folder::clear(&root).unwrap();
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    fs::write(root.join("notes.txt"), "").unwrap();
    let error = folder::look(&root).err().unwrap().to_string();
    assert!(error.ends_with("is not empty, and no demo made it"), "{error}");
}

fn returned(shop: &Shop) -> u32 {
    let db = rusqlite::Connection::open(shop.folder.database()).unwrap();
    db.query_row("SELECT count(*) FROM orders WHERE status = 'returned'", [], |r| r.get(0)).unwrap()
}

fn curl(shop: &Shop, header: &str, body: &str) -> (u16, String) {
    let header = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
    let headers = format!("content-type: application/json\r\n{header}");
    let answer = client::request(shop.folder.port, "POST /orders", &headers, body).unwrap();
    (answer.status, answer.body)
}

fn headers(shop: &Shop, path: &str) -> String {
    client::get(shop.folder.port, path).unwrap().head
}

#[test]
fn the_site_grants_all_that_the_package_asks_for_or_lacks_two_rights() {
    for (granted, expected) in [(true, vec![]), (false, vec!["database orders: fence", "tool migrate: run"])] {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::make(place.path(), &Wanted { upgrade: Version::V2Good, granted }).unwrap();
        let site = backout::site::Site::load(&folder.path("backout.toml")).unwrap();
        let package = backout::package::Package::open(&folder.path(folder::PACKAGE)).unwrap();
        assert_eq!(package.title(), "acme/shop 2.0.1");
        let findings = site.check(&package);
        assert!(findings.mistakes.0.is_empty(), "{}", findings.mistakes);
        assert!(findings.unneeded.is_empty() && findings.notes.is_empty(), "{findings:?}");
        let missing: Vec<String> = findings.missing.iter().map(backout::site::Missing::title).collect();
        assert_eq!(missing, expected);
        site.upgradable(&package).unwrap();
    }
}

/// The demo as somebody runs it, with nothing of the shop or of Backout there before.
struct Demo {
    place: TempDir,
}

impl Demo {
    fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut demo = Command::new(BACKOUT);
        // A site file of somebody else's is none of the demo's business.
        demo.arg("demo").args(arguments).current_dir(&self.place).env("BACKOUT_SITE", "/nowhere/backout.toml");
        demo.stdin(Stdio::null());
        demo
    }

    fn start(&self, arguments: &[&str]) -> Playing {
        let path = self.place.path().join("log");
        let log = fs::File::create(&path).unwrap();
        let process = self.command(arguments).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Playing { process, log: path }
    }

    /// What it says to machines, and what it shows to people meanwhile.
    fn play(&self, scenario: &str) -> (Value, String) {
        let output = self.command(&["--json", "--scenario", scenario]).output().unwrap();
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{shown}\n{}", text(&output));
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["wrong"], serde_json::json!([]));
        assert!(client::get(self.port(), "/health").is_err(), "the shop still runs");
        for run in summary["runs"].as_array().unwrap() {
            let report = fs::read_to_string(run["report"].as_str().unwrap()).unwrap();
            assert!(report.contains("acme/shop"), "{report}");
        }
        (summary, shown)
    }

    fn port(&self) -> u16 {
        let config = fs::read_to_string(self.place.path().join("backout-demo/srv/config/shop.toml")).unwrap();
        config.parse::<toml::Table>().unwrap()["port"].as_integer().unwrap().try_into().unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.place.path().join("backout-demo").join(name)
    }
}

/// The commands and exit codes that were shown.
fn commands<'a>(shown: &'a str) -> Vec<&'a str> {
    let exit = |line: &'a str| line.strip_prefix("exit code ")?.split(':').next();
    shown.lines().filter_map(|line| line.strip_prefix("$ backout ").or_else(|| exit(line))).collect()
}

fn outcomes(summary: &Value) -> Vec<String> {
    let runs = summary["runs"].as_array().unwrap().iter();
    runs.map(|run| format!("{} {}", run["command"].as_str().unwrap(), run["outcome"].as_str().unwrap())).collect()
}

#[test]
fn a_bad_upgrade_goes_back_by_itself() {
    let demo = Demo::new();
    let (summary, shown) = demo.play("bad-upgrade");
    assert_eq!(commands(&shown), ["check packages/shop-2.0", "0", "upgrade packages/shop-2.0 --yes", "4"]);
    assert_eq!((&summary["ending"], outcomes(&summary)), (&"as-before".into(), vec!["upgrade rolled-back".to_owned()]));
    assert!(summary["aside"]["orders"].as_u64() >= summary["client"]["confirmed_orders"].as_u64());
    assert!(summary["client"]["confirmed_orders"].as_u64() > Some(0), "{summary}");
    assert!(summary["client"]["longest_outage_millis"].as_u64() > Some(0), "{summary}");
    assert!(summary["client"]["errors"].as_u64() > Some(0), "{summary}");
    let phases: Vec<&str> =
        summary["runs"][0]["phases"].as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    for phase in ["prepare", "upgrade", "rollback", "verify again"] {
        assert!(phases.contains(&phase), "{phases:?}");
    }
    // A proof that cannot fail proves nothing: what the demo looked at, looked at again after a change.
    let database = rusqlite::Connection::open(demo.path("srv/data/shop.db")).unwrap();
    let look = || {
        Proof::take(
            &demo.path("srv/data/shop.db"),
            &[("srv/app", &demo.path("srv/app")), ("srv/config", &demo.path("srv/config"))],
        )
    };
    assert_eq!(look().unwrap().digest(), summary["digest"].as_str().unwrap());
    database.execute("UPDATE products SET price = price + 1 WHERE id = 1", []).unwrap();
    assert_ne!(look().unwrap().digest(), summary["digest"].as_str().unwrap());
}

/// Renaming folders, looking at processes and stopping them are easier for root; whoever tries the demo is not.
#[test]
fn nobody_in_particular_can_run_it() {
    const NOBODY: u32 = 65_534;
    let demo = Demo::new();
    let mut command = demo.command(&["--json"]);
    if rustix::process::geteuid().is_root() {
        // The build's folder may be one that others cannot look into.
        let program = demo.place.path().join("backout");
        fs::copy(BACKOUT, &program).unwrap();
        std::os::unix::fs::chown(demo.place.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        command = Command::new(program);
        command.args(["demo", "--json"]).current_dir(&demo.place).stdin(Stdio::null()).uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), commands(&shown)[3]), (Some(0), "4"), "{shown}\n{}", text(&output));
}

#[test]
fn a_good_upgrade_stays_and_its_copies_are_freed() {
    let demo = Demo::new();
    let (summary, shown) = demo.play("good-upgrade");
    let expected = ["check packages/shop-2.0", "0", "upgrade packages/shop-2.0 --yes", "0", "commit --yes", "0"];
    assert_eq!(commands(&shown), expected);
    assert_eq!(
        (&summary["ending"], outcomes(&summary)),
        (&"upgraded".into(), vec!["upgrade upgraded".to_owned(), "commit committed".to_owned()])
    );
    assert!(summary["freed_bytes"].as_u64() > Some(0), "{summary}");
    assert_eq!(summary["client"]["errors"], 0);
    assert_eq!(fs::read_link(demo.path("srv/app/current")).unwrap(), Path::new("versions/2.0"));
}

#[test]
fn a_missing_right_refuses_before_anything_is_touched() {
    let demo = Demo::new();
    let (summary, shown) = demo.play("denied");
    let expected =
        ["check packages/shop-2.0", "3", "upgrade packages/shop-2.0 --yes", "3", "allow packages/shop-2.0", "3"];
    assert_eq!(commands(&shown), expected);
    assert_eq!(summary["client"]["outages_millis"], serde_json::json!([]));
    assert_eq!(summary["aside"], Value::Null);
    for right in ["fence", "migrate"] {
        assert!(shown.contains(right), "{shown}");
    }
    assert!(shown.contains("2.0 drops orders.note; a rollback swaps the proven copy back"), "the reason: {shown}");
}

#[test]
fn a_blocked_rollback_stops_and_goes_on_when_people_have_helped() {
    let demo = Demo::new();
    let (summary, shown) = demo.play("broken-rollback");
    assert_eq!(commands(&shown), ["upgrade packages/shop-2.0 --yes", "5", "rollback --yes", "0"]);
    assert_eq!(outcomes(&summary), ["upgrade stopped", "rollback rolled-back"]);
    assert!(summary["aside"]["orders"].as_u64() > Some(0), "{summary}");
    assert!(shown.contains("STOPPED"), "{shown}");
}

#[test]
fn a_state_that_is_not_the_one_before_is_told() {
    let demo = Demo::new();
    let mut playing = demo.start(&[]);
    playing.wait_for("rollback/start-old");
    fs::write(demo.path("srv/config/intruder"), "").unwrap();
    assert_eq!(playing.end(), Some(1), "{}", playing.shown());
    let told = "WRONG     the state is not the one before: srv/config/intruder is new";
    assert!(playing.shown().contains(told), "{}", playing.shown());
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_running() {
    let demo = Demo::new();
    let mut playing = demo.start(&[]);
    playing.wait_for("$ backout upgrade");
    playing.signal(Signal::TERM);
    assert_eq!(playing.end(), Some(1), "{}", playing.shown());
    assert!(playing.shown().contains("interrupted; what there is stays in the folder"), "{}", playing.shown());
    assert!(client::get(demo.port(), "/health").is_err(), "the shop still runs: {}", playing.shown());
}

#[test]
fn a_demo_goes_on_until_it_is_told_and_one_that_was_killed_is_replaced() {
    let demo = Demo::new();
    let mut first = demo.start(&["--scenario", "denied", "--keep-running"]);
    first.wait_for("go on until Ctrl-C");
    let port = demo.port();
    first.signal(Signal::KILL);
    first.end();
    assert_eq!(client::get(port, "/health").unwrap().status, 200, "a killed demo cannot stop its shop");

    let mut second = demo.start(&["--scenario", "denied", "--keep-running"]);
    second.wait_for("go on until Ctrl-C");
    assert!(client::get(port, "/health").is_err(), "the first shop still runs");
    assert_eq!(client::get(demo.port(), "/health").unwrap().status, 200);
    second.signal(Signal::INT);
    assert_eq!(second.end(), Some(0), "{}", second.shown());
    assert!(client::get(demo.port(), "/health").is_err(), "the shop still runs");
}

/// A demo that goes on beside the test; all that it says is in one file.
struct Playing {
    process: Child,
    log: std::path::PathBuf,
}

impl Playing {
    fn shown(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn wait_for(&mut self, text: &str) {
        let patience = Instant::now() + Duration::from_secs(60);
        while !self.shown().contains(text) {
            let ended = self.process.try_wait().unwrap();
            assert!(Instant::now() < patience && ended.is_none(), "no `{text}`, {ended:?}: {}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), signal).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Playing {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.signal(Signal::TERM);
            let _ = self.process.wait();
        }
    }
}
