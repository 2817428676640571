//! Conditions: what is read is printed, and what is printed is read; and a mistake has a place in the text.
use super::{cases, damage::damaged_text, in_little_memory, remember};
use crate::condition::{reference, shop};
use backout::condition::{
    Comparison, Condition, JsonPath, MAX_LENGTH, Operator, Quantity, RESERVED, Subject, UNITS, Unit, Value, Words,
};
use proptest::prelude::*;

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

#[test]
fn conditions() {
    in_little_memory("condition");
}

/// Read in every place where there are conditions.
fn read(text: &str) {
    remember("condition", text);
    for words in [Words::any(), Words::answer(), Words::load(), shop()] {
        match Condition::parse(text, &words) {
            Ok(condition) => {
                let printed = condition.to_string();
                // What is printed may be longer than what was read, and then too long to be read.
                if printed.len() <= MAX_LENGTH {
                    assert_eq!(Condition::parse(&printed, &words).ok(), Some(condition), "{printed}");
                }
            }
            Err(mistake) => {
                // The place is inside the text, at characters' boundaries, and is pointed at.
                assert!(text.get(mistake.at.clone()).is_some(), "{:?} of {text:?}", mistake.at);
                let told = mistake.to_string();
                assert!(told.lines().nth(2).is_some_and(|line| line.contains('^')), "{told}");
                assert!(told.len() < 2000 && !told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
            }
        }
    }
    if let Ok(path) = text.parse::<JsonPath>() {
        assert_eq!(path.to_string().parse::<JsonPath>().ok(), Some(path));
    }
}

proptest! {
    #![proptest_config(cases(700))]

    #[test]
    #[ignore = "run by `conditions` in a process of its own"]
    fn reading_what_was_printed_gives_the_same_condition(comparisons in prop::collection::vec(comparison(), 1..4)) {
        let condition = Condition { comparisons };
        let printed = condition.to_string();
        prop_assume!(printed.len() <= MAX_LENGTH);
        let read = Condition::parse(&printed, &Words::any()).map_err(|m| TestCaseError::fail(m.to_string()))?;
        prop_assert_eq!(&read, &condition, "{}", printed);
        prop_assert_eq!(read.to_string(), printed);
    }

    #[test]
    #[ignore = "run by `conditions` in a process of its own"]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        read(&text);
    }

    #[test]
    #[ignore = "run by `conditions` in a process of its own"]
    fn a_damaged_condition_is_read_or_refused(text in damaged_text(reference::conditions(), WORDS)) {
        read(&String::from_utf8_lossy(&text.0));
    }
}

const WORDS: &[&str] = &[
    "and", "baseline", "body", "contains", "header", "json", "status", "time", "p95", "<", "<=", ">", ">=", "=", "!=",
    "==", "+", "-", "1.", "1.2", ".5", "ms", "s", "KiB", "/s", "≤", "or", "&&",
];
