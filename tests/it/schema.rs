//! The schema revisions between which a package goes: nothing begins from another one, an upgrade that does not get there is taken
//! back, and a rollback throws away no schema that the package does not know.
use crate::{
    package,
    support::{
        bench::PATIENCE,
        faulty,
        packages::Folder,
        shop::{Shop, edit},
    },
};
use backout::{
    cli::demo::releases::Version,
    journal::{Entry, Reader, Recorded},
    package::Package,
};
use expect_test::{Expect, expect};
use serde_json::Value;
use std::{fs, path::Path};

const DECLARED: &str = "revision = \"PRAGMA user_version\"\nfrom = \"1\"\nto = \"2\"";

/// With 1.0 serving from schema 1, and an upgrade that goes well.
fn shop() -> Shop {
    Shop::running(Version::V2Good)
}

/// Another declaration of the package.
fn declare(shop: &Shop, declared: &str) {
    edit(&shop.package().join("package.toml"), DECLARED, declared);
}

fn package(shop: &Shop) -> String {
    shop.package().to_str().unwrap().to_owned()
}

/// As somebody who uses the database beside Backout.
fn execute(database: &Path, sql: &str) {
    let db = rusqlite::Connection::open(database).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    db.execute_batch(sql).unwrap();
}

fn revision(shop: &Shop) -> i64 {
    let db = rusqlite::Connection::open(shop.folder.database()).unwrap();
    db.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

fn entries(shop: &Shop) -> Vec<Recorded> {
    match Reader::find(&shop.folder.path("state/journal.db")).unwrap() {
        Some(reader) => reader.since(0).unwrap(),
        None => Vec::new(),
    }
}

fn runs(shop: &Shop) -> usize {
    entries(shop).iter().filter(|recorded| matches!(recorded.entry, Entry::RunStarted(_))).count()
}

#[test]
fn a_package_does_not_begin_from_another_schema() {
    let shop = shop();
    let package = package(&shop);
    shop.expect(0, &["check", &package]);
    shop.expect(0, &["plan", &package]);
    declare(&shop, "revision = \"PRAGMA user_version\"\nfrom = [\"16\", \"15\"]\nto = \"17\"");
    let (before, told) =
        (shop.proof(), "database shop has the schema revision 1; acme/shop 2.0.1 goes from 16 or 15 to 17");
    for command in ["upgrade", "prepare"] {
        let said = shop.expect(3, &[command, "--yes", &package]);
        assert!(said.contains(told), "{said}");
        assert!(said.contains("package.toml:31:8: "), "{said}");
    }
    let said = shop.expect(10, &["plan", &package]);
    assert!(said.contains("✗ other-schema") && said.contains(told), "{said}");
    // Of an invented world nobody can say it, nor of a version that is only supposed.
    shop.expect(0, &["plan", "--offline", &package]);
    shop.expect(0, &["plan", "--from", "1.0.0", &package]);
    let said = shop.expect(3, &["check", &package]);
    assert!(said.contains(told), "{said}");
    let note = said.lines().find(|line| line.trim_end().ends_with("database shop has the schema revision 1"));
    assert!(note.is_some(), "{said}");
    assert_eq!(runs(&shop), 0);
    assert_eq!(shop.copies(), [""; 0]);
    shop.is_as(&before);
}

#[test]
fn a_revision_that_nobody_can_tell_is_a_refusal() {
    let shop = shop();
    let before = shop.proof();
    let package = package(&shop);
    let mut declared = DECLARED.to_owned();
    for (query, why) in [
        ("SELECT version FROM schema_migrations", "no such table: schema_migrations"),
        (
            "SELECT id, id FROM orders LIMIT 1",
            "the query answers a row of 2 columns; a revision is one row of one column",
        ),
        ("SELECT id FROM orders LIMIT 3", "the query answers 3 rows"),
        ("SELECT id FROM orders WHERE id < 0", "the query answers no row"),
        ("SELECT NULL", "the query answers nothing"),
        ("SELECT hex(zeroblob(101))", "the query answers more than 200 characters"),
        ("PRAGMA user_version = 2", "not authorized"),
        ("UPDATE orders SET status = 'lost' RETURNING id", "not authorized"),
        ("SELECT 1; SELECT 2", "only one statement is allowed here"),
        ("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i FROM n", "the answer has more than"),
    ] {
        let wrong = format!("revision = \"{query}\"\nfrom = \"1\"\nto = \"2\"");
        edit(&shop.package().join("package.toml"), &declared, &wrong);
        declared = wrong;
        let said = shop.expect(3, &["upgrade", "--yes", &package]);
        assert!(said.contains("nobody can tell the schema of database shop: "), "{query}: {said}");
        assert!(said.contains(why), "{query}: {said}");
    }
    shop.expect(10, &["plan", &package]);
    shop.expect(3, &["check", &package]);
    assert_eq!(runs(&shop), 0);
    shop.is_as(&before);
}

#[test]
fn what_a_revision_says_is_shown_and_not_obeyed() {
    let shop = shop();
    declare(
        &shop,
        "revision = \"SELECT char(27) || '[2J' || char(8238) || char(10) || 'x'\"\nfrom = \"1\"\nto = \"2\"",
    );
    let said = shop.expect(3, &["upgrade", "--yes", &package(&shop)]);
    assert!(said.contains("has the schema revision \u{fffd}[2J\u{fffd}\u{fffd}x; acme/shop"), "{said}");
    let said = shop.expect(10, &["plan", &package(&shop)]);
    assert!(!said.contains('\u{1b}') && !said.contains('\u{202e}'), "{said}");
}

#[test]
fn an_upgrade_that_does_not_get_there_is_taken_back() {
    let shop = shop();
    let before = shop.proof();
    declare(&shop, "revision = \"PRAGMA user_version\"\nfrom = \"1\"\nto = \"3\"");
    let said = shop.expect(4, &["upgrade", "--yes", &package(&shop)]);
    let why = "the schema of database shop: it is at 2, the upgrade goes to 3";
    assert!(said.contains(why), "{said}");
    shop.is_as(&before);
    assert_eq!(revision(&shop), 1);
    let because = entries(&shop).into_iter().find_map(|recorded| match recorded.entry {
        Entry::TurnedBack { because } => Some(because),
        _ => None,
    });
    assert_eq!(because.unwrap(), format!("{why} (failed)"));
    let report: Value =
        serde_json::from_str(&std::fs::read_to_string(shop.folder.path("state/runs/1/report.json")).unwrap()).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["operation"] == "database.check-revision").unwrap();
    assert_eq!(
        (check["result"].as_str(), check["detail"].as_str()),
        (Some("failed"), Some("it is at 2, the upgrade goes to 3"))
    );
    shop.expect(0, &["audit"]);
    shop.expect(0, &["replay", "1"]);
}

#[test]
fn a_finished_upgrade_is_taken_back_from_what_it_knows_alone() {
    let shop = shop();
    let before = shop.proof();
    shop.expect(0, &["upgrade", "--yes", &package(&shop)]);
    let report = std::fs::read_to_string(shop.folder.path("state/runs/1/report.md")).unwrap();
    assert!(report.contains("the schema of orders is at 2"), "{report}");
    execute(&shop.folder.database(), "PRAGMA user_version = 18");
    for arguments in [&["rollback", "--yes"][..], &["rollback", "--yes", "--from", "restore"]] {
        let said = shop.expect(3, arguments);
        let told = "database shop has the schema revision 18; acme/shop 2.0.1 goes from 1 to 2: somebody has gone on since, and going back would throw that away";
        assert!(said.contains(told), "{said}");
        assert!(said.contains("`--despite-schema` goes back all the same"), "{said}");
    }
    assert_eq!((runs(&shop), shop.version().as_deref(), revision(&shop)), (1, Some("2.0.1"), 18));
    shop.expect(0, &["rollback", "--yes", "--despite-schema"]);
    let waived = entries(&shop).into_iter().filter_map(|recorded| match recorded.entry {
        Entry::Said { text, .. } if recorded.run == 2 => Some(text),
        _ => None,
    });
    let told = "database shop has the schema revision 18; acme/shop 2.0.1 goes from 1 to 2: somebody has gone on since";
    let waived: Vec<String> = waived.collect();
    assert!(waived.iter().any(|text| text.starts_with(told)), "{waived:?}");
    assert_eq!(revision(&shop), 1);
    shop.is_as(&before);
}

#[test]
fn a_finished_upgrade_is_taken_back_from_either_end() {
    for live in [1, 2] {
        let shop = shop();
        shop.expect(0, &["upgrade", "--yes", &package(&shop)]);
        execute(&shop.folder.database(), &format!("PRAGMA user_version = {live}"));
        shop.expect(0, &["rollback", "--yes"]);
        assert_eq!(revision(&shop), 1);
    }
}

#[test]
fn a_schema_that_nobody_can_tell_keeps_a_rollback_back_until_somebody_says_so() {
    let shop = shop();
    let before = shop.proof();
    declare(
        &shop,
        "revision = \"SELECT CASE WHEN stock = 0 THEN '0' ELSE '1' END FROM products WHERE id = 1\"\nfrom = \"1\"\nto = \"1\"",
    );
    shop.expect(0, &["upgrade", "--yes", &package(&shop)]);
    execute(&shop.folder.database(), "ALTER TABLE products RENAME COLUMN stock TO pieces");
    let said = shop.expect(3, &["rollback", "--yes"]);
    assert!(said.contains("nobody can tell the schema of database shop: "), "{said}");
    shop.expect(0, &["rollback", "--yes", "--despite-schema"]);
    shop.is_as(&before);
}

/// Half a migration is what has to be taken back.
#[test]
fn what_is_half_way_is_taken_back_whatever_its_schema() {
    for (way, crash) in [("rollback", "after tool.run on migrate"), ("resume", "before backup.restore on orders")] {
        let shop = shop();
        let before = shop.proof();
        if way == "resume" {
            declare(&shop, "revision = \"PRAGMA user_version\"\nfrom = \"1\"\nto = \"3\"");
        }
        let crashed =
            shop.command(&["upgrade", "--yes", &package(&shop)]).env("BACKOUT_CRASH_AT", crash).output().unwrap();
        assert!(!crashed.status.success(), "{crashed:?}");
        execute(&shop.folder.database(), "PRAGMA user_version = 77");
        match way {
            "rollback" => shop.expect(0, &["rollback", "--yes", "--run", "1"]),
            _ => shop.expect(4, &["resume", "--yes"]),
        };
        assert_eq!(revision(&shop), 1, "{way}");
        shop.is_as(&before);
    }
}

#[test]
fn without_a_query_the_declarations_of_the_database_count() {
    let shop = shop();
    let nothing = format!("sha256:{}", "0".repeat(64));
    // The example's own script also watches how fast 2.0 answers, which a busy machine decides.
    faulty::write("", Version::V2Good, &shop.package());
    let manifest = shop.package().join("package.toml");
    let declared = format!("\n[schema.orders]\nfrom = \"{nothing}\"\nto = \"{nothing}\"\n");
    fs::write(&manifest, fs::read_to_string(&manifest).unwrap() + &declared).unwrap();
    let said = shop.expect(3, &["check", &package(&shop)]);
    let live = |said: &str| {
        let (_, live) = said.split_once("database shop has the schema ").unwrap();
        live[..71].to_owned()
    };
    let first = live(&said);
    assert!(first.starts_with("sha256:"), "{first}");
    // Rows do not count.
    execute(&shop.folder.database(), "UPDATE orders SET status = 'sent' WHERE id = 1");
    edit(&manifest, &format!("from = \"{nothing}\""), &format!("from = [\"{first}\"]"));
    let said = shop.expect(4, &["upgrade", "--yes", &package(&shop)]);
    let (_, reached) = said.split_once("the schema of database shop: it is at ").unwrap();
    let reached = reached[..71].to_owned();
    assert_ne!(reached, first);
    edit(&manifest, &format!("to = \"{nothing}\""), &format!("to = \"{reached}\""));
    shop.expect(0, &["upgrade", "--yes", &package(&shop)]);
    execute(&shop.folder.database(), "CREATE TABLE later (id)");
    let said = shop.expect(3, &["rollback", "--yes"]);
    assert!(!said.contains(&reached[..60]) || said.contains(&first), "{said}");
    execute(&shop.folder.database(), "DROP TABLE later");
    shop.expect(0, &["rollback", "--yes"]);
    // The site grants more than this script needs.
    assert_eq!(live(&shop.expect(10, &["check", &package(&shop)])), first);
}

#[test]
fn inspect_shows_between_which_schemas_a_package_goes() {
    let shop = shop();
    let said = shop.expect_out(&["inspect", &package(&shop)]);
    assert!(said.contains("schema    orders: 1  to 2; told by: PRAGMA user_version"), "{said}");
    let json: Value = serde_json::from_str(&shop.expect_out(&["inspect", "--json", &package(&shop)])).unwrap();
    let expected =
        serde_json::json!([{ "label": "orders", "revision": "PRAGMA user_version", "from": ["1"], "to": "2" }]);
    assert_eq!(json["schemas"], expected);
}

/// What `open` says of a manifest with this at its end.
fn refused(schema: &str, expected: Expect) {
    let folder = folder(schema);
    let mistakes = Package::open(folder.path()).expect_err("the package was opened");
    expected.assert_eq(&folder.plain(&mistakes.to_string()));
}

fn folder(schema: &str) -> Folder {
    let folder = package::shop();
    folder.write("package.toml", format!("{}{schema}", package::MANIFEST));
    folder
}

#[test]
fn every_mistake_is_found_at_once() {
    let long = "x".repeat(201);
    refused(
        &format!(
            r#"database.shut = {{ may = ["fence"], why = "x" }}
database.wrong = {{ may = [], why = "x" }}

[schema.ordres]
revision = "PRAGMA user_version"
from = "16"
to = "17"

[schema.app]
revision = ""
form = "16"

[schema.shut]
revision = 5
from = 16
to = 17.5

[schema.wrong]
from = ["sha256:1", "16", "sha256:{0}", "sha256:{0}"]
to = "{long}"

[schema.orders]
revision = "SELECT 1"
from = []
to = ""

[schema."a b"]
to = "1"

[schema]
late = 7
"#,
            "a".repeat(64)
        ),
        expect![[r#"
            package.toml:22:26: `needs.database.wrong.may` is empty
                |
             22 | database.wrong = { may = [], why = "x" }
                |                          ^^
                = without a right, leave the line out

            package.toml:24:9: the package needs no database `ordres`
                |
             24 | [schema.ordres]
                |         ^^^^^^
                = did you mean `orders`?

            package.toml:29:9: the package needs no database `app`
                |
             29 | [schema.app]
                |         ^^^
                = there are `orders`, `shut`, `wrong`

            package.toml:29:9: `schema.app` has no `from`
                |
             29 | [schema.app]
                |         ^^^
                = add `from = "16"`

            package.toml:29:9: `schema.app` has no `to`
                |
             29 | [schema.app]
                |         ^^^
                = add `to = "16"`

            package.toml:30:12: `schema.app.revision` is empty
                |
             30 | revision = ""
                |            ^^

            package.toml:31:1: unknown key `form` in `schema.app`
                |
             31 | form = "16"
                | ^^^^
                = did you mean `from`?

            package.toml:33:9: the need database shut does not ask for `read`
                |
             33 | [schema.shut]
                |         ^^^^
                = who tells the revision of its schema must look into it: add `read` to `may`

            package.toml:34:12: `schema.shut.revision` must be a string, not an integer
                |
             34 | revision = 5
                |            ^

            package.toml:35:8: `schema.shut.from` must be a string, not a number
                |
             35 | from = 16
                |        ^^
                = revisions are compared as text: put it in quotes

            package.toml:36:6: `schema.shut.to` must be a string, not a number
                |
             36 | to = 17.5
                |      ^^^^
                = revisions are compared as text: put it in quotes

            package.toml:39:9: `sha256:1` is not the fingerprint of a schema
                |
             39 | from = ["sha256:1", "16", "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:a…
                |         ^^^^^^^^^^
                = write `sha256:` and 64 digits, as `backout check PACKAGE` shows them, or add `revision`, a query

            package.toml:39:21: `16` is not the fingerprint of a schema
                |
             39 | from = ["sha256:1", "16", "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:a…
                |                     ^^^^
                = write `sha256:` and 64 digits, as `backout check PACKAGE` shows them, or add `revision`, a query

            package.toml:39:102: `sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa` is named twice
                |
             39 | …aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…
                |                                                         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
                = once is enough

            package.toml:40:6: `schema.wrong.to` is longer than 200 characters
                |
             40 | to = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
                |      ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

            package.toml:44:8: `schema.orders.from` is empty
                |
             44 | from = []
                |        ^^
                = name the revisions that it upgrades

            package.toml:45:6: `schema.orders.to` is empty
                |
             45 | to = ""
                |      ^^

            package.toml:47:9: `a b` cannot be a name
                |
             47 | [schema."a b"]
                |         ^^^^^
                = a name is made of letters, digits, `-`, `_` and `.`, and begins with a letter or digit

            package.toml:51:1: the package needs no database `late`
                |
             51 | late = 7
                | ^^^^
                = there are `orders`, `shut`, `wrong`

            package.toml:51:8: `schema.late` must be a table, not an integer
                |
             51 | late = 7
                |        ^"#]],
    );
}

#[test]
fn what_a_schema_may_say() {
    let open = |schema: &str| Package::open(folder(schema).path()).unwrap().manifest.schemas.remove(0).revisions;
    let one = open("[schema.orders]\nrevision = \"PRAGMA user_version\"\nfrom = \"16\"\nto = \"17\"");
    assert_eq!(
        (one.query.as_deref(), one.from, one.to),
        (Some("PRAGMA user_version"), vec!["16".to_owned()], "17".to_owned())
    );
    let (a, b) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
    // An upgrade may be done again, and may leave the schema alone.
    let two = open(&format!("[schema.orders]\nfrom = [\"{a}\", \"{b}\"]\nto = \"{b}\""));
    assert_eq!((two.query, two.from, two.to), (None, vec![a, b.clone()], b));
}
