//! What conditions decide.
use backout::condition::{Condition, Dimension, Lookup, Outcome, Seen, Subject, Words};
use std::collections::BTreeMap;

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
