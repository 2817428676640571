//! The life-cycle commands on the demo's product: real script, real service, real database, real trees.
use crate::{
    retention::cut_off_between,
    support::{
        bench::{PATIENCE, kill, wait_for},
        guests,
        prometheus::servers,
        shop::{Shop, edit},
    },
};
use backout::{
    cli::demo::releases::Version,
    journal::{Entry, Header, Reader, Recorded, Request},
};
use std::{fs, path::Path, process::Child, time::Instant};

/// Each of two steps began before the other ended.
#[track_caller]
fn at_the_same_time(shop: &Shop, run: u64, one: &str, other: &str) {
    let entries = Reader::open(&shop.folder.path("state/journal.db")).unwrap().entries(run).unwrap();
    let position = |step: &str, wanted: fn(&Entry) -> bool| {
        entries.iter().position(|r| r.place.title() == step && wanted(&r.entry)).unwrap()
    };
    let began = |step| position(step, |entry| matches!(entry, Entry::StepStarted));
    let ended = |step| position(step, |entry| matches!(entry, Entry::StepEnded { .. }));
    assert!(began(one) < ended(other) && began(other) < ended(one), "{one} and {other} ran one after the other");
}

#[test]
fn a_bad_upgrade_goes_back_by_itself_and_everything_is_as_before() {
    let shop = Shop::running(Version::V2Bad);
    let before = shop.proof();
    let said = shop.expect(4, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert!(said.contains("upgrade/watch"), "{said}");
    shop.is_as(&before);
    // What 2.0 wrote is not lost, and not live.
    let report = fs::read_to_string(shop.folder.path("state/runs/1/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let orders = report["restored"].as_array().unwrap().iter().find(|r| r["resource"] == "database:shop").unwrap();
    let aside = rusqlite::Connection::open(orders["aside"].as_str().unwrap()).unwrap();
    let count = |db: &rusqlite::Connection| -> i64 {
        db.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap()
    };
    let live = rusqlite::Connection::open(shop.folder.database()).unwrap();
    let lost: i64 = orders["lost"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|l| l["part"] == "orders")
        .map(|l| l["rows"].as_i64().unwrap())
        .sum();
    assert_eq!(count(&aside) - count(&live), lost);
    assert!(lost > 0, "customers wrote orders while 2.0 ran");
    at_the_same_time(&shop, 1, "verify/load", "verify/headers");
    // There is nothing to go back to any more, and nothing happens.
    let said = shop.expect(3, &["rollback", "--yes"]);
    assert!(said.contains("no restore point"), "{said}");
    shop.is_as(&before);
}

#[test]
fn a_good_upgrade_can_be_taken_back_until_it_is_committed() {
    let shop = Shop::running(Version::V2Good);
    let before = shop.proof();
    shop.expect(0, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert_eq!(shop.version().as_deref(), Some("2.0.1"));
    assert_ne!(shop.proof().differences(&before), [""; 0]);
    shop.expect(0, &["verify"]);
    // The vendor's folder is gone, the way back is not.
    fs::remove_dir_all(shop.package()).unwrap();
    shop.expect(0, &["rollback", "--yes"]);
    shop.is_as(&before);
    shop.expect(0, &["verify"]);
}

#[test]
fn a_package_that_was_not_kept_as_a_whole_is_kept_again() {
    let shop = Shop::running(Version::V2Good);
    let before = shop.proof();
    let package = shop.package();
    let package = package.to_str().unwrap();
    shop.expect(0, &["prepare", "--yes", package]);
    let kept = fs::read_dir(shop.folder.path("state/packages")).unwrap().next().unwrap().unwrap().path();
    // What a power failure may leave of a file that was written and never synced.
    fs::write(kept.join("shop.wasm"), "").unwrap();
    shop.expect(0, &["upgrade", "--yes", package]);
    fs::remove_dir_all(package).unwrap();
    shop.expect(0, &["rollback", "--yes"]);
    shop.is_as(&before);
    assert_eq!(fs::read_dir(shop.folder.path("state/packages")).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn commit_frees_the_copies_and_ends_the_way_back() {
    let shop = Shop::running(Version::V2Good);
    shop.expect(0, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert_ne!(shop.copies(), [""; 0]);
    let upgraded = shop.proof();
    // Nobody to ask, nothing is freed.
    shop.expect(3, &["commit"]);
    assert_ne!(shop.copies(), [""; 0]);
    shop.expect(0, &["commit", "--yes"]);
    assert_eq!(shop.copies(), [""; 0]);
    shop.expect(3, &["rollback", "--yes"]);
    shop.expect(3, &["rollback", "--yes", "--to", "1"]);
    let orders_go_on = shop.proof().differences(&upgraded);
    assert!(orders_go_on.iter().all(|line| !line.contains("app") && !line.contains("config")), "{orders_go_on:?}");
    assert_eq!(shop.version().as_deref(), Some("2.0.1"));
}

/// What a kill between two copies leaves in journal and folders.
#[test]
fn a_commit_that_was_cut_off_is_finished_by_the_next() {
    let shop = Shop::running(Version::V2Good);
    shop.expect(0, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    let journal = shop.folder.path("state/journal.db");
    let mut copies = Vec::new();
    for recorded in Reader::open(&journal).unwrap().entries(1).unwrap() {
        match recorded.entry {
            Entry::Intent(request) if request.operation == "backup.refresh" => copies.push(request),
            _ => {}
        }
    }
    let [first, second, _] = copies.as_slice() else { panic!("{copies:#?}") };
    let header =
        Header { command: "commit".into(), package: "acme/shop".into(), restore_point: 1, ..Header::default() };
    let discard = |copy: &Request| Request { operation: "backup.discard".into(), changes: Vec::new(), ..copy.clone() };
    cut_off_between(&shop, header, [discard(first), discard(second)]);
    shop.expect(3, &["rollback", "--yes"]);
    let said = shop.expect(0, &["restore-points"]);
    assert!(said.contains("freed in part"), "{said}");
    let said = shop.expect(0, &["commit", "--yes"]);
    assert!(said.contains("1 restore point of acme/shop, left by a commit that was cut off."), "{said}");
    assert_eq!(crate::retention::open(&shop), [0; 0], "both have come to their end");
    // The journal says of one copy that it was freed already; the other two are gone now.
    assert_eq!(shop.copies().len(), 1, "{:?}", shop.copies());
    let said = shop.expect(0, &["restore-points"]);
    assert!(said.contains("there is no restore point"), "{said}");
    for arguments in [&["commit", "--yes"][..], &["commit", "1", "--yes"]] {
        let said = shop.expect(3, arguments);
        assert!(said.contains("there is no restore point to commit"), "{said}");
    }
}

#[test]
fn what_cannot_be_freed_keeps_nothing_else_and_is_told() {
    let shop = Shop::running(Version::V2Good);
    shop.expect(0, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    let copy = shop.copies().into_iter().find(|copy| Path::new(copy).is_file()).unwrap();
    // What looks like the copy is what customers use.
    fs::remove_file(&copy).unwrap();
    fs::hard_link(shop.folder.database(), &copy).unwrap();
    let said = shop.expect(5, &["commit", "--yes"]);
    assert!(said.contains("1 of 3 copies could not be freed: database shop: "), "{said}");
    assert_eq!(shop.copies(), [copy.as_str()]);
    assert!(shop.expect(0, &["restore-points"]).contains("freed in part"));
    fs::remove_file(&copy).unwrap();
    shop.expect(0, &["commit", "--yes"]);
    assert!(shop.expect(0, &["restore-points"]).contains("there is no restore point"));
    assert_eq!(shop.version().as_deref(), Some("2.0.1"));
}

#[test]
fn assess_and_prepare_change_nothing_and_without_a_terminal_nothing_starts() {
    let shop = Shop::running(Version::V2Bad);
    let before = shop.proof();
    let package = shop.package();
    let package = package.to_str().unwrap();
    let said = shop.expect(0, &["assess", package]);
    assert!(said.contains("2.0 drops orders.note"), "{said}");
    let said = shop.expect(3, &["upgrade", package]);
    assert!(said.contains("no terminal"), "{said}");
    assert_eq!(shop.copies(), [""; 0]);
    shop.expect(0, &["prepare", "--yes", package]);
    assert_ne!(shop.copies(), [""; 0]);
    shop.is_as(&before);
    // Nothing has been changed since, so a rollback exchanges nothing.
    shop.expect(0, &["rollback", "--yes"]);
    shop.is_as(&before);
}

#[test]
fn a_risk_above_the_sites_bar_refuses() {
    let shop = Shop::running(Version::V2Bad);
    let before = shop.proof();
    shop.edit_site("versions = \"2.*\"", "versions = \"2.*\"\nrequire = { max-risk = \"low\" }");
    let package = shop.package();
    let said = shop.expect(3, &["upgrade", "--yes", package.to_str().unwrap()]);
    assert!(said.contains("a risk is too high: high data"), "{said}");
    shop.expect(10, &["assess", package.to_str().unwrap()]);
    shop.is_as(&before);
}

#[test]
fn what_is_not_granted_refuses_before_anything_happens() {
    let shop = Shop::running(Version::V2Bad);
    let before = shop.proof();
    shop.edit_site("\"fence\"", "\"read\"");
    let said = shop.expect(3, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert!(said.contains("fence") && said.contains("backout allow"), "{said}");
    assert!(!shop.folder.path("state/journal.db").exists(), "no run has begun");
    shop.is_as(&before);
}

/// Waits until a run has come to a step.
fn wait_for_step(shop: &Shop, run: u64, step: &str) {
    let journal = shop.folder.path("state/journal.db");
    wait_for(step, || {
        let entries = Reader::open(&journal).ok()?.entries(run).ok()?;
        let started = |r: &Recorded| r.place.title() == step && matches!(r.entry, Entry::StepStarted);
        entries.iter().any(started).then_some(())
    });
}

fn exit_code(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let text = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code(), text)
}

#[test]
fn ctrl_c_stops_at_the_next_boundary_and_says_how_to_go_on() {
    let shop = Shop::running(Version::V2Good);
    let before = shop.proof();
    shop.edit_site("versions = \"2.*\"", "versions = \"2.*\"\nrequire = { settings = { watch = \"1h\" } }");
    let child = shop.spawn(&["upgrade", "--yes", shop.package().to_str().unwrap()]);
    wait_for_step(&shop, 1, "upgrade/watch");
    // A lost terminal stops nothing, a second run is told who is at it.
    let pid = i32::try_from(child.id()).unwrap();
    kill(pid, "HUP");
    let said = shop.expect(3, &["rollback", "--yes"]);
    assert!(said.contains("held by run 1"), "{said}");
    let began = Instant::now();
    kill(pid, "INT");
    let (code, said) = exit_code(child);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("backout rollback"), "{said}");
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(shop.version().as_deref(), Some("2.0.1"), "the product is not Backout's to stop");
    shop.expect(0, &["rollback", "--yes"]);
    shop.is_as(&before);
}

#[test]
fn a_run_that_is_stopped_before_anything_changed_leaves_nothing() {
    let shop = Shop::running(Version::V2Good);
    let before = shop.proof();
    let child = shop.spawn(&["upgrade", "--yes", shop.package().to_str().unwrap()]);
    wait_for_step(&shop, 1, "prepare/baseline");
    kill(i32::try_from(child.id()).unwrap(), "TERM");
    let (code, said) = exit_code(child);
    assert_eq!(code, Some(3), "{said}");
    assert_eq!(shop.copies(), [""; 0]);
    shop.is_as(&before);
}

#[test]
fn a_run_that_was_killed_can_be_rolled_back() {
    let shop = Shop::running(Version::V2Good);
    let before = shop.proof();
    let child = shop.spawn(&["upgrade", "--yes", shop.package().to_str().unwrap()]);
    wait_for_step(&shop, 1, "upgrade/watch");
    kill(i32::try_from(child.id()).unwrap(), "KILL");
    let (code, _) = exit_code(child);
    assert_eq!(code, None);
    shop.expect(0, &["rollback", "--yes"]);
    shop.is_as(&before);
}

#[test]
fn a_rollback_that_fails_says_where_things_stand_and_can_go_on() {
    let shop = Shop::running(Version::V2Good);
    let before = shop.proof();
    shop.expect(0, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    let holder = fs::File::open(shop.folder.database()).unwrap();
    let said = shop.expect(5, &["rollback", "--yes"]);
    assert!(said.contains("NOT done") && said.contains("rollback/restore"), "{said}");
    assert_eq!(shop.version(), None, "neither version runs on what is half-way");
    // A commit would throw away the way out, also after somebody has looked how things stand.
    shop.expect(3, &["commit", "--yes"]);
    shop.expect(10, &["verify"]);
    let said = shop.expect(3, &["commit", "--yes"]);
    assert!(said.contains("the way out"), "{said}");
    assert_eq!(shop.copies().len(), 3, "{:?}", shop.copies());
    drop(holder);
    let said = shop.expect(3, &["rollback", "--yes", "--from", "no-such-step"]);
    assert!(said.contains("stop, restore"), "{said}");
    shop.expect(0, &["rollback", "--yes", "--from", "restore"]);
    shop.is_as(&before);
}

#[test]
fn unfence_lets_applications_in_without_any_run() {
    let shop = Shop::new(Version::V2Good);
    let database = shop.folder.database();
    let fence = || {
        let site = backout::site::Site::load(&shop.site()).unwrap();
        let access = backout::resource::database::drivers::open("shop", &site.databases["shop"]);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(access.mutator.fence(PATIENCE, &crate::support::call::call("test/fence", PATIENCE))).unwrap();
    };
    fence();
    assert!(rusqlite::Connection::open(&database).and_then(|db| db.execute_batch("SELECT * FROM orders")).is_err());
    shop.expect(0, &["unfence"]);
    rusqlite::Connection::open(&database).and_then(|db| db.execute_batch("SELECT 1 FROM orders")).unwrap();
    shop.expect(0, &["unfence"]);
}

#[test]
fn a_package_for_another_version_is_refused() {
    let shop = Shop::running(Version::V2Good);
    edit(&shop.package().join("package.toml"), "from = \">=1.0, <2\"", "from = \">=1.4, <2\"");
    let said = shop.expect(3, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert!(said.contains("1.4") && said.contains("1.0"), "{said}");
    assert!(!Path::new(&shop.folder.path("state/journal.db")).exists());
}

#[test]
fn the_same_life_cycle_in_python() {
    let shop = Shop::running(Version::V2Bad);
    guests::python_shop().copy_to(&shop.package());
    let before = shop.proof();
    let said = shop.expect(4, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert!(said.contains("upgrade/watch"), "{said}");
    shop.is_as(&before);
}

#[test]
fn every_call_of_the_world_does_what_it_says() {
    let shop = Shop::running(Version::V2Good);
    let folder = shop.folder.path("packages/every-call");
    guests::every_call().copy_to(&folder);
    fs::write(folder.join("greeting.txt"), "hello\n").unwrap();
    let site = fs::read_to_string(shop.site()).unwrap();
    let url = servers().url();
    let prometheus = format!(
        "[metrics.prom]\ndriver = \"prometheus\"\nurl = \"{url}\"\nqueries.up = 'sum(up)'\nalerts = {{ job = \"app\" }}\n"
    );
    let grants = r#"
[allow."test/every-call"]
database.orders = { is = "shop", may = ["read", "write", "backup", "restore", "fence"] }
tree.config = { may = ["read", "write", "backup"] }
service.shop = { may = ["control", "logs"] }
metrics.host = { may = ["read"] }
metrics.prom = { may = ["read", "promql"] }
probe.shop = { may = ["get", "load"] }
tool.migrate = { may = ["run"] }
channel.ops = { may = ["send"] }

[channel.ops]
driver = "command"
run = ["sh", "-c", "cat >> told"]
"#;
    fs::write(shop.site(), site + &prometheus + grants).unwrap();
    let told = || fs::read_to_string(shop.folder.path("told")).unwrap_or_default();
    shop.expect(0, &["upgrade", "--yes", "--approve", "owner=Ada", folder.to_str().unwrap()]);
    let once = told();
    assert!(once.starts_with("[test/every-call 1.0.0] half of it is done\n\nand the rest\nfollows\n"), "{once}");
    assert_eq!(once.matches("half of it").count(), 1, "{once}");
    shop.expect(0, &["replay", "1"]);
    assert_eq!(told(), once, "nobody is told again");
    let report = fs::read_to_string(shop.folder.path("state/runs/1/report.md")).unwrap();
    for fact in ["the door is shut", "nobody was there", "Ada", "a warning", "it is only a test"] {
        assert!(report.contains(fact), "{fact} is not in the report\n{report}");
    }
    shop.expect(0, &["rollback", "--yes"]);
    let database = rusqlite::Connection::open(shop.folder.database()).unwrap();
    let seen: i64 = database.query_row("SELECT count(*) FROM orders WHERE note = 'seen'", [], |r| r.get(0)).unwrap();
    assert_eq!(seen, 0);
}
