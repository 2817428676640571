//! Plans that were approved: what runs is what they say, and nothing else.
mod approvals;

use crate::support::{
    bench::{BACKOUT, PATIENCE},
    call, faulty,
    shop::{Shop, edit},
};
use backout::{
    cli::demo::releases::Version,
    journal::{Entry, Reader},
    resource::service,
    site::Site,
};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::{fs::symlink, process::ExitStatusExt},
};

/// With 1.0 serving, and a package of this variant.
fn shop(variant: &str) -> Shop {
    let shop = Shop::running(Version::V2Good);
    faulty::write(variant, Version::V2Good, &shop.package());
    shop
}

fn package(shop: &Shop) -> String {
    shop.package().to_str().unwrap().to_owned()
}

fn save(shop: &Shop) {
    shop.expect(0, &["plan", "--save", "plan.json", &package(shop)]);
}

fn upgrade(shop: &Shop, code: i32) -> String {
    shop.expect(code, &["upgrade", "--yes", "--plan", "plan.json", &package(shop)])
}

/// Changes the plan as a text editor would.
fn edit_plan(shop: &Shop, change: impl Fn(&mut Value)) {
    let file = shop.folder.path("plan.json");
    let mut plan: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    change(&mut plan);
    fs::write(&file, plan.to_string()).unwrap();
}

fn without(plan: &mut Value, steps: &str, step: &str, operation: &str) {
    let steps = plan["plan"][steps].as_array_mut().unwrap().iter_mut();
    let mut left_out = 0;
    for step in steps.filter(|s| s["name"] == step) {
        let operations = step["operations"].as_array_mut().unwrap();
        left_out += operations.len();
        operations.retain(|planned| planned["operation"] != operation);
        left_out -= operations.len();
    }
    assert!(left_out > 0, "{operation} is not planned in {step}");
}

fn entries(shop: &Shop) -> Vec<Entry> {
    let recorded = Reader::open(&shop.folder.path("state/journal.db")).unwrap().since(0).unwrap();
    recorded.into_iter().map(|recorded| recorded.entry).collect()
}

fn times(shop: &Shop, operation: &str) -> usize {
    let asked = |entry: &&Entry| matches!(entry, Entry::Intent(request) if request.operation == operation);
    entries(shop).iter().filter(asked).count()
}

/// What a script of these variants looks for.
const AGAIN: &str = "UPDATE customers SET name = 'again' WHERE id = 1";

/// Somebody else is at the database.
fn statement(shop: &Shop, sql: &str) {
    let db = rusqlite::Connection::open(shop.folder.database()).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute_batch(sql).unwrap();
}

/// What an operation says in the plan, and whether it is held to it.
fn planned(shop: &Shop, operation: &str) -> Vec<(Value, bool)> {
    let plan: Value = serde_json::from_slice(&fs::read(shop.folder.path("plan.json")).unwrap()).unwrap();
    let steps = plan["plan"]["steps"].as_array().unwrap().iter();
    let operations = steps.flat_map(|step| step["operations"].as_array().unwrap());
    let found = operations.filter(|planned| planned["operation"] == operation);
    found.map(|planned| (planned["arguments"].clone(), planned["varies"] != true)).collect()
}

#[test]
fn a_plan_is_carried_out_unless_what_it_was_made_from_has_changed() {
    let shop = Shop::running(Version::V2Good);
    save(&shop);
    let first = fs::read(shop.folder.path("plan.json")).unwrap();
    save(&shop);
    assert_eq!(first, fs::read(shop.folder.path("plan.json")).unwrap(), "the same inputs give the same bytes");

    let (manifest, current) = (shop.package().join("package.toml"), shop.folder.path("srv/app/current"));
    let [stood, site] = [&manifest, &shop.site()].map(|file| fs::read_to_string(file).unwrap());
    let (before, version) = (shop.proof(), fs::read_link(&current).unwrap());
    fs::write(&manifest, format!("{stood}\n# another\n")).unwrap();
    shop.edit_site("settle = \"300ms\"", "settle = \"301ms\"");
    fs::remove_file(&current).unwrap();
    symlink("versions/1.1", &current).unwrap();
    let said = upgrade(&shop, 3);
    for difference in ["the package has changed", "[service.shop] has changed", "version is `1.1`, it was `1.0`"] {
        assert!(said.contains(difference), "{difference}: {said}");
    }
    fs::remove_file(&current).unwrap();
    symlink(version, &current).unwrap();
    fs::write(&manifest, stood).unwrap();
    fs::write(shop.site(), site).unwrap();
    shop.is_as(&before);

    let site = Site::load(&shop.site()).unwrap();
    let access = service::drivers::open_with("shop", &site.services["shop"], &site.state, BACKOUT.into());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(access.mutator.stop(&call::call("test/stop", PATIENCE))).unwrap();
    let said = upgrade(&shop, 3);
    assert!(said.contains("the plan is stale: the service `shop` is `stopped`, it was `running`"), "{said}");
    shop.start();

    // What a database holds changes all the time; what it declares was looked at.
    statement(&shop, "CREATE INDEX named ON customers (name)");
    let said = upgrade(&shop, 3);
    assert!(said.contains("the plan is stale: database shop: its schema has changed"), "{said}");
    statement(&shop, "DROP INDEX named; UPDATE customers SET name = 'other' WHERE id = 1");

    upgrade(&shop, 0);
    assert_eq!(shop.version().as_deref(), Some("2.0.1"));
    // None of those that were refused has begun a run.
    let runs = entries(&shop).iter().filter(|entry| matches!(entry, Entry::RunStarted(_))).count();
    assert_eq!(runs, 1);
}

#[test]
fn a_script_that_does_more_than_it_planned_is_stopped_before_it_happens() {
    let shop = shop("looks");
    save(&shop);
    statement(&shop, AGAIN);
    let before = shop.proof();
    let said = upgrade(&shop, 4);
    let why =
        "upgrade/install: deviated: the script asks for tool.run `migrate`, which the plan that was approved does not";
    assert!(said.contains(why), "{said}");
    assert_eq!(times(&shop, "tool.run"), 1, "the second one has not happened");
    shop.is_as(&before);
    // A replay has no plan to keep to, and finds nothing else.
    shop.expect(0, &["replay", "1"]);
    shop.expect(0, &["audit"]);
}

#[test]
fn a_script_that_says_something_else_than_it_planned_is_stopped_before_it_happens() {
    let shop = shop("picks");
    save(&shop);
    let link = json!({ "tree": "app", "path": "current", "target": "versions/2.0" });
    assert_eq!(planned(&shop, "files.link"), [(link, true)]);
    statement(&shop, AGAIN);
    let before = shop.proof();
    let said = upgrade(&shop, 4);
    let why = "deviated: the script asks for files.link `app` with \
        {\"path\":\"current\",\"target\":\"versions/1.0\",\"tree\":\"app\"}, the plan that was approved has it with \
        {\"path\":\"current\",\"target\":\"versions/2.0\",\"tree\":\"app\"}";
    assert!(said.contains(why), "{said}");
    assert_eq!(times(&shop, "files.link"), 0);
    shop.is_as(&before);
}

#[test]
fn what_follows_from_time_and_data_is_not_held_against_a_script() {
    let shop = shop("notes");
    save(&shop);
    let said = planned(&shop, "files.write");
    assert!(matches!(&said[..], [(_, false), (_, false)]), "{said:?}");
    assert!(planned(&shop, "files.link").iter().all(|(_, held)| *held));
    let said = shop.expect(3, &["approve", "plan.json", "--as", "anna", "--role", "dba", "--key", "anna.key"]);
    assert!(said.contains("varies    upgrade/install: files.write app  {"), "{said}");
    assert!(said.contains("says      upgrade/install: files.link app  {\"path\":\"current\","), "{said}");
    assert!(!said.contains("service.stop shop"), "{said}");
    statement(&shop, "UPDATE customers SET name = 'zz' WHERE id = 1");
    upgrade(&shop, 0);
}

#[test]
fn a_run_that_was_killed_keeps_to_its_plan_when_it_goes_on() {
    for (variant, point, why) in [
        ("looks", "after files.link on app", "deviated: the script asks for tool.run `migrate`, which the plan"),
        ("looks", "before files.install on app", "deviated: the script asks for tool.run `migrate`, which the plan"),
        ("picks", "after backup.refresh on orders", "deviated: the script asks for files.link `app` with"),
    ] {
        let shop = shop(variant);
        save(&shop);
        statement(&shop, AGAIN);
        let before = shop.proof();
        let mut command = shop.command(&["upgrade", "--yes", "--plan", "plan.json", &package(&shop)]);
        assert_eq!(command.env("BACKOUT_CRASH_AT", point).output().unwrap().status.signal(), Some(9), "{point}");
        // Nobody needs the file any more.
        fs::remove_file(shop.folder.path("plan.json")).unwrap();
        let said = shop.expect(4, &["resume", "--yes"]);
        assert!(said.contains(why), "{point}: {said}");
        shop.is_as(&before);
    }
}

#[test]
fn what_looks_may_look_more_often() {
    let shop = shop("polls");
    save(&shop);
    upgrade(&shop, 0);
}

#[test]
fn before_anything_was_changed_it_is_refused() {
    let shop = shop("");
    let before = shop.proof();
    save(&shop);
    edit_plan(&shop, |plan| without(plan, "steps", "close", "service.stop"));
    let said = upgrade(&shop, 3);
    assert!(said.contains("upgrade/close: deviated: the script asks for service.stop `shop`"), "{said}");
    assert_eq!(times(&shop, "service.stop"), 0);
    shop.is_as(&before);
    assert_eq!(shop.copies(), [""; 0]);
}

#[test]
fn going_back_is_never_stopped_by_a_plan() {
    let shop = shop("");
    let before = shop.proof();
    save(&shop);
    edit_plan(&shop, |plan| {
        without(plan, "steps", "install", "tool.run");
        without(plan, "if_it_fails", "restore", "backup.restore");
    });
    let said = upgrade(&shop, 4);
    assert!(said.contains("upgrade/install: deviated: the script asks for tool.run `migrate`"), "{said}");
    shop.is_as(&before);
    assert_eq!(times(&shop, "tool.run"), 0);
    let report = fs::read_to_string(shop.folder.path("state/runs/1/report.md")).unwrap();
    assert!(report.contains("rollback/restore: deviated: the script asks for backup.restore"), "{report}");
}

#[test]
fn what_is_no_plan_is_refused_in_one_line() {
    let shop = shop("");
    save(&shop);
    edit_plan(&shop, |plan| {
        plan["plan"]["steps"].as_array_mut().unwrap().retain(|step| step["name"] != "watch");
    });
    let said = upgrade(&shop, 3);
    assert!(said.contains("the script plans other steps than were approved: upgrade has the steps"), "{said}");
    edit_plan(&shop, |plan| plan["format"] = 2.into());
    let said = upgrade(&shop, 3);
    assert!(said.contains("it has the format 2, this Backout reads 1"), "{said}");
    for broken in ["", "[1]", "{\"format\": 1}", "{\"format\": \"\\u001b[31m\"}", "\u{0}"] {
        fs::write(shop.folder.path("plan.json"), broken).unwrap();
        let said = upgrade(&shop, 3);
        assert!(said.contains("the plan plan.json cannot be used: ") && !said.contains('\u{1b}'), "{said}");
    }
    fs::remove_file(shop.folder.path("plan.json")).unwrap();
    upgrade(&shop, 3);
    fs::create_dir(shop.folder.path("plan.json")).unwrap();
    upgrade(&shop, 3);
    shop.expect(3, &["plan", "--save", "plan.json", &package(&shop)]);
    shop.expect(3, &["plan", "--offline", "--save", "other.json", &package(&shop)]);
    assert!(!shop.folder.path("other.json").exists());

    faulty::write("no-rollback", Version::V2Good, &shop.package());
    fs::remove_dir(shop.folder.path("plan.json")).unwrap();
    shop.expect(10, &["plan", "--save", "plan.json", &package(&shop)]);
    let said = upgrade(&shop, 3);
    assert!(said.contains("has findings: no-rollback: nothing is taken back"), "{said}");
    edit(&shop.folder.path("plan.json"), "\"format\"", "\"form\"");
    assert!(upgrade(&shop, 3).contains("it has no format number"));
}
