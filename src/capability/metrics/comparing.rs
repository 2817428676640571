//! What samples say against a baseline, all of them together: `shift` has the method, here is what is made of it.
use super::{
    facts::{Facts, median},
    shift::{self, BELIEVED, FEWEST},
};
use crate::{
    condition::{Comparison, Condition, Evaluation, Judged, Operator, Outcome, Subject, Value, show},
    resource::{
        Failure,
        metrics::{Baseline, Observer},
    },
};
use std::collections::BTreeMap;

/// What is recorded of a metric. `None`: there was no data.
pub fn baseline(values: &[f64]) -> Option<Baseline> {
    let memory = shift::memory(values);
    Some(Baseline {
        median: median(values.to_vec())?,
        samples: values.len() as u64,
        quartiles: quartiles(values),
        memory,
        batches: shift::batches(values, memory),
    })
}

fn quartiles(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |part: f64| sorted.get(((sorted.len().max(1) - 1) as f64 * part).round() as usize).copied();
    [0.25, 0.75].map(|part| at(part).unwrap_or(f64::NAN))
}

/// What can be compared at all: that is the script's to know before anything is waited for.
pub fn comparable(condition: &Condition) -> Result<(), Failure> {
    let relative = |c: &&Comparison| matches!(c.value, Value::Baseline { .. });
    if !condition.comparisons.iter().any(|c| relative(&c)) {
        return Err(Failure::invalid("`compare` takes a condition with `baseline`, as in `p95 <= 1.1 * baseline`"));
    }
    match condition.comparisons.iter().filter(relative).find(|c| direction(c.operator).is_none()) {
        Some(c) => {
            Err(Failure::invalid(format!("nothing is exactly as its baseline: `{}` says no direction", c.operator)))
        }
        None => Ok(()),
    }
}

/// What speaks against the condition: that the samples lie `Higher`, or lower.
fn direction(operator: Operator) -> Option<Against> {
    match operator {
        Operator::Less | Operator::AtMost => Some(Against::Higher),
        Operator::More | Operator::AtLeast => Some(Against::Lower),
        Operator::Equal | Operator::NotEqual | Operator::Contains => None,
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Against {
    Higher,
    Lower,
}

/// Why nothing can be held against a baseline.
pub fn unfit(name: &str, baseline: &Baseline) -> Option<String> {
    let few = baseline.batches.len() < FEWEST;
    few.then(|| too_few(&format!("{name}: the baseline's"), baseline.samples, baseline.memory))
}

fn too_few(whose: &str, samples: u64, memory: f64) -> String {
    let needed = shift::needed(memory);
    format!("{whose} {samples} samples are too few: {memory:.0} of them say as much as one, so it takes {needed}")
}

/// The samples of one metric, in their order; `None` had no data.
pub type Samples = BTreeMap<String, Vec<Option<f64>>>;

pub struct Compared {
    pub evaluation: Evaluation,
    /// One line.
    pub said: String,
}

/// The first fifth is warm-up: what was just started is slow.
fn warm(samples: &[Option<f64>]) -> &[Option<f64>] {
    &samples[samples.len() / 5..]
}

/// Comparisons with a baseline by all samples, the others by their median.
pub fn compare(
    condition: &Condition,
    samples: &Samples,
    baselines: &BTreeMap<String, Baseline>,
    metrics: &Observer,
) -> Compared {
    let mut medians = BTreeMap::new();
    let mut sparse = BTreeMap::new();
    for (name, all) in samples {
        let with: Vec<f64> = warm(all).iter().copied().flatten().collect();
        let taken = warm(all).len();
        let enough = with.len() * 2 >= taken && !with.is_empty();
        medians.insert(name.clone(), if enough { median(with.clone()) } else { None });
        if !enough {
            sparse.insert(name.as_str(), format!("no data in {} of {taken} samples", taken - with.len()));
        }
    }
    let centres = baselines.iter().map(|(name, baseline)| (name.clone(), baseline.median)).collect();
    let mut evaluation = condition.evaluate(&Facts { sample: &medians, baselines: &centres, metrics });
    let mut said = Vec::new();
    for (comparison, judged) in condition.comparisons.iter().zip(&mut evaluation.comparisons) {
        let Subject::Name(name) = &comparison.subject else { continue };
        if let Some(why) = sparse.get(name.as_str()) {
            judged.seen.clone_from(why);
        }
        let Value::Baseline { factor, offset } = &comparison.value else {
            said.push(match judged.outcome {
                Outcome::Failed => format!("{name} was {} in the median (must be {})", judged.seen, judged.must),
                Outcome::Held => format!("{name} was {} in the median", judged.seen),
                Outcome::NoData => format!("{name}: {}", judged.seen),
            });
            continue;
        };
        // Without data or baseline there is nothing to compare.
        let (Some(baseline), false) = (baselines.get(name), judged.outcome == Outcome::NoData) else {
            said.push(format!("{name}: {}", judged.seen));
            continue;
        };
        let limit = |number: f64| factor * number + offset.map_or(0.0, |offset| offset.canonical());
        let with: Vec<f64> = samples.get(name).map(|all| warm(all)).into_iter().flatten().copied().flatten().collect();
        let shown = |number: f64| show(number, metrics.dimension(name), condition.unit(name));
        let one = One { name, judged, operator: comparison.operator, baseline, now: &with };
        let (outcome, text) = one.decide(limit, shown);
        judged.outcome = outcome;
        said.push(text);
    }
    Compared { evaluation, said: said.join(", ") }
}

/// One metric against its baseline.
struct One<'c> {
    name: &'c str,
    judged: &'c Judged,
    operator: Operator,
    baseline: &'c Baseline,
    now: &'c [f64],
}

impl One<'_> {
    fn decide(&self, limit: impl Fn(f64) -> f64, shown: impl Fn(f64) -> String) -> (Outcome, String) {
        let Self { name, judged, baseline, now, .. } = self;
        if let Some(why) = unfit(name, baseline) {
            return (Outcome::NoData, why);
        }
        let memory = shift::memory(now);
        let batches = shift::batches(now, memory);
        if batches.len() < FEWEST {
            return (Outcome::NoData, too_few(&format!("{name}: its"), now.len() as u64, memory));
        }
        let limits: Vec<f64> = baseline.batches.iter().copied().map(limit).collect();
        let Some(against) = direction(self.operator) else { return (judged.outcome, judged.seen.clone()) };
        let (shift, word) = match against {
            Against::Higher => (shift::higher(&limits, &batches), "above"),
            Against::Lower => (shift::higher(&batches, &limits), "below"),
        };
        let outcome = if shift.chance < BELIEVED { Outcome::Failed } else { Outcome::Held };
        let middle = judged.number.unwrap_or(f64::NAN);
        let change = match baseline.median {
            0.0 => String::new(),
            before => format!(", {:+.0} %", (middle / before - 1.0) * 100.0),
        };
        let [low, high] = quartiles(now);
        let must = if outcome == Outcome::Failed { "must be" } else { "allowed is" };
        let text = format!(
            "{name} was {} in the median, half of it {} to {}, before {}, half of it {} to {}{change} ({must} {}): {word} that in {:.0} % \
             of pairs, by chance {}; {} batches of {} samples, before {} of {}{}",
            judged.seen,
            shown(low),
            shown(high),
            shown(baseline.median),
            shown(baseline.quartiles[0]),
            shown(baseline.quartiles[1]),
            judged.must,
            (shift.delta + 1.0) * 50.0,
            probability(shift.chance),
            batches.len(),
            now.len(),
            baseline.batches.len(),
            baseline.samples,
            outliers(now, low, high, shown),
        );
        (outcome, text)
    }
}

fn probability(chance: f64) -> String {
    match chance {
        chance if chance < 0.0001 => "p < 0.0001".to_owned(),
        chance => format!("p = {chance:.4}"),
    }
}

/// Those that stand far out, in either direction: Tukey's outer fences.
fn outliers(now: &[f64], low: f64, high: f64, shown: impl Fn(f64) -> String) -> String {
    let fence = 3.0 * (high - low);
    let out: Vec<f64> = now.iter().copied().filter(|x| *x > high + fence || *x < low - fence).collect();
    let far = |a: &&f64, b: &&f64| (*a - high).abs().total_cmp(&(*b - high).abs());
    match out.iter().max_by(far) {
        Some(farthest) => format!("; {} of them stand out, the farthest {}", out.len(), shown(*farthest)),
        None => String::new(),
    }
}
