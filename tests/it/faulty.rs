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

/// What shows without anything else going wrong. The other faults wait for an operation that fails, or for another hour.
#[test]
fn faults_that_every_rollback_shows_leave_a_real_one_half_way() {
    let ends = |variant: &str| {
        let shop = Shop::running(Version::V2Bad);
        let before = shop.proof();
        faulty::write(variant, Version::V2Bad, &shop.package());
        let output = shop.backout(&["upgrade", "--yes", shop.package().to_str().unwrap()]);
        let report = fs::read_to_string(shop.folder.path("state/runs/1/report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let message = report["ending"]["message"].as_str().unwrap();
        let at = message.split(':').next().unwrap();
        let serves = shop.version().unwrap_or_else(|| "nothing".to_owned());
        let as_before = if shop.proof().differences(&before).is_empty() { "as before" } else { "not as before" };
        let code = output.status.code().unwrap();
        format!("{variant:?}: exit {code}, {at}; data and files {as_before}, {serves} serves\n")
    };
    let variants = ["", "polls", "forgets", "left-fenced", "no-rollback", "restores-first", "stays-down"];
    // Each mostly waits.
    let text: String = thread::scope(|scope| {
        let ends = &ends;
        let runs: Vec<_> = variants.iter().map(|variant| scope.spawn(move || ends(variant))).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    expect![[r#"
        "": exit 4, upgrade/watch; data and files as before, 1.0.0 serves
        "polls": exit 4, upgrade/watch; data and files as before, 1.0.0 serves
        "forgets": exit 5, rollback/reopen; data and files not as before, nothing serves
        "left-fenced": exit 4, upgrade/install; data and files as before, 1.0.0 serves
        "no-rollback": exit 5, the script has no steps for a rollback; data and files not as before, 2.0.0 serves
        "restores-first": exit 5, rollback/restore; data and files not as before, 2.0.0 serves
        "stays-down": exit 5, verify/answers; data and files as before, nothing serves
    "#]]
    .assert_eq(&text);
}
