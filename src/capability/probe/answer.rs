//! Conditions about answers and load tests, and the verdicts on them.
use crate::{
    condition::{Condition, Dimension, Evaluation, Lookup, Seen, Subject, Words},
    plain::hidden,
    resource::{
        Area, Failure, Reading,
        probe::{Response, Sample},
    },
};
use serde_json::Value;

/// Characters of a path or a condition in a title.
const MAX_TITLE: usize = 200;

pub fn read(condition: &str, words: &Words) -> Result<Condition, Failure> {
    Condition::parse(condition, words).map_err(|mistake| Failure::invalid(mistake.to_string()))
}

/// One answer, as a condition looks at it. Whatever it lacks is seen to be lacking: an answer is never without data.
struct Answer<'r> {
    response: &'r Response,
    json: Result<Value, &'static str>,
}

impl Lookup for Answer<'_> {
    fn see(&self, subject: &Subject) -> Seen {
        match subject {
            Subject::Name(name) => match name.as_str() {
                "status" => Seen::Number(self.response.status.into()),
                "time" => Seen::Number(self.response.millis / 1000.0),
                _ => Seen::NoData,
            },
            Subject::Body => Seen::Text(self.response.body.clone()),
            Subject::Header(name) => Seen::Text(self.response.headers.get(name).cloned().unwrap_or_default()),
            Subject::Json(path) => match &self.json {
                Ok(document) => Seen::json(path.find(document)),
                Err(why) => Seen::Other(format!("missing: {why}")),
            },
        }
    }
}

pub fn judge(condition: &Condition, response: &Response) -> Evaluation {
    let asked = condition.comparisons.iter().any(|c| matches!(c.subject, Subject::Json(_)));
    let json = match asked {
        false => Err("it was not read"),
        true if response.cut => Err("the body is longer than 64 KiB"),
        true => serde_json::from_str(&response.body).map_err(|_| "the body is no JSON"),
    };
    condition.evaluate(&Answer { response, json })
}

/// What came back, in one line.
pub fn came_back(evaluation: &Evaluation, response: &Response) -> String {
    let seen = evaluation.explain();
    match response.status {
        200..300 => seen,
        // Why a body is wrong is often told by the status.
        status if !evaluation.comparisons.iter().any(|c| c.name == "status") => format!("{seen}; status was {status}"),
        _ => seen,
    }
}

/// What a check of an answer is about.
pub fn area(condition: &Condition) -> Area {
    match condition.comparisons.iter().any(|c| matches!(c.subject, Subject::Header(_))) {
        true => Area::Security,
        false => Area::Functional,
    }
}

pub fn title(path: &str, condition: &Condition) -> String {
    format!("GET {}: {}", brief(path), brief(&condition.to_string()))
}

pub fn brief(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_TITLE).map(|c| if hidden(c) { ' ' } else { c }).collect();
    if text.chars().nth(MAX_TITLE).is_some() {
        shown.push('…');
    }
    shown
}

/// A load test, as a condition looks at it.
pub struct Measured<'s>(pub &'s Sample);

impl Measured<'_> {
    fn value(&self, name: &str) -> Option<f64> {
        let sample = self.0;
        let answered = (sample.requests - sample.errors) as f64;
        Some(match name {
            "p50" => sample.p50 / 1000.0,
            "p90" => sample.p90 / 1000.0,
            "p95" => sample.p95 / 1000.0,
            "p99" => sample.p99 / 1000.0,
            "max" => sample.max / 1000.0,
            "rate" => answered / sample.seconds,
            "errors" => sample.errors as f64 / sample.requests as f64,
            "requests" => sample.requests as f64,
            _ => return None,
        })
    }

    /// Everything that was measured, for the report; what the condition speaks of with the limit that it had to meet.
    pub fn readings(&self, evaluation: &Evaluation) -> Vec<Reading> {
        let mut readings = Reading::of(evaluation);
        for name in ["p50", "p90", "p95", "p99", "rate", "errors", "requests"] {
            if !readings.iter().any(|r| r.name == name)
                && let Some(value) = self.value(name).filter(|v| v.is_finite())
            {
                readings.push(Reading::shown(name, value, self.dimension(name)));
            }
        }
        readings
    }
}

impl Lookup for Measured<'_> {
    fn see(&self, subject: &Subject) -> Seen {
        match subject {
            Subject::Name(name) => self.value(name).map_or(Seen::NoData, Seen::Number),
            _ => Seen::NoData,
        }
    }
    fn dimension(&self, name: &str) -> Dimension {
        Words::load().dimension(name).unwrap_or(Dimension::Any)
    }
}
