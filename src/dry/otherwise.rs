//! Which arguments of a script's calls follow from what only the day of the upgrade can tell: found by playing it at another time, and
//! with other answers.
use super::{
    course::{Call, Path},
    stage::{EVENING, MORNING, Stage, Told},
};
use serde_json::{Number, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What a call that looks answers instead of what it has seen.
pub type Otherwise = fn(Value) -> Value;

/// The keys of the calls that change something and say something else in it when the time or an answer is another one.
pub async fn varying(stage: &Stage) -> BTreeSet<String> {
    let usual = stage.play_in_full(Path::new(), MORNING, None).await;
    let mut varying = BTreeSet::new();
    for (at, answers) in [(EVENING, None), (MORNING, Some(numbers as Otherwise)), (MORNING, Some(texts))] {
        let other = stage.play_in_full(Path::new(), at, answers).await;
        varying.extend(differing(&usual, &other));
    }
    varying
}

/// A script that goes another way says nothing about those calls that it does not come to.
fn differing(usual: &Told, other: &Told) -> Vec<String> {
    let others: BTreeMap<String, &Call> = other.calls.iter().map(|call| (call.key(), call)).collect();
    let differs = |call: &&Call| {
        let same = others.get(&call.key()).filter(|o| o.operation == call.operation && o.label == call.label);
        same.is_some_and(|other| other.arguments != call.arguments)
    };
    usual.calls.iter().filter(differs).map(Call::key).collect()
}

/// With other numbers, also those that are written in texts.
fn numbers(value: Value) -> Value {
    changed(value, &|text| text.parse::<i64>().ok().map(|number| number.wrapping_add(1).to_string()))
}

/// With other texts besides.
fn texts(value: Value) -> Value {
    changed(value, &|text| {
        let number = text.parse::<i64>().ok().map(|number| number.wrapping_add(1).to_string());
        Some(number.unwrap_or_else(|| format!("{text}x")))
    })
}

fn changed(value: Value, text: &dyn Fn(&str) -> Option<String>) -> Value {
    match value {
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => whole.wrapping_add(1).into(),
            (None, Some(number)) => Number::from_f64(number + 1.0).map_or(Value::Null, Value::Number),
            _ => Value::Number(number),
        },
        Value::String(string) => Value::String(text(&string).unwrap_or(string)),
        Value::Array(values) => values.into_iter().map(|value| changed(value, text)).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, changed(value, text))).collect(),
        other => other,
    }
}
