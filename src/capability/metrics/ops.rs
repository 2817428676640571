use super::{
    comparing::{self, Compared, comparable},
    facts::{self, Facts, line, median, not_listed, sample, warned},
    promql,
    sampling::{Clock, Seen},
    watching::{ROW, Ruled, Watching},
};
use crate::{
    capability::MAX_TIME,
    condition::{Condition, Dimension},
    gate::{Operation, class},
    resource::{
        Area, CallCtx, Failure, FailureKind, Metrics, Reading, Right, Ruling, Verdict,
        metrics::{self, Alert, HostMetrics, Observer},
    },
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// For what an operation does besides waiting for its own time: the last sample, a page that hangs.
const SLACK: Duration = Duration::from_secs(60);
/// Samples with data that a median takes.
const FEWEST: usize = 3;
/// Seconds of a comparison: fewer samples never say anything.
const SHORTEST: u32 = 24;
/// Seconds of a baseline.
const MAX_WINDOW: u32 = 3600;

#[derive(Serialize)]
pub struct Query {
    pub metrics: String,
    pub name: String,
    /// what the need lists
    pub allowed: Vec<String>,
}
impl Operation for Query {
    const NAME: &'static str = "metrics.query";
    const GIVEN: &'static [&'static str] = &["allowed"];
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Metrics;
    type Class = class::Observe;
    type Output = f64;
    fn label(&self) -> &str {
        &self.metrics
    }
    async fn execute(&self, metrics: &Observer, call: &CallCtx) -> Result<f64, Failure> {
        if !self.allowed.contains(&self.name) {
            return Err(not_listed(&self.name, &self.allowed));
        }
        let numbers = metrics.read(std::slice::from_ref(&self.name), call).await?;
        let value = numbers.values.get(&self.name).copied().flatten().filter(|v| v.is_finite());
        value.ok_or_else(|| Failure::inconclusive(format!("`{}` has no data now", self.name)))
    }
}

#[derive(Serialize)]
pub struct Promql {
    pub metrics: String,
    pub query: String,
}
impl Operation for Promql {
    const NAME: &'static str = "metrics.promql";
    const RIGHT: Option<Right> = Some(Right::Promql);
    type On = Metrics;
    type Class = class::Observe;
    type Output = f64;
    fn label(&self) -> &str {
        &self.metrics
    }
    async fn execute(&self, metrics: &Observer, call: &CallCtx) -> Result<f64, Failure> {
        promql::bounded(&self.query)?;
        let value = metrics.promql(&self.query, call).await?;
        value.ok_or_else(|| Failure::inconclusive("the query has no data now"))
    }
}

#[derive(Serialize)]
pub struct Baseline {
    pub metrics: String,
    /// seconds
    pub window: u32,
    /// What the need lists, and what it measures: whoever shows the medians shall say them in a unit.
    pub measures: BTreeMap<String, Dimension>,
}
impl Operation for Baseline {
    const NAME: &'static str = "metrics.baseline";
    const GIVEN: &'static [&'static str] = &["measures"];
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Metrics;
    type Class = class::Observe;
    /// Of each metric that had data.
    type Output = BTreeMap<String, metrics::Baseline>;
    fn label(&self) -> &str {
        &self.metrics
    }
    fn deadline(&self, _: Duration) -> Duration {
        Duration::from_secs(self.window.into()) + SLACK
    }
    async fn execute(&self, metrics: &Observer, call: &CallCtx) -> Result<Self::Output, Failure> {
        let names: Vec<String> = self.measures.keys().cloned().collect();
        if names.is_empty() {
            return Err(Failure::denied("the need lists no queries, so there is nothing to record"));
        }
        if self.window > MAX_WINDOW {
            return Err(Failure::invalid(format!("`window` is at most {MAX_WINDOW} seconds")));
        }
        let samples = self.samples(&names, metrics, call).await?;
        let enough = samples.values.into_iter().filter(|(_, values)| values.len() >= FEWEST);
        let recorded: Self::Output =
            enough.filter_map(|(name, values)| Some((name, comparing::baseline(&values)?))).collect();
        if recorded.is_empty() {
            let why = samples.silence.map(|why| format!(": {why}")).unwrap_or_default();
            let taken = samples.taken;
            return Err(Failure::inconclusive(format!("no metric had data in {FEWEST} of {taken} samples{why}")));
        }
        Ok(recorded)
    }
}

/// What a baseline rests on.
struct Samples {
    values: BTreeMap<String, Vec<f64>>,
    taken: u64,
    /// why there was no data
    silence: Option<String>,
}

impl Baseline {
    /// Of the window before now where there is a history, else of the one that begins now.
    async fn samples(&self, names: &[String], metrics: &Observer, call: &CallCtx) -> Result<Samples, Failure> {
        // Both ends of a window have a sample.
        let window = Duration::from_secs(self.window.max(FEWEST as u32 - 1).into());
        match metrics.past(names, window, call).await {
            Ok(Some(past)) => return Ok(Samples { values: past.values, taken: past.points, silence: None }),
            Ok(None) => {}
            Err(Failure { kind: FailureKind::Unavailable | FailureKind::TimedOut, message, .. }) => {
                return Ok(Samples {
                    values: BTreeMap::new(),
                    taken: u64::from(self.window) + 1,
                    silence: Some(message),
                });
            }
            Err(failure) => return Err(failure),
        }
        let mut samples = Samples { values: BTreeMap::new(), taken: 0, silence: None };
        let mut clock = Clock::new(call, self.window);
        while samples.taken < FEWEST as u64 || !clock.is_over() {
            clock.tick(call).await?;
            let (numbers, why) = sample(names, metrics, call).await?;
            samples.taken += 1;
            samples.silence = why.or(samples.silence);
            for name in names {
                let values = samples.values.entry(name.clone()).or_default();
                values.extend(numbers.values.get(name).copied().flatten());
            }
            clock.progress(call, &line(&numbers.values, None, metrics));
        }
        Ok(samples)
    }
}

#[derive(Serialize)]
pub struct Check {
    pub metrics: String,
    pub that: String,
    /// what the need lists
    pub allowed: Vec<String>,
    /// of these
    pub baselines: BTreeMap<String, f64>,
}
impl Operation for Check {
    const NAME: &'static str = "metrics.check";
    const GIVEN: &'static [&'static str] = &["allowed", "baselines"];
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Metrics;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.metrics
    }
    fn assume(&self, metrics: &Observer) -> Option<Result<Verdict, Failure>> {
        let that = match facts::read(&self.that, &self.allowed, metrics) {
            Ok(that) => that,
            Err(failure) => return Some(Err(failure)),
        };
        let open = facts::is_open(&that, &self.baselines, metrics);
        open.then(|| Ok(Verdict::assumed(Area::Performance, format!("{}: {that}", self.metrics))))
    }
    async fn execute(&self, metrics: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        let condition = facts::read(&self.that, &self.allowed, metrics)?;
        let names: Vec<String> = condition.names().into_iter().map(ToOwned::to_owned).collect();
        let (numbers, silence) = sample(&names, metrics, call).await?;
        let evaluation = condition.evaluate(&Facts { sample: &numbers.values, baselines: &self.baselines, metrics });
        Ok(Verdict {
            area: Area::Performance,
            title: format!("{}: {condition}", self.metrics),
            result: evaluation.outcome().into(),
            detail: warned(silence.unwrap_or_else(|| evaluation.explain()), &numbers.warnings),
            readings: Reading::of(&evaluation),
        })
    }
}

#[derive(Serialize)]
pub struct Watch {
    pub metrics: String,
    pub that: String,
    /// seconds
    pub time: u32,
    /// what the need lists
    pub allowed: Vec<String>,
    /// of these
    pub baselines: BTreeMap<String, f64>,
}
impl Watch {
    fn title(&self, condition: &Condition) -> String {
        format!("{}: {condition}, for {} s", self.metrics, self.time)
    }
}
impl Operation for Watch {
    const NAME: &'static str = "metrics.watch";
    const GIVEN: &'static [&'static str] = &["allowed", "baselines"];
    const LASTS: bool = true;
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Metrics;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.metrics
    }
    fn deadline(&self, _: Duration) -> Duration {
        Duration::from_secs(self.time.into()) + SLACK
    }
    fn assume(&self, metrics: &Observer) -> Option<Result<Verdict, Failure>> {
        let that = match facts::read(&self.that, &self.allowed, metrics) {
            Ok(that) => that,
            Err(failure) => return Some(Err(failure)),
        };
        // A wrong time, or a baseline that was never recorded, is the script's mistake whatever the numbers are.
        let right = (1..=MAX_TIME).contains(&self.time)
            && that.baselines().into_iter().all(|name| self.baselines.contains_key(name))
            && facts::is_open(&that, &self.baselines, metrics);
        right.then(|| Ok(Verdict::assumed(Area::Performance, self.title(&that))))
    }
    async fn execute(&self, metrics: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        let condition = facts::read(&self.that, &self.allowed, metrics)?;
        if !(1..=MAX_TIME).contains(&self.time) {
            return Err(Failure::invalid(format!("`time` is between 1 and {MAX_TIME} seconds")));
        }
        let verdict = |result, detail, readings| Verdict {
            area: Area::Performance,
            title: self.title(&condition),
            result,
            detail,
            readings,
        };
        // Waiting would not bring it.
        if let Some(name) = condition.baselines().into_iter().find(|name| !self.baselines.contains_key(*name)) {
            let why = format!("no baseline of {name} was recorded");
            return Ok(verdict(Ruling::Inconclusive, why, Vec::new()));
        }
        let names: Vec<String> = condition.names().into_iter().map(ToOwned::to_owned).collect();
        let mut values: BTreeMap<String, Vec<f64>> = names.iter().map(|name| (name.clone(), Vec::new())).collect();
        let evaluate = |sample: &_| condition.evaluate(&Facts { sample, baselines: &self.baselines, metrics });
        let (mut watching, mut warnings) = (Watching::default(), BTreeSet::new());
        // What an earlier process has seen counts; the time in between, which nobody has watched, does not.
        let earlier: Vec<Seen> = call.earlier.iter().flat_map(|e| &e.evidence).filter_map(Seen::read).collect();
        for seen in &earlier {
            for (name, values) in &mut values {
                values.extend(seen.sample.get(name).copied().flatten());
            }
            watching.see(evaluate(&seen.sample), seen.silence.clone(), seen.seconds);
        }
        let watched = Duration::from_secs(earlier.iter().map(|seen| seen.seconds.max(1)).sum());
        let (mut clock, mut more) = (Clock::after(call, watched, self.time), ROW - 1);
        // A row that is open at the end is followed, so that a product that goes bad in the last seconds is not missed.
        while !watching.is_over() && (!clock.is_over() || (watching.is_open() && more > 0)) {
            if clock.is_over() {
                more -= 1;
            }
            clock.tick(call).await?;
            let began = Instant::now();
            let (numbers, silence) = sample(&names, metrics, call).await?;
            for (name, values) in &mut values {
                values.extend(numbers.values.get(name).copied().flatten());
            }
            warnings.extend(numbers.warnings);
            let seen = Seen { sample: numbers.values, silence, seconds: began.elapsed().as_secs() };
            call.note(seen.written());
            let Seen { sample, silence, seconds } = seen;
            watching.see(evaluate(&sample), silence, seconds);
            clock.progress(call, &line(&sample, Some(&condition), metrics));
        }
        let counts = watching.counts();
        let ruled = match watching.ruled() {
            Ruled::Failed(evaluation, why) => verdict(Ruling::Failed, why, Reading::of(&evaluation)),
            Ruled::Inconclusive(why) => verdict(Ruling::Inconclusive, why, Vec::new()),
            Ruled::Passed => {
                let medians = values.into_iter().map(|(name, values)| (name, median(values))).collect();
                let said = format!("{}, in the median; {counts}", line(&medians, Some(&condition), metrics));
                verdict(Ruling::Passed, said, Reading::of(&evaluate(&medians)))
            }
        };
        Ok(Verdict { detail: warned(ruled.detail, &warnings), ..ruled })
    }
}

#[derive(Serialize)]
pub struct Compare {
    pub metrics: String,
    pub that: String,
    /// seconds
    pub time: u32,
    /// what the need lists
    pub allowed: Vec<String>,
    /// of these
    pub recorded: BTreeMap<String, metrics::Baseline>,
}
impl Compare {
    fn title(&self, condition: &Condition) -> String {
        format!("{}: {condition}, {} s as a whole", self.metrics, self.time)
    }
    fn condition(&self, metrics: &Observer) -> Result<Condition, Failure> {
        let condition = facts::read(&self.that, &self.allowed, metrics)?;
        comparable(&condition)?;
        match (SHORTEST..=MAX_TIME).contains(&self.time) {
            true => Ok(condition),
            false => Err(Failure::invalid(format!("`time` is between {SHORTEST} and {MAX_TIME} seconds"))),
        }
    }
    /// What is wrong with the baselines, whatever the numbers are now.
    fn unfit(&self, condition: &Condition) -> Option<String> {
        condition.baselines().into_iter().find_map(|name| match self.recorded.get(name) {
            Some(baseline) => comparing::unfit(name, baseline),
            None => Some(format!("no baseline of {name} was recorded")),
        })
    }
}
impl Operation for Compare {
    const NAME: &'static str = "metrics.compare";
    const GIVEN: &'static [&'static str] = &["allowed", "recorded"];
    const LASTS: bool = true;
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Metrics;
    type Class = class::Observe;
    type Output = Verdict;
    fn label(&self) -> &str {
        &self.metrics
    }
    fn deadline(&self, _: Duration) -> Duration {
        Duration::from_secs(self.time.into()) + SLACK
    }
    fn assume(&self, metrics: &Observer) -> Option<Result<Verdict, Failure>> {
        let that = match self.condition(metrics) {
            Ok(that) => that,
            Err(failure) => return Some(Err(failure)),
        };
        let medians = self.recorded.iter().map(|(name, baseline)| (name.clone(), baseline.median)).collect();
        let right = self.unfit(&that).is_none() && facts::is_open(&that, &medians, metrics);
        right.then(|| Ok(Verdict::assumed(Area::Performance, self.title(&that))))
    }
    async fn execute(&self, metrics: &Observer, call: &CallCtx) -> Result<Verdict, Failure> {
        let condition = self.condition(metrics)?;
        let verdict = |result, detail, readings| Verdict {
            area: Area::Performance,
            title: self.title(&condition),
            result,
            detail,
            readings,
        };
        // Waiting would not bring it.
        if let Some(why) = self.unfit(&condition) {
            return Ok(verdict(Ruling::Inconclusive, why, Vec::new()));
        }
        let names: Vec<String> = condition.names().into_iter().map(ToOwned::to_owned).collect();
        let mut samples: comparing::Samples = names.iter().map(|name| (name.clone(), Vec::new())).collect();
        let mut keep = |seen: &Seen| {
            for (name, values) in &mut samples {
                values.push(seen.sample.get(name).copied().flatten());
            }
        };
        // What an earlier process has seen counts.
        let earlier: Vec<Seen> = call.earlier.iter().flat_map(|e| &e.evidence).filter_map(Seen::read).collect();
        earlier.iter().for_each(&mut keep);
        let watched = Duration::from_secs(earlier.iter().map(|seen| seen.seconds.max(1)).sum());
        let mut clock = Clock::after(call, watched, self.time);
        let (mut silence, mut warnings) = (None, BTreeSet::new());
        while !clock.is_over() {
            clock.tick(call).await?;
            let began = Instant::now();
            let (numbers, why) = sample(&names, metrics, call).await?;
            warnings.extend(numbers.warnings);
            let seen = Seen { sample: numbers.values, silence: why, seconds: began.elapsed().as_secs() };
            call.note(seen.written());
            keep(&seen);
            clock.progress(call, &line(&seen.sample, Some(&condition), metrics));
            silence = seen.silence.or(silence);
        }
        let Compared { evaluation, said } = comparing::compare(&condition, &samples, &self.recorded, metrics);
        let result = evaluation.outcome().into();
        let said = match (result, silence) {
            (Ruling::Inconclusive, Some(why)) => format!("{said}: {why}"),
            _ => said,
        };
        Ok(verdict(result, warned(said, &warnings), Reading::of(&evaluation)))
    }
}

#[derive(Serialize)]
pub struct Host {
    pub metrics: String,
}
impl Operation for Host {
    const NAME: &'static str = "metrics.host";
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Metrics;
    type Class = class::Observe;
    type Output = HostMetrics;
    fn label(&self) -> &str {
        &self.metrics
    }
    async fn execute(&self, metrics: &Observer, call: &CallCtx) -> Result<HostMetrics, Failure> {
        metrics.host(call).await
    }
}

#[derive(Serialize)]
pub struct Alerts {
    pub metrics: String,
}
impl Operation for Alerts {
    const NAME: &'static str = "metrics.alerts";
    const RIGHT: Option<Right> = Some(Right::Read);
    type On = Metrics;
    type Class = class::Observe;
    type Output = Vec<Alert>;
    fn label(&self) -> &str {
        &self.metrics
    }
    async fn execute(&self, metrics: &Observer, call: &CallCtx) -> Result<Vec<Alert>, Failure> {
        metrics.alerts(call).await
    }
}
