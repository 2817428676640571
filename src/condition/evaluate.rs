//! Three-valued: a comparison holds, fails, or has no data. One that fails decides, whatever the others lack; without it
//! one that has no data leaves the whole inconclusive.
use super::{Comparison, Condition, Dimension, Operator, Subject, Value, show, unit::scaled};
use crate::plain::hidden;
use serde_json::Value as Json;

/// What there is to see of a subject.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// In canonical units. A number that is not finite counts as no data.
    Number(f64),
    Text(String),
    /// Something that nothing can be compared with, in words: `missing`, `an object`. No comparison with it holds.
    Other(String),
    NoData,
}

/// Where an evaluation looks things up.
pub trait Lookup {
    fn see(&self, subject: &Subject) -> Seen;
    fn baseline(&self, _name: &str) -> Option<f64> {
        None
    }
    /// How the numbers of a name are shown.
    fn dimension(&self, _name: &str) -> Dimension {
        Dimension::Any
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Held,
    NoData,
    Failed,
}

/// One comparison, and what was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    pub outcome: Outcome,
    /// the subject
    pub name: String,
    /// operator and value, with the baseline's own value: `<= 1.2 * baseline, here 142 ms`
    pub must: String,
    /// canonical
    pub number: Option<f64>,
    /// The number as people read it, and the unit of that.
    pub shown: Option<(f64, &'static str)>,
    /// `121 ms`, `"starting"`, `no data`
    pub seen: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    pub comparisons: Vec<Judged>,
}

impl Condition {
    pub fn evaluate(&self, lookup: &impl Lookup) -> Evaluation {
        Evaluation { comparisons: self.comparisons.iter().map(|c| c.evaluate(self, lookup)).collect() }
    }
}

impl Evaluation {
    pub fn outcome(&self) -> Outcome {
        self.comparisons.iter().map(|c| c.outcome).max().unwrap_or(Outcome::NoData)
    }

    /// One line: what did not hold, else what had no data, else what was seen.
    pub fn explain(&self) -> String {
        let outcome = self.outcome();
        let lines = self.comparisons.iter().filter(|c| c.outcome == outcome).map(|c| match c.outcome {
            Outcome::Held => format!("{} was {}", c.name, c.seen),
            Outcome::Failed => format!("{} was {} (must {})", c.name, c.seen, c.demand()),
            Outcome::NoData => format!("{}: {}", c.name, c.seen),
        });
        lines.collect::<Vec<_>>().join(", ")
    }
}

impl Judged {
    /// After "must": `be < 1%`, `be 200`, `contain ready`.
    fn demand(&self) -> String {
        match (self.must.strip_prefix("= "), self.must.strip_prefix("contains ")) {
            (Some(value), _) => format!("be {value}"),
            (_, Some(text)) => format!("contain {text}"),
            (None, None) => format!("be {}", self.must),
        }
    }
}

impl Comparison {
    fn evaluate(&self, condition: &Condition, lookup: &impl Lookup) -> Judged {
        let (name, dimension, unit) = match &self.subject {
            Subject::Name(name) => (name.as_str(), lookup.dimension(name), condition.unit(name)),
            _ => ("", Dimension::Any, None),
        };
        let unit = self.value.unit().or(unit);
        let seen = match lookup.see(&self.subject) {
            Seen::Number(number) if !number.is_finite() => Seen::NoData,
            seen => seen,
        };
        let number = match seen {
            Seen::Number(number) => Some(number),
            _ => None,
        };
        let mut judged = Judged {
            outcome: Outcome::NoData,
            name: self.subject.to_string(),
            must: self.must(),
            number,
            shown: number.map(|n| scaled(n, dimension, unit)),
            seen: match &seen {
                Seen::Number(n) => show(*n, dimension, unit),
                Seen::Text(text) => brief(text),
                Seen::Other(what) => what.clone(),
                Seen::NoData => "no data".to_owned(),
            },
        };
        let limit = match &self.value {
            Value::Quantity(quantity) => Some(quantity.canonical()),
            Value::Baseline { factor, offset } => {
                let Some(baseline) = lookup.baseline(name).filter(|b| b.is_finite()) else {
                    judged.seen = "no baseline was recorded".to_owned();
                    return judged;
                };
                let limit = factor * baseline + offset.map_or(0.0, |o| o.canonical());
                judged.must = format!("{}, here {}", judged.must, show(limit, dimension, unit));
                Some(limit)
            }
            Value::Text(_) => None,
        };
        let held = match (&seen, limit, &self.value) {
            (Seen::NoData, ..) => return judged,
            (Seen::Number(number), Some(limit), _) => match self.operator {
                Operator::Less => *number < limit,
                Operator::AtMost => *number <= limit,
                Operator::More => *number > limit,
                Operator::AtLeast => *number >= limit,
                Operator::Equal => *number == limit,
                Operator::NotEqual => *number != limit,
                Operator::Contains => false,
            },
            (Seen::Text(text), None, Value::Text(wanted)) => match self.operator {
                Operator::Equal => text == wanted,
                Operator::NotEqual => text != wanted,
                Operator::Contains => text.contains(wanted),
                _ => false,
            },
            // A number where a text was wanted, the other way round, or nothing comparable.
            _ => false,
        };
        judged.outcome = if held { Outcome::Held } else { Outcome::Failed };
        judged
    }
}

impl Seen {
    /// A value of a JSON document. What is not there is seen not to be there: that is no lack of data.
    pub fn json(value: Option<&Json>) -> Self {
        match value {
            None => Self::Other("missing".to_owned()),
            Some(Json::Number(number)) => number.as_f64().map_or(Self::NoData, Self::Number),
            Some(Json::String(text)) => Self::Text(text.clone()),
            Some(Json::Bool(bool)) => Self::Text(bool.to_string()),
            Some(Json::Null) => Self::Text("null".to_owned()),
            Some(Json::Array(_)) => Self::Other("a list".to_owned()),
            Some(Json::Object(_)) => Self::Other("an object".to_owned()),
        }
    }
}

/// A text in quotes, on one line and of bounded length.
fn brief(text: &str) -> String {
    const LENGTH: usize = 120;
    let mut shown: String = text.chars().take(LENGTH).map(|c| if hidden(c) { ' ' } else { c }).collect();
    if text.chars().nth(LENGTH).is_some() {
        shown.push('…');
    }
    format!("\"{shown}\"")
}
