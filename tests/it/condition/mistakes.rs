//! How conditions are refused.
use super::{shop, shown};
use backout::condition::{Condition, Words};
use expect_test::expect;

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

/// A mistake quotes the condition, and that comes from a script.
#[test]
fn a_mistake_turns_no_direction_of_writing() {
    for text in ["p95 < 1\u{202e}% 1 > 59p", "p95\u{2066} < 2 s", "p95 < \u{200b}2 s"] {
        let mistake = Condition::parse(text, &shop()).unwrap_err().to_string();
        assert!(!mistake.contains(['\u{202e}', '\u{2066}', '\u{200b}']), "{mistake:?}");
    }
}
