//! The condition language: what must hold, in one string, read strictly. `docs/conditions.md` is its reference.
//!
//! ```text
//! error-rate < 1% and p95 <= 1.2 * baseline
//! status = 200 and json items.0.id > 0
//! ```
//!
//! A condition is read against the words of its place (`Words`): which names there are, and what each of them measures. Only
//! then can `p95 < 1%` be a mistake that points at the `%`, instead of a comparison that never holds, or always does.
mod evaluate;
mod json;
mod mistake;
mod parse;
mod unit;
mod words;

pub use evaluate::{Evaluation, Judged, Lookup, Outcome, Seen};
pub use json::JsonPath;
pub use mistake::Mistake;
pub use unit::{Dimension, Quantity, UNITS, Unit, scaled, show};
pub use words::{RESERVED, Words};

use std::fmt;

/// Bytes of a condition.
pub const MAX_LENGTH: usize = 1024;
/// Comparisons of a condition.
pub const MAX_COMPARISONS: usize = 16;

/// Comparisons that must all hold; at least one.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub comparisons: Vec<Comparison>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub subject: Subject,
    pub operator: Operator,
    pub value: Value,
}

/// What is looked at.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A metric, or a number that every answer has: `status`, `time`.
    Name(String),
    Body,
    /// in lower case
    Header(String),
    Json(JsonPath),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    NotEqual,
    Contains,
}

/// What it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Quantity(Quantity),
    /// The baseline of the metric on the left, times a factor, plus an offset that may be negative.
    Baseline {
        factor: f64,
        offset: Option<Quantity>,
    },
    Text(String),
}

impl Condition {
    /// Reads a condition. The mistake points at its place and says what was expected there.
    pub fn parse(text: &str, words: &Words) -> Result<Self, Mistake> {
        parse::condition(text, words)
    }

    /// The names that it compares, each once, in their order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for comparison in &self.comparisons {
            if let Subject::Name(name) = &comparison.subject
                && !names.contains(&name.as_str())
            {
                names.push(name);
            }
        }
        names
    }

    /// The names that it compares with their own baseline.
    pub fn baselines(&self) -> Vec<&str> {
        let relative = |c: &&Comparison| matches!(c.value, Value::Baseline { .. });
        let name = |c| match c {
            &Comparison { subject: Subject::Name(ref name), .. } => Some(name.as_str()),
            _ => None,
        };
        self.comparisons.iter().filter(relative).filter_map(name).collect()
    }

    /// The unit in which it speaks of a name, if it says one anywhere.
    pub fn unit(&self, name: &str) -> Option<Unit> {
        self.comparisons
            .iter()
            .filter(|c| matches!(&c.subject, Subject::Name(n) if n == name))
            .find_map(|c| c.value.unit())
    }
}

impl Value {
    fn unit(&self) -> Option<Unit> {
        match self {
            Self::Quantity(quantity) | Self::Baseline { offset: Some(quantity), .. } => quantity.unit,
            Self::Baseline { offset: None, .. } | Self::Text(_) => None,
        }
    }
}

impl Operator {
    pub const ALL: &'static [Self] =
        &[Self::Less, Self::AtMost, Self::More, Self::AtLeast, Self::Equal, Self::NotEqual, Self::Contains];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Contains => "contains",
        }
    }
}

/// The canonical form: reading it gives the same condition again.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, comparison) in self.comparisons.iter().enumerate() {
            if i > 0 {
                f.write_str(" and ")?;
            }
            write!(f, "{} {}", comparison.subject, comparison.must())?;
        }
        Ok(())
    }
}

impl Comparison {
    /// Operator and value: `< 1%`.
    pub fn must(&self) -> String {
        let value = match &self.value {
            // What follows `json PATH =` may also be a number, so a text that could be taken for one is quoted.
            Value::Text(text) if parse::is_bare(text, &self.subject) => text.clone(),
            Value::Text(text) => quoted(text),
            value => value.to_string(),
        };
        format!("{} {value}", self.operator)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Body => f.write_str("body"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Json(path) => write!(f, "json {path}"),
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(quantity) => quantity.fmt(f),
            Self::Baseline { factor, offset } => {
                if *factor != 1.0 {
                    write!(f, "{factor} * ")?;
                }
                f.write_str("baseline")?;
                match offset {
                    Some(quantity) if quantity.number.is_sign_negative() => {
                        write!(f, " - {}", Quantity { number: -quantity.number, ..*quantity })
                    }
                    Some(quantity) => write!(f, " + {quantity}"),
                    None => Ok(()),
                }
            }
            Self::Text(text) => f.write_str(&quoted(text)),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
