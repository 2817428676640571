//! `backout test`: the tests that a package brings, and the rules that hold without any.
use crate::support::{
    faulty, guests,
    packages::{Folder, Said},
};
use backout::cli::demo::releases::Version;
use expect_test::expect;
use serde_json::Value;
use std::fs;

/// Compiled once for all tests, in a folder of this user alone.
fn cache() -> &'static str {
    static CACHE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let cache = guests::target("scenario-cache");
        fs::create_dir_all(&cache).unwrap();
        fs::set_permissions(&cache, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        cache.to_str().unwrap().to_owned()
    });
    &CACHE
}

fn faulty(variant: &str) -> Folder {
    let folder = Folder::new();
    faulty::write(variant, Version::V2Good, folder.path());
    folder
}

/// With as many paths as have one failure, and no times in what is said.
fn test(folder: &Folder, arguments: &[&str]) -> Said {
    let bounds = ["test", "--cache", cache(), "--paths", "64"];
    let mut said = folder.backout(&[&bounds, arguments].concat());
    let timeless = |line: &str| {
        let ended = line.strip_suffix(" ms").or(line.strip_suffix(" s"));
        ended.map_or(line.to_owned(), |line| {
            line.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.').to_owned() + "…"
        })
    };
    said.out = said.out.lines().map(|line| timeless(line) + "\n").collect();
    said
}

const RESTORE: &str = r#"
    about = "the database is away while it is restored"
    [[when]]
    call = "metrics.watch"
    fails = "inconclusive"
    [[when]]
    call = "backup.restore orders"
    fails = "unavailable"
    [expect]
    outcome = "stopped"
    at = "rollback/restore"
    services.shop = "stopped"
"#;

#[test]
fn what_holds_passes_and_what_does_not_is_told_so_that_one_understands_it() {
    let folder = faulty("");
    folder.write("tests/restore.toml", RESTORE);
    expect![[r#"
        ✓ restore  stopped after upgrade/watch   …
        ✓ rules    every rule holds   …
        left out: 1013 paths that were known of, and what follows from them (--paths, --seconds)
        2 passed, 0 failed · 2 tests, 64 paths in …
        ── exit 0
    "#]]
    .assert_eq(&test(&folder, &[]).whole());

    let folder = faulty("swallows");
    folder.write("tests/restore.toml", RESTORE);
    let wrong = r#"
        about = "what is expected is not what happens"
        [given]
        version = "1.4"
        [[when]]
        call = "tool.run"
        fails = "timed-out"
        after = "upgrade/close"
        [[when]]
        call = "metrics.check shop"
        fails = "failed"
        [[when]]
        call = "service.stop"
        fails = "failed"
        once = true
        in = "rollback/stp"
        [expect]
        outcome = "upgraded"
        because = "upgrade/watch"
        at = "upgrade/install"
        services.shop = "stopped"
        risks = ["high data"]
    "#;
    folder.write("tests/wrong.toml", wrong);
    expect![[r#"
        ✗ restore  rolled-back after upgrade/watch   …
                   expected stopped
                         is rolled-back
                   expected stopped at rollback/restore
                         is rolled-back, not stopped
                   expected service shop stopped
                         is running
                     upgrade/watch failed: metrics.watch on `shop` fails in this simulation (inconclusive)
                     rollback/restore went on although backup.restore orders failed (unavailable)
                     ended rolled-back
        ✗ wrong    rolled-back after upgrade/install   …
                   expected a call of metrics.check shop
                         is never called, but probe.check shop is
                   expected a call of service.stop in rollback/stp
                         is no step rollback/stp: did you mean rollback/stop?
                   expected upgraded
                         is rolled-back
                   expected because of upgrade/watch
                         is upgrade/install
                   expected stopped at upgrade/install
                         is rolled-back, not stopped
                   expected service shop stopped
                         is running
                   expected the risk high data
                         is none
                     upgrade/install failed: tool.run on `migrate` fails in this simulation (timed-out)
                     ended rolled-back
        ✗ rules    2 findings   …
                   half-restored-start: rollback/reopen starts shop although orders could not be restored   (backout explore --offline --path 55)
                     let a failed `backup.restore` fail its step, so that the steps after it do not run
                   hidden-error: rollback/restore ends well although backup.restore orders has failed   (backout explore --offline --path 55)
                     return the error, or do it again until it works
        left out: 1013 paths that were known of, and what follows from them (--paths, --seconds)
        0 passed, 3 failed · 3 tests, 64 paths in …
        ── exit 10
    "#]].assert_eq(&test(&folder, &[]).whole());
}

#[test]
fn what_is_not_as_before_is_named() {
    let folder = faulty("forgets");
    let forgets = r#"
        about = "2.0 errs"
        [[when]]
        call = "metrics.watch shop"
        fails = "failed"
        [expect]
        outcome = "rolled-back"
        because = "upgrade/watch"
        everything = "as before"
    "#;
    folder.write("tests/forgets.toml", forgets);
    let said = test(&folder, &["--json"]);
    let tested: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.whole()));
    assert_eq!(said.code, 10);
    let difference = &tested["tests"][0]["differences"];
    assert_eq!(difference.as_array().unwrap().len(), 1, "{difference}");
    assert_eq!(difference[0]["expected"], "tree app as before");
    assert_eq!(difference[0]["is"], "changed by upgrade/install (files.install app)");
    assert_eq!(difference[0]["line"], 9);
    assert_eq!(tested["failed"], 2);
    assert_eq!(tested["tests"][1]["findings"][0]["rule"], "not-restored");
}

/// What is given decides, by the script's own conditions; what is written is set aside and counted.
#[test]
fn the_world_is_what_a_scenario_says() {
    let folder = faulty("");
    let scenario = |error_rate: &str, written: &str, expect: &str| {
        format!(
            r#"
            about = "2.0 errs, and writes"
            [given]
            version = "1.4.2"
            database.orders.rows = {{ orders = 5_000, items = 12_000 }}
            metrics.shop = {{ error-rate = 0.002 }}
            [[when]]
            after = "upgrade/open"
            metrics.shop = {{ error-rate = {error_rate} }}
            {written}
            [expect]
            {expect}
            "#
        )
    };
    let written = "database.orders.written = { orders = 3 }";
    let back = "outcome = \"rolled-back\"\nbecause = \"upgrade/watch\"\neverything = \"as before\"\n";
    folder.write("tests/bad.toml", scenario("0.07", written, &format!("{back}kept-aside.orders = {{ orders = 3 }}")));
    folder.write("tests/good.toml", scenario("0.003", written, "outcome = \"upgraded\"\nkept-aside.orders = {}"));
    let wrong = scenario("0.07", "", &format!("{back}kept-aside.orders = {{ orders = 3 }}"));
    folder.write("tests/wrong.toml", wrong.replace("upgrade/open", "upgrade/close"));
    folder.write("tests/late.toml", scenario("0.07", "", back).replace("upgrade/open", "upgrade/opn"));
    expect![[r#"
        ✓ bad    rolled-back after upgrade/watch   …
        ✓ good   upgraded   …
        ✗ late   upgraded   …
                 expected metrics shop after upgrade/opn
                       is no step upgrade/opn: did you mean upgrade/open?
                 expected rolled-back
                       is upgraded
                 expected because of upgrade/watch
                       is no step
                 expected database orders as before
                       is changed by upgrade/install (tool.run migrate)
                 expected tree app as before
                       is changed by upgrade/install (files.install app)
                   ended upgraded
        ✗ wrong  rolled-back after upgrade/watch   …
                 expected kept aside of orders: 3 in orders
                       is nothing
                   upgrade/watch failed: error-rate was 7 % (must be < 1%), 3 samples in a row; held in 0 of 3 samples (failed)
                   ended rolled-back
        ✓ rules  every rule holds   …
        left out: 1013 paths that were known of, and what follows from them (--paths, --seconds)
        3 passed, 2 failed · 5 tests, 64 paths in …
        ── exit 10
    "#]].assert_eq(&test(&folder, &[]).whole());
}

#[test]
fn a_rule_is_switched_off_with_a_reason() {
    let folder = faulty("greedy");
    let said = test(&folder, &[]);
    assert_eq!(said.code, 10);
    assert!(said.out.contains("unused-right: database orders: write is used on no path"), "{}", said.whole());
    let off = "[rules]\nunused-right = { off = \"a later version writes\" }\ndown-time = { max = \"6s\" }\n";
    folder.write("tests/rules.toml", off);
    expect![[r#"
        ✓ down-time  down for about 6s   …
        ✓ rules      every rule holds; off: unused-right   …
        left out: 1013 paths that were known of, and what follows from them (--paths, --seconds)
        2 passed, 0 failed · 2 tests, 64 paths in …
        ── exit 0
    "#]]
    .assert_eq(&test(&folder, &[]).whole());
    folder.write("tests/rules.toml", "[rules]\ndown-time = { max = \"5s\" }\n");
    expect![[r#"
        ✗ down-time  down for about 6s   …
                     expected down for at most 5s
                           is about 6s
        ✗ rules      1 finding   …
                     unused-right: database orders: write is used on no path
                       ask for what the script uses, and for nothing more
        left out: 1013 paths that were known of, and what follows from them (--paths, --seconds)
        0 passed, 2 failed · 2 tests, 64 paths in …
        ── exit 10
    "#]]
    .assert_eq(&test(&folder, &[]).whole());
}

#[test]
fn every_mistake_in_every_file_is_told_at_once() {
    let folder = faulty("");
    let scenario = r#"
        abuot = "a slip"
        [given]
        version = "3.0"
        database.order.rows = { orders = 5 }
        database.orders.row = { orders = -5 }
        metrics.shop = { error-rat = 0.07, p95 = "fast" }
        [[when]]
        call = "backup.restre orders"
        fails = "unavailable"
        [[when]]
        database.orders.written = { orders = "3" }
        fails = "unavailable"
        [[when]]
        after = "start-new"
        metrics.shop = 0.07
        [[when]]
        call = "backup.restore order"
        fails = "away"
        in = "update/install"
        [expect]
        outcome = "rolledback"
        everything = "fine"
        services.shp = "down"
        risks = ["terrible data"]
        kept-aside.order = { orders = 3 }
    "#;
    folder.write("tests/a.toml", scenario);
    folder.write("tests/b.toml", "about = \"nothing is expected\"");
    folder.write("tests/c.toml", "about = ");
    folder.write("tests/not a name.toml", "");
    let rules = "[rules]\nunused-rigth = { off = \"x\" }\nloop = { off = \" \" }\ndown-time = { max = 3 }\n";
    folder.write("tests/rules.toml", rules);
    std::os::unix::fs::symlink("/etc/passwd", folder.at("tests/linked.toml")).unwrap();
    expect![[r#"
        ── stderr
        the test `linked.toml`: a link leads out of the package, or nowhere
          = put the file itself into the package

        the name of the test ./tests/not a name.toml cannot be one
          = a name is made of letters, digits, `-`, `_` and `.`, and begins with a letter or digit

        ./tests/a.toml:1:1: `about` is missing
           |
         1 |
           | ^
           = add `about = "what it shows"`

        ./tests/a.toml:2:9: unknown key `abuot`
           |
         2 |         abuot = "a slip"
           |         ^^^^^
           = did you mean `about`?

        ./tests/a.toml:4:19: the package does not upgrade from `3.0`
           |
         4 |         version = "3.0"
           |                   ^^^^^
           = `from` in the manifest says which versions it upgrades

        ./tests/a.toml:5:18: the package needs no database `order`
           |
         5 |         database.order.rows = { orders = 5 }
           |                  ^^^^^
           = did you mean `orders`?

        ./tests/a.toml:6:18: `given.database.orders` has no `rows`
           |
         6 |         database.orders.row = { orders = -5 }
           |                  ^^^^^^
           = add `rows = { orders = 5 }`

        ./tests/a.toml:6:25: unknown key `row` in `given.database.orders`
           |
         6 |         database.orders.row = { orders = -5 }
           |                         ^^^
           = did you mean `rows`?

        ./tests/a.toml:7:26: the need shop lists no query `error-rat`
           |
         7 |         metrics.shop = { error-rat = 0.07, p95 = "fast" }
           |                          ^^^^^^^^^
           = did you mean `error-rate`?

        ./tests/a.toml:7:44: the need shop lists no query `p95`
           |
         7 |         metrics.shop = { error-rat = 0.07, p95 = "fast" }
           |                                            ^^^
           = there is `error-rate`

        ./tests/a.toml:7:50: `given.metrics.shop.p95` must be a number, not a string
           |
         7 |         metrics.shop = { error-rat = 0.07, p95 = "fast" }
           |                                                  ^^^^^^

        ./tests/a.toml:9:16: `backup.restre` is no call on a resource
           |
         9 |         call = "backup.restre orders"
           |                ^^^^^^^^^^^^^^^^^^^^^^
           = did you mean `backup.restore`?

        ./tests/a.toml:11:9: `when` has no `after`
            |
         11 |         [[when]]
            |         ^^^^^^^^
            = add `after = "upgrade/start"`

        ./tests/a.toml:12:46: `when.database.orders.written.orders` must be an integer, not a string
            |
         12 |         database.orders.written = { orders = "3" }
            |                                              ^^^

        ./tests/a.toml:13:9: `fails` is about a call that fails, and here stands what becomes of the world
            |
         13 |         fails = "unavailable"
            |         ^^^^^
            = write a `[[when]]` for each

        ./tests/a.toml:15:17: `start-new` is no step
            |
         15 |         after = "start-new"
            |                 ^^^^^^^^^^^
            = write phase and name: `upgrade/install`; phases are prepare, upgrade, rollback, verify

        ./tests/a.toml:16:24: `when.metrics.shop` must be a table, not a number with a fraction
            |
         16 |         metrics.shop = 0.07
            |                        ^^^^

        ./tests/a.toml:18:16: the package needs nothing that it calls `order`
            |
         18 |         call = "backup.restore order"
            |                ^^^^^^^^^^^^^^^^^^^^^^
            = did you mean `orders`?

        ./tests/a.toml:19:17: `when.fails` cannot be `away`
            |
         19 |         fails = "away"
            |                 ^^^^^^
            = there are `denied`, `not-found`, `invalid`, `unavailable`, `timed-out`, `conflict`, `unproven`, `inconclusive`, `failed`

        ./tests/a.toml:20:14: `update/install` is no step
            |
         20 |         in = "update/install"
            |              ^^^^^^^^^^^^^^^^
            = write phase and name: `upgrade/install`; phases are prepare, upgrade, rollback, verify

        ./tests/a.toml:22:19: `expect.outcome` cannot be `rolledback`
            |
         22 |         outcome = "rolledback"
            |                   ^^^^^^^^^^^^
            = did you mean `rolled-back`?

        ./tests/a.toml:23:22: `expect.everything` cannot be `fine`
            |
         23 |         everything = "fine"
            |                      ^^^^^^
            = there is `as before`

        ./tests/a.toml:24:18: the package needs no service `shp`
            |
         24 |         services.shp = "down"
            |                  ^^^
            = did you mean `shop`?

        ./tests/a.toml:24:24: `expect.services.shp` cannot be `down`
            |
         24 |         services.shp = "down"
            |                        ^^^^^^
            = there are `running`, `stopped`

        ./tests/a.toml:25:18: `terrible data` is no risk
            |
         25 |         risks = ["terrible data"]
            |                  ^^^^^^^^^^^^^^^
            = write severity and subject: `high data`; severities are low, medium, high, blocker

        ./tests/a.toml:26:20: the package needs no database `order`
            |
         26 |         kept-aside.order = { orders = 3 }
            |                    ^^^^^
            = did you mean `orders`?

        ./tests/b.toml:1:1: there is no section `[expect]`
           |
         1 | about = "nothing is expected"
           | ^
           = add `[expect]`

        ./tests/c.toml:1:9: not TOML: string values must be quoted, expected literal string
           |
         1 | about =
           |         ^

        ./tests/rules.toml:2:1: unknown key `unused-rigth` in `rules`
           |
         2 | unused-rigth = { off = "x" }
           | ^^^^^^^^^^^^
           = did you mean `unused-right`?

        ./tests/rules.toml:3:16: `rules.loop.off` is empty
           |
         3 | loop = { off = " " }
           |                ^^^

        ./tests/rules.toml:4:21: `rules.down-time.max` must be a length of time in quotes, not an integer
           |
         4 | down-time = { max = 3 }
           |                     ^

        error: 31 problems, nothing was changed
        ── exit 3
    "#]].assert_eq(&test(&folder, &[]).whole());
}

/// What a package is tested by is no part of what runs.
#[test]
fn tests_do_not_count_for_the_digest() {
    let folder = faulty("");
    let digest = || backout::package::Package::open(folder.path()).unwrap().digest;
    let before = digest();
    folder.write("tests/restore.toml", RESTORE);
    assert_eq!(digest(), before);
}

#[test]
fn the_tests_of_the_example_hold() {
    let folder = Folder::new();
    guests::rust_shop().copy_to(folder.path());
    folder.write("dist/shop-2.0.tar.zst", Version::V2Good.payload().unwrap());
    for entry in fs::read_dir(guests::root().join("guest-examples/rust-shop/tests")).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        folder.write(&format!("tests/{name}"), fs::read(entry.path()).unwrap());
    }
    let said = test(&folder, &["--json"]);
    let tested: Value = serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.whole()));
    let tests = tested["tests"].as_array().unwrap();
    let scenarios: Vec<&Value> = tests.iter().filter(|test| test["name"] != "rules").collect();
    // The plan that was accepted is one of them.
    assert_eq!(scenarios.len(), 4);
    scenarios.iter().for_each(|test| assert_eq!(test["differences"], serde_json::json!([]), "{test:#}"));
}
