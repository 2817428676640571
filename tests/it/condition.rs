//! The condition language: what it takes, how it refuses, what it decides.
mod decisions;
mod mistakes;
pub mod reference;

use backout::condition::{Condition, Dimension, MAX_COMPARISONS, MAX_LENGTH, Words};
use expect_test::expect;
use std::fmt::Write;

pub fn shop() -> Words {
    Words::metrics([
        ("error-rate", Dimension::Fraction),
        ("p95", Dimension::Time),
        ("memory", Dimension::Bytes),
        ("queue", Dimension::Any),
    ])
}

fn shown(words: &Words, texts: &[&str]) -> String {
    let mut out = String::new();
    for text in texts {
        match Condition::parse(text, words) {
            Ok(condition) => writeln!(out, "{condition}").unwrap(),
            Err(mistake) => writeln!(out, "{mistake}").unwrap(),
        }
    }
    out
}

#[test]
fn conditions_are_printed_in_one_form() {
    expect![[r#"
        error-rate < 1% and p95 <= 1.2 * baseline
        p95 <= baseline + 20ms and error-rate <= baseline - 0.5%
        memory < 512MiB and p95 < 1.5s
        queue < 5 and queue >= -0.25
        p95 <= 1.10 * baseline
    "#]]
    .assert_eq(
        &(shown(
            &shop(),
            &[
                "error-rate<1% and p95 <= 1.2*baseline",
                "p95 <= baseline+20ms\n and error-rate <= 1 * baseline - 0.5%",
                "memory < 512MiB and\tp95 < 1.5s",
                "queue<5 and queue>=-0.250",
            ],
        ) + "p95 <= 1.10 * baseline\n"),
    );
    expect![[r#"
        status = 200 and json total > 0
        body contains ready and body contains "two words" and body != "and"
        header x-frame-options = DENY and header content-length = 42 and header server = ""
        json items.0.id != -7 and json "http.server".max = 5 and json state = "5" and json ready = true
        time < 500ms and json note contains "a \"b\" \\ c" and json code contains "42"
        json x = "baseline"
    "#]]
    .assert_eq(&shown(
        &Words::answer(),
        &[
            "status=200 and json total>0",
            r#"body contains ready and body contains "two words" and body != "and""#,
            r#"header X-Frame-Options = DENY and header content-length = 42 and header server = """#,
            r#"json items.0.id != -7 and json "http.server".max = 5 and json state = "5" and json ready = true"#,
            r#"time < 500ms and json note contains "a \"b\" \\ c" and json code contains 42"#,
            r#"json x = "baseline""#,
        ],
    ));
    expect![[r#"
        p95 < 300ms and errors < 1% and rate > 50/s
        errors = 0 and requests > 100 and max < 2s
    "#]]
    .assert_eq(&shown(
        &Words::load(),
        &["p95 < 300ms and errors < 1% and rate > 50/s", "errors = 0.0 and requests > 100 and max < 2s"],
    ));
}

#[test]
fn what_is_too_long_is_refused() {
    let long = format!("body contains \"{}\"", "x".repeat(MAX_LENGTH));
    assert_eq!(Condition::parse(&long, &Words::answer()).unwrap_err().problem, "longer than 1024 bytes");
    let many = vec!["status = 200"; MAX_COMPARISONS + 1].join(" and ");
    assert_eq!(Condition::parse(&many, &Words::answer()).unwrap_err().problem, "more than 16 comparisons");
    // The place of a mistake in a long condition is still in sight.
    let late =
        format!("body contains \"{}\" and status = ok and body contains \"{}\"", "x".repeat(400), "y".repeat(400));
    let shown = Condition::parse(&late, &Words::answer()).unwrap_err().to_string();
    let lines: Vec<&str> = shown.lines().collect();
    let caret = lines[2].chars().position(|c| c == '^').unwrap();
    let pointed: String = lines[1].chars().skip(caret).take(2).collect();
    assert_eq!(pointed, "ok", "{shown}");
    assert!(lines[1].chars().count() < 110, "{shown}");
}
