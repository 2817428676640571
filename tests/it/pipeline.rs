//! What a pipeline gets of dry runs: files in the forms that others read, and nothing that takes hold of the pipeline.
use crate::support::{
    faulty, guests,
    packages::{Folder, Said},
};
use backout::{
    cli::demo::releases::Version,
    dry::{Difference, Test, Tested},
    report::junit::{Suite, junit},
};
use roxmltree::{Document, Node};
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
    assert!(child(&suite, "system-out").text().unwrap().starts_with("left out: 551 paths"));
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
        let difference = Difference { expected: piece.clone(), is: piece.clone() };
        let test = Test {
            name: piece.clone(),
            file: piece.clone(),
            about: piece.clone(),
            came_to: piece.clone(),
            differences: vec![difference],
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
