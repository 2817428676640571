//! What the pages promise is what tests hold it to, and their numbers are the code's.
use super::markdown::read;
use crate::support::guests::root;
use backout::{
    capability::MAX_TIME,
    condition::{MAX_COMPARISONS, MAX_LENGTH},
    diagnostic::reader::{MAX_ENTRIES, MAX_FILE},
    package::{MAX_PAYLOAD, MAX_SCRIPT},
    resource::{database, probe, service, tool, tree},
    session::{COMPILE_CPU, COMPILE_MEMORY, Limits},
};
use std::{fmt::Write, fs, path::Path};

/// All sources of the tests, as one text.
fn sources(folder: &Path) -> String {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let texts = entries.map(|path| match path.is_dir() {
        true => sources(&path),
        false => fs::read_to_string(&path).unwrap_or_default(),
    });
    texts.collect()
}

#[test]
fn every_promise_names_tests_that_are_there() {
    let sources = sources(&root().join("tests/it"));
    let page = read("docs/safety.md");
    let mut named = 0;
    for table in page.split("\n| promise | tests |\n| --- | --- |\n").skip(1) {
        for row in table.lines().take_while(|line| line.starts_with('|')) {
            let tests: Vec<&str> = row.rsplit_once(" | ").unwrap().1.split('`').skip(1).step_by(2).collect();
            assert!(!tests.is_empty(), "nothing holds Backout to this: {row}");
            for test in tests {
                assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}: {row}");
                named += 1;
            }
        }
    }
    assert!(named > 20, "only {named} tests were found");
}

/// With binary units where they come out even.
fn bytes(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b.is_multiple_of(1 << 30) => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 && b.is_multiple_of(1 << 20) => format!("{} MiB", b >> 20),
        b if b >= 1 << 13 && b.is_multiple_of(1 << 10) => format!("{} KiB", b >> 10),
        b => format!("{} bytes", number(b)),
    }
}

fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn table(rows: &[(&str, String)]) -> String {
    let mut text = String::from("| what | limit |\n| --- | --- |\n");
    rows.iter().for_each(|(what, limit)| writeln!(text, "| {what} | {limit} |").unwrap());
    text
}

#[test]
fn the_limits_are_those_of_the_code() {
    let (limits, n) = (Limits::default(), |n: usize| number(n as u64));
    let quota = limits.quota;
    let of_a_step = table(&[
        ("linear memory", bytes(limits.memory)),
        ("table elements", number(limits.table_elements)),
        ("instances, memories, tables inside the component", n(limits.instances)),
        ("time on a processor", format!("{} s", limits.cpu.as_secs())),
        ("wall time", format!("{} h", quota.wall.as_secs() / 3600)),
        ("host calls", number(quota.calls.into())),
        ("log and report", bytes(quota.log_bytes)),
        ("store", bytes(quota.store_bytes)),
        ("what its calls and their answers add to the journal", bytes(quota.journal_bytes)),
        ("the same of all steps of a phase", bytes(quota.journal_bytes_of_phase)),
        ("what one call may carry", bytes(limits.call_bytes as u64)),
        ("open resources of WASI", n(limits.handles)),
        ("seconds that one call may ask to wait", number(MAX_TIME.into())),
    ]);
    let of_a_package = table(&[
        ("script", bytes(MAX_SCRIPT)),
        ("payload files together", bytes(MAX_PAYLOAD)),
        (
            "time on the processors to compile a script, unless `compile` says otherwise",
            format!("{} s", COMPILE_CPU.as_secs()),
        ),
        ("memory to compile a script", bytes(COMPILE_MEMORY)),
        ("steps of a phase", n(limits.steps)),
        ("steps that run at once", n(limits.steps_at_once)),
        ("site file, manifest", bytes(MAX_FILE)),
        ("entries of a table or a list in these", n(MAX_ENTRIES)),
        ("a file read or written by a script", bytes(tree::MAX_FILE as u64)),
        ("entries of a folder that it lists", n(tree::MAX_ENTRIES)),
        ("rows of a query", n(database::MAX_ROWS)),
        ("an answer of a query", bytes(database::MAX_BYTES as u64)),
        ("lines of a log that it searches", n(service::MAX_LINES)),
        ("body of an answer to a probe, as a script sees it", bytes(probe::MAX_BODY as u64)),
        ("output of a tool", bytes(tool::MAX_OUTPUT as u64)),
        ("a condition", bytes(MAX_LENGTH as u64)),
        ("comparisons in a condition", n(MAX_COMPARISONS)),
    ]);
    let page = read("docs/safety.md");
    for table in [of_a_step, of_a_package] {
        assert!(page.contains(&table), "docs/safety.md has other limits than the code:\n{table}");
    }
}
