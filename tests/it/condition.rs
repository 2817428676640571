//! The condition language: what it takes, how it refuses, what it decides.
use backout::condition::{
    Comparison, Condition, Dimension, JsonPath, Lookup, MAX_COMPARISONS, MAX_LENGTH, Operator, Outcome, Quantity,
    RESERVED, Seen, Subject, UNITS, Unit, Value, Words,
};
use expect_test::expect;
use proptest::prelude::*;
use std::{collections::BTreeMap, fmt::Write};

fn shop() -> Words {
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
fn mistakes_in_metric_conditions_point_at_their_place() {
    expect![[r#"
        expected what to compare: error-rate, p95, memory, queue
  
          ^
        expected an operator: < <= > >= = !=
          error-rate
                    ^
        there is no `eror-rate` here, there is: error-rate, p95, memory, queue
          eror-rate < 1%
          ^^^^^^^^^ did you mean `error-rate`?
        there is no `p59` here, there is: error-rate, p95, memory, queue
          p59 < 300ms
          ^^^ did you mean `p95`?
        there is no `latency` here, there is: error-rate, p95, memory, queue
          latency < 300ms
          ^^^^^^^
        expected an operator: < <= > >= = !=
          error-rate == 1%
                     ^^ write `=`
        expected an operator: < <= > >= = !=
          error-rate => 1%
                     ^^ write `>=`
        expected an operator: < <= > >= = !=
          error-rate is 1%
                     ^^ write `=`
        `error-rate` cannot be compared by `contains`, only by < <= > >= = !=
          error-rate contains 1%
                     ^^^^^^^^
        expected a part of a whole, such as `1%`, or `baseline`
          error-rate <
                      ^
        a unit follows its number without a space
          error-rate < 1 %
                         ^
        `error-rate` is a part of a whole, such as `1%`
          error-rate < 1
                       ^ write `1%` or `100%`
        `error-rate` is a part of a whole, such as `1%`
          error-rate < 300ms
                          ^^
        expected a part of a whole, such as `1%`, or `baseline`
          error-rate < one
                       ^^^
        expected a part of a whole, such as `1%`, or `baseline`
          error-rate < .5%
                       ^^ write `0.5`
        there is no unit `%%` here, there is: %
          error-rate < 1%% and p95 < 1s
                        ^^
        `p95` is a time, such as `300ms`
          p95 < 300
                ^^^
        there is no unit `MS` here, there is: ms s m h
          p95 < 300MS
                   ^^ did you mean `ms`?
        there is no unit `sec` here, there is: ms s m h
          p95 < 300sec
                   ^^^ did you mean `s`?
        there is no unit `e3ms` here, there is: ms s m h
          p95 < 1e3ms
                 ^^^^
        a unit follows its number without a space
          p95 < 300 ms
                    ^^
        expected a time, such as `300ms`, or `baseline`
          p95 <= baselin
                 ^^^^^^^ did you mean `baseline`?
        expected `baseline`
          p95 <= 1.2 * base
                       ^^^^
        expected `*` before `baseline`
          p95 <= 1.2 baseline
                     ^^^^^^^^
        expected `and` or the end of the condition
          p95 <= 1.2s * baseline
                      ^ there is no arithmetic but `1.2 * baseline + 20ms`
        the factor stands before `baseline`
          p95 <= baseline * 1.2
                          ^ write `1.2 * baseline`
        `p95` is a time, such as `300ms`
          p95 <= baseline + 20
                            ^^
        expected a time, such as `300ms`
          p95 <= baseline + -20ms
                            ^
        there is no unit `mb` here, there is: B KiB MiB GiB kB MB GB
          memory < 512mb
                      ^^ did you mean `MB`?
        expected `and` or the end of the condition
          error-rate < 1% adn p95 < 300ms
                          ^^^ did you mean `and`?
        expected `and` or the end of the condition
          error-rate < 1% && p95 < 300ms
                          ^^ comparisons are joined by `and`
        expected `and` or the end of the condition
          error-rate < 1% or p95 < 300ms
                          ^^ there is no `or`: all comparisons of a condition must hold
        expected what to compare: error-rate, p95, memory, queue
          error-rate < 1% and
                             ^
        expected `and` or the end of the condition
          error-rate < 1%, p95 < 300ms
                         ^ comparisons are joined by `and`
        expected `and` or the end of the condition
          error-rate < 1% p95 < 300ms
                          ^^^
        there is no `status` here, there is: error-rate, p95, memory, queue
          status = 200
          ^^^^^^
        `json` is a part of an answer to a request, there is none here
          json total > 0
          ^^^^
        expected what to compare: error-rate, p95, memory, queue
          and < 1%
          ^^^
        expected what to compare: error-rate, p95, memory, queue
          5 < queue
          ^
        a name is made of ASCII letters, digits, `-`, `_` and `.`
          größe < 5
            ^
        a number has at most 40 characters
          queue < 12345678901234567890123456789012345678901
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
        expected a number, or `baseline`
          queue < 5 and queue < five
                                ^^^^
    "#]]
    .assert_eq(&shown(
        &shop(),
        &[
            "",
            "error-rate",
            "eror-rate < 1%",
            "p59 < 300ms",
            "latency < 300ms",
            "error-rate == 1%",
            "error-rate => 1%",
            "error-rate is 1%",
            "error-rate contains 1%",
            "error-rate <",
            "error-rate < 1 %",
            "error-rate < 1",
            "error-rate < 300ms",
            "error-rate < one",
            "error-rate < .5%",
            "error-rate < 1%% and p95 < 1s",
            "p95 < 300",
            "p95 < 300MS",
            "p95 < 300sec",
            "p95 < 1e3ms",
            "p95 < 300 ms",
            "p95 <= baselin",
            "p95 <= 1.2 * base",
            "p95 <= 1.2 baseline",
            "p95 <= 1.2s * baseline",
            "p95 <= baseline * 1.2",
            "p95 <= baseline + 20",
            "p95 <= baseline + -20ms",
            "memory < 512mb",
            "error-rate < 1% adn p95 < 300ms",
            "error-rate < 1% && p95 < 300ms",
            "error-rate < 1% or p95 < 300ms",
            "error-rate < 1% and",
            "error-rate < 1%, p95 < 300ms",
            "error-rate < 1% p95 < 300ms",
            "status = 200",
            "json total > 0",
            "and < 1%",
            "5 < queue",
            "größe < 5",
            "queue < 12345678901234567890123456789012345678901",
            "queue\n<\n5 and\nqueue < five",
        ],
    ));
}

#[test]
fn mistakes_in_answer_conditions_point_at_their_place() {
    expect![[r#"
        there is no `stauts` here, there is: status, time, body, header, json
          stauts = 200
          ^^^^^^ did you mean `status`?
        expected a number without a unit
          status = ok
                   ^^
        `status` is a number without a unit
          status = 200ms
                      ^^
        `status` cannot be compared by `contains`, only by < <= > >= = !=
          status contains 2
                 ^^^^^^^^
        `time` is a time, such as `300ms`
          time < 500
                 ^^^
        `time` has no baseline, only metrics have
          time <= 1.2 * baseline
                        ^^^^^^^^
        `time` has no baseline, only metrics have
          time <= baseline
                  ^^^^^^^^
        `body` cannot be compared by `<`, only by = != contains
          body < 5
               ^
        expected a text, such as `ready` or `"two words"`
          body contains
                       ^
        expected `and` or the end of the condition
          body contains two words
                            ^^^^^
        a text with such characters must be quoted
          body contains ready!
                        ^^^^^^
        this text must be quoted
          body contains and
                        ^^^ write `"and"`
        expected an operator: = != contains
          body matches ready
               ^^^^^^^ there are no patterns, only `contains`
        this quote is not closed
          body contains "ready
                        ^^^^^^
        a backslash stands before `"` or another backslash only
          body contains "a\nb"
                          ^
        expected the name of a header, such as `x-frame-options`
          header = DENY
                 ^
        expected `and` or the end of the condition
          header content-type = text/html; charset=utf-8
                                           ^^^^^^^
        there is no `header.server` here, there is: status, time, body, header, json
          header.server = nginx
          ^^^^^^^^^^^^^ write `header server`
        expected an operator: < <= > >= = != contains
          json total
                    ^
        expected a way into the JSON, such as `items.0.id`
          json > 0
               ^
        expected `.` or the end of the path
          json items[0].id > 0
                    ^ write `items.0.id`
        expected a way into the JSON, such as `items.0.id`
          json items. > 0
                     ^
        expected a number
          json total > many
                       ^^^^
        `json total` is a number without a unit
          json total < 300ms
                          ^^
        expected a number
          json total = -
                       ^
        a number without a unit belongs here
          json ok = 12ab
                      ^^
    "#]]
    .assert_eq(&shown(
        &Words::answer(),
        &[
            "stauts = 200",
            "status = ok",
            "status = 200ms",
            "status contains 2",
            "time < 500",
            "time <= 1.2 * baseline",
            "time <= baseline",
            "body < 5",
            "body contains",
            "body contains two words",
            "body contains ready!",
            "body contains and",
            "body matches ready",
            r#"body contains "ready"#,
            r#"body contains "a\nb""#,
            "header = DENY",
            "header content-type = text/html; charset=utf-8",
            "header.server = nginx",
            "json total",
            "json > 0",
            "json items[0].id > 0",
            "json items. > 0",
            "json total > many",
            "json total < 300ms",
            "json total = -",
            "json ok = 12ab",
        ],
    ));
    expect![[r#"
        `p95` is a time, such as `300ms`
          p95 < 1% and errors < 1%
                 ^
        `errors` is a part of a whole, such as `1%`
          errors < 1
                   ^ write `1%` or `100%`
        `rate` is a rate, such as `50/s`
          rate > 50
                 ^^
        there is no `p75` here, there is: p50, p90, p95, p99, max, rate, errors, requests
          p75 < 300ms
          ^^^ did you mean `p95`?
        there is no `status` here, there is: p50, p90, p95, p99, max, rate, errors, requests
          status = 200
          ^^^^^^
    "#]]
    .assert_eq(&shown(
        &Words::load(),
        &["p95 < 1% and errors < 1%", "errors < 1", "rate > 50", "p75 < 300ms", "status = 200"],
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

#[derive(Default)]
struct Facts {
    seen: BTreeMap<&'static str, Seen>,
    baselines: BTreeMap<&'static str, f64>,
}

impl Lookup for Facts {
    fn see(&self, subject: &Subject) -> Seen {
        self.seen.get(subject.to_string().as_str()).cloned().unwrap_or(Seen::NoData)
    }
    fn baseline(&self, name: &str) -> Option<f64> {
        self.baselines.get(name).copied()
    }
    fn dimension(&self, name: &str) -> Dimension {
        match name {
            "p95" => Dimension::Time,
            _ => Dimension::Any,
        }
    }
}

fn decide(text: &str, facts: &Facts) -> (Outcome, String) {
    let evaluation = Condition::parse(text, &Words::any()).unwrap().evaluate(facts);
    (evaluation.outcome(), evaluation.explain())
}

#[test]
fn no_data_is_never_a_pass_and_a_failure_wins_over_it() {
    let facts = Facts {
        seen: [
            ("good", Seen::Number(0.001)),
            ("bad", Seen::Number(0.07)),
            ("nan", Seen::Number(f64::NAN)),
            ("infinite", Seen::Number(f64::INFINITY)),
        ]
        .into(),
        baselines: [("bad", 0.002), ("good", f64::NAN)].into(),
    };
    let (held, failed, no_data) = (Outcome::Held, Outcome::Failed, Outcome::NoData);
    for (condition, outcome, why) in [
        ("good < 1%", held, "good was 0.1 %"),
        ("bad < 1%", failed, "bad was 7 % (must be < 1%)"),
        ("good < 1% and bad < 1%", failed, "bad was 7 % (must be < 1%)"),
        ("gone < 1%", no_data, "gone: no data"),
        ("gone != 1", no_data, "gone: no data"),
        ("nan < 1%", no_data, "nan: no data"),
        ("nan > 1%", no_data, "nan: no data"),
        ("nan != 5", no_data, "nan: no data"),
        ("infinite > 1", no_data, "infinite: no data"),
        ("good < 1% and gone < 1%", no_data, "gone: no data"),
        ("gone < 1% and bad < 1%", failed, "bad was 7 % (must be < 1%)"),
        ("bad <= 1.5 * baseline + 1%", failed, "bad was 7 % (must be <= 1.5 * baseline + 1%, here 1.3 %)"),
        ("bad >= baseline", held, "bad was 0.07"),
        ("good <= baseline", no_data, "good: no baseline was recorded"),
        ("gone <= baseline", no_data, "gone: no baseline was recorded"),
    ] {
        assert_eq!(decide(condition, &facts), (outcome, why.to_owned()), "{condition}");
    }
}

#[test]
fn units_are_canonical_and_limits_exact() {
    for (number, condition, holds) in [
        (0.3, "x <= 300ms", true),
        (0.3, "x < 300ms", false),
        (0.3, "x = 300ms", true),
        (5400.0, "x = 1.5h", true),
        (120.0, "x = 2m", true),
        (0.01, "x = 1%", true),
        (536_870_912.0, "x = 512MiB", true),
        (1e9, "x = 1GB and x = 1000MB and x < 1GiB", true),
        (1e7, "x = 10MB/s", true),
        (50.0, "x > 50/s", false),
        (50.0, "x >= 50/s and x != 49", true),
        (-1.0, "x > -2 and x < -0.5", true),
    ] {
        let facts = Facts { seen: [("x", Seen::Number(number))].into(), ..Facts::default() };
        let outcome = if holds { Outcome::Held } else { Outcome::Failed };
        assert_eq!(decide(condition, &facts).0, outcome, "{number} {condition}");
    }
}

#[test]
fn texts_and_json_compare_by_their_own_sort() {
    let document: serde_json::Value = serde_json::from_str(
        r#"{"total": 3, "state": "5", "ready": true, "none": null, "items": [{"id": 7}], "a.b": 1, "big": 1e400}"#,
    )
    .unwrap_or_else(
        |_| serde_json::json!({"total": 3, "state": "5", "ready": true, "none": null, "items": [{"id": 7}], "a.b": 1}),
    );
    struct Answer(serde_json::Value);
    impl Lookup for Answer {
        fn see(&self, subject: &Subject) -> Seen {
            match subject {
                Subject::Json(path) => Seen::json(path.find(&self.0)),
                Subject::Body => Seen::Text("all is ready\n".to_owned()),
                Subject::Header(name) if name == "server" => Seen::Text("nginx".to_owned()),
                Subject::Header(_) => Seen::Text(String::new()),
                Subject::Name(_) => Seen::NoData,
            }
        }
    }
    let answer = Answer(document);
    for (condition, why) in [
        ("json total = 3 and json total != 4 and json items.0.id > 6 and json \"a.b\" = 1", None),
        ("json state = \"5\" and json ready = true and json ready != false and json none = null", None),
        ("body contains ready and header SERVER = nginx and header server contains gin and header x = \"\"", None),
        ("json total = \"3\"", Some("json total was 3 (must be \"3\")")),
        ("json state = 5", Some("json state was \"5\" (must be 5)")),
        ("json state != 6", Some("json state was \"5\" (must be != 6)")),
        ("json lost > 0", Some("json lost was missing (must be > 0)")),
        ("json lost != 0", Some("json lost was missing (must be != 0)")),
        ("json items.1.id != 0", Some("json items.1.id was missing (must be != 0)")),
        ("json items.-1.id != 0", Some("json items.-1.id was missing (must be != 0)")),
        ("json items != x", Some("json items was a list (must be != x)")),
        ("json state.length > 0", Some("json state.length was missing (must be > 0)")),
        ("body contains wrong", Some("body was \"all is ready \" (must contain wrong)")),
        ("header server != \"nginx\"", Some("header server was \"nginx\" (must be != nginx)")),
        ("header x-frame-options = DENY", Some("header x-frame-options was \"\" (must be DENY)")),
    ] {
        let evaluation = Condition::parse(condition, &Words::answer()).unwrap().evaluate(&answer);
        let failed = (evaluation.outcome() != Outcome::Held).then(|| evaluation.explain());
        assert_eq!(failed.as_deref(), why, "{condition}");
    }
}

fn quantity(units: &'static [Unit]) -> impl Strategy<Value = Quantity> {
    let number = prop_oneof![
        (-1000i32..1000).prop_map(f64::from),
        (-1.0e6..1.0e6f64),
        "-?[0-9]{1,18}(\\.[0-9]{1,18})?".prop_map(|digits| digits.parse().unwrap()),
    ];
    let unit = prop::sample::select(units.iter().copied().map(Some).chain([None]).collect::<Vec<_>>());
    (number, unit).prop_map(|(number, unit)| Quantity { number, unit })
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof!["[ -~]{0,12}", "\\PC{0,8}", Just("and".to_owned()), Just("baseline".to_owned()), "[0-9.]{1,4}%?"]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    use Operator::*;
    let numeric = || prop::sample::select(vec![Less, AtMost, More, AtLeast, Equal, NotEqual]);
    let textual = || prop::sample::select(vec![Equal, NotEqual, Contains]);
    let name = || "[a-zA-Z][a-zA-Z0-9_.-]{0,8}".prop_filter("a name", |n| !RESERVED.contains(&n.as_str()));
    let path = || {
        let segment = prop_oneof!["[a-z0-9_$@-]{1,5}", "[ -~]{1,6}"];
        prop::collection::vec(segment, 1..4).prop_map(|segments| JsonPath { segments })
    };
    let baseline = (prop_oneof![Just(1.0), 0.0..10.0f64], prop::option::of(quantity(UNITS)))
        .prop_map(|(factor, offset)| Value::Baseline { factor, offset });
    let value = prop_oneof![quantity(UNITS).prop_map(Value::Quantity), baseline];
    let subject = prop_oneof![
        Just(Subject::Body),
        "[a-z][a-z0-9-]{0,8}".prop_map(Subject::Header),
        path().prop_map(Subject::Json)
    ];
    prop_oneof![
        (name().prop_map(Subject::Name), numeric(), value).prop_map(|(subject, operator, value)| Comparison {
            subject,
            operator,
            value
        }),
        (path().prop_map(Subject::Json), numeric(), quantity(&[]).prop_map(Value::Quantity))
            .prop_map(|(subject, operator, value)| Comparison { subject, operator, value }),
        (subject, textual(), texts().prop_map(Value::Text)).prop_map(|(subject, operator, value)| Comparison {
            subject,
            operator,
            value
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn reading_what_was_printed_gives_the_same_condition(comparisons in prop::collection::vec(comparison(), 1..4)) {
        let condition = Condition { comparisons };
        let printed = condition.to_string();
        prop_assume!(printed.len() <= MAX_LENGTH);
        let read = Condition::parse(&printed, &Words::any()).map_err(|m| TestCaseError::fail(m.to_string()))?;
        prop_assert_eq!(&read, &condition, "{}", printed);
        prop_assert_eq!(read.to_string(), printed);
    }

    #[test]
    fn nothing_makes_the_parser_panic(text in "\\PC{0,60}") {
        for words in [Words::any(), Words::answer(), Words::load(), shop()] {
            if let Err(mistake) = Condition::parse(&text, &words) {
                let _ = mistake.to_string();
            }
        }
        let _ = text.parse::<JsonPath>();
    }

    #[test]
    fn no_mix_of_its_own_words_makes_the_parser_panic(
        tokens in prop::collection::vec(prop::sample::select(vec![
            "and", "baseline", "body", "contains", "header", "json", "status", "p95", "<", "<=", "=", "!=", "*", "+", "-",
            "1", "1.", "1.2", "%", "ms", "\"", "\\", ".", " ", " ", " ", "\n", "\t", "é", "≤", "[", "\u{0}", "🙂",
        ]), 0..24)
    ) {
        let text = tokens.concat();
        for words in [Words::any(), Words::answer(), Words::load(), shop()] {
            match Condition::parse(&text, &words) {
                Ok(condition) => {
                    prop_assert_eq!(Condition::parse(&condition.to_string(), &words).ok(), Some(condition));
                }
                Err(mistake) => {
                    // The place is inside the text, at characters' boundaries, and is pointed at.
                    prop_assert!(text.get(mistake.at.clone()).is_some());
                    prop_assert!(mistake.to_string().lines().last().is_some_and(|l| l.contains('^')));
                }
            }
        }
    }
}

const REFERENCE: &str = include_str!("../../docs/conditions.md");

/// The fenced blocks of the reference whose info string begins with `kind`, with the rest of that string.
fn blocks(kind: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut lines = REFERENCE.lines();
    while let Some(line) = lines.next() {
        if let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) {
            let body: Vec<&str> = lines.by_ref().take_while(|l| *l != "```").collect();
            if let Some(rest) = info.strip_prefix(kind) {
                found.push((rest.trim().to_owned(), body.join("\n")));
            }
        }
    }
    found
}

#[test]
fn every_example_of_the_reference_is_read() {
    let examples = blocks("condition");
    assert!(examples.len() >= 3);
    for (place, lines) in examples {
        let words = match place.as_str() {
            "metrics" => shop(),
            "answer" => Words::answer(),
            "load" => Words::load(),
            other => panic!("no such place: {other}"),
        };
        for line in lines.lines() {
            if let Err(mistake) = Condition::parse(line, &words) {
                panic!("{mistake}");
            }
        }
    }
}

#[test]
fn the_grammar_of_the_reference_names_what_the_parser_takes() {
    let grammar = blocks("ebnf").into_iter().map(|(_, body)| body).collect::<String>();
    for word in Operator::ALL.iter().map(|o| o.as_str()).chain(RESERVED.iter().copied()) {
        assert!(grammar.contains(&format!("\"{word}\"")), "the grammar lacks {word}");
    }
    let table: String = UNITS.iter().map(|u| format!("| `{}` | {} |\n", u.as_str(), u.about())).collect();
    assert!(REFERENCE.contains(&table), "the table of units should be:\n{table}");
}

#[test]
fn the_mistake_that_the_reference_shows_is_the_one_that_people_see() {
    let shown = blocks("mistake");
    assert!(!shown.is_empty());
    for (_, text) in shown {
        let condition = text.lines().nth(1).unwrap().trim();
        assert_eq!(Condition::parse(condition, &shop()).unwrap_err().to_string(), text);
    }
}
