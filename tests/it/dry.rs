//! Dry runs: what they find, what they leave alone, and that what is planned is what happens.
use crate::support::{
    faulty::{self, FAULTS, RIGHT},
    guests,
    packages::{Folder, Said},
    shop::Shop,
};
use backout::{
    cli::demo::releases::Version,
    dry::Rule,
    journal::{Entry, Reader},
    resource::KINDS,
    run::Phase,
};
use expect_test::expect;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Compiled once for all tests, in a folder of this user alone.
fn cache() -> &'static str {
    static CACHE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let cache = guests::target("dry-cache");
        fs::create_dir_all(&cache).unwrap();
        fs::set_permissions(&cache, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        cache.to_str().unwrap().to_owned()
    });
    &CACHE
}

fn dry(folder: &Folder, arguments: &[&str]) -> Said {
    let last = ["--offline", "--cache", cache(), "."];
    folder.backout(&[arguments, &last].concat())
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|_| panic!("{}", said.whole()))
}

fn faulty(variant: &str) -> Folder {
    let folder = Folder::new();
    faulty::write(variant, Version::V2Good, folder.path());
    folder
}

/// What `explore` finds, by variant.
fn explored(variants: &[&str], failures: &str) -> String {
    let mut text = String::new();
    for variant in variants {
        let said = dry(&faulty(variant), &["explore", "--json", "--failures", failures]);
        let found = json(&said);
        let findings = found["findings"].as_array().unwrap();
        assert_eq!(said.code, if findings.is_empty() { 0 } else { 10 }, "{}", said.whole());
        assert_eq!(found["left_out"], 0, "{variant}");
        writeln!(text, "{variant:?}").unwrap();
        for finding in findings {
            writeln!(text, "  {}: {}", finding["rule"].as_str().unwrap(), finding["text"].as_str().unwrap()).unwrap();
        }
    }
    text
}

/// The examples are what people copy.
#[test]
fn nothing_speaks_against_the_examples() {
    for (guest, failures) in [(guests::rust_shop(), "2"), (guests::python_shop(), "1")] {
        let folder = Folder::new();
        guest.copy_to(folder.path());
        folder.write("dist/shop-2.0.tar.zst", Version::V2Good.payload().unwrap());
        for command in ["plan", "explore"] {
            let bound: &[&str] = if command == "explore" { &["--failures", failures] } else { &[] };
            let said = dry(&folder, &[&[command], bound].concat());
            assert_eq!(said.code, 0, "{}", said.whole());
        }
    }
}

/// The page lists the rules that there are.
#[test]
fn the_page_of_dry_runs_has_every_rule() {
    let page = fs::read_to_string(guests::root().join("docs/dry-runs.md")).unwrap();
    let table = page.lines().skip_while(|line| !line.starts_with("| rule |")).take_while(|line| line.starts_with('|'));
    let rows: Vec<&str> = table.skip(2).collect();
    let rules: Vec<String> = Rule::ALL.iter().map(|r| format!("| `{}` | {} |", r.as_str(), r.about())).collect();
    assert_eq!(rows, rules);
}

/// Each deliberately bad script is caught by the rule that is made for it, and the right ones by none.
#[test]
fn explore_finds_each_fault_and_nothing_where_there_is_none() {
    expect![[r#"
        ""
        "polls"
        "retries"
        "asks-while-planning"
          no-rollback: nothing is taken back: rollback: probe.check on `shop` fails in this simulation (inconclusive)
        "checks-late"
        "forgets"
          not-restored: tree app is not as it was, changed by upgrade/install (files.install app)
          unused-right: tree app: restore is used on no path
        "forgets-at-times"
          not-restored: tree app is not as it was, changed by upgrade/install (files.install app)
        "greedy"
          unused-right: database orders: write is used on no path
        "hides"
          hidden-error: upgrade/install ends well although files.link app has failed
        "ignores"
          hidden-error: upgrade/watch ends well although metrics.watch shop has failed
        "left-fenced"
          left-fenced: database orders stays fenced: only Backout gets in
        "left-stopped"
          left-stopped: service shop is down at the end
        "loops"
          loop: rollback/reopen: the script went beyond a limit: more than 10000 host calls in one step (failed)
        "no-rollback"
          no-rollback: nothing is taken back: the script has no steps for a rollback
          unused-right: database orders: read, restore is used on no path
          unused-right: tree app: restore is used on no path
        "restores-first"
          unchecked-rollback: rollback/restore restores orders while shop runs
          unused-right: database orders: read is used on no path
        "stays-down"
          left-stopped: service shop is down at the end
          left-fenced: database orders stays fenced: only Backout gets in
        "swallows"
        "time"
          unused-right: metrics shop: read is used on no path
          depends-on-time: at 9 in the morning it calls probe.check shop in verify/answers, at 9 in the evening metrics.watch shop in upgrade/watch
        "unreachable"
          never-reached: upgrade/announce runs on no path
          never-reached: no path ends with the upgrade done: upgrade/confirm: 2.0 is not installed (failed)
    "#]].assert_eq(&explored(&[RIGHT, FAULTS].concat(), "1"));
}

/// The way back has to hold also where something fails on it.
#[test]
fn a_second_failure_shows_what_one_does_not() {
    expect![[r#"
        ""
        "asks-while-planning"
          no-rollback: nothing is taken back: rollback: probe.check on `shop` fails in this simulation (inconclusive)
        "checks-late"
          unchecked-rollback: rollback/restore asks database.activity orders when app is restored already and database orders is not
        "swallows"
          half-restored-start: rollback/reopen starts shop although orders could not be restored
          hidden-error: rollback/restore ends well although backup.restore orders has failed
          not-restored: database orders is not as it was, changed by upgrade/install (tool.run migrate)
    "#]].assert_eq(&explored(&["", "asks-while-planning", "checks-late", "swallows"], "2"));
}

fn planned(plan: &Value, steps: &str) -> BTreeMap<String, Vec<String>> {
    let steps = plan[steps].as_array().unwrap().iter();
    let operation = |op: &Value| format!("{} {}", op["operation"].as_str().unwrap(), op["label"].as_str().unwrap());
    let step = |step: &Value| {
        let title = format!("{}/{}", step["phase"].as_str().unwrap(), step["name"].as_str().unwrap());
        (title, step["operations"].as_array().unwrap().iter().map(operation).collect())
    };
    steps.map(step).collect()
}

/// The operations of a run on resources, by step, as its journal has them.
fn journalled(journal: &Path, run: u64, rolled_back: bool) -> BTreeMap<String, Vec<String>> {
    let mut steps: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for recorded in Reader::open(journal).unwrap().since(0).unwrap().iter().filter(|r| r.run == run) {
        let place = &recorded.place;
        let back = place.rolled_back || place.phase == "rollback";
        if back != rolled_back || place.step.is_empty() || Phase::named(&place.phase).is_none() {
            continue;
        }
        let operations = steps.entry(place.title()).or_default();
        if let Entry::Intent(request) | Entry::Observed { request, .. } = &recorded.entry
            && KINDS.iter().any(|kind| *kind != "run" && request.resource.starts_with(&format!("{kind}:")))
        {
            operations.push(format!("{} {}", request.operation, request.label));
        }
    }
    steps
}

/// Everything that stands in a folder, with the moment at which it was last changed.
fn state(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            let (path, about) = (entry.path(), entry.path().symlink_metadata().unwrap());
            // The service writes its log while it is looked at, and SQLite's readers their places in the shared memory.
            if path.extension().is_some_and(|e| e == "log" || e == "db-shm") {
                continue;
            }
            found.insert(format!("{} {} {}.{}", path.display(), about.len(), about.mtime(), about.mtime_nsec()));
            if about.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

#[test]
fn what_is_planned_is_what_happens_and_planning_it_touches_nothing() {
    let shop = Shop::running(Version::V2Good);
    let package = shop.package();
    let package = package.to_str().unwrap();
    let (before, processes) = (shop.proof(), shop.processes());
    let stood = state(&shop.folder.root);
    let [first, second] = [(); 2].map(|()| shop.expect_out(&["plan", "--json", "--cache", cache(), package]));
    assert_eq!(first, second, "the same inputs give the same bytes");
    assert_eq!(state(&shop.folder.root), stood);
    assert_eq!(shop.processes(), processes);
    shop.is_as(&before);
    let plan: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(plan["from_version"], "1.0");

    let told = shop.expect(0, &["plan", "--cache", cache(), package]);
    for copy in ["a copy of database shop takes ", "a copy of tree app takes "] {
        assert!(told.lines().any(|line| line.contains(copy) && line.contains("B (free ")), "{copy}: {told}");
    }
    shop.expect(0, &["upgrade", "--yes", package]);
    let journal = shop.folder.path("state/journal.db");
    assert_eq!(planned(&plan, "steps"), journalled(&journal, 1, false));
    shop.expect(0, &["rollback", "--yes"]);
    assert_eq!(planned(&plan, "if_it_fails"), journalled(&journal, 2, true));
}

#[test]
fn a_plan_says_what_each_call_makes_of_the_world() {
    let said = dry(&faulty(""), &["plan"]);
    expect![[r#"
        acme/shop 2.0.0   in an invented world   nothing was touched

        prepare    1  copy     Copy database and program, prove the copies  2 s
                      ~ database orders: a stand-by is made and compared, table by table
                      ~ tree app: a stand-by is made and compared, file by file
        upgrade    2  close    Close the shop, bring the copies up to date  2 s
                      ~ service shop: running → stopped
                      ~ database orders: open → fenced
                      ~ database orders: its stand-by is brought up to date and compared
                      ~ tree app: its stand-by is brought up to date and compared
                   3  install  Install 2.0, migrate the database            2 s
                      ~ tree app: versions/2.0 is installed
                      ~ tree app: current → versions/2.0
                      ~ database orders: fenced → open
                      ~ tool migrate: runs, may change database orders
                   4  open     Start 2.0                                    2 s
                      ~ service shop: stopped → running
                      ? probe.until shop
                   5  watch    Watch 2.0                                    2 s
                      ? metrics.watch shop
        verify     6  answers  Orders can be read                           2 s
                      ? probe.check shop

        Down from close to open: about 6 s.

        If the last call of the upgrade fails; back in about 6 s:

        rollback   1  stop     Stop 2.0                   2 s
                      ~ service shop: running → stopped
                   2  restore  Put 1.0 and its data back  2 s
                      ~ database orders: its stand-by becomes live, what was live is kept aside
                      ~ tree app: its stand-by becomes live, what was live is kept aside
                   3  reopen   Start 1.0                  2 s
                      ~ service shop: stopped → running
                      ? probe.until shop
        verify     4  answers  Orders can be read         2 s
                      ? probe.check shop

        Assumed (?), because only the changed world could say it; `backout explore` tries it otherwise:
          upgrade/open: probe.until shop
          upgrade/watch: metrics.watch shop
          verify/answers: probe.check shop
        ── exit 0
    "#]]
    .assert_eq(&said.whole());
    let said = dry(&faulty("no-rollback"), &["plan"]);
    expect![[r#"
        acme/shop 2.0.0   in an invented world   nothing was touched

        prepare    1  copy     Copy database and program, prove the copies  2 s
                      ~ database orders: a stand-by is made and compared, table by table
                      ~ tree app: a stand-by is made and compared, file by file
        upgrade    2  close    Close the shop, bring the copies up to date  2 s
                      ~ service shop: running → stopped
                      ~ database orders: open → fenced
                      ~ database orders: its stand-by is brought up to date and compared
                      ~ tree app: its stand-by is brought up to date and compared
                   3  install  Install 2.0, migrate the database            2 s
                      ~ tree app: versions/2.0 is installed
                      ~ tree app: current → versions/2.0
                      ~ database orders: fenced → open
                      ~ tool migrate: runs, may change database orders
                   4  open     Start 2.0                                    2 s
                      ~ service shop: stopped → running
                      ? probe.until shop
                   5  watch    Watch 2.0                                    2 s
                      ? metrics.watch shop
        verify     6  answers  Orders can be read                           2 s
                      ? probe.check shop

        Down from close to open: about 6 s.

        Assumed (?), because only the changed world could say it; `backout explore` tries it otherwise:
          upgrade/open: probe.until shop
          upgrade/watch: metrics.watch shop
          verify/answers: probe.check shop

        ✗ no-rollback           nothing is taken back: the script has no steps for a rollback
                                `plan(rollback)` must have steps whatever state the product is in
        ── exit 10
    "#]]
    .assert_eq(&said.whole());
}

#[test]
fn a_plan_without_a_site_can_be_of_a_given_world() {
    let folder = faulty("");
    let with = |given: &str| {
        folder.write("given.toml", format!("about = \"a shop\"\n{given}"));
        dry(&folder, &["plan", "--json", "--scenario", "given.toml"])
    };
    let said =
        with("[given]\nversion = \"1.4.2\"\nmetrics.shop = { error-rate = 0.002 }\n[expect]\noutcome = \"upgraded\"\n");
    assert_eq!(said.code, 0, "{}", said.whole());
    assert_eq!(json(&said)["from_version"], "1.4.2");
    // A number that is given is no assumption: the script's condition is held against it.
    let said = with("[given]\nmetrics.shop = { error-rate = 0.5 }\n[expect]\noutcome = \"upgraded\"\n");
    assert_eq!(said.code, 10, "{}", said.whole());
    let said = with("[given]\nmetrics.shp = { error-rate = 0.5 }\nvresion = \"1\"\n[expect]\noutcome = \"upgraded\"\n");
    assert_eq!(said.code, 3, "{}", said.whole());
    for place in ["given.toml:3:", "given.toml:4:", "did you mean `shop`", "did you mean `version`"] {
        assert!(said.whole().contains(place), "{place}: {}", said.whole());
    }
    let said = folder.backout(&["plan", "--scenario", "given.toml", "."]);
    assert_eq!(said.code, 2, "{}", said.whole());
}

#[test]
fn a_path_can_be_looked_at() {
    let folder = faulty("forgets-at-times");
    let found = json(&dry(&folder, &["explore", "--json", "--failures", "1"]));
    let path = found["findings"][0]["path"].to_string();
    let said = dry(&folder, &["explore", "--failures", "1", "--path", &path]);
    expect![[r#"
        path 24
          prepare/copy
            ✓ backup.take orders
                database orders: a stand-by is made and compared, table by table
            ✓ backup.take app
                tree app: a stand-by is made and compared, file by file
          upgrade/close
            ✓ service.stop shop
                service shop: running → stopped
            ✓ database.fence orders
                database orders: open → fenced
            ✓ backup.is-fenced orders
            ✓ backup.refresh orders
                database orders: its stand-by is brought up to date and compared
            ✓ backup.refresh app
                tree app: its stand-by is brought up to date and compared
          upgrade/install
            ✓ files.install app, cancelled here
                tree app: versions/2.0 is installed
          cancelled; then `backout rollback`:
          rollback/stop
            ✓ service.stop shop
          rollback/restore
            ✓ database.activity orders
            ✓ backup.restore orders
          rollback/reopen
            ✓ database.unfence orders
                database orders: fenced → open
            ✓ service.start shop
                service shop: stopped → running
            ? probe.until shop
          verify/answers
            ? probe.check shop
          ends rolled-back
          tree app is not as it was
        ── exit 0
    "#]]
    .assert_eq(&said.whole());
}

/// How long steps took on this host stands in the journal of its runs.
#[test]
fn a_journal_that_cannot_be_read_is_named() {
    let shop = Shop::running(Version::V2Good);
    let package = shop.package();
    let package = package.to_str().unwrap();
    shop.expect(0, &["prepare", "--yes", package]);
    let path = shop.folder.path("state/journal.db");
    let change = |sql: &str| rusqlite::Connection::open(&path).unwrap().execute_batch(sql).unwrap();
    for (sql, expected) in [
        (
            "UPDATE entry SET body = '{' WHERE kind = 'step-ended'",
            "cannot be read: malformed JSON; `backout audit` tells all",
        ),
        ("PRAGMA user_version = 9", "was written by a newer Backout"),
    ] {
        change(sql);
        let output = shop.backout(&["plan", "--cache", cache(), package]);
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{:?}: {said}", output.status.code());
        assert!(said.contains(&format!("journal {} {expected}", path.display())), "{said}");
        assert!(!said.contains("written:"), "{said}");
    }
}
