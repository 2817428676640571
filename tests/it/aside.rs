//! `aside`, as operators use it: what rollbacks have set aside is listed, stays, and goes.
use crate::{half_way::forgetful, retention::open, support::shop::Shop};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{fs, os::unix::process::ExitStatusExt};

/// Gone back from an upgrade after which three orders came in, and the package's path. The restore point is run 1.
pub fn gone_back() -> (Shop, String) {
    let (shop, package) = forgetful("true");
    shop.edit_site("[tool.meanwhile]\n", "[tool.meanwhile]\nuses = [\"shop\"]\n");
    shop.expect(0, &["upgrade", "--yes", &package]);
    let more = "CREATE TEMP TABLE more AS SELECT * FROM orders LIMIT 3;
        UPDATE more SET id = id + 1000000; INSERT INTO orders SELECT * FROM more";
    Connection::open(shop.folder.database()).unwrap().execute_batch(more).unwrap();
    shop.expect(0, &["rollback", "--yes"]);
    (shop, package)
}

fn listed(shop: &Shop) -> Vec<Value> {
    serde_json::from_str(&shop.expect_out(&["aside", "--json"])).unwrap()
}

fn resources(shop: &Shop) -> Vec<String> {
    listed(shop).iter().map(|aside| aside["resource"].as_str().unwrap().to_owned()).collect()
}

fn state(shop: &Shop, run: u64) -> Value {
    let points: Vec<Value> = serde_json::from_str(&shop.expect_out(&["restore-points", "--all", "--json"])).unwrap();
    points.iter().find(|point| point["run"] == run).unwrap()["state"].clone()
}

#[test]
fn what_was_set_aside_is_listed() {
    let shop = Shop::new(backout::cli::demo::releases::Version::V2Good);
    assert!(shop.expect(0, &["aside"]).contains("nothing is set aside"));
    let (shop, _) = gone_back();
    let said = shop.expect(0, &["aside"]);
    assert!(said.contains("database shop") && said.contains("3 in orders") && said.contains("until 20"), "{said}");
    let listed = listed(&shop);
    assert_eq!(listed.len(), 2, "{listed:#?}");
    let database = listed.iter().find(|aside| aside["resource"] == "database:shop").unwrap();
    assert_eq!((&database["run"], &database["package"]), (&json!(1), &json!("test/forgetful")));
    assert_eq!(database["lost"], json!([{ "part": "orders", "rows": 3, "changed": 0, "missing": 0 }]));
    assert_eq!((&database["kept_for_good"], &database["kept_by_word"]), (&json!(false), &json!(false)));
    let place = database["place"].as_str().unwrap();
    let orders: i64 =
        Connection::open(place).unwrap().query_row("SELECT max(id) FROM orders", [], |r| r.get(0)).unwrap();
    assert!(orders > 1_000_000);
    assert!(database["bytes"].as_u64().unwrap() >= fs::metadata(place).unwrap().len() / 2, "{database}");
    database["kept_until"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn what_is_to_stay_stays_until_somebody_drops_it() {
    let (shop, _) = gone_back();
    shop.edit_site("keep-aside = \"14d\"", "keep-aside = \"1ms\"");
    for wrong in [&["keep", "1"][..], &["keep", "1", "--for", "long"], &["keep", "1", "--forever", "--for", "1d"]] {
        shop.expect(2, &[&["aside"], wrong].concat());
    }
    for (args, why) in [
        (["aside", "keep", "77", "--forever"], "run 77 neither made a restore point nor went back to one"),
        (["aside", "drop", "1", "database.orders"], "nothing called database.orders is set aside of run 1"),
    ] {
        let said = shop.expect(3, &args);
        assert!(said.contains(why), "{said}");
    }
    // By the number of the run that went back, too.
    shop.expect(0, &["aside", "keep", "2", "database.shop", "--forever"]);
    let said = shop.expect(0, &["aside"]);
    assert!(said.contains("for good") && said.contains("until 20"), "{said}");
    let said = shop.expect(0, &["restore-points", "prune", "--keep", "0", "--yes", "--even-the-last"]);
    let why = "estore point 1 stays: what was set aside of database shop is kept for good (`aside keep`)";
    assert!(said.contains(why), "{said}");
    for args in [&["restore-points", "delete", "1", "--yes", "--even-the-last"][..], &["commit", "--yes"]] {
        let said = shop.expect(3, args);
        assert!(said.contains(why) && said.contains("`backout aside drop 1`"), "{said}");
    }
    let said = shop.expect(3, &["aside", "drop", "1", "shop"]);
    assert!(said.contains("no terminal") && said.contains("3 in orders"), "{said}");
    assert_eq!(resources(&shop).len(), 2);
    let copies = shop.copies();
    shop.expect(0, &["aside", "drop", "1", "shop", "--yes"]);
    assert_eq!(resources(&shop), ["tree:config"]);
    assert_eq!(shop.copies().len(), copies.len() - 1, "{copies:?}");
    assert_eq!(state(&shop, 1), "restored");
    shop.expect(3, &["aside", "drop", "1", "shop", "--yes"]);
    // What was said last counts.
    shop.expect(0, &["aside", "keep", "1", "--for", "1d"]);
    shop.expect(3, &["restore-points", "delete", "1", "--yes"]);
    shop.expect(0, &["aside", "keep", "1", "--for", "1ms"]);
    shop.expect(0, &["restore-points", "delete", "1", "--yes"]);
    assert_eq!((shop.copies(), resources(&shop)), (Vec::new(), Vec::new()));
    assert_eq!(state(&shop, 1), "committed");
    shop.expect(0, &["audit"]);
}

#[test]
fn a_commit_of_what_is_newer_leaves_alone_what_is_to_stay() {
    let (shop, package) = gone_back();
    shop.expect(0, &["aside", "keep", "1", "--forever"]);
    shop.expect(0, &["upgrade", "--yes", &package]);
    let said = shop.expect(0, &["commit", "--yes"]);
    assert!(said.contains("Restore point 1 stays: what was set aside of"), "{said}");
    assert_eq!(resources(&shop).len(), 2);
    assert_eq!(state(&shop, 1), "restored");
}

#[test]
fn what_a_run_needs_is_not_dropped() {
    let (shop, package) = forgetful("true");
    shop.edit_site("[tool.meanwhile]\n", "[tool.meanwhile]\nuses = [\"shop\"]\n");
    shop.expect(0, &["upgrade", "--yes", &package]);
    let holder = fs::File::open(shop.folder.path("srv/config/note.txt")).unwrap();
    shop.expect(5, &["rollback", "--yes"]);
    assert_eq!(resources(&shop), ["database:shop"]);
    let said = shop.expect(3, &["aside", "drop", "1", "--yes"]);
    assert!(said.contains("run 2 did not come to its end, and needs restore point 1"), "{said}");
    drop(holder);
    shop.expect(0, &["rollback", "--yes"]);
    shop.expect(0, &["aside", "drop", "1", "--yes"]);
    assert_eq!(shop.copies(), [""; 0]);
}

#[test]
fn what_is_killed_anywhere_is_finished_by_saying_it_again() {
    let (shop, _) = gone_back();
    let mut points = 0;
    for action in [["keep", "1", "--forever"], ["drop", "1", "--yes"]] {
        for point in 1.. {
            let said = [&["aside"], &action[..]].concat();
            let killed = shop.command(&said).env("BACKOUT_CRASH_AT", point.to_string()).output().unwrap();
            if killed.status.code() == Some(0) {
                break;
            }
            // Dropped, and the run had only its end to write.
            if killed.status.code() == Some(3) {
                assert_eq!((action[0], resources(&shop)), ("drop", Vec::new()), "{killed:?}");
                break;
            }
            assert_eq!(killed.status.signal(), Some(9), "{killed:?}");
            points += 1;
        }
    }
    assert!(points > 4, "{points} points");
    assert_eq!(shop.copies(), [""; 0]);
    shop.backout(&["aside", "drop", "1", "--yes"]);
    assert_eq!(open(&shop), [0; 0]);
    shop.expect(0, &["audit"]);
}
