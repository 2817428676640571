//! Going on with runs that were cut off, giving them up, and running recorded ones again.
use crate::support::{
    bench::{BACKOUT, wait_for},
    guests,
    shop::{Shop, edit},
    terminal::Terminal,
};
use backout::{
    cli::demo::releases::Version,
    journal::{Entry, Reader, Recorded},
};
use serde_json::Value;
use std::{
    fs::{self, File},
    os::unix::process::ExitStatusExt,
};

fn entries(shop: &Shop) -> Vec<Recorded> {
    let reader = Reader::find(&shop.folder.path("state/journal.db")).unwrap();
    reader.map(|reader| reader.since(0).unwrap()).unwrap_or_default()
}

fn shop(version: Version, watch: &str) -> Shop {
    let mut shop = Shop::new(version);
    let settings = format!("require = {{ settings = {{ watch = \"{watch}\", load = \"1s\", clients = 2 }} }}");
    shop.edit_site("versions = \"2.*\"", &format!("versions = \"2.*\"\n{settings}"));
    shop.open();
    shop
}

/// An upgrade that is killed at a moment of this name.
fn killed_at(shop: &Shop, moment: &str) {
    let package = shop.package();
    let mut upgrade = shop.command(&["upgrade", "--yes", package.to_str().unwrap()]);
    let status = upgrade.env("BACKOUT_CRASH_AT", moment).output().unwrap().status;
    assert_eq!(status.signal(), Some(9), "{moment}");
}

fn begins(step: &'static str, operation: &'static str) -> impl Fn(&Recorded) -> bool {
    move |r| r.place.title() == step && matches!(&r.entry, Entry::Intent(request) if request.operation == operation)
}

/// Samples that a watch has written down.
fn samples(shop: &Shop) -> usize {
    let of_watch = |r: &&Recorded| r.place.title() == "upgrade/watch" && matches!(r.entry, Entry::Evidence { .. });
    entries(shop).iter().filter(of_watch).count()
}

#[test]
fn a_watch_that_was_cut_off_goes_on_with_the_time_that_is_left() {
    let shop = shop(Version::V2Good, "6s");
    let mut child = shop.spawn(&["upgrade", "--yes", shop.package().to_str().unwrap()]);
    wait_for("some samples", || (samples(&shop) >= 3).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    let before = samples(&shop);
    let runs: Value = serde_json::from_str(&shop.expect_out(&["runs", "--json"])).unwrap();
    assert_eq!(runs[0]["outcome"], "interrupted");
    // What is half-way is no state to begin from.
    let said = shop.expect(3, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert!(said.contains("run 1 (upgrade of acme/shop 2.0.1) did not come to its end, and holds"), "{said}");
    assert!(said.contains("backout resume 1") && said.contains("backout rollback --run 1"), "{said}");
    let said = shop.expect(3, &["resume"]);
    assert!(said.contains("no terminal"), "{said}");

    shop.expect(0, &["resume", "--yes"]);
    assert_eq!(shop.version().as_deref(), Some("2.0.1"));
    let entries = entries(&shop);
    let started = |step: &str| {
        entries.iter().filter(|r| r.place.title() == step && matches!(r.entry, Entry::StepStarted)).count()
    };
    for step in ["prepare/copy-data", "upgrade/close", "upgrade/install", "upgrade/watch", "verify/answers"] {
        assert_eq!(started(step), 1, "{step} is not begun again");
    }
    assert_eq!(entries.iter().filter(|r| begins("upgrade/watch", "metrics.watch")(r)).count(), 1);
    // Every sample counts, of before and after, and there are no more of them than an uninterrupted watch would take.
    let all = samples(&shop);
    assert!(before < all && (6..=8).contains(&all), "{before} of {all}");
    let report: Value = serde_json::from_str(&shop.expect_out(&["show", "1", "--json"])).unwrap();
    let watch = report["checks"].as_array().unwrap().iter().find(|c| c["operation"] == "metrics.watch").unwrap();
    assert!(watch["detail"].as_str().unwrap().contains(&format!("of {all} samples")), "{watch}");
    let said = shop.expect(0, &["replay"]);
    assert!(said.contains("run 1 (upgrade of acme/shop 2.0.1): equal"), "{said}");
    let said = shop.expect(3, &["resume", "1"]);
    assert!(said.contains("has come to its end (upgraded)"), "{said}");
    shop.expect(3, &["resume", "7"]);
}

#[test]
fn what_has_changed_since_is_said_and_refuses() {
    let shop = shop(Version::V2Good, "2s");
    let before = shop.proof();
    killed_at(&shop, "before files.install on app");
    shop.edit_site("load = { clients = 20", "load = { clients = 30");
    shop.edit_site("settle = \"300ms\"", "settle = \"301ms\"");
    shop.edit_site("[metrics.host]", "# nothing but a remark\n[metrics.host]");
    let said = shop.expect(3, &["resume", "--yes"]);
    let told = "not all is as run 1 left it: [probe.shop] has changed; [service.shop] has changed";
    assert!(said.contains(told), "{said}");
    assert!(!said.contains("metrics.host"), "{said}");
    shop.edit_site("load = { clients = 30", "load = { clients = 20");
    // Another past than the one that was written would have things done again.
    let path = shop.folder.path("state/journal.db");
    let rename = |from: &str, to: &str| {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute("UPDATE entry SET step = ?2 WHERE kind = 'step-ended' AND step = ?1", [from, to]).unwrap()
    };
    assert_eq!(rename("close", "shut"), 1);
    let said = shop.expect(3, &["resume", "--yes"]);
    assert!(said.contains("the journal is not what was written, so nobody knows what was done"), "{said}");
    assert_eq!(rename("shut", "close"), 1);
    shop.edit_site("settle = \"301ms\"", "settle = \"300ms\"");
    shop.expect(0, &["unfence"]);
    let said = shop.expect(3, &["resume", "--yes"]);
    assert!(said.contains("database shop was fenced by the run, and somebody has lifted the fence"), "{said}");
    // Somebody has started what was to be closed.
    shop.start();
    let journal = entries(&shop).len();
    let said = shop.expect(3, &["resume", "--yes"]);
    assert!(said.contains("service shop was stopped by the run, and somebody has started it"), "{said}");
    assert_eq!(entries(&shop).len(), journal, "a refusal writes nothing");
    // The other way out.
    let said = shop.expect(0, &["rollback", "--run", "1", "--yes"]);
    assert!(said.contains("runs 1.0 again"), "{said}");
    shop.is_as(&before);
    let said = shop.expect(3, &["resume", "1"]);
    assert!(said.contains("run 1 was given up"), "{said}");
}

#[test]
fn a_run_that_has_touched_nothing_is_given_up_without_a_rollback() {
    let shop = shop(Version::V2Good, "2s");
    let before = shop.proof();
    // One copy is made, another is, and nobody has written that down.
    killed_at(&shop, "after backup.take on config");
    assert!(!shop.copies().is_empty());
    shop.expect(0, &["rollback", "--run", "1", "--yes"]);
    assert_eq!(shop.copies(), [""; 0], "copies of a run that came to nothing");
    shop.is_as(&before);
    shop.expect(0, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
}

#[test]
fn what_nobody_can_tell_is_asked() {
    let shop = shop(Version::V2Good, "2s");
    killed_at(&shop, "after tool.run on migrate");
    let said = shop.expect(6, &["resume", "--yes"]);
    assert!(said.contains("IN DOUBT"), "{said}");
    let report: Value = serde_json::from_str(&shop.expect_out(&["show", "--json"])).unwrap();
    let number = report["unclear"][0]["number"].as_i64().unwrap();
    assert!(said.contains(&format!("backout resume 1 --decide {number}=done|not-done")), "{said}");
    // Of what is not in doubt nobody has to say anything.
    let said = shop.expect(3, &["resume", "--yes", "--decide", "1=done"]);
    assert!(said.contains("1 is no operation of this run whose end is not known"), "{said}");
    shop.expect(2, &["resume", "--yes", "--decide", "perhaps"]);
    let mut terminal = Terminal::backout(&shop.folder.root, "resume --yes");
    terminal.shows("has it happened? `done`, `not-done`, or nothing to stop here: ");
    terminal.types("");
    let (shown, code) = terminal.ends();
    assert_eq!(code, 6, "{shown}");
    let mut terminal = Terminal::backout(&shop.folder.root, "resume --yes");
    let question = terminal.shows("nothing to stop here: ");
    assert!(question.contains("tool.run on `migrate` was begun"), "{question}");
    // The migration takes what is migrated already as it is.
    terminal.types("not-done");
    let (shown, code) = terminal.ends();
    assert_eq!(code, 0, "{shown}");
    assert_eq!(shop.version().as_deref(), Some("2.0.1"));
    assert!(entries(&shop).iter().any(|r| matches!(&r.entry, Entry::Decided { done: false, .. })));
    shop.expect(0, &["replay"]);
}

#[test]
fn a_step_that_failed_is_tried_again_or_left_out() {
    let shop = shop(Version::V2Bad, "1s");
    let before = shop.proof();
    // Whoever has it open keeps the tree from being exchanged.
    let holder = File::open(shop.folder.path("srv/app/versions/1.0")).unwrap();
    let package = shop.package();
    shop.expect(5, &["upgrade", "--yes", package.to_str().unwrap()]);
    let said = shop.expect(5, &["resume", "--yes"]);
    assert!(said.contains("rollback/restore"), "{said}");
    let said = shop.expect(3, &["resume", "--yes", "--skip", "rollback/stop"]);
    assert!(said.contains("no step `rollback/stop` that was begun and is not done"), "{said}");
    assert!(said.contains("rollback/restore"), "it says which there are: {said}");
    // Without its data the old version cannot go on; what that means is said before.
    let mut terminal = Terminal::backout(&shop.folder.root, "resume --skip rollback/restore");
    let said = terminal.shows("[y/N]");
    assert!(said.contains("rollback/restore will not be run, and counts as done"), "{said}");
    assert!(said.contains("stays as it is   tree app: not restored"), "{said}");
    assert!(!said.contains("not begun"), "what comes next is not left out: {said}");
    terminal.types("n");
    assert_eq!(terminal.ends().1, 3);
    drop(holder);
    let said = shop.expect(4, &["resume", "--yes"]);
    assert!(said.contains("runs 1.0 again"), "{said}");
    shop.is_as(&before);
    let attempts: Vec<u32> = entries(&shop)
        .iter()
        .filter(|r| r.place.title() == "rollback/restore" && r.entry == Entry::StepStarted)
        .map(|r| r.place.attempt)
        .collect();
    assert_eq!(attempts, [1, 2, 3]);
    shop.expect(0, &["replay"]);
}

#[test]
fn another_build_is_held_against_recorded_runs() {
    let shop = shop(Version::V2Good, "1s");
    shop.expect(0, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    shop.expect(0, &["rollback", "--yes"]);
    let touched = || -> Vec<(String, Vec<u8>)> {
        let files = ["srv/data/shop.db", "srv/config/shop.toml", "state/journal.db"];
        files.iter().map(|file| (file.to_string(), fs::read(shop.folder.path(file)).unwrap())).collect()
    };
    let said = shop.expect(0, &["replay"]);
    assert!(said.contains("2 recorded runs: the script does the same in each"), "{said}");
    // On another machine, without the site.
    let elsewhere = tempfile::tempdir().unwrap();
    let file = elsewhere.path().join("run.backout-run");
    let file = file.to_str().unwrap();
    shop.expect(0, &["export", "2", file]);
    let alone =
        std::process::Command::new(BACKOUT).args(["replay", file]).current_dir(elsewhere.path()).output().unwrap();
    let said = String::from_utf8(alone.stdout).unwrap();
    assert!(alone.status.success() && said.contains("run 2 (rollback of acme/shop 2.0.1): equal"), "{said}");
    let whole = fs::read(file).unwrap();
    fs::write(file, &whole[..whole.len() / 2]).unwrap();
    shop.expect(3, &["replay", file]);
    let before = touched();
    // The same sources, built now, are another file, and the same script.
    let other = shop.folder.path("packages/other");
    fs::create_dir_all(&other).unwrap();
    let copied = std::process::Command::new("cp").args(["-a", "--"]).arg(shop.package().join(".")).arg(&other).status();
    assert!(copied.unwrap().success());
    shop.expect(0, &["replay", "--package", other.to_str().unwrap()]);
    // One that does something else.
    fs::write(other.join("shop.wasm"), &guests::every_call().component).unwrap();
    let package = other.to_str().unwrap();
    let said = shop.expect(10, &["replay", "--package", package]);
    assert!(said.contains("2 of 2 recorded runs would go differently with this package"), "{said}");
    let found: Value = {
        let output = shop.backout(&["replay", "1", "--package", package, "--json"]);
        assert_eq!(output.status.code(), Some(10));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    assert_eq!((&found[0]["run"], &found[0]["equal"]), (&1.into(), &false.into()));
    assert!(!found[0]["differences"].as_array().unwrap().is_empty());
    edit(&other.join("package.toml"), "name = \"acme/shop\"", "name = \"acme/other\"");
    shop.expect(3, &["replay", "1", "--package", package]);
    shop.expect(3, &["replay", "9"]);
    assert_eq!(touched(), before, "a replay touches nothing");
}
