//! Upgrades and rollbacks that are tried on copies: real operations, and nothing live is touched.
mod copying;
mod cut_off;
mod twins;

use crate::support::{faulty, shop::Shop};
use backout::cli::demo::releases::Version;
use serde_json::Value;
use std::{fs, path::Path};

fn package(shop: &Shop) -> String {
    shop.package().to_str().unwrap().to_owned()
}

/// With 1.0 installed and not running, so that nobody writes; and a package of this variant.
fn still(variant: &str) -> Shop {
    let shop = Shop::new(Version::V2Good);
    faulty::write(variant, Version::V2Good, &shop.package());
    shop
}

fn rehearse(shop: &Shop, code: i32) -> Value {
    let output = shop.backout(&["rehearse", "--json", "--rate", "0", &package(shop)]);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{err}\n{}", String::from_utf8_lossy(&output.stdout));
    assert!(!shop.folder.path("state/rehearsal").exists(), "{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Every file below a folder, with its content; what readers of a write-ahead log keep beside a database comes and goes.
fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let name = path.display().to_string();
            if kind.is_dir() {
                folders.push(path);
                found.push((name, Vec::new()));
            } else if kind.is_symlink() {
                found.push((name, fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()));
            } else if !name.ends_with("-shm") && !name.ends_with("-wal") {
                found.push((name, fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn findings(came: &Value) -> Vec<String> {
    let findings = came["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| format!("{}: {}", finding["what"].as_str().unwrap(), finding["text"].as_str().unwrap()))
        .collect()
}

#[test]
fn what_comes_back_as_it_was_has_no_findings_and_nothing_live_is_touched() {
    let shop = Shop::running(Version::V2Good);
    let srv = shop.folder.path("srv");
    let (before, version) = (content(&srv), shop.version());
    let came = rehearse(&shop, 0);
    assert_eq!(findings(&came), [""; 0]);
    assert_eq!(
        (&came["upgrade"]["outcome"], &came["rollback"]["outcome"]),
        (&"upgraded".into(), &"rolled-back".into())
    );
    let names =
        |list: &Value| list.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&came["simulated"]), ["metrics:shop", "probe:shop", "service:shop", "tool:migrate"]);
    assert_eq!(names(&came["twins"]), [""; 0]);
    let copies: Vec<&String> = came["room"]["copies"].as_object().unwrap().keys().collect();
    assert_eq!(copies, ["database:shop", "tree:app", "tree:config"]);
    assert_eq!(shop.version(), version);
    // Customers go on ordering; all else is as it was.
    let others = |content: &[(String, Vec<u8>)]| {
        content.iter().filter(|(n, _)| !n.ends_with("shop.db")).cloned().collect::<Vec<_>>()
    };
    assert!(others(&content(&srv)) == others(&before));
    shop.expect(0, &["audit"]);
}

#[test]
fn what_a_rollback_forgets_is_found_by_comparing() {
    let shop = still("forgets");
    let srv = shop.folder.path("srv");
    let before = content(&srv);
    let came = rehearse(&shop, 10);
    let found = findings(&came);
    assert!(
        found.iter().any(|f| f.starts_with(
            "not-restored: tree app: current has other content (changed first by upgrade/install: files.install app)"
        )),
        "{found:?}"
    );
    assert!(found.iter().all(|f| f.starts_with("not-restored: tree app: ")), "{found:?}");
    assert!(content(&srv) == before);
}

#[test]
fn an_upgrade_that_does_not_hold_is_a_finding() {
    let shop = still("");
    let before = content(&shop.folder.path("srv"));
    // What the package brings cannot be unpacked.
    fs::write(shop.package().join("dist/shop-2.0.tar.zst"), b"no archive").unwrap();
    let found = findings(&rehearse(&shop, 10));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("not-upgraded: it was taken back, because upgrade/install: "), "{found:?}");
    assert!(content(&shop.folder.path("srv")) == before);
    let said = shop.expect(0, &["runs"]);
    assert!(said.contains("rehearse  acme/shop 2.0.0  rehearsed, 1 finding"), "{said}");
    let said = shop.expect(0, &["show"]);
    assert!(said.contains("1 finding: it was taken back"), "{said}");
}

#[test]
fn a_site_can_require_a_rehearsal_of_the_very_package() {
    let shop = still("");
    let before = content(&shop.folder.path("srv"));
    shop.edit_site(
        "tool.migrate    = { may = [\"run\"] }",
        "tool.migrate    = { may = [\"run\"] }\nrequire.rehearsed-within = \"1h\"",
    );
    let package = package(&shop);
    let refused = |why: &str| {
        let said = shop.expect(3, &["upgrade", "--yes", &package]);
        assert!(said.contains(&format!("acme/shop must have been rehearsed within 1h, and {why}")), "{said}");
        assert!(said.contains(&format!("backout rehearse {package}")), "{said}");
        let said = shop.expect(10, &["plan", &package]);
        assert!(said.contains("✗ not-rehearsed") && said.contains(why), "{said}");
        assert!(content(&shop.folder.path("srv")) == before);
    };
    refused("there was none of this very package");
    let archive = shop.package().join("dist/shop-2.0.tar.zst");
    let good = fs::read(&archive).unwrap();
    fs::write(&archive, b"no archive").unwrap();
    rehearse(&shop, 10);
    refused("the newest (run 1) had findings");
    fs::write(&archive, good).unwrap();
    refused("there was none of this very package");
    rehearse(&shop, 0);
    shop.expect(0, &["plan", &package]);
    // One that was good some time ago is good for as long as the site says.
    shop.edit_site("rehearsed-within = \"1h\"", "rehearsed-within = \"1ms\"");
    let said = shop.expect(3, &["upgrade", "--yes", &package]);
    assert!(said.contains("within 1ms, and the newest without findings (run 2) began "), "{said}");
    shop.edit_site("rehearsed-within = \"1ms\"", "rehearsed-within = \"1h\"");
    // Nobody is served: the upgrade begins, and is taken back as nobody is measured. That it may begin is what counts here.
    let said = shop.backout(&["upgrade", "--yes", &package]);
    assert_ne!(said.status.code(), Some(3), "{}", String::from_utf8_lossy(&said.stderr));
}

#[test]
fn what_was_real_is_what_the_next_plan_reckons_with() {
    let shop = still("");
    let package = package(&shop);
    let estimates = || {
        let plan: Value = serde_json::from_str(&shop.expect_out(&["plan", "--json", &package])).unwrap();
        let steps = plan["steps"].as_array().unwrap().iter();
        let step = |step: &Value| format!("{} {}", step["name"].as_str().unwrap(), step["measured_runs"]);
        steps.map(step).collect::<Vec<_>>()
    };
    assert_eq!(estimates(), ["copy 0", "close 0", "install 0", "open 0", "watch 0", "answers 0"]);
    let came = rehearse(&shop, 0);
    let real: Vec<_> = came["steps"].as_array().unwrap().iter().filter(|step| step["simulated"].is_null()).collect();
    assert_eq!(real.iter().map(|step| step["name"].as_str().unwrap()).collect::<Vec<_>>(), ["copy", "restore"]);
    // Without the service and the tool nobody knows how long the others take.
    assert_eq!(estimates(), ["copy 1", "close 0", "install 0", "open 0", "watch 0", "answers 0"]);
    rehearse(&shop, 0);
    assert_eq!(estimates()[0], "copy 2");
    shop.expect(0, &["audit"]);
}
