//! Samples of metrics, as a condition looks at them.
use crate::{
    condition::{Condition, Dimension, Lookup, Outcome, Seen, Subject, Words, show},
    resource::{
        CallCtx, Failure, FailureKind,
        metrics::{Numbers, Observer},
    },
};
use std::collections::{BTreeMap, BTreeSet};

pub type Sample = BTreeMap<String, Option<f64>>;

/// Reads a condition against what the need lists, then against what the resource has. Names outside of the need are denied
/// whether they exist or not.
pub fn read(condition: &str, allowed: &[String], metrics: &Observer) -> Result<Condition, Failure> {
    let listed = Words::metrics(allowed.iter().map(|name| (name.as_str(), Dimension::Any)));
    Condition::parse(condition, &listed).map_err(|mistake| match &mistake.unknown {
        Some(name) => not_listed(name, allowed),
        None => Failure::invalid(mistake.to_string()),
    })?;
    let names = metrics.names();
    let have = names.iter().map(|name| (name.as_str(), metrics.dimension(name)));
    let words = Words::metrics(have.filter(|(name, _)| allowed.iter().any(|a| a == name)));
    Condition::parse(condition, &words).map_err(|mistake| Failure::invalid(mistake.to_string()))
}

pub fn not_listed(name: &str, allowed: &[String]) -> Failure {
    let name: String = name.chars().take(128).collect();
    Failure::denied(match allowed {
        [] => format!("the need lists no queries, so `{name}` is not granted"),
        listed => format!("the need does not list `{name}`, only: {}", listed.join(", ")),
    })
}

/// The numbers of now. That nobody answers is no data, and the reason is told with it; a mistake of the script or the site
/// is a failure.
pub async fn sample(
    names: &[String],
    metrics: &Observer,
    call: &CallCtx,
) -> Result<(Numbers, Option<String>), Failure> {
    match metrics.read(names, call).await {
        Ok(numbers) => Ok((numbers, None)),
        Err(Failure { kind: FailureKind::Unavailable | FailureKind::TimedOut, message, .. }) => {
            let nothing: Sample = names.iter().map(|name| (name.clone(), None)).collect();
            Ok((nothing.into(), Some(message)))
        }
        Err(failure) => Err(failure),
    }
}

pub struct Facts<'f> {
    pub sample: &'f Sample,
    pub baselines: &'f BTreeMap<String, f64>,
    pub metrics: &'f Observer,
}

impl Lookup for Facts<'_> {
    fn see(&self, subject: &Subject) -> Seen {
        match subject {
            Subject::Name(name) => self.sample.get(name).copied().flatten().map_or(Seen::NoData, Seen::Number),
            _ => Seen::NoData,
        }
    }
    fn baseline(&self, name: &str) -> Option<f64> {
        self.baselines.get(name).copied()
    }
    fn dimension(&self, name: &str) -> Dimension {
        self.metrics.dimension(name)
    }
}

/// In a simulated world: whether the numbers that somebody gave leave it to be assumed that the condition holds. They do not
/// where they break it, or where there is one for each of its names.
pub fn is_open(condition: &Condition, baselines: &BTreeMap<String, f64>, metrics: &Observer) -> bool {
    let sample: Sample = condition.names().into_iter().map(|name| (name.to_owned(), metrics.given(name))).collect();
    let broken = condition.evaluate(&Facts { sample: &sample, baselines, metrics }).outcome() == Outcome::Failed;
    !broken && sample.values().any(Option::is_none)
}

/// `error-rate 0.3 %, p95 121 ms`
pub fn line(sample: &Sample, condition: Option<&Condition>, metrics: &Observer) -> String {
    let one = |(name, value): (&String, &Option<f64>)| {
        let unit = condition.and_then(|c| c.unit(name));
        let shown = value.map_or_else(|| "no data".to_owned(), |v| show(v, metrics.dimension(name), unit));
        format!("{name} {shown}")
    };
    sample.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What was seen, with what the source says against it.
pub fn warned(said: String, warnings: &BTreeSet<String>) -> String {
    match warnings.is_empty() {
        true => said,
        false => {
            let shown: Vec<&str> = warnings.iter().take(3).map(String::as_str).collect();
            format!("{said} (warning: {})", shown.join("; "))
        }
    }
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|v| v.is_finite());
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().checked_sub(1)? / 2)?;
    Some(lower + (upper - lower) / 2.0)
}
