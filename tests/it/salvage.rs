//! `salvage`, as operators use it: what a rollback has set aside comes back as files that they read and apply.
use crate::{aside::gone_back, support::shop::Shop};
use backout::{
    cli::demo::releases::Version,
    journal::{Entry, Reader},
};
use rusqlite::Connection;
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Rows of a database that changed, applied by another build of SQLite, which stops at the first error.
fn apply(database: &Path, folder: &Path) -> u64 {
    let script = "import sqlite3, sys, os\nc = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)\n\
                  for name in sorted(os.listdir(sys.argv[2])):\n \
                  if name[0].isdigit(): c.executescript(open(os.path.join(sys.argv[2], name), newline='').read())\n\
                  print(c.total_changes)";
    let output = Command::new("python3").args(["-I", "-c", script]).arg(database).arg(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

fn ids(database: &Path) -> Vec<i64> {
    let database = Connection::open(database).unwrap();
    let mut statement = database.prepare("SELECT id FROM orders ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn aside(shop: &Shop) -> std::path::PathBuf {
    let listed: Vec<Value> = serde_json::from_str(&shop.expect_out(&["aside", "--json"])).unwrap();
    listed.iter().find(|aside| aside["resource"] == "database:shop").unwrap()["place"].as_str().unwrap().into()
}

#[test]
fn what_a_rollback_set_aside_comes_back_as_files() {
    let (shop, _) = gone_back();
    let database = shop.folder.database();
    let secret = "UPDATE orders SET note = 'nobody may read this' WHERE id = 1";
    Connection::open(aside(&shop)).unwrap().execute_batch("SELECT 1").unwrap();
    Connection::open(&database).unwrap().execute_batch(secret).unwrap();
    let runs = Reader::open(&shop.folder.path("state/journal.db")).unwrap().runs().unwrap().len();
    let said = shop.expect(0, &["show"]);
    assert!(said.contains("backout salvage 2"), "{said}");
    // By the run that went back; into a folder of its own.
    let said = shop.expect(0, &["salvage", "2"]);
    assert!(said.contains("Read salvage-2/README.md first; nothing was applied."), "{said}");
    let folder = shop.folder.path("salvage-2");
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    for path in [folder.clone(), folder.join("shop")] {
        assert_eq!(mode(&path), 0o700, "{path:?}");
    }
    for name in ["README.md", "shop/unmapped.md", "shop/1-inserts.sql"] {
        assert_eq!(mode(&folder.join(name)), 0o600, "{name}");
    }
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    assert!(readme.contains("# What test/forgetful 2.0.0 wrote before it was taken back"), "{readme}");
    assert!(readme.contains("Of restore point 1,") && readme.contains("| orders | 3 | 0 | 0 | 0 |"), "{readme}");
    assert!(readme.contains("triggers"), "{readme}");
    assert_eq!(
        Reader::open(&shop.folder.path("state/journal.db")).unwrap().runs().unwrap().len(),
        runs,
        "it is no run"
    );
    let before = ids(&database);
    assert_eq!(apply(&database, &folder.join("shop")), 3);
    assert_eq!(apply(&database, &folder.join("shop")), 0);
    assert_eq!(ids(&database), ids(&aside(&shop)));
    assert_eq!(ids(&database).len(), before.len() + 3);
    // Nothing is left of it but what only the old version wrote.
    let said = shop.expect(0, &["salvage", "1", "--out", "again"]);
    assert!(said.contains("What was set aside has nothing that is not live; nothing was written."), "{said}");
    assert!(!shop.folder.path("again").exists());
    let said = shop.expect(0, &["salvage", "1", "--json", "--database", "shop", "--out", "again"]);
    assert!(!said.contains("nobody may read this"), "{said}");
}

#[test]
fn it_writes_nowhere_else_and_says_what_is_wrong() {
    let (shop, _) = gone_back();
    let folder = shop.folder.path("there");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("mine"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", shop.folder.path("link")).unwrap();
    for (args, why) in [
        (&["salvage", "1", "--out", "there"][..], "there is there, and no empty folder"),
        (&["salvage", "1", "--out", "there/mine"], "is there, and no empty folder"),
        (&["salvage", "1", "--out", "link"], "link is there, and no empty folder"),
        (&["salvage", "1", "--out", "no/folder"], "there is no folder no"),
        (&["salvage", "1", "--database", "orders"], "nothing is set aside of database orders of run 1"),
        (&["salvage", "9"], "run 9 neither made a restore point nor went back to one"),
    ] {
        let said = shop.expect(3, args);
        assert!(said.contains(why), "{args:?}: {said}");
    }
    fs::remove_file(folder.join("mine")).unwrap();
    shop.expect(0, &["salvage", "1", "--out", "there"]);
    assert!(folder.join("shop/1-inserts.sql").exists());
    // Somebody else who cannot be asked: what was set aside is damaged.
    let aside = aside(&shop);
    let mut bytes = fs::read(&aside).unwrap();
    bytes[4096..].fill(0x5a);
    fs::write(&aside, bytes).unwrap();
    let said = shop.expect(1, &["salvage", "1", "--out", "damaged"]);
    assert!(said.contains("salvage database shop") && said.contains("damaged"), "{said}");
    let left = fs::read_dir(&shop.folder.root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<String> = left.filter(|name| name.contains("salvage") || name == "damaged").collect();
    assert_eq!(left, [""; 0]);
    shop.expect(0, &["aside", "drop", "1", "--yes"]);
    let said = shop.expect(3, &["salvage", "1"]);
    assert!(said.contains("nothing is set aside of any database of run 1"), "{said}");
}

/// Customers order of the new version until it is taken back, and one of the old one since.
#[test]
fn after_a_bad_upgrade_every_order_is_brought_back_or_told() {
    let shop = Shop::running(Version::V2Bad);
    let before = ids(&shop.folder.database());
    let said = shop.expect(4, &["upgrade", "--yes", shop.package().to_str().unwrap()]);
    assert!(said.contains("backout salvage 1"), "{said}");
    // Under the number of the first order that came in while 2.0 ran.
    let order = "INSERT INTO orders (customer, placed) VALUES (1, '2026-03-01')";
    Connection::open(shop.folder.database()).unwrap().execute_batch(order).unwrap();
    let salvaged: Value = serde_json::from_str(&shop.expect_out(&["salvage", "1", "--json"])).unwrap();
    let of = &salvaged["databases"][0];
    assert_eq!(of["base_known"], true, "{salvaged:#}");
    let told = of["unmapped"].to_string();
    for line in [
        "column state of orders: only the new schema has it",
        "column status of orders: the new schema does not have it",
    ] {
        assert!(told.contains(line), "{told}");
    }
    let notes = of["notes"].to_string();
    assert!(notes.contains("have triggers") && notes.contains("changed column price of products"), "{notes}");
    let folder = shop.folder.path("salvage-1/shop");
    let sheet = |name: &str| fs::read_to_string(folder.join(name)).unwrap_or_default();
    let (inserts, conflicts) = (sheet("1-inserts.sql"), sheet("conflicts.sql"));
    assert!(conflicts.contains(
        "-- \"items\": only the new version has it, and the table would not take it: it refers to a row of orders"
    ));
    let new: Vec<i64> = ids(&aside(&shop)).into_iter().filter(|id| !before.contains(id)).collect();
    assert!(!new.is_empty());
    for id in new {
        let inserted = inserts
            .contains(&format!("INSERT INTO \"orders\" (\"id\", \"customer\", \"placed\", \"total\") VALUES ({id}, "));
        let conflict = conflicts
            .contains(&format!("-- \"orders\": both versions made a row with this key\n--   key     \"id\" = {id}\n"));
        assert!(inserted != conflict, "order {id}: {inserted} {conflict}\n{conflicts}");
    }
    let journal = Reader::open(&shop.folder.path("state/journal.db")).unwrap();
    let entries = journal.entries(1).unwrap();
    assert!(entries.iter().any(|recorded| matches!(recorded.entry, Entry::RunEnded(_))));
}
