//! What a pipeline gets of dry runs: files in the forms that others read, and nothing that takes hold of the pipeline.
mod golden;
mod schemas;

use crate::support::{
    faulty, guests,
    packages::{Folder, Said},
};
use backout::{
    cli::demo::releases::Version,
    dry::{Difference, Test, Tested},
    report::junit::{Suite, junit},
};
use expect_test::expect;
use roxmltree::{Document, Node};
use serde_json::Value;
use std::{fs, os::unix::fs::PermissionsExt};

/// Compiled once for all tests, in a folder of this user alone.
fn cache() -> &'static str {
    static CACHE: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        let cache = guests::target("pipeline-cache");
        fs::create_dir_all(&cache).unwrap();
        fs::set_permissions(&cache, PermissionsExt::from_mode(0o700)).unwrap();
        cache.to_str().unwrap().to_owned()
    });
    &CACHE
}

/// A name that no form of output takes as it is.
const HOSTILE: &str = "a\"<&>'b,c:d%0A";

fn package(folder: &Folder, variant: &str) {
    faulty::write(variant, Version::V2Good, &folder.folder(HOSTILE));
}

/// With the paths of one failure.
fn test(folder: &Folder, arguments: &[&str]) -> Said {
    folder.backout(&[&["test", "--cache", cache(), "--paths", "45", HOSTILE], arguments].concat())
}

const HOLDS: &str = r#"
    about = "1.0 comes back ]]> <x a='1'>&amp; \uFFFE \uFFFF ü"
    [[when]]
    call = "metrics.watch"
    fails = "failed"
    [expect]
    outcome = "rolled-back"
"#;

const FAILS: &str = r#"
    about = "nothing fails, and something is expected"
    [expect]
    outcome = "rolled-back"
    risks = ["high <data> & ]]>"]
"#;

fn child<'x>(node: &Node<'x, 'x>, name: &str) -> Node<'x, 'x> {
    node.children().find(|child| child.has_tag_name(name)).unwrap_or_else(|| panic!("no {name} in {node:?}"))
}

#[test]
fn tests_are_written_as_junit_also_when_they_fail() {
    let folder = Folder::new();
    package(&folder, "");
    folder.write(&format!("{HOSTILE}/tests/holds.toml"), HOLDS);
    folder.write(&format!("{HOSTILE}/tests/fails.toml"), FAILS);
    let said = test(&folder, &["--junit", "tests.xml"]);
    assert_eq!(said.code, 10, "{}", said.whole());
    let text = folder.read("tests.xml");
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let suites = document.root_element();
    let suite = child(&suites, "testsuite");
    for node in [&suites, &suite] {
        let counts = ["tests", "failures", "errors"].map(|name| node.attribute(name).unwrap());
        assert_eq!(counts, ["3", "1", "0"], "{text}");
    }
    assert_eq!(suite.attribute("name"), Some("acme/shop 2.0.0"));
    let cases: Vec<Node> = suite.children().filter(|child| child.has_tag_name("testcase")).collect();
    assert_eq!(
        cases.iter().map(|case| case.attribute("name").unwrap()).collect::<Vec<_>>(),
        ["fails", "holds", "rules"]
    );
    for case in &cases {
        assert_eq!(case.attribute("classname"), Some("acme.shop"));
        assert!(case.attribute("time").unwrap().parse::<f64>().unwrap() >= 0.0);
    }
    let [fails, holds, rules] = &cases[..] else { panic!("{text}") };
    assert_eq!(fails.attribute("file"), Some(format!("{HOSTILE}/tests/fails.toml").as_str()));
    assert_eq!(rules.attribute("file"), None);
    let failure = child(fails, "failure");
    assert_eq!(failure.attribute("message"), Some("expected rolled-back, is upgraded (and 1 more)"));
    assert_eq!(failure.attribute("type"), Some("difference"));
    let lines: Vec<&str> = failure.text().unwrap().lines().map(str::trim).collect();
    assert_eq!(lines[2], "expected the risk high <data> & ]]>");
    let told = child(holds, "system-out").text().unwrap().to_owned();
    let plain = "1.0 comes back ]]> <x a='1'>&amp; \u{fffd} \u{fffd} ü: ";
    assert!(told.starts_with(plain), "{told:?}");
    assert!(child(&suite, "system-out").text().unwrap().starts_with("left out: "));
    // Whoever runs the pipeline's next step can read it.
    let mode = fs::metadata(folder.at("tests.xml")).unwrap().permissions().mode();
    let usual = fs::metadata(folder.write("usual", "")).unwrap().permissions().mode();
    assert_eq!(mode, usual);
}

/// What a script says arrives in a test's result: it is no XML that breaks, and no terminal's command.
#[test]
fn no_string_breaks_the_xml() {
    let all: String = (0..=0x2_ffff).chain(0x10_fff0..=0x10_ffff).filter_map(char::from_u32).collect();
    for piece in all.chars().collect::<Vec<_>>().chunks(100).map(|chars| chars.iter().collect::<String>()) {
        let difference = Difference { expected: piece.clone(), is: piece.clone(), line: None };
        let test = Test {
            name: piece.clone(),
            file: piece.clone(),
            about: piece.clone(),
            came_to: piece.clone(),
            differences: vec![difference],
            diff: vec![piece.clone()],
            happened: vec![piece.clone()],
            findings: Vec::new(),
            millis: 1,
        };
        let (package, version) = (piece.clone(), piece);
        let tested = Tested { package, version, tests: vec![test], passed: 0, failed: 1, paths: 1, left_out: 1 };
        let text = junit(&Suite::Tested(&tested)).unwrap();
        let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text:?}"));
        let words = document.descendants().filter(|node| node.is_element() || node.is_text());
        let said: String = words.flat_map(|node| node.attributes().map(|a| a.value()).chain(node.text())).collect();
        assert!(!said.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{said:?}");
        assert_eq!(document.descendants().filter(|node| node.has_tag_name("testcase")).count(), 1);
    }
}

#[test]
fn what_could_not_be_tested_leaves_no_older_result() {
    let folder = Folder::new();
    package(&folder, "");
    folder.write("tests.xml", "of an earlier run");
    folder.write(&format!("{HOSTILE}/tests/slip.toml"), "about = \"a\" b");
    let said = test(&folder, &["--junit", "tests.xml"]);
    assert_eq!(said.code, 3, "{}", said.whole());
    let text = folder.read("tests.xml");
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let suite = child(&document.root_element(), "testsuite");
    assert_eq!(["tests", "failures", "errors"].map(|name| suite.attribute(name).unwrap()), ["1", "0", "1"]);
    let error = child(&child(&suite, "testcase"), "error");
    assert!(error.attribute("message").unwrap().contains("slip.toml:1:"), "{text}");
    assert!(error.text().unwrap().contains("about = \"a\" b"), "{text}");
}

#[test]
fn where_nothing_can_be_written_the_tests_are_told_all_the_same() {
    let folder = Folder::new();
    package(&folder, "");
    folder.folder("taken");
    for file in ["nowhere/tests.xml", "taken"] {
        let said = test(&folder, &["--junit", file]);
        assert_eq!(said.code, 1, "{}", said.whole());
        assert!(said.out.starts_with("✓ rules"), "{}", said.whole());
        assert!(said.err.starts_with(&format!("error: write the tests to {file}: ")), "{}", said.whole());
    }
    assert_eq!(fs::read_dir(folder.at("taken")).unwrap().count(), 0);
}

/// As in a job of GitHub Actions, with the folder as its workspace.
fn in_github(folder: &Folder, arguments: &[&str]) -> Said {
    let (summary, workspace) = (folder.at("summary.md"), folder.path().to_str().unwrap().to_owned());
    let environment = [
        ("GITHUB_ACTIONS", "true"),
        ("GITHUB_STEP_SUMMARY", summary.to_str().unwrap()),
        ("GITHUB_WORKSPACE", &workspace),
    ];
    folder.backout_with(&environment, &[arguments, &["--cache", cache(), HOSTILE]].concat())
}

/// What a runner of GitHub takes for a command: `::name …::…` at the start of a line, and `##[name …]` anywhere in it.
fn commands(text: &str) -> Vec<&str> {
    let is_one = |line: &&str| {
        let first = line.trim_start().strip_prefix("::").is_some_and(|rest| rest.contains("::"));
        first || line.split("##[").skip(1).any(|rest| rest.contains(']'))
    };
    text.split(['\n', '\r']).filter(is_one).collect()
}

/// As a runner reads it back: the properties and the text.
fn read_back(command: &str) -> (Vec<(String, String)>, String) {
    let (head, text) = command.strip_prefix("::error ").unwrap().split_once("::").unwrap();
    let text = text.replace("%0D", "\r").replace("%0A", "\n").replace("%25", "%");
    let value = |value: &str| value.replace("%3A", ":").replace("%2C", ",").replace("%25", "%");
    let property = |pair: &str| pair.split_once('=').map(|(name, v)| (name.to_owned(), value(v))).unwrap();
    (head.split(',').map(property).collect(), text)
}

const COMMANDS: &str = r#"
    about = "::error::a ##[add-mask]b"
    [expect]
    outcome = "rolled-back"
    risks = ["high ##[add-mask]it, ##vso[task.setvariable variable=x]y"]
"#;

#[test]
fn a_failing_test_is_shown_at_its_line_and_commands_nothing_else() {
    let folder = Folder::new();
    package(&folder, "swallows");
    folder.write(&format!("{HOSTILE}/tests/fails.toml"), COMMANDS);
    let never =
        "about = \"x\"\n[[when]]\ncall = \"metrics.check\"\nfails = \"failed\"\n[expect]\noutcome = \"upgraded\"\n";
    folder.write(&format!("{HOSTILE}/tests/never.toml"), never);
    folder.write("summary.md", "of the step before");
    let test = ["test", "--paths", "100"];
    let said = in_github(&folder, &test);
    assert_eq!(said.code, 10);
    assert_eq!(commands(&said.out), [""; 0]);
    let told: Vec<(Vec<(String, String)>, String)> = commands(&said.err).into_iter().map(read_back).collect();
    assert_eq!(told.len(), said.err.lines().count(), "{}", said.err);
    let property = |n: usize, name: &str| told[n].0.iter().find(|(is, _)| is == name).map(|(_, value)| value.as_str());
    assert_eq!(property(0, "file"), Some(format!("{HOSTILE}/tests/fails.toml").as_str()));
    assert_eq!([property(0, "line"), property(0, "title")], [Some("4"), Some("fails does not hold")]);
    assert!(
        told[0].1.starts_with("expected rolled-back\n      is upgraded\nexpected the risk high ##[add"),
        "{}",
        told[0].1
    );
    assert_eq!([property(1, "line"), property(1, "title")], [Some("2"), Some("never does not hold")]);
    assert_eq!(property(2, "file"), Some(format!("{HOSTILE}/package.toml").as_str()));
    assert_eq!([property(2, "line"), property(2, "title")], [None, Some("half-restored-start")]);
    assert_eq!(told.len(), 4);

    let summary = folder.read("summary.md");
    assert!(summary.starts_with("of the step before\n# acme/shop 2.0.0: tests\n"), "{summary}");
    assert!(summary.contains("| ✗ | fails | ::error::a ##\\[add-mask\\]b | upgraded | "), "{summary}");
    assert!(summary.contains("\n## rules\n\n    half-restored-start: rollback/reopen starts shop"), "{summary}");

    let json = in_github(&folder, &[&test[..], &["--json"]].concat());
    assert_eq!(commands(&json.out), [""; 0]);
    let tested: Value = serde_json::from_str(&json.out).unwrap_or_else(|_| panic!("{}", json.whole()));
    assert_eq!(tested["tests"][0]["about"], "::error::a ##[add-mask]b");
    assert_eq!(tested["tests"][0]["differences"][0]["line"], 4);

    // The excerpt of a file that cannot be read shows its lines.
    folder.write(&format!("{HOSTILE}/tests/fails.toml"), "\n::error::a = 1\nabout = '##[add-mask]b' c\n");
    let said = in_github(&folder, &test);
    assert_eq!(said.code, 3);
    let told: Vec<(Vec<(String, String)>, String)> = commands(&said.err).into_iter().map(read_back).collect();
    assert!(!told.is_empty());
    for (properties, _) in &told {
        assert_eq!(properties[0], ("file".to_owned(), format!("{HOSTILE}/tests/fails.toml")), "{}", said.err);
    }
}

#[test]
fn findings_are_shown_at_the_package_and_the_plan_in_the_summary() {
    let folder = Folder::new();
    package(&folder, "no-rollback");
    let plan = in_github(&folder, &["plan", "--offline"]);
    expect![[r#"
        ::error file=a"<&>'b%2Cc%3Ad%250A/package.toml,title=no-rollback::nothing is taken back: the script has no steps for a rollback%0A`plan(rollback)` must have steps whatever state the product is in
    "#]]
    .assert_eq(&plan.err);
    assert_eq!(plan.code, 10);
    let markdown = in_github(&folder, &["plan", "--offline", "--markdown"]);
    assert_eq!(folder.read("summary.md"), format!("\n{0}\n{0}", markdown.out));
    let found = in_github(&folder, &["explore", "--offline", "--failures", "1"]);
    assert_eq!(commands(&found.err).len(), 3);
    let summary = folder.read("summary.md");
    let last = &summary[summary.rfind("\n# ").unwrap()..];
    expect![[r#"

        # acme/shop 2.0.0: all ways that it can go

        - `48 paths: 6 refused, 40 stopped, 2 upgraded; 6 of 6 steps ran`
        - `3 findings`

        ## Findings

        - `no-rollback`: nothing is taken back: the script has no steps for a rollback (`backout explore --path 7`)  
          \`plan(rollback)\` must have steps whatever state the product is in
        - `unused-right`: database orders: read, restore is used on no path  
          ask for what the script uses, and for nothing more
        - `unused-right`: tree app: restore is used on no path  
          ask for what the script uses, and for nothing more
    "#]]
    .assert_eq(last);
    // Elsewhere nobody has asked for it.
    let elsewhere = folder.backout(&["plan", "--offline", "--cache", cache(), HOSTILE]);
    assert_eq!(elsewhere.err, "");
}

#[test]
fn a_summary_keeps_what_others_wrote_and_is_never_too_long() {
    const MOST: usize = 1 << 20;
    let folder = Folder::new();
    package(&folder, "");
    let plan = ["plan", "--offline"];
    let before = "x".repeat(MOST - 1000);
    folder.write("summary.md", &before);
    assert_eq!(in_github(&folder, &plan).whole().lines().last(), Some("── exit 0"));
    let summary = folder.read("summary.md");
    assert!(summary.len() <= MOST && summary.len() > MOST - 200, "{}", summary.len());
    let added = summary.strip_prefix(&before).unwrap();
    assert!(
        added.ends_with("\n\n**The rest is left out: a summary holds no more. The log has all of it.**\n"),
        "{added}"
    );
    let said = in_github(&folder, &plan);
    assert_eq!(said.code, 0);
    assert_eq!(said.err, "warning: write into the summary of this step: there is no more room in it\n");
    assert_eq!(folder.read("summary.md"), summary);

    fs::remove_file(folder.at("summary.md")).unwrap();
    folder.folder("summary.md");
    let said = in_github(&folder, &plan);
    assert_eq!((said.code, said.err.as_str()), (0, "warning: write into the summary of this step: it is no file\n"));
}

#[test]
fn a_plan_can_be_read_in_a_pull_request() {
    let folder = Folder::new();
    package(&folder, "");
    let plan = ["plan", "--offline", "--markdown", "--cache", cache(), HOSTILE];
    let said = folder.backout(&plan);
    assert_eq!(said.code, 0, "{}", said.whole());
    let digest = backout::package::Package::open(&folder.at(HOSTILE)).unwrap().digest;
    expect![[r#"
        # acme/shop 2.0.0

        A plan in an invented world; nothing was touched. The package is `sha256:…`.

        ## Steps

        ### prepare

        1. **copy**: Copy database and program, prove the copies (2 s)
            - database orders: a stand-by is made and compared, table by table
            - tree app: a stand-by is made and compared, file by file

        ### upgrade

        2. **close**: Close the shop, bring the copies up to date (2 s)
            - service shop: running → stopped
            - database orders: open → fenced
            - database orders: its stand-by is brought up to date and compared
            - tree app: its stand-by is brought up to date and compared
        3. **install**: Install 2.0, migrate the database (2 s)
            - tree app: versions/2.0 is installed
            - tree app: current → versions/2.0
            - database orders: fenced → open
            - tool migrate: runs, may change database orders
        4. **open**: Start 2.0 (2 s)
            - service shop: stopped → running
            - assumed: probe.until shop
        5. **watch**: Watch 2.0 (2 s)
            - assumed: metrics.watch shop

        ### verify

        6. **answers**: Orders can be read (2 s)
            - assumed: probe.check shop

        Down from **close** to **open**: about 6 s.

        ## If the last call of the upgrade fails

        Back in about 6 s.

        ### rollback

        1. **stop**: Stop 2.0 (2 s)
            - service shop: running → stopped
        2. **restore**: Put 1.0 and its data back (2 s)
            - database orders: its stand-by becomes live, what was live is kept aside
            - tree app: its stand-by becomes live, what was live is kept aside
        3. **reopen**: Start 1.0 (2 s)
            - service shop: stopped → running
            - assumed: probe.until shop

        ### verify

        4. **answers**: Orders can be read (2 s)
            - assumed: probe.check shop

        ## Assumed

        Only the changed world could say it; `backout explore` tries it otherwise.

        - upgrade/open: probe.until shop
        - upgrade/watch: metrics.watch shop
        - verify/answers: probe.check shop
    "#]]
    .assert_eq(&said.out.replace(&digest, "sha256:…"));
    assert_eq!(folder.backout(&[&plan[..], &["--json"]].concat()).code, 2);
}
