//! Readers of what others wrote, and what they make of it. What is read is valid input with damage in it: noise comes no further
//! than the first check. Each reader works in a process of its own that gets no more memory than `MEMORY`; so a panic, a stack
//! that overflows and an allocation without bounds all end the same way, and the test fails.
//!
//! The number of cases is bounded, so that all of this takes seconds. To look longer:
//! `PROPTEST_CASES=100000 cargo test --test it fuzz::`, or `fuzz::journal::` for journals and their audit alone.
mod archive;
mod condition;
mod damage;
pub mod journal;
mod package;
mod site;

use backout::diagnostic::Mistakes;
use proptest::{
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};
use std::{
    fmt::Debug,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Address space of a process in kilobytes, its program (a fifth of this) included.
const MEMORY: usize = 1 << 20;

/// As many cases as `PROPTEST_CASES` says, or so many.
pub fn cases(cases: u32) -> Config {
    let config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { Config { cases, ..config } }
}

/// Not by the macro, so that what all cases share is made once.
#[track_caller]
pub fn run<T: Debug>(count: u32, inputs: impl Strategy<Value = T>, check: impl Fn(T)) {
    let mut runner = TestRunner::new(cases(count));
    let check = |input| {
        check(input);
        Ok(())
    };
    runner.run(&inputs, check).unwrap_or_else(|error| panic!("{error}"));
}

/// Runs the tests of a module that are ignored otherwise.
#[track_caller]
fn in_little_memory(module: &str) {
    let output = Command::new("sh")
        .args(["-c", &format!(r#"ulimit -v {MEMORY}; exec "$0" "$@""#)])
        .arg(std::env::current_exe().unwrap())
        .args([&format!("fuzz::{module}::"), "--ignored", "--test-threads=1"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let last = last(module);
    assert!(
        output.status.success(),
        "{}; a process that was ended left its last input in {}\n{}\n{}",
        output.status,
        last.display(),
        text(&output.stdout),
        text(&output.stderr)
    );
    assert!(!text(&output.stdout).contains(" 0 passed"), "there are no tests in {module}");
}

/// Whoever is ended by the kernel tells nothing more; so what it is about to read is written down first.
fn remember(module: &str, input: impl AsRef<[u8]>) {
    fs::write(last(module), input).unwrap();
}

fn last(module: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fuzz");
    fs::create_dir_all(&folder).unwrap();
    folder.join(module)
}

/// Each mistake lies in its file, at a line and a column that are there, and is told in a bounded text that no terminal acts on.
fn told_well(mistakes: &Mistakes) {
    assert!(!mistakes.0.is_empty(), "refused without a reason");
    for mistake in &mistakes.0 {
        assert!(!mistake.message.is_empty());
        let Some(location) = &mistake.location else { continue };
        let text = location.source.text();
        assert!(location.span.start <= location.span.end && location.span.end <= text.len(), "{mistake:?}");
        let (line, column) = location.line_and_column();
        let line = text.split('\n').nth(line - 1).expect("the line is there");
        assert!((1..=line.chars().count() + 1).contains(&column), "column {column} of {line:?}");
    }
    let told = mistakes.to_string();
    assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    assert!(told.len() < 100_000, "{} bytes", told.len());
    serde_json::to_string(mistakes).unwrap();
}
