//! The packages that dry runs must find fault with, and those that they must not: here, that each is what it is meant to be.
use crate::support::{
    faulty::{self, FAULTS, RIGHT},
    packages::Folder,
    run::Trial,
    shop::Shop,
};
use backout::{cli::demo::releases::Version, package::Package, run::Phase};
use expect_test::expect;
use std::{fmt::Write, fs, thread};

/// A phase and the steps that it plans, or that it cannot plan.
async fn planned(variant: &str) -> Vec<String> {
    let folder = Folder::new();
    faulty::write(variant, Version::V2Good, folder.path());
    let package = Package::open(folder.path()).unwrap();
    let setting = package.manifest.settings["variant"].default.as_ref().unwrap().to_string();
    let trial = Trial::begin(&package.script, &[("variant", &setting)]);
    let mut phases = Vec::new();
    for phase in [Phase::Prepare, Phase::Upgrade, Phase::Verify, Phase::Rollback] {
        let steps = match trial.run.plan(phase, phase == Phase::Rollback).await {
            Ok(steps) if steps.is_empty() => "nothing".to_owned(),
            Ok(steps) => steps.into_iter().map(|step| step.name).collect::<Vec<_>>().join(", "),
            Err(halt) => halt.to_string(),
        };
        phases.push(format!("{}: {steps}", phase.as_str()));
    }
    phases
}

/// Most differ only in what a step does.
#[tokio::test]
async fn each_plans_as_the_plain_one_but_for_its_fault() {
    let plain = planned("").await;
    let mut text = plain.join("\n") + "\n";
    for variant in RIGHT.iter().chain(FAULTS).filter(|variant| !variant.is_empty()) {
        let planned = planned(variant).await;
        for other in planned.iter().filter(|phase| !plain.contains(phase)) {
            writeln!(text, "{variant} {other}").unwrap();
        }
    }
    expect![[r#"
        prepare: copy
        upgrade: close, install, open, watch
        verify: answers
        rollback: stop, restore, reopen
        asks-while-planning rollback: rollback: probe.check on `shop` needs the right `get`, which is not granted (denied)
        no-rollback rollback: nothing
        restores-first rollback: restore, stop, reopen
        stays-down rollback: stop, restore
        unreachable upgrade: close, install, open, watch, confirm, announce
    "#]].assert_eq(&text);
}

#[test]
fn the_greedy_one_asks_for_a_right_more() {
    let asks = |variant| {
        let folder = Folder::new();
        faulty::write(variant, Version::V2Good, folder.path());
        let said = folder.backout(&["inspect", "--json", "."]);
        assert_eq!(said.code, 0, "{}", said.whole());
        let said: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let needs = said["needs"].as_array().unwrap().iter();
        let need = |need: &serde_json::Value| format!("{} {}: {}\n", need["kind"], need["label"], need["rights"]);
        needs.map(need).collect::<String>().replace('"', "")
    };
    expect![[r#"
        database orders: [read,backup,restore,fence]
        tree app: [write,backup,restore]
        service shop: [control]
        metrics shop: [read]
        probe shop: [get]
        tool migrate: [run]
    "#]]
    .assert_eq(&asks(""));
    let more = asks("greedy").replace("[read,write,", "[read,");
    assert_ne!(asks("greedy"), more);
    assert_eq!(asks(""), more);
}

#[test]
fn the_plain_one_upgrades_and_goes_back() {
    let shop = Shop::running(Version::V2Good);
    let before = shop.proof();
    let package = shop.package();
    faulty::write("", Version::V2Good, &package);
    shop.expect(0, &["upgrade", "--yes", package.to_str().unwrap()]);
    assert_eq!(shop.version().as_deref(), Some("2.0.1"));
    shop.expect(0, &["rollback", "--yes"]);
    shop.is_as(&before);
}

/// How a real upgrade with this variant ends, when the site's tool for the migration does this.
fn ends(variant: &str, upgrade: Version, migrate: &str) -> String {
    let shop = Shop::running(Version::V2Bad);
    let before = shop.proof();
    faulty::write(variant, upgrade, &shop.package());
    let tool = r#"run = ["srv/app/current/bin/shop", "migrate", "--config", "srv/config/shop.toml"]"#;
    shop.edit_site(tool, &format!("run = {:?}", ["sh", "-c", migrate]));
    let output = shop.backout(&["upgrade", "--yes", shop.package().to_str().unwrap()]);
    let report = fs::read_to_string(shop.folder.path("state/runs/1/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let ending = |key| report["ending"][key].as_str().unwrap();
    let because = ending("message").split(':').next().filter(|at| !at.is_empty());
    let ended = [Some(ending("outcome")), because].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let serves = shop.version().unwrap_or_else(|| "nothing".to_owned());
    let as_before = if shop.proof().differences(&before).is_empty() { "as before" } else { "not as before" };
    let code = output.status.code().unwrap();
    format!("{variant:?}: exit {code}, {ended}; data and files {as_before}, {serves} serves\n")
}

/// Of several variants at the same time, since each mostly waits.
fn all_end(variants: &[&str], upgrade: Version, migrate: &str) -> String {
    thread::scope(|scope| {
        let run = |&variant| scope.spawn(move || ends(variant, upgrade, migrate));
        let runs: Vec<_> = variants.iter().map(run).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    })
}

const MIGRATE: &str = "srv/app/current/bin/shop migrate --config srv/config/shop.toml";

#[test]
fn faults_that_show_when_the_new_version_is_bad() {
    let variants = ["", "polls", "forgets", "ignores", "left-fenced", "no-rollback", "restores-first", "stays-down"];
    expect![[r#"
        "": exit 4, rolled-back: upgrade/watch; data and files as before, 1.0.0 serves
        "polls": exit 4, rolled-back: upgrade/watch; data and files as before, 1.0.0 serves
        "forgets": exit 5, stopped: rollback/reopen; data and files not as before, nothing serves
        "ignores": exit 0, upgraded; data and files not as before, 2.0.0 serves
        "left-fenced": exit 4, rolled-back: upgrade/install; data and files as before, 1.0.0 serves
        "no-rollback": exit 5, stopped: the script has no steps for a rollback; data and files not as before, 2.0.0 serves
        "restores-first": exit 5, stopped: rollback/restore; data and files not as before, 2.0.0 serves
        "stays-down": exit 5, stopped: verify/answers; data and files as before, nothing serves
    "#]]
    .assert_eq(&all_end(&variants, Version::V2Bad, MIGRATE));
}

#[test]
fn faults_that_show_when_the_migration_fails() {
    let variants = ["", "asks-while-planning", "forgets-at-times"];
    expect![[r#"
        "": exit 4, rolled-back: upgrade/install; data and files as before, 1.0.0 serves
        "asks-while-planning": exit 5, stopped: rollback; data and files not as before, nothing serves
        "forgets-at-times": exit 5, stopped: rollback/reopen; data and files not as before, nothing serves
    "#]]
    .assert_eq(&all_end(&variants, Version::V2Good, "exit 1"));
}

/// With its copy gone the database cannot be restored.
#[test]
fn faults_that_show_when_a_restore_fails() {
    let migrate = format!("{MIGRATE} && find srv/data -name 'standby*' -exec rm -r {{}} + && exit 1");
    expect![[r#"
        "": exit 5, stopped: rollback/restore; data and files not as before, nothing serves
        "swallows": exit 5, stopped: rollback/reopen; data and files not as before, nothing serves
    "#]]
    .assert_eq(&all_end(&["", "swallows"], Version::V2Good, &migrate));
}

#[test]
fn a_fault_that_shows_when_nothing_fails() {
    expect![[r#"
        "unreachable": exit 4, rolled-back: upgrade/confirm; data and files as before, 1.0.0 serves
    "#]]
    .assert_eq(&all_end(&["unreachable"], Version::V2Good, MIGRATE));
}
