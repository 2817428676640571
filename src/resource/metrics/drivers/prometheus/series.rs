//! What a query gives: one number, or one series of them. More than one is a mistake of the query, none is no data.
use super::api::plain;
use crate::resource::Failure;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

type Labels = BTreeMap<String, String>;
/// A time in seconds, and the number as text: JSON knows no `NaN`.
type Point = (f64, String);

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum Series {
    Scalar(Point),
    Vector(Vec<Instant>),
    Matrix(Vec<Range>),
    String(Point),
}

#[derive(Deserialize)]
pub struct Instant {
    metric: Labels,
    /// A histogram has none.
    value: Option<Point>,
}

#[derive(Deserialize)]
pub struct Range {
    metric: Labels,
    #[serde(default)]
    values: Vec<Point>,
    #[serde(default)]
    histograms: Vec<Value>,
}

impl Series {
    /// Of an instant query. Not a number and infinity are no data.
    pub fn number(self) -> Result<Option<f64>, Failure> {
        match self {
            Self::Scalar(point) => number(&point),
            Self::Vector(series) => match only(series, |one| &one.metric)? {
                None => Ok(None),
                Some(Instant { value: Some(point), .. }) => number(&point),
                Some(Instant { value: None, .. }) => Err(histogram()),
            },
            Self::Matrix(_) => Err(Failure::invalid(
                "the query gives many values for each series: make one number of them, as in `rate(…[1m])`",
            )),
            Self::String((_, text)) => {
                Err(Failure::invalid(format!("the query gives the text `{}`, not a number", plain(&text, 40))))
            }
        }
    }

    /// Of a range query, in the order of time, without what is no data.
    pub fn numbers(self) -> Result<Vec<f64>, Failure> {
        let Self::Matrix(series) = self else {
            return Err(Failure::invalid("Prometheus gave something else than a series"));
        };
        let Some(one) = only(series, |one| &one.metric)? else { return Ok(Vec::new()) };
        if !one.histograms.is_empty() {
            return Err(histogram());
        }
        let numbers = one.values.iter().filter_map(|point| number(point).transpose());
        numbers.collect()
    }
}

fn number((_, text): &Point) -> Result<Option<f64>, Failure> {
    let number: f64 =
        text.parse().map_err(|_| Failure::invalid(format!("`{}` of Prometheus is no number", plain(text, 40))))?;
    Ok(Some(number).filter(|number| number.is_finite()))
}

fn only<S>(mut series: Vec<S>, labels: impl Fn(&S) -> &Labels) -> Result<Option<S>, Failure> {
    if series.len() <= 1 {
        return Ok(series.pop());
    }
    // Their values may be addresses, which are not for the script.
    let names: BTreeSet<&String> = series.iter().flat_map(|one| labels(one).keys()).collect();
    let differs = |name: &&String| series.iter().any(|one| labels(one).get(*name) != labels(&series[0]).get(*name));
    let differing: Vec<&str> = names.into_iter().filter(differs).map(String::as_str).collect();
    Err(Failure::invalid(format!(
        "the query gives {} series where one is wanted, which differ in {}; make one of them, as in `sum(…)` or `max(…)`",
        series.len(),
        plain(&differing.join(", "), 120)
    )))
}

fn histogram() -> Failure {
    Failure::invalid("the query gives a histogram: make a number of it, as in `histogram_quantile(0.95, …)`")
}
